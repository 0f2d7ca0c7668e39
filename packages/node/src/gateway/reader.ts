import type { Clock, Entry, ErasureCode, Kernels, Logger, Member, ProvenSegment } from '@weightless/core'
import { BATCH_SEGMENTS_MAX, checkSegment, layoutOf, leafCountOf, copyHomes, placementOrder } from '@weightless/core'
import { fail } from '../errors.ts'
import type { MembershipView } from '../flow/membership.ts'
import { parityTagsOf } from '../flow/parities.ts'
import type { Shelf } from '../segments/shelf.ts'
import type { Ledger } from './ledger.ts'
import type { Peers } from '../peers/peers.ts'
import type { ShardReads } from './shardReads.ts'
import { createSegmentCache, type SegmentCache } from './segmentCache.ts'

/** Verified segments of entries, from the spool, from what was read lately, or from whoever holds them. */
export type SegmentReader = {
  /** `undefined` when nobody who was asked has it. Throws `HOLDERS_UNREACHABLE` when some could not be asked. */
  read(entry: Entry, index: number, options: { readonly signal: AbortSignal }): Promise<ProvenSegment | undefined>
  usage(): ReturnType<SegmentCache['usage']>
}

export type SegmentReaderDeps = {
  readonly shelf: Shelf
  readonly ledger: Ledger
  readonly membership: MembershipView
  readonly peers: Peers
  readonly shards: ShardReads
  readonly kernels: Kernels
  readonly clock: Clock
  readonly logger: Logger
  /** Aborts when the service stops: a batch is read for whoever wants it, not for one request. */
  readonly signal: AbortSignal
}

/** 16 MiB: four batches, so that two readers with their read-ahead do not push each other out. */
const CACHE_SEGMENTS_MAX = 64
/** Batches being read from holders at once, 4 MiB each. */
const BATCHES_MAX = 8
/** A holder that has not answered by then gets company: healthy ones need a few milliseconds for 4 MiB on one machine. */
const HEDGE_MS_MIN = 250
const HEDGE_MS_MAX = 5_000
/** Over a slow line every answer is slow: company comes when one takes this many times longer than they do on average. */
const HEDGE_FACTOR = 3
/** Weight of the newest answer in that average. */
const AVERAGE_WEIGHT = 0.2
const HEDGES_MAX = 3
const GET_TIMEOUT_MS = 20_000

