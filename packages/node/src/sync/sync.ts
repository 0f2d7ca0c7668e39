import type { Address, Clock, Entry, Home, Logger, Member, Root } from '@weightless/core'
import { isFailure, layoutOf, presentSlots, REPLICA_COUNT, SEGMENT_SIZE_BYTES } from '@weightless/core'
import type { CodedEntry } from '../erasure/codedEntry.ts'
import { createAlarm } from '../alarm.ts'
import { fail } from '../errors.ts'
import { fail as failStore } from '../store/errors.ts'
import type { Follower } from '../flow/follow.ts'
import type { MembershipView } from '../flow/membership.ts'
import type { Peers } from '../peers/peers.ts'
import type { Shelf, Stride } from '../segments/shelf.ts'
import type { Duties, Duty, MissingPart } from './duty.ts'
import { fetchEntry, findSources, type FetchResult } from './fetchEntry.ts'
import type { FetchShardsOptions } from './fetchShards.ts'
import type { Pace } from './pace.ts'
import { homeSlot, planSync, retryAtMs, SYNC_SETTLE_MS, type Missing, type Span } from './planSync.ts'

/**
 * Node to node: brings the entries, or shards of them, of which this node is a home, and whose bytes it lacks, from those who hold
 * them. It was replaced, came back empty, was away during an upload, or its disk lost a segment: what is to be done follows from the log, the
 * placement and the store alone, so a restart in the middle costs nothing but a look at what is there.
 */
export type Sync = {
  /** Resolves when `signal` aborts. */
  run(options: { readonly signal: AbortSignal }): Promise<void>
  /** Bytes of this root went bad: its entries are fetched again if they belong here. */
  lost(root: Root): void
  /** Somebody asked for a segment that is not here: one that belongs here and is not on the list is fetched at once. */
  missed(entry: Entry): void
  /** Somebody asks whether this node has the entry, as one does that has it: if nobody had it when it was last searched, it is searched
   *  again soon. */
  asked(entry: Entry): void
  /** A certificate of this entry is here: what belongs on this node may be something else now. */
  reconsider(entry: Entry): void
  /** Fetches an entry, or a range of its segments, whether it belongs here or not. Throws `ENTRY_UNKNOWN`. */
  start(seq: number, range?: Span): void
  /** Ends the work on an entry; false when there was none. One that belongs here is looked at again after a restart. */
  stop(seq: number): boolean
  /** Nodes that say they hold the whole entry. Throws `ENTRY_UNKNOWN`. */
  locate(seq: number, options: { readonly signal: AbortSignal; readonly timeoutMs: number }): Promise<readonly Member[]>
  status(): SyncStatus
  job(seq: number): SyncJob | undefined
  /** The first `limit` entries on the list. */
  jobs(limit: number): readonly SyncJob[]
  /** Entries being searched or fetched now. */
  activeCount(): number
}

export type SyncStatus = {
  /** `starting`: the log is not followed to its end. `looking`: not all entries have been looked at. `fetching`: some are missing
   *  and to be had. `waiting`: those that are missing are to be had nowhere, or not yet. */
  readonly state: 'starting' | 'looking' | 'fetching' | 'waiting' | 'complete'
  readonly missingEntryCount: number
  readonly missingBytes: number
  /** Entries among them that no node that was asked holds. */
  readonly unavailableEntryCount: number
  /** At the pace of the last fetches; `null` while nothing is fetched or no pace is known. */
  readonly etaSeconds: number | null
  readonly fetchedBytes: number
  readonly fetchedEntryCount: number
  /** Of these, those since something was last missing here: with what is missing now they are the whole of the work. */
  readonly roundBytes: number
  readonly roundEntryCount: number
  /** Code of what kept the last turn from storing anything, such as `STORE_FULL`; `null` since something was stored. */
  readonly hindrance: string | null
}

/** One entry on the list. */
export type SyncJob = {
  readonly seq: number
  readonly state: 'queued' | 'searching' | 'fetching' | 'unavailable'
  readonly why: Missing['why']
  readonly sinceMs: number
  /** Sources of the last search. */
  readonly sourceCount: number
  readonly goal: Span
  /** The next segment that is missing. */
  readonly next: number
}

