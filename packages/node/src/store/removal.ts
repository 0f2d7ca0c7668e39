import type { Index, IndexChange } from '@weightless/core'
import { createCounts } from './counts.ts'
import type { Crc32 } from './crc32.ts'
import { damagedKey, damageOf, decodePlace, removalKey, segmentKey, segmentsOf, type Place } from './rows.ts'
import { encodeTombstone } from './slot.ts'
import type { SlotFile, SlotFiles } from './slotFiles.ts'
import type { SlotMap } from './slotMap.ts'

/** Removes some segments of a root that are not newer than the removal: tombstones over their slots, flushed, then their rows,
 *  and with the last of them the row of the removal. Resolves to whether more are left. The row of the removal itself must be
 *  durable before: from then on a crash cannot bring the segments back, and this is done again at the next start.
 *  One round is short and cannot be cancelled. */
export async function removeSegments(
  removal: { readonly root: Uint8Array; readonly sequence: number },
  deps: RemoveSegmentsDeps,
): Promise<'more' | 'done'> {
  const { index, slots } = deps
  const old: { readonly key: Uint8Array; readonly place: Place }[] = []
  for (const row of segmentsOf(index, removal.root)) {
    if (row.place.sequence <= removal.sequence) old.push(row)
    if (old.length === BATCH_SEGMENTS) break
  }
  await buryPlaces(
    removal,
    old.map(({ place }) => place),
    deps,
  )
  const counts = createCounts(index)
  const changes: IndexChange[] = []
  for (const { key, place } of old) {
    changes.push({ key, value: undefined })
    counts.subtract({ root: removal.root, dataBytes: place.dataBytes })
  }
  const isDone = old.length < BATCH_SEGMENTS
  const damage = isDone ? damageOf(index, removal.root) : []
  if (isDone) changes.push({ key: removalKey(removal.root), value: undefined }, ...damage)
  await index.transaction([...changes, ...counts.changes()], { durability: 'written' })
  for (const { place } of old) slots.release(place)
  return isDone ? 'done' : 'more'
}

/** Takes the rows of some segments of a root, and of their damage, out of the index for good. Resolves to the places that they named:
 *  nothing else may be written there until `buryPlaces` has ended. A start from the index finds none of these segments from now on; one
 *  from the slots alone still finds those that are not buried. A segment whose row went before its slot is never taken for damage. Short,
 *  and cannot be cancelled. */
export async function removeRows(
  root: Uint8Array,
  indexes: readonly number[],
  { index }: Pick<RemoveSegmentsDeps, 'index'>,
): Promise<RemovedRows> {
  const counts = createCounts(index)
  const changes: IndexChange[] = []
  const places: Place[] = []
  let damagedCount = 0
  for (const at of new Set(indexes)) {
    const value = index.get(segmentKey(root, at))
    if (value !== undefined) {
      const place = decodePlace(value)
      places.push(place)
      changes.push({ key: segmentKey(root, at), value: undefined })
      counts.subtract({ root, dataBytes: place.dataBytes })
    }
    if (index.get(damagedKey(root, at)) === undefined) continue
    damagedCount += 1
    changes.push({ key: damagedKey(root, at), value: undefined })
  }
  if (changes.length > 0) await index.transaction([...changes, ...counts.changes()], { durability: 'synced' })
  return { places, damagedCount }
}

export type RemovedRows = {
  readonly places: readonly Place[]
  /** Segments among them whose bytes had gone bad. */
  readonly damagedCount: number
}

/** Tombstones over slots whose segments are gone, flushed: no start finds them any more. Short, and cannot be cancelled. */
export async function buryPlaces(
  { root, sequence }: { readonly root: Uint8Array; readonly sequence: number },
  places: readonly Place[],
  { files, crc32 }: Pick<RemoveSegmentsDeps, 'files' | 'crc32'>,
): Promise<void> {
  const touched = new Set<SlotFile>()
  for (let i = 0; i < places.length; i += PARALLEL_WRITES) {
    const written = places
      .slice(i, i + PARALLEL_WRITES)
      .map(({ classId, slot }) =>
        files.writeHead({ classId, slot }, encodeTombstone({ classId, slot, sequence }, root, crc32)),
      )
    for (const file of await Promise.all(written)) touched.add(file)
  }
  await files.sync(touched)
}

export type RemoveSegmentsDeps = {
  readonly index: Index
  readonly files: SlotFiles
  readonly slots: SlotMap
  readonly crc32: Crc32
}

/** 256 MiB of the largest class at a time: others get their turn in between. */
const BATCH_SEGMENTS = 1024
/** Small writes in flight: enough to keep a disk busy. */
const PARALLEL_WRITES = 32
