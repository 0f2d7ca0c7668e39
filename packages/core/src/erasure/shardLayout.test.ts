import { describe, expect, test } from 'vitest'
import vectors from '../../../../sim/vectors/shards.json' with { type: 'json' }
import { ENTRY_SIZE_BYTES_MAX, SEGMENT_SIZE_BYTES } from '../limits.ts'
import { presentSlots, segmentOfShard, shardCountOf, shardLayoutOf, shardOfSegment } from './shardLayout.ts'

const invalid = (code: string) => expect.objectContaining({ code })

test('counts, slots and places of shards are those of the vectors', () => {
  expect(vectors.layouts.length).toBeGreaterThan(8)
  for (const { code, sizeBytes, ...expected } of vectors.layouts) {
    const layout = shardLayoutOf(sizeBytes, code)
    if (expected.segmentCount === 1) {
      expect(layout).toBeUndefined()
      continue
    }
    expect(layout).toMatchObject({
      segmentCount: expected.segmentCount,
      stripeCount: expected.stripeCount,
      paritySizeBytes: expected.paritySizeBytes,
    })
    expect(presentSlots(layout!)).toEqual(expected.slots)
    expect(presentSlots(layout!).map((slot) => shardCountOf(layout!, slot))).toEqual(expected.shardCounts)
  }
})

test('one segment has copies and no parity, one byte more has two shards of data', () => {
  const code = { k: 4, m: 2 }
  expect(shardLayoutOf(1, code)).toBeUndefined()
  expect(shardLayoutOf(SEGMENT_SIZE_BYTES, code)).toBeUndefined()
  const layout = shardLayoutOf(SEGMENT_SIZE_BYTES + 1, code)!
  expect(presentSlots(layout)).toEqual([0, 1, 4, 5])
  expect(segmentOfShard(layout, { stripe: 0, slot: 1 })).toEqual({ entry: 'data', segmentIndex: 1 })
  expect(segmentOfShard(layout, { stripe: 0, slot: 2 })).toBeUndefined()
  expect(segmentOfShard(layout, { stripe: 0, slot: 5 })).toEqual({ entry: 'parity', segmentIndex: 1 })
})

test('beyond the last stripe and beyond the code there is nothing', () => {
  const layout = shardLayoutOf(5 * SEGMENT_SIZE_BYTES, { k: 4, m: 2 })!
  expect(segmentOfShard(layout, { stripe: 1, slot: 0 })).toEqual({ entry: 'data', segmentIndex: 4 })
  expect(segmentOfShard(layout, { stripe: 1, slot: 1 })).toBeUndefined()
  expect(segmentOfShard(layout, { stripe: 1, slot: 4 })).toEqual({ entry: 'parity', segmentIndex: 2 })
  expect(segmentOfShard(layout, { stripe: 2, slot: 4 })).toBeUndefined()
  expect(shardCountOf(layout, 6)).toBe(0)
  expect(() => shardOfSegment(layout, { entry: 'data', segmentIndex: 5 })).toThrow('a segment of its entry')
  expect(() => shardOfSegment(layout, { entry: 'parity', segmentIndex: 4 })).toThrow('a segment of its entry')
})

describe('a layout is refused', () => {
  test('for what is no code or no size', () => {
    expect(() => shardLayoutOf(5, { k: 0, m: 2 })).toThrow(invalid('CODE_INVALID'))
    expect(() => shardLayoutOf(5, { k: 200, m: 57 })).toThrow(invalid('CODE_INVALID'))
    expect(() => shardLayoutOf(0, { k: 4, m: 2 })).toThrow(invalid('SIZE_INVALID'))
  })

  test('when the parity would be larger than its limit: 1+4 of the largest entry is not, 1+5 is', () => {
    expect(shardLayoutOf(ENTRY_SIZE_BYTES_MAX, { k: 1, m: 4 })!.paritySizeBytes).toBe(4 * ENTRY_SIZE_BYTES_MAX)
    expect(() => shardLayoutOf(ENTRY_SIZE_BYTES_MAX, { k: 1, m: 5 })).toThrow(invalid('CODE_INVALID'))
  })
})