export type SyncDeps = {
  readonly follower: Pick<Follower, 'entries' | 'nextSeq' | 'isCaughtUp' | 'onCommit'>
  readonly membership: MembershipView
  readonly shelf: Shelf
  readonly wanted: (entry: Entry) => Stride
  readonly peers: Peers
  readonly pace: Pace
  readonly clock: Clock
  readonly logger: Logger
  readonly signer: Address | undefined
  readonly isWritable: () => boolean
  /** Whether there is no room for another segment: nothing is fetched that could not be kept. */
  readonly isFull: () => boolean
  /** After the membership changed, what another one had until then is copied at once, and computed only after this. */
  readonly repairGraceMs: number
  readonly duties: Duties
  readonly hasSigned: (entry: Entry) => boolean
  /** Asks others for a certificate by which the entry is kept by shards, and keeps it. */
  readonly findCertificate: (
    entry: Entry,
    options: {
      readonly members: readonly Member[]
      readonly draining?: readonly Member[] | undefined
      readonly signal: AbortSignal
    },
  ) => Promise<'found' | 'none'>
  readonly fetchShards: (part: ShardsPart, options: FetchShardsOptions) => Promise<FetchResult>
  /** The object with entries that say they are its parity, a few: whether they are, what is computed from them tells. */
  readonly claimed: (entry: Entry) => readonly CodedEntry[]
  /** Asks these homes of an object what they have signed, for the certificate that is kept. */
  readonly askReceipts: (
    part: ShardsPart,
    homes: readonly Home[],
    options: { readonly signal: AbortSignal },
  ) => Promise<void>
  /** Tells these homes of copies of the certificate that says how many there should be. */
  readonly tellHomes: (entry: Entry, homes: readonly Home[], options: { readonly signal: AbortSignal }) => Promise<void>
  /** All shards of these slots are here: signs for them. */
  readonly onShards: (part: ShardsPart, options: { readonly signal: AbortSignal }) => Promise<void>
  /** The entry is whole: signs for it and tells whoever wants to know. */
  readonly onWhole: (entry: Entry, slot: number, options: { readonly signal: AbortSignal }) => Promise<void>
}

/** Entries on the list at once, some 200 bytes each; the log is read on when there is room again. */
const MISSING_MAX = 65_536
/** Entries looked at between two turns of the event loop: each may cost a placement. */
const LOOK_ENTRIES = 64
/** How often the follower is asked whether it has caught up, and a store that takes no writes whether it does. */
const LOOK_AGAIN_MS = 250
/** A question for what is not here costs a placement at most so often: anybody may ask. */
const MISSED_MS = 100
/** Anybody may ask, and a search is some thirty questions. */
const ASKED_AGAIN_MS = 30_000
/** How often a store without room is asked again. */
const FULL_RETRY_MS = 30_000
/** Weight of the newest fetch in the pace. */
const RATE_WEIGHT = 0.2

/** Searches for parity of an object that would count before the one that protects it: some minutes at the pace of the retries. Then it
 *  may be nobody's, until the membership changes or the node starts again. */
const BETTER_SEARCHES_MAX = 8

/** All is here, and the certificate does not name all homes, or parity that protects more may be proven somewhere. */
const NOTHING_MISSING = { kind: 'shards', why: 'home', missingBytes: 0, heldCount: 0 } as const

type ShardsPart = Omit<MissingPart & { readonly kind: 'shards' }, 'kind'>
type Item = Missing & {
  readonly kind: MissingPart['kind']
  readonly sinceMs: number
  readonly range: Span | undefined
  readonly sourceCount: number
  readonly lastResult: FetchResult | 'failed' | undefined
  /** When that was; `undefined` as it. */
  readonly triedMs?: number | undefined
}
type Running = { readonly over: AbortController; state: 'searching' | 'fetching'; next: number }

