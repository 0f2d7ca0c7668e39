import { secp256k1 } from '@noble/curves/secp256k1.js'
import { keccak256 } from '@weightless/kernels'
import { toHex, type Address } from '../hex.ts'

type Point = InstanceType<typeof secp256k1.Point>

/** Signers whose keys are remembered, with 100 KB of tables each: a network of our size, not every key that anybody makes up. */
const SIGNERS_MAX = 64
/** Signatures of one key after which its tables are worth their price: they cost as much as four checks without them. */
const TABLES_AFTER = 8
/** Bits of the key's own tables: wider ones cost more to make than they save. */
const TABLE_BITS = 4
/** Signatures whose signer is remembered, 0.4 KB each: certificates that are put together from one another, and told again, bring
 *  the same receipts many times. */
const SIGNATURES_MAX = 4096

/**
 * Which address made a signature: `undefined` when no key did, or when s is in the upper half. A key that signs often is
 * remembered and its tables are made once: then a check costs a third, and answers exactly the same. A signature that was
 * checked lately is not checked again.
 */
export function createKnownSigners(): KnownSigners {
  const known = new Map<Address, { readonly key: Point; count: number }>()
  const checked = new Map<string, Address>()

  function recall(address: Address): Point | undefined {
    const found = known.get(address)
    if (found === undefined) return undefined
    known.delete(address)
    known.set(address, found)
    found.count += 1
    if (found.count === TABLES_AFTER) found.key.precompute(TABLE_BITS, false)
    return found.count < TABLES_AFTER ? undefined : found.key
  }

  function check(signed: Signed, claimed: Address): Address | undefined {
    try {
      const signature = secp256k1.Signature.fromBytes(signed.compact, 'compact')
      if (signature.hasHighS()) return undefined
      const key = recall(claimed)
      if (key !== undefined && isOf(key, signature, signed)) return claimed
      const recovered = signature.addRecoveryBit(signed.recovery).recoverPublicKey(signed.digest)
      const address = addressOfPublicKey(recovered.toBytes(false))
      if (address === claimed && !known.has(address)) {
        if (known.size >= SIGNERS_MAX) known.delete(known.keys().next().value!)
        known.set(address, { key: recovered, count: 1 })
      }
      return address
    } catch {
      // noble refuses r and s outside 1 … n − 1 and points that do not exist by throwing.
      return undefined
    }
  }

  return {
    signerOf(signed, claimed) {
      // Of fixed sizes, so no two of them read the same.
      const text = `${toHex(signed.digest)} ${toHex(signed.compact)} ${signed.recovery}`
      const remembered = checked.get(text)
      const signer = remembered ?? check(signed, claimed)
      if (signer === undefined) return undefined
      // Last come, last forgotten.
      checked.delete(text)
      if (checked.size >= SIGNATURES_MAX) checked.delete(checked.keys().next().value!)
      checked.set(text, signer)
      return signer
    },
  }
}

export type Signed = {
  readonly digest: Uint8Array
  /** r and s, 32 bytes each. */
  readonly compact: Uint8Array
  readonly recovery: 0 | 1
}
export type KnownSigners = { signerOf(signed: Signed, claimed: Address): Address | undefined }

/** The last 20 bytes of keccak256 of an uncompressed key. */
export function addressOfPublicKey(uncompressed: Uint8Array): Address {
  return toHex(keccak256(uncompressed.subarray(1)).subarray(12)) as Address
}

/** Recovery gives Q = r⁻¹(sR − hG) for the R that r and the recovery bit name; so it gives this key exactly when
 *  s⁻¹(hG + rQ) is that R. */
function isOf(key: Point, { r, s }: { readonly r: bigint; readonly s: bigint }, { digest, recovery }: Signed): boolean {
  const { Fn } = secp256k1.Point
  const h = Fn.create(BigInt(toHex(digest)))
  const inverse = Fn.inv(s)
  const point = secp256k1.Point.BASE.multiplyUnsafe(Fn.mul(h, inverse)).add(key.multiplyUnsafe(Fn.mul(r, inverse)))
  if (point.is0()) return false
  const { x, y } = point.toAffine()
  return x === r && (y & 1n) === BigInt(recovery)
}
