import type { Root } from '@weightless/core'
import { fromHex, toHex } from '@weightless/core'

/** Keys of the log index: one letter for the kind, then big-endian numbers so that byte order is number order. */
const KIND = {
  cursor: 'c',
  entry: 'e',
  entryByRoot: 'r',
  entryByStart: 'a',
  flowNode: 'f',
  block: 'b',
  chain: 'g',
  member: 'm',
  whole: 'w',
  receipt: 's',
  delivery: 'd',
  parity: 'p',
  fingerprints: 'h',
  shardReceipt: 't',
  certificate: 'v',
  certified: 'q',
  scrub: 'u',
  orphan: 'o',
  parityStep: 'k',
  parityOwed: 'l',
  budget: 'y',
} as const
export type KeyKind = keyof typeof KIND

const SEQ_SIZE_BYTES = 8
const ROOT_SIZE_BYTES = 32

export function cursorKey(): Uint8Array {
  return keyOf('cursor')
}

export function chainKey(): Uint8Array {
  return keyOf('chain')
}

export function scrubKey(): Uint8Array {
  return keyOf('scrub')
}

export function numberKey(kind: KeyKind, value: number): Uint8Array {
  return keyOf(kind, uint64(value))
}

/** All keys of a kind whose number is in from ≤ n < to. */
export function numberRange(kind: KeyKind, from: number, to: number): { from: Uint8Array; to: Uint8Array } {
  return { from: numberKey(kind, from), to: numberKey(kind, to) }
}

/** What was spent on a day; with an address behind it, on that address. */
export function budgetKey(day: number): Uint8Array {
  return numberKey('budget', day)
}

/** All rows of days before this one. */
export function budgetRange(day: number): { from: Uint8Array; to: Uint8Array } {
  return numberRange('budget', 0, day)
}

export function numberOfKey(key: Uint8Array): number {
  return Number(new DataView(key.buffer, key.byteOffset + key.length - SEQ_SIZE_BYTES, SEQ_SIZE_BYTES).getBigUint64(0))
}

export function rootKey(kind: KeyKind, root: Root | Uint8Array, seq?: number): Uint8Array {
  const bytes = typeof root === 'string' ? fromHex(root) : root
  return seq === undefined ? keyOf(kind, bytes) : keyOf(kind, bytes, uint64(seq))
}

export function rootRange(kind: KeyKind, root: Root): { from: Uint8Array; to: Uint8Array } {
  return { from: rootKey(kind, root, 0), to: rootKey(kind, root, Number.MAX_SAFE_INTEGER) }
}

/** Keys of an object, which is a root and a size, in order of a number. */
export function objectKey(
  kind: KeyKind,
  object: { readonly root: Root; readonly sizeBytes: number },
  seq: number,
): Uint8Array {
  return keyOf(kind, fromHex(object.root), uint64(object.sizeBytes), uint64(seq))
}

export function objectRange(
  kind: KeyKind,
  object: { readonly root: Root; readonly sizeBytes: number },
): { from: Uint8Array; to: Uint8Array } {
  return { from: objectKey(kind, object, 0), to: objectKey(kind, object, Number.MAX_SAFE_INTEGER) }
}

/** What the key of an object is about; `undefined` for a key that is none. */
export function objectOfKey(key: Uint8Array): { readonly root: Root; readonly sizeBytes: number } | undefined {
  if (key.length !== 1 + ROOT_SIZE_BYTES + 2 * SEQ_SIZE_BYTES) return undefined
  const sizeAt = 1 + ROOT_SIZE_BYTES
  const sizeBytes = Number(new DataView(key.buffer, key.byteOffset + sizeAt, SEQ_SIZE_BYTES).getBigUint64(0))
  return { root: toHex(key.subarray(1, sizeAt)) as string as Root, sizeBytes }
}

/** All keys of a kind. */
export function kindRange(kind: KeyKind): { from: Uint8Array; to: Uint8Array } {
  const from = keyOf(kind)
  return { from, to: Uint8Array.of(from[0]! + 1) }
}

/** Keys of what is known about one entry as data and another one as its parity. */
export function pairKey(
  kind: KeyKind,
  seq: number,
  paritySeq: number,
  rest: Uint8Array = new Uint8Array(0),
): Uint8Array {
  return keyOf(kind, uint64(seq), uint64(paritySeq), rest)
}

/** All keys of an entry as data, or of its pair with this parity. */
export function pairRange(kind: KeyKind, seq: number, paritySeq?: number): { from: Uint8Array; to: Uint8Array } {
  if (paritySeq === undefined) return { from: keyOf(kind, uint64(seq)), to: keyOf(kind, uint64(seq + 1)) }
  return { from: pairKey(kind, seq, paritySeq), to: pairKey(kind, seq, paritySeq + 1) }
}

export function flowNodeKey(height: number, index: number): Uint8Array {
  return keyOf('flowNode', Uint8Array.of(height), uint64(index))
}

function keyOf(kind: KeyKind, ...parts: readonly Uint8Array[]): Uint8Array {
  let size = 1
  for (const part of parts) size += part.length
  const key = new Uint8Array(size)
  key[0] = KIND[kind].charCodeAt(0)
  let offset = 1
  for (const part of parts) {
    key.set(part, offset)
    offset += part.length
  }
  return key
}

function uint64(value: number): Uint8Array {
  const bytes = new Uint8Array(SEQ_SIZE_BYTES)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value))
  return bytes
}
