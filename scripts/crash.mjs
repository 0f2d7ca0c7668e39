// Kills real processes of a network in the middle of a mixed load, and compares all that was acknowledged.
//   npm run crash -- [--seed S] [--kills N] [--kinds 'gateway,up'] [--code 2+2] [--record]     N of each kind; --record writes docs/bench/crash.md
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { runSim } from './bundleSim.mjs'

const top = resolve(import.meta.dirname, '..')
const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    kills: { type: 'string', default: '20' },
    kinds: { type: 'string' },
    code: { type: 'string' },
    record: { type: 'boolean', default: false },
  },
})
const INTRODUCTION = `# Crashes for real

\`kill -9\` of each kind of process in the middle of uploads and downloads by our SDK and by both official ones, on a network of four storage nodes; then every acknowledged upload is read from its holders and over the gateway and compared byte for byte, every transaction that was told and every block that was seen is looked up again, and every balance is compared with what the account's mined transactions cost.

*Refused* are steps that failed or took too long because what they needed had just been killed; nobody was told that they had succeeded. An official client that waits for a dead answer waits for ever, so each step is given up after 45 s.
`
const args = [
  '--seed',
  values.seed,
  '--kills',
  values.kills,
  ...(values.kinds ? ['--kinds', values.kinds] : []),
  ...(values.code ? ['--code', values.code] : []),
]
const { result, code } = await runSim('crash/main.ts', args)
if (values.record) record()
process.exit(code)

function record() {
  const rows = Object.entries(result.kills).map(([kind, count]) => {
    const times = [...result.backMs[kind]].sort((a, b) => a - b)
    const at = (share) => ((times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0) / 1000).toFixed(1)
    return `| ${kind} | ${count} | ${at(0.5)} | ${at(1)} |`
  })
  const counts = Object.entries(result.counts).sort(([a], [b]) => a.localeCompare(b))
  const title = `## ${Object.keys(result.kills).join(', ')}, seed ${values.seed}${values.code ? `, ${values.code}` : ''}`
  const section = `${title}

\`npm run crash -- --seed ${values.seed} --kills ${values.kills}${values.kinds ? ` --kinds '${values.kinds}'` : ''}${values.code ? ` --code ${values.code}` : ''} --record\` on Node ${process.version}, ${availableParallelism()} cores (${cpus()[0]?.model ?? 'unknown'}), beside other work.

**${result.losses.length} losses** among ${result.storedCount} acknowledged uploads (${(result.storedBytes / 1e6).toFixed(1)} MB) in ${result.blockCount} blocks, ${result.seconds.toFixed(0)} s.

| process | kills | seconds until it served again, median | most |
|---|---|---|---|
${rows.join('\n')}

| what clients did | times |
|---|---|
${counts.map(([name, count]) => `| ${name} | ${count} |`).join('\n')}

${result.losses.map((loss) => `* ${loss}\n`).join('')}`
  const path = join(top, 'docs/bench/crash.md')
  const known = existsSync(path)
    ? readFileSync(path, 'utf8')
        .split(/^(?=## )/m)
        .slice(1)
    : []
  const others = known.filter((one) => !one.startsWith(`${title}\n`))
  writeFileSync(path, `${INTRODUCTION}\n${[...others.map((one) => one.trim()), section.trim()].join('\n\n')}\n`)
}
