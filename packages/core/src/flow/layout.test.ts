import { describe, expect, test } from 'vitest'
import vectors from '../../../../sim/vectors/storage-merkle.json' with { type: 'json' }
import { ENTRY_SIZE_BYTES_MAX, FLOW_ENTRY_BYTES_MAX } from '../limits.ts'
import { layoutOf, leafCountOf, segmentDataSize } from './layout.ts'

test('every vector file has the counts of the official SDK', () => {
  for (const file of vectors.cases) {
    const layout = layoutOf(file.size)
    expect(layout).toMatchObject({
      sizeBytes: file.size,
      chunkCount: file.numChunks,
      segmentCount: file.numSegments,
      paddedChunkCount: file.paddedChunks,
      paddedSegmentCount: file.numSegmentsPadded,
    })
    expect(layout.paddedChunkCount * 256).toBe(file.paddedSize)
    expect(layout.paddedChunkCount).toBe(file.sectors)
    for (const proof of file.segmentProofs) expect(segmentDataSize(layout, proof.index)).toBe(proof.dataLen)
  }
})

test.each([0, -1, 1.5, NaN, Infinity, FLOW_ENTRY_BYTES_MAX + 1, Number.MAX_SAFE_INTEGER])(
  'a size of %d is refused',
  (size) => {
    expect(() => layoutOf(size)).toThrow(expect.objectContaining({ code: 'SIZE_INVALID' }))
  },
)

describe('sizes beyond 32 bits stay exact', () => {
  // Computed with unbounded integers, as the formula of spec/storage.md 1.2 reads.
  const exact = (size: number) => {
    const chunks = (BigInt(size) + 255n) / 256n
    let power = 1n
    while (power < chunks) power *= 2n
    const unit = power >= 16n ? power / 16n : 1n
    const padded = ((chunks + unit - 1n) / unit) * unit
    const paddedSegments = (padded + 1023n) / 1024n
    return {
      sizeBytes: size,
      chunkCount: Number(chunks),
      segmentCount: Number((chunks + 1023n) / 1024n),
      paddedChunkCount: Number(padded),
      paddedSegmentCount: Number(paddedSegments),
      lastLeafCount: Number(padded - (paddedSegments - 1n) * 1024n),
    }
  }

  test.each([
    2 ** 31 - 1,
    2 ** 31,
    2 ** 32 + 1,
    2 ** 33 - 255,
    ENTRY_SIZE_BYTES_MAX,
    ENTRY_SIZE_BYTES_MAX - 1,
    2 ** 40 + 1,
    2 ** 41 + 2 ** 38 + 1,
    FLOW_ENTRY_BYTES_MAX - 1,
    FLOW_ENTRY_BYTES_MAX,
  ])('%d bytes', (size) => {
    expect(layoutOf(size)).toEqual(exact(size))
  })
})

test('a segment index must be a whole number inside the file', () => {
  const layout = layoutOf(10_000_001)
  expect(leafCountOf(layout, 39)).toBe(1024)
  expect(segmentDataSize(layout, 38)).toBe(38_656)
  for (const index of [-1, 0.5, NaN, 40]) {
    expect(() => leafCountOf(layout, index)).toThrow(expect.objectContaining({ code: 'SEGMENT_INDEX_INVALID' }))
  }
  // Segment 39 is padding alone: it has leaves and nothing on the wire.
  expect(() => segmentDataSize(layout, 39)).toThrow(expect.objectContaining({ code: 'SEGMENT_INDEX_INVALID' }))
})

test('only the last padded segment may be shorter than 1024 leaves', () => {
  const layout = layoutOf(262_145)
  expect([0, 1].map((index) => leafCountOf(layout, index))).toEqual([1024, 128])
})
