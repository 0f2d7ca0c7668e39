import { parseArgs } from 'node:util'
import { resultsOf, serveJobs, startProcess, WORKER, type Worker } from './jobs.ts'
import { runWorld, type WorldResult } from './world.ts'

// npm run sim -- --seeds 100            seeds 1 … 100
// npm run sim -- --seed 17 [--trace]    one seed, with what happened in it
// npm run sim -- --world codes          codes or copies; both by default: copies for odd seeds, codes for even ones
// npm run sim -- --from 5000 --seeds 1000 --jobs 2 [--hashes]    in two processes; with the hash of each trace

// Nothing outlives who started it.
if (process.connected) process.once('disconnect', () => process.exit(1))
if (process.argv[2] === WORKER) await serveJobs()

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    seeds: { type: 'string', default: '60' },
    from: { type: 'string', default: '1' },
    trace: { type: 'boolean', default: false },
    world: { type: 'string', default: 'both' },
    reorgs: { type: 'string', default: '0' },
    jobs: { type: 'string', default: '1' },
    hashes: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
})
/** Worlds at once; each takes a core and some 300 MB. */
const JOBS_MAX = 64
const whole = (name: string, text: string, { least = 0, most = Number.MAX_SAFE_INTEGER } = {}): number => {
  const number = Number(text)
  if (Number.isSafeInteger(number) && number >= least && number <= most) return number
  process.stderr.write(`--${name} is a whole number from ${least} to ${most}\n`)
  process.exit(2)
}

const first = values.seed === undefined ? whole('from', values.from) : whole('seed', values.seed)
const count = values.seed === undefined ? whole('seeds', values.seeds, { least: 1 }) : 1
const chosen = values.world === 'both' ? undefined : worldNamed(values.world)
const reorgDepthMax = whole('reorgs', values.reorgs)
const workerCount = whole('jobs', values.jobs, { least: 1, most: JOBS_MAX })
const tell = values.trace ? (line: string): void => void process.stdout.write(`${line}\n`) : undefined
// Stacks cost a tenth of the time; a seed that fails is run again by itself.
if (values.seed === undefined) Error.stackTraceLimit = 0
const startedMs = performance.now()
const sums = { acks: 0, crashes: 0, faults: 0, events: 0, virtualMs: 0 }
const failed: WorldResult[] = []
const worldOf = (seed: number): 'copies' | 'codes' => chosen ?? (seed % 2 === 0 ? 'codes' : 'copies')
const jobs = Array.from({ length: count }, (_, i) => ({ seed: first + i, world: worldOf(first + i), reorgDepthMax }))
const inThisProcess: Worker = { run: (job) => runWorld({ ...job, tell }), end: () => undefined }
const start = workerCount > 1 ? startProcess : (): Worker => inThisProcess
for await (const result of resultsOf(jobs, { workerCount, start })) {
  const { seed } = result
  const world = worldOf(seed)
  sums.acks += result.acks
  sums.crashes += result.crashes
  sums.faults += result.faults
  sums.events += result.eventCount
  sums.virtualMs += result.virtualMs
  if (result.violations.length > 0) {
    failed.push(result)
    process.stderr.write(
      `seed ${seed} failed: npm run sim -- --seed ${seed} --world ${world}${reorgDepthMax > 0 ? ` --reorgs ${reorgDepthMax}` : ''} --trace\n`,
    )
    for (const line of result.violations) process.stderr.write(`  ${line}\n`)
  }
  if (values.seed !== undefined || values.hashes) process.stdout.write(`seed ${seed} ${result.hash}\n`)
  if ((seed - first) % 100 === 99)
    process.stderr.write(
      `${seed - first + 1} of ${count}, ${failed.length} failed, ${perSecond(seed - first + 1)} seeds/s\n`,
    )
}
const summary = {
  seeds: count,
  first,
  reorgDepthMax,
  world: values.world,
  failed: failed.map(({ seed }) => seed),
  seedsPerSecond: Number(perSecond(count)),
  ...sums,
}
process.stdout.write(
  values.json
    ? `${JSON.stringify(summary)}\n`
    : `${count} seeds, ${failed.length} failed, ${perSecond(count)} seeds/s; ${sums.acks} promises, ${sums.crashes} crashes, ${sums.faults} faults, ${Math.round(sums.virtualMs / 3_600_000)} h of virtual time\n`,
)
process.exit(failed.length > 0 ? 1 : 0)

function worldNamed(text: string): 'copies' | 'codes' {
  if (text === 'copies' || text === 'codes') return text
  process.stderr.write('--world is copies, codes or both\n')
  process.exit(2)
}

function perSecond(done: number): string {
  return ((1000 * done) / (performance.now() - startedMs)).toFixed(1)
}
