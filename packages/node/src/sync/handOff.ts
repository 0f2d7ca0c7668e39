import type { Address, Clock, Entry, Logger, Member } from '@weightless/core'
import { isFailure, copyHomes, presentSlots, protectedHomes, SEGMENT_SIZE_BYTES } from '@weightless/core'
import { mapBounded } from '@weightless/sdk'
import { createAlarm } from '../alarm.ts'
import type { CodedEntry } from '../erasure/codedEntry.ts'
import { firstOf } from '../firstOf.ts'
import type { Follower } from '../flow/follow.ts'
import type { ParityIndex } from '../flow/parities.ts'
import type { Shelf } from '../segments/shelf.ts'
import { askCopyHomes } from './askHomes.ts'
import { askSurplus, type AskSurplusDeps } from './askSurplus.ts'
import type { Duties } from './duty.ts'
import {
  handOffStateOf,
  verdictOfCopies,
  verdictOfShards,
  type HandOffState,
  type HandOffVerdict,
} from './handOffVerdict.ts'

/**
 * Tells a node that drains what of all that it holds its homes of now have not signed for (docs/erasure.md 12). It moves nothing: the new
 * homes fetch, from this node too. Nor is anything given up while a node drains. What is known here is asked anew after a restart and
 * after each change of the membership.
 */
export type HandOff = {
  /** Resolves when `signal` aborts. */
  run(options: { readonly signal: AbortSignal }): Promise<void>
  /** A certificate of this entry is new. */
  reconsider(entry: Entry): void
  isDraining(): boolean
  status(): HandOffStatus
}

export type HandOffStatus = {
  readonly state: HandOffState
  /** Bytes here of objects that their homes have not signed for yet; without those that are unfinished. */
  readonly leftBytes: number
  readonly leftEntryCount: number
  readonly handedOffBytes: number
  /** Of what is left: objects with more slots or copies than there are members for them. */
  readonly homelessBytes: number
  /** Bytes of uploads that nobody could complete: they hold nothing up. */
  readonly unfinishedBytes: number
}

export type HandOffOptions = { readonly chainId: number; readonly registry: Address }
export type HandOffDeps = AskSurplusDeps & {
  readonly follower: Pick<Follower, 'entries' | 'nextSeq' | 'isCaughtUp' | 'onCommit'>
  readonly duties: Pick<Duties, 'shardsOf' | 'mayBeProven' | 'concerning' | 'copyCount'>
  readonly parities: ParityIndex
  readonly shelf: Pick<Shelf, 'isWhole' | 'finish'>
  readonly clock: Clock
  readonly logger: Logger
  readonly signer: Address | undefined
  /** Whether the registry says that this node drains, where its events do not: of one that was stale before. */
  readonly isDraining: () => boolean
  readonly findCertificate: (
    entry: Entry,
    options: { readonly members: readonly Member[]; readonly signal: AbortSignal },
  ) => Promise<'found' | 'none'>
}

/** New homes look at what is theirs within a quarter of a second, and small objects are there in another. The minute that the release
 *  waits is for members that come back, and nothing is given up here. */
const FIRST_LOOK_MS = 1_000
/** A large object takes a home a while; asking is a dozen requests. */
const RETRY_MS_MAX = 30_000
/** A writer has half a minute (`SYNC_SETTLE_MS`) before homes gather an upload themselves, and they as long again. */
export const UNFINISHED_MS = 60_000
const LOOK_AGAIN_MS = 250
/** How often a node that does not drain asks itself whether it does; events of the registry wake it at once. */
const IDLE_MS = 10_000
const LOOK_ENTRIES = 64
/** Objects that are left, some 100 bytes each; the log is read on when there is room again. */
const LEFT_MAX = 65_536
/** Objects of which is known that they are handed off: others may be counted twice. */
const VOUCHED_MAX = 1_048_576
/** Objects asked about at once. */
const ASK_WINDOW = 4
/** Parities of one object whose bytes are counted, and entries of the same bytes that may have the certificate. */
const TRIED_MAX = 4

type Item = {
  readonly seq: number
  readonly bytes: number
  readonly verdict: HandOffVerdict
  readonly sinceMs: number
  readonly dueMs: number
  readonly attempts: number
}

