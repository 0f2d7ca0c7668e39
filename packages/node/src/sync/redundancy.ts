import type { Address, Clock, Entry, Logger, Member } from '@weightless/core'
import {
  lossesNeededOf,
  copyHomes,
  presentSlots,
  protectedHomes,
  protectionOf,
  REPLICA_COUNT,
  type ShardLayout,
} from '@weightless/core'
import type { Certified } from '../erasure/certificates.ts'
import { codedEntryOf } from '../erasure/codedEntry.ts'
import type { HeldShards } from '../erasure/heldShards.ts'
import type { Follower } from '../flow/follow.ts'
import type { MembershipView } from '../flow/membership.ts'
import { parityTagsOf, type ParityIndex } from '../flow/parities.ts'
import { createAlarm } from '../alarm.ts'
import { isKeptByShards, isProven } from './duty.ts'

/** How many more losses of members an object survives. `unknown`: no certificate says. `lost`: too few slots are left. */
export type RedundancyLevel = (typeof REDUNDANCY_LEVELS)[number]
/** One label each in the metrics: codes with more parity than this are as safe as anybody counts. */
export const REDUNDANCY_LEVELS = ['lost', 'unknown', '0', '1', '2', '3', '4', '5', '6', '7', '8+'] as const

/**
 * Bytes of objects at each level of what they survive, of those that this node reports: each object is reported by one node, so the sum
 * over all nodes counts each once. A node goes by the certificate that it keeps and by the members of now; nobody is asked.
 */
export type Redundancy = {
  /** Resolves when `signal` aborts. */
  run(options: { readonly signal: AbortSignal }): Promise<void>
  /** A certificate of this entry is new. */
  reconsider(entry: Entry): void
  status(): RedundancyStatus
}
export type RedundancyStatus = {
  /** `looking`: not all entries have been looked at since the start or the last change of the membership. */
  readonly state: 'looking' | 'known'
  readonly bytes: Readonly<Record<RedundancyLevel, number>>
}

export type RedundancyDeps = {
  readonly follower: Pick<Follower, 'entries' | 'nextSeq' | 'isCaughtUp' | 'onCommit'>
  readonly membership: MembershipView
  readonly parities: ParityIndex
  readonly certifiedOf: (entry: Entry) => Certified | undefined
  readonly held: Pick<HeldShards, 'wholeSlots'>
  readonly clock: Clock
  readonly logger: Logger
  readonly signer: Address | undefined
}

const LOOK_AGAIN_MS = 250
const LOOK_ENTRIES = 64
/** After an index that could not be read. */
const RETRY_MS = 10_000

