import { secp256k1 } from '@noble/curves/secp256k1.js'
import { concat } from '../bytes.ts'

/** An Ethereum signature of a 32-byte digest: r, s in the lower half of the order, then 27 or 28; 65 bytes. The nonce follows RFC 6979, so
 *  one digest has one signature. The key is 32 bytes, a valid secp256k1 scalar. */
export function signDigest(digest: Uint8Array, privateKey: Uint8Array): Uint8Array {
  // noble: one byte of recovery, then r and s.
  const recovered = secp256k1.sign(digest, privateKey, { prehash: false, format: 'recovered' })
  return concat([recovered.subarray(1), Uint8Array.of(27 + recovered[0]!)])
}
