import { equal, toHex } from '@weightless/core'
import type { Abortable, Clock, Index, IndexChange, Logger } from '@weightless/core'
import { createCounts } from './counts.ts'
import type { Crc32 } from './crc32.ts'
import { removeSegments } from './removal.ts'
import {
  allSegments,
  areRowsWhole,
  clearance,
  damagedKey,
  decodePlace,
  encodeMeta,
  encodePlace,
  encodeRootCount,
  metaKey,
  readMeta,
  removals,
  rootBytesOf,
  rootKey,
  segmentKey,
  type Meta,
} from './rows.ts'
import { decodeSlot, parseSlotHeader, PAGE_BYTES, recordBytes, type SlotAddress, type SlotHeader } from './slot.ts'
import { FILE_SLOTS, type SlotFile, type SlotFiles, type SlotRecord } from './slotFiles.ts'
import { createSlotMap, type SlotMap } from './slotMap.ts'

export type RecoverDeps = {
  readonly index: Index
  readonly files: SlotFiles
  readonly crc32: Crc32
  readonly clock: Clock
  readonly logger: Logger
}
export type Recovered = { readonly slots: SlotMap; readonly sequence: number }

/** Brings the index up to the slots. After a clean end nothing is missing; after a crash the slots that were reserved at the
 *  last checkpoint are read; without an index, or with that of another store, all slots are. Afterwards the index is flushed
 *  and every segment that it names is on disk. */
export async function recover(storeId: string, deps: RecoverDeps, options: Abortable): Promise<Recovered> {
  const startedMs = deps.clock.nowMs()
  const meta = readMeta(deps.index)
  let how: 'index' | 'slots' = 'index'
  const rows = meta?.storeId === storeId ? await readRows(deps) : undefined
  const slots = rows?.slots ?? createSlotMap()
  let found: Found
  if (meta !== undefined && rows !== undefined) {
    await finishRemovals(rows, deps)
    found = await readReserved(meta, rows, deps, options)
  } else {
    how = 'slots'
    await clear(deps.index, options)
    found = await readAll(slots, deps, options)
  }
  // What is found may still be in the page cache only (the process died, the machine did not). Once it is in the index it
  // counts as stored, so it is made durable first.
  await deps.files.sync(found.files)
  const next: Meta = { storeId, sequence: found.sequence, reserved: [] }
  await deps.index.transaction([...found.changes, { key: metaKey, value: encodeMeta(next) }], { durability: 'synced' })
  const ms = deps.clock.nowMs() - startedMs
  deps.logger.info('store.opened', {
    from: how,
    segmentCount: slots.usedSlotCount(),
    recoveredCount: found.count,
    sequence: found.sequence,
    ms,
  })
  return { slots, sequence: found.sequence }
}

type Found = {
  readonly changes: IndexChange[]
  readonly files: Set<SlotFile>
  readonly sequence: number
  readonly count: number
}

type Rows = { readonly slots: SlotMap; /** The highest that is known. */ sequence: number }

/** `undefined` when a row is not as this store writes it, names no slot, or one that another names: then the index is not to be
 *  trusted. */
async function readRows({ index, files }: RecoverDeps): Promise<Rows | undefined> {
  if (!areRowsWhole(index)) return undefined
  const slotCounts = new Map<string, number>()
  for (const { classId, fileNumber, slotCount } of await files.list())
    slotCounts.set(`${classId}:${fileNumber}`, slotCount)
  const slots = createSlotMap()
  let sequence = 0
  for (const { place } of allSegments(index)) {
    const slotCount = slotCounts.get(`${place.classId}:${Math.floor(place.slot / FILE_SLOTS)}`) ?? 0
    if (place.slot % FILE_SLOTS >= slotCount || !slots.occupy(place)) return undefined
    sequence = Math.max(sequence, place.sequence)
  }
  return { slots, sequence }
}

/** Removals that were promised and not ended. Before anything is added: a root may have been stored again since. */
async function finishRemovals(rows: Rows, deps: RecoverDeps): Promise<void> {
  const unfinished = Array.from(removals(deps.index))
  for (const removal of unfinished) {
    rows.sequence = Math.max(rows.sequence, removal.sequence)
    while ((await removeSegments(removal, { ...deps, slots: rows.slots })) === 'more');
  }
}

async function readReserved(meta: Meta, rows: Rows, deps: RecoverDeps, options: Abortable): Promise<Found> {
  const { index } = deps
  let sequence = Math.max(meta.sequence, rows.sequence)
  const newest = new Map<string, SlotHeader>()
  const files = new Set<SlotFile>()
  for (const { at, base } of reservedSlots(meta)) {
    options.signal?.throwIfAborted()
    if (rows.slots.isOccupied(at)) continue
    const found = await readSegment(at, deps)
    if (found === undefined) continue
    const { header } = found
    sequence = Math.max(sequence, header.sequence)
    // At or below the base it is what the slot held before it was reserved.
    if (header.sequence <= base) continue
    const key = segmentKey(header.root, header.index)
    const known = index.get(key)
    const rival = newest.get(toHex(key)) ?? (known && decodePlace(known))
    if (rival !== undefined && rival.sequence >= header.sequence) continue
    // Written again, the bytes are sure to be flushed below: after a failed sync, whose process ended, pages may look clean
    // that never reached the disk.
    for (const file of await deps.files.write([found.record])) files.add(file)
    newest.set(toHex(key), header)
  }
  const counts = createCounts(index)
  const changes: IndexChange[] = []
  for (const header of newest.values()) {
    const known = index.get(segmentKey(header.root, header.index))
    if (known !== undefined) {
      const old = decodePlace(known)
      rows.slots.release(old)
      counts.subtract({ root: header.root, dataBytes: old.dataBytes })
    }
    rows.slots.occupy(header)
    changes.push(placed(header))
    const damage = damagedKey(header.root, header.index)
    if (index.get(damage) !== undefined) changes.push({ key: damage, value: undefined })
    counts.add(header)
  }
  return { changes: [...changes, ...counts.changes()], files, sequence, count: newest.size }
}

