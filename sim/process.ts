import type { Clock, Disk, DiskFile, Index, Kernels, Logger, Random } from '@weightless/core'
import type { Chance } from './chance.ts'
import type { VirtualTime } from './clock.ts'
import type { Trace } from './trace.ts'

/**
 * One process of the world: all that it waits for goes through its gate. A dead process hears nothing more: whatever it
 * awaits never settles, so it ends between two of its steps, as kill -9 ends a program. What it has begun (a write, a request)
 * may still happen.
 */
export type Process = {
  readonly name: string
  isAlive(): boolean
  /** Awaits `work` for this process. `what` is a word for the trace. */
  gate<T>(what: string, work: () => Promise<T>): Promise<T>
  /** Dies at its `steps`-th step from now: before it does something, or just after. */
  dieAfter(steps: number, onDeath: () => void): void
  die(): void
  /** Returns the function that calls it off. */
  onDeath(work: () => void): () => void
  /** Ended when the world is over: Node keeps signals that were joined, and all that listens to them, until they abort. */
  readonly signals: Set<AbortController>
  readonly clock: Clock
  readonly random: Random
  /** Its clock says this much more than the time of the world. */
  skewMs: number
}

/** The world begins here, in milliseconds since the epoch. */
export const WORLD_EPOCH_MS = 1_700_000_000_000

export type ProcessDeps = {
  readonly time: VirtualTime
  readonly chance: Chance
  readonly trace: Trace
  /** Hears of every process. */
  readonly onStart?: ((process: Process) => void) | undefined
}

export function createProcess(name: string, deps: ProcessDeps): Process {
  const { time, chance, trace } = deps
  let isAlive = true
  let stepsLeft = Infinity
  let onLastStep: () => void = () => undefined
  const deathWatch = new Set<() => void>()

  /** Tells whether the process lives on. */
  function step(): boolean {
    if (!isAlive) return false
    if (--stepsLeft > 0) return true
    stepsLeft = Infinity
    onLastStep()
    return isAlive
  }

  const process: Process = {
    name,
    skewMs: 0,
    signals: new Set(),
    isAlive: () => isAlive,
    gate<T>(what: string, work: () => Promise<T>): Promise<T> {
      if (!step()) return new Promise<T>(() => undefined)
      trace.add(name, what)
      return new Promise<T>((resolve, reject) => {
        work().then(
          (value) => step() && resolve(value),
          (error: unknown) => step() && reject(error as Error),
        )
      })
    },
    dieAfter(steps, onDeath) {
      stepsLeft = steps
      onLastStep = onDeath
    },
    die() {
      if (!isAlive) return
      isAlive = false
      const works = [...deathWatch]
      deathWatch.clear()
      for (const work of works) work()
    },
    onDeath(work) {
      deathWatch.add(work)
      return () => void deathWatch.delete(work)
    },
    random: { bytes: (sizeBytes) => chance.bytes(sizeBytes) },
    clock: {
      nowMs: () => WORLD_EPOCH_MS + Math.floor(time.nowMs()) + process.skewMs,
      sleep(ms, { signal }) {
        return new Promise((resolve, reject) => {
          if (signal?.aborted) {
            reject(signal.reason as Error)
            return
          }
          const stop = (): void => {
            cancel()
            reject(signal!.reason as Error)
          }
          const cancel = time.after(ms, () => {
            signal?.removeEventListener('abort', stop)
            if (step()) resolve()
          })
          signal?.addEventListener('abort', stop, { once: true })
        })
      },
      deadline(ms) {
        const over = new AbortController()
        process.signals.add(over)
        time.after(ms, () => {
          process.signals.delete(over)
          if (isAlive) over.abort(new DOMException('the time is over', 'TimeoutError'))
        })
        return over.signal
      },
    },
  }
  deps.onStart?.(process)
  return process
}

/** A disk as this process reaches it. `delayMs` is what a call takes; a sync takes longer than the rest. */
export function gatedDisk(disk: Disk, process: Process, delayMs: (what: 'sync' | 'write') => Promise<void>): Disk {
  const { gate } = process
  const openFile = (file: DiskFile): DiskFile => ({
    identity: file.identity,
    read: (into, position) => gate('read', () => file.read(into, position)),
    write: (parts, position) =>
      gate('write', async () => {
        await delayMs('write')
        await file.write(parts, position)
      }),
    sync: () =>
      gate('sync', async () => {
        await delayMs('sync')
        await file.sync()
      }),
    allocate: (sizeBytes) => gate('allocate', () => file.allocate(sizeBytes)),
    close: () => gate('close', () => file.close()),
  })
  return {
    open: (path, options) => gate('open', async () => openFile(await disk.open(path, options))),
    makeDirectory: (path) => gate('makeDirectory', () => disk.makeDirectory(path)),
    list: (path) => gate('list', () => disk.list(path)),
    stat: (path) => gate('stat', () => disk.stat(path)),
    rename: (from, to) => gate('rename', () => disk.rename(from, to)),
    remove: (path) => gate('remove', () => disk.remove(path)),
    syncDirectory: (path) =>
      gate('syncDirectory', async () => {
        await delayMs('sync')
        await disk.syncDirectory(path)
      }),
    free: (path) => gate('free', () => disk.free(path)),
  }
}

export function gatedIndex(index: Index, process: Process): Index {
  return {
    get: (key) => index.get(key),
    range: (options) => index.range(options),
    transaction: (changes, options) =>
      process.gate(`commit ${options.durability}`, () => index.transaction(changes, options)),
    close: () => process.gate('close index', () => index.close()),
  }
}

export function gatedKernels(kernels: Kernels, process: Process): Kernels {
  const { gate } = process
  return {
    segmentRoots: (data, options) => gate('hash', () => kernels.segmentRoots(data, options)),
    encodeParity: (encoding, options) => gate('encode', () => kernels.encodeParity(encoding, options)),
    recover: (recovery, options) => gate('recover', () => kernels.recover(recovery, options)),
    fingerprints: (shards, options) => gate('fingerprint', () => kernels.fingerprints(shards, options)),
  }
}

/** What a process says; errors that no part of ours states are bugs and go to `onBug`. */
export function processLogger(process: Process, trace: Trace, onBug: (event: string, error: unknown) => void): Logger {
  const say =
    (level: string) =>
    (event: string, fields: { readonly [name: string]: unknown } = {}): void => {
      if (!process.isAlive()) return
      trace.add(process.name, level, event)
      if (trace.isKept) trace.say(process.name, level, event, fields)
      if (level !== 'debug') onBug(event, fields['error'])
    }
  const logger: Logger = {
    debug: say('debug'),
    info: say('info'),
    warn: say('warn'),
    error: say('error'),
    child: () => logger,
  }
  return logger
}
