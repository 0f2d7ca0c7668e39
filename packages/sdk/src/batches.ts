import {
  CHUNK_SIZE_BYTES,
  layFrames,
  segmentDataSize,
  SEGMENT_SIZE_BYTES,
  type Abortable,
  type FileTree,
  type FrameHead,
  type Layout,
} from '@weightless/core'
import { childScope } from './scope.ts'
import { sharedBuffer } from './sharedBuffer.ts'
import { fillFrom, type ReadAt } from './source.ts'

/** Consecutive segments that travel in one request. */
export type BatchSpan = { readonly from: number; readonly count: number }
/** A span as framed bytes, ready for any holder. */
export type Batch = BatchSpan & { readonly body: Uint8Array }

/** 2 MiB a request: enough to make its fixed costs small, half of what a node takes at once, and each byte of it is held once
 *  for every holder while it is sent. */
export const UPLOAD_BATCH_SEGMENTS = 8
export const DOWNLOAD_BATCH_SEGMENTS = 8

/** Segments `first` … `last` in requests of at most `max`, beginning small: the first answer says how fast this node is, and
 *  a node that hangs is found out before much is sent. */
export function planBatches(range: {
  readonly first: number
  readonly last: number
  readonly max: number
}): readonly BatchSpan[] {
  const spans: BatchSpan[] = []
  let size = 1
  for (let from = range.first; from <= range.last; from += size, size = Math.min(range.max, size * 2)) {
    const count = Math.min(size, range.last - from + 1)
    spans.push({ from, count })
  }
  return spans
}

/** Reads one span from the source, between its proofs: the bytes go straight to their places in the body. `take` gives a buffer
 *  of at least the size it is asked for. */
export async function loadBatch(
  source: ReadAt,
  tree: FileTree,
  span: BatchSpan,
  options: Abortable & { readonly take: (sizeBytes: number) => Uint8Array },
): Promise<Batch> {
  const heads = Array.from({ length: span.count }, (_, i): FrameHead => {
    const index = span.from + i
    return { index, dataSizeBytes: segmentDataSize(tree.layout, index), proof: tree.prove(index) }
  })
  const { body, places } = layFrames(heads, options.take)
  const start = span.from * SEGMENT_SIZE_BYTES
  const last = places[span.count - 1]!
  const lastSizeBytes = Math.min(last.length, source.sizeBytes - start - (span.count - 1) * SEGMENT_SIZE_BYTES)
  last.fill(0, lastSizeBytes)
  await fillFrom(source, [...places.slice(0, -1), last.subarray(0, lastSizeBytes)], start, options)
  return { ...span, body }
}

/** Buffers for bodies, used again and again: each new one of 2 MiB is 512 page faults, and its end work for the garbage
 *  collector. Holds at most as many as were in use at once. `shared` ones are hashed by worker threads where they lie. */
export function createBodyBuffers(kind: 'own' | 'shared' = 'own'): BodyBuffers {
  const make = (sizeBytes: number): ArrayBufferLike =>
    kind === 'shared' ? sharedBuffer(sizeBytes) : new ArrayBuffer(sizeBytes)
  const made = new WeakSet<ArrayBufferLike>()
  const spare: ArrayBufferLike[] = []
  return {
    take: (sizeBytes) => {
      let buffer = spare.pop()
      if (buffer === undefined || buffer.byteLength < sizeBytes) {
        buffer = make(Math.ceil(sizeBytes / BODY_STEP_BYTES) * BODY_STEP_BYTES)
        made.add(buffer)
      }
      return new Uint8Array(buffer)
    },
    give: ({ buffer }) => {
      if (made.has(buffer)) spare.push(buffer)
    },
  }
}
export type BodyBuffers = {
  take(sizeBytes: number): Uint8Array
  /** Bytes of a body that nobody reads or writes any more; of a body from elsewhere nothing is kept. */
  give(body: Uint8Array): void
}

