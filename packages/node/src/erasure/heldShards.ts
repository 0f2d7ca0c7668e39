import type { Entry, ProvenSegment, Root, Shard } from '@weightless/core'
import { presentSlots, shardCountOf } from '@weightless/core'
import type { Shelf } from '../segments/shelf.ts'
import type { SegmentStore } from '../store/store.ts'
import { segmentOf, type CodedEntry } from './codedEntry.ts'

/** The shards that this node holds: segments of the data entry and of the parity entry, seen by slot. */
export type HeldShards = {
  /** Slots of which every shard is here, ascending. */
  wholeSlots(coded: CodedEntry): readonly number[]
  /** Slots of which some shard is here, ascending. */
  someSlots(coded: CodedEntry): readonly number[]
  /** Shards of these slots that are not here. */
  missingCount(coded: CodedEntry, slots: readonly number[]): number
  /** Shards of this slot from the first stripe on, up to one that is not here. */
  contiguousCount(coded: CodedEntry, slot: number): number
  has(coded: CodedEntry, shard: Shard): boolean
  /** Segments of this root that are here. */
  segmentCount(root: Root): number
  /** The segment that a shard is, its bytes not extended; `undefined` when it is not here. */
  read(coded: CodedEntry, shard: Shard, options: { readonly signal: AbortSignal }): Promise<ProvenSegment | undefined>
  /** Segments of this root went bad or were removed: what is remembered of it is wrong. */
  forget(root: Root): void
}

/** Roots whose held segments are kept in memory, a bit each: 32 KiB for the largest entry of ours. */
const ROOTS_MAX = 64
/** Counts kept of one root: one is a few hundred bytes, and a node tells of so many parities of an entry. */
const COUNTS_PER_ROOT_MAX = 64

type Held = {
  readonly heldCount: number
  readonly bits: Uint8Array
  /** By segment count and width. */
  readonly counts: Map<string, readonly number[]>
}

export function createHeldShards(deps: {
  readonly store: Pick<SegmentStore, 'presence'>
  readonly shelf: Pick<Shelf, 'isWhole' | 'read'>
}): HeldShards {
  const { store, shelf } = deps
  const known = new Map<Root, Held>()

  /** Walking through the rows of a large root takes tenths of a second, so it is done again only when more is here. */
  function heldOf(root: Root): Held {
    const presence = store.presence(root)
    const before = known.get(root)
    if (before?.heldCount === presence.heldCount) return before
    const indexes = presence.heldCount > 0 ? [...presence.indexes()] : []
    const bits = new Uint8Array(Math.floor((indexes.at(-1) ?? -1) / 8) + 1)
    for (const index of indexes) bits[index >> 3]! |= 1 << (index & 7)
    const held: Held = { heldCount: presence.heldCount, bits, counts: new Map() }
    if (known.size >= ROOTS_MAX) known.delete(known.keys().next().value!)
    known.set(root, held)
    return held
  }

  /** Held segments 0 … segmentCount − 1 of a root by their remainder. */
  function counted(root: Root, segmentCount: number, width: number): readonly number[] {
    const { bits, counts } = heldOf(root)
    const name = `${segmentCount} ${width}`
    const before = counts.get(name)
    if (before !== undefined) return before
    const bySlot = Array.from({ length: width }, () => 0)
    const end = Math.min(segmentCount, bits.length * 8)
    for (let index = 0; index < end; index++) bySlot[index % width]! += (bits[index >> 3]! >> (index & 7)) & 1
    if (counts.size >= COUNTS_PER_ROOT_MAX) counts.delete(counts.keys().next().value!)
    counts.set(name, bySlot)
    return bySlot
  }

  function heldCounts({ data, parity, layout }: CodedEntry): (slot: number) => number {
    const { code, segmentCount, stripeCount } = layout
    const ofEntry = (entry: Entry, count: number, width: number): readonly number[] | 'all' =>
      shelf.isWhole(entry) && store.presence(entry.root).heldCount >= count ? 'all' : counted(entry.root, count, width)
    const ofData = ofEntry(data, segmentCount, code.k)
    const ofParity = ofEntry(parity, stripeCount * code.m, code.m)
    return (slot) => {
      const counts = slot < code.k ? ofData : ofParity
      return counts === 'all' ? shardCountOf(layout, slot) : counts[slot < code.k ? slot : slot - code.k]!
    }
  }

  return {
    wholeSlots(coded) {
      const held = heldCounts(coded)
      return presentSlots(coded.layout).filter((slot) => held(slot) === shardCountOf(coded.layout, slot))
    },
    someSlots(coded) {
      const held = heldCounts(coded)
      return presentSlots(coded.layout).filter((slot) => held(slot) > 0)
    },
    missingCount(coded, slots) {
      const held = heldCounts(coded)
      return slots.reduce((sum, slot) => sum + shardCountOf(coded.layout, slot) - held(slot), 0)
    },
    contiguousCount(coded, slot) {
      const count = shardCountOf(coded.layout, slot)
      if (heldCounts(coded)(slot) === count) return count
      const { bits } = heldOf(segmentOf(coded, { slot, stripe: 0 }).entry.root)
      for (let stripe = 0; stripe < count; stripe++) {
        const { index } = segmentOf(coded, { slot, stripe })
        if ((((bits[index >> 3] ?? 0) >> (index & 7)) & 1) === 0) return stripe
      }
      return count
    },
    has(coded, shard) {
      const { entry, index } = segmentOf(coded, shard)
      return store.presence(entry.root).has(index)
    },
    segmentCount: (root) => store.presence(root).heldCount,
    async read(coded, shard, { signal }) {
      const { entry, index } = segmentOf(coded, shard)
      return await shelf.read(entry, index, { signal })
    },
    forget: (root) => void known.delete(root),
  }
}
