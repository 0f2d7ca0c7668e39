import { equal, fromHex, HASH_SIZE_BYTES, PROOF_DEPTH_MAX, rootOf } from '@weightless/core'
import type { Index, IndexChange, Root } from '@weightless/core'
import { recordBytes, SLOT_CLASS_BYTES } from './slot.ts'

/** The rows of the store's index. Tags have the high bit set, so they never meet the letters of other rows in the same index:
 *
 *  | key | value |
 *  |---|---|
 *  | 80 | meta: JSON, see `Meta` |
 *  | 81 root index(4) | where the segment is: class(1) slot(4) sequence(6) data bytes(4) depth(1) |
 *  | 82 root | segments held(4) slot bytes(8) |
 *  | 83 root | a removal: its sequence number(6); older segments of the root are gone |
 *  | 84 root index(4) | the bytes of this segment went bad: empty; goes when the segment is put again or its root removed |
 */
const TAG_META = 0x80
const TAG_SEGMENT = 0x81
const TAG_ROOT = 0x82
const TAG_REMOVAL = 0x83
const TAG_DAMAGED = 0x84
const TAG_END = 0x85
const ROOT_KEY_BYTES: number = 1 + HASH_SIZE_BYTES
const INDEX_BYTES = 4

export type Place = {
  readonly classId: number
  readonly slot: number
  readonly sequence: number
  readonly dataBytes: number
  readonly depth: number
}
export type RootCount = { readonly heldCount: number; readonly usedBytes: number }

/** Slots that may be written before the next checkpoint, and the sequence number below which what they hold is old. */
export type ReservedSlots = {
  readonly classId: number
  readonly base: number
  readonly ranges: readonly (readonly [from: number, count: number])[]
}
export type Meta = { readonly storeId: string; readonly sequence: number; readonly reserved: readonly ReservedSlots[] }

export const metaKey: Uint8Array = Uint8Array.of(TAG_META)

export function encodeMeta(meta: Meta): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(meta))
}

/** `undefined` for what this store did not write: then the slots are read again. */
export function readMeta(index: Index): Meta | undefined {
  const value = index.get(metaKey)
  if (value === undefined) return undefined
  try {
    const meta = JSON.parse(new TextDecoder().decode(value)) as Meta
    const isWhole =
      typeof meta.storeId === 'string' &&
      isCount(meta.sequence) &&
      (meta.reserved as readonly unknown[]).every(isReserved)
    return isWhole ? meta : undefined
  } catch {
    return undefined
  }
}

function isReserved(value: unknown): boolean {
  const { classId, base, ranges } = value as ReservedSlots
  return (
    SLOT_CLASS_BYTES[classId] !== undefined &&
    isCount(base) &&
    ranges.every(([from, count]) => isCount(from) && isCount(count) && from + count <= SLOT_NUMBERS)
  )
}

/** A slot number has 32 bits. */
const SLOT_NUMBERS = 2 ** 32

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

export function segmentKey(root: Uint8Array, index: number): Uint8Array {
  return taggedSegment(TAG_SEGMENT, root, index)
}

export function damagedKey(root: Uint8Array, index: number): Uint8Array {
  return taggedSegment(TAG_DAMAGED, root, index)
}

function taggedSegment(tag: number, root: Uint8Array, index: number): Uint8Array {
  const key = new Uint8Array(1 + HASH_SIZE_BYTES + 4)
  key[0] = tag
  key.set(root, 1)
  new DataView(key.buffer).setUint32(1 + HASH_SIZE_BYTES, index)
  return key
}

export function segmentIndexOf(key: Uint8Array): number {
  return new DataView(key.buffer, key.byteOffset).getUint32(1 + HASH_SIZE_BYTES)
}

export function rootBytesOf(key: Uint8Array): Uint8Array {
  return key.slice(1, 1 + HASH_SIZE_BYTES)
}

const PLACE_BYTES = 16

export function encodePlace(place: Place): Uint8Array {
  const value = new Uint8Array(PLACE_BYTES)
  const view = new DataView(value.buffer)
  view.setUint8(0, place.classId)
  view.setUint32(1, place.slot)
  setUint48(view, 5, place.sequence)
  view.setUint32(11, place.dataBytes)
  view.setUint8(15, place.depth)
  return value
}

