import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { runs } from '../../../../sim/runs.ts'
import { nextPowerOfTwo } from '../bytes.ts'
import { FLOW_ENTRY_BYTES_MAX } from '../limits.ts'
import { layoutOf, leafCountOf, segmentDataSize } from './layout.ts'

const sizes = fc.oneof(
  fc.integer({ min: 1, max: 2_000_000 }),
  fc.integer({ min: 1, max: FLOW_ENTRY_BYTES_MAX }),
  // Around powers of two, where padding begins and ends.
  fc.tuple(fc.integer({ min: 9, max: 42 }), fc.integer({ min: -300, max: 300 })).map(([e, d]) => 2 ** e + d),
)

test('padding is less than a sixteenth of the power of two and covers the data', () => {
  fc.assert(
    fc.property(sizes, (size) => {
      const layout = layoutOf(size)
      const power = nextPowerOfTwo(layout.chunkCount)
      expect(layout.chunkCount * 256).toBeGreaterThanOrEqual(size)
      expect((layout.chunkCount - 1) * 256).toBeLessThan(size)
      const padding = layout.paddedChunkCount - layout.chunkCount
      expect(padding).toBeGreaterThanOrEqual(0)
      expect(padding).toBeLessThan(Math.max(1, power / 16))
      expect(layout.paddedChunkCount).toBeLessThanOrEqual(power)
    }),
    runs(5),
  )
})

test('segments add up to the chunks, real and padded', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 50_000_000 }), (size) => {
      const layout = layoutOf(size)
      let dataBytes = 0
      for (let index = 0; index < layout.segmentCount; index++) dataBytes += segmentDataSize(layout, index)
      expect(dataBytes).toBe(layout.chunkCount * 256)
      let leaves = 0
      for (let index = 0; index < layout.paddedSegmentCount; index++) leaves += leafCountOf(layout, index)
      expect(leaves).toBe(layout.paddedChunkCount)
    }),
    runs(),
  )
})
