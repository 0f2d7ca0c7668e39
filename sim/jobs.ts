import { fork } from 'node:child_process'
import { runWorld, type WorldOptions, type WorldResult } from './world.ts'

/** A world by what another process can be told of it. */
export type Job = Pick<WorldOptions, 'seed' | 'world' | 'reorgDepthMax'>

/** Who runs one world after the other. */
export type Worker = {
  /** Rejects when the worker has ended. */
  run(job: Job): Promise<WorldResult>
  end(): void
}

/** The results of all jobs in their order, each as soon as those before it are there. `workerCount` workers take the next job when they
 *  have done one. A job whose worker ends is a violation of its own, and another worker goes on. */
export async function* resultsOf(
  jobs: readonly Job[],
  options: { readonly workerCount: number; readonly start: () => Worker },
): AsyncGenerator<WorldResult> {
  const done = new Map<number, WorldResult>()
  let nextJob = 0
  let tell: () => void = () => undefined
  const work = async (): Promise<void> => {
    let worker: Worker | undefined
    for (let at = nextJob++; at < jobs.length; at = nextJob++) {
      worker ??= options.start()
      try {
        done.set(at, await worker.run(jobs[at]!))
      } catch (error) {
        worker = undefined
        done.set(at, { ...NOTHING, seed: jobs[at]!.seed, violations: [`its process ended: ${String(error)}`] })
      }
      tell()
    }
    worker?.end()
  }
  for (let i = 0; i < Math.min(options.workerCount, jobs.length); i++) void work()
  for (let at = 0; at < jobs.length; at++) {
    while (!done.has(at)) await new Promise<void>((resolve) => (tell = resolve))
    yield done.get(at)!
    done.delete(at)
  }
}

const NOTHING = { hash: '', eventCount: 0, virtualMs: 0, acks: 0, crashes: 0, faults: 0 }

/** Starts this program again as a worker. */
export function startProcess(): Worker {
  const child = fork(process.argv[1]!, [WORKER])
  let ended: string | undefined
  let fail: (error: Error) => void = () => undefined
  const onEnd = (how: string): void => {
    ended ??= how
    fail(new Error(ended))
  }
  child.once('exit', (code, signal) => onEnd(signal ?? `exit ${code}`))
  child.once('error', (error) => onEnd(error.message))
  return {
    run: (job) =>
      new Promise((resolve, reject) => {
        fail = reject
        if (ended !== undefined) return onEnd(ended)
        child.once('message', (result) => resolve(result as WorldResult))
        child.send(job)
      }),
    end: () => child.disconnect(),
  }
}

/** The first argument of a worker. */
export const WORKER = 'worker'

/** What a worker does until nobody listens to it any more. */
export function serveJobs(): Promise<never> {
  Error.stackTraceLimit = 0
  process.on('message', (job) => void runWorld(job as Job).then((result) => process.send?.(result)))
  return new Promise(() => undefined)
}
