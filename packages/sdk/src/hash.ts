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
  deps: { readonly kernels: Kernels },
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
  let lastSegment = new Uint8Array(0)
  let hashedBytes = 0
  const batches = inOrder({ count, window: WINDOW, signal }, async (index, scope) => {
    const start = index * BATCH_BYTES
    const data = await source.read(start, Math.min(start + BATCH_BYTES, source.sizeBytes), { signal: scope })
    const isLast = index === count - 1
    // Kept before hashing: a pool may take the buffer away with it.
    if (isLast) lastSegment = data.slice((layout.segmentCount - 1) * SEGMENT_SIZE_BYTES - start)
    const sizeBytes = data.length
    const roots = await deps.kernels.segmentRoots(data, {
      lastLeafCount: isLast ? lastLeafCount : SEGMENT_CHUNKS,
      signal: scope,
    })
    return { index, roots, sizeBytes }
  })
  for await (const { index, roots, sizeBytes } of batches) {
    segmentRoots.set(roots, index * BATCH_SEGMENTS_MAX * HASH_SIZE_BYTES)
    hashedBytes += sizeBytes
    onHashed?.(hashedBytes)
  }
  const tree = fileTreeOf(layout, segmentRoots)
  return { tree, submission: submissionOf(tree, { lastSegment, tags }) }
}
