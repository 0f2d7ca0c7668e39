import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { runs } from '../../../../sim/runs.ts'
import { SEGMENT_SIZE_BYTES } from '../limits.ts'
import { presentSlots, segmentOfShard, shardCountOf, shardLayoutOf, shardOfSegment } from './shardLayout.ts'

const codes = fc.tuple(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 20 })).map(([k, m]) => ({ k, m }))
const sizes = fc.integer({ min: SEGMENT_SIZE_BYTES + 1, max: 100 * SEGMENT_SIZE_BYTES })

test('every segment of both entries is one shard of a present slot, and there are no other shards', () => {
  fc.assert(
    fc.property(codes, sizes, (code, sizeBytes) => {
      const layout = shardLayoutOf(sizeBytes, code)!
      expect(layout.segmentCount).toBe(Math.ceil(sizeBytes / SEGMENT_SIZE_BYTES))
      const parityCount = layout.paritySizeBytes / SEGMENT_SIZE_BYTES
      expect(parityCount).toBe(Math.ceil(layout.segmentCount / code.k) * code.m)
      const shards: string[] = []
      for (const [entry, count] of [
        ['data', layout.segmentCount],
        ['parity', parityCount],
      ] as const) {
        for (let segmentIndex = 0; segmentIndex < count; segmentIndex++) {
          const shard = shardOfSegment(layout, { entry, segmentIndex })
          expect(segmentOfShard(layout, shard)).toEqual({ entry, segmentIndex })
          shards.push(`${shard.slot}:${shard.stripe}`)
        }
      }
      const slots = presentSlots(layout)
      const all = slots.flatMap((slot) =>
        Array.from({ length: shardCountOf(layout, slot) }, (_, stripe) => `${slot}:${stripe}`),
      )
      expect(shards.sort()).toEqual(all.sort())
      for (let slot = 0; slot < 256; slot++) {
        expect(slots.includes(slot)).toBe(shardCountOf(layout, slot) > 0)
        expect(segmentOfShard(layout, { slot, stripe: shardCountOf(layout, slot) })).toBeUndefined()
      }
    }),
    runs(0.4),
  )
})
