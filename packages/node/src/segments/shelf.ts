import type { Entry, Index, Kernels, Layout, Logger, ProvenSegment, Root } from '@weightless/core'
import {
  checkSegment,
  concat,
  equal,
  fail as failCore,
  fromHex,
  isFailure,
  layoutOf,
  leafCountOf,
  segmentDataSize,
  SEGMENT_SIZE_BYTES,
} from '@weightless/core'
import { fail } from '../errors.ts'
import type { EntryIndex } from '../flow/entries.ts'
import { numberKey } from '../flow/keys.ts'
import type { ReadOptions, SegmentStore, StoredSegment } from '../store/store.ts'
import { fitSegment } from './fit.ts'

/**
 * The segments that a role holds, seen through the entries of the log: nothing is put on it without a proof, and an entry is
 * whole when every segment that this role wants of it is there. Used by the storage node for what it keeps and by the gateway
 * for its spool.
 */
export type Shelf = {
  /** Proves and stores; resolves when all is synced. Throws `SEGMENT_*`, or what the store throws. */
  put(file: FileClaim, segments: readonly ClaimedSegment[], options: { readonly signal: AbortSignal }): Promise<void>
  /** A segment of this entry, cut to the entry's own size; `undefined` when it is not here. `take` as in `SegmentStore.get`. */
  read(
    entry: Entry,
    index: number,
    options: ReadOptions & { readonly signal: AbortSignal },
  ): Promise<ProvenSegment | undefined>
  has(root: Root, index: number): boolean
  /** Real segments of the entry that are here. */
  heldCount(entry: Entry): number
  /** Real segments from the first on, up to the first that is not here. */
  contiguousCount(entry: Entry): number
  /** Wanted segments of the entry that are not here yet; 0 only when none is missing. */
  missingCount(entry: Entry): number
  isWhole(entry: Entry): boolean
  /** Marks the entry whole if it is, after proving that its bytes have its size. Resolves to `isWhole`. */
  finish(entry: Entry, options: { readonly signal: AbortSignal }): Promise<boolean>
  /** Forgets the bytes of a root; none of its entries is whole any more. */
  drop(root: Root, options: { readonly signal: AbortSignal }): Promise<void>
  /** Forgets some segments of a root whose entries are not marked whole; not held from the call on. Resolves to their
   *  bytes, whole segments. */
  giveUp(root: Root, indexes: readonly number[]): Promise<number>
  /** Bytes of a root went bad: none of its entries is whole any more. */
  unmark(root: Root): Promise<void>
}

export type FileClaim = { readonly root: Root; readonly sizeBytes: number }
/** `leaf`: the segment root that the sender claims in front of its proof; official clients send it. */
export type ClaimedSegment = ProvenSegment & { readonly leaf?: Uint8Array | undefined }

export type ShelfDeps = {
  readonly store: SegmentStore
  readonly kernels: Kernels
  readonly index: Index
  readonly entries: EntryIndex
  readonly logger: Logger
  /** Which of the entry's real segments this role wants: `first` and every `step`-th after it. All of them by default. */
  readonly wanted?: ((entry: Entry) => Stride) | undefined
}
export type Stride = { readonly first: number; readonly step: number }

