// Any m of k + m storage nodes are killed with all they had, twice, and the object reads back each time: on real processes.
//   npm run durability -- [--code 4+2] [--size 500000000] [--uploader ours|official] [--seed S] [--record]
// --record writes a row of docs/bench/durability-run.md.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { runSim } from './bundleSim.mjs'

const top = resolve(import.meta.dirname, '..')
const { values } = parseArgs({
  options: {
    code: { type: 'string', default: '4+2' },
    size: { type: 'string', default: '500000000' },
    uploader: { type: 'string', default: 'ours' },
    seed: { type: 'string', default: '1' },
    record: { type: 'boolean', default: false },
  },
})
const INTRODUCTION = `# Durability for real

k + m storage nodes, each a process of its own, and one object. \`kill -9\` of any m of them, their directories deleted; the object is read back at once, whole and in 20 ranges, and compared. Then \`node add --replace ID\` for each, nothing else, until \`info\` says that m losses are survived again; then \`kill -9\` of m others, directories deleted, and the same reads. *Healed* counts from the last replacement's start. *official* uploads with the unmodified official SDK through the gateway, and *protected* is the time until its object has a certificate for all m losses.

`
const options = ['code', 'size', 'uploader', 'seed'].flatMap((name) => [`--${name}`, values[name]])
const loadBefore = loadavg()[0]
const { result, code } = await runSim('durability/main.ts', options)
if (values.record) record()
process.exit(code)

function record() {
  const head = [
    '| run | object | nodes | memory of all | ready, s | stored, s | protected, s | first loss: read, s | range, ms, median | added, s | healed, s | second loss: read, s | range, ms, median | **lost** | Node, load |',
    `|${' --- |'.repeat(15)}`,
  ]
  const { first, second } = result
  const median = (times) => [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)].toFixed(0)
  const run = `\`npm run durability -- ${options.join(' ')}\``
  const row = `| ${[
    run,
    `${(Number(values.size) / 1e6).toFixed(0)} MB`,
    result.nodes,
    `${(result.rssBytes / 2 ** 30).toFixed(1)} GiB`,
    ...[result.upSeconds, result.putSeconds, result.protectedSeconds, first.readSeconds].map((one) => one.toFixed(1)),
    median(first.rangeMs),
    ...[result.addSeconds, result.healSeconds, second.readSeconds].map((one) => one.toFixed(1)),
    median(second.rangeMs),
    `**${result.losses.length}**`,
    `${process.version}, ${loadBefore.toFixed(1)} before`,
  ].join(' | ')} |`
  const path = join(top, 'docs/bench/durability-run.md')
  const text = existsSync(path) ? readFileSync(path, 'utf8') : ''
  const others = text.split('\n').filter((line) => line.startsWith('| `') && !line.startsWith(`| ${run} |`))
  const byHand = /^## [^]*/m.exec(text)?.[0] ?? ''
  const machine = `${availableParallelism()} cores (${cpus()[0]?.model ?? 'unknown'}), everything on one machine.`
  writeFileSync(
    path,
    `${INTRODUCTION}${machine}\n\n${[...head, ...others, row].join('\n')}\n${result.losses.map((loss) => `\n* ${loss}`).join('')}${byHand === '' ? '' : `\n${byHand}`}`,
  )
}
