import { invariant, isFailure, rootOf } from '@weightless/core'
import type { Abortable, Clock, Disk, Failure, Index, Logger, Root } from '@weightless/core'
import { createAdmission } from './admission.ts'
import { crc32 as plainCrc32, type Crc32 } from './crc32.ts'
import { fail } from './errors.ts'
import { openFormat } from './formatFile.ts'
import { createReader, type StoredSegment } from './reader.ts'
import { recover } from './recover.ts'
import { buryPlaces, removeRows, removeSegments, type RemovedRows } from './removal.ts'
import {
  allRoots,
  damagedSegments,
  damageOf,
  encodeRemoval,
  readRootCount,
  removalKey,
  rootBytes,
  segmentIndexOf,
  segmentKey,
  segmentsOf,
} from './rows.ts'
import { createSlotFiles, type TakeMemory } from './slotFiles.ts'
import { checkSegmentShape, createWriter, type NewSegment, type StoreCore } from './writer.ts'

/** Segments by (root, index), on disk for good once `put` has resolved (DESIGN D5). The files and the rows of the index are one
 *  store's alone; the index may hold other rows beside them. */
export type SegmentStore = AsyncDisposable & {
  /** Resolves when the segments are synced and in the index; those held already cost nothing. The data must not change until
   *  then. Waits when too much is being written. After its writes have begun it ends by itself, whatever the signal says.
   *  Throws `STORE_FULL`, or why the store takes no more writes. */
  put(root: Root, segments: readonly NewSegment[], options?: Abortable): Promise<void>
  /** Views into one buffer, of its own or from `take`, which may be called more than once. `undefined` when the segment is not held. Throws `STORE_CORRUPT` when its checksum does
   *  not fit: from then on it is not held, and may be put again. */
  get(root: Root, index: number, options?: ReadOptions): Promise<StoredSegment | undefined>
  /** Counts a segment that cannot be read as one whose bytes went bad. For who has seen that its disk reads others well. */
  disown(root: Root, index: number): Promise<void>
  presence(root: Root): Presence
  /** Resolves when all segments of the root are gone for good. Puts of the same root that have not ended come before or after,
   *  each as a whole; what is put once this has resolved stays. */
  remove(root: Root, options?: Abortable): Promise<void>
  /** Resolves when these segments of the root are gone for good; they are not held from the call on. A put of one of them that has
   *  not ended comes before or after, each segment by itself. At most `REMOVED_SEGMENTS_MAX` of them. Throws `STORE_FULL` when nothing of it could be written down: then all
   *  that is left is held as before. */
  removeSegments(root: Root, indexes: readonly number[], options?: Abortable): Promise<void>
  usage(): Usage
  /** Whether a whole segment would find room now, by capacity and by the file system, looked at once a second. */
  hasRoom(options?: Abortable): Promise<boolean>
  roots(): Iterable<Root>
  /** Segments whose bytes went bad: not held until they are put again, which forgets the damage. */
  damaged(): Iterable<{ readonly root: Root; readonly index: number }>
  /** Throws `STORE_DIRECTORY_GONE` when the directory was deleted or replaced since it was opened. */
  checkDirectory(options?: Abortable): Promise<void>
  /** Lets what has begun end, and flushes the index. The index itself stays open. */
  close(): Promise<void>
}

export type Presence = {
  readonly heldCount: number
  has(index: number): boolean
  /** Indexes held, rising. */
  indexes(): Iterable<number>
}
export type Usage = {
  readonly segmentCount: number
  readonly usedBytes: number
  readonly capacityBytes: number
  readonly readOnly: boolean
  /** The code of what made the store read-only. */
  readonly brokenBy: string | null
  /** Segments whose bytes went bad and that have not been put again. */
  readonly damagedCount: number
}

export type ReadOptions = Abortable & { readonly take?: TakeMemory | undefined }

