import { secp256k1 } from '@noble/curves/secp256k1.js'
import { keccak256 } from '@weightless/kernels'
import { describe, expect, test } from 'vitest'
import { concat } from '../bytes.ts'
import { addressOfPublicKey, createKnownSigners, type Signed } from './knownSigners.ts'

const digestOf = (i: number): Uint8Array => keccak256(Uint8Array.of(i))
const keyOf = (i: number): Uint8Array => keccak256(Uint8Array.of(i, 1))
const addressOf = (key: Uint8Array) => addressOfPublicKey(secp256k1.getPublicKey(key, false))
const sign = (digest: Uint8Array, key: Uint8Array): Signed => {
  const recovered = secp256k1.sign(digest, key, { prehash: false, format: 'recovered' })
  return { digest, compact: recovered.slice(1), recovery: recovered[0] as 0 | 1 }
}
/** What a memory that has never seen the key says. */
const plainly = (signed: Signed, claimed: ReturnType<typeof addressOf>) =>
  createKnownSigners().signerOf(signed, claimed)

describe('signers that are remembered', () => {
  test('every signature of a key is recognised, before and after its tables are made', () => {
    const signers = createKnownSigners()
    const key = keyOf(1)
    const address = addressOf(key)
    const recoveries = new Set<number>()
    for (let i = 0; i < 24; i++) {
      const signed = sign(digestOf(i), key)
      recoveries.add(signed.recovery)
      expect(signers.signerOf(signed, address)).toBe(address)
    }
    // Both halves of the curve were among them.
    expect(recoveries).toEqual(new Set([0, 1]))
  })

  test('a known key vouches for nothing that it did not sign: each answer is that of plain recovery', () => {
    const signers = createKnownSigners()
    const key = keyOf(2)
    const address = addressOf(key)
    for (let i = 0; i < 12; i++) signers.signerOf(sign(digestOf(i), key), address)
    const right = sign(digestOf(100), key)
    const order = secp256k1.Point.Fn.ORDER
    const s = BigInt(`0x${Buffer.from(right.compact.subarray(32)).toString('hex')}`)
    const highS = Uint8Array.from(Buffer.from((order - s).toString(16).padStart(64, '0'), 'hex'))
    const wrong: readonly Signed[] = [
      { ...right, digest: digestOf(101) },
      { ...right, recovery: right.recovery === 0 ? 1 : 0 },
      { ...right, compact: concat([right.compact.subarray(0, 32), highS]), recovery: right.recovery === 0 ? 1 : 0 },
      { ...right, compact: new Uint8Array(64) },
      { ...right, compact: new Uint8Array(64).fill(0xff) },
      { ...right, compact: right.compact.map((byte, i) => (i === 31 ? byte ^ 1 : byte)) },
      { ...right, compact: right.compact.map((byte, i) => (i === 63 ? byte ^ 1 : byte)) },
      sign(digestOf(102), keyOf(3)),
    ]
    for (const signed of wrong) {
      const answer = signers.signerOf(signed, address)
      expect(answer).not.toBe(address)
      expect(answer).toBe(plainly(signed, address))
    }
    expect(signers.signerOf(right, address)).toBe(address)
  })

  test('a signature that was checked before says who made it, whoever is claimed, and nothing of another one', () => {
    const signers = createKnownSigners()
    const [one, other] = [addressOf(keyOf(4)), addressOf(keyOf(5))]
    const signed = sign(digestOf(7), keyOf(4))
    for (const claimed of [one, other, one]) expect(signers.signerOf(signed, claimed)).toBe(one)
    for (const changed of [
      { ...signed, digest: digestOf(8) },
      { ...signed, recovery: signed.recovery === 0 ? 1 : 0 } as const,
      { ...signed, compact: signed.compact.map((byte, i) => (i === 40 ? byte ^ 1 : byte)) },
    ])
      expect(signers.signerOf(changed, one)).toBe(plainly(changed, one))
  })

  test('more signers than are remembered are still all recognised', () => {
    const signers = createKnownSigners()
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 70; i++) {
        const key = keyOf(i)
        expect(signers.signerOf(sign(digestOf(round), key), addressOf(key))).toBe(addressOf(key))
      }
    }
  })
})
