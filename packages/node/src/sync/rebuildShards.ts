import type { PartialTree, SegmentRange, Shard } from '@weightless/core'
import {
  BATCH_SEGMENTS_MAX,
  extendedShard,
  invariant,
  layoutOf,
  partialTreeOf,
  planStripe,
  presentSlots,
  segmentDataSize,
  SEGMENT_SIZE_BYTES,
  shardCountOf,
  shardOfSegment,
  stripeRuns,
  type StripePlan,
} from '@weightless/core'
import { segmentOf, type CodedEntry } from '../erasure/codedEntry.ts'
import type { HeldShards } from '../erasure/heldShards.ts'
import type { Shelf } from '../segments/shelf.ts'
import { readRun, segmentRootOf, type ProvenShard, type ShardReaderDeps, type ShardRun } from './shardReader.ts'
import type { ShardSources } from './shardSources.ts'

export type RebuildDeps = ShardReaderDeps & { readonly held: HeldShards; readonly shelf: Pick<Shelf, 'put'> }
export type RebuildOptions = {
  readonly sources: ShardSources
  readonly onStored: (shardCount: number) => void
  readonly signal: AbortSignal
}

/** Shards in memory at once, those of one stripe at least: 16 MiB for all codes up to k = 64. */
const WINDOW_SHARDS = 64
/** Levels of the tallest tree, each settled by one step at least. */
const CONFIRM_STEPS_MAX = 64

/** Computes missing shards from any k of their stripes, here or at others, and puts them on the shelf with proofs made of what the
 *  proofs of other segments say. Nothing computed is believed: the shelf checks each segment against the root on chain like one
 *  that a user sent. Resolves to the number of shards that could not be had. `missing` by stripe: slots, not empty. */
