import {
  CHUNK_SIZE_BYTES,
  concat,
  encodeFrames,
  segmentDataSize,
  SEGMENT_SIZE_BYTES,
  type Abortable,
  type FileTree,
  type Layout,
  type ProvenSegment,
} from '@weightless/core'
import { childScope } from './scope.ts'
import type { ReadAt } from './source.ts'

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

/** Reads one span from the source and frames it with its proofs. */
export async function loadBatch(source: ReadAt, tree: FileTree, span: BatchSpan, options: Abortable): Promise<Batch> {
  const data = await readSpan(source, tree.layout, span, options)
  const segments = segmentsOf(data, tree.layout, span).map(({ index, bytes }): ProvenSegment => ({
    index,
    data: bytes,
    proof: tree.prove(index),
  }))
  return { ...span, body: concat(encodeFrames(segments)) }
}

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

function segmentsOf(
  data: Uint8Array,
  layout: Layout,
  span: BatchSpan,
): readonly { readonly index: number; readonly bytes: Uint8Array }[] {
  return Array.from({ length: span.count }, (_, i) => {
    const at = i * SEGMENT_SIZE_BYTES
    return { index: span.from + i, bytes: data.subarray(at, at + segmentDataSize(layout, span.from + i)) }
  })
}

/** Hands the same batches to several readers, each loaded once: at most `window` are held, so the slowest reader sets the pace
 *  and memory does not grow. */
export type BatchFeed = { reader(): BatchReader; end(): void }
export type BatchReader = {
  /** Waits until batch `index` is inside the window. */
  get(index: number, options: Abortable): Promise<Batch>
  /** This reader will not ask for `index` again. */
  done(index: number): void
  /** Nothing was taken yet: another holder can still start from here. */
  isFresh(): boolean
  /** This reader is out: the others need not wait for it. */
  leave(): void
}

export function createBatchFeed(
  options: Abortable & { readonly count: number; readonly window: number },
  load: (index: number, options: Abortable) => Promise<Batch>,
): BatchFeed {
  const { count, window } = options
  const scope = childScope(options.signal)
  const held = new Map<number, Promise<Batch>>()
  const readers = new Set<{ position: number; readonly done: Set<number> }>()
  let wake: (() => void)[] = []

  /** The first batch that some reader still needs. */
  const floor = (): number => Math.min(count, ...[...readers].map(({ position }) => position))
  function advance(): void {
    const from = floor()
    for (const index of held.keys()) if (index < from) held.delete(index)
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
      readers.add(state)
      return {
        get: async (index, { signal = scope.signal }) => {
          await inWindow(index, signal)
          signal.throwIfAborted()
          const known = held.get(index)
          if (known !== undefined) return known
          const loading = load(index, { signal: scope.signal })
          loading.catch(() => undefined)
          held.set(index, loading)
          return loading
        },
        done: (index) => {
          state.done.add(index)
          while (state.done.delete(state.position)) state.position += 1
          advance()
        },
        isFresh: () => state.position === 0 && state.done.size === 0,
        leave: () => {
          readers.delete(state)
          advance()
        },
      }
    },
    end: () => scope.end(),
  }
}
