import { read } from 'node:fs'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { invariant, SEGMENT_CHUNKS, SEGMENT_SIZE_BYTES } from '@weightless/core'
import type { Kernels } from '@weightless/core'
import {
  checkShards,
  columnsOf,
  compileErasure,
  compileSimd,
  encodingCombination,
  fingerprintCoefficients,
  fingerprintOfSums,
  FINGERPRINT_SIZE_BYTES,
  inlineKernels,
  productCountOf,
  recoveryCombination,
  segmentCountOf,
  strideBytesOf,
  SUMS_SIZE_BYTES,
} from '@weightless/kernels'
import type { Combination } from '@weightless/kernels'
import { copyInto } from './copyInto.ts'
import { fail } from './errors.ts'
import { kernelWorkerText } from './worker.ts'
import type { KernelTask, KernelWorkerAnswer, KernelWorkerTask } from './worker.ts'
import { withRelaxedSimd } from './relaxedSimd.ts'

/** The port `Kernels` over worker threads. Workers start when work comes and end when none has come for `idleMs`; a call over
 *  many segments, or over a large stripe, is split over them. Idle workers do not keep the process alive, busy ones do. Rejects with the signal's
 *  reason at once when aborted, with KERNEL_WORKER_FAILED when a worker dies under a call, with KERNEL_QUEUE_FULL when too
 *  many calls wait, with KERNEL_POOL_CLOSED after disposal. */
