import { fromHex, type Hex, invariant, isZero, toHex } from '@weightless/core'
import { crc32 } from '@weightless/host'

// A segment of the journal is a header and one record per block. All numbers are big-endian.
//
// Behind the last record there are zeros, or the file ends.
//
//   header   "WLJ1" | chain id u64 | number of the block before the first record u64 | its hash 32 | salt u32 | crc32 u32
//   record   "WLB1" | body size u32 | crc32 of the body u32 | block number u64 | crc32 of these u32 | body | "WLE1"
//   body     hash 32 | timestamp u64 | base fee in wei u64 | transaction count u32 | (size u32 | raw transaction)...
//
// The body is stored xor 0xa5, and the end mark has no zero byte, so a whole sector of zeros was never written: that is what
// tells a write that a loss of power tore apart from one that was whole and whose bits have changed since. The salt seeds the
// checksums: nobody can send a transaction whose bytes look like a record of this file.

const SEGMENT_MAGIC = 0x574c4a31
const RECORD_MAGIC = 0x574c4231
const RECORD_END = 0x574c4531
const WHITENING = 0xa5
export const SEGMENT_HEADER_BYTES = 60
const RECORD_HEADER_BYTES = 24
const RECORD_END_BYTES = 4
const BODY_HEADER_BYTES = 52
/** What a disk writes as a whole or not at all. */
const SECTOR_BYTES = 512

/** All that decides the hash of a block, its parent given (docs/decisions/0010): an engine that is fed with it makes the same
 *  block again. */
export type JournalBlock = {
  readonly number: number
  readonly hash: Hex
  readonly timestampS: number
  readonly baseFeeWei: bigint
  /** Raw, in the order of the block. */
  readonly transactions: readonly Uint8Array[]
}
export type BlockMark = { readonly number: number; readonly hash: Hex }
export type SegmentHeader = { readonly chainId: number; readonly base: BlockMark; readonly salt: number }

/** `unborn`: a file whose header was never whole, so that nothing in it was ever acknowledged. `torn`: the bytes after the last
 *  record are a write that was cut off. `damaged`: they are, or once were, a whole record, and somebody may rely on it. */
export type SegmentReading =
  | { readonly kind: 'read'; readonly header: SegmentHeader; readonly blocks: readonly JournalBlock[]; readonly tail: 'whole' | 'torn' } // prettier-ignore
  | { readonly kind: 'unborn' }
  | { readonly kind: 'damaged'; readonly offset: number }

export function encodeSegmentHeader({ chainId, base, salt }: SegmentHeader): Uint8Array {
  const bytes = new Uint8Array(SEGMENT_HEADER_BYTES)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, SEGMENT_MAGIC)
  view.setBigUint64(4, BigInt(chainId))
  view.setBigUint64(12, BigInt(base.number))
  bytes.set(fromHex(base.hash), 20)
  view.setUint32(52, salt)
  view.setUint32(56, crc32(bytes.subarray(0, 56)))
  return bytes
}

export function encodeBlock(block: JournalBlock, salt: number): Uint8Array {
  const bodyBytes = block.transactions.reduce((sum, raw) => sum + 4 + raw.length, BODY_HEADER_BYTES)
  const bytes = new Uint8Array(RECORD_HEADER_BYTES + bodyBytes + RECORD_END_BYTES)
  const view = new DataView(bytes.buffer)
  const hash = fromHex(block.hash)
  invariant(hash.length === 32, 'a block hash has 32 bytes')
  let at = RECORD_HEADER_BYTES
  bytes.set(hash, at)
  view.setBigUint64(at + 32, BigInt(block.timestampS))
  view.setBigUint64(at + 40, block.baseFeeWei)
  view.setUint32(at + 48, block.transactions.length)
  at += BODY_HEADER_BYTES
  for (const raw of block.transactions) {
    view.setUint32(at, raw.length)
    bytes.set(raw, at + 4)
    at += 4 + raw.length
  }
  const body = bytes.subarray(RECORD_HEADER_BYTES, at)
  whiten(body)
  view.setUint32(at, RECORD_END)
  view.setUint32(0, RECORD_MAGIC)
  view.setUint32(4, bodyBytes)
  view.setUint32(8, crc32(body, salt))
  view.setBigUint64(12, BigInt(block.number))
  view.setUint32(20, crc32(bytes.subarray(0, 20), salt))
  return bytes
}

