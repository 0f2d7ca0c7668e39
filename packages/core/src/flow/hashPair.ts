import { keccak256 } from '@weightless/kernels'
import { HASH_SIZE_BYTES } from '../limits.ts'

/** The parent of two nodes: keccak256(left ‖ right), no prefixes, no sorting (spec/storage.md 1.1). */
export function hashPair(left: Uint8Array, right: Uint8Array): Uint8Array {
  const joined = new Uint8Array(2 * HASH_SIZE_BYTES)
  joined.set(left, 0)
  joined.set(right, HASH_SIZE_BYTES)
  return keccak256(joined)
}