/** A place as this store writes one, inside a slot of its class; `undefined` for anything else: nothing guards the index itself
 *  against bits that rot. */
export function parsePlace(value: Uint8Array): Place | undefined {
  if (value.length !== PLACE_BYTES) return undefined
  const place = decodePlace(value)
  const slotBytes = SLOT_CLASS_BYTES[place.classId]
  const isInside =
    slotBytes !== undefined && place.depth <= PROOF_DEPTH_MAX && recordBytes(place.dataBytes, place.depth) <= slotBytes
  return isInside ? place : undefined
}

export function decodePlace(value: Uint8Array): Place {
  const view = new DataView(value.buffer, value.byteOffset, value.length)
  return {
    classId: view.getUint8(0),
    slot: view.getUint32(1),
    sequence: getUint48(view, 5),
    dataBytes: view.getUint32(11),
    depth: view.getUint8(15),
  }
}

export function rootKey(root: Uint8Array): Uint8Array {
  return tagged(TAG_ROOT, root)
}

const COUNT_BYTES = 12

export function encodeRootCount(count: RootCount): Uint8Array {
  const value = new Uint8Array(COUNT_BYTES)
  const view = new DataView(value.buffer)
  view.setUint32(0, count.heldCount)
  view.setBigUint64(4, BigInt(count.usedBytes))
  return value
}

export function readRootCount(index: Index, root: Uint8Array): RootCount {
  const value = index.get(rootKey(root))
  return value === undefined ? { heldCount: 0, usedBytes: 0 } : decodeRootCount(value)
}

function decodeRootCount(value: Uint8Array): RootCount {
  const view = new DataView(value.buffer, value.byteOffset, value.length)
  return { heldCount: view.getUint32(0), usedBytes: Number(view.getBigUint64(4)) }
}

export function removalKey(root: Uint8Array): Uint8Array {
  return tagged(TAG_REMOVAL, root)
}

const REMOVAL_BYTES = 6

export function encodeRemoval(sequence: number): Uint8Array {
  const value = new Uint8Array(REMOVAL_BYTES)
  setUint48(new DataView(value.buffer), 0, sequence)
  return value
}

export function* removals(index: Index): Iterable<{ readonly root: Uint8Array; readonly sequence: number }> {
  for (const { key, value } of index.range({ from: Uint8Array.of(TAG_REMOVAL), to: Uint8Array.of(TAG_DAMAGED) })) {
    yield { root: rootBytesOf(key), sequence: getUint48(new DataView(value.buffer, value.byteOffset), 0) }
  }
}

/** All segments in key order, in pages: rows may be added and removed behind the reader. */
export function* allSegments(index: Index): Iterable<{ readonly key: Uint8Array; readonly place: Place }> {
  for (const { key, value } of pagesOf(index, { from: Uint8Array.of(TAG_SEGMENT), to: Uint8Array.of(TAG_ROOT) })) {
    yield { key, place: decodePlace(value) }
  }
}

/** Whether every row behind the meta row has the form that this store writes, and the counts of the roots are those of their
 *  segments. Which slots there are is for the caller to look at. */
export function areRowsWhole(index: Index): boolean {
  let root: Uint8Array | undefined
  let [heldCount, usedBytes, openRoots] = [0, 0, 0]
  const isCounted = (): boolean => {
    if (root === undefined) return true
    openRoots += 1
    const value = index.get(rootKey(root))
    if (value?.length !== COUNT_BYTES) return false
    const told = decodeRootCount(value)
    return told.heldCount === heldCount && told.usedBytes === usedBytes
  }
  for (const { key, value } of pagesOf(index, { from: Uint8Array.of(TAG_SEGMENT), to: Uint8Array.of(TAG_END) })) {
    const [tag] = key
    if (key.length !== ROOT_KEY_BYTES + (tag === TAG_SEGMENT || tag === TAG_DAMAGED ? INDEX_BYTES : 0)) return false
    if (tag === TAG_SEGMENT) {
      const place = parsePlace(value)
      if (place === undefined) return false
      const next = rootBytesOf(key)
      if (root === undefined || !equal(root, next)) {
        if (!isCounted()) return false
        root = next
        heldCount = usedBytes = 0
      }
      heldCount += 1
      usedBytes += place.dataBytes
    } else {
      // Rows of segments come first.
      if (!isCounted()) return false
      root = undefined
      if (tag === TAG_ROOT) openRoots -= 1
      if (tag === TAG_REMOVAL && value.length !== REMOVAL_BYTES) return false
    }
  }
  return isCounted() && openRoots === 0
}

