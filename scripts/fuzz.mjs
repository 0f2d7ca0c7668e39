// Fuzzes every parser of outside bytes, or the one that is named; each in a process of its own with little memory.
//   npm run fuzz -- [NAME...] [--inputs N] [--seed S] [--jobs N] [--record]     --record writes docs/bench/fuzz.md
import { spawn } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { bundleSim } from './bundleSim.mjs'

const top = resolve(import.meta.dirname, '..')
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    inputs: { type: 'string', default: '10000' },
    seed: { type: 'string', default: '1' },
    jobs: { type: 'string', default: '1' },
    record: { type: 'boolean', default: false },
  },
})
/** No progress of a thousand inputs for so long is a hang. */
const STALLED_MS = 120_000
/** A parser that needs more than this for inputs of 64 KiB keeps what it should let go. */
const HEAP_MB = 256

const bundle = await bundleSim('fuzz/main.ts')
const names = JSON.parse(await run([]))
const asked = positionals.length > 0 ? positionals : names
for (const name of asked) {
  if (!names.includes(name)) {
    process.stderr.write(`unknown target ${name}; there are: ${names.join(' ')}\n`)
    process.exit(2)
  }
}
const results = []
const waiting = [...asked]
await Promise.all(
  Array.from({ length: Number(values.jobs) }, async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) await runTarget(name)
  }),
)
process.exit(results.some((result) => result.finding) ? 1 : 0)

async function runTarget(name) {
  const text = await run([name, values.inputs, values.seed]).catch((error) =>
    JSON.stringify({ name, inputs: 0, finding: { reason: error.message, number: -1, input: '' } }),
  )
  const result = JSON.parse(text)
  results.push(result)
  const { finding } = result
  const found = finding ? `FOUND at ${finding.number}: ${finding.reason}\n  ${finding.input}` : 'nothing found'
  const numbers = `kept ${result.keptCount ?? 0}, parts ${result.seenCount ?? 0}, slowest ${(result.slowestMs ?? 0).toFixed(1)} ms`
  process.stdout.write(
    `${name.padEnd(22)} ${String(result.inputs).padStart(8)} inputs ${(result.seconds ?? 0).toFixed(1).padStart(7)} s  ${numbers}  ${found}\n`,
  )
  // After each: a run of hours that is stopped has its rows.
  if (values.record) record()
}

function run(args) {
  return new Promise((done, failed) => {
    const child = spawn(process.execPath, [`--max-old-space-size=${HEAP_MB}`, bundle, ...args], {
      cwd: top,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let out = ''
    let err = ''
    let timer = setTimeout(stall, STALLED_MS)
    function stall() {
      child.kill('SIGKILL')
    }
    child.stdout.on('data', (chunk) => (out += chunk))
    child.stderr.on('data', (chunk) => {
      err = (err + chunk).slice(-2000)
      clearTimeout(timer)
      timer = setTimeout(stall, STALLED_MS)
    })
    child.once('close', (code, signal) => {
      clearTimeout(timer)
      if (code === 0) done(out)
      else failed(new Error(`the process ended with ${code ?? signal} behind input ${err.trim().split('\n').at(-1)}`))
    })
  })
}

/** Rows of targets that this run did not try stay as they are. */
function record() {
  const path = join(top, 'docs/bench/fuzz.md')
  const known = existsSync(path) ? readFileSync(path, 'utf8').split('\n') : []
  const rows = names.flatMap((name) => {
    const result = results.find((one) => one.name === name)
    if (result === undefined) return known.filter((line) => line.startsWith(`| ${name} |`))
    const cells = [
      result.name,
      result.from ?? '',
      result.inputs.toLocaleString('en-US'),
      (result.seconds ?? 0).toFixed(0),
      result.keptCount ?? 0,
      result.seenCount ?? 0,
      result.outcomeCount ?? 0,
      (result.slowestMs ?? 0).toFixed(1),
      ((result.grownBytes ?? 0) / 1024 ** 2).toFixed(0),
      result.finding ? `**${result.finding.reason.slice(0, 80)}**` : 'nothing',
    ]
    return [`| ${cells.join(' | ')} |`]
  })
  const total = rows.reduce((sum, row) => sum + Number(row.split('|')[3].replaceAll(',', '')), 0)
  const text = `# Fuzzing: what parsers do with up to a million inputs each

\`npm run fuzz -- [NAME...] --inputs N --seed ${values.seed} --record\` on Node ${process.version}, ${availableParallelism()} cores (${cpus()[0]?.model ?? 'unknown'}), at the lowest priority beside other work: times are upper bounds.

Each target runs in a process of its own with a heap of ${HEAP_MB} MiB. Inputs are at most 64 KiB, made from good ones by changes of bits, bytes, words, lengths, numbers and whole trees of JSON. Coverage guides the first fiftieth: V8's own block coverage says which inputs reached a part of code that none had reached before, and those are kept and changed further, as are all that give a new outcome (*kept*; *parts* is how many parts of code the guided inputs reached). Targets that are a whole role or a whole store, and not one parser, get a tenth of the inputs: every parser inside them has a row of its own. A finding is an error without a code, an answer that another reader of the same bytes does not give (JSON.parse, Node's base64, writing again what was read), more than 3 s for one input, more than 256 MiB of growth, or no progress.

${total.toLocaleString('en-US')} inputs in all; \`slowest\` is the slowest single input, \`grew\` how much the largest memory of the process grew, the engine's own corpus included.

| target | whose bytes | inputs | s | kept | parts | outcomes | slowest ms | grew MiB | found |
|---|---|---|---|---|---|---|---|---|---|
${rows.join('\n')}
`
  writeFileSync(path, text)
}
