import { parseArgs } from 'node:util'
import { load } from './load.ts'

// One run in this process: scripts/load.mjs starts it. Prints the result as JSON.

const { values } = parseArgs({
  options: {
    clients: { type: 'string', default: '64' },
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string', default: '1' },
    'entries-before': { type: 'string', default: '0' },
  },
})
// The official SDKs print every step.
console.log = () => undefined
console.error = () => undefined

const result = await load({
  clients: Number(values.clients),
  minutes: Number(values.minutes),
  seed: Number(values.seed),
  entriesBefore: Number(values['entries-before']),
  tell: (line) => process.stderr.write(`${line}\n`),
})
process.stdout.write(`${JSON.stringify(result)}\n`)
process.exit(result.errorCount > 0 ? 1 : 0)
