import { keccak256 } from '@weightless/kernels'
import { concat, equal } from '../bytes.ts'
import { isFailure, invariant } from '../errors.ts'
import { fromHex, rootOf, type Root } from '../hex.ts'
import { HASH_SIZE_BYTES } from '../limits.ts'
import { isCode, type ErasureCode } from './code.ts'
import { shardLayoutOf } from './shardLayout.ts'

/** What the tags of a parity entry say about the object that it protects (docs/erasure.md 6). A hint and no more: anybody can
 *  write them, and parity counts only when it is proven. */
export type ParityTags = { readonly code: ErasureCode; readonly dataRoot: Root; readonly sizeBytes: number }

/** 75 bytes: domain, version, k, m, data root, size as uint64. */
export function encodeParityTags({ code, dataRoot, sizeBytes }: ParityTags): Uint8Array {
  invariant(isCode(code) && isSize(sizeBytes), 'tags are of an object and a code')
  const tags = new Uint8Array(TAGS_SIZE_BYTES)
  tags.set(concat([DOMAIN, Uint8Array.of(VERSION, code.k, code.m), fromHex(dataRoot)]))
  new DataView(tags.buffer).setBigUint64(SIZE_AT, BigInt(sizeBytes))
  return tags
}

/** Tags of any entry on chain. `undefined` for whatever is not exactly what `encodeParityTags` makes: other people's tags, later
 *  versions, codes and sizes that cannot be. */
export function parseParityTags(tags: Uint8Array): ParityTags | undefined {
  if (tags.length !== TAGS_SIZE_BYTES || !equal(tags.subarray(0, HASH_SIZE_BYTES), DOMAIN)) return undefined
  const [version, k, m] = tags.subarray(HASH_SIZE_BYTES) as unknown as readonly [number, number, number]
  const sizeBytes = Number(new DataView(tags.buffer, tags.byteOffset).getBigUint64(SIZE_AT))
  if (version !== VERSION || !isCode({ k, m }) || !isSize(sizeBytes)) return undefined
  return { code: { k, m }, dataRoot: rootOf(tags.subarray(ROOT_AT, SIZE_AT)), sizeBytes }
}

/** Whether an entry with these tags has the size that its code and the object's size demand. */
export function parityFits(entry: { readonly sizeBytes: number }, tags: ParityTags): boolean {
  try {
    return shardLayoutOf(tags.sizeBytes, tags.code)?.paritySizeBytes === entry.sizeBytes
  } catch (error) {
    if (isFailure(error)) return false
    throw error
  }
}

/** Of the proven parities of one object the one that counts: of the largest m, then the one that came first. */
export function chooseParity<T extends { readonly code: ErasureCode; readonly seq: number }>(
  proven: readonly T[],
): T | undefined {
  return [...proven].sort((a, b) => b.code.m - a.code.m || a.seq - b.seq)[0]
}

const DOMAIN: Uint8Array = keccak256(new TextEncoder().encode('weightless.parity'))
const VERSION = 1
const ROOT_AT: number = HASH_SIZE_BYTES + 3
const SIZE_AT: number = ROOT_AT + HASH_SIZE_BYTES
const TAGS_SIZE_BYTES: number = SIZE_AT + 8

/** Beyond 2^53 a number is no longer the one that was written. */
function isSize(sizeBytes: number): boolean {
  return Number.isSafeInteger(sizeBytes) && sizeBytes >= 1
}
