import { invariant } from '../errors.ts'

/** An unsigned integer as a 32-byte word of the Solidity ABI. */
export function uintWord(value: bigint): Uint8Array {
  invariant(value >= 0n && value < 1n << 256n, 'a word holds 256 bits')
  const out = new Uint8Array(32)
  let rest = value
  for (let i = 31; rest > 0n; i--) {
    out[i] = Number(rest & 0xffn)
    rest >>= 8n
  }
  return out
}

/** An address (or anything up to 32 bytes) aligned to the right. */
export function word(bytes: Uint8Array): Uint8Array {
  invariant(bytes.length <= 32, 'a word has 32 bytes')
  const out = new Uint8Array(32)
  out.set(bytes, 32 - bytes.length)
  return out
}
