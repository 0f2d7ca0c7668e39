import {
  invariant,
  partialTreeOf,
  SEGMENT_SIZE_BYTES,
  stripesOfSegments,
  type PartialTree,
  type SegmentProof,
  type SegmentRange,
  type WantedStripe,
} from '@weightless/core'
import type { GatheredShards } from './gatherShards.ts'
import type { NodeFailure } from './holders.ts'
import { mapBounded } from './inOrder.ts'
import type { Located } from './locate.ts'
import type { ShardHolders, Way } from './shardHolders.ts'

/** Ranges whose roots are found out at the same time, and bytes of the stripes that are read for that at once. */
const NEEDS_WINDOW = 4
const WIDEN_BYTES: number = 8 * 1024 ** 2

/** Nothing that was computed is returned before the data root bears it out, by the proofs of other segments. */
export type Bearing = {
  /** `rebuilt`: roots of computed segments by index. Where proofs at hand do not say enough more segments are fetched, and where nobody
   *  has any, the stripes around are computed too. Throws `BogusParity`. */
  bearOut(
    what: {
      readonly way: Way
      readonly gathered: GatheredShards
      readonly rebuilt: ReadonlyMap<number, Uint8Array>
    },
    failures: NodeFailure[],
    options: { readonly signal: AbortSignal },
  ): Promise<void>
  /** Of a segment that was borne out. */
  prove(segmentIndex: number): SegmentProof
}

/** Data and parity are each proven by their root, and do not belong together. */
export class BogusParity extends Error {
  override readonly name = 'BogusParity'
  readonly way: Way
  constructor(way: Way) {
    super('parity of other bytes')
    this.way = way
  }
}

export function createBearing(
  { root, sizeBytes }: Pick<Located, 'root' | 'sizeBytes'>,
  deps: {
    readonly holders: ShardHolders
    readonly gather: (
      what: { readonly way: Way; readonly stripes: readonly WantedStripe[] },
      failures: NodeFailure[],
      options: { readonly signal: AbortSignal },
    ) => Promise<GatheredShards>
    /** Roots of the segments that a gathering lacks. */
    readonly rebuild: (
      way: Way,
      gathered: GatheredShards,
      placeOf: (segmentIndex: number) => Uint8Array,
      options: { readonly signal: AbortSignal },
    ) => Promise<ReadonlyMap<number, Uint8Array>>
  },
): Bearing {
  const { holders, gather, rebuild } = deps
  let tree: PartialTree | undefined
  /** Roots of segments that were computed only to bear out others, and not yet borne out themselves, by the parity that they were computed
   *  with: pieces that are read at the same time may go by different ones, and what a bogus one gave says nothing of another. */
  const claims = new Map<string, Map<number, Uint8Array>>()
  let widening: Promise<unknown> = Promise.resolve()

  async function widen(
    way: Way,
    known: PartialTree,
    rebuilt: ReadonlyMap<number, Uint8Array>,
    failures: NodeFailure[],
    signal: AbortSignal,
  ): Promise<void> {
    for (;;) {
      signal.throwIfAborted()
      const needs = judge(way, known, rebuilt, claimsOf(way))
      if (needs === undefined) return
      await mapBounded(needs, { window: NEEDS_WINDOW, signal }, (range, scope) =>
        settle(way, known, range, failures, scope),
      )
    }
  }

  function claimsOf({ name }: Way): Map<number, Uint8Array> {
    const own = claims.get(name) ?? new Map<number, Uint8Array>()
    claims.set(name, own)
    return own
  }

  /** What is still needed; `undefined` when all of `wanted` is borne out, with the help of `claimed`, which is then empty if all of that
   *  is borne out too. Throws `BogusParity`. */
  function judge(
    way: Way,
    known: PartialTree,
    wanted: ReadonlyMap<number, Uint8Array>,
    claimed?: Map<number, Uint8Array>,
  ): readonly SegmentRange[] | undefined {
    const result = known.confirm(claimed === undefined ? wanted : new Map([...claimed, ...wanted]))
    if (result.kind === 'wrong') {
      claims.delete(way.name)
      throw new BogusParity(way)
    }
    if (result.kind === 'right') {
      claimed?.clear()
      return undefined
    }
    return result.segments.some((index) => wanted.has(index)) ? result.needs : undefined
  }

  /** One proven segment of the range, from whoever has one; else the roots of all of them. */
  async function settle(
    way: Way,
    known: PartialTree,
    range: SegmentRange,
    failures: NodeFailure[],
    signal: AbortSignal,
  ): Promise<void> {
    const { parity } = way
    const { k } = parity.layout.code
    for (let index = range.from; index < Math.min(range.to, range.from + k); index++) {
      const slot = index % k
      if (!parity.holders.has(slot)) continue
      const run = { slot, from: Math.floor(index / k), count: 1 }
      const fetched = await holders.fetchSlot(parity, run, failures, { signal })
      if (fetched === undefined) continue
      const [segment] = fetched.segments
      known.learn(segment!.index, segment!.root, segment!.proof)
      return
    }
    const batch = Math.max(1, Math.floor(WIDEN_BYTES / (k * SEGMENT_SIZE_BYTES))) * k
    for (let from = range.from; from < range.to; from += batch - (from % k)) {
      const to = Math.min(range.to, from + batch - (from % k))
      const stripes = [...stripesOfSegments(parity.layout, { from, to })]
      const gathered = await gather({ way, stripes }, failures, { signal })
      learn(known, way, gathered)
      const scratch = new Uint8Array((to - from) * SEGMENT_SIZE_BYTES)
      const placeOf = (index: number): Uint8Array =>
        scratch.subarray((index - from) * SEGMENT_SIZE_BYTES, (index - from + 1) * SEGMENT_SIZE_BYTES)
      const own = claimsOf(way)
      for (const [index, hash] of await rebuild(way, gathered, placeOf, { signal })) own.set(index, hash)
      // Segments that came with a proof say all about the range.
      if (gathered.plans.some(({ direct }) => direct.length > 0)) return
    }
  }

  return {
    async bearOut({ way, gathered, rebuilt }, failures, { signal }) {
      tree ??= partialTreeOf({ root, sizeBytes })
      const known = tree
      learn(known, way, gathered)
      if (judge(way, known, rebuilt) === undefined) return
      // One after the other: what one piece finds out serves the others.
      const turn = widening.catch(() => undefined).then(() => widen(way, known, rebuilt, failures, signal))
      widening = turn
      await turn
    },
    prove(segmentIndex) {
      const proof = tree?.prove(segmentIndex)
      invariant(proof !== undefined, 'a tree can prove what it bears out')
      return proof
    },
  }
}

function learn(known: PartialTree, { parity }: Way, { runs }: GatheredShards): void {
  for (const { slot, segments } of runs) {
    if (slot >= parity.layout.code.k) continue
    for (const { index, root, proof } of segments) known.learn(index, root, proof)
  }
}
