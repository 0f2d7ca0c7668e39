import { isFailure, SEGMENT_SIZE_BYTES } from '@weightless/core'
import type { BatchSpan, BodyBuffers } from './batches.ts'
import type { Client } from './client.ts'
import { drainingContacts } from './draining.ts'
import { fail } from './errors.ts'
import { listFailures, type NodeFailure } from './holders.ts'
import type { Candidate, Located } from './locate.ts'
import { fetchRun, isLie } from './provenRun.ts'
import { createRate, type Rate } from './rate.ts'
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

/** `take` gives the buffers that answers are received into, where the machine can; what `read` returns lies in one of them.
 *  Those of answers that failed or came second are not heard of again. */
export function createSegmentReader(
  client: Client,
  located: Located,
  options: { readonly take?: BodyBuffers['take'] | undefined } = {},
): SegmentReader {
  const { take } = options
  const { root, seq } = located
  const { clock, random, logger } = client.deps
  const rate = createRate()
  const holders: Holder[] = located.candidates.map(holderOf)

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

  /** Asks the best holder, after a while a second one, after a failure the next, in the end those that drain; the first verified answer
   *  wins and the others are aborted. `undefined`: nobody is left. */
  function raceHolders(span: BatchSpan, failures: NodeFailure[], signal: AbortSignal): Promise<Uint8Array | undefined> {
    const scope = childScope(signal)
    const tried = new Set<Holder>()
    const open = new Set<Holder>()
    const expectedBytes = span.count * SEGMENT_SIZE_BYTES
    let haveDraining: 'notYet' | 'asked' | 'joined' = 'notYet'
    return new Promise<Uint8Array | undefined>((resolve, reject) => {
      const launch = (): void => {
        const holder = bestOf(holders, tried)
        if (holder === undefined) {
          if (haveDraining === 'notYet') {
            haveDraining = 'asked'
            joinDraining(scope.signal).then(() => {
              haveDraining = 'joined'
              launch()
            }, reject)
          } else if (haveDraining === 'joined' && open.size === 0) resolve(undefined)
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
        clock.sleep(hedgeMs(rate, expectedBytes), { signal: scope.signal }).then(
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

  /** When nobody else is left: what those that drain have may be nowhere else yet. */
  async function joinDraining(signal: AbortSignal): Promise<void> {
    for (const contact of await drainingContacts(client, { signal }))
      if (!holders.some((known) => known.contact === contact))
        holders.push(holderOf({ contact, isHome: false }, holders.length))
  }

  async function fetchVerified(holder: Holder, span: BatchSpan, signal: AbortSignal): Promise<Uint8Array> {
    const { contact } = holder
    holder.openCount += 1
    try {
      const { data } = await fetchRun(client, contact, { file: located, run: span }, { signal, rate, take })
      holder.isSlow = false
      contact.succeeded()
      return data
    } catch (error) {
      if (signal.aborted) throw signal.reason
      holder.lacks ||= isFailure(error, 'SEGMENTS_NOT_HELD')
      holder.isLiar ||= isLie(error)
      if (holder.isLiar) logger.warn('holder.blamed', { node: contact.url, root, from: span.from, error })
      contact.failed(error)
      throw error
    } finally {
      holder.openCount -= 1
    }
  }

  return { read }
}

/** After how long without an answer others are asked too. */
export function hedgeMs(rate: Rate, bytes: number): number {
  const expectedMs = rate.expectedMs(bytes)
  if (expectedMs === undefined) return HEDGE_MS_FIRST
  return Math.min(HEDGE_MS_MAX, Math.max(HEDGE_MS_MIN, HEDGE_FACTOR * expectedMs))
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

function holderOf({ contact, isHome }: Candidate, rank: number): Holder {
  return { contact, isHome, rank, openCount: 0, isSlow: false, lacks: false, isLiar: false }
}

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
