import { parseArgs } from 'node:util'
import { durability } from './durability.ts'

// One run in this process: scripts/durability.mjs starts it. Prints the result as JSON.

const { values } = parseArgs({
  options: {
    code: { type: 'string', default: '4+2' },
    size: { type: 'string', default: '500000000' },
    uploader: { type: 'string', default: 'ours' },
    seed: { type: 'string', default: '1' },
  },
})
const [k, m] = values.code.split('+').map(Number)
const { uploader } = values
if (uploader !== 'ours' && uploader !== 'official') throw new Error(`--uploader is ours or official, not ${uploader}`)
const result = await durability({
  code: { k: k!, m: m! },
  sizeBytes: Number(values.size),
  uploader,
  seed: Number(values.seed),
  tell: (line) => process.stderr.write(`${line}\n`),
})
process.stdout.write(`${JSON.stringify(result)}\n`)
process.exit(result.losses.length > 0 ? 1 : 0)
