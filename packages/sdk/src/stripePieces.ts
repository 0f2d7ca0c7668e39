import { SEGMENT_SIZE_BYTES, type ShardLayout } from '@weightless/core'
import { DOWNLOAD_BATCH_SEGMENTS, planBatches, type BatchSpan } from './batches.ts'

/** Bytes of one piece of a download, unless a single stripe has more. */
const PIECE_BYTES: number = 4 * 1024 ** 2
/** Pieces on their way or waiting for the reader, with the shards that they are computed from. */
const WINDOW = 6
const WINDOW_BYTES: number = 32 * 1024 ** 2

/** A span of segments in pieces that end where stripes end, small ones first, and how many may be under way. */
export function planPieces(
  { code: { k, m }, segmentCount }: ShardLayout,
  range: { readonly first: number; readonly last: number },
): { readonly plan: readonly BatchSpan[]; readonly window: number } {
  const stripeBytes = k * SEGMENT_SIZE_BYTES
  const max = Math.max(1, Math.min(DOWNLOAD_BATCH_SEGMENTS, Math.floor(PIECE_BYTES / stripeBytes)))
  const stripes = planBatches({ first: Math.floor(range.first / k), last: Math.floor(range.last / k), max })
  const plan = stripes.map(({ from, count }) => {
    const start = Math.max(range.first, from * k)
    const end = Math.min(range.last + 1, (from + count) * k, segmentCount)
    return { from: start, count: end - start }
  })
  // What is wanted, and at worst as much again of shards to compute it from.
  const pieceBytes = max * SEGMENT_SIZE_BYTES * (k + Math.min(k, m))
  return { plan, window: Math.max(2, Math.min(WINDOW, Math.floor(WINDOW_BYTES / pieceBytes))) }
}