export function createSegmentReader(options: { readonly replicas: number }, deps: SegmentReaderDeps): SegmentReader {
  const { shelf, ledger, membership, peers, kernels, clock, logger } = deps
  const cache = createSegmentCache({ segmentsMax: CACHE_SEGMENTS_MAX })
  const running = new Map<string, Promise<ReadonlyMap<number, ProvenSegment> | undefined>>()
  const waiting: (() => void)[] = []
  let busyCount = 0
  let averageMs = 0

  async function read(
    entry: Entry,
    index: number,
    { signal }: { readonly signal: AbortSignal },
  ): Promise<ProvenSegment | undefined> {
    const { segmentCount } = layoutOf(entry.sizeBytes)
    if (index >= segmentCount) return undefined
    if (shelf.has(entry.root, index)) {
      // Bytes that went bad in the spool may still be good elsewhere.
      const spooled = await shelf.read(entry, index, { signal }).catch((error: unknown) => {
        signal.throwIfAborted()
        logger.warn('spool.unreadable', { root: entry.root, index, error })
      })
      if (spooled !== undefined) return spooled
    }
    const kept = cache.get(keyOf(entry, index))
    const first = index - (index % BATCH_SEGMENTS_MAX)
    if (kept === undefined) {
      const work = readBatch(entry, first)
      // Nobody may be left to hear of a failure.
      work.catch(() => undefined)
      const batch = await abortable(work, signal)
      return batch?.get(index)
    }
    // Half way through a batch the next one is asked for, so a sequential reader never waits for it.
    const ahead = first + BATCH_SEGMENTS_MAX
    if (index - first >= BATCH_SEGMENTS_MAX / 2 && ahead < segmentCount && busyCount < BATCHES_MAX / 2) {
      if (!cache.has(keyOf(entry, ahead))) readBatch(entry, ahead).catch(() => undefined)
    }
    return kept
  }

  /** One batch at a time per place in a file, whoever asks for it. */
  function readBatch(entry: Entry, from: number): Promise<ReadonlyMap<number, ProvenSegment> | undefined> {
    const key = keyOf(entry, from)
    const known = running.get(key)
    if (known !== undefined) return known
    const work = inTurn(() => fetchBatch(entry, from)).finally(() => running.delete(key))
    running.set(key, work)
    return work
  }

  async function inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (busyCount >= BATCHES_MAX) await new Promise<void>((resolve) => waiting.push(resolve))
    busyCount += 1
    try {
      return await work()
    } finally {
      busyCount -= 1
      waiting.shift()?.()
    }
  }

  async function fetchBatch(entry: Entry, from: number): Promise<ReadonlyMap<number, ProvenSegment> | undefined> {
    const { segmentCount } = layoutOf(entry.sizeBytes)
    const count = Math.min(BATCH_SEGMENTS_MAX, segmentCount - from)
    const segments = await fetch(entry, { from, count })
    if (segments === undefined) return undefined
    const batch = new Map<number, ProvenSegment>()
    for (const { index, data, proof } of segments) {
      // A view would keep the whole answer of 4 MiB alive for as long as one of its segments is remembered.
      const segment = {
        index,
        data: data.slice(),
        proof: { siblings: proof.siblings.map((sibling) => sibling.slice()), lefts: proof.lefts },
      }
      cache.put(keyOf(entry, index), segment)
      batch.set(index, segment)
    }
    return batch
  }

  /** From whole copies where there are some, else by shards; of what is certified by shards first. In the end from those that drain, whose
   *  copies may be nowhere else yet. */
  async function fetch(entry: Entry, span: Span): Promise<readonly ProvenSegment[] | undefined> {
    const tags = parityTagsOf(entry)
    if (tags !== undefined) return await fetchParity(entry, tags.code, span)
    const byShards = (): Promise<readonly ProvenSegment[] | undefined> =>
      deps.shards.read(entry, span, { signal: deps.signal })
    let unreachable: unknown
    const fromCopies = (order: readonly Member[]): Promise<readonly ProvenSegment[] | undefined> =>
      race(entry, span, order).catch((error: unknown) => {
        deps.signal.throwIfAborted()
        unreachable ??= error
        return undefined
      })
    const atMembers = (): Promise<readonly ProvenSegment[] | undefined> => fromCopies(candidates(entry, span))
    const ways = ledger.isCertified(entry) ? [byShards, atMembers] : [atMembers, byShards]
    for (const way of ways) {
      const segments = await way()
      if (segments !== undefined) return segments
    }
    // Who of them does not answer has left, as a rule.
    const before = unreachable
    const segments = await fromCopies(draining())
    if (segments === undefined && before !== undefined) throw before
    return segments
  }

  /** Parity is nowhere whole: each of its segments is at the holder of its slot, whether that is a member or drains. */
  async function fetchParity(
    entry: Entry,
    { k, m }: ErasureCode,
    { from, count }: Span,
  ): Promise<readonly ProvenSegment[] | undefined> {
    const holders = ledger.certified(entry)?.holders ?? []
    const found = await Promise.all(
      Array.from({ length: count }, (_, i) => {
        const slot = k + ((from + i) % m)
        const ids = new Set(holders.filter(({ slots }) => slots.includes(slot)).map(({ id }) => id))
        const place = { from: from + i, count: 1 }
        const others = [...candidates(entry, place), ...draining()]
        const isFirst = ({ id }: Member): boolean => ids.has(id)
        return race(entry, place, [...others.filter(isFirst), ...others.filter((member) => !isFirst(member))])
      }),
    )
    const segments = found.flatMap((one) => one ?? [])
    return segments.length === count ? segments : undefined
  }

  /** Asks one holder; after a while, or when it fails, the next as well. The first verified answer wins, the rest is aborted. */
  async function race(
    entry: Entry,
    span: Span,
    order: readonly Member[],
  ): Promise<readonly ProvenSegment[] | undefined> {
    const over = new AbortController()
    const signal = AbortSignal.any([deps.signal, over.signal])
    let unreachable: unknown
    let next = 0
    try {
      return await new Promise<readonly ProvenSegment[] | undefined>((resolve, reject) => {
        let openCount = 0
        const launch = (): void => {
          const member = order[next]
          if (member === undefined) {
            if (openCount > 0) return
            if (unreachable === undefined) resolve(undefined)
            else
              reject(
                fail(
                  'HOLDERS_UNREACHABLE',
                  { root: entry.root, seq: entry.seq, index: span.from, askedCount: order.length },
                  { cause: unreachable },
                ),
              )
            return
          }
          next += 1
          openCount += 1
          let isOpen = true
          ask(member, entry, span, signal).then(
            (segments) => {
              isOpen = false
              openCount -= 1
              if (segments === undefined) launch()
              else resolve(segments)
            },
            (error: unknown) => {
              isOpen = false
              openCount -= 1
              unreachable = error
              launch()
            },
          )
          clock.sleep(Math.min(HEDGE_MS_MAX, Math.max(HEDGE_MS_MIN, HEDGE_FACTOR * averageMs)), { signal }).then(
            () => {
              if (isOpen && openCount < HEDGES_MAX) launch()
            },
            () => undefined,
          )
        }
        launch()
      })
    } finally {
      over.abort()
    }
  }

  async function ask(
    member: Member,
    entry: Entry,
    span: Span,
    signal: AbortSignal,
  ): Promise<readonly ProvenSegment[] | undefined> {
    const startMs = clock.nowMs()
    try {
      const segments = await peers
        .of(member)!
        .getSegments(entry.root, { ...span, seq: entry.seq }, { signal, timeoutMs: GET_TIMEOUT_MS })
      if (segments === undefined) return undefined
      averageMs += AVERAGE_WEIGHT * (clock.nowMs() - startMs - averageMs)
      await verify(entry, segments, signal)
      peers.succeeded(member)
      return segments
    } catch (error) {
      if (!signal.aborted) {
        peers.failed(member, error)
        logger.warn('read.failed', { root: entry.root, seq: entry.seq, index: span.from, holder: member.id, error })
      }
      throw error
    }
  }

  /** Nothing leaves this gateway that does not prove the root. */
  async function verify(entry: Entry, segments: readonly ProvenSegment[], signal: AbortSignal): Promise<void> {
    const layout = layoutOf(entry.sizeBytes)
    await Promise.all(
      segments.map(async (segment) => {
        const root = await kernels.segmentRoots(segment.data, {
          lastLeafCount: leafCountOf(layout, segment.index),
          signal,
        })
        checkSegment({ root: entry.root, sizeBytes: entry.sizeBytes }, segment, root)
      }),
    )
  }

  /** Those who signed, then the order of placement; by turns, so that one file loads all its holders. */
  function candidates(entry: Entry, { from }: Span): readonly Member[] {
    const turn = Math.floor(from / BATCH_SEGMENTS_MAX)
    const { members } = membership.current()
    const signers = new Set(ledger.receipts(entry).map((receipt) => receipt.signer))
    const homes = copyHomes({ key: entry.root, count: options.replicas }, members).map((home) => home.member)
    const order = [...homes, ...placementOrder({ key: entry.root, slot: 0 }, members)]
    const distinct = order.filter((member, i) => order.indexOf(member) === i && peers.of(member) !== undefined)
    const likely = distinct.filter(
      (member) => signers.has(member.signer) || (signers.size === 0 && homes.includes(member)),
    )
    const rotated = likely.map((_, i) => likely[(i + turn) % likely.length]!)
    const all = [...rotated, ...distinct.filter((member) => !likely.includes(member))]
    return [...all.filter((member) => !peers.isAvoided(member)), ...all.filter((member) => peers.isAvoided(member))]
  }

  function draining(): readonly Member[] {
    return membership.draining().filter((member) => peers.of(member) !== undefined && !peers.isAvoided(member))
  }

  return { read, usage: cache.usage }
}

type Span = { readonly from: number; readonly count: number }

/** Entries with one root may differ in size, and then their last segments differ in length. */
function keyOf(entry: Entry, index: number): string {
  return `${entry.root} ${entry.sizeBytes} ${index}`
}

/** The batch is read on for whoever else wants it; this request no longer waits. */
async function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  let stop: () => void = () => undefined
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason)
    signal.addEventListener('abort', stop, { once: true })
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', stop)
    aborted.catch(() => undefined)
  }
}