export type SegmentStoreOptions = {
  readonly dataDir: string
  /** Bytes of slots, not of files: what is stored takes at most this, and its index about 100 bytes a segment. */
  readonly capacityBytes: number
  /** Left free on the file system for the index, the logs and everybody else. */
  readonly freeBytesMin?: number | undefined
  readonly pendingBytesMax?: number | undefined
  /** Slots of a class that are made ready at a time: what is read again after a crash. */
  readonly reservedSlotCount?: number | undefined
  /** The store has stopped taking writes for good; reads go on. With `STORE_DIRECTORY_GONE` the process should end. */
  readonly onFatal?: ((failure: Failure) => void) | undefined
  /** A segment that was held is held no more, because its bytes went bad. */
  readonly onLost?: ((lost: { readonly root: Root; readonly index: number }) => void) | undefined
}
export type SegmentStoreDeps = {
  readonly disk: Disk
  readonly index: Index
  readonly clock: Clock
  readonly logger: Logger
  /** Default: the plain twin; hosts have a faster one. */
  readonly crc32?: Crc32 | undefined
}

const FREE_BYTES_MIN: number = 128 * 1024 ** 2
/** Sixteen batches of our own clients; as much as a slow disk writes in a second. */
const PENDING_BYTES_MAX: number = 64 * 1024 ** 2
/** Segments removed at once: 64 MiB of the largest class, and as many rows as are looked at to say what is held meanwhile. */
export const REMOVED_SEGMENTS_MAX = 256
/** How soon a promised removal looks whether a full disk has room again. */
const ROOM_POLL_MS = 1_000
/** 65 MiB of the largest class, read within a second; a checkpoint per 65 MiB costs nothing beside their writing. */
const RESERVED_SLOT_COUNT = 256

/** Opens a store, makes it if nothing is there, and brings its index up to its slots. Throws `STORE_FORMAT_*`,
 *  or what the disk throws. */
