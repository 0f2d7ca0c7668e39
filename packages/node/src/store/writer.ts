import { HASH_SIZE_BYTES, invariant, isFailure, PROOF_DEPTH_MAX, SEGMENT_SIZE_BYTES } from '@weightless/core'
import type { Clock, Disk, Failure, Index, IndexChange, Root, SegmentProof } from '@weightless/core'
import { createCounts } from './counts.ts'
import type { Crc32 } from './crc32.ts'
import { fail } from './errors.ts'
import { damagedKey, encodeMeta, encodePlace, metaKey, rootBytes, segmentKey } from './rows.ts'
import { encodeSlotHead, encodeTombstone, SLOT_CLASS_BYTES, slotClassOf, type SlotSegment } from './slot.ts'
import type { SlotFile, SlotFiles, SlotRecord } from './slotFiles.ts'
import { rangesOf, type SlotMap } from './slotMap.ts'

/** Stored as it is: what a segment must be is its putter's to prove. */
export type NewSegment = { readonly index: number; readonly data: Uint8Array; readonly proof: SegmentProof }

/** What the parts of an open store share. */
export type StoreCore = {
  readonly storeId: string
  readonly formatFile: SlotFile
  readonly index: Index
  readonly files: SlotFiles
  readonly slots: SlotMap
  readonly crc32: Crc32
  /** The last sequence number that was given out. */
  sequence: number
  /** Segments whose bytes went bad and that have not been put again. */
  damagedCount: number
  /** Throws what broke the store, if anything did. */
  checkUnbroken(): void
  /** No more writes, ever. Returns the failure that everybody gets: the first one. */
  breakDown(failure: Failure): Failure
  /** One at a time: changes of counts are read, changed and written. */
  inTurn<T>(work: () => Promise<T>): Promise<T>
}

export type Writer = {
  /** Writes those of the segments that are neither held nor being written by somebody else, and waits for those too.
   *  `failedElsewhere`: somebody else's write failed, so it is ours to try. Runs to its end once begun. */
  write(root: Root, segments: readonly NewSegment[]): Promise<'written' | 'failedElsewhere'>
  /** Resolves when no write of the root is under way. */
  settled(root: Root): Promise<void>
  /** Makes sure that no write that failed comes back after a crash. */
  flushStrays(): Promise<void>
  checkInPlace(files: readonly SlotFile[]): Promise<void>
  hasRoom(): Promise<boolean>
  close(how: 'flush' | 'leave'): Promise<void>
}
export type WriterOptions = {
  readonly disk: Disk
  readonly clock: Clock
  readonly directory: string
  readonly capacityBytes: number
  readonly freeBytesMin: number
  readonly reservedSlotCount: number
}

const FREE_CHECK_MS = 1_000
const LARGEST_SLOT_BYTES: number = Math.max(...SLOT_CLASS_BYTES)

/** Written, not yet synced; or synced, not yet in the index. */
type Unit = {
  readonly root: Uint8Array
  readonly segments: readonly (SlotRecord & { readonly segment: SlotSegment; readonly sequence: number })[]
  readonly touched: readonly SlotFile[]
  readonly resolve: () => void
  readonly reject: (failure: Failure) => void
}