/** Segments of one root, in pages. */
export function* segmentsOf(
  index: Index,
  root: Uint8Array,
): Iterable<{ readonly key: Uint8Array; readonly place: Place }> {
  for (const { key, value } of pagesOf(index, {
    from: segmentKey(root, 0),
    to: afterPrefix(tagged(TAG_SEGMENT, root)),
  })) {
    yield { key, place: decodePlace(value) }
  }
}

/** Segments whose bytes went bad and that have not been put again, in pages. */
export function* damagedSegments(index: Index): Iterable<{ readonly root: Uint8Array; readonly index: number }> {
  for (const { key } of pagesOf(index, { from: Uint8Array.of(TAG_DAMAGED), to: Uint8Array.of(TAG_END) }))
    yield { root: rootBytesOf(key), index: segmentIndexOf(key) }
}

/** Changes that forget the damage of a root that is removed. */
export function damageOf(index: Index, root: Uint8Array): IndexChange[] {
  const rows = pagesOf(index, { from: damagedKey(root, 0), to: afterPrefix(tagged(TAG_DAMAGED, root)) })
  return Array.from(rows, ({ key }) => ({ key, value: undefined }))
}

/** Roots in byte order, in pages: a slow reader holds no snapshot of the index. */
export function* allRoots(index: Index): Iterable<Root> {
  for (const { key } of pagesOf(index, { from: Uint8Array.of(TAG_ROOT), to: Uint8Array.of(TAG_REMOVAL) }))
    yield rootOf(rootBytesOf(key))
}

const ROWS_PER_PAGE = 4096

function* pagesOf(
  index: Index,
  bounds: { readonly from: Uint8Array; readonly to: Uint8Array },
): Iterable<{ readonly key: Uint8Array; readonly value: Uint8Array }> {
  let { from } = bounds
  for (;;) {
    const page = [...index.range({ from, to: bounds.to, limit: ROWS_PER_PAGE })]
    yield* page
    if (page.length < ROWS_PER_PAGE) return
    from = Uint8Array.of(...page.at(-1)!.key, 0)
  }
}

/** Changes that remove every row of the store, the meta row first, at most `limit` of them. */
export function clearance(index: Index, limit: number): IndexChange[] {
  const rows = index.range({ from: Uint8Array.of(TAG_META), to: Uint8Array.of(TAG_END), limit })
  return Array.from(rows, ({ key }) => ({ key, value: undefined }))
}

export function rootBytes(root: Root): Uint8Array {
  return fromHex(root)
}

function tagged(tag: number, root: Uint8Array): Uint8Array {
  const key = new Uint8Array(1 + HASH_SIZE_BYTES)
  key[0] = tag
  key.set(root, 1)
  return key
}

/** The first key behind all keys that begin with `prefix`. */
function afterPrefix(prefix: Uint8Array): Uint8Array {
  const key = prefix.slice()
  for (let i = key.length - 1; i >= 0; i--) {
    key[i] = (key[i]! + 1) & 0xff
    if (key[i] !== 0) return key
  }
  return Uint8Array.of(0xff, 0xff)
}

function setUint48(view: DataView, at: number, value: number): void {
  view.setUint16(at, Math.floor(value / 2 ** 32))
  view.setUint32(at + 2, value >>> 0)
}

function getUint48(view: DataView, at: number): number {
  return view.getUint16(at) * 2 ** 32 + view.getUint32(at + 2)
}
