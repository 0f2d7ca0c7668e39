import { isFailure } from '@weightless/core'
import type { Logger, Root, SegmentProof } from '@weightless/core'
import { createCounts } from './counts.ts'
import { fail } from './errors.ts'
import { damagedKey, decodePlace, rootBytes, segmentKey, type Place } from './rows.ts'
import { decodeSlot, parseSlotHeader, recordBytes } from './slot.ts'
import type { TakeMemory } from './slotFiles.ts'
import type { StoreCore } from './writer.ts'

export type StoredSegment = { readonly data: Uint8Array; readonly proof: SegmentProof }

export type Reader = {
  read(root: Root, index: number, take?: TakeMemory): Promise<StoredSegment | undefined>
  /** Counts a segment as gone bad whose slot cannot be read. */
  disown(root: Root, index: number): Promise<void>
  /** Resolves when no read is under way. */
  settled(): Promise<void>
}
export type ReaderOptions = {
  readonly isHidden: (root: Root, index: number) => boolean
  readonly onLost: ((lost: { readonly root: Root; readonly index: number }) => void) | undefined
  readonly logger: Logger
}

/** A slot that changes under a read was removed or moved meanwhile: each try means one such event. */
const READ_ATTEMPTS_MAX = 8

export function createReader(core: StoreCore, options: ReaderOptions): Reader {
  const reads = new Set<Promise<unknown>>()

  const placeOf = (root: Root, index: number, key: Uint8Array): Place | undefined => {
    const value = options.isHidden(root, index) ? undefined : core.index.get(key)
    return value === undefined ? undefined : decodePlace(value)
  }

  async function read(root: Root, index: number, take?: TakeMemory): Promise<StoredSegment | undefined> {
    const bytesOfRoot = rootBytes(root)
    const key = segmentKey(bytesOfRoot, index)
    let place = placeOf(root, index, key)
    for (let attempt = 0; place !== undefined && attempt < READ_ATTEMPTS_MAX; attempt++) {
      const segment = await readPlace(place, take)
      if (segment !== undefined) return segment
      // A slot may be overwritten only after its row is gone, so a row that stays the same means bad bytes.
      const now = placeOf(root, index, key)
      if (now !== undefined && now.sequence === place.sequence) {
        await lose(root, index, place).catch((error: unknown) =>
          options.logger.warn('store.loseFailed', { root, index, error }),
        )
        throw fail('STORE_CORRUPT', { root, index })
      }
      place = now
    }
    return undefined
  }

  async function readPlace(place: Place, take?: TakeMemory): Promise<StoredSegment | undefined> {
    let record: Uint8Array
    try {
      record = await core.files.read(place, recordBytes(place.dataBytes, place.depth), take)
    } catch (cause) {
      throw fail(
        'STORE_READ_FAILED',
        { reason: isFailure(cause) ? String(cause.facts['reason']) : undefined },
        { cause },
      )
    }
    const header = parseSlotHeader(record)
    if (header === undefined || header.sequence !== place.sequence || header.slot !== place.slot) return undefined
    const segment = decodeSlot(record, header, core.crc32)
    return segment && { data: segment.data, proof: segment.proof }
  }

  /** Writes down that the bytes of a segment went bad, so that a repair can put it again. Its slot stays unused until the next start. */
  async function lose(root: Root, index: number, place: Place): Promise<void> {
    options.logger.error('store.segmentCorrupt', { root, index, slotClass: place.classId, slot: place.slot })
    const bytesOfRoot = rootBytes(root)
    const key = segmentKey(bytesOfRoot, index)
    const isLost = await core.inTurn(async () => {
      if (placeOf(root, index, key)?.sequence !== place.sequence) return false
      const counts = createCounts(core.index)
      counts.subtract({ root: bytesOfRoot, dataBytes: place.dataBytes })
      const damage = { key: damagedKey(bytesOfRoot, index), value: new Uint8Array(0) }
      await core.index.transaction([{ key, value: undefined }, damage, ...counts.changes()], { durability: 'written' })
      core.damagedCount += 1
      return true
    })
    if (isLost) options.onLost?.({ root, index })
  }

  return {
    async disown(root, index) {
      const place = placeOf(root, index, segmentKey(rootBytes(root), index))
      if (place !== undefined) await lose(root, index, place)
    },
    read: (root, index, take) => {
      const done = read(root, index, take)
      const settled = done.then(
        () => undefined,
        () => undefined,
      )
      reads.add(settled)
      void settled.then(() => reads.delete(settled))
      return done
    },
    settled: async () => {
      while (reads.size > 0) await Promise.all(reads)
    },
  }
}
