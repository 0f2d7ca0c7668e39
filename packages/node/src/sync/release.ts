import type { Address, Clock, Entry, Logger, Member } from '@weightless/core'
import {
  isFailure,
  layoutOf,
  copyHomes,
  protectedHomes,
  segmentOfShard,
  shardCountOf,
  slotsOf,
  type ErasureCode,
  type Home,
  type Root,
} from '@weightless/core'
import type { Certificates } from '../erasure/certificates.ts'
import type { CodedEntry } from '../erasure/codedEntry.ts'
import type { Fingerprints } from '../erasure/fingerprints.ts'
import type { HeldShards } from '../erasure/heldShards.ts'
import type { Follower } from '../flow/follow.ts'
import type { MembershipView } from '../flow/membership.ts'
import type { Peers } from '../peers/peers.ts'
import type { Shelf } from '../segments/shelf.ts'
import type { Receipts } from '../storage/receipts.ts'
import { REMOVED_SEGMENTS_MAX } from '../store/store.ts'
import { createAlarm } from '../alarm.ts'
import { askCopyHomes } from './askHomes.ts'
import { askSurplus } from './askSurplus.ts'
import type { Duties } from './duty.ts'
import type { Pace } from './pace.ts'
import { copiesNeededOf, isSurplusCopy } from './surplus.ts'

/**
 * Gives up what a node holds of an entry beyond its duty (docs/erasure.md 12): a whole copy of an object that is kept by shards, a shard
 * whose home is another by now, a copy whose homes are others. What is given up follows from what is here and from what the homes sign
 * when they are asked, so a restart in the middle costs nothing but another look.
 */
export type Release = {
  /** Resolves when `signal` aborts. */
  run(options: { readonly signal: AbortSignal }): Promise<void>
  /** Something about this entry is new: a certificate, or that the node was read through. */
  reconsider(entry: Entry): void
  status(): ReleaseStatus
}

export type ReleaseStatus = {
  readonly releasedBytes: number
  /** Entries of which more is here than belongs here, as far as they have been looked at. */
  readonly waitingEntryCount: number
}

export type ReleaseOptions = { readonly chainId: number; readonly registry: Address }
export type ReleaseDeps = {
  readonly follower: Pick<Follower, 'entries' | 'nextSeq' | 'isCaughtUp' | 'onCommit'>
  readonly membership: MembershipView
  readonly duties: Duties
  readonly held: HeldShards
  readonly fingerprints: Fingerprints
  readonly certificates: Pick<Certificates, 'of'>
  readonly receipts: Pick<Receipts, 'get' | 'signShards'>
  readonly shelf: Pick<Shelf, 'isWhole' | 'has' | 'giveUp' | 'unmark'>
  readonly peers: Peers
  /** Reads of the own disk: a copy is read once before it goes. */
  readonly pace: Pace
  readonly clock: Clock
  readonly logger: Logger
  readonly signer: Address | undefined
  readonly isWritable: () => boolean
  /** A node that drains goes with all that it has: until then that is one holder more, also where members are too few for all slots. */
  readonly isDraining: () => boolean
  /** Less of an entry is here than before. */
  readonly onReleased: (entry: Entry) => void
  /** Whether the sync works on this entry. */
  readonly isUnderWay: (seq: number) => boolean
  readonly findCertificate: (
    entry: Entry,
    options: { readonly members: readonly Member[]; readonly signal: AbortSignal },
  ) => Promise<'found' | 'none'>
}

/** Nothing is given up so soon after the membership changed or a certificate came: writers and new homes are still at work, and a member
 *  that went may come back. */
export const RELEASE_SETTLE_MS = 60_000
const RETRY_MS_MAX = 3_600_000
const LOOK_AGAIN_MS = 250
const LOOK_ENTRIES = 64
/** Entries that wait, 24 bytes each; those beyond are met by the next look. */
const WAITING_MAX = 65_536

type Outcome = 'done' | 'later'