export function createWriter(core: StoreCore, options: WriterOptions): Writer {
  const { index, files, slots } = core
  const underWay = new Map<Root, Map<number, Promise<void>>>()
  /** Files with tombstones over writes that failed, not flushed yet. */
  const strays = new Set<SlotFile>()
  let flushingStrays: Promise<void> = Promise.resolve()
  let plannedBytes = 0
  let free = { bytes: 0, atMs: -Infinity }
  let written: Unit[] = []
  let synced: Unit[] = []
  let isSyncing = false
  let isCommitting = false
  let checkpointing: Promise<void> | undefined

  async function write(root: Root, segments: readonly NewSegment[]): Promise<'written' | 'failedElsewhere'> {
    const bytesOfRoot = rootBytes(root)
    const running = underWay.get(root) ?? new Map<number, Promise<void>>()
    const fresh = new Map<number, SlotSegment>()
    const elsewhere: Promise<void>[] = []
    for (const { index: at, data, proof } of segments) {
      const other = running.get(at)
      if (other !== undefined) elsewhere.push(other)
      else if (!fresh.has(at) && index.get(segmentKey(bytesOfRoot, at)) === undefined)
        fresh.set(at, { root: bytesOfRoot, index: at, data, proof })
    }
    if (fresh.size > 0) {
      const own = writeFresh(bytesOfRoot, [...fresh.values()])
      underWay.set(root, running)
      for (const at of fresh.keys()) running.set(at, own)
      try {
        await own
      } finally {
        for (const at of fresh.keys()) running.delete(at)
        if (running.size === 0) underWay.delete(root)
      }
    }
    const others = await Promise.allSettled(elsewhere)
    return others.every(({ status }) => status === 'fulfilled') ? 'written' : 'failedElsewhere'
  }

  async function writeFresh(root: Uint8Array, segments: readonly SlotSegment[]): Promise<void> {
    let slotBytes = 0
    for (const segment of segments) slotBytes += SLOT_CLASS_BYTES[slotClassOf(segment)]!
    const usedBytes = slots.usedBytes() + plannedBytes
    if (usedBytes + slotBytes > options.capacityBytes) {
      throw fail('STORE_FULL', { usedBytes, neededBytes: slotBytes, capacityBytes: options.capacityBytes })
    }
    plannedBytes += slotBytes
    const records: Unit['segments'][number][] = []
    try {
      await checkFreeSpace(slotBytes)
      for (let classId = 0; classId < SLOT_CLASS_BYTES.length; classId++) {
        const ofClass = segments.filter((segment) => slotClassOf(segment) === classId)
        if (ofClass.length > 0) records.push(...(await place(classId, ofClass)))
      }
    } catch (cause) {
      for (const record of records) slots.abandon(record)
      throw isFailure(cause, 'STORE_FULL') ? cause : await classify(cause)
    } finally {
      plannedBytes -= slotBytes
    }
    let touched: readonly SlotFile[]
    try {
      touched = await files.write(records)
    } catch (cause) {
      const failure = await classify(cause)
      await disown(records)
      throw failure
    }
    await new Promise<void>((resolve, reject) => {
      written.push({ root, segments: records, touched, resolve, reject })
      void syncWritten()
    })
  }

  /** Some of these may have been written as a whole. Their put has failed, so no start may find them as segments. */
  async function disown(records: Unit['segments']): Promise<void> {
    for (const { classId, slot, sequence, segment } of records) {
      const tombstone = encodeTombstone({ classId, slot, sequence }, segment.root, core.crc32)
      await files.writeHead({ classId, slot }, tombstone).then(
        (file) => strays.add(file),
        // Where there is no room for a tombstone there was none for a segment.
        (error: unknown) =>
          isFailure(error, 'DISK_FULL') || core.breakDown(fail('STORE_WRITE_FAILED', {}, { cause: error })),
      )
      slots.abandon({ classId, slot })
    }
  }

  /** One after the other: who finds nothing to flush may find it being flushed. */
  function flushStrays(): Promise<void> {
    flushingStrays = flushingStrays.then(async () => {
      const flushed = [...strays]
      strays.clear()
      await files.sync(flushed)
    })
    return flushingStrays
  }

  /** Gives segments their slots and sequence numbers. */
  async function place(classId: number, segments: readonly SlotSegment[]): Promise<Unit['segments'][number][]> {
    let taken = slots.take(classId, segments.length)
    while (taken === undefined) {
      await reserve(classId, segments.length)
      core.checkUnbroken()
      taken = slots.take(classId, segments.length)
    }
    // The next reservation is made while this one still has slots, so that nobody waits for it.
    if (slots.takeable(classId) < options.reservedSlotCount / 2 && checkpointing === undefined)
      void reserve(classId, 0).catch(() => undefined)
    return taken.map((slot, i) => {
      const segment = segments[i]!
      const sequence = ++core.sequence
      return {
        classId,
        slot,
        sequence,
        segment,
        head: encodeSlotHead(segment, { classId, slot, sequence }, core.crc32),
        data: segment.data,
      }
    })
  }

  /** Makes a reservation durable; or waits for one that is being made. */
  function reserve(classId: number, countMin: number): Promise<void> {
    checkpointing ??= checkpoint(classId, Math.max(countMin, options.reservedSlotCount)).finally(
      () => (checkpointing = undefined),
    )
    return checkpointing
  }

  async function checkpoint(classId: number, count: number): Promise<void> {
    const kept = slots.liveReservations()
    const chosen = slots.choose(classId, count)
    const base = core.sequence
    const reserved = [...kept, { classId, base, ranges: rangesOf(chosen) }]
    try {
      await files.prepare(classId, chosen)
      // Slots whose reservation ends here are looked at no more.
      await flushStrays()
      await index.transaction([metaChange({ reserved })], { durability: 'synced' })
    } catch (cause) {
      slots.unchoose(classId, chosen)
      throw isFailure(cause, 'DISK_FULL') ? cause : await classify(cause)
    }
    slots.reserve(classId, chosen, base)
  }

  function metaChange({ reserved }: { readonly reserved: Parameters<typeof encodeMeta>[0]['reserved'] }): IndexChange {
    return { key: metaKey, value: encodeMeta({ storeId: core.storeId, sequence: core.sequence, reserved }) }
  }

  async function lookAtFreeSpace(): Promise<void> {
    free = { bytes: await options.disk.free(options.directory), atMs: options.clock.nowMs() }
  }

  async function checkFreeSpace(neededBytes: number): Promise<void> {
    const isOld = options.clock.nowMs() - free.atMs >= FREE_CHECK_MS
    if (isOld || free.bytes - neededBytes < options.freeBytesMin) await lookAtFreeSpace()
    if (free.bytes - neededBytes < options.freeBytesMin) {
      throw fail('STORE_FULL', { freeBytes: free.bytes, neededBytes, freeBytesMin: options.freeBytesMin })
    }
    free.bytes -= neededBytes
  }

  /** A sync starts when the last one has ended, and takes all that was written meanwhile. */
  async function syncWritten(): Promise<void> {
    if (isSyncing) return
    isSyncing = true
    while (written.length > 0) {
      const units = written
      written = []
      try {
        // After one failed sync no other means anything: the kernel may call pages clean that it could not write.
        core.checkUnbroken()
        await files.sync(units.flatMap(({ touched }) => touched))
        synced.push(...units)
        void commitSynced()
      } catch (cause) {
        const failure = core.breakDown(fail('STORE_SYNC_FAILED', {}, { cause }))
        for (const unit of units) unit.reject(failure)
      }
    }
    isSyncing = false
  }

  async function commitSynced(): Promise<void> {
    if (isCommitting) return
    isCommitting = true
    while (synced.length > 0) {
      const units = synced
      synced = []
      try {
        await checkInPlace(units.flatMap(({ touched }) => touched))
        await core.inTurn(async () => {
          const changes = rowsOf(units)
          await index.transaction(changes, { durability: 'written' })
          core.damagedCount -= changes.filter(isRepair).length
        })
        for (const unit of units) {
          for (const record of unit.segments) slots.settle(record)
          unit.resolve()
        }
      } catch (cause) {
        if (isFailure(cause, 'DISK_FULL')) {
          const failure = await classify(cause)
          for (const unit of units) {
            await disown(unit.segments)
            unit.reject(failure)
          }
          continue
        }
        const failure = core.breakDown(
          isFailure(cause, 'STORE_DIRECTORY_GONE') ? cause : fail('STORE_INDEX_FAILED', {}, { cause }),
        )
        for (const unit of units) unit.reject(failure)
      }
    }
    isCommitting = false
  }

  function rowsOf(units: readonly Unit[]): IndexChange[] {
    const counts = createCounts(index)
    const changes: IndexChange[] = []
    for (const { root, segments } of units) {
      for (const { classId, slot, sequence, segment } of segments) {
        const dataBytes = segment.data.length
        const value = encodePlace({ classId, slot, sequence, dataBytes, depth: segment.proof.siblings.length })
        changes.push({ key: segmentKey(root, segment.index), value })
        counts.add({ root, dataBytes })
        if (core.damagedCount > 0 && index.get(damagedKey(root, segment.index)) !== undefined)
          changes.push({ key: damagedKey(root, segment.index), value: undefined })
      }
    }
    return [...changes, ...counts.changes()]
  }

  async function checkInPlace(touched: readonly SlotFile[]): Promise<void> {
    if (await files.areInPlace(new Set([core.formatFile, ...touched]))) return
    throw core.breakDown(fail('STORE_DIRECTORY_GONE'))
  }

  /** What a failed write means. No room is a matter of the moment; anything else ends the writing. */
  async function classify(cause: unknown): Promise<Failure> {
    if (isFailure(cause, 'DISK_FULL')) return fail('STORE_FULL', { reason: 'no room on the disk' }, { cause })
    if (isFailure(cause) && cause.code.startsWith('STORE_')) return cause
    const isInPlace = await files.areInPlace([core.formatFile]).catch(() => true)
    if (!isInPlace) return core.breakDown(fail('STORE_DIRECTORY_GONE'))
    return core.breakDown(
      fail(isFailure(cause, 'INDEX_FAILED') ? 'STORE_INDEX_FAILED' : 'STORE_WRITE_FAILED', {}, { cause }),
    )
  }

  return {
    write,
    settled: async (root) => {
      const running = underWay.get(root)
      if (running !== undefined) await Promise.allSettled(running.values())
    },
    flushStrays,
    checkInPlace,
    hasRoom: async () => {
      if (slots.usedBytes() + plannedBytes + LARGEST_SLOT_BYTES > options.capacityBytes) return false
      if (options.clock.nowMs() - free.atMs >= FREE_CHECK_MS) await lookAtFreeSpace()
      return free.bytes - LARGEST_SLOT_BYTES >= options.freeBytesMin
    },
    close: async (how) => {
      await Promise.allSettled([...underWay.values()].flatMap((running) => [...running.values()]))
      await checkpointing?.catch(() => undefined)
      if (how === 'leave') return
      // Nothing is under way, so the next start has no slots to look at.
      await flushStrays()
      try {
        await index.transaction([metaChange({ reserved: [] })], { durability: 'synced' })
      } catch (cause) {
        // Without it the next start looks at the reserved slots, as after a crash.
        if (!isFailure(cause, 'DISK_FULL')) throw cause
      }
    },
  }
}

/** Only the row of a damage is removed by a put. */
const isRepair = ({ value }: IndexChange): boolean => value === undefined

/** Bytes of payload. Our callers have checked what came from outside. */
export function checkSegmentShape({ index, data, proof }: NewSegment): number {
  invariant(Number.isInteger(index) && index >= 0 && index < 2 ** 32, 'a segment index has 32 bits')
  invariant(data.length >= 1 && data.length <= SEGMENT_SIZE_BYTES, 'a segment has 1 to 262144 bytes')
  invariant(
    proof.siblings.length === proof.lefts.length && proof.lefts.length <= PROOF_DEPTH_MAX,
    'a proof has as many sides as siblings',
  )
  invariant(
    proof.siblings.every((sibling) => sibling.length === HASH_SIZE_BYTES),
    'a sibling has 32 bytes',
  )
  return data.length
}
