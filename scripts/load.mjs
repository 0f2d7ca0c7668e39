// Many clients of every kind at once against one local network, slow and half-open connections among them.
//   npm run load -- [--clients 64] [--minutes 10] [--seed S] [--entries-before N] [--record]
// --entries-before: so many small entries are in the log first. --record writes docs/bench/load.md; what is written there by hand,
// from the first `## ` heading on, stays.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { runSim } from './bundleSim.mjs'

const top = resolve(import.meta.dirname, '..')
const { values } = parseArgs({
  options: {
    clients: { type: 'string', default: '64' },
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string', default: '1' },
    'entries-before': { type: 'string', default: '0' },
    record: { type: 'boolean', default: false },
  },
})
const before = values['entries-before']
for (const name of ['clients', 'minutes', 'seed', 'entries-before']) {
  if (/^\d+(\.\d+)?$/.test(values[name])) continue
  process.stderr.write(`--${name} is a number, such as ${{ minutes: '0.5' }[name] ?? '64'}\n`)
  process.exit(2)
}
const args = [
  '--clients',
  values.clients,
  '--minutes',
  values.minutes,
  '--seed',
  values.seed,
  '--entries-before',
  before,
]
const { result, code } = await runSim('load/main.ts', args)
if (values.record) record()
process.exit(code)

function record() {
  const clients = Object.entries(result.clients).map(([name, count]) => `${count} ${name}`)
  const latencies = Object.entries(result.latencies)
    .sort(([a], [b]) => a.localeCompare(b))
    .map(
      ([name, at]) =>
        `| ${name} | ${at.count} | ${at.p50.toFixed(0)} | ${at.p95.toFixed(0)} | ${at.p99.toFixed(0)} | ${at.most.toFixed(0)} |`,
    )
  const memory = Object.entries(result.memory).map(
    ([name, at]) =>
      `| ${name} | ${at.first.toFixed(0)} | ${at.last.toFixed(0)} | ${at.most.toFixed(0)} | ${at.slopePerMinute.toFixed(2)} |`,
  )
  const text = `# Load: ${values.clients} clients at once

\`npm run load -- --clients ${values.clients} --minutes ${values.minutes} --seed ${values.seed} --entries-before ${before} --record\` on Node ${process.version}, ${availableParallelism()} cores (${cpus()[0]?.model ?? 'unknown'}), network, clients and other work on the same machine. Official clients poll with pauses of seconds: their times are mostly their own.

${before} small entries were in the log before. Clients: ${clients.join(', ')}; beside them ${result.slowOpened} connections that sent half a header, half a body or nothing (72 at a time, opened again when the server ended them: ${result.slowEnded} times).

**${result.errorCount} errors** in ${result.seconds.toFixed(0)} s; ${result.storedCount} uploads (${(result.storedBytes / 1e6).toFixed(0)} MB), each download compared byte for byte.
${result.errors.map((error) => `\n* ${error}`).join('')}
Memory is each process's own, without pages of mapped files: the index is mapped, and grows with what is stored.

| milliseconds | times | p50 | p95 | p99 | most |
|---|---|---|---|---|---|
${latencies.join('\n')}

| own memory, MiB | at first | at last | most | slope per minute, second half |
|---|---|---|---|---|
${memory.join('\n')}
`
  const page = join(top, 'docs/bench/load.md')
  const old = existsSync(page) ? readFileSync(page, 'utf8') : ''
  const byHand = old.indexOf('\n## ')
  writeFileSync(page, byHand < 0 ? text : text + old.slice(byHand))
}
