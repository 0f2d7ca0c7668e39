import type { Member, Shard } from '@weightless/core'
import { placementOrder, protectedHomes, SLOT_COUNT_MAX } from '@weightless/core'
import { mapBounded } from '@weightless/sdk'
import type { CodedEntry } from '../erasure/codedEntry.ts'
import type { Peers } from '../peers/peers.ts'

/** Who has which slots of an object. */
export type ShardSources = {
  /** Members that say they hold every shard of its slot; by turns, so that no one of them bears it all. */
  certain(shard: Shard): readonly Member[]
  /** Those that should hold it and may have some of its slot. */
  possible(shard: Shard): readonly Member[]
  /** This member does not have the shard: it is asked for it no more. */
  lacks(shard: Shard, member: Member): void
  /** It failed or lied: it is asked for this slot no more. */
  giveUp(slot: number, member: Member): void
  /** Members that hold anything. */
  readonly count: number
}

/** Members asked what they hold: as many as there can be slots. */
const ASKED_MAX: number = SLOT_COUNT_MAX
const ASK_WINDOW = 4
const ASK_TIMEOUT_MS = 3_000

/** Asks all members, homes first; then those that drain, who are no homes and may be the only ones to have it. Both without this node. */
export async function findShardSources(
  coded: CodedEntry,
  options: {
    readonly members: readonly Member[]
    readonly draining?: readonly Member[] | undefined
    readonly signal: AbortSignal
  },
  { peers }: { readonly peers: Peers },
): Promise<ShardSources> {
  const { members, draining = [], signal } = options
  const { data, parity, code, layout } = coded
  const homes = protectedHomes({ dataRoot: data.root, sizeBytes: data.sizeBytes, code }, members)
  // One that drained and does not answer has left, as a rule.
  const leaving = draining.filter((member) => !peers.isAvoided(member))
  const order = [
    ...homes.map(({ member }) => member),
    ...leaving,
    ...placementOrder({ key: data.root, slot: 0 }, members),
  ]
  const asked = order
    .filter((member, i) => order.findIndex(({ id }) => id === member.id) === i)
    .filter((member) => peers.of(member) !== undefined && peers.standing(member).state !== 'banned')
    .slice(0, ASKED_MAX)
  const told = await mapBounded(asked, { window: ASK_WINDOW, signal }, async (member, scope) => {
    try {
      const entries = await peers.of(member)!.entries(data.root, { signal: scope, timeoutMs: ASK_TIMEOUT_MS })
      peers.succeeded(member)
      const held = entries.find(({ seq }) => seq === data.seq)
      const slots = held?.parities.find(({ seq }) => seq === parity.seq)?.slots ?? []
      const dataSlots = Array.from({ length: held?.complete === true ? layout.dataSlotCount : 0 }, (_, slot) => slot)
      return { member, slots: [...new Set([...dataSlots, ...slots])] }
    } catch (error) {
      signal.throwIfAborted()
      peers.failed(member, error)
      return { member, slots: [] }
    }
  })
  const bySlot = new Map<number, Member[]>()
  for (const { member, slots } of told)
    for (const slot of slots) bySlot.set(slot, [...(bySlot.get(slot) ?? []), member])
  const givenUp = new Set<string>()
  const isUsable = ({ slot, stripe }: Shard, member: Member): boolean =>
    !givenUp.has(`${slot} ${member.id}`) &&
    !givenUp.has(`${slot} ${member.id} ${stripe}`) &&
    peers.of(member) !== undefined &&
    peers.standing(member).state !== 'banned'
  let turn = 0
  return {
    count: told.filter(({ slots }) => slots.length > 0).length,
    certain(shard) {
      const usable = (bySlot.get(shard.slot) ?? []).filter((member) => isUsable(shard, member))
      turn += 1
      return usable.map((_, i) => usable[(i + turn) % usable.length]!)
    },
    possible: (shard) =>
      homes
        .filter((home) => home.slot === shard.slot && isUsable(shard, home.member))
        .map(({ member }) => member)
        .filter((member) => !(bySlot.get(shard.slot) ?? []).includes(member)),
    lacks: ({ slot, stripe }, member) => void givenUp.add(`${slot} ${member.id} ${stripe}`),
    giveUp: (slot, member) => void givenUp.add(`${slot} ${member.id}`),
  }
}
