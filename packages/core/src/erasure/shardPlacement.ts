import { placeSlots, type Home } from '../storage/placement.ts'
import type { Hex } from '../hex.ts'
import type { Member } from '../types.ts'
import type { ErasureCode } from './code.ts'
import { presentSlots, shardLayoutOf } from './shardLayout.ts'

/** Homes of an object (DESIGN D7, docs/erasure.md 5): the home of a slot keeps its shard of every stripe; an object of one segment
 *  has 1 + m homes that keep a copy each. No failure domain gets more than m of them while the domains suffice; slots that would
 *  stay without a home then are placed without regard to domains. When members are fewer than slots, the last parity slots have
 *  no home. In slot order. Throws like `shardLayoutOf`. */
export function protectedHomes(
  object: { readonly dataRoot: Hex; readonly sizeBytes: number; readonly code: ErasureCode },
  members: readonly Member[],
): readonly Home[] {
  const { dataRoot: key, code } = object
  const layout = shardLayoutOf(object.sizeBytes, code)
  const willing = members.filter(({ weight }) => weight > 0n)
  const all = layout ? presentSlots(layout) : Array.from({ length: 1 + code.m }, (_, rank) => rank)
  const slots = all.slice(0, willing.length)
  const homes = placeSlots({ key, slots, domainMax: code.m }, willing)
  if (homes.length === slots.length) return homes
  const usedSlots = new Set(homes.map(({ slot }) => slot))
  const usedIds = new Set(homes.map(({ member }) => member.id))
  const others = placeSlots(
    { key, slots: slots.filter((slot) => !usedSlots.has(slot)) },
    willing.filter(({ id }) => !usedIds.has(id)),
  )
  return [...homes, ...others].sort((a, b) => a.slot - b.slot)
}