export function createKernelPool(options: KernelPoolOptions, deps: KernelPoolDeps = {}): KernelPool {
  const { threads, idleMs = IDLE_MS } = options
  invariant(Number.isInteger(threads) && threads >= 1 && threads <= THREADS_MAX, 'a pool has 1 to 256 threads')
  const startWorker = deps.startWorker ?? startKernelWorker
  const inline = inlineKernels()
  const members = new Set<Member>()
  /** All calls that have not been answered, and among them, in turn, those with tasks no worker has yet. */
  const jobs = new Set<Job>()
  const queue: Job[] = []
  /** `null` where WASM SIMD is missing: then all is done on this thread. */
  const compiled = once(() => compiledOrNull(compileSimd))
  const erasure = once(() => (compiled() === null ? null : compiledOrNull(() => withRelaxedSimd(compileErasure))))
  let idleTimer: NodeJS.Timeout | undefined
  let lastTaskId = 0
  let isClosed = false

  const segmentRoots: Kernels['segmentRoots'] = (data, { lastLeafCount, signal }) => {
    if (isClosed) return Promise.reject(fail('KERNEL_POOL_CLOSED'))
    if (data.length <= INLINE_SIZE_BYTES_MAX || compiled() === null) {
      return inline.segmentRoots(data, { lastLeafCount, signal })
    }
    return queued(() => rootWork({ data }, data.length, lastLeafCount, threads), signal)
  }

  const fileSegmentRoots: KernelPool['fileSegmentRoots'] = async (file, { lastLeafCount, signal }) => {
    if (isClosed) throw fail('KERNEL_POOL_CLOSED')
    const sizeBytes = file.end - file.start
    if (sizeBytes > INLINE_SIZE_BYTES_MAX && compiled() !== null)
      return queued(() => rootWork({ file }, sizeBytes, lastLeafCount, threads), signal)
    signal?.throwIfAborted()
    return inline.segmentRoots(await readWhole(file), { lastLeafCount, signal })
  }

  const encodeParity: Kernels['encodeParity'] = (encoding, { signal }) =>
    combined(
      () => encodingCombination(encoding),
      () => inline.encodeParity(encoding, { signal }),
      signal,
    )

  const recover: Kernels['recover'] = (recovery, { signal }) =>
    combined(
      () => recoveryCombination(recovery),
      () => inline.recover(recovery, { signal }),
      signal,
    )

  async function combined(
    combinationOf: () => Combination,
    runInline: () => Promise<void>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    if (isClosed) throw fail('KERNEL_POOL_CLOSED')
    const combination = combinationOf()
    if (productCountOf(combination) <= INLINE_PRODUCTS_MAX || erasure() === null) return runInline()
    return queued(() => combineWork(combination, threads), signal)
  }

  const fingerprints: Kernels['fingerprints'] = async (shards, { point, signal }) => {
    if (isClosed) throw fail('KERNEL_POOL_CLOSED')
    let sizeBytes = 0
    for (const shard of shards) sizeBytes += shard.length
    if (sizeBytes <= INLINE_SHARD_BYTES_MAX || erasure() === null) return inline.fingerprints(shards, { point, signal })
    return queued(() => fingerprintWork(shards, point, threads), signal)
  }

  function queued<T>(workOf: () => Work<T>, signal: AbortSignal | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted()
      const work = workOf()
      if (queue.length >= QUEUE_JOBS_MAX)
        throw fail('KERNEL_QUEUE_FULL', { waiting: queue.length, max: QUEUE_JOBS_MAX })
      const onAbort = (): void => settle(job, () => reject(signal!.reason as Error))
      const job: Job = {
        work,
        nextTask: 0,
        doneCount: 0,
        resolve: () => resolve(work.result),
        reject,
        forget: () => signal?.removeEventListener('abort', onAbort),
      }
      signal?.addEventListener('abort', onAbort, { once: true })
      jobs.add(job)
      queue.push(job)
      if (jobs.size === 1) wake()
      pump()
    })
  }

  /** Hands out work, then starts workers as long as there are more tasks than workers. */
  function pump(): void {
    for (let member = leastBusy(); queue.length > 0 && member !== undefined; member = leastBusy()) dispatch(member)
    let taskCount = 0
    for (const member of members) taskCount += member.tasks.size
    for (const job of queue) {
      if (taskCount > threads) break
      taskCount += job.work.taskCount - job.nextTask
    }
    while (jobs.size > 0 && taskCount > members.size && members.size < threads) start()
  }

  function leastBusy(): Member | undefined {
    let found: Member | undefined
    for (const member of members) {
      if (
        member.isReady &&
        member.tasks.size < TASKS_PER_WORKER_MAX &&
        member.tasks.size < (found?.tasks.size ?? Infinity)
      ) {
        found = member
      }
    }
    return found
  }

  function dispatch(member: Member): void {
    const job = queue.shift()!
    const index = job.nextTask++
    if (job.nextTask < job.work.taskCount) queue.push(job) // behind the others: a large call does not hold up small ones
    let buffer: Uint8Array | undefined
    const takeBuffer = (): Uint8Array => (buffer ??= member.buffers.pop() ?? sharedBuffer())
    const { needs, task } = job.work.taskAt(index, takeBuffer)
    const withKernel = needs === 'erasure' && !member.hasErasure
    member.hasErasure ||= withKernel
    const posted: KernelWorkerTask = {
      id: ++lastTaskId,
      ...task,
      ...(withKernel ? { erasure: erasure()! } : {}),
    }
    member.tasks.set(posted.id, { job, index, buffer })
    member.worker.postMessage(posted)
  }

  function start(): void {
    const worker = startWorker(compiled()!)
    const member: Member = { worker, isReady: false, hasErasure: false, tasks: new Map(), buffers: [] }
    members.add(member)
    worker.on('message', (answer: KernelWorkerAnswer) => receive(member, answer))
    worker.once('error', (error) => lose(member, error))
    worker.once('messageerror', (error) => lose(member, error))
    worker.once('exit', (exitCode) => lose(member, new Error(`exit code ${exitCode}`)))
  }

  function receive(member: Member, { id, result, unread }: KernelWorkerAnswer): void {
    const task = member.tasks.get(id)
    if (task === undefined) member.isReady = true
    else {
      member.tasks.delete(id)
      const { job, index, buffer } = task
      if (unread !== undefined)
        settle(job, () => job.reject(fail('DISK_FAILED', { operation: 'read', reason: unread })))
      else if (jobs.has(job)) {
        job.work.accept(index, result, buffer)
        if (++job.doneCount === job.work.taskCount) settle(job, job.resolve)
      }
      if (buffer !== undefined) member.buffers.push(buffer)
    }
    pump()
  }

  /** A worker is gone: its calls fail, and if it could not even start, so do those that wait, lest it be started for ever. */
  function lose(member: Member, cause: unknown): void {
    if (!members.delete(member)) return
    void member.worker.terminate()
    const hasReady = [...members].some(({ isReady }) => isReady)
    const victims = new Set([...member.tasks.values()].map(({ job }) => job))
    if (!member.isReady && !hasReady) for (const job of queue) victims.add(job)
    for (const job of victims) {
      settle(job, () => job.reject(fail('KERNEL_WORKER_FAILED', { started: member.isReady }, { cause })))
    }
    pump()
  }

  /** Answers a call once; what its workers still send is dropped. */
  function settle(job: Job, answer: () => void): void {
    if (!jobs.delete(job)) return
    const place = queue.indexOf(job)
    if (place >= 0) queue.splice(place, 1)
    job.forget()
    answer()
    if (jobs.size === 0) rest()
  }

  function wake(): void {
    clearTimeout(idleTimer)
    for (const { worker } of members) worker.ref()
  }

  function rest(): void {
    for (const { worker } of members) worker.unref()
    clearTimeout(idleTimer)
    idleTimer = setTimeout(() => void endWorkers(), idleMs).unref()
  }

  async function endWorkers(): Promise<void> {
    const ending = [...members]
    members.clear()
    await Promise.all(ending.map(({ worker }) => worker.terminate()))
  }

  return {
    segmentRoots,
    fileSegmentRoots,
    encodeParity,
    recover,
    fingerprints,
    async [Symbol.asyncDispose]() {
      isClosed = true
      for (const job of jobs) settle(job, () => job.reject(fail('KERNEL_POOL_CLOSED')))
      clearTimeout(idleTimer)
      await endWorkers()
    },
  }
}

