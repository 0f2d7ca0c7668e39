import type { Member } from '@weightless/core'
import { BATCH_SEGMENTS_MAX, SEGMENT_SIZE_BYTES, shardCountOf } from '@weightless/core'
import { segmentOf, type CodedEntry } from '../erasure/codedEntry.ts'
import type { FetchResult } from './fetchEntry.ts'
import { rebuildShards, type RebuildDeps } from './rebuildShards.ts'
import { readRun, type ShardRun } from './shardReader.ts'
import { findShardSources } from './shardSources.ts'

export type FetchShardsDeps = RebuildDeps
/** `members` and `draining` without this node. */
export type FetchShardsOptions = {
  readonly members: readonly Member[]
  readonly draining?: readonly Member[] | undefined
  readonly onSources: (count: number) => void
  readonly onStored: (shardCount: number, sizeBytes: number) => void
  /** Whether shards of this slot that nobody has may be computed now: whoever had them may come back. */
  readonly mayCompute: (slot: number) => boolean
  readonly signal: AbortSignal
}

/** Brings the missing shards of these slots here: as they are from whoever has them, else computed from the others of their stripe.
 *  Each is proven against the root on chain before it is stored. Throws what the store throws. */
export async function fetchShards(
  coded: CodedEntry,
  slots: readonly number[],
  options: FetchShardsOptions,
  deps: FetchShardsDeps,
): Promise<FetchResult> {
  const { signal } = options
  const { held, shelf } = deps
  const sources = await findShardSources(coded, options, deps)
  options.onSources(sources.count)
  const onStored = (shardCount: number): void => options.onStored(shardCount, shardCount * SEGMENT_SIZE_BYTES)
  const missing = new Map<number, number[]>()
  let isWaiting = false
  for (const slot of slots) {
    for (const run of missingRuns(coded, slot, deps)) {
      signal.throwIfAborted()
      const hasSource = sources.certain({ slot, stripe: run.from }).length > 0
      const found = hasSource ? await readRun(coded, run, { sources, signal }, deps) : undefined
      if (found !== undefined) {
        const { entry } = segmentOf(coded, found[0]!)
        const segments = found.map(({ segment }) => segment)
        await shelf.put(entry, segments, { signal })
        onStored(found.length)
      }
      for (let stripe = run.from; stripe < run.from + run.count; stripe++) {
        if (held.has(coded, { slot, stripe })) continue
        if (options.mayCompute(slot)) missing.set(stripe, [...(missing.get(stripe) ?? []), slot])
        else isWaiting = true
      }
    }
  }
  if (missing.size === 0) return isWaiting ? 'grace' : 'fetched'
  if (sources.count === 0 && held.missingCount(coded, slots) > 0 && !holdsOthers(coded, slots, deps)) return 'noSource'
  const leftCount = await rebuildShards(coded, missing, { sources, onStored, signal }, deps)
  if (leftCount > 0) return 'lacking'
  return isWaiting ? 'grace' : 'fetched'
}

/** A node that holds a copy has all that it needs. */
function holdsOthers(coded: CodedEntry, slots: readonly number[], { held }: Pick<FetchShardsDeps, 'held'>): boolean {
  return held.wholeSlots(coded).some((slot) => !slots.includes(slot))
}

/** Runs of missing shards inside windows of one request, so that all nodes cut a slot alike. */
function* missingRuns(
  coded: CodedEntry,
  slot: number,
  { held }: Pick<FetchShardsDeps, 'held'>,
): Generator<ShardRun, void, undefined> {
  const shardCount = shardCountOf(coded.layout, slot)
  for (let window = 0; window < shardCount; window += BATCH_SEGMENTS_MAX) {
    const end = Math.min(window + BATCH_SEGMENTS_MAX, shardCount)
    for (let stripe = window; stripe < end;) {
      const from = stripe
      while (stripe < end && !held.has(coded, { slot, stripe })) stripe += 1
      if (stripe > from) yield { slot, from, count: stripe - from }
      while (stripe < end && held.has(coded, { slot, stripe })) stripe += 1
    }
  }
}
