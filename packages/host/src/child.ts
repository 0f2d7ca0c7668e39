import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { readFile, rm, writeFile } from 'node:fs/promises'
import type { Writable } from 'node:stream'
import type { Abortable, Clock, Logger } from '@weightless/core'
import { isProcess } from './process.ts'

/** How long a child may take to end by itself before it is killed. */
const STOP_GRACE_MS = 10_000
/** A child that ran this long is healthy: its next restart starts again from the first delay. */
const HEALTHY_AFTER_MS = 30_000
/** How long the pid of a guarded child may take to arrive: starting a shell takes milliseconds. */
const PID_REPORT_MS = 5000
const STALE_POLL_MS = 20
const STALE_GRACE_MS = 3000

/** Starts a child process and keeps watch over it: output to a log file, restarts with back-off, a bounded stop, and no
 *  orphan after any death of this process, SIGKILL included (see `guard`). */
export function superviseChild(
  options: ChildOptions,
  deps: { readonly clock: Clock; readonly logger?: Logger | undefined },
): Child {
  const stopping = new AbortController()
  let run = startRun(options)
  let restartDelayMs = options.restart === 'never' ? 0 : options.restart.firstDelayMs
  let ended: ChildExit | undefined
  let sleeping = false

  const life = (async (): Promise<ChildExit> => {
    for (;;) {
      const startedMs = deps.clock.nowMs()
      run.pid.then((pid) => recordStart(pid), ignore)
      const exit = await run.exit
      if (options.pidFile !== undefined) await rm(options.pidFile, { force: true })
      if (stopping.signal.aborted) return exit
      deps.logger?.warn('child.exited', { child: options.name, exitCode: exit.exitCode, exitSignal: exit.exitSignal })
      options.onExit?.(exit)
      if (options.restart === 'never' || stopping.signal.aborted) return exit
      if (deps.clock.nowMs() - startedMs >= HEALTHY_AFTER_MS) restartDelayMs = options.restart.firstDelayMs
      sleeping = true
      await deps.clock.sleep(restartDelayMs, { signal: stopping.signal }).catch(ignore)
      sleeping = false
      if (stopping.signal.aborted) return exit
      restartDelayMs = Math.min(restartDelayMs * 2, options.restart.delayMsMax)
      run = startRun(options)
    }
  })().then((exit) => (ended = exit))

  async function recordStart(pid: number): Promise<void> {
    options.onStart?.(pid)
    if (options.pidFile === undefined) return
    await writeFile(options.pidFile, `${JSON.stringify({ pid })}\n`, { mode: 0o600 })
    // The child may have ended while its file was being written.
    if (run.exited) await rm(options.pidFile, { force: true })
  }

  async function stop(how: StopOptions = {}): Promise<ChildExit> {
    stopping.abort()
    if (ended !== undefined || sleeping) return life
    const current = run
    const pid = await current.pid.catch(() => undefined)
    if (pid !== undefined && !current.exited) sendSignal(pid, how.stopSignal ?? 'SIGTERM')
    const cut = new AbortController()
    const patience = how.signal === undefined ? cut.signal : AbortSignal.any([cut.signal, how.signal])
    const late = deps.clock.sleep(how.graceMs ?? STOP_GRACE_MS, { signal: patience }).then(
      () => true,
      () => how.signal?.aborted === true,
    )
    const killed = await Promise.race([current.exit.then(() => false), late])
    cut.abort()
    if (killed) {
      deps.logger?.warn('child.killed', { child: options.name, pid })
      current.kill()
    }
    return life
  }

  return {
    get pid() {
      return run.exited ? undefined : run.knownPid
    },
    get started() {
      return run.pid
    },
    ended: life,
    stop,
    [Symbol.asyncDispose]: async () => {
      await stop()
    },
  }
}

export type ChildOptions = {
  /** For logs. */
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  readonly env?: { readonly [name: string]: string | undefined } | undefined
  readonly workingDirectory?: string | undefined
  /** Standard output and error are appended here. */
  readonly logFile: string
  /** What ends the child when this process dies in any way. `stdin`: the child itself, because it promises to exit when its
   *  standard input ends. `shell`: a small /bin/sh beside it that waits for the end of our pipe (for programs of others). */
  readonly guard: 'stdin' | 'shell'
  /** Removed when the child ends; what is found there at the next start is stale (`endStaleChild`). */
  readonly pidFile?: string | undefined
  readonly restart: 'never' | RestartPolicy
  readonly onStart?: ((pid: number) => void) | undefined
  /** Called at every end that `stop()` did not ask for. */
  readonly onExit?: ((exit: ChildExit) => void) | undefined
}
/** The delay doubles from the first to the largest, and starts anew after a healthy run. */
export type RestartPolicy = { readonly firstDelayMs: number; readonly delayMsMax: number }
export type ChildExit = { readonly exitCode: number | null; readonly exitSignal: string | null }
export type StopOptions = Abortable & {
  readonly graceMs?: number | undefined
  readonly stopSignal?: 'SIGTERM' | 'SIGKILL' | undefined
}

export type Child = {
  /** `undefined` until it is known and while the child is down. */
  readonly pid: number | undefined
  /** The pid of the present run; rejects when the child could not be started. */
  readonly started: Promise<number>
  /** Settles at the final end: after `stop()`, or after the first exit with `restart: 'never'`. */
  readonly ended: Promise<ChildExit>
  /** Signals the child, waits at most `graceMs`, then kills it with all that it started. Aborting `signal` kills at once. */
  stop(options?: StopOptions): Promise<ChildExit>
  [Symbol.asyncDispose](): Promise<void>
}