/** Reads a segment as it lies on disk after whatever end of the process or the machine. */
export function readSegment(bytes: Uint8Array): SegmentReading {
  const header = readHeader(bytes)
  if (header === undefined)
    return bytes.length < SEGMENT_HEADER_BYTES || isZero(bytes) ? { kind: 'unborn' } : damagedAt(0)
  const blocks: JournalBlock[] = []
  let at = SEGMENT_HEADER_BYTES
  while (at < bytes.length) {
    const record = readRecord(bytes, at, header.salt)
    if (typeof record === 'number') {
      if (isZero(bytes.subarray(at))) break
      // Behind a write that was cut off there is nothing: the next one begins only after its sync.
      const isTorn = isCutOff(bytes, at, record) && !holdsRecord(bytes, at + Math.max(1, record), header.salt)
      return isTorn ? { kind: 'read', header, blocks, tail: 'torn' } : damagedAt(at)
    }
    const expected = (blocks.at(-1)?.number ?? header.base.number) + 1
    if (record.block.number !== expected) return damagedAt(at)
    blocks.push(record.block)
    at = record.end
  }
  return { kind: 'read', header, blocks, tail: 'whole' }
}

function damagedAt(offset: number): SegmentReading {
  return { kind: 'damaged', offset }
}

function readHeader(bytes: Uint8Array): SegmentHeader | undefined {
  if (bytes.length < SEGMENT_HEADER_BYTES) return undefined
  const view = viewOf(bytes)
  if (view.getUint32(0) !== SEGMENT_MAGIC || view.getUint32(56) !== crc32(bytes.subarray(0, 56))) return undefined
  return {
    chainId: Number(view.getBigUint64(4)),
    base: { number: Number(view.getBigUint64(12)), hash: toHex(bytes.subarray(20, 52)) },
    salt: view.getUint32(52),
  }
}

/** The record at `at`, or, where there is none that is whole, the size that its header claims: 0 when that is not whole either. */
function readRecord(
  bytes: Uint8Array,
  at: number,
  salt: number,
): { readonly block: JournalBlock; readonly end: number } | number {
  const view = viewOf(bytes)
  if (bytes.length - at < RECORD_HEADER_BYTES || view.getUint32(at) !== RECORD_MAGIC) return 0
  if (view.getUint32(at + 20) !== crc32(bytes.subarray(at, at + 20), salt)) return 0
  const bodyBytes = view.getUint32(at + 4)
  const sizeBytes = RECORD_HEADER_BYTES + bodyBytes + RECORD_END_BYTES
  const end = at + sizeBytes
  if (end > bytes.length || view.getUint32(end - RECORD_END_BYTES) !== RECORD_END) return sizeBytes
  const stored = bytes.subarray(at + RECORD_HEADER_BYTES, end - RECORD_END_BYTES)
  if (view.getUint32(at + 8) !== crc32(stored, salt)) return sizeBytes
  const block = readBody(whiten(stored.slice()), Number(view.getBigUint64(at + 12)))
  return block === undefined ? sizeBytes : { block, end }
}

function readBody(body: Uint8Array, number: number): JournalBlock | undefined {
  if (body.length < BODY_HEADER_BYTES) return undefined
  const view = viewOf(body)
  const count = view.getUint32(48)
  const transactions: Uint8Array[] = []
  let at = BODY_HEADER_BYTES
  for (let i = 0; i < count; i++) {
    if (at + 4 > body.length) return undefined
    const end = at + 4 + view.getUint32(at)
    if (end > body.length) return undefined
    transactions.push(body.subarray(at + 4, end))
    at = end
  }
  if (at !== body.length) return undefined
  return {
    number,
    hash: toHex(body.subarray(0, 32)),
    timestampS: Number(view.getBigUint64(32)),
    baseFeeWei: view.getBigUint64(40),
    transactions,
  }
}

/** Whether what begins at `at` is a write that never came through: the file ends inside it, or a sector of it is empty. Of a
 *  record whose header is not whole the sectors of the header are known, and no more. */
function isCutOff(bytes: Uint8Array, at: number, sizeBytes: number): boolean {
  const end = at + (sizeBytes === 0 ? RECORD_HEADER_BYTES : sizeBytes)
  if (end > bytes.length) return true
  for (let from = at; from < end;) {
    const sectorEnd = from + SECTOR_BYTES - (from % SECTOR_BYTES)
    const to = sizeBytes === 0 ? Math.min(sectorEnd, bytes.length) : Math.min(sectorEnd, end)
    if (isZero(bytes.subarray(from, to))) return true
    from = sectorEnd
  }
  return false
}

function holdsRecord(bytes: Uint8Array, from: number, salt: number): boolean {
  const view = viewOf(bytes)
  for (let at = from; at + RECORD_HEADER_BYTES <= bytes.length; at++) {
    if (view.getUint32(at) === RECORD_MAGIC && typeof readRecord(bytes, at, salt) !== 'number') return true
  }
  return false
}

function whiten(bytes: Uint8Array): Uint8Array {
  for (let i = 0; i < bytes.length; i++) bytes[i]! ^= WHITENING
  return bytes
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
