// The test command: runs each suite, prints its seconds, and closes with one line that counts every test.
//   node scripts/test.mjs            all suites of the landing gate
//   node scripts/test.mjs SUITE...   only these
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join, relative, resolve } from 'node:path'

const top = resolve(import.meta.dirname, '..')
const cache = join(top, '.cache', 'test')
mkdirSync(cache, { recursive: true })

/** `gate`: part of the plain test command. Commands of `checks` count as one test each. `alone`: each file starts networks of a dozen
 *  processes, so one file at a time. */
const suites = {
  check: { gate: true, checks: [['oxfmt', '--check', '.'], ['oxlint'], ['tsc', '-b']] },
  tidy: { gate: true, paths: ['sim/tidy.test.ts', 'sim/pages.test.ts'] },
  kernels: { gate: true, paths: ['packages/kernels'] },
  core: { gate: true, paths: ['packages/core'] },
  contracts: { gate: true, paths: ['packages/contracts'] },
  host: { gate: true, paths: ['packages/host', 'sim/compliance'] },
  chain: { gate: true, paths: ['packages/chain', 'sim/remote'] },
  sdk: { gate: true, paths: ['packages/sdk'] },
  node: { gate: true, paths: ['packages/node'] },
  cli: { gate: true, paths: ['packages/cli'] },
  crash: { gate: true, alone: true, paths: ['sim/crash', 'sim/load'] },
  fuzz: { gate: true, paths: ['sim/fuzz'] },
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
  interop: { gate: true, paths: ['sim/interop/gate'] },
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
for (const [name, suite] of chosen) {
  const started = performance.now()
  const result = suite.checks ? runChecks(suite.checks) : runVitest(name, suite)
  total.passed += result.passed
  total.failed += result.failed
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  rows.push(
    `${name.padEnd(14)} ${String(result.passed).padStart(5)} passed ${String(result.failed).padStart(3)} failed ${seconds.padStart(7)} s`,
  )
  process.stdout.write(`${rows.at(-1)}\n`)
}
process.stdout.write(`\nNode ${process.version}, ${availableParallelism()} cores\n${rows.join('\n')}\n`)
for (const failure of failures) process.stdout.write(`FAILED ${failure}\n`)
process.stdout.write(`${total.passed} passed, ${total.failed} failed\n`)
process.exit(total.failed > 0 || total.passed === 0 ? 1 : 0)

function runChecks(commands) {
  const outcome = { passed: 0, failed: 0 }
  for (const [tool, ...args] of commands) {
    const done = spawnSync('npx', ['--no-install', tool, ...args], { cwd: top, encoding: 'utf8' })
    if (done.status === 0) outcome.passed += 1
    else {
      outcome.failed += 1
      failures.push(`${tool} ${args.join(' ')}`)
      process.stdout.write(`FAILED ${tool} ${args.join(' ')}\n${done.stdout}${done.stderr}\n`)
    }
  }
  return outcome
}

/** A suite that ends without a report, or without a single test, has failed. */
function runVitest(name, { paths, alone = false }) {
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
  const env = { ...process.env, ...(alone ? { TEST_FILES_AT_ONCE: '1' } : {}) }
  const done = spawnSync('npx', args, { cwd: top, env, stdio: ['ignore', 'inherit', 'inherit'] })
  try {
    const { numPassedTests, numFailedTests, numFailedTestSuites, testResults } = JSON.parse(
      readFileSync(report, 'utf8'),
    )
    failures.push(...testResults.flatMap((file) => failuresOf(name, file)))
    const broken = done.status !== 0 && numFailedTests === 0 ? Math.max(1, numFailedTestSuites) : 0
    return { passed: numPassedTests, failed: numFailedTests + broken + (numPassedTests + numFailedTests === 0 ? 1 : 0) }
  } catch {
    failures.push(`${name}: no report`)
    return { passed: 0, failed: 1 }
  }
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
