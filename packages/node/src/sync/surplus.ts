import type { ErasureCode, ShardLayout } from '@weightless/core'
import { lossesNeededOf } from '@weightless/core'

/** What a node knows of an object that is kept by shards when it asks what it may give up. */
export type SurplusState = {
  readonly layout: ShardLayout
  /** Under the membership in force; slots without a home have none. */
  readonly homes: readonly { readonly slot: number; readonly id: number }[]
  /** `undefined` for a node that is no member: it has no duty at all. */
  readonly self: number | undefined
  /** Slots of which some shard is here, and those of which every one is. */
  readonly held: readonly number[]
  readonly whole: readonly number[]
  /** What the homes of slots said a moment ago, by slot. */
  readonly answers: ReadonlyMap<number, HomeAnswer>
  /** Slots that count, by holder, in a certificate of what the homes signed a moment ago; verified with this node's own fingerprints. */
  readonly certified: readonly { readonly id: number; readonly slots: readonly number[] }[]
}
/** `silent`: it did not answer, or sees another membership than this node. */
export type HomeAnswer = 'holds' | 'lacks' | 'silent'

/** `nothing`: all that is here belongs here. `ownMissing`, `homeLacks`: a slot is still to be built at its home, from what is here too.
 *  `notDurable`: the homes alone would not do. `homesSilent`: no home vouches for a slot that is here too much. */
export type Surplus =
  | { readonly kind: 'release'; readonly slots: readonly number[] }
  | { readonly kind: 'keep'; readonly why: 'nothing' | 'ownMissing' | 'homeLacks' | 'notDurable' | 'homesSilent' }

/** The slots that a node gives up (docs/erasure.md 12). Only a home counts, for its own slot: no home gives that up, so whatever
 *  others give up at the same moment, the object stays durable and each slot keeps a holder that lives. */
export function surplusOf(state: SurplusState): Surplus {
  const { layout, homes, self, held, whole, answers, certified } = state
  const homeOf = new Map(homes.map(({ slot, id }) => [slot, id]))
  const own = homes.filter(({ id }) => id === self).map(({ slot }) => slot)
  const surplus = held.filter((slot) => !own.includes(slot))
  if (surplus.length === 0) return { kind: 'keep', why: 'nothing' }
  if (own.some((slot) => !whole.includes(slot))) return { kind: 'keep', why: 'ownMissing' }
  if ([...answers.values()].includes('lacks')) return { kind: 'keep', why: 'homeLacks' }
  const stands = (slot: number): boolean => {
    const id = homeOf.get(slot)
    if (id === undefined || (id !== self && answers.get(slot) !== 'holds')) return false
    return certified.some((holder) => holder.id === id && holder.slots.includes(slot))
  }
  const standing = [...homeOf.keys()].filter(stands)
  if (!isDurableAt(layout, standing, homeOf)) return { kind: 'keep', why: 'notDurable' }
  const slots = surplus.filter((slot) => homeOf.get(slot) !== self && stands(slot))
  return slots.length === 0 ? { kind: 'keep', why: 'homesSilent' } : { kind: 'release', slots }
}

/** Every data slot, and parity for the losses that durable asks for, each at a holder of its own. */
function isDurableAt(layout: ShardLayout, slots: readonly number[], homeOf: ReadonlyMap<number, number>): boolean {
  const { code, dataSlotCount } = layout
  const dataCount = slots.filter((slot) => slot < dataSlotCount).length
  const distinctCount = new Set(slots.map((slot) => homeOf.get(slot))).size
  return dataCount === dataSlotCount && distinctCount >= dataSlotCount + lossesNeededOf(code)
}

/** Whether a whole copy may be given up by a node that is not among its homes: every home says now that it has one. */
export function isSurplusCopy(state: {
  readonly homes: readonly number[]
  readonly self: number | undefined
  readonly copiesNeeded: number
  /** Homes whose receipt of the whole entry came a moment ago. */
  readonly vouching: ReadonlySet<number>
}): boolean {
  const { homes, self, copiesNeeded, vouching } = state
  if (self !== undefined && homes.includes(self)) return false
  return new Set(homes).size >= copiesNeeded && homes.every((id) => vouching.has(id))
}

/** Copies of an object of one segment under a code, or of one without. */
export function copiesNeededOf(code: ErasureCode | undefined): number {
  return 1 + (code === undefined ? lossesNeededOf(undefined) : code.m)
}
