// The test command: runs each suite, prints its seconds, and closes with one line that counts every test.
//   node scripts/test.mjs            all suites of the landing gate
//   node scripts/test.mjs SUITE...   only these
// Several suites run two at a time, each in half the cores: what one of them starts up, or waits for, is time of the other. What a suite
// prints is then told when it ends.
import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join, relative, resolve } from 'node:path'

const top = resolve(import.meta.dirname, '..')
const cache = join(top, '.cache', 'test')
mkdirSync(cache, { recursive: true })

/** `gate`: part of the plain test command. Commands of `checks` count as one test each. `alone`: each file starts networks of a dozen
 *  processes, so one file at a time. They start in this order: what ends first tells most, and the longest come before the others so that
 *  both halves end together. */
const suites = {
  check: { gate: true, checks: [['oxfmt', '--check', '.'], ['oxlint'], ['tsc', '-b']] },
  tidy: { gate: true, paths: ['sim/tidy.test.ts', 'sim/pages.test.ts'] },
  interop: { gate: true, paths: ['sim/interop/gate'] },
  sim: {
    gate: true,
    paths: [
      'sim/seeds',
      'sim/planted.test.ts',
      'sim/plantedShards.test.ts',
      'sim/trustThePeer.test.ts',
      'sim/forgetTheReorg.test.ts',
      'sim/determinism.test.ts',
      'sim/jobs.test.ts',
      'sim/world',
      'sim/chain.anvil.test.ts',
    ],
  },
  node: { gate: true, paths: ['packages/node'] },
  sdk: { gate: true, paths: ['packages/sdk'] },
  cli: { gate: true, paths: ['packages/cli'] },
  chain: { gate: true, paths: ['packages/chain', 'sim/remote'] },
  contracts: { gate: true, paths: ['packages/contracts'] },
  host: { gate: true, paths: ['packages/host', 'sim/compliance'] },
  kernels: { gate: true, paths: ['packages/kernels'] },
  core: { gate: true, paths: ['packages/core'] },
  crash: { gate: true, alone: true, paths: ['sim/crash', 'sim/load'] },
  fuzz: { gate: true, paths: ['sim/fuzz'] },
  'interop-full': { gate: false, alone: true, paths: ['sim/interop'] },
  'kill-chain': { gate: false, alone: true, paths: ['sim/kill/chain.test.ts'] },
}

const asked = process.argv.slice(2)
for (const name of asked) {
  if (!(name in suites)) {
    process.stderr.write(`unknown suite ${name}; there are: ${Object.keys(suites).join(' ')}\n`)
    process.exit(2)
  }
}
const chosen = Object.entries(suites).filter(([name, suite]) => (asked.length > 0 ? asked.includes(name) : suite.gate))

const total = { passed: 0, failed: 0 }
const rows = []
/** The names of what failed, told once more at the end: whoever reads only the last page of a long run finds them there. */
const failures = []
const cores = availableParallelism()
const laneCount = Math.min(2, cores, chosen.length)
const filesAtOnce = Math.max(1, Math.floor(Math.min(cores, 4) / laneCount))
const waiting = [...chosen]
await Promise.all(Array.from({ length: laneCount }, runLane))
process.stdout.write(`\nNode ${process.version}, ${cores} cores\n${rows.join('\n')}\n`)
for (const failure of failures) process.stdout.write(`FAILED ${failure}\n`)
process.stdout.write(`${total.passed} passed, ${total.failed} failed\n`)
process.exit(total.failed > 0 || total.passed === 0 ? 1 : 0)

async function runLane() {
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    const [name, suite] = next
    const started = performance.now()
    if (laneCount > 1) process.stdout.write(`${name} …\n`)
    const result = suite.checks ? await runChecks(suite.checks) : await runVitest(name, suite)
    total.passed += result.passed
    total.failed += result.failed
    const seconds = ((performance.now() - started) / 1000).toFixed(1)
    const row = `${name.padEnd(14)} ${String(result.passed).padStart(5)} passed ${String(result.failed).padStart(3)} failed ${seconds.padStart(7)} s`
    rows.push(row)
    process.stdout.write(`${result.output}${row}\n`)
  }
}

async function runChecks(commands) {
  const outcome = { passed: 0, failed: 0, output: '' }
  for (const [tool, ...args] of commands) {
    const done = await run(['--no-install', tool, ...args], {}, 'kept')
    if (done.status === 0) outcome.passed += 1
    else {
      outcome.failed += 1
      failures.push(`${tool} ${args.join(' ')}`)
      outcome.output += `FAILED ${tool} ${args.join(' ')}\n${done.output}\n`
    }
  }
  return outcome
}

/** A suite that ends without a report, or without a single test, has failed. */
async function runVitest(name, { paths, alone = false }) {
  const report = join(cache, `${name}.json`)
  rmSync(report, { force: true })
  const args = [
    '--no-install',
    'vitest',
    'run',
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${report}`,
    ...paths,
  ]
  const env = { TEST_FILES_AT_ONCE: String(alone ? 1 : filesAtOnce) }
  const { status, output } = await run(args, env, laneCount > 1 ? 'kept' : 'shown')
  try {
    const { numPassedTests, numFailedTests, numFailedTestSuites, testResults } = JSON.parse(
      readFileSync(report, 'utf8'),
    )
    failures.push(...testResults.flatMap((file) => failuresOf(name, file)))
    const broken = status !== 0 && numFailedTests === 0 ? Math.max(1, numFailedTestSuites) : 0
    const failed = numFailedTests + broken + (numPassedTests + numFailedTests === 0 ? 1 : 0)
    return { passed: numPassedTests, failed, output }
  } catch {
    failures.push(`${name}: no report`)
    return { passed: 0, failed: 1, output }
  }
}

/** Runs a command of the project. What it prints is given back, or shown as it comes. */
function run(args, env, printed) {
  const stdio = printed === 'kept' ? ['ignore', 'pipe', 'pipe'] : ['ignore', 'inherit', 'inherit']
  return new Promise((resolve, reject) => {
    const child = spawn('npx', args, { cwd: top, env: { ...process.env, ...env }, stdio })
    const output = []
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => output.push(chunk))
    child.once('error', reject)
    child.once('close', (status) => resolve({ status, output: Buffer.concat(output).toString() }))
  })
}

function failuresOf(suite, { name, status, message, assertionResults }) {
  const file = relative(top, name)
  const failed = assertionResults.filter((one) => one.status === 'failed')
  if (failed.length === 0) return status === 'failed' ? [`${suite}: ${file}: ${firstLine(message)}`] : []
  return failed.map((one) => `${suite}: ${file} :: ${one.fullName}: ${firstLine(one.failureMessages[0])}`)
}

function firstLine(text = '') {
  return text.split('\n', 1)[0].slice(0, 300)
}
