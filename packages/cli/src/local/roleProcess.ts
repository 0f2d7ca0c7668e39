import { isFailure, type Abortable, type Clock, type Logger } from '@weightless/core'
import { superviseChild, type Child } from '@weightless/host'
import { fail } from '../errors.ts'
import { tailLines } from './logLines.ts'
import type { RoleState } from './status.ts'

/** A role in a process of its own: started from our bundle, ready when its /health says so. */
export type RoleProcess = {
  readonly name: string
  readonly url: string
  readonly pid: number | undefined
  readonly state: Exclude<RoleState, 'draining'>
  readonly restarts: number
  /** Starts the process and resolves when it is ready. Throws `ROLE_NOT_READY` with the end of its log. */
  start(options: Abortable): Promise<void>
  /** Bounded: what does not end by itself is killed. */
  stop(): Promise<void>
}

export type RoleOptions = {
  readonly name: string
  readonly url: string
  /** The bundle, `dist/weightless.mjs`. */
  readonly entry: string
  readonly configFile: string
  readonly logFile: string
  /** A storage node that dies stays down until somebody starts it (DESIGN 3); other roles come back by themselves. */
  readonly restart: 'never' | 'backOff'
}
export type RoleDeps = {
  readonly clock: Clock
  readonly logger: Logger
  /** The state or the pid has changed. */
  readonly onChange: () => void
}

/** Opening a store and following the chain from its start takes a second; a busy machine gets a minute. */
const READY_MS_MAX = 60_000
/** A question costs both sides milliseconds of CPU, which is what roles that start side by side wait for. */
const HEALTH_STEP_MS = 100
const HEALTH_MS_MAX = 2_000
const STOP_GRACE_MS = 8_000
const RESTART = { firstDelayMs: 250, delayMsMax: 10_000 }
/** Lines of its log that the error of a failed start carries. */
const FAILURE_LINES = 5
/** Young objects of a role die within one request, so a nursery of 1 MiB instead of 16 keeps few of them; for 20 MB of heap the
 *  helpers of the collector cost more than they collect. Pieces of bodies are collected by their size: host/src/bodyPieces.ts.
 *  Code that was not run for five collections would be forgotten, and compiled again by the next upload. A heap of 20 MB that is
 *  tidied up whenever the role is idle costs the six nodes 0.2 CPU s (docs/bench/ingest.md). */
const NODE_FLAGS = [
  '--max-semi-space-size=1',
  '--single-threaded-gc',
  '--expose-gc',
  '--no-flush-bytecode',
  '--no-memory-reducer',
  ...lateOptimising(),
]
/** glibc gives the end of its memory back to the system at each chance and fetches it again for the next body: 7 us for each page
 *  of 4 KiB. It keeps up to 64 MiB now, in two places and not in one per thread. Other C libraries do not read these. */
const ALLOCATOR_ENVIRONMENT = {
  MALLOC_ARENA_MAX: '2',
  MALLOC_MMAP_THRESHOLD_: String(1024 ** 2),
  MALLOC_TRIM_THRESHOLD_: String(64 * 1024 ** 2),
}

export function createRoleProcess(options: RoleOptions, deps: RoleDeps): RoleProcess {
  let child: Child | undefined
  let state: Exclude<RoleState, 'draining'> = 'down'
  let restarts = 0

  const become = (next: typeof state): void => {
    state = next
    deps.onChange()
  }

  async function waitReady(
    current: Child,
    scope: { readonly ended: AbortSignal; readonly signal?: AbortSignal | undefined },
  ): Promise<void> {
    const { ended, signal } = scope
    const patience = AbortSignal.any([
      ended,
      deps.clock.deadline(READY_MS_MAX),
      ...(signal === undefined ? [] : [signal]),
    ])
    let halted: string | undefined
    try {
      await current.started
      for (;;) {
        const health = await healthOf(options.url, deps.clock)
        if (health.isReady) break
        // Its follower waits for a person: no patience helps.
        halted = health.halted
        if (halted !== undefined) throw new Error(halted)
        await deps.clock.sleep(HEALTH_STEP_MS, { signal: patience })
      }
    } catch (cause) {
      if (signal?.aborted) throw signal.reason
      const { lines } = await tailLines(options.logFile, FAILURE_LINES)
      throw fail(
        'ROLE_NOT_READY',
        {
          role: options.name,
          reason: halted ?? (ended.aborted ? 'its process ended' : 'it did not answer in time'),
          log: lines.join('\n    '),
        },
        isFailure(cause) ? { cause } : {},
      )
    }
    if (child === current && current.pid !== undefined) become('running')
  }

  return {
    name: options.name,
    url: options.url,
    get pid() {
      return child?.pid
    },
    get state() {
      return state
    },
    get restarts() {
      return restarts
    },
    async start(abortable) {
      restarts = 0
      state = 'starting'
      let isFirstRun = true
      const ended = new AbortController()
      const current = superviseChild(
        {
          name: options.name,
          command: process.execPath,
          args: [...NODE_FLAGS, options.entry, 'node', 'run', '--config', options.configFile, '--exit-with-parent'],
          env: { ...process.env, ...ALLOCATOR_ENVIRONMENT },
          logFile: options.logFile,
          guard: 'stdin',
          restart: options.restart === 'never' ? 'never' : RESTART,
          onStart: () => {
            if (isFirstRun) return deps.onChange()
            restarts += 1
            become('starting')
            waitReady(current, { ended: NEVER }).catch((error: unknown) =>
              deps.logger.warn('role.notReady', { role: options.name, error }),
            )
          },
          onExit: () => {
            isFirstRun = false
            // Whoever waits for the first start learns of its end at once, also when there will be another run.
            ended.abort()
            become(options.restart === 'never' ? 'down' : 'waiting')
          },
        },
        deps,
      )
      child = current
      void current.ended.then(() => ended.abort())
      try {
        await waitReady(current, { ended: ended.signal, signal: abortable.signal })
      } catch (error) {
        await current.stop({ graceMs: STOP_GRACE_MS })
        become('down')
        throw error
      }
    },
    async stop() {
      await child?.stop({ graceMs: STOP_GRACE_MS })
      become('down')
    },
  }
}

/** A role does little of its work in JavaScript and most of that a few hundred times: optimising it cost the gateway 0.28 s for
 *  each 100 MB of uploads and won less than it cost (docs/bench/ingest.md). Six times the budget leaves that to what runs all the
 *  time. Later releases of Node
 *  name it otherwise, and have a cheaper compiler in between. */
function lateOptimising(): readonly string[] {
  return process.versions.node.startsWith('20.') ? ['--interrupt-budget=400000'] : []
}

const NEVER: AbortSignal = new AbortController().signal

type Health = { readonly isReady: boolean; readonly halted?: string | undefined }

async function healthOf(url: string, clock: Clock): Promise<Health> {
  try {
    const response = await fetch(`${url}/health`, { signal: clock.deadline(HEALTH_MS_MAX) })
    const { chain } = (await response.json()) as { readonly chain?: { readonly [name: string]: unknown } }
    const halted = chain?.['state'] === 'halted' ? String(chain['message']) : undefined
    return { isReady: response.ok, halted }
  } catch {
    return { isReady: false }
  }
}
