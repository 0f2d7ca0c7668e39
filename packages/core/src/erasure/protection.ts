import { ceilDiv } from '../bytes.ts'
import { REPLICA_COUNT } from '../limits.ts'
import type { ErasureCode } from './code.ts'
import type { ShardLayout } from './shardLayout.ts'

/** What distinct holders make of an object (DESIGN D9, docs/erasure.md 9). `shards` has the slots of each holder that count
 *  (`proveParity`), `copyCount` is the number of holders of the whole entry, none of them among `shards`.
 *
 *  Durable by shards: a different holder for each present data slot, and for `lossesNeeded` parity slots. Durable by copies:
 *  1 + `lossesNeeded` of them. Losses that are survived are exact where each holder has one slot and no slot two holders, never
 *  more than the truth otherwise, and never fewer than durable asks for. */
export function protectionOf(
  held: {
    /** `undefined` where there is no parity: copies are all that counts. */
    readonly layout: ShardLayout | undefined
    readonly shards: readonly (readonly number[])[]
    readonly copyCount: number
  },
  { lossesNeeded }: { readonly lossesNeeded: number },
): Protection {
  const { layout, shards, copyCount } = held
  const byCopies = { needed: 1 + lossesNeeded, reached: copyCount, isDurable: copyCount > lossesNeeded }
  if (layout === undefined) return { ...byCopies, lossesSurvived: Math.max(0, copyCount - 1) }
  const byShards = shardDurability(layout, shards, lossesNeeded)
  const spare = sparedHolders(layout, shards, byShards.reached)
  return {
    ...(byCopies.isDurable && !byShards.isDurable ? byCopies : byShards),
    // To lose the object all copies must go, and one holder of shards more than can be spared.
    lossesSurvived: spare === undefined ? Math.max(0, copyCount - 1) : copyCount + spare,
  }
}

export type Protection = {
  /** Distinct holders that `durable` asks for, and those that count towards it. */
  readonly needed: number
  readonly reached: number
  readonly isDurable: boolean
  /** Any so many holders may vanish at once and the object can be read. */
  readonly lossesSurvived: number
}

/** Losses that an object must survive to be called durable, unless its owner says otherwise: half of the parity, or all copies of
 *  the policy `replicate` but one. */
export function lossesNeededOf(code: ErasureCode | undefined): number {
  return code === undefined ? REPLICA_COUNT - 1 : ceilDiv(code.m, 2)
}

function shardDurability(
  { code, dataSlotCount }: ShardLayout,
  shards: readonly (readonly number[])[],
  lossesNeeded: number,
): Omit<Protection, 'lossesSurvived'> {
  const holdersOf = new Map<number, number[]>()
  for (const [holder, slots] of shards.entries()) {
    for (const slot of slots) holdersOf.set(slot, [...(holdersOf.get(slot) ?? []), holder])
  }
  const match = createMatching(holdersOf)
  const count = (from: number, to: number): number => {
    let matched = 0
    for (let slot = from; slot < to; slot++) if (match(slot)) matched++
    return matched
  }
  // A slot that has a holder keeps one while others are matched, so data first is no restriction.
  const dataCount = count(0, dataSlotCount)
  const reached = dataCount + count(code.k, code.k + code.m)
  const needed = dataSlotCount + lossesNeeded
  return { needed, reached, isDurable: dataCount === dataSlotCount && reached >= needed }
}

/** Gives one slot after another a holder of its own, moving others as needed (augmenting paths). */
function createMatching(holdersOf: ReadonlyMap<number, readonly number[]>): (slot: number) => boolean {
  const slotOf = new Map<number, number>()
  const place = (slot: number, asked: Set<number>): boolean =>
    (holdersOf.get(slot) ?? []).some((holder) => {
      if (asked.has(holder)) return false
      asked.add(holder)
      const other = slotOf.get(holder)
      if (other !== undefined && !place(other, asked)) return false
      slotOf.set(holder, slot)
      return true
    })
  return (slot) => place(slot, new Set())
}

/** Holders of shards that can be spared; `undefined` when too few slots are there to read from. Any dataSlotCount slots decode
 *  every stripe: slots that are zero are known, and the last stripe lacks no more than others. Of two bounds the better one: of
 *  holders with a slot of their own each takes but that one; and the holders with most slots take no more than all of theirs. */
function sparedHolders(
  { dataSlotCount }: ShardLayout,
  shards: readonly (readonly number[])[],
  matchedCount: number,
): number | undefined {
  let spareSlots = new Set(shards.flat()).size - dataSlotCount
  if (spareSlots < 0) return undefined
  const slotCounts = shards.map((slots) => slots.length).sort((a, b) => b - a)
  let spared = 0
  for (const slotCount of slotCounts) {
    spareSlots -= slotCount
    if (spareSlots < 0) break
    spared++
  }
  return Math.max(spared, matchedCount - dataSlotCount)
}
