import type { Entry, Logger, Member } from '@weightless/core'
import { isFailure, layoutOf, copyHomes, placementOrder, SEGMENT_SIZE_BYTES } from '@weightless/core'
import { mapBounded, type StorageNodeClient } from '@weightless/sdk'
import type { Peers } from '../peers/peers.ts'
import type { Shelf } from '../segments/shelf.ts'
import type { Pace } from './pace.ts'
import { missingSpans, type Span } from './planSync.ts'

/** Nodes asked who holds an entry: its homes, and those that were homes before the membership changed. As many as a reader asks. */
const ASKED_MAX = 32
const ASK_WINDOW = 4
const ASK_TIMEOUT_MS = 3_000
const GET_TIMEOUT_MS = 20_000

export type FetchDeps = {
  readonly shelf: Pick<Shelf, 'has' | 'put' | 'finish'>
  readonly peers: Peers
  readonly pace: Pace
  readonly logger: Logger
}
/** `members` and `draining` without this node. */
export type FetchOptions = {
  readonly members: readonly Member[]
  readonly draining?: readonly Member[] | undefined
  readonly replicas: number
  readonly wants: (index: number) => boolean
  readonly onSources: (sources: readonly Source[]) => void
  readonly onStored: (span: Span, sizeBytes: number) => void
  readonly signal: AbortSignal
}
export type Source = { readonly member: Member; readonly complete: boolean }

/** `lacking`: some segments were fetched or none, and no node that was asked has the rest. `grace`: the rest is to be computed, and not
 *  yet. */
export type FetchResult = 'fetched' | 'lacking' | 'noSource' | 'grace'

/** Fetches the wanted segments of an entry from other nodes, as any reader would, and puts them on the shelf, which proves each
 *  against the root on chain before it is stored. Throws what the store throws. */
export async function fetchEntry(entry: Entry, options: FetchOptions, deps: FetchDeps): Promise<FetchResult> {
  const { signal } = options
  const { shelf } = deps
  const sources = await findSources(entry, options, deps)
  options.onSources(sources)
  if (sources.length === 0) return 'noSource'
  const wants = (index: number): boolean => options.wants(index) && !shelf.has(entry.root, index)
  let lacking = false
  let turn = 0
  for (const span of missingSpans(layoutOf(entry.sizeBytes), wants)) {
    signal.throwIfAborted()
    turn += 1
    const order = rotated(sources, turn)
    const outcome = await fetchSpan(entry, span, order, options, deps)
    if (outcome === 'stored') continue
    if (outcome === 'unreachable' || span.count === 1) {
      lacking = true
      continue
    }
    // A node may hold only some of these segments: each alone, before they are given up.
    for (let index = span.from; index < span.from + span.count; index++) {
      if ((await fetchSpan(entry, { from: index, count: 1 }, order, options, deps)) !== 'stored') lacking = true
    }
  }
  return lacking ? 'lacking' : 'fetched'
}

/** Those who say that they hold any of it, whole ones first. */
export async function findSources(
  entry: Entry,
  options: Pick<FetchOptions, 'members' | 'draining' | 'replicas' | 'signal'>,
  deps: Pick<FetchDeps, 'peers'>,
): Promise<readonly Source[]> {
  const { signal } = options
  const { peers } = deps
  const asked = askingOrder(entry, options, peers)
  const found = await mapBounded(
    asked,
    { window: ASK_WINDOW, signal },
    async (member, scope): Promise<Source | undefined> => {
      try {
        const held = await peers.of(member)!.entries(entry.root, { signal: scope, timeoutMs: ASK_TIMEOUT_MS })
        peers.succeeded(member)
        if (!held.some(({ heldSegmentCount }) => heldSegmentCount > 0)) return undefined
        return { member, complete: held.some(({ seq, complete }) => seq === entry.seq && complete) }
      } catch (error) {
        signal.throwIfAborted()
        peers.failed(member, error)
        return undefined
      }
    },
  )
  const sources = found.filter((source) => source !== undefined)
  return [...sources.filter(({ complete }) => complete), ...sources.filter(({ complete }) => !complete)]
}

/** Homes, those that drain, then the order of placement; those that failed a moment ago last, liars not at all. */
function askingOrder(
  entry: Entry,
  { members, draining = [], replicas }: Pick<FetchOptions, 'members' | 'draining' | 'replicas'>,
  peers: Peers,
): readonly Member[] {
  const homes = copyHomes({ key: entry.root, count: replicas }, members).map((home) => home.member)
  const leaving = draining.filter((member) => !peers.isAvoided(member))
  const order = [...homes, ...leaving, ...placementOrder({ key: entry.root, slot: 0 }, members)]
  const able = order.filter(
    (member, i) =>
      order.indexOf(member) === i && peers.of(member) !== undefined && peers.standing(member).state !== 'banned',
  )
  return [...able.filter((one) => !peers.isAvoided(one)), ...able.filter((one) => peers.isAvoided(one))].slice(
    0,
    ASKED_MAX,
  )
}

/** One request, of one source after the other. `lacks`: one that answered does not have all of it. */
async function fetchSpan(
  entry: Entry,
  span: Span,
  sources: readonly Source[],
  { signal, onStored }: FetchOptions,
  { shelf, peers, pace, logger }: FetchDeps,
): Promise<'stored' | 'lacks' | 'unreachable'> {
  let outcome: 'lacks' | 'unreachable' = 'unreachable'
  for (const { member } of sources) {
    if (peers.standing(member).state === 'banned') continue
    await pace.turn(span.count * SEGMENT_SIZE_BYTES, { signal })
    let segments: Awaited<ReturnType<StorageNodeClient['getSegments']>>
    try {
      const what = { ...span, seq: entry.seq }
      segments = await peers.of(member)!.getSegments(entry.root, what, { signal, timeoutMs: GET_TIMEOUT_MS })
    } catch (error) {
      signal.throwIfAborted()
      // Bytes that went bad there are bytes that it does not have.
      if (isFailure(error, 'STORE_CORRUPT')) outcome = 'lacks'
      else peers.failed(member, error)
      continue
    }
    if (segments === undefined) {
      outcome = 'lacks'
      continue
    }
    try {
      await shelf.put(entry, segments, { signal })
    } catch (error) {
      signal.throwIfAborted()
      // Our own disk is no fault of whoever sent the bytes.
      if (!isFailure(error) || !error.code.startsWith('SEGMENT_')) throw error
      peers.failed(member, error)
      logger.warn('sync.sourceLied', { seq: entry.seq, root: entry.root, holder: member.id, ...span, error })
      continue
    }
    peers.succeeded(member)
    onStored(
      span,
      segments.reduce((sum, { data }) => sum + data.length, 0),
    )
    return 'stored'
  }
  return outcome
}

/** By turns, so that one entry loads all its whole holders; the partial ones stay last. */
function rotated(sources: readonly Source[], turn: number): readonly Source[] {
  const whole = sources.filter(({ complete }) => complete)
  return [...whole.map((_, i) => whole[(i + turn) % whole.length]!), ...sources.filter(({ complete }) => !complete)]
}