export type KernelPoolOptions = {
  /** Workers at most: 1 to 256. */
  readonly threads: number
  /** Workers end after so long without a call, and give their memory back. */
  readonly idleMs?: number | undefined
}
export type KernelPoolDeps = { readonly startWorker?: ((module: WebAssembly.Module) => Worker) | undefined }
export type KernelPool = Kernels &
  AsyncDisposable & {
    /** `segmentRoots` of a part of an open file: the workers read it themselves, straight into their kernels, so its bytes never
     *  pass through this thread. The descriptor must stay open until the promise settles; a call that was aborted may still read
     *  from that number for a moment, and what it reads is dropped. Throws `DISK_FAILED` when the file cannot be read or ends
     *  early. */
    fileSegmentRoots(
      file: FileRange,
      options: { readonly lastLeafCount: number; readonly signal?: AbortSignal | undefined },
    ): Promise<Uint8Array>
  }
/** Bytes start ≤ i < end of an open file. */
export type FileRange = { readonly fd: number; readonly start: number; readonly end: number }

/** 16 KiB take about 40 us to hash, as much as this thread spends on posting them and taking the answer. */
const INLINE_SIZE_BYTES_MAX: number = 16 * 1024
/** 1 MiB takes 2.5 ms: the round trip of 50 us is 2 %, and an abort or a small call waits for no more than that. */
const TASK_SEGMENTS_MAX = 4
/** A buffer holds a task's bytes that are not shared. */
const TASK_SIZE_BYTES: number = TASK_SEGMENTS_MAX * SEGMENT_SIZE_BYTES
/** Products of a byte and a coefficient in a coding task: 1 to 2 ms, so a stripe of 10+4 is one task for each thread. */
const TASK_PRODUCTS_MAX: number = 2 ** 25
/** Not worth splitting. */
const TASK_PRODUCTS_MIN: number = 2 ** 22
const LINE_BYTES = 64
/** So many products of a byte and a coefficient, and so many bytes of fingerprinted shards, take about 50 us too. */
const INLINE_PRODUCTS_MAX: number = 2 ** 20
const INLINE_SHARD_BYTES_MAX: number = 64 * 1024
/** One under way and one behind it, so that a worker has work while this thread is busy. */
const TASKS_PER_WORKER_MAX = 2
/** Waiting calls. An official client has one segment of a file under way per request: this is four files of 256 MiB. The bytes
 *  are the callers' own. */
