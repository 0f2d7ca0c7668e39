import { CHUNK_SIZE_BYTES, HASH_SIZE_BYTES, invariant, PROOF_DEPTH_MAX, SEGMENT_SIZE_BYTES } from '@weightless/core'
import type { SegmentProof } from '@weightless/core'
import type { Crc32 } from './crc32.ts'

/** A slot describes itself, so that the index can be rebuilt from the slots alone (DESIGN D5). Big-endian:
 *
 *  | at | bytes | field |
 *  |---|---|---|
 *  | 0 | 4 | magic `WLSG` |
 *  | 4 | 1 | version 1 |
 *  | 5 | 1 | kind: 1 segment, 2 removed |
 *  | 6 | 1 | slot class |
 *  | 7 | 1 | depth d of the proof |
 *  | 8 | 8 | sequence number: unique in the store, rising |
 *  | 16 | 4 | segment index |
 *  | 20 | 4 | data length L |
 *  | 24 | 8 | lefts of the proof, bit i = level i |
 *  | 32 | 32 | root |
 *  | 64 | 4 | slot number: a write that went elsewhere is no slot |
 *  | 68 | 4 | CRC-32 of bytes 0 … 67, the siblings and the data |
 *  | 72 | 32·d | siblings |
 *  | 72 + 32·d | L | data |
 */
export const SLOT_HEADER_BYTES = 72
/** Enough for the header and the deepest proof; headers are read in this size when slots are scanned. */
export const SLOT_HEAD_BYTES_MAX: number = SLOT_HEADER_BYTES + PROOF_DEPTH_MAX * HASH_SIZE_BYTES

/** A page of room beside the data, so that data of 16 KiB, 64 KiB and 256 KiB fit their class with any proof. */
export const SLOT_CLASS_BYTES: readonly number[] = [4096, 16_384 + 4096, 65_536 + 4096, SEGMENT_SIZE_BYTES + 4096]
/** Slots begin on pages and writes end on pages: a partly written page would have to be read first. */
export const PAGE_BYTES = 4096

export type SlotAddress = { readonly classId: number; readonly slot: number }
export type SlotHeader = SlotAddress & {
  readonly kind: 'segment' | 'removed'
  readonly sequence: number
  readonly root: Uint8Array
  readonly index: number
  readonly dataBytes: number
  readonly depth: number
}
export type SlotSegment = {
  readonly root: Uint8Array
  readonly index: number
  readonly data: Uint8Array
  readonly proof: SegmentProof
}

export function recordBytes(dataBytes: number, depth: number): number {
  return SLOT_HEADER_BYTES + depth * HASH_SIZE_BYTES + dataBytes
}

/** The smallest class that holds a segment. */
export function slotClassOf(segment: SlotSegment): number {
  const sizeBytes = recordBytes(segment.data.length, segment.proof.siblings.length)
  const classId = SLOT_CLASS_BYTES.findIndex((slotBytes) => sizeBytes <= slotBytes)
  invariant(classId >= 0, 'a segment with its proof fits the largest slot')
  return classId
}

/** Header and siblings of a segment; the data follows them on disk as it is. */
export function encodeSlotHead(
  segment: SlotSegment,
  at: SlotAddress & { readonly sequence: number },
  crc32: Crc32,
): Uint8Array {
  const { siblings, lefts } = segment.proof
  const head = new Uint8Array(SLOT_HEADER_BYTES + siblings.length * HASH_SIZE_BYTES)
  const view = writeHeader(head, {
    ...at,
    kind: KIND_SEGMENT,
    depth: siblings.length,
    index: segment.index,
    dataBytes: segment.data.length,
    root: segment.root,
  })
  let [high, low] = [0, 0]
  for (let level = 0; level < lefts.length; level++) {
    if (lefts[level] && level < 32) low |= 1 << level
    else if (lefts[level]) high |= 1 << (level - 32)
    head.set(siblings[level]!, SLOT_HEADER_BYTES + level * HASH_SIZE_BYTES)
  }
  view.setUint32(24, high >>> 0)
  view.setUint32(28, low >>> 0)
  view.setUint32(CRC_AT, crc32(segment.data, crc32(head.subarray(SLOT_HEADER_BYTES), crc32(head.subarray(0, CRC_AT)))))
  return head
}

/** What stands in a slot after its segment was removed: no rebuild brings it back. */
export function encodeTombstone(
  at: SlotAddress & { readonly sequence: number },
  root: Uint8Array,
  crc32: Crc32,
): Uint8Array {
  const head = new Uint8Array(SLOT_HEADER_BYTES)
  const view = writeHeader(head, { ...at, kind: KIND_REMOVED, depth: 0, index: 0, dataBytes: 0, root })
  view.setUint32(CRC_AT, crc32(head.subarray(0, CRC_AT)))
  return head
}