export async function createSegmentStore(
  options: SegmentStoreOptions,
  deps: SegmentStoreDeps,
  { signal }: Abortable = {},
): Promise<SegmentStore> {
  signal?.throwIfAborted()
  const { disk, index, logger } = deps
  const crc32 = deps.crc32 ?? plainCrc32
  const { storeId, formatFile } = await openFormat(options.dataDir, deps)
  const files = createSlotFiles(options.dataDir, disk)
  const closeFiles = async (): Promise<void> => {
    await files.close()
    await formatFile.file.close()
  }
  const found = await recover(storeId, { ...deps, files, crc32 }, { signal }).catch(async (error: unknown) => {
    await closeFiles()
    throw error
  })

  let broken: Failure | undefined
  let isClosed = false
  const closed = new AbortController()
  let turn: Promise<unknown> = Promise.resolve()
  const core: StoreCore = {
    storeId,
    formatFile,
    index,
    files,
    slots: found.slots,
    crc32,
    sequence: found.sequence,
    damagedCount: [...damagedSegments(index)].length,
    checkUnbroken() {
      if (broken !== undefined) throw broken
    },
    breakDown(failure) {
      if (broken !== undefined) return broken
      broken = failure
      logger.error('store.readOnly', { code: failure.code, next: failure.next, cause: failure.cause })
      options.onFatal?.(failure)
      return failure
    },
    inTurn(work) {
      const done = turn.then(work)
      turn = done.catch(() => undefined)
      return done
    },
  }
  const checkWritable = (): void => {
    if (isClosed) throw fail('STORE_CLOSED')
    core.checkUnbroken()
  }
  const removing = new Map<Root, Promise<void>>()
  /** Segments on their way out, each as often as it was asked for. */
  const leaving = new Map<Root, Map<number, number>>()
  const departures = new Set<Promise<void>>()
  const admission = createAdmission(options.pendingBytesMax ?? PENDING_BYTES_MAX)
  const writer = createWriter(core, {
    ...deps,
    directory: options.dataDir,
    capacityBytes: options.capacityBytes,
    freeBytesMin: options.freeBytesMin ?? FREE_BYTES_MIN,
    reservedSlotCount: options.reservedSlotCount ?? RESERVED_SLOT_COUNT,
  })
  const isHidden = (root: Root, segmentIndex: number): boolean =>
    removing.has(root) || leaving.get(root)?.has(segmentIndex) === true
  const reader = createReader(core, { isHidden, onLost: options.onLost, logger })

  async function put(root: Root, segments: readonly NewSegment[], { signal }: Abortable = {}): Promise<void> {
    let sizeBytes = 0
    for (const segment of segments) sizeBytes += checkSegmentShape(segment)
    for (;;) {
      signal?.throwIfAborted()
      checkWritable()
      const removal = removing.get(root)
      if (removal !== undefined) {
        await untilSettledOrAborted(removal, { signal })
        continue
      }
      const leave = await admission.enter(sizeBytes, { signal })
      try {
        if (removing.has(root)) continue
        checkWritable()
        if ((await writer.write(root, segments)) === 'written') return
      } finally {
        leave()
      }
    }
  }

  async function remove(root: Root): Promise<void> {
    const bytes = rootBytes(root)
    await writer.settled(root)
    // Their rows are gone, their slots not yet: nothing of this root may come back from these.
    await Promise.allSettled(departures)
    core.checkUnbroken()
    let isPromised = false
    try {
      await writer.flushStrays()
      if (readRootCount(index, bytes).heldCount === 0 && damageOf(index, bytes).length === 0) return
      const removal = { root: bytes, sequence: ++core.sequence }
      // From this row on the segments are gone, whatever happens; the rest gives their slots back.
      const row = { key: removalKey(bytes), value: encodeRemoval(removal.sequence) }
      await core.inTurn(() => index.transaction([row], { durability: 'synced' }))
      isPromised = true
      while ((await onceThereIsRoom(() => core.inTurn(() => removeSegments(removal, core)))) === 'more');
      await writer.checkInPlace([])
      if (core.damagedCount > 0)
        await core.inTurn(async () => void (core.damagedCount = [...damagedSegments(index)].length))
      logger.debug('store.removed', { root })
    } catch (cause) {
      if (!isPromised && isFailure(cause, 'DISK_FULL')) throw fail('STORE_FULL', { operation: 'remove' }, { cause })
      // The next start ends what was promised.
      if (isClosed && isFailure(cause, 'DISK_FULL')) throw fail('STORE_CLOSED', {}, { cause })
      throw core.breakDown(
        isFailure(cause, 'STORE_DIRECTORY_GONE')
          ? cause
          : fail('STORE_WRITE_FAILED', { operation: 'remove' }, { cause }),
      )
    }
  }

  async function removeSome(root: Root, indexes: readonly number[]): Promise<void> {
    const bytes = rootBytes(root)
    const show = hide(root, indexes)
    let removed: RemovedRows | undefined
    try {
      // A write that failed must not come back in their place.
      await writer.flushStrays()
      removed = await core.inTurn(() => removeRows(bytes, indexes, core))
      // What is put from now on stays.
      show()
      const { places, damagedCount } = removed
      core.damagedCount -= damagedCount
      const burial = { root: bytes, sequence: ++core.sequence }
      await onceThereIsRoom(() => buryPlaces(burial, places, core))
      for (const place of places) core.slots.release(place)
      await writer.checkInPlace([])
      logger.debug('store.segmentsRemoved', { root, count: places.length })
    } catch (cause) {
      show()
      if (removed === undefined && isFailure(cause, 'DISK_FULL'))
        throw fail('STORE_FULL', { operation: 'remove' }, { cause })
      if (isClosed && isFailure(cause, 'DISK_FULL')) throw fail('STORE_CLOSED', {}, { cause })
      throw core.breakDown(
        isFailure(cause, 'STORE_DIRECTORY_GONE')
          ? cause
          : fail('STORE_WRITE_FAILED', { operation: 'remove' }, { cause }),
      )
    }
  }

  /** Nobody is told of segments that are gone the next moment. The function that is given shows them again, once. */
  function hide(root: Root, indexes: readonly number[]): () => void {
    const counts = leaving.get(root) ?? new Map<number, number>()
    leaving.set(root, counts)
    for (const at of indexes) counts.set(at, (counts.get(at) ?? 0) + 1)
    let isHiding = true
    return () => {
      if (!isHiding) return
      isHiding = false
      for (const at of indexes) {
        const left = counts.get(at)! - 1
        if (left > 0) counts.set(at, left)
        else counts.delete(at)
      }
      if (counts.size === 0) leaving.delete(root)
    }
  }

  /** What is promised waits for room; nobody is told that it failed, because it will be done. */
  async function onceThereIsRoom<T>(work: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await work()
      } catch (cause) {
        if (isClosed || !isFailure(cause, 'DISK_FULL')) throw cause
        await deps.clock.sleep(ROOM_POLL_MS, { signal: closed.signal }).catch(() => undefined)
      }
    }
  }

  async function close(): Promise<void> {
    isClosed = true
    closed.abort()
    await Promise.allSettled([...removing.values(), ...departures])
    await writer.close(broken === undefined ? 'flush' : 'leave')
    await reader.settled()
    await closeFiles()
  }
  let closing: Promise<void> | undefined
  const closeOnce = (): Promise<void> => (closing ??= close())

  return {
    put,
    get: async (root, segmentIndex, { signal, take } = {}) => {
      signal?.throwIfAborted()
      if (isClosed) throw fail('STORE_CLOSED')
      return reader.read(root, segmentIndex, take)
    },
    disown: async (root, segmentIndex) => {
      checkWritable()
      await reader.disown(root, segmentIndex)
    },
    presence(root) {
      const bytes = rootBytes(root)
      const isRemoved = removing.has(root)
      const isThere = (segmentIndex: number): boolean => index.get(segmentKey(bytes, segmentIndex)) !== undefined
      let heldCount = isRemoved ? 0 : readRootCount(index, bytes).heldCount
      if (!isRemoved) for (const at of leaving.get(root)?.keys() ?? []) heldCount -= Number(isThere(at))
      return {
        heldCount,
        has: (segmentIndex) => !isHidden(root, segmentIndex) && isThere(segmentIndex),
        *indexes() {
          if (isRemoved) return
          for (const { key } of segmentsOf(index, bytes)) {
            const segmentIndex = segmentIndexOf(key)
            if (!isHidden(root, segmentIndex)) yield segmentIndex
          }
        },
      }
    },
    remove: async (root, { signal } = {}) => {
      signal?.throwIfAborted()
      checkWritable()
      const running = removing.get(root)
      if (running !== undefined) return running
      const removal = remove(root).finally(() => removing.delete(root))
      removing.set(root, removal)
      return removal
    },
    removeSegments: async (root, indexes, { signal } = {}) => {
      signal?.throwIfAborted()
      checkWritable()
      invariant(indexes.length <= REMOVED_SEGMENTS_MAX, 'a removal of segments is one short round')
      const departure = removeSome(root, indexes)
      departures.add(departure)
      try {
        await departure
      } finally {
        departures.delete(departure)
      }
    },
    usage: () => ({
      segmentCount: core.slots.usedSlotCount(),
      usedBytes: core.slots.usedBytes(),
      capacityBytes: options.capacityBytes,
      readOnly: broken !== undefined,
      brokenBy: broken?.code ?? null,
      damagedCount: core.damagedCount,
    }),
    hasRoom: async ({ signal } = {}) => {
      signal?.throwIfAborted()
      return await writer.hasRoom()
    },
    *damaged() {
      for (const damage of damagedSegments(index)) {
        const root = rootOf(damage.root)
        if (!removing.has(root)) yield { root, index: damage.index }
      }
    },
    *roots() {
      for (const root of allRoots(index)) if (!removing.has(root)) yield root
    },
    checkDirectory: async ({ signal } = {}) => {
      signal?.throwIfAborted()
      await writer.checkInPlace([])
    },
    close: closeOnce,
    [Symbol.asyncDispose]: closeOnce,
  }
}

export type { NewSegment } from './writer.ts'
export type { StoredSegment } from './reader.ts'

async function untilSettledOrAborted(work: Promise<unknown>, { signal }: Abortable): Promise<void> {
  invariant(!signal?.aborted, 'an aborted caller does not wait')
  let onAbort: () => void = () => undefined
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal!.reason)
    signal?.addEventListener('abort', onAbort, { once: true })
  })
  try {
    await Promise.race([work.catch(() => undefined), aborted])
  } finally {
    signal?.removeEventListener('abort', onAbort)
  }
}