const QUEUE_JOBS_MAX = 4096
const THREADS_MAX = 256
const IDLE_MS = 30_000

/** A call, cut into tasks. */
type Work<T> = {
  readonly taskCount: number
  /** What is not in shared memory is copied into the buffer of `takeBuffer`: TASK_SIZE_BYTES, the task's own until its answer. */
  taskAt(
    index: number,
    takeBuffer: () => Uint8Array,
  ): { readonly needs: 'keccak' | 'erasure'; readonly task: KernelTask }
  accept(index: number, result: Uint8Array | undefined, buffer: Uint8Array | undefined): void
  /** Complete when all tasks are. */
  readonly result: T
}
type Job = {
  readonly work: Work<unknown>
  nextTask: number
  doneCount: number
  readonly resolve: () => void
  readonly reject: (reason: Error) => void
  readonly forget: () => void
}
type TaskUnderway = { readonly job: Job; readonly index: number; readonly buffer: Uint8Array | undefined }
type Member = {
  readonly worker: Worker
  isReady: boolean
  hasErasure: boolean
  readonly tasks: Map<number, TaskUnderway>
  readonly buffers: Uint8Array[]
}

type Bytes = { readonly data: Uint8Array } | { readonly file: FileRange }

function rootWork(bytes: Bytes, sizeBytes: number, lastLeafCount: number, threads: number): Work<Uint8Array> {
  const segmentCount = segmentCountOf(sizeBytes, lastLeafCount)
  const taskSegments = Math.min(TASK_SEGMENTS_MAX, Math.ceil(segmentCount / threads))
  const taskCount = Math.ceil(segmentCount / taskSegments)
  const roots = new Uint8Array(segmentCount * 32)
  return {
    taskCount,
    result: roots,
    taskAt(index, takeBuffer) {
      const from = index * taskSegments * SEGMENT_SIZE_BYTES
      const to = Math.min(from + taskSegments * SEGMENT_SIZE_BYTES, sizeBytes)
      const head = { lastLeafCount: index === taskCount - 1 ? lastLeafCount : SEGMENT_CHUNKS }
      if ('file' in bytes) {
        const { fd, start } = bytes.file
        return { needs: 'keccak', task: { ...head, file: { fd, start: start + from, end: start + to } } }
      }
      const [data] = sharedCopies([bytes.data.subarray(from, to)], takeBuffer)
      return { needs: 'keccak', task: { ...head, data: data! } }
    },
    accept: (index, found) => roots.set(found!, index * taskSegments * 32),
  }
}

/** Each task takes a part of all rows. */
function combineWork(combination: Combination, threads: number): Work<void> {
  const { coefficients, inputs, outputs } = combination
  const rowCount = inputs.length + outputs.length
  const sizeBytes = outputs[0]!.length
  const isShared = [...inputs, ...outputs].every((row) => row.buffer instanceof SharedArrayBuffer)
  const taskBytes = Math.min(
    Math.max(
      linesIn(sizeBytes / threads) + LINE_BYTES,
      linesIn(TASK_PRODUCTS_MIN / Math.max(1, inputs.length * outputs.length)),
    ),
    linesIn(TASK_PRODUCTS_MAX / Math.max(1, inputs.length * outputs.length)),
    isShared ? Infinity : linesIn(TASK_SIZE_BYTES / rowCount),
  )
  const rowsAt = (index: number): Uint8Array[] => {
    const part = columnsOf(combination, index * taskBytes, (index + 1) * taskBytes)
    return [...part.inputs, ...part.outputs]
  }
  return {
    taskCount: Math.ceil(sizeBytes / taskBytes),
    result: undefined,
    taskAt(index, takeBuffer) {
      const rows = rowsAt(index)
      const places = sharedPlaces(rows, takeBuffer)
      for (let i = 0; i < inputs.length; i++) if (places[i] !== rows[i]) copyInto(places[i]!, rows[i]!, 0)
      const task = {
        coefficients,
        inputs: places.slice(0, inputs.length),
        outputs: places.slice(inputs.length),
        strideBytes: strideBytesOf(rowCount),
      }
      return { needs: 'erasure', task }
    },
    accept(index, _, buffer) {
      if (buffer === undefined) return
      const rows = rowsAt(index)
      const places = sharedPlaces(rows, () => buffer)
      for (let i = inputs.length; i < rowCount; i++) if (places[i] !== rows[i]) copyInto(rows[i]!, places[i]!, 0)
    },
  }
}