/** The header at the start of `bytes`, its numbers within bounds; `undefined` for anything else. Says nothing of the checksum. */
export function parseSlotHeader(bytes: Uint8Array): SlotHeader | undefined {
  if (bytes.length < SLOT_HEADER_BYTES) return undefined
  const view = viewOf(bytes)
  const kind = view.getUint8(5)
  if (view.getUint32(0) !== MAGIC || view.getUint8(4) !== VERSION || (kind !== KIND_SEGMENT && kind !== KIND_REMOVED))
    return undefined
  const header: SlotHeader = {
    kind: kind === KIND_SEGMENT ? 'segment' : 'removed',
    classId: view.getUint8(6),
    depth: view.getUint8(7),
    sequence: view.getUint16(8) === 0 ? view.getUint16(10) * 2 ** 32 + view.getUint32(12) : -1,
    index: view.getUint32(16),
    dataBytes: view.getUint32(20),
    root: bytes.slice(32, 64),
    slot: view.getUint32(64),
  }
  const slotBytes = SLOT_CLASS_BYTES[header.classId]
  if (slotBytes === undefined || header.depth > PROOF_DEPTH_MAX || header.sequence < 0) return undefined
  return recordBytes(header.dataBytes, header.depth) <= slotBytes ? header : undefined
}

/** The segment in a whole record, as views into `record`; `undefined` when the checksum does not fit. */
export function decodeSlot(record: Uint8Array, header: SlotHeader, crc32: Crc32): SlotSegment | undefined {
  const dataAt = SLOT_HEADER_BYTES + header.depth * HASH_SIZE_BYTES
  if (header.kind !== 'segment' || record.length < dataAt + header.dataBytes) return undefined
  const view = viewOf(record)
  const body = record.subarray(SLOT_HEADER_BYTES, dataAt + header.dataBytes)
  if (crc32(body, crc32(record.subarray(0, CRC_AT))) !== view.getUint32(CRC_AT)) return undefined
  const [high, low] = [view.getUint32(24), view.getUint32(28)]
  const siblings: Uint8Array[] = []
  const lefts: boolean[] = []
  for (let level = 0; level < header.depth; level++) {
    const at = SLOT_HEADER_BYTES + level * HASH_SIZE_BYTES
    siblings.push(record.subarray(at, at + HASH_SIZE_BYTES))
    lefts.push(((level < 32 ? low >>> level : high >>> (level - 32)) & 1) === 1)
  }
  return {
    root: header.root,
    index: header.index,
    data: record.subarray(dataAt, dataAt + header.dataBytes),
    proof: { siblings, lefts },
  }
}

const MAGIC = 0x574c5347
const VERSION = 1
const KIND_SEGMENT = 1
const KIND_REMOVED = 2
const CRC_AT = 68

type HeaderFields = SlotAddress & {
  readonly kind: number
  readonly depth: number
  readonly sequence: number
  readonly index: number
  readonly dataBytes: number
  readonly root: Uint8Array
}

function writeHeader(head: Uint8Array, fields: HeaderFields): DataView {
  invariant(fields.root.length === HASH_SIZE_BYTES, 'a root has 32 bytes')
  const view = viewOf(head)
  view.setUint32(0, MAGIC)
  view.setUint8(4, VERSION)
  view.setUint8(5, fields.kind)
  view.setUint8(6, fields.classId)
  view.setUint8(7, fields.depth)
  view.setBigUint64(8, BigInt(fields.sequence))
  view.setUint32(16, fields.index)
  view.setUint32(20, fields.dataBytes)
  head.set(fields.root, 32)
  view.setUint32(64, fields.slot)
  return view
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}

invariant(SLOT_HEAD_BYTES_MAX <= PAGE_BYTES, 'one page holds every head')
invariant(
  SLOT_CLASS_BYTES.every((slotBytes) => slotBytes % PAGE_BYTES === 0),
  'slots are whole pages',
)
invariant(
  SLOT_CLASS_BYTES.every((slotBytes, i) => i === 0 || SLOT_HEAD_BYTES_MAX + slotBytes - PAGE_BYTES <= slotBytes),
  'a page of room holds every head',
)
invariant(SEGMENT_SIZE_BYTES % CHUNK_SIZE_BYTES === 0, 'a segment is whole chunks')