export function createShelf(deps: ShelfDeps): Shelf {
  const { store, kernels, index: marks, logger } = deps
  const wanted = deps.wanted ?? (() => ({ first: 0, step: 1 }))
  // Whole entries, so that polls of official clients read no disk; the rows on disk are the truth.
  // A number may be that of another entry after a reorganisation, so a mark says of which bytes it speaks.
  const whole = new Map<number, { readonly entry: DataOfEntry; readonly value: boolean }>()
  const finishing = new Map<number, Promise<boolean>>()

  function layoutIfAny(entry: Entry): Layout | undefined {
    try {
      return layoutOf(entry.sizeBytes)
    } catch (error) {
      if (isFailure(error, 'SIZE_INVALID')) return undefined
      throw error
    }
  }

  function remember(entry: Entry, value: boolean): boolean {
    if (whole.size >= MARKS_MAX) whole.delete(whole.keys().next().value!)
    // Not the entry itself, which is some two kilobytes.
    const { root, sizeBytes, startChunk } = entry
    whole.set(entry.seq, { entry: { root, sizeBytes, startChunk }, value })
    return value
  }

  function isWhole(entry: Entry): boolean {
    const known = whole.get(entry.seq)
    if (known !== undefined && isSameData(known.entry, entry)) return known.value
    const mark = marks.get(numberKey('whole', entry.seq))
    return remember(entry, wantedCount(entry) === 0 || (mark !== undefined && equal(mark, markOf(entry))))
  }

  function wantedCount(entry: Entry): number {
    const layout = layoutIfAny(entry)
    if (layout === undefined) return Infinity
    const { first, step } = wanted(entry)
    return Math.max(0, Math.ceil((layout.segmentCount - first) / step))
  }

  function missingCount(entry: Entry): number {
    const count = wantedCount(entry)
    const layout = layoutIfAny(entry)
    if (layout === undefined) return count
    const { first, step } = wanted(entry)
    const presence = store.presence(entry.root)
    // While too few are here the difference will do: a large entry is asked about after each of its segments.
    if (presence.heldCount < count) return count - presence.heldCount
    let held = 0
    for (const index of presence.indexes()) if (index < layout.segmentCount && index % step === first) held += 1
    return count - held
  }

  async function finish(entry: Entry, { signal }: { readonly signal: AbortSignal }): Promise<boolean> {
    if (isWhole(entry)) return true
    const running = finishing.get(entry.seq)
    if (running !== undefined) return await running
    if (missingCount(entry) > 0) return false
    const work = prove(entry, signal).finally(() => finishing.delete(entry.seq))
    finishing.set(entry.seq, work)
    return await work
  }

  /** The last wanted segment, cut to this entry's size, must still prove the root: then all behind it is padding. */
  async function prove(entry: Entry, signal: AbortSignal): Promise<boolean> {
    const layout = layoutOf(entry.sizeBytes)
    const { first, step } = wanted(entry)
    if (first < layout.segmentCount) {
      const last = first + Math.floor((layout.segmentCount - 1 - first) / step) * step
      const segment = await read(entry, last, { signal })
      try {
        if (segment === undefined) throw fail('SEGMENT_MISSING', { root: entry.root, index: last })
        await check({ root: entry.root, sizeBytes: entry.sizeBytes }, layout, segment, signal)
      } catch (error) {
        signal.throwIfAborted()
        logger.warn('entry.sizeRefused', { seq: entry.seq, root: entry.root, sizeBytes: entry.sizeBytes, error })
        return false
      }
    }
    // Not waited for: the mark says nothing that the store's rows do not say again after a crash, and a commit costs the sender
    // of a small object as much as the sync that it does need (docs/bench/put.md).
    marks
      .transaction([{ key: numberKey('whole', entry.seq), value: markOf(entry) }], { durability: 'written' })
      .catch((error: unknown) => logger.error('entry.markFailed', { seq: entry.seq, error }))
    return remember(entry, true)
  }

  async function check(file: FileClaim, layout: Layout, segment: ClaimedSegment, signal: AbortSignal): Promise<void> {
    const root = await kernels.segmentRoots(segment.data, { lastLeafCount: leafCountOf(layout, segment.index), signal })
    if (segment.leaf !== undefined && !equal(segment.leaf, root)) {
      throw failCore('SEGMENT_PROOF_INVALID', { root: file.root, index: segment.index, reason: 'leaf' })
    }
    checkSegment(file, segment, root)
  }

  async function read(
    entry: Entry,
    index: number,
    options: ReadOptions & { readonly signal: AbortSignal },
  ): Promise<ProvenSegment | undefined> {
    const layout = layoutIfAny(entry)
    if (layout === undefined || index >= layout.segmentCount) return undefined
    const stored = await readGood(entry.root, index, options)
    return stored && fitSegment(stored, index, layout)
  }

  /** Bytes that went bad are not held, from the first read on: whoever asks goes to another holder. */
  async function readGood(root: Root, index: number, options: ReadOptions): Promise<StoredSegment | undefined> {
    try {
      return await store.get(root, index, options)
    } catch (error) {
      if (isFailure(error, 'STORE_CORRUPT')) return undefined
      throw error
    }
  }

  async function unmark(root: Root): Promise<void> {
    const sharing = deps.entries.byRoot(root)
    // Said at once: until the rows are gone, a question meanwhile would find the old marks and remember them.
    for (const entry of sharing) remember(entry, false)
    const changes = sharing.map(({ seq }) => ({ key: numberKey('whole', seq), value: undefined }))
    await marks.transaction(changes, { durability: 'written' })
  }

  return {
    async put(file, segments, { signal }) {
      const layout = layoutOf(file.sizeBytes)
      // Sizes are compared before anything is hashed: a wrong one costs nothing.
      for (const segment of segments) {
        const expectedBytes = segmentDataSize(layout, segment.index)
        if (segment.data.length !== expectedBytes) {
          throw failCore('SEGMENT_SIZE_INVALID', {
            index: segment.index,
            dataBytes: segment.data.length,
            expectedBytes,
          })
        }
      }
      await Promise.all(segments.map((segment) => check(file, layout, segment, signal)))
      await store.put(file.root, segments, { signal })
    },
    read,
    has: (root, index) => store.presence(root).has(index),
    heldCount: (entry) => Math.min(store.presence(entry.root).heldCount, layoutIfAny(entry)?.segmentCount ?? 0),
    contiguousCount(entry) {
      const presence = store.presence(entry.root)
      const segmentCount = Math.min(presence.heldCount, layoutIfAny(entry)?.segmentCount ?? 0)
      // Every upload and download asks: what is whole is not counted again.
      if (wanted(entry).step === 1 && isWhole(entry)) return segmentCount
      let count = 0
      for (const index of presence.indexes()) {
        if (index !== count || count === segmentCount) break
        count += 1
      }
      return count
    },
    missingCount,
    isWhole,
    finish,
    async drop(root, { signal }) {
      await store.remove(root, { signal })
      await unmark(root)
    },
    async giveUp(root, indexes) {
      await store.removeSegments(root, indexes)
      return indexes.length * SEGMENT_SIZE_BYTES
    },
    unmark,
  }
}

type DataOfEntry = Pick<Entry, 'root' | 'sizeBytes' | 'startChunk'>

/** The bytes that an entry stands for: a root does not commit to the size. In `solo` the start decides which segments are wanted. */
function isSameData(a: DataOfEntry, b: DataOfEntry): boolean {
  return a.root === b.root && a.sizeBytes === b.sizeBytes && a.startChunk === b.startChunk
}

function markOf({ root, sizeBytes, startChunk }: Entry): Uint8Array {
  const numbers = new Uint8Array(16)
  new DataView(numbers.buffer).setBigUint64(0, BigInt(sizeBytes))
  new DataView(numbers.buffer).setBigUint64(8, BigInt(startChunk))
  return concat([fromHex(root), numbers])
}

/** Marks kept in memory: some 200 bytes each. */
const MARKS_MAX = 65_536