function fingerprintWork(shards: readonly Uint8Array[], point: Uint8Array, threads: number): Work<Uint8Array> {
  checkShards(shards)
  const coefficients = fingerprintCoefficients(point)
  const taskShards = Math.min(TASK_SEGMENTS_MAX, Math.ceil(shards.length / threads))
  const fingerprints = new Uint8Array(shards.length * FINGERPRINT_SIZE_BYTES)
  return {
    taskCount: Math.ceil(shards.length / taskShards),
    result: fingerprints,
    taskAt(index, takeBuffer) {
      const part = shards.slice(index * taskShards, (index + 1) * taskShards)
      return { needs: 'erasure', task: { coefficients, shards: sharedCopies(part, takeBuffer) } }
    },
    accept(index, sums) {
      for (let i = 0; i * SUMS_SIZE_BYTES < sums!.length; i++) {
        const fingerprint = fingerprintOfSums(point, sums!.subarray(i * SUMS_SIZE_BYTES))
        fingerprints.set(fingerprint, (index * taskShards + i) * FINGERPRINT_SIZE_BYTES)
      }
    },
  }
}

/** Each row as it is where it lies in shared memory, and a place in the buffer for each of the others. */
function sharedPlaces(rows: readonly Uint8Array[], takeBuffer: () => Uint8Array): Uint8Array[] {
  let at = 0
  return rows.map((row) => {
    if (row.buffer instanceof SharedArrayBuffer) return row
    at += row.length
    return takeBuffer().subarray(at - row.length, at)
  })
}

function sharedCopies(rows: readonly Uint8Array[], takeBuffer: () => Uint8Array): Uint8Array[] {
  const places = sharedPlaces(rows, takeBuffer)
  for (const [i, place] of places.entries()) if (place !== rows[i]) copyInto(place, rows[i]!, 0)
  return places
}

/** Whole cache lines, at least one. */
function linesIn(sizeBytes: number): number {
  return Math.max(1, Math.floor(sizeBytes / LINE_BYTES)) * LINE_BYTES
}

/** Starts a worker in about 15 ms and 8 MB. It needs none of this process's flags or environment, and next to no heap: its
 *  bytes are in shared memory and in the kernels' own 320 KiB, and 704 KiB once it codes. */
export function startKernelWorker(module: WebAssembly.Module): Worker {
  return new Worker(kernelWorkerText, {
    eval: true,
    name: 'weightless-kernels',
    workerData: { module },
    execArgv: [],
    env: {},
    resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 2, stackSizeMb: 1 },
  })
}

async function readWhole({ fd, start, end }: FileRange): Promise<Uint8Array> {
  const into = new Uint8Array(end - start)
  try {
    for (let done = 0; done < into.length;) {
      const { bytesRead } = await promisify(read)(fd, into, done, into.length - done, start + done)
      if (bytesRead === 0) throw new Error('short read')
      done += bytesRead
    }
    return into
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    throw fail('DISK_FAILED', { operation: 'read', reason: code ?? message }, { cause })
  }
}

function sharedBuffer(): Uint8Array {
  return new Uint8Array(new SharedArrayBuffer(TASK_SIZE_BYTES))
}

function compiledOrNull(compile: () => WebAssembly.Module): WebAssembly.Module | null {
  try {
    return compile()
  } catch {
    return null
  }
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined
  return () => (made ??= { value: make() }).value
}