export async function rebuildShards(
  coded: CodedEntry,
  missing: ReadonlyMap<number, readonly number[]>,
  options: RebuildOptions,
  deps: RebuildDeps,
): Promise<number> {
  const { sources, signal } = options
  const { held, kernels, shelf, logger } = deps
  const { layout, code, data, parity } = coded
  const trees = {
    data: partialTreeOf({ root: data.root, sizeBytes: data.sizeBytes }),
    parity: partialTreeOf({ root: parity.root, sizeBytes: parity.sizeBytes }),
  }
  const treeOf = (slot: number): PartialTree => (slot < code.k ? trees.data : trees.parity)
  const windowStripes = Math.max(1, Math.floor(WINDOW_SHARDS / code.k))
  const isPresent = (slot: number, stripe: number): boolean => stripe < shardCountOf(layout, slot)

  /** Shards that are not here, whatever the rows of the store say. */
  const unreadable = new Set<string>()
  const isHere = ({ slot, stripe }: Shard): boolean =>
    held.has(coded, { slot, stripe }) && !unreadable.has(`${slot} ${stripe}`)

  /** Which shards a stripe is computed from: what is here, then what others say they have, of the tree of what is wanted first, since
   *  their proofs are needed; then what they may have. */
  function plan(stripe: number, wanted: readonly number[]): StripePlan {
    const sameTreeFirst = (a: number, b: number): number =>
      Number(treeOf(b) === treeOf(wanted[0]!)) - Number(treeOf(a) === treeOf(wanted[0]!)) || a - b
    const others = presentSlots(layout).filter((slot) => !wanted.includes(slot) && isPresent(slot, stripe))
    const here = others.filter((slot) => isHere({ slot, stripe }))
    const away = others.filter((slot) => !here.includes(slot)).sort(sameTreeFirst)
    const certain = away.filter((slot) => sources.certain({ slot, stripe }).length > 0)
    const possible = away.filter((slot) => sources.possible({ slot, stripe }).length > 0)
    return planStripe(layout, { stripe, slots: wanted }, { preferred: [...here, ...certain], avoided: possible })
  }

  /** Shards that came for the stripes that are worked on: what else of them is lost is computed from the same ones, for its part of the
   *  proof. */
  let came = new Map<number, Map<number, ProvenShard>>()

  /** The shards from which these stripes are computed, by stripe; those that cannot be had are left out. */
  async function gather(
    wanted: ReadonlyMap<number, readonly number[]>,
  ): Promise<ReadonlyMap<number, readonly ProvenShard[]>> {
    const have = new Map<number, Map<number, ProvenShard>>(
      [...wanted.keys()].map((stripe) => [stripe, came.get(stripe) ?? new Map()]),
    )
    const lost = new Set<number>()
    for (;;) {
      const needs: Shard[] = []
      for (const [stripe, slots] of wanted) {
        if (lost.has(stripe)) continue
        const planned = plan(stripe, slots)
        if (planned.kind === 'lost') {
          lost.add(stripe)
          logger.warn('repair.stripeLost', { seq: data.seq, stripe, shortBy: planned.shortBy, missing: slots.join() })
        } else for (const slot of planned.helpers) if (!have.get(stripe)!.has(slot)) needs.push({ slot, stripe })
      }
      if (needs.length === 0) break
      for (const run of runsOf(needs)) {
        const found = await read(run)
        for (const shard of found ?? []) {
          have.get(shard.stripe)!.set(shard.slot, shard)
          learn(shard)
        }
      }
    }
    const planned = [...wanted].filter(([stripe]) => !lost.has(stripe))
    return new Map(
      planned.map(([stripe, slots]) => {
        const { helpers } = plan(stripe, slots) as StripePlan & { kind: 'read' }
        return [stripe, helpers.map((slot) => have.get(stripe)!.get(slot)!)]
      }),
    )
  }

  async function read(run: ShardRun): Promise<readonly ProvenShard[] | undefined> {
    const here = await readHere(run)
    return here ?? (await readRun(coded, run, { sources, signal }, deps))
  }

  async function readHere(run: ShardRun): Promise<readonly ProvenShard[] | undefined> {
    const shards: ProvenShard[] = []
    for (let stripe = run.from; stripe < run.from + run.count; stripe++) {
      const shard = { slot: run.slot, stripe }
      const segment = isHere(shard) ? await held.read(coded, shard, { signal }) : undefined
      if (segment === undefined) {
        unreadable.add(`${shard.slot} ${stripe}`)
        return undefined
      }
      const { entry } = segmentOf(coded, shard)
      shards.push({ ...shard, segment, segmentRoot: await segmentRootOf(entry, segment, kernels, signal) })
    }
    return shards
  }

  function learn({ slot, segment, segmentRoot }: ProvenShard): void {
    treeOf(slot).learn(segment.index, segmentRoot, segment.proof)
  }

  /** Computes the wanted shards of these stripes; those of stripes that are lost are left out. */
  async function compute(wanted: ReadonlyMap<number, readonly number[]>): Promise<readonly ComputedShard[]> {
    const computed: ComputedShard[] = []
    for (const [stripe, helpers] of await gather(wanted)) {
      const bySlot = new Map(helpers.map((shard) => [shard.slot, extendedShard(shard.segment.data)]))
      const shards = Array.from({ length: code.k + code.m }, (_, slot) =>
        slot < code.k && !isPresent(slot, stripe) ? 'zero' : bySlot.get(slot),
      )
      const into = wanted.get(stripe)!.map((slot) => ({ slot, into: new Uint8Array(SEGMENT_SIZE_BYTES) }))
      await kernels.recover({ code, shards, wanted: into }, { signal })
      for (const { slot, into: bytes } of into) {
        const { entry, index } = segmentOf(coded, { slot, stripe })
        const segment = { index, data: bytes.subarray(0, segmentDataSize(layoutOf(entry.sizeBytes), index)) }
        const segmentRoot = await segmentRootOf(entry, segment, kernels, signal)
        computed.push({ slot, stripe, ...segment, segmentRoot })
      }
    }
    return computed
  }

  /** Makes the tree know what it takes to prove computed shards: asks for one segment of a part of it that nobody has spoken of, or
   *  computes all of that part. */
  async function confirm(kind: 'data' | 'parity', computed: readonly ComputedShard[]): Promise<void> {
    const tree = trees[kind]
    const claims = new Map(computed.map(({ index, segmentRoot }) => [index, segmentRoot]))
    for (let step = 0; step < CONFIRM_STEPS_MAX; step++) {
      const confirmed = tree.confirm(claims)
      if (confirmed.kind === 'right') return
      // Helpers are proven and so is the parity: what is computed from them is right, unless the parity was not.
      if (confirmed.kind === 'wrong') {
        logger.error('repair.computedWrong', { seq: data.seq, parity: parity.seq, segments: confirmed.segments.join() })
        return
      }
      let isAnySettled = false
      for (const range of confirmed.needs) {
        if ((await learnOne(kind, range)) || (await claimAll(kind, range, claims))) isAnySettled = true
      }
      if (!isAnySettled) return
    }
  }

  async function learnOne(kind: 'data' | 'parity', { from, to }: SegmentRange): Promise<boolean> {
    // Who has a slot has it in every stripe, so one width of the tree is all there is to try.
    const width = kind === 'data' ? code.k : code.m
    for (let segmentIndex = from; segmentIndex < Math.min(to, from + width); segmentIndex++) {
      const { slot, stripe } = shardOfSegment(layout, { entry: kind, segmentIndex })
      if (!isHere({ slot, stripe }) && sources.certain({ slot, stripe }).length === 0) continue
      const found = await read({ slot, from: stripe, count: 1 })
      if (found?.[0] === undefined) continue
      learn(found[0])
      return true
    }
    return false
  }

  async function claimAll(
    kind: 'data' | 'parity',
    { from, to }: SegmentRange,
    claims: Map<number, Uint8Array>,
  ): Promise<boolean> {
    const wanted = new Map<number, number[]>()
    for (let segmentIndex = from; segmentIndex < to; segmentIndex++) {
      if (claims.has(segmentIndex)) continue
      const { slot, stripe } = shardOfSegment(layout, { entry: kind, segmentIndex })
      wanted.set(stripe, [...(wanted.get(stripe) ?? []), slot])
    }
    let isComplete = true
    for (const window of windowsOf(wanted, windowStripes)) {
      const computed = await compute(window)
      for (const { index, segmentRoot } of computed) claims.set(index, segmentRoot)
      isComplete &&= computed.length === [...window.values()].flat().length
    }
    return isComplete && wanted.size > 0
  }

  let leftCount = 0
  for (const window of windowsOf(missing, windowStripes)) {
    signal.throwIfAborted()
    came = new Map([...window.keys()].map((stripe) => [stripe, new Map()]))
    const computed = await compute(window)
    let storedCount = 0
    for (const kind of ['data', 'parity'] as const) {
      const ofTree = computed.filter(({ slot }) => slot < code.k === (kind === 'data'))
      if (ofTree.length === 0) continue
      await confirm(kind, ofTree)
      const segments = ofTree.flatMap(({ index, data: bytes }) => {
        const proof = trees[kind].prove(index)
        return proof === undefined ? [] : [{ index, data: bytes, proof }]
      })
      if (segments.length > 0) await shelf.put(kind === 'data' ? data : parity, segments, { signal })
      storedCount += segments.length
    }
    options.onStored(storedCount)
    leftCount += [...window.values()].flat().length - storedCount
  }
  return leftCount
}

type ComputedShard = Shard & {
  readonly index: number
  readonly data: Uint8Array
  readonly segmentRoot: Uint8Array
}

/** Shards of one slot in consecutive stripes, one request each. */
function runsOf(shards: readonly Shard[]): readonly ShardRun[] {
  const bySlot = new Map<number, number[]>()
  for (const { slot, stripe } of [...shards].sort((a, b) => a.slot - b.slot || a.stripe - b.stripe))
    bySlot.set(slot, [...(bySlot.get(slot) ?? []), stripe])
  return [...bySlot].flatMap(([slot, stripes]) =>
    stripeRuns(stripes, { countMax: BATCH_SEGMENTS_MAX }).map((run) => ({ slot, ...run })),
  )
}

function* windowsOf<T>(byStripe: ReadonlyMap<number, T>, stripeCount: number): Generator<ReadonlyMap<number, T>> {
  invariant(stripeCount >= 1, 'a window has a stripe')
  const rows = [...byStripe].sort(([a], [b]) => a - b)
  for (let from = 0; from < rows.length; from += stripeCount) yield new Map(rows.slice(from, from + stripeCount))
}
