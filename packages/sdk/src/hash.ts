import {
  BATCH_SEGMENTS_MAX,
  fileTreeOf,
  HASH_SIZE_BYTES,
  leafCountOf,
  layoutOf,
  SEGMENT_CHUNKS,
  SEGMENT_SIZE_BYTES,
  submissionOf,
  type Abortable,
  type FileTree,
  type Kernels,
  type Submission,
} from '@weightless/core'
import { inOrder } from './inOrder.ts'
import type { ReadAt } from './source.ts'

/** The first reading of a source: its tree and what to submit. Memory: a few batches, and 32 bytes per segment. */
export type HashedSource = { readonly tree: FileTree; readonly submission: Submission }

/** Bytes per kernel call: enough for every thread of a pool to have work, little enough to be held a few times. */
const BATCH_BYTES: number = BATCH_SEGMENTS_MAX * SEGMENT_SIZE_BYTES
/** While one batch is hashed the next is read; a pool of two threads has one more. */
const WINDOW = 3

export async function hashSource(
  source: ReadAt,
  deps: { readonly kernels: Pick<Kernels, 'segmentRoots'> },
  options: Abortable & {
    readonly tags?: Uint8Array | undefined
    readonly onHashed?: ((bytes: number) => void) | undefined
  },
): Promise<HashedSource> {
  const { signal, tags, onHashed } = options
  const layout = layoutOf(source.sizeBytes)
  const count = Math.ceil(source.sizeBytes / BATCH_BYTES)
  const lastLeafCount = leafCountOf(layout, layout.segmentCount - 1)
  const segmentRoots = new Uint8Array(layout.segmentCount * HASH_SIZE_BYTES)
  const lastSegmentStart = (layout.segmentCount - 1) * SEGMENT_SIZE_BYTES
  let lastSegment: Uint8Array | undefined
  let hashedBytes = 0
  /** A new buffer for each batch costs its page faults, and the garbage collector a turn for every few of them. */
  const spare: ArrayBufferLike[] = []
  const readBatch = async (start: number, end: number, scope: AbortSignal): Promise<Uint8Array> => {
    if (source.readInto === undefined) return source.read(start, end, { signal: scope })
    const data = new Uint8Array(spare.pop() ?? new ArrayBuffer(BATCH_BYTES), 0, end - start)
    await source.readInto([data], start, { signal: scope })
    return data
  }
  const batches = inOrder({ count, window: WINDOW, signal }, async (index, scope) => {
    const start = index * BATCH_BYTES
    const end = Math.min(start + BATCH_BYTES, source.sizeBytes)
    const isLast = index === count - 1
    const how = { lastLeafCount: isLast ? lastLeafCount : SEGMENT_CHUNKS, signal: scope }
    if (source.segmentRoots !== undefined) {
      const roots = await source.segmentRoots({ start, end, lastLeafCount: how.lastLeafCount }, { signal: scope })
      return { index, roots, sizeBytes: end - start }
    }
    const data = await readBatch(start, end, scope)
    // Kept before hashing: a pool may take the buffer away with it.
    if (isLast) lastSegment = data.slice(lastSegmentStart - start)
    const roots = await deps.kernels.segmentRoots(data, how)
    if (source.readInto !== undefined && data.buffer.byteLength === BATCH_BYTES) spare.push(data.buffer)
    return { index, roots, sizeBytes: end - start }
  })
  for await (const { index, roots, sizeBytes } of batches) {
    segmentRoots.set(roots, index * BATCH_SEGMENTS_MAX * HASH_SIZE_BYTES)
    hashedBytes += sizeBytes
    onHashed?.(hashedBytes)
  }
  const tree = fileTreeOf(layout, segmentRoots)
  lastSegment ??= await source.read(lastSegmentStart, source.sizeBytes, { signal })
  return { tree, submission: submissionOf(tree, { lastSegment, tags }) }
}
