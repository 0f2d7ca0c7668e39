import { defaultErasureKernel, type KnownShard } from '@weightless/kernels'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { runs } from '../../../../sim/runs.ts'
import { SEGMENT_SIZE_BYTES } from '../limits.ts'
import { presentSlots, segmentOfShard, shardLayoutOf, shardOfSegment } from './shardLayout.ts'
import { planStripe, stripesOfSegments } from './stripePlan.ts'

const cases = fc
  .tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 4 }), fc.integer({ min: 2, max: 20 }))
  .map(([k, m, segmentCount]) => shardLayoutOf(segmentCount * SEGMENT_SIZE_BYTES, { k, m })!)
  .chain((layout) =>
    fc.record({
      layout: fc.constant(layout),
      range: fc
        .tuple(fc.nat(layout.segmentCount - 1), fc.nat(layout.segmentCount - 1))
        .map(([a, b]) => ({ from: Math.min(a, b), to: Math.max(a, b) + 1 })),
      preferred: fc.shuffledSubarray([...presentSlots(layout)]),
      avoided: fc.shuffledSubarray([...presentSlots(layout)]),
    }),
  )

test('what is planned gives the bytes of every segment asked for, from k shards at most, and what is lost cannot be had', () => {
  const kernel = defaultErasureKernel()
  const bytesOf = (segmentIndex: number) => new Uint8Array(4).map((_, i) => segmentIndex * 37 + i * 11 + 1)
  fc.assert(
    fc.property(cases, ({ layout, range, preferred, avoided }) => {
      const { k, m } = layout.code
      const seen: number[] = []
      for (const wanted of stripesOfSegments(layout, range)) {
        const { stripe } = wanted
        const data = Array.from({ length: k }, (_, slot) => segmentOfShard(layout, { stripe, slot })).map(
          (segment) => segment && bytesOf(segment.segmentIndex),
        )
        const parity = Array.from({ length: m }, () => new Uint8Array(4))
        kernel.encodeParity({ code: layout.code, data, parity })
        const stored = [...data, ...parity]
        const plan = planStripe(layout, wanted, { preferred, avoided })
        const held = new Set([...preferred, ...avoided].filter((slot) => stored[slot] !== undefined))
        const zeroCount = data.filter((shard) => shard === undefined).length
        if (plan.kind === 'lost') {
          expect(held.size + zeroCount + plan.shortBy).toBe(k)
          expect(plan.shortBy).toBeGreaterThan(0)
          expect(plan.missing).toEqual(wanted.slots.filter((slot) => !held.has(slot)))
          expect(new Set([...held, ...plan.wouldHelp]).size).toBe(k + m - zeroCount)
          seen.push(...wanted.slots.map((slot) => segmentOfShard(layout, { stripe, slot })!.segmentIndex))
          continue
        }
        const fetched = [...plan.direct, ...plan.helpers]
        expect(new Set(fetched).size).toBe(fetched.length)
        expect(fetched.every((slot) => held.has(slot))).toBe(true)
        if (fetched.some((slot) => !preferred.includes(slot))) {
          const without = planStripe(layout, wanted, { preferred, avoided: [] })
          expect(without.kind).toBe('lost')
        }
        const rebuilt = plan.rebuilt.map((slot) => ({ slot, into: new Uint8Array(4) }))
        if (rebuilt.length > 0) {
          expect(fetched.length + zeroCount).toBe(k)
          const shards: KnownShard[] = stored.map((shard, slot) => {
            if (shard === undefined) return 'zero'
            return fetched.includes(slot) ? shard : undefined
          })
          kernel.recover({ code: layout.code, shards, wanted: rebuilt })
        } else expect(plan.helpers).toEqual([])
        const results = new Map([
          ...plan.direct.map((slot) => [slot, stored[slot]!] as const),
          ...rebuilt.map(({ slot, into }) => [slot, into] as const),
        ])
        for (const slot of wanted.slots) {
          const { segmentIndex } = segmentOfShard(layout, { stripe, slot })!
          expect(results.get(slot)).toEqual(bytesOf(segmentIndex))
          expect(shardOfSegment(layout, { entry: 'data', segmentIndex })).toEqual({ stripe, slot })
          seen.push(segmentIndex)
        }
      }
      expect(seen).toEqual(Array.from({ length: range.to - range.from }, (_, i) => range.from + i))
    }),
    runs(3),
  )
})
