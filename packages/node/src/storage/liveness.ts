import { placementOrder, toHex, type Member } from '@weightless/core'
import { keccak256 } from '@weightless/kernels'

// What a node decides at each block of its chain (docs/decisions/0014). All times are Unix seconds by the clock of the chain, so a
// machine whose own clock is off decides what the others do. `graceS` is the registry's.

/** A member speaks twice within the time after which the registry calls it silent. */
export function isHeartbeatDue(at: {
  readonly headTimeS: number
  readonly lastHeartbeatS: number
  /** The last try, whatever came of it. */
  readonly lastTryS: number | undefined
  readonly graceS: number
}): boolean {
  const { headTimeS, lastHeartbeatS, lastTryS, graceS } = at
  const isOld = headTimeS - lastHeartbeatS > graceS / 2
  return isOld && (lastTryS === undefined || headTimeS - lastTryS >= graceS / RETRY_SHARE || headTimeS < lastTryS)
}
/** One that failed is tried again at the next block, but in a busy chain not at each. */
const RETRY_SHARE = 8

/** Since when blocks have come without a pause. */
export type Watch = { readonly sinceS: number; readonly lastS: number }

/** Heartbeats follow blocks: after a time in which there were none (the network was down, the machine slept) nobody is silent for not
 *  having spoken, and everybody gets a grace to do so. */
export function watchOn(before: Watch | undefined, headTimeS: number, graceS: number): Watch {
  const hasPaused = before === undefined || headTimeS - before.lastS > SILENT_GRACES * graceS
  return { sinceS: hasPaused ? headTimeS : before.sinceS, lastS: Math.max(headTimeS, before?.lastS ?? 0) }
}

/** The registry lets anyone mark a member after one grace; nodes leave it two, for a chain may be idle for one. */
const SILENT_GRACES = 2

/** Members that have not spoken for long, as far as `watch` can tell. */
export function silentMembers(at: {
  readonly watch: Watch
  readonly graceS: number
  readonly members: readonly Member[]
  /** By id, as read from the registry; who is not in it is new. */
  readonly heartbeats: ReadonlyMap<number, number>
}): readonly Member[] {
  const { watch, graceS, members, heartbeats } = at
  if (watch.lastS - watch.sinceS < graceS) return []
  return members.filter(({ id }) => {
    const lastS = heartbeats.get(id)
    return lastS !== undefined && watch.lastS - lastS > SILENT_GRACES * graceS
  })
}

/** How many others mark this member before `self` does; `undefined` for one who is no member, or the one to be marked. */
export function markerRank(
  silent: { readonly id: number; readonly version: number },
  self: { readonly id: number },
  members: readonly Member[],
): number | undefined {
  const able = members.filter(({ id }) => id !== silent.id)
  const key = toHex(keccak256(new TextEncoder().encode(`stale ${silent.id} ${silent.version}`)))
  const order = placementOrder({ key, slot: 0 }, able)
  const last = able.filter((member) => !order.includes(member))
  const rank = [...order, ...last].findIndex(({ id }) => id === self.id)
  return rank === -1 ? undefined : rank
}
/** Blocks that each of them leaves to those before it: a transaction is seen in the next one or the one after. */
export const MARK_BLOCKS_PER_RANK = 3
