import type { Surplus } from './surplus.ts'

/** What became of an object, or of what is here of it, on a node that drains.
 *  `vouched`: its homes have signed for it now. `waiting`: they have not yet. `homeless`: too few members for all its slots or copies.
 *  `unfinished`: an upload that nobody could complete: no certificate of it and no whole copy, so nobody was told that it is stored. */
export type HandOffVerdict = 'vouched' | 'waiting' | 'homeless' | 'unfinished'

export type HandOffState = 'none' | 'moving' | 'stuck' | 'done'

/** Of an object that is kept by shards. Its homes must be as many as it has slots: a drain that takes a slot's last place leaves the object
 *  with fewer losses to survive than its owner paid for, and that is for the operator to see first. */
export function verdictOfShards(state: {
  readonly slotCount: number
  readonly homeCount: number
  /** Slots of which some shard is here. */
  readonly held: readonly number[]
  readonly surplus: Surplus
  /** Slots whose shards here have the fingerprints that the home signed. */
  readonly agreed: ReadonlySet<number>
}): HandOffVerdict {
  const { slotCount, homeCount, held, surplus, agreed } = state
  if (held.length === 0) return 'vouched'
  if (homeCount < slotCount) return 'homeless'
  if (surplus.kind === 'keep') return 'waiting'
  return held.every((slot) => surplus.slots.includes(slot) && agreed.has(slot)) ? 'vouched' : 'waiting'
}

/** Of an object that is kept by copies. */
export function verdictOfCopies(state: {
  readonly isWhole: boolean
  readonly copiesNeeded: number
  readonly homes: readonly number[]
  /** Homes that sign for a whole copy now. */
  readonly vouching: ReadonlySet<number>
  /** Whether its writer, and the homes that gather what there is of it, have had their time. */
  readonly hasSettled: boolean
}): HandOffVerdict {
  const { isWhole, copiesNeeded, homes, vouching, hasSettled } = state
  const isEnough = new Set(homes).size >= copiesNeeded
  if (isEnough && homes.every((id) => vouching.has(id))) return 'vouched'
  if (!isWhole) return hasSettled ? 'unfinished' : 'waiting'
  return isEnough ? 'waiting' : 'homeless'
}

/** `stuck` only when nothing but a change of the membership can go on. */
export function handOffStateOf(state: {
  readonly isDraining: boolean
  /** Whether all that is here has been looked at under the membership of now. */
  readonly hasLooked: boolean
  /** Of what is not vouched for. */
  readonly verdicts: Iterable<HandOffVerdict>
}): HandOffState {
  if (!state.isDraining) return 'none'
  if (!state.hasLooked) return 'moving'
  let isStuck = false
  for (const verdict of state.verdicts) {
    if (verdict === 'waiting') return 'moving'
    isStuck ||= verdict === 'homeless'
  }
  return isStuck ? 'stuck' : 'done'
}
