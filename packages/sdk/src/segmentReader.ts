import {
  checkSegment,
  ENTRY_WAIT_MS,
  fail as failCore,
  invariant,
  isFailure,
  layoutOf,
  leafCountOf,
  SEGMENT_CHUNKS,
  SEGMENT_SIZE_BYTES,
  segmentDataSize,
  type ProvenSegment,
  type SegmentProof,
} from '@weightless/core'
import type { BatchSpan, BodyBuffers } from './batches.ts'
import type { Client } from './client.ts'
import { fail } from './errors.ts'
import { listFailures, type NodeFailure } from './holders.ts'
import type { Candidate, Located } from './locate.ts'
import { createRate, PATIENCE_MS_MAX, withPatience } from './rate.ts'
import { jittered } from './retry.ts'
import { childScope } from './scope.ts'

/** Reads verified segments of one object from whoever has them. */
export type SegmentReader = {
  /** The bytes of a span, padded to whole chunks, each segment proven against the root before anything is returned. Throws
   *  `OBJECT_UNAVAILABLE`, naming who was asked and why they could not. */
  read(span: BatchSpan, options: { readonly signal: AbortSignal }): Promise<Uint8Array>
}

/** Before anything came back: a healthy node answers within a few tens of milliseconds. */
const HEDGE_MS_FIRST = 500
/** A request that takes this much longer than usual is asked of a second node as well. */
const HEDGE_FACTOR = 3
const HEDGE_MS_MIN = 150
const HEDGE_MS_MAX = 10_000
/** Holders asked for the same bytes at the same time. */
const HEDGES_MAX = 3
/** A connection that broke may stand again a moment later. */
const ROUNDS_MAX = 3
const ROUND_DELAY_MS = 200
const GET_GRACE_MS: number = ENTRY_WAIT_MS

/** `take` gives the buffers that answers are received into, where the machine can; what `read` returns lies in one of them.
 *  Those of answers that failed or came second are not heard of again. */
export function createSegmentReader(
  client: Client,
  located: Located,
  options: { readonly take?: BodyBuffers['take'] | undefined } = {},
): SegmentReader {
  const { take } = options
  const { root, seq, sizeBytes } = located
  const { clock, random, kernels, logger } = client.deps
  const layout = layoutOf(sizeBytes)
  const rate = createRate()
  const holders: Holder[] = located.candidates.map(({ contact, isHome }, rank) => ({
    contact,
    isHome,
    rank,
    openCount: 0,
    isSlow: false,
    lacks: false,
    isLiar: false,
  }))

  async function read(span: BatchSpan, { signal }: { readonly signal: AbortSignal }): Promise<Uint8Array> {
    const failures: NodeFailure[] = []
    for (let round = 1; ; round++) {
      const data = await raceHolders(span, failures, signal)
      if (data !== undefined) return data
      const mayHelp = failures.some(
        ({ error }) => isFailure(error) && error.retryable && error.code !== 'SEGMENTS_NOT_HELD',
      )
      if (round >= ROUNDS_MAX || !mayHelp) {
        const latest = failures.filter(({ node }, i) => failures.findLastIndex((other) => other.node === node) === i)
        throw fail('OBJECT_UNAVAILABLE', {
          root,
          seq,
          segmentIndex: span.from,
          asked: holders.length,
          failures: listFailures(latest),
        })
      }
      await clock.sleep(jittered(ROUND_DELAY_MS * 2 ** (round - 1), random), { signal })
    }
  }

  /** Asks the best holder, after a while a second one, after a failure the next; the first verified answer wins and the others
   *  are aborted. `undefined`: nobody is left. */
  function raceHolders(span: BatchSpan, failures: NodeFailure[], signal: AbortSignal): Promise<Uint8Array | undefined> {
    const scope = childScope(signal)
    const tried = new Set<Holder>()
    const open = new Set<Holder>()
    const expectedBytes = span.count * SEGMENT_SIZE_BYTES
    return new Promise<Uint8Array | undefined>((resolve, reject) => {
      const launch = (): void => {
        const holder = bestOf(holders, tried)
        if (holder === undefined) {
          if (open.size === 0) resolve(undefined)
          return
        }
        tried.add(holder)
        open.add(holder)
        fetchVerified(holder, span, scope.signal).then(
          (data) => {
            open.delete(holder)
            // Whoever is still open was overtaken: others first from now on.
            for (const slow of open) slow.isSlow = true
            resolve(data)
          },
          (error: unknown) => {
            open.delete(holder)
            if (scope.signal.aborted) return reject(scope.signal.reason)
            if (!isFailure(error)) return reject(error)
            failures.push({ node: holder.contact.url, error })
            launch()
          },
        )
        clock.sleep(hedgeMs(expectedBytes), { signal: scope.signal }).then(
          () => {
            if (open.has(holder) && open.size < HEDGES_MAX) launch()
          },
          () => undefined,
        )
      }
      scope.signal.addEventListener('abort', () => reject(scope.signal.reason), { once: true })
      if (scope.signal.aborted) reject(scope.signal.reason)
      else launch()
    }).finally(() => scope.end())
  }

  function hedgeMs(bytes: number): number {
    const expectedMs = rate.expectedMs(bytes)
    if (expectedMs === undefined) return HEDGE_MS_FIRST
    return Math.min(HEDGE_MS_MAX, Math.max(HEDGE_MS_MIN, HEDGE_FACTOR * expectedMs))
  }

  async function fetchVerified(holder: Holder, span: BatchSpan, signal: AbortSignal): Promise<Uint8Array> {
    const { contact } = holder
    const expectedBytes = span.count * SEGMENT_SIZE_BYTES
    const startMs = clock.nowMs()
    holder.openCount += 1
    try {
      const segments = await withPatience(
        { signal, graceMs: GET_GRACE_MS, bytes: expectedBytes, what: `segments from ${contact.url}` },
        { clock, rate },
        (scope) =>
          contact.node.getSegments(root, { ...span, seq }, { signal: scope, timeoutMs: PATIENCE_MS_MAX, take }),
      )
      if (segments === undefined)
        throw fail('SEGMENTS_NOT_HELD', { node: contact.url, root, from: span.from, count: span.count })
      rate.observe(expectedBytes, clock.nowMs() - startMs)
      const data = await verify(segments, span, signal)
      holder.isSlow = false
      contact.succeeded()
      return data
    } catch (error) {
      if (signal.aborted) throw signal.reason
      holder.lacks ||= isFailure(error, 'SEGMENTS_NOT_HELD')
      holder.isLiar ||= isFailure(error) && LIES.has(error.code)
      if (holder.isLiar) logger.warn('holder.blamed', { node: contact.url, root, from: span.from, error })
      contact.failed(error)
      throw error
    } finally {
      holder.openCount -= 1
    }
  }

  /** One kernel call for all segments of the answer, then each proof. */
  async function verify(segments: readonly ProvenSegment[], span: BatchSpan, signal: AbortSignal): Promise<Uint8Array> {
    // A proof ties a segment to the index it names: that this is the one asked for is for us to see, here as in the client.
    if (segments.length !== span.count || segments.some(({ index }, i) => index !== span.from + i)) {
      throw fail('NODE_ANSWER_INVALID', { root, reason: 'other segments than asked for', ...span })
    }
    for (const { index, data } of segments) {
      const expectedBytes = segmentDataSize(layout, index)
      if (data.length !== expectedBytes)
        throw failCore('SEGMENT_SIZE_INVALID', { root, index, dataBytes: data.length, expectedBytes })
    }
    const { data, proofs } = joined(segments)
    const last = span.from + span.count - 1
    const lastLeafCount = last === layout.segmentCount - 1 ? leafCountOf(layout, last) : SEGMENT_CHUNKS
    const roots = await kernels.segmentRoots(data, { lastLeafCount, signal })
    invariant(roots.length === 32 * segments.length, 'one root for each segment')
    let at = 0
    for (const [i, proof] of proofs.entries()) {
      const { index, data: own } = segments[i]!
      const segment = { index, data: data.subarray(at, at + own.length), proof }
      checkSegment({ root, sizeBytes }, segment, roots.subarray(32 * i, 32 * (i + 1)))
      at += own.length
    }
    return data
  }

  return { read }
}