export function createRedundancy(deps: RedundancyDeps): Redundancy {
  const { follower, membership, clock, logger } = deps
  const { entries } = follower
  const alarm = createAlarm(clock)
  /** What this node reports. */
  const reported = new Map<number, { readonly level: RedundancyLevel; readonly sizeBytes: number }>()
  const bytes = Object.fromEntries(REDUNDANCY_LEVELS.map((level) => [level, 0])) as Record<RedundancyLevel, number>
  let lookFrom = 0

  async function run({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    const end = follower.onCommit((commit) => {
      for (const { seq } of commit.removed) {
        report(seq, undefined)
        lookFrom = Math.min(lookFrom, seq)
      }
      if (commit.membership !== undefined) lookFrom = 0
      if (lookFrom < follower.nextSeq()) alarm.ring()
    })
    try {
      while (!follower.isCaughtUp()) await clock.sleep(LOOK_AGAIN_MS, { signal })
      for (;;) await alarm.sleep(look(), { signal })
    } catch (error) {
      if (!signal.aborted) throw error
    } finally {
      end()
    }
  }

  /** Looks at some entries; resolves to how long the next ones have time. */
  function look(): number {
    try {
      const page = entries.list({ after: lookFrom - 1, limit: LOOK_ENTRIES })
      for (const entry of page) {
        consider(entry)
        lookFrom = entry.seq + 1
      }
      return page.length > 0 ? 0 : Infinity
    } catch (error) {
      logger.error('redundancy.lookFailed', { error })
      return RETRY_MS
    }
  }

  function consider(entry: Entry): void {
    if (!isCounted(entry)) return report(entry.seq, undefined)
    const certified = certifiedOf(entry)
    const isReporter = reporterOf(entry, certified)?.signer === deps.signer
    report(entry.seq, isReporter ? { level: levelOfEntry(entry, certified), sizeBytes: entry.sizeBytes } : undefined)
  }

  function report(
    seq: number,
    next: { readonly level: RedundancyLevel; readonly sizeBytes: number } | undefined,
  ): void {
    const before = reported.get(seq)
    if (before !== undefined) bytes[before.level] -= before.sizeBytes
    if (next === undefined) return void reported.delete(seq)
    bytes[next.level] += next.sizeBytes
    reported.set(seq, next)
  }

  /** Parity is no object of anybody; of entries of the same bytes the first one stands for all. */
  function isCounted(entry: Entry): boolean {
    const tags = parityTagsOf(entry)
    if (tags !== undefined && entries.byRoot(tags.dataRoot).some(({ sizeBytes }) => sizeBytes === tags.sizeBytes))
      return false
    return sameBytes(entry)[0]?.seq === entry.seq
  }

  function sameBytes(entry: Entry): readonly Entry[] {
    return entries.byRoot(entry.root).filter(({ sizeBytes }) => sizeBytes === entry.sizeBytes)
  }

  /** Entries of the same bytes share their shards: the certificate that keeps them, as duties go by it. */
  function certifiedOf(entry: Entry): Certified | undefined {
    const known = sameBytes(entry).flatMap((same) => deps.certifiedOf(same) ?? [])
    return known.find(isKeptByShards) ?? known.find(isProven) ?? known[0]
  }

  function reporterOf(entry: Entry, certified: Certified | undefined): Member | undefined {
    const { members } = membership.current()
    const homes = homesOf(entry, certified, members)
    const holders = certified?.holders ?? []
    const order = [...homes].sort((a, b) => a.slot - b.slot).map(({ member }) => member)
    return order.find(({ id }) => holders.some((holder) => holder.id === id)) ?? order[0]
  }

  function homesOf(entry: Entry, certified: Certified | undefined, members: readonly Member[]) {
    const code = certified?.parity?.code
    if (code === undefined) return copyHomes({ key: entry.root, count: REPLICA_COUNT }, members)
    return protectedHomes({ dataRoot: entry.root, sizeBytes: entry.sizeBytes, code }, members)
  }

  function levelOfEntry(entry: Entry, certified: Certified | undefined): RedundancyLevel {
    const { members } = membership.current()
    if (certified === undefined) return 'unknown'
    const parity = certified.parity === null ? undefined : deps.parities.named(entry, certified.parity.seq)
    const coded = parity && codedEntryOf(entry, parity)
    const self = members.find(({ signer }) => signer === deps.signer)?.id
    return levelOf({
      layout: coded?.layout,
      own: coded === undefined || self === undefined ? undefined : { id: self, slots: deps.held.wholeSlots(coded) },
      homes: homesOf(entry, certified, members).map(({ slot, member }) => ({ slot, id: member.id })),
      members: new Set(members.map(({ id }) => id)),
      holders: certified.holders,
    })
  }

  return {
    run,
    reconsider(entry) {
      // What lies ahead of the look is met by it.
      const [first] = sameBytes(entry)
      if (first !== undefined && first.seq < lookFrom) consider(first)
    },
    status: () => ({ state: lookFrom < follower.nextSeq() ? 'looking' : 'known', bytes: { ...bytes } }),
  }
}

/** What is left of what was certified. Only members of now count. A home counts for its own slot alone: what else it had it gives up
 *  when it likes (docs/erasure.md 12); so are copies where there are shards. */
export function levelOf(state: {
  /** `undefined` where copies are all there is. */
  readonly layout: ShardLayout | undefined
  readonly homes: readonly { readonly slot: number; readonly id: number }[]
  readonly members: ReadonlySet<number>
  /** What this node has, whatever it signed once. */
  readonly own?: { readonly id: number; readonly slots: readonly number[] } | undefined
  readonly holders: readonly { readonly id: number; readonly slots: readonly number[] }[]
}): RedundancyLevel {
  const { layout, homes, members } = state
  const holders = state.holders.filter(({ id }) => members.has(id))
  if (layout === undefined) {
    const { lossesSurvived } = protectionOf(
      { layout, shards: [], copyCount: holders.length },
      { lossesNeeded: lossesNeededOf(undefined) },
    )
    return holders.length === 0 ? 'lost' : nameOf(lossesSurvived)
  }
  const homeOf = new Map(homes.map(({ slot, id }) => [slot, id]))
  const isAtHome = (id: number, slot: number): boolean => homeOf.get(slot) === id
  const claimed = holders
    .filter(({ id }) => id !== state.own?.id)
    .map(({ id, slots }) => {
      const atHome = slots.filter((slot) => isAtHome(id, slot))
      return atHome.length > 0 ? atHome : slots
    })
  const shards = state.own === undefined ? claimed : [...claimed, state.own.slots]
  const heldSlots = new Set(shards.flat())
  if (presentSlots(layout).filter((slot) => heldSlots.has(slot)).length < layout.dataSlotCount) return 'lost'
  const { lossesSurvived } = protectionOf(
    { layout, shards, copyCount: 0 },
    { lossesNeeded: lossesNeededOf(layout.code) },
  )
  return nameOf(lossesSurvived)
}

function nameOf(lossesSurvived: number): RedundancyLevel {
  return REDUNDANCY_LEVELS.find((level) => level === String(lossesSurvived)) ?? '8+'
}
