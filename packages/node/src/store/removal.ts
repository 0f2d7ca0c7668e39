import type { Index, IndexChange } from '@weightless/core'
import { createCounts } from './counts.ts'
import type { Crc32 } from './crc32.ts'
import { damageOf, removalKey, segmentsOf, type Place } from './rows.ts'
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
  const { index, files, slots } = deps
  const old: { readonly key: Uint8Array; readonly place: Place }[] = []
  for (const row of segmentsOf(index, removal.root)) {
    if (row.place.sequence <= removal.sequence) old.push(row)
    if (old.length === BATCH_SEGMENTS) break
  }
  const touched = new Set<SlotFile>()
  for (let i = 0; i < old.length; i += PARALLEL_WRITES) {
    const written = old.slice(i, i + PARALLEL_WRITES).map(({ place }) => {
      const { classId, slot } = place
      return files.writeHead(
        place,
        encodeTombstone({ classId, slot, sequence: removal.sequence }, removal.root, deps.crc32),
      )
    })
    for (const file of await Promise.all(written)) touched.add(file)
  }
  await files.sync(touched)
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