/** Bodies of as many segments differ by some proof hashes: rounded up, the buffer of one serves the next. */
const BODY_STEP_BYTES: number = 64 * 1024

/** The bytes of a span as they travel: whole chunks, the last zero-padded. */
export async function readSpan(
  source: ReadAt,
  layout: Layout,
  span: BatchSpan,
  options: Abortable,
): Promise<Uint8Array> {
  const start = span.from * SEGMENT_SIZE_BYTES
  const end = Math.min(start + span.count * SEGMENT_SIZE_BYTES, source.sizeBytes)
  const bytes = await source.read(start, end, options)
  if (bytes.length % CHUNK_SIZE_BYTES === 0) return bytes
  const last = span.from + span.count - 1
  const padded = new Uint8Array((span.count - 1) * SEGMENT_SIZE_BYTES + segmentDataSize(layout, last))
  padded.set(bytes)
  return padded
}

/** Hands the same batches to several readers, each loaded once: at most `window` are held, so the slowest reader sets the pace
 *  and memory does not grow. */
export type BatchFeed<T> = { reader(): BatchReader<T>; end(): void }
export type BatchReader<T> = {
  /** Waits until batch `index` is inside the window. */
  get(index: number, options: Abortable): Promise<T>
  /** This reader will not ask for `index` again, and nothing that it started reads the body any more. */
  done(index: number): void
  /** Something that this reader started may still read the body of `index`: it must not be used for other bytes. */
  spoil(index: number): void
  /** Nothing was taken yet: another holder can still start from here. */
  isFresh(): boolean
  /** This reader is out: the others need not wait for it. */
  leave(): void
}

export function createBatchFeed<T>(
  options: Abortable & {
    readonly count: number
    readonly window: number
    /** Gets every batch that all its readers are done with. */
    readonly release?: ((batch: T) => void) | undefined
  },
  load: (index: number, options: Abortable) => Promise<T>,
): BatchFeed<T> {
  const { count, window, release } = options
  const scope = childScope(options.signal)
  const held = new Map<number, Promise<T>>()
  const spoiled = new Set<number>()
  const readers = new Set<{ position: number; readonly done: Set<number> }>()
  let wake: (() => void)[] = []

  /** The first batch that some reader still needs. */
  const floor = (): number => Math.min(count, ...[...readers].map(({ position }) => position))
  function advance(): void {
    const from = floor()
    for (const [index, loading] of held) {
      if (index >= from) continue
      held.delete(index)
      if (!spoiled.delete(index)) loading.then(release, () => undefined)
    }
    const woken = wake
    wake = []
    for (const go of woken) go()
  }
  async function inWindow(index: number, signal: AbortSignal): Promise<void> {
    while (index >= floor() + window) {
      signal.throwIfAborted()
      await new Promise<void>((resolve, reject) => {
        const onAbort = (): void => reject(signal.reason)
        signal.addEventListener('abort', onAbort, { once: true })
        wake.push(() => {
          signal.removeEventListener('abort', onAbort)
          resolve()
        })
      })
    }
  }
  return {
    reader: () => {
      const state = { position: 0, done: new Set<number>() }
      const underway = new Set<number>()
      readers.add(state)
      return {
        get: async (index, { signal = scope.signal }) => {
          await inWindow(index, signal)
          signal.throwIfAborted()
          underway.add(index)
          const known = held.get(index)
          if (known !== undefined) return known
          const loading = load(index, { signal: scope.signal })
          loading.catch(() => undefined)
          held.set(index, loading)
          return loading
        },
        done: (index) => {
          underway.delete(index)
          state.done.add(index)
          while (state.done.delete(state.position)) state.position += 1
          advance()
        },
        spoil: (index) => {
          if (held.has(index)) spoiled.add(index)
        },
        isFresh: () => state.position === 0 && state.done.size === 0,
        leave: () => {
          readers.delete(state)
          for (const index of underway) if (held.has(index)) spoiled.add(index)
          advance()
        },
      }
    },
    end: () => scope.end(),
  }
}
