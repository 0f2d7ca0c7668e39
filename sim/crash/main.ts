import { parseArgs } from 'node:util'
import { crash, kinds as allKinds } from './crash.ts'

// One run in this process: scripts/crash.mjs starts it. Prints the result as JSON.

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    kills: { type: 'string', default: '1' },
    kinds: { type: 'string', default: allKinds.join(',') },
    code: { type: 'string' },
  },
})
const kinds = allKinds.filter((kind) => values.kinds.split(',').includes(kind))
// The official SDKs print every step.
console.log = () => undefined
console.error = () => undefined
process.on('unhandledRejection', (error) =>
  process.stderr.write(`left behind by a client: ${String(error).slice(0, 200)}\n`),
)

const result = await crash({
  kinds,
  seed: Number(values.seed),
  kills: Number(values.kills),
  code: values.code,
  tell: (line) => process.stderr.write(`${line}\n`),
})
process.stdout.write(`${JSON.stringify(result)}\n`)
const isShort = kinds.some((kind) => (result.kills[kind] ?? 0) < Number(values.kills)) || result.storedCount === 0
process.exit(result.losses.length > 0 || isShort ? 1 : 0)