export function createHandOff(options: HandOffOptions, deps: HandOffDeps): HandOff {
  const { follower, membership, duties, held, shelf, fingerprints, clock, logger } = deps
  const { entries } = follower
  const alarm = createAlarm(clock)
  const items = new Map<number, Item>()
  const vouched = new Set<number>()
  let handedOffBytes = 0
  let lookFrom = 0
  let toldState: HandOffState = 'none'

  const isSelf = ({ signer }: Member): boolean => signer === deps.signer

  /** The events come first: a registry that was read before a reorganisation says what is not so any more. */
  function isDraining(): boolean {
    if (membership.current().members.some(isSelf)) return false
    return membership.draining().some(isSelf) || deps.isDraining()
  }

  function forget(): void {
    items.clear()
    vouched.clear()
    handedOffBytes = 0
    lookFrom = 0
  }

  async function run({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    const end = follower.onCommit((commit) => {
      for (const { seq } of commit.removed) items.delete(seq)
      if (commit.removed.length > 0) lookFrom = Math.min(lookFrom, ...commit.removed.map(({ seq }) => seq))
      if (commit.membership !== undefined) forget()
      if (commit.membership !== undefined || isDraining()) alarm.ring()
    })
    try {
      while (!follower.isCaughtUp()) await clock.sleep(LOOK_AGAIN_MS, { signal })
      for (;;) await alarm.sleep(await step(signal), { signal })
    } catch (error) {
      if (!signal.aborted) throw error
    } finally {
      end()
    }
  }

  /** Some of the log, or objects that are due; resolves to how long the next step has time. */
  async function step(signal: AbortSignal): Promise<number> {
    if (!isDraining()) {
      if (items.size > 0 || lookFrom > 0) forget()
      tell()
      return IDLE_MS
    }
    try {
      if (look()) return 0
      const nowMs = clock.nowMs()
      const due = [...items.values()].filter(({ dueMs }) => dueMs <= nowMs).slice(0, LOOK_ENTRIES)
      await mapBounded(due, { window: ASK_WINDOW, signal }, attempt)
      tell()
      if (due.length > 0) return 0
    } catch (error) {
      signal.throwIfAborted()
      // An index that cannot be read now may be read later.
      logger.error('handOff.lookFailed', { error })
      return RETRY_MS_MAX
    }
    let wakeMs = Infinity
    for (const { dueMs } of items.values()) wakeMs = Math.min(wakeMs, dueMs)
    return Math.max(LOOK_AGAIN_MS, wakeMs - clock.nowMs())
  }

  function tell(): void {
    const { state, ...amounts } = status()
    if (state === toldState) return
    toldState = state
    logger.info(`handOff.${state}`, amounts)
  }

  const hasLooked = (): boolean => lookFrom >= follower.nextSeq()

  /** False when there is nothing left to look at, or no room for it. */
  function look(): boolean {
    if (hasLooked() || items.size >= LEFT_MAX) return false
    const page = entries.list({ after: lookFrom - 1, limit: LOOK_ENTRIES })
    for (const entry of page) {
      lookFrom = entry.seq + 1
      if (held.segmentCount(entry.root) > 0) for (const object of objectsOf(entry)) note(object, FIRST_LOOK_MS)
    }
    return page.length > 0
  }

  /** What the bytes of an entry are part of: parity goes with its data. Of entries of the same bytes the first one stands for all. */
  function objectsOf(entry: Entry): readonly Entry[] {
    const [own, ...data] = duties.concerning(entry)
    return (data.length > 0 ? data : [own!]).map(
      ({ root, sizeBytes, ...rest }) =>
        entries.byRoot(root).find((same) => same.sizeBytes === sizeBytes) ?? { root, sizeBytes, ...rest },
    )
  }

  function note(object: Entry, delayMs: number): void {
    const { seq } = object
    const bytes = bytesOf(object)
    if (bytes === 0 || items.has(seq) || vouched.has(seq) || items.size >= LEFT_MAX) return
    const nowMs = clock.nowMs()
    items.set(seq, { seq, bytes, verdict: 'waiting', sinceMs: nowMs, dueMs: nowMs + delayMs, attempts: 0 })
  }

  /** Held of an object: its data, and the parity that counts, or those that may. */
  function bytesOf(object: Entry): number {
    const coded = duties.shardsOf(object)?.coded
    const roots = new Set([object.root])
    if (coded !== undefined) roots.add(coded.parity.root)
    else for (const { entry } of firstOf(deps.parities.of(object), TRIED_MAX)) roots.add(entry.root)
    let segmentCount = 0
    for (const root of roots) segmentCount += held.segmentCount(root)
    return segmentCount * SEGMENT_SIZE_BYTES
  }

  async function attempt(item: Item, signal: AbortSignal): Promise<void> {
    const { seq } = item
    const object = entries.bySeq(seq)
    if (object === undefined) return void items.delete(seq)
    const { version } = membership.current()
    let verdict: HandOffVerdict = 'waiting'
    try {
      verdict = bytesOf(object) === 0 ? 'vouched' : await verdictOf(object, item, signal)
    } catch (error) {
      signal.throwIfAborted()
      logger[isFailure(error) ? 'info' : 'error']('handOff.failed', { seq, error })
    }
    // Whatever was forgotten meanwhile is looked at anew.
    if (items.get(seq) !== item || membership.current().version !== version) return
    if (verdict === 'vouched') {
      items.delete(seq)
      handedOffBytes += item.bytes
      if (vouched.size < VOUCHED_MAX) vouched.add(seq)
      logger.debug('handOff.vouched', { seq, bytes: item.bytes })
      return
    }
    const dueMs = clock.nowMs() + retryMs(verdict, item.attempts)
    items.set(seq, { ...item, bytes: bytesOf(object), verdict, dueMs, attempts: item.attempts + 1 })
  }

  const sameBytes = ({ root, sizeBytes }: Entry): readonly Entry[] =>
    entries.byRoot(root).filter((one) => one.sizeBytes === sizeBytes)

  async function verdictOf(object: Entry, item: Item, signal: AbortSignal): Promise<HandOffVerdict> {
    const { members } = membership.current()
    if (duties.shardsOf(object) === undefined)
      for (const same of firstOf(sameBytes(object), TRIED_MAX))
        if (duties.mayBeProven(same)) await deps.findCertificate(same, { members, signal })
    const kept = duties.shardsOf(object)
    return kept === undefined ? await ofCopies(object, item, signal) : await ofShards(kept.coded, signal)
  }

  async function ofShards(coded: CodedEntry, signal: AbortSignal): Promise<HandOffVerdict> {
    const { data, code, layout } = coded
    const { members } = membership.current()
    const homeCount = protectedHomes({ dataRoot: data.root, sizeBytes: data.sizeBytes, code }, members).length
    const slotCount = presentSlots(layout).length
    const some = held.someSlots(coded)
    const nothing = { surplus: { kind: 'keep', why: 'nothing' }, agreed: new Set<number>() } as const
    if (some.length === 0 || homeCount < slotCount)
      return verdictOfShards({ slotCount, homeCount, held: some, ...nothing })
    const asked = { ...options, membership: membership.current(), self: undefined, signal }
    const { surplus, claims } = await askSurplus(coded, asked, deps)
    const agreed = new Set<number>()
    if (surplus.kind === 'release')
      for (const { slot, fingerprints: claimed } of claims)
        if (some.includes(slot) && (await fingerprints.agree(coded, slot, claimed, { signal, pace: deps.pace })))
          agreed.add(slot)
    return verdictOfShards({ slotCount, homeCount, held: some, surplus, agreed })
  }

  async function ofCopies(object: Entry, { sinceMs }: Item, signal: AbortSignal): Promise<HandOffVerdict> {
    const { version, members } = membership.current()
    const copiesNeeded = duties.copyCount(object)
    const homes = copyHomes({ key: object.root, count: copiesNeeded }, members)
    const vouching = await askCopyHomes(object, homes, { ...options, registryVersion: version, signal }, deps)
    return verdictOfCopies({
      isWhole: await shelf.finish(object, { signal }),
      copiesNeeded,
      homes: homes.map(({ member }) => member.id),
      vouching,
      hasSettled: clock.nowMs() - sinceMs >= UNFINISHED_MS,
    })
  }

  function status(): HandOffStatus {
    const draining = isDraining()
    let [leftBytes, leftEntryCount, homelessBytes, unfinishedBytes] = [0, 0, 0, 0]
    for (const { bytes, verdict } of draining ? items.values() : []) {
      if (verdict === 'unfinished') {
        unfinishedBytes += bytes
        continue
      }
      leftBytes += bytes
      leftEntryCount += 1
      if (verdict === 'homeless') homelessBytes += bytes
    }
    return {
      state: handOffStateOf({
        isDraining: draining,
        hasLooked: follower.isCaughtUp() && hasLooked(),
        verdicts: verdictsOf(items.values()),
      }),
      leftBytes,
      leftEntryCount,
      handedOffBytes: draining ? handedOffBytes : 0,
      homelessBytes,
      unfinishedBytes,
    }
  }

  return {
    run,
    reconsider(entry) {
      if (!isDraining()) return
      for (const object of objectsOf(entry)) note(object, 0)
      alarm.ring()
    },
    isDraining,
    status,
  }
}

function retryMs(verdict: HandOffVerdict, attempts: number): number {
  // Only another membership gives it a home, and then all is looked at anew.
  if (verdict === 'homeless') return Infinity
  if (verdict === 'unfinished') return UNFINISHED_MS
  return Math.min(RETRY_MS_MAX, FIRST_LOOK_MS * 2 ** Math.min(attempts, 10))
}

function* verdictsOf(items: Iterable<Item>): Generator<HandOffVerdict, void, undefined> {
  for (const { verdict } of items) yield verdict
}