export function createSync(deps: SyncDeps): Sync {
  const { follower, membership, shelf, duties, peers, clock, logger } = deps
  const { entries } = follower
  const missing = new Map<number, Item>()
  const running = new Map<number, Running>()
  const works = new Set<Promise<void>>()
  /** For parity that would count before what protects an entry, by the numbers of both. */
  const searches = new Map<string, number>()
  let lookFrom = 0
  let hasStarted = false
  let fetchedBytes = 0
  let fetchedEntryCount = 0
  let roundBytes = 0
  let roundEntryCount = 0
  let hindrance: string | null = null
  let graceUntilMs = -Infinity
  let bytesPerMs = 0
  let pausedUntilMs = 0
  let missedAgainMs = 0
  const alarm = createAlarm(clock)

  function add(
    entry: Entry,
    part: Pick<Duty, 'kind' | 'missingBytes' | 'heldCount'> & Pick<Missing, 'why'>,
    options: { readonly dueMs: number; readonly range?: Span },
  ): void {
    const before = missing.get(entry.seq)
    const isAsked = before?.why === 'asked'
    missing.set(entry.seq, {
      seq: entry.seq,
      kind: isAsked ? 'whole' : part.kind,
      why: isAsked ? 'asked' : part.why,
      missingBytes: part.missingBytes,
      heldCount: part.heldCount,
      dueMs: options.dueMs,
      attempts: before?.attempts ?? 0,
      sinceMs: before?.sinceMs ?? clock.nowMs(),
      range: options.range,
      sourceCount: before?.sourceCount ?? 0,
      lastResult: undefined,
    })
  }

  function bytesMissing(entry: Entry, range: Span | undefined): number {
    if (range !== undefined) return range.count * SEGMENT_SIZE_BYTES
    return Math.min(entry.sizeBytes, shelf.missingCount(entry) * SEGMENT_SIZE_BYTES)
  }

  /** Nobody can hold an entry whose size has no layout. */
  const canBeHeld = (entry: Entry): boolean => Number.isFinite(shelf.missingCount(entry))

  /** An entry that is marked whole while its segments are gone (its files were deleted, its index was not) is not whole. */
  async function checkMark(entry: Entry): Promise<void> {
    if (!shelf.isWhole(entry)) return
    const { first, step } = deps.wanted(entry)
    if (first !== 0 || step !== 1 || shelf.heldCount(entry) === layoutOf(entry.sizeBytes).segmentCount) return
    logger.warn('entry.bytesGone', { seq: entry.seq, root: entry.root })
    await shelf.unmark(entry.root)
  }

  /** Looks at some entries of the log; false when there is none left to look at. */
  async function look(): Promise<boolean> {
    if (missing.size >= MISSING_MAX || lookFrom >= follower.nextSeq()) return false
    const page = entries.list({ after: lookFrom - 1, limit: LOOK_ENTRIES })
    for (const entry of page) {
      if (missing.size >= MISSING_MAX) break
      lookFrom = entry.seq + 1
      if (missing.has(entry.seq) || !canBeHeld(entry)) continue
      await checkMark(entry)
      const duty = duties.of(entry)
      if (duty !== undefined) add(entry, duty, { dueMs: clock.nowMs() })
      else if (isUnsettled(entry)) add(entry, NOTHING_MISSING, { dueMs: clock.nowMs() })
    }
    return page.length > 0
  }

  function onNew(found: readonly Entry[]): void {
    for (const entry of found) {
      // A reorganisation gives a number to another entry; what lies ahead of the look is met by it.
      if (entry.seq < lookFrom) lookFrom = entry.seq
      if (entry.seq !== lookFrom || missing.size >= MISSING_MAX) continue
      lookFrom = entry.seq + 1
      // The data of a parity entry may have been here for long.
      for (const concerned of duties.concerning(entry)) {
        const isKnown = concerned.seq < lookFrom && canBeHeld(concerned) && !missing.has(concerned.seq)
        const duty = isKnown ? (duties.of(concerned) ?? unsettled(concerned)) : undefined
        if (duty !== undefined) add(concerned, duty, { dueMs: clock.nowMs() + SYNC_SETTLE_MS })
      }
    }
    if (pausedUntilMs > clock.nowMs() + SYNC_SETTLE_MS) alarm.ring()
  }

  /** Most new entries are whole by the time they are due: their writers have brought them. */
  function forgetWhole(): void {
    const nowMs = clock.nowMs()
    for (const { seq, why, kind, attempts, dueMs } of missing.values()) {
      if (attempts > 0 || dueMs > nowMs || running.has(seq)) continue
      const entry = entries.bySeq(seq)
      const isDone = (): boolean => {
        if (why === 'asked') return shelf.isWhole(entry!)
        if (kind === 'whole') return shelf.isWhole(entry!) && duties.of(entry!) === undefined
        return duties.of(entry!) === undefined && !isUnsettled(entry!)
      }
      if (entry === undefined || isDone()) missing.delete(seq)
    }
  }

  /** A new entry that its writer still brings is not missing yet, and a certificate that nobody may have is not missed. */
  function openItems(): readonly Item[] {
    const nowMs = clock.nowMs()
    return [...missing.values()].filter(
      ({ kind, lastResult, dueMs, missingBytes }) =>
        kind !== 'search' && missingBytes > 0 && (lastResult !== undefined || dueMs <= nowMs),
    )
  }

  /** Homes have moved, and somebody new may hold what was missing. */
  function onMembers(): void {
    lookFrom = 0
    searches.clear()
    graceUntilMs = clock.nowMs() + deps.repairGraceMs
    for (const [seq, item] of missing)
      missing.set(seq, { ...item, dueMs: Math.min(item.dueMs, clock.nowMs() + LOOK_AGAIN_MS) })
    alarm.ring()
  }

  async function run({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    const end = follower.onCommit((commit) => {
      if (!hasStarted) return
      // A number may come back with another entry.
      for (const { seq } of commit.removed) stop(seq)
      if (commit.removed.length > 0) searches.clear()
      if (commit.membership !== undefined) onMembers()
      if (commit.entries.length > 0) onNew(commit.entries)
    })
    try {
      while (!follower.isCaughtUp()) await clock.sleep(LOOK_AGAIN_MS, { signal })
      hasStarted = true
      for (;;) {
        const isLooking = await look()
        forgetWhole()
        if (running.size === 0 && openItems().length === 0) roundBytes = roundEntryCount = 0
        const { start, wakeMs } = planSync({
          missing: missing.values(),
          running: keysOf(running),
          nowMs: clock.nowMs(),
        })
        if (deps.isWritable()) for (const seq of start) launch(seq, signal)
        const dueMs = start.length > 0 && !deps.isWritable() ? 0 : wakeMs - clock.nowMs()
        await pause(isLooking ? 0 : Math.max(LOOK_AGAIN_MS, dueMs), signal)
      }
    } catch (error) {
      if (!signal.aborted) throw error
    } finally {
      end()
      await Promise.all(works)
    }
  }

  function stop(seq: number): boolean {
    running.get(seq)?.over.abort(fail('SERVICE_STOPPING'))
    return missing.delete(seq)
  }

  /** Sleeps until it is time, something new is known, or the end. */
  async function pause(ms: number, signal: AbortSignal): Promise<void> {
    pausedUntilMs = clock.nowMs() + ms
    await alarm.sleep(ms, { signal })
  }

  function launch(seq: number, signal: AbortSignal): void {
    const over = new AbortController()
    running.set(seq, { over, state: 'searching', next: 0 })
    const work = turn(seq, AbortSignal.any([signal, over.signal])).finally(() => {
      running.delete(seq)
      works.delete(work)
      alarm.ring()
    })
    works.add(work)
  }

  /** One turn of one entry: afterwards it is off the list, or on it for later. */
  async function turn(seq: number, signal: AbortSignal): Promise<void> {
    const item = missing.get(seq)
    if (item === undefined) return
    let entry: Entry | undefined
    try {
      entry = entries.bySeq(seq)
      if (entry === undefined) return void missing.delete(seq)
      if (await isSettled(entry, item, signal)) return
      if (deps.isFull()) throw failStore('STORE_FULL', { seq })
      const result = await fetchPart(entry, item, signal)
      if (await isDone(entry, item, signal)) return
      const left = missing.get(seq)
      if (left !== undefined) missing.set(seq, { ...left, ...restOf(entry, left) })
      later(seq, result)
    } catch (error) {
      if (signal.aborted) return
      hindrance = isFailure(error) ? error.code : 'INTERNAL'
      logger[isFailure(error) ? 'warn' : 'error']('sync.failed', { seq, root: entry?.root, error })
      later(seq, 'failed')
    }
  }

  async function fetchPart(entry: Entry, item: Item, signal: AbortSignal): Promise<FetchResult> {
    const members = othersOf(membership.current().members)
    const draining = othersOf(membership.draining())
    const seq = entry.seq
    // A copy is made only of what nobody can show to be safe without it.
    if (item.why !== 'asked' && duties.mayBeProven(entry))
      await deps.findCertificate(entry, { members, draining, signal })
    const duty = item.why === 'asked' ? ({ kind: 'whole' } as const) : duties.of(entry)
    // Known before it is fetched, so that a turn that fails is told as what it is.
    const left = missing.get(seq)
    if (left !== undefined) missing.set(seq, { ...left, ...restOf(entry, left) })
    const shardOptions: FetchShardsOptions = {
      members,
      draining,
      onSources: (count) => onSources(seq, count),
      onStored: (shardCount, sizeBytes) => onStored(seq, shardCount, sizeBytes),
      mayCompute: (slot) => clock.nowMs() >= graceUntilMs || duties.hasSignedSlot(entry, slot),
      signal,
    }
    switch (duty?.kind) {
      case undefined:
        return 'fetched'
      case 'search':
        return 'noSource'
      case 'shards':
        return await deps.fetchShards(duty, shardOptions)
      case 'whole': {
        const fetched = await fetchEntry(
          entry,
          {
            members,
            draining,
            replicas: REPLICA_COUNT,
            wants: wantsOf(entry, item.range),
            onSources: (sources) => onSources(seq, sources.length),
            onStored: (span, sizeBytes) => onStored(seq, span.from + span.count, sizeBytes),
            signal,
          },
          deps,
        )
        return fetched === 'lacking' || fetched === 'noSource'
          ? await computeLacking(entry, fetched, shardOptions)
          : fetched
      }
    }
  }

  /** Data that nobody has any more is computed with parity that nobody has proven: the root of the data tells whether it is right. */
  async function computeLacking(entry: Entry, found: FetchResult, options: FetchShardsOptions): Promise<FetchResult> {
    for (const coded of deps.claimed(entry)) {
      const slots = presentSlots(coded.layout).filter((slot) => slot < coded.code.k)
      const result = await deps.fetchShards({ coded, slots }, options)
      if (result === 'fetched' || result === 'grace') return result
    }
    return found
  }

  /** What is left to do on an item. */
  function restOf(entry: Entry, { why, range }: Item): Pick<Item, 'missingBytes'> & Partial<Pick<Item, 'kind'>> {
    const duty = why === 'asked' ? undefined : duties.of(entry)
    return duty === undefined
      ? { missingBytes: bytesMissing(entry, range) }
      : { kind: duty.kind, missingBytes: duty.missingBytes }
  }

  /** Nothing is to be fetched: it is whole, belongs elsewhere by now, or comes in from its writer. */
  async function isSettled(entry: Entry, item: Item, signal: AbortSignal): Promise<boolean> {
    if (await isDone(entry, item, signal)) return true
    const heldCount = (item.why === 'asked' ? undefined : duties.of(entry)?.heldCount) ?? 0
    if (item.attempts > 0 || heldCount <= item.heldCount) return false
    missing.set(entry.seq, { ...item, heldCount, dueMs: clock.nowMs() + SYNC_SETTLE_MS })
    return true
  }

  async function isDone(entry: Entry, item: Item, signal: AbortSignal): Promise<boolean> {
    const isAsked = item.why === 'asked'
    const isRangeHere = item.range !== undefined && everyOf(item.range, (index) => shelf.has(entry.root, index))
    const isWhole = (isAsked || item.kind === 'whole') && (await shelf.finish(entry, { signal }))
    const duty = isAsked ? undefined : duties.of(entry)
    if (isAsked ? !isWhole && !isRangeHere : duty !== undefined && duty.kind !== 'search') return false
    // A part of it is here, and somebody may show that more is to be kept, or that shards would do.
    if (duty?.kind === 'search' && !isWhole && item.kind !== 'shards') return false
    const hasFetched = (missing.get(entry.seq)?.sourceCount ?? 0) > 0
    missing.delete(entry.seq)
    if (duty !== undefined) add(entry, duty, { dueMs: clock.nowMs() })
    if (hasFetched) {
      fetchedEntryCount += 1
      roundEntryCount += 1
      logger.info('sync.entryFetched', { seq: entry.seq, root: entry.root, ms: clock.nowMs() - item.sinceMs })
    }
    const shards = duties.provenShardsOf(entry)
    const isKeptByShards = duties.shardsOf(entry) !== undefined
    if (shards !== undefined) await finishShards(entry, shards, { hasFetched, signal })
    if (!isKeptByShards && isWhole) await finishCopy(entry, { hasFetched, signal })
    else if (shards === undefined && duties.unnamedHomes(entry).length > 0)
      await finishCopy(entry, { hasFetched, signal })
    lookAgain(entry, item)
    return true
  }

  type Finishing = { readonly hasFetched: boolean; readonly signal: AbortSignal }

  /** Signs for what is here, and finds out what the other homes have signed: whoever was not reached when they told it would never
   *  know. The same of another parity that protects more. */
  async function finishShards(entry: Entry, shards: ShardsPart, { hasFetched, signal }: Finishing): Promise<void> {
    const isUnsigned = duties.unnamedHomes(entry).some(({ member }) => member.signer === deps.signer)
    if ((hasFetched || isUnsigned) && shards.slots.length > 0) await deps.onShards(shards, { signal })
    const others = duties.unnamedHomes(entry).filter(({ member }) => member.signer !== deps.signer)
    if (others.length > 0) await deps.askReceipts(shards, others, { signal })
    const better = betterOf(entry)
    if (better === undefined) return
    const name = nameOf(entry, better)
    if (searches.size >= MISSING_MAX) searches.clear()
    searches.set(name, (searches.get(name) ?? 0) + 1)
    const [members, draining] = [othersOf(membership.current().members), othersOf(membership.draining())]
    await deps.findCertificate(entry, { members, draining, signal })
  }

  async function finishCopy(entry: Entry, { hasFetched, signal }: Finishing): Promise<void> {
    const replicas = duties.copyCount(entry)
    const slot = homeSlot(entry, { signer: deps.signer, replicas }, membership.current().members)
    const isUnnamed = duties.unnamedHomes(entry).some(({ member }) => member.signer === deps.signer)
    if (slot !== undefined && (hasFetched || isUnnamed || !deps.hasSigned(entry)))
      await deps.onWhole(entry, slot, { signal })
    const others = duties.unnamedHomes(entry).filter(({ member }) => member.signer !== deps.signer)
    // Who learns of the certificate fetches its copy, signs, and tells the others.
    if (others.length > 0) await deps.tellHomes(entry, others, { signal })
  }

  const nameOf = ({ seq }: Entry, { parity }: CodedEntry): string => `${seq} ${parity.seq}`

  function betterOf(entry: Entry): CodedEntry | undefined {
    const better = duties.betterOf(entry)
    const count = better === undefined ? 0 : (searches.get(nameOf(entry, better)) ?? 0)
    return count < BETTER_SEARCHES_MAX ? better : undefined
  }

  /** Nothing is missing here, and there is something to find out. */
  function isUnsettled(entry: Entry): boolean {
    return duties.unnamedHomes(entry).length > 0 || betterOf(entry) !== undefined
  }

  const unsettled = (entry: Entry): typeof NOTHING_MISSING | undefined =>
    isUnsettled(entry) ? NOTHING_MISSING : undefined

  /** At a falling pace, while the certificate does not name all homes, or another one may be found. */
  function lookAgain(entry: Entry, item: Item): void {
    // What was found may ask for more than what was done.
    const duty = missing.has(entry.seq) ? undefined : duties.of(entry)
    if (duty !== undefined) return add(entry, duty, { dueMs: clock.nowMs() })
    if (missing.has(entry.seq) || !isUnsettled(entry)) return
    const attempts = item.attempts + 1
    const dueMs = retryAtMs(attempts, clock.nowMs())
    missing.set(entry.seq, { ...item, ...NOTHING_MISSING, attempts, dueMs })
  }

  /** Reads nothing: an index that fails is no reason to try again at once (sim seed 1902). */
  function later(seq: number, result: FetchResult | 'failed'): void {
    const item = missing.get(seq)
    if (item === undefined) return
    const nowMs = clock.nowMs()
    if (result === 'grace')
      return void missing.set(seq, {
        ...item,
        lastResult: result,
        dueMs: Math.max(graceUntilMs, nowMs + LOOK_AGAIN_MS),
      })
    const attempts = item.attempts + 1
    // Room comes when somebody makes it: looking for it costs little.
    const isFull = result === 'failed' && hindrance === 'STORE_FULL'
    const dueMs = isFull ? nowMs + FULL_RETRY_MS : retryAtMs(attempts, nowMs)
    missing.set(seq, { ...item, attempts, lastResult: result, triedMs: nowMs, dueMs })
    logger.info('sync.delayed', { seq, result, attempts })
  }

  function onSources(seq: number, sourceCount: number): void {
    const item = missing.get(seq)
    if (item !== undefined) missing.set(seq, { ...item, sourceCount })
    const job = running.get(seq)
    if (job !== undefined && sourceCount > 0) job.state = 'fetching'
  }

  let lastStoredMs: number | undefined
  function onStored(seq: number, next: number, sizeBytes: number): void {
    if (sizeBytes > 0) hindrance = null
    fetchedBytes += sizeBytes
    roundBytes += sizeBytes
    const item = missing.get(seq)
    if (item !== undefined) missing.set(seq, { ...item, missingBytes: Math.max(0, item.missingBytes - sizeBytes) })
    const job = running.get(seq)
    if (job !== undefined) job.next = next
    const nowMs = clock.nowMs()
    // A pause between two rebuilds is no slowness.
    if (lastStoredMs !== undefined && nowMs - lastStoredMs < SYNC_SETTLE_MS) {
      const rate = sizeBytes / Math.max(1, nowMs - lastStoredMs)
      bytesPerMs += RATE_WEIGHT * (rate - bytesPerMs)
    }
    lastStoredMs = nowMs
  }

  const othersOf = (members: readonly Member[]): readonly Member[] =>
    members.filter(({ signer }) => signer !== deps.signer)

  function wantsOf(entry: Entry, range: Span | undefined): (index: number) => boolean {
    const { first, step } = deps.wanted(entry)
    return (index) =>
      index % step === first && (range === undefined || (index >= range.from && index < range.from + range.count))
  }

  function entryOf(seq: number): Entry {
    const entry = entries.bySeq(seq)
    if (entry === undefined) throw fail('ENTRY_UNKNOWN', { seq, nextSeq: follower.nextSeq() })
    return entry
  }

  function jobOf(item: Item): SyncJob {
    const { seq, why, sinceMs, sourceCount, lastResult } = item
    const entry = entryOf(seq)
    const active = running.get(seq)
    const state = active?.state ?? (lastResult === undefined ? 'queued' : 'unavailable')
    const goal = item.range ?? { from: 0, count: layoutOf(entry.sizeBytes).segmentCount }
    return { seq, state, why, sinceMs, sourceCount, goal, next: active?.next ?? goal.from }
  }

  return {
    run,
    lost(root) {
      for (const entry of entries.byRoot(root).flatMap(duties.concerning)) {
        const duty = canBeHeld(entry) ? duties.of(entry) : undefined
        if (duty !== undefined && missing.size < MISSING_MAX) add(entry, duty, { dueMs: clock.nowMs() })
      }
      alarm.ring()
    },
    missed(entry) {
      const nowMs = clock.nowMs()
      if (nowMs < missedAgainMs) return
      missedAgainMs = nowMs + MISSED_MS
      checkMark(entry)
        .then(() => {
          for (const concerned of duties.concerning(entry)) {
            const duty = !missing.has(concerned.seq) && canBeHeld(concerned) ? duties.of(concerned) : undefined
            if (duty === undefined || missing.size >= MISSING_MAX) continue
            const { missingBytes } = duty
            logger.warn('entry.missed', { seq: concerned.seq, root: concerned.root, missingBytes })
            add(concerned, duty, { dueMs: clock.nowMs() })
          }
          alarm.ring()
        })
        .catch((error: unknown) => logger.warn('entry.unchecked', { seq: entry.seq, error }))
    },
    asked(entry) {
      const nowMs = clock.nowMs()
      for (const { seq } of duties.concerning(entry)) {
        const item = missing.get(seq)
        if (item === undefined || running.has(seq) || item.dueMs <= nowMs) continue
        const isUnavailable = item.lastResult === 'noSource' || item.lastResult === 'lacking'
        if (!isUnavailable || nowMs - (item.triedMs ?? nowMs) < ASKED_AGAIN_MS) continue
        missing.set(seq, { ...item, dueMs: nowMs })
        alarm.ring()
      }
    },
    reconsider(entry) {
      // What lies ahead of the look is met by it, and a turn that is under way looks again when it ends.
      if (!hasStarted || entry.seq >= lookFrom || running.has(entry.seq)) return
      if (missing.get(entry.seq)?.why === 'asked') return
      const duty = canBeHeld(entry) ? (duties.of(entry) ?? unsettled(entry)) : undefined
      if (duty === undefined) missing.delete(entry.seq)
      else if (missing.size < MISSING_MAX) add(entry, duty, { dueMs: clock.nowMs() + SYNC_SETTLE_MS })
      if (pausedUntilMs > clock.nowMs() + SYNC_SETTLE_MS) alarm.ring()
    },
    start(seq, range) {
      const entry = entryOf(seq)
      if (!canBeHeld(entry)) throw fail('ENTRY_UNKNOWN', { seq, reason: 'nobody can hold an entry of this size' })
      if (shelf.isWhole(entry) || running.has(seq)) return
      const part = { kind: 'whole', why: 'asked', heldCount: shelf.heldCount(entry) } as const
      add(
        entry,
        { ...part, missingBytes: bytesMissing(entry, range) },
        { dueMs: clock.nowMs(), ...(range === undefined ? {} : { range }) },
      )
      alarm.ring()
    },
    stop,
    async locate(seq, { signal: over, timeoutMs }) {
      const signal = AbortSignal.any([over, clock.deadline(timeoutMs)])
      const members = othersOf(membership.current().members)
      const sources = await findSources(entryOf(seq), { members, replicas: REPLICA_COUNT, signal }, { peers })
      return sources.filter(({ complete }) => complete).map(({ member }) => member)
    },
    status() {
      const items = openItems()
      const missingBytes = items.reduce((sum, item) => sum + item.missingBytes, 0)
      const unavailable = items.filter(({ lastResult }) => lastResult === 'noSource' || lastResult === 'lacking')
      const openBytes = missingBytes - unavailable.reduce((sum, item) => sum + item.missingBytes, 0)
      const isLooking = hasStarted && lookFrom < follower.nextSeq() && missing.size < MISSING_MAX
      return {
        state: !hasStarted
          ? 'starting'
          : running.size > 0
            ? 'fetching'
            : isLooking
              ? 'looking'
              : items.length > 0
                ? 'waiting'
                : 'complete',
        missingEntryCount: items.length,
        missingBytes,
        unavailableEntryCount: unavailable.length,
        etaSeconds: running.size > 0 && bytesPerMs > 0 ? Math.ceil(openBytes / bytesPerMs / 1000) : null,
        fetchedBytes,
        fetchedEntryCount,
        roundBytes,
        roundEntryCount,
        hindrance: items.length > 0 ? hindrance : null,
      }
    },
    job: (seq) => {
      const item = missing.get(seq)
      return item === undefined || entries.bySeq(seq) === undefined ? undefined : jobOf(item)
    },
    jobs: (limit) =>
      [...missing.values()]
        .filter(({ seq }) => entries.bySeq(seq) !== undefined)
        .slice(0, limit)
        .map(jobOf),
    activeCount: () => running.size,
  }
}

function keysOf(map: ReadonlyMap<number, unknown>): ReadonlySet<number> {
  return new Set(map.keys())
}

function everyOf({ from, count }: Span, isSo: (index: number) => boolean): boolean {
  for (let index = from; index < from + count; index++) if (!isSo(index)) return false
  return true
}
