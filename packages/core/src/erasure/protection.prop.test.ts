import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { runs } from '../../../../sim/runs.ts'
import { SEGMENT_SIZE_BYTES } from '../limits.ts'
import { protectionOf } from './protection.ts'
import { presentSlots, shardLayoutOf, type ShardLayout } from './shardLayout.ts'

const layouts = fc
  .tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 3 }), fc.integer({ min: 2, max: 9 }))
  .map(([k, m, segmentCount]) => shardLayoutOf(segmentCount * SEGMENT_SIZE_BYTES, { k, m })!)
const held = layouts.chain((layout) =>
  fc.record({
    layout: fc.constant(layout),
    shards: fc.array(fc.uniqueArray(fc.constantFrom(...presentSlots(layout)), { minLength: 1, maxLength: 3 }), {
      maxLength: 7,
    }),
    copyCount: fc.nat(2),
  }),
)
const lossesNeeded = fc.nat(3)

/** By trying all losses: the most that always leave a copy, or in every stripe k slots that are held or zero. */
function survivedByTrying({ layout, shards, copyCount }: Held): number {
  const holders = [...shards.map((slots) => ({ slots })), ...Array.from({ length: copyCount }, () => ({ slots: [] }))]
  const isReadable = (lost: number): boolean => {
    const left = holders.filter((_, i) => ((lost >> i) & 1) === 0)
    if (left.some((holder) => holders.indexOf(holder) >= shards.length)) return true
    const slots = new Set(left.flatMap((holder) => holder.slots))
    return Array.from({ length: layout.stripeCount }, (_, stripe) => stripe).every((stripe) => {
      const zeros = Array.from({ length: layout.code.k }, (_, i) => stripe * layout.code.k + i).filter(
        (segment) => segment >= layout.segmentCount,
      ).length
      const inStripe = [...slots].filter(
        (slot) => slot >= layout.code.k || stripe * layout.code.k + slot < layout.segmentCount,
      ).length
      return zeros + inStripe >= layout.code.k
    })
  }
  const worst = Array.from({ length: 2 ** holders.length }, (_, lost) => lost).filter((lost) => !isReadable(lost))
  const bits = (lost: number) => lost.toString(2).replaceAll('0', '').length
  return Math.max(0, Math.min(...worst.map(bits), holders.length + 1) - 1)
}
type Held = {
  readonly layout: ShardLayout
  readonly shards: readonly (readonly number[])[]
  readonly copyCount: number
}

test('losses are survived that all losses of so many holders leave readable; of one slot each exactly so many', () => {
  fc.assert(
    fc.property(held, (what) => {
      const { lossesSurvived } = protectionOf(what, { lossesNeeded: 1 })
      const truth = survivedByTrying(what)
      expect(lossesSurvived).toBeLessThanOrEqual(truth)
      const slots = what.shards.flat()
      if (what.shards.every(({ length }) => length === 1) && new Set(slots).size === slots.length)
        expect(lossesSurvived).toBe(truth)
    }),
    runs(4),
  )
})

/** By trying all ways to give each holder one of its slots. */
function isDurableByTrying({ layout, shards, copyCount }: Held, losses: number): boolean {
  if (copyCount > losses) return true
  const isEnough = (chosen: ReadonlySet<number>): boolean => {
    const data = [...chosen].filter((slot) => slot < layout.code.k).length
    return data === layout.dataSlotCount && chosen.size >= layout.dataSlotCount + losses
  }
  const choose = (holder: number, chosen: ReadonlySet<number>): boolean =>
    holder === shards.length
      ? isEnough(chosen)
      : choose(holder + 1, chosen) || shards[holder]!.some((slot) => choose(holder + 1, new Set([...chosen, slot])))
  return choose(0, new Set())
}

test('durable is what some choice of one slot for each holder makes durable', () => {
  fc.assert(
    fc.property(held, lossesNeeded, (what, losses) => {
      expect(protectionOf(what, { lossesNeeded: losses }).isDurable).toBe(isDurableByTrying(what, losses))
    }),
    runs(4),
  )
})

test('durable survives the losses that it must', () => {
  fc.assert(
    fc.property(held, lossesNeeded, (what, losses) => {
      const protection = protectionOf(what, { lossesNeeded: losses })
      if (protection.isDurable) expect(protection.lossesSurvived).toBeGreaterThanOrEqual(losses)
    }),
    runs(4),
  )
})