function* reservedSlots(meta: Meta): Iterable<{ readonly at: SlotAddress; readonly base: number }> {
  const bases = new Map<string, { at: SlotAddress; base: number }>()
  for (const { classId, base, ranges } of meta.reserved) {
    for (const [from, count] of ranges) {
      for (let slot = from; slot < from + count; slot++) {
        // A slot that was removed may be reserved again: the newer reservation says what is old.
        const key = `${classId}:${slot}`
        if ((bases.get(key)?.base ?? -1) < base) bases.set(key, { at: { classId, slot }, base })
      }
    }
  }
  yield* bases.values()
}

/** Rows at a time while all slots are read: bounds the memory of a rebuild. */
const REBUILD_ROWS = 4096

async function readAll(slots: SlotMap, deps: RecoverDeps, options: Abortable): Promise<Found> {
  const { index } = deps
  const files = new Set<SlotFile>()
  let sequence = 0
  let count = 0
  let changes: IndexChange[] = []
  let batch = new Map<string, SlotHeader>()
  const flush = async (): Promise<void> => {
    await index.transaction(changes, { durability: 'written' })
    changes = []
    batch = new Map()
  }
  for (const { classId, fileNumber, slotCount } of await deps.files.list()) {
    for (let i = 0; i < slotCount; i++) {
      options.signal?.throwIfAborted()
      const segment = await readSegment({ classId, slot: fileNumber * FILE_SLOTS + i }, deps)
      if (segment === undefined) continue
      const { header } = segment
      sequence = Math.max(sequence, header.sequence)
      const key = segmentKey(header.root, header.index)
      const known = index.get(key)
      const rival = batch.get(toHex(key)) ?? (known && decodePlace(known))
      if (rival !== undefined && rival.sequence > header.sequence) continue
      if (rival !== undefined) slots.release(rival)
      else count += 1
      slots.occupy(header)
      for (const file of await deps.files.filesOf([header])) files.add(file)
      batch.set(toHex(key), header)
      changes.push(placed(header))
      if (changes.length >= REBUILD_ROWS) await flush()
    }
  }
  await flush()
  return { changes: await countAll(index), files, sequence, count }
}

/** Writes the counts of all roots from the rows of their segments; the last page is left to the caller. */
async function countAll(index: Index): Promise<IndexChange[]> {
  let changes: IndexChange[] = []
  let root: Uint8Array | undefined
  let [heldCount, usedBytes] = [0, 0]
  for (const { key, place } of allSegments(index)) {
    const next = rootBytesOf(key)
    if (root !== undefined && !equal(root, next)) {
      changes.push({ key: rootKey(root), value: encodeRootCount({ heldCount, usedBytes }) })
      heldCount = usedBytes = 0
      if (changes.length >= REBUILD_ROWS) {
        await index.transaction(changes, { durability: 'written' })
        changes = []
      }
    }
    root = next
    heldCount += 1
    usedBytes += place.dataBytes
  }
  if (root !== undefined) changes.push({ key: rootKey(root), value: encodeRootCount({ heldCount, usedBytes }) })
  return changes
}

async function clear(index: Index, options: Abortable): Promise<void> {
  for (;;) {
    options.signal?.throwIfAborted()
    const changes = clearance(index, REBUILD_ROWS)
    if (changes.length === 0) return
    // The meta row is the first: from its flush on, the index counts as lost until the rebuild has ended.
    await index.transaction(changes, { durability: 'synced' })
  }
}

/** A whole segment with a checksum that fits, in the slot that its header names. */
async function readSegment(
  at: SlotAddress,
  deps: RecoverDeps,
): Promise<{ readonly header: SlotHeader; readonly record: SlotRecord } | undefined> {
  const start = await deps.files.read(at, PAGE_BYTES)
  const header = parseSlotHeader(start)
  if (header === undefined || header.kind !== 'segment' || header.classId !== at.classId || header.slot !== at.slot)
    return undefined
  const sizeBytes = recordBytes(header.dataBytes, header.depth)
  const bytes = sizeBytes <= start.length ? start.subarray(0, sizeBytes) : await deps.files.read(at, sizeBytes)
  const segment = decodeSlot(bytes, header, deps.crc32)
  if (segment === undefined) return undefined
  return { header, record: { ...at, head: bytes.subarray(0, bytes.length - segment.data.length), data: segment.data } }
}

function placed(header: SlotHeader): IndexChange {
  const { classId, slot, sequence, dataBytes, depth } = header
  return {
    key: segmentKey(header.root, header.index),
    value: encodePlace({ classId, slot, sequence, dataBytes, depth }),
  }
}