/** A node as one download sees it. */
type Holder = Candidate & {
  readonly rank: number
  /** Requests under way: the least busy is asked next, so that holders share the load. */
  openCount: number
  isSlow: boolean
  lacks: boolean
  isLiar: boolean
}

/** Answers that only a faulty node gives: it is not asked again. */
const LIES: ReadonlySet<string> = new Set([
  'SEGMENT_PROOF_INVALID',
  'SEGMENT_SIZE_INVALID',
  'SEGMENT_INDEX_INVALID',
  'FRAME_INVALID',
  'NODE_ANSWER_INVALID',
])

function bestOf(holders: readonly Holder[], tried: ReadonlySet<Holder>): Holder | undefined {
  let best: Holder | undefined
  for (const holder of holders) {
    if (tried.has(holder) || holder.isLiar) continue
    if (best === undefined || comesBefore(holder, best)) best = holder
  }
  return best
}

function comesBefore(a: Holder, b: Holder): boolean {
  const [first, second] = [preference(a), preference(b)]
  const differing = first.findIndex((value, i) => value !== second[i])
  return differing >= 0 && first[differing]! < second[differing]!
}

function preference({ contact, isHome, rank, openCount, isSlow, lacks }: Holder): readonly number[] {
  return [Number(contact.isAvoided()), Number(lacks), Number(!isHome), Number(isSlow), openCount, rank]
}

/** A header is at least as long. */
const COPY_ALIGNMENT_BYTES = 8

/** The data of one answer in one piece. They are views into its body, with headers between them: moved together there, they cost
 *  neither a second buffer nor the garbage collection that follows. The headers are overwritten, so proofs are copied first. */
function joined(segments: readonly ProvenSegment[]): { readonly data: Uint8Array; readonly proofs: SegmentProof[] } {
  const proofs = segments.map(({ proof }) => ({ ...proof, siblings: proof.siblings.map((sibling) => sibling.slice()) }))
  const first = segments[0]!.data
  const body = new Uint8Array(first.buffer)
  // Still inside the first header. Shared memory is copied eight times as fast from there by those who hash and write it.
  const start = first.byteOffset - (first.byteOffset % COPY_ALIGNMENT_BYTES)
  let end = start
  for (const { data } of segments) {
    invariant(data.buffer === first.buffer && data.byteOffset >= end, 'an answer is one body, in order')
    body.copyWithin(end, data.byteOffset, data.byteOffset + data.length)
    end += data.length
  }
  return { data: body.subarray(start, end), proofs }
}