export function createRelease(options: ReleaseOptions, deps: ReleaseDeps): Release {
  const { follower, membership, duties, held, fingerprints, shelf, clock, logger } = deps
  const { entries } = follower
  const alarm = createAlarm(clock)
  const waiting = new Map<number, { readonly dueMs: number; readonly attempts: number }>()
  let lookFrom = 0
  let settledMs = 0
  let releasedBytes = 0

  const self = (): Member | undefined => membership.current().members.find(({ signer }) => signer === deps.signer)

  async function run({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    const end = follower.onCommit((commit) => {
      for (const { seq } of commit.removed) waiting.delete(seq)
      if (commit.removed.length > 0) lookFrom = Math.min(lookFrom, ...commit.removed.map(({ seq }) => seq))
      if (commit.membership === undefined) return
      lookFrom = 0
      settledMs = clock.nowMs() + RELEASE_SETTLE_MS
      alarm.ring()
    })
    try {
      while (!follower.isCaughtUp()) await clock.sleep(LOOK_AGAIN_MS, { signal })
      settledMs = clock.nowMs() + RELEASE_SETTLE_MS
      for (;;) {
        const nowMs = clock.nowMs()
        if (deps.isDraining()) await alarm.sleep(RELEASE_SETTLE_MS, { signal })
        else if (nowMs < settledMs) await alarm.sleep(settledMs - nowMs, { signal })
        else if (!(await stepOrFail(signal))) await alarm.sleep(untilDue(), { signal })
      }
    } catch (error) {
      if (!signal.aborted) throw error
    } finally {
      end()
    }
  }

  /** An index that cannot be read now may be read later: no reason to end the node. */
  async function stepOrFail(signal: AbortSignal): Promise<boolean> {
    try {
      return await step(signal)
    } catch (error) {
      signal.throwIfAborted()
      logger.error('release.lookFailed', { error })
      settledMs = clock.nowMs() + RELEASE_SETTLE_MS
      return true
    }
  }

  /** Some of the log, and one entry that is due; false when there is neither. */
  async function step(signal: AbortSignal): Promise<boolean> {
    const hasLooked = look()
    const nowMs = clock.nowMs()
    const due = deps.isWritable() ? [...waiting].find(([, { dueMs }]) => dueMs <= nowMs) : undefined
    if (due === undefined) {
      // Between two pages others have their turn.
      if (hasLooked) await clock.sleep(0, { signal })
      return hasLooked
    }
    const [seq, { attempts }] = due
    waiting.delete(seq)
    const entry = entries.bySeq(seq)
    if (entry === undefined) return true
    const outcome = await attempt(entry, signal)
    if (outcome === 'later' && !waiting.has(seq))
      waiting.set(seq, { dueMs: clock.nowMs() + retryMs(attempts), attempts: attempts + 1 })
    return true
  }

  function untilDue(): number {
    let dueMs = Infinity
    for (const one of waiting.values()) dueMs = Math.min(dueMs, one.dueMs)
    if (dueMs === Infinity) return Infinity
    return Math.max(LOOK_AGAIN_MS, dueMs - clock.nowMs())
  }

  /** New entries need no look: nothing is to be given up of what a writer brings until a certificate comes. */
  function look(): boolean {
    if (lookFrom >= follower.nextSeq() || waiting.size >= WAITING_MAX) return false
    const page = entries.list({ after: lookFrom - 1, limit: LOOK_ENTRIES })
    for (const entry of page) {
      lookFrom = entry.seq + 1
      if (held.segmentCount(entry.root) === 0) continue
      for (const concerned of duties.concerning(entry))
        if (!waiting.has(concerned.seq) && mayHaveSurplus(concerned))
          waiting.set(concerned.seq, { dueMs: clock.nowMs(), attempts: 0 })
    }
    return page.length > 0
  }

  function mayHaveSurplus(entry: Entry): boolean {
    const kept = duties.shardsOf(entry)
    if (kept !== undefined) return held.someSlots(kept.coded).some((slot) => !kept.slots.includes(slot))
    return shelf.isWhole(entry) && (duties.mayBeProven(entry) || copyHomesOf(entry) !== undefined)
  }

  async function attempt(entry: Entry, signal: AbortSignal): Promise<Outcome> {
    try {
      if (deps.isUnderWay(entry.seq)) return 'later'
      const members = othersOf()
      const isUnknown = duties.shardsOf(entry) === undefined && duties.mayBeProven(entry)
      if (isUnknown) await deps.findCertificate(entry, { members, signal })
      const kept = duties.shardsOf(entry)
      if (kept !== undefined) return await releaseShards(kept.coded, signal)
      if (await releaseCopy(entry, signal)) return 'done'
      return mayHaveSurplus(entry) ? 'later' : 'done'
    } catch (error) {
      signal.throwIfAborted()
      logger[isFailure(error) ? 'info' : 'error']('release.failed', { seq: entry.seq, error })
      return 'later'
    }
  }

  async function releaseShards(coded: CodedEntry, signal: AbortSignal): Promise<Outcome> {
    const { data, code } = coded
    const { version, members } = membership.current()
    const me = self()
    const homes = protectedHomes({ dataRoot: data.root, sizeBytes: data.sizeBytes, code }, members)
    const own = homes.filter(({ member }) => member.id === me?.id).map(({ slot }) => slot)
    const some = held.someSlots(coded)
    if (some.every((slot) => own.includes(slot)) || duties.isShared(coded)) return 'done'
    const asked = { ...options, membership: { version, members }, self: me, signal }
    const { surplus, claims } = await askSurplus(coded, asked, deps)
    if (surplus.kind === 'keep') {
      logger.debug('release.kept', { seq: data.seq, why: surplus.why })
      return surplus.why === 'nothing' ? 'done' : 'later'
    }
    let outcome: Outcome = 'done'
    for (const slot of surplus.slots) {
      const claim = claims.find((one) => one.slot === slot)
      // Of a slot of which not all is here, what is here has been compared by nobody yet.
      const isSame =
        claim !== undefined && (await fingerprints.agree(coded, slot, claim.fingerprints, { signal, pace: deps.pace }))
      if (!isSame || !(await giveUpSlot(coded, slot, version, signal))) outcome = 'later'
    }
    deps.onReleased(data)
    return outcome
  }

  /** Removes the shards of a slot that are here, unless the membership changes meanwhile. */
  async function giveUpSlot(coded: CodedEntry, slot: number, version: number, signal: AbortSignal): Promise<boolean> {
    const { data, parity, layout } = coded
    const root = slot < coded.code.k ? data.root : parity.root
    const indexes: number[] = []
    for (let stripe = 0; stripe < shardCountOf(layout, slot); stripe++) {
      const { segmentIndex } = segmentOfShard(layout, { slot, stripe })!
      if (shelf.has(root, segmentIndex)) indexes.push(segmentIndex)
    }
    return await giveUp(data, root, indexes, version, signal)
  }

  /** Looks at the membership in the same turn in which the segments are hidden: who is asked by another home from then on denies them. */
  async function giveUp(
    { seq }: Entry,
    root: Root,
    indexes: readonly number[],
    version: number,
    signal: AbortSignal,
  ): Promise<boolean> {
    await shelf.unmark(root)
    for (let from = 0; from < indexes.length; from += REMOVED_SEGMENTS_MAX) {
      signal.throwIfAborted()
      if (membership.current().version !== version || !follower.isCaughtUp() || deps.isUnderWay(seq)) return false
      const some = indexes.slice(from, from + REMOVED_SEGMENTS_MAX)
      releasedBytes += await shelf.giveUp(root, some)
      held.forget(root)
    }
    logger.info('release.released', { seq, root, segmentCount: indexes.length })
    return true
  }

  async function releaseCopy(entry: Entry, signal: AbortSignal): Promise<boolean> {
    const { version } = membership.current()
    const homes = copyHomesOf(entry)
    // What is built of its parity is built from copies, and they protect it until that is durable.
    if (homes === undefined || !shelf.isWhole(entry) || duties.provenShardsOf(entry) !== undefined) return false
    const vouching = await askCopyHomes(entry, homes, { ...options, registryVersion: version, signal }, deps)
    const state = {
      homes: homes.map(({ member }) => member.id),
      self: self()?.id,
      copiesNeeded: copiesNeededOf(codeOf(entry)),
      vouching,
    }
    if (!isSurplusCopy(state)) return false
    const indexes = Array.from({ length: layoutOf(entry.sizeBytes).segmentCount }, (_, i) => i)
    const present = indexes.filter((index) => shelf.has(entry.root, index))
    return await giveUp(entry, entry.root, present, version, signal)
  }

  /** The homes of a copy that this node signed for and that is another's by now; `undefined` where it is this node's, nobody's or not
   *  to be told. */
  function copyHomesOf(entry: Entry): readonly Home[] | undefined {
    const receipt = deps.receipts.get(entry)
    const code = codeOf(entry)
    // How many copies an object of one segment has says its certificate alone; a parity has no homes as a whole.
    if (receipt === undefined || duties.concerning(entry).length > 1) return undefined
    if (code === undefined && layoutOf(entry.sizeBytes).segmentCount === 1 && self() !== undefined) return undefined
    const slotCount = copiesNeededOf(code)
    // Whoever was given a copy of a higher rank keeps it: its writer wanted more of them.
    if (slotsOf(receipt.slots).some((rank) => rank >= slotCount)) return undefined
    if (entries.byRoot(entry.root).some(({ sizeBytes }) => sizeBytes !== entry.sizeBytes)) return undefined
    // Entries of the same bytes share their copies, and one of them may want more.
    const isHomeOf = (one: Entry): boolean => isHome(copyHomesFor(one, duties.copyCount(one)))
    if (entries.byRoot(entry.root).some((one) => one.seq !== entry.seq && isHomeOf(one))) return undefined
    const homes = copyHomesFor(entry, slotCount)
    return isHome(homes) ? undefined : homes
  }

  const copyHomesFor = ({ root }: Entry, count: number): readonly Home[] =>
    copyHomes({ key: root, count }, membership.current().members)
  const isHome = (homes: readonly Home[]): boolean => homes.some(({ member }) => member.signer === deps.signer)

  function codeOf(entry: Entry): ErasureCode | undefined {
    const certified = deps.certificates.of(entry)
    return certified?.copyCode ?? certified?.parity?.code
  }

  const othersOf = (): readonly Member[] => membership.current().members.filter(({ signer }) => signer !== deps.signer)

  return {
    run,
    reconsider(entry) {
      if (waiting.size >= WAITING_MAX && !waiting.has(entry.seq)) return
      if (held.segmentCount(entry.root) === 0 && duties.shardsOf(entry) === undefined) return
      waiting.set(entry.seq, { dueMs: clock.nowMs() + RELEASE_SETTLE_MS, attempts: 0 })
      alarm.ring()
    },
    status: () => ({ releasedBytes, waitingEntryCount: waiting.size }),
  }
}

function retryMs(attempts: number): number {
  return Math.min(RETRY_MS_MAX, RELEASE_SETTLE_MS * 2 ** Math.min(attempts, 10))
}
