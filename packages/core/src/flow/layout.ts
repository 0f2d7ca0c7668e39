import { ceilDiv, nextPowerOfTwo } from '../bytes.ts'
import { fail, invariant } from '../errors.ts'
import { CHUNK_SIZE_BYTES, FLOW_ENTRY_BYTES_MAX, SEGMENT_CHUNKS } from '../limits.ts'

/** Counts of a file of `sizeBytes` and of its flow padding (spec/storage.md 1.2), exact for 1 byte to 8 TiB. Throws `SIZE_INVALID`. */
export function layoutOf(sizeBytes: number): Layout {
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 1 || sizeBytes > FLOW_ENTRY_BYTES_MAX) {
    throw fail('SIZE_INVALID', { sizeBytes, sizeBytesMax: FLOW_ENTRY_BYTES_MAX })
  }
  const chunkCount = ceilDiv(sizeBytes, CHUNK_SIZE_BYTES)
  const segmentCount = ceilDiv(chunkCount, SEGMENT_CHUNKS)
  const power = nextPowerOfTwo(chunkCount)
  const unit = power >= 16 ? power / 16 : 1
  const paddedChunkCount = ceilDiv(chunkCount, unit) * unit
  const paddedSegmentCount = ceilDiv(paddedChunkCount, SEGMENT_CHUNKS)
  const lastLeafCount = paddedChunkCount - (paddedSegmentCount - 1) * SEGMENT_CHUNKS
  // Padding is less than p2/16 and ends on a multiple of it, so it never opens a partial segment of its own (11.2, 15).
  invariant(
    paddedSegmentCount === segmentCount || lastLeafCount === SEGMENT_CHUNKS,
    'a segment of padding alone is whole',
  )
  return { sizeBytes, chunkCount, segmentCount, paddedChunkCount, paddedSegmentCount, lastLeafCount }
}

/** A chunk has 256 bytes, a segment 1024 chunks. */
export type Layout = {
  readonly sizeBytes: number
  /** Chunks with real data. */
  readonly chunkCount: number
  /** Segments with real data. */
  readonly segmentCount: number
  /** Chunks charged by the flow: the real ones and zero padding. */
  readonly paddedChunkCount: number
  /** Leaves of the file tree. */
  readonly paddedSegmentCount: number
  /** Leaves (chunks) of the last padded segment; all others have 1024. */
  readonly lastLeafCount: number
}

/** Chunk leaves of the padded segment `index`. Throws `SEGMENT_INDEX_INVALID`. */
export function leafCountOf(layout: Layout, index: number): number {
  checkIndex(index, layout.paddedSegmentCount)
  return index === layout.paddedSegmentCount - 1 ? layout.lastLeafCount : SEGMENT_CHUNKS
}

/** Bytes on the wire of the real segment `index`: its real chunks, a multiple of 256 (spec/storage.md 1.7). Throws `SEGMENT_INDEX_INVALID`. */
export function segmentDataSize(layout: Layout, index: number): number {
  checkIndex(index, layout.segmentCount)
  return Math.min(SEGMENT_CHUNKS, layout.chunkCount - SEGMENT_CHUNKS * index) * CHUNK_SIZE_BYTES
}

function checkIndex(index: number, count: number): void {
  if (!Number.isSafeInteger(index) || index < 0 || index >= count) {
    throw fail('SEGMENT_INDEX_INVALID', { index, segmentCount: count })
  }
}
