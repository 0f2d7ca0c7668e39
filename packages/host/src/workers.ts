import { read } from 'node:fs'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { invariant, SEGMENT_CHUNKS, SEGMENT_SIZE_BYTES } from '@weightless/core'
import type { Abortable, Kernels } from '@weightless/core'
import { compileSimd, inlineKernels, segmentCountOf } from '@weightless/kernels'
import { copyInto } from './copyInto.ts'
import { fail } from './errors.ts'
import { kernelWorkerText } from './worker.ts'
import type { KernelWorkerAnswer, KernelWorkerTask } from './worker.ts'

/** The port `Kernels` over worker threads. Workers start when work comes and end when none has come for `idleMs`; a call over
 *  many segments is split over them. Idle workers do not keep the process alive, busy ones do. Rejects with the signal's
 *  reason at once when aborted, with KERNEL_WORKER_FAILED when a worker dies under a call, with KERNEL_QUEUE_FULL when too
 *  many calls wait, with KERNEL_POOL_CLOSED after disposal. */
export function createKernelPool(options: KernelPoolOptions, deps: KernelPoolDeps = {}): KernelPool {
  const { threads, idleMs = IDLE_MS } = options
  invariant(Number.isInteger(threads) && threads >= 1 && threads <= THREADS_MAX, 'a pool has 1 to 256 threads')
  const startWorker = deps.startWorker ?? startKernelWorker
  const inline = inlineKernels()
  const members = new Set<Member>()
  /** All calls that have not been answered, and among them, in turn, those with segments no worker has yet. */
  const jobs = new Set<Job>()
  const queue: Job[] = []
  /** `null` where WASM SIMD is missing: then all is hashed on this thread. */
  let module: WebAssembly.Module | null | undefined
  let idleTimer: NodeJS.Timeout | undefined
  let lastTaskId = 0
  let isClosed = false

  const segmentRoots: Kernels['segmentRoots'] = (data, { lastLeafCount, signal }) => {
    if (isClosed) return Promise.reject(fail('KERNEL_POOL_CLOSED'))
    if (data.length <= INLINE_SIZE_BYTES_MAX || compiled() === null) {
      return inline.segmentRoots(data, { lastLeafCount, signal })
    }
    return queued({ data }, data.length, { lastLeafCount, signal })
  }

  const fileSegmentRoots: KernelPool['fileSegmentRoots'] = async (file, { lastLeafCount, signal }) => {
    if (isClosed) throw fail('KERNEL_POOL_CLOSED')
    const sizeBytes = file.end - file.start
    if (sizeBytes > INLINE_SIZE_BYTES_MAX && compiled() !== null)
      return queued({ file }, sizeBytes, { lastLeafCount, signal })
    signal?.throwIfAborted()
    return inline.segmentRoots(await readWhole(file), { lastLeafCount, signal })
  }

  function queued(
    bytes: JobBytes,
    sizeBytes: number,
    { lastLeafCount, signal }: { readonly lastLeafCount: number } & Abortable,
  ): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted()
      const segmentCount = segmentCountOf(sizeBytes, lastLeafCount)
      if (queue.length >= QUEUE_JOBS_MAX)
        throw fail('KERNEL_QUEUE_FULL', { waiting: queue.length, max: QUEUE_JOBS_MAX })
      const onAbort = (): void => settle(job, () => reject(signal!.reason as Error))
      const job: Job = {
        bytes,
        sizeBytes,
        lastLeafCount,
        segmentCount,
        taskSegments: Math.min(TASK_SEGMENTS_MAX, Math.ceil(segmentCount / threads)),
        nextSegment: 0,
        doneCount: 0,
        roots: new Uint8Array(segmentCount * 32),
        resolve,
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

  function compiled(): WebAssembly.Module | null {
    if (module === undefined) {
      try {
        module = compileSimd()
      } catch {
        module = null
      }
    }
    return module
  }

  /** Hands out work, then starts workers as long as there are more tasks than workers. */
  function pump(): void {
    for (let member = leastBusy(); queue.length > 0 && member !== undefined; member = leastBusy()) dispatch(member)
    let taskCount = 0
    for (const member of members) taskCount += member.tasks.size
    for (const job of queue) {
      if (taskCount > threads) break
      taskCount += Math.ceil((job.segmentCount - job.nextSegment) / job.taskSegments)
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
    const first = job.nextSegment
    job.nextSegment = Math.min(first + job.taskSegments, job.segmentCount)
    const isLast = job.nextSegment === job.segmentCount
    if (!isLast) queue.push(job) // behind the others: a large call does not hold up small ones
    const from = first * SEGMENT_SIZE_BYTES
    const to = Math.min(job.nextSegment * SEGMENT_SIZE_BYTES, job.sizeBytes)
    const head = { id: ++lastTaskId, lastLeafCount: isLast ? job.lastLeafCount : SEGMENT_CHUNKS }
    let task: KernelWorkerTask
    let buffer: Uint8Array | undefined
    if ('file' in job.bytes) {
      const { fd, start } = job.bytes.file
      task = { ...head, file: { fd, start: start + from, end: start + to } }
    } else {
      const part = job.bytes.data.subarray(from, to)
      if (!(part.buffer instanceof SharedArrayBuffer)) buffer = member.buffers.pop() ?? sharedBuffer()
      if (buffer !== undefined) copyInto(buffer, part, 0)
      task = { ...head, data: buffer?.subarray(0, part.length) ?? part }
    }
    member.tasks.set(task.id, { job, first, buffer })
    member.worker.postMessage(task)
  }

  function start(): void {
    const worker = startWorker(compiled()!)
    const member: Member = { worker, isReady: false, tasks: new Map(), buffers: [] }
    members.add(member)
    worker.on('message', (answer: KernelWorkerAnswer) => receive(member, answer))
    worker.once('error', (error) => lose(member, error))
    worker.once('messageerror', (error) => lose(member, error))
    worker.once('exit', (exitCode) => lose(member, new Error(`exit code ${exitCode}`)))
  }

  function receive(member: Member, { id, roots, unread }: KernelWorkerAnswer): void {
    const task = member.tasks.get(id)
    if (task === undefined) member.isReady = true
    else {
      member.tasks.delete(id)
      if (task.buffer !== undefined) member.buffers.push(task.buffer)
      if (unread === undefined) accept(task, roots)
      else settle(task.job, () => task.job.reject(fail('DISK_FAILED', { operation: 'read', reason: unread })))
    }
    pump()
  }

  function accept({ job, first }: TaskUnderway, roots: Uint8Array): void {
    job.roots.set(roots, first * 32)
    job.doneCount += roots.length / 32
    if (job.doneCount === job.segmentCount) settle(job, () => job.resolve(job.roots))
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
/** One under way and one behind it, so that a worker has work while this thread is busy. */
const TASKS_PER_WORKER_MAX = 2
/** Waiting calls. An official client has one segment of a file under way per request: this is four files of 256 MiB. The bytes
 *  are the callers' own. */
const QUEUE_JOBS_MAX = 4096
const THREADS_MAX = 256
const IDLE_MS = 30_000

type JobBytes = { readonly data: Uint8Array } | { readonly file: FileRange }
type Job = {
  readonly bytes: JobBytes
  readonly sizeBytes: number
  readonly lastLeafCount: number
  readonly segmentCount: number
  readonly taskSegments: number
  nextSegment: number
  doneCount: number
  readonly roots: Uint8Array
  readonly resolve: (roots: Uint8Array) => void
  readonly reject: (reason: Error) => void
  readonly forget: () => void
}
/** `buffer` holds a copy of bytes that were not shared; it goes back to its worker's when the answer is here. */
type TaskUnderway = { readonly job: Job; readonly first: number; readonly buffer: Uint8Array | undefined }
type Member = {
  readonly worker: Worker
  isReady: boolean
  readonly tasks: Map<number, TaskUnderway>
  readonly buffers: Uint8Array[]
}

/** Starts a worker in about 15 ms and 8 MB. It needs none of this process's flags or environment, and next to no heap: its
 *  bytes are in shared memory and in the kernel's own 320 KiB. */
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
  return new Uint8Array(new SharedArrayBuffer(TASK_SEGMENTS_MAX * SEGMENT_SIZE_BYTES))
}