/** Ends a child that an earlier process left behind, if its pid file names a live process whose command line contains
 *  `needle` (a path only that child has: pids are reused). It gets `patienceMs` to end by itself, because its guard may just have
 *  told it to, and is killed then. Answers whether there was one. */
export async function endStaleChild(
  options: { readonly pidFile: string; readonly needle: string; readonly patienceMs?: number | undefined },
  deps: { readonly clock: Clock },
  { signal }: Abortable = {},
): Promise<boolean> {
  const pid = readPid(await readFile(options.pidFile, 'utf8').catch(() => ''))
  const isStale = pid !== undefined && (await isProcess(pid, options.needle))
  if (isStale && !(await hasEnded(pid, options.needle, options.patienceMs ?? 0))) {
    sendSignal(pid, 'SIGKILL')
    await hasEnded(pid, options.needle, STALE_GRACE_MS)
  }
  await rm(options.pidFile, { force: true })
  return isStale

  async function hasEnded(stale: number, needle: string, withinMs: number): Promise<boolean> {
    const deadlineMs = deps.clock.nowMs() + withinMs
    while (await isProcess(stale, needle)) {
      if (deps.clock.nowMs() >= deadlineMs) return false
      await deps.clock.sleep(STALE_POLL_MS, { signal })
    }
    return true
  }
}

function readPid(text: string): number | undefined {
  try {
    const value: unknown = JSON.parse(text)
    const pid = typeof value === 'object' && value !== null && 'pid' in value ? value.pid : undefined
    return typeof pid === 'number' && Number.isSafeInteger(pid) && pid > 1 ? pid : undefined
  } catch {
    return undefined
  }
}

type Run = {
  readonly pid: Promise<number>
  readonly knownPid: number | undefined
  readonly exit: Promise<ChildExit>
  readonly exited: boolean
  kill(): void
}

// The guard: starts the program, reports its pid on descriptor 4, then waits for it. A second shell reads our pipe (kept on
// descriptor 3, because a shell without job control gives background lists /dev/null as standard input) and kills the program
// when the pipe ends, that is when this process is gone. POSIX sh only: dash, bash 3.2 and busybox run it alike.
const GUARD = `
exec 3<&0 </dev/null
"$@" 3<&- 4>&- &
child=$!
echo "$child" >&4
exec 4>&-
(
  while read -r line <&3; do :; done
  kill -KILL "$child"
) >/dev/null 2>&1 &
watcher=$!
exec 3<&-
wait "$child" 2>/dev/null
code=$?
kill "$watcher" 2>/dev/null
exit "$code"
`

function startRun(options: ChildOptions): Run {
  // Windows has neither /bin/sh nor process groups: there the child is started bare and dies with a stop only.
  const guarded = options.guard === 'shell' && process.platform !== 'win32'
  const log = openSync(options.logFile, 'a', 0o600)
  let child: ChildProcess
  try {
    child = spawn(
      guarded ? '/bin/sh' : options.command,
      guarded ? ['-c', GUARD, 'weightless-guard', options.command, ...options.args] : [...options.args],
      {
        stdio: guarded ? ['pipe', log, log, 'ignore', 'pipe'] : ['pipe', log, log],
        // A group of its own: Ctrl-C in the terminal reaches this process only, which then stops its children in order.
        detached: process.platform !== 'win32',
        ...(options.workingDirectory === undefined ? {} : { cwd: options.workingDirectory }),
        ...(options.env === undefined ? {} : { env: { ...options.env } }),
      },
    )
  } finally {
    closeSync(log)
  }
  const stdin = child.stdin
  stdin?.on('error', ignore) // EPIPE: the reader is gone, and its exit is reported on its own

  let exited = false
  let knownPid: number | undefined
  const exit = new Promise<ChildExit>((resolve) => {
    child.once('exit', (exitCode, exitSignal) => {
      exited = true
      // A guard that was killed from outside leaves the program to its second shell; nothing of the group stays behind.
      if (guarded && exitSignal !== null) killGroup(child.pid)
      stdin?.destroy()
      resolve({ exitCode, exitSignal })
    })
    child.once('error', () => {
      if (child.pid !== undefined) return
      exited = true
      resolve({ exitCode: null, exitSignal: null })
    })
  })
  const pid = (guarded ? reportedPid(child) : spawnedPid(child)).then((value) => (knownPid = value))
  pid.catch(ignore)
  return {
    pid,
    exit,
    get knownPid() {
      return knownPid
    },
    get exited() {
      return exited
    },
    kill() {
      if (exited) return
      if (process.platform === 'win32') child.kill('SIGKILL')
      else killGroup(child.pid)
    },
  }
}

function spawnedPid(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('spawn', () => resolve(child.pid!))
    child.once('error', reject)
  })
}

function reportedPid(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    const pipe = child.stdio[4]
    if (pipe === null || pipe === undefined || !('setEncoding' in pipe)) {
      child.once('error', reject)
      return
    }
    const timer = setTimeout(() => reject(new Error('the guard reported no pid')), PID_REPORT_MS)
    let text = ''
    pipe.setEncoding('utf8')
    pipe.on('data', (part: string) => (text += part))
    pipe.on('error', ignore)
    pipe.once('close', () => {
      clearTimeout(timer)
      const pid = Number(text.trim())
      if (Number.isSafeInteger(pid) && pid > 1) resolve(pid)
      else reject(new Error('the guard reported no pid'))
    })
    child.once('error', (error) => {
      clearTimeout(timer)
      ;(pipe as unknown as Writable).destroy()
      reject(error)
    })
  })
}

function killGroup(leader: number | undefined): void {
  if (leader !== undefined) sendSignal(-leader, 'SIGKILL')
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // Already gone.
  }
}

function ignore(): void {}
