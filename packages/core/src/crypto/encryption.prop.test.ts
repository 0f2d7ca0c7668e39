import { createCipheriv } from 'node:crypto'
import { secp256k1 } from '@noble/curves/secp256k1.js'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { runs } from '../../../../sim/runs.ts'
import { concat } from '../bytes.ts'
import { createDecryptor, createEncryptor, parseHeader, type Ctr } from './encryption.ts'

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
const nodeCtr: Ctr = (key, counter, data) => new Uint8Array(createCipheriv('aes-256-ctr', key, counter).update(data))

test('parts in any order and size give the same bytes as one pass', () => {
  fc.assert(
    fc.property(
      bytes(32),
      bytes(48),
      fc.uint8Array({ maxLength: 500 }),
      fc.array(fc.nat(500), { maxLength: 6 }),
      (key, random, plain, cuts) => {
        const encryptor = createEncryptor({ type: 'aes256', key }, random)
        const whole = encryptor.apply(plain, 0)
        const ends = [...new Set([...cuts.map((cut) => cut % (plain.length + 1)), plain.length])].sort((a, b) => a - b)
        const parts = ends.map((end, i) => encryptor.apply(plain.subarray(ends[i - 1] ?? 0, end), ends[i - 1] ?? 0))
        expect(concat(parts)).toEqual(whole)
      },
    ),
    runs(3),
  )
})

test('the machine’s own AES gives the same bytes at any offset', () => {
  fc.assert(
    fc.property(
      bytes(32),
      bytes(48),
      fc.uint8Array({ maxLength: 100 }),
      fc.maxSafeNat(),
      (key, random, plain, offset) => {
        const own = createEncryptor({ type: 'aes256', key }, random)
        const injected = createEncryptor({ type: 'aes256', key }, random, { ctr: nodeCtr })
        expect(injected.apply(plain, offset)).toEqual(own.apply(plain, offset))
      },
    ),
    runs(3),
  )
})

test('whoever has the private key reads what was encrypted to its public key', () => {
  fc.assert(
    fc.property(
      bytes(32),
      bytes(48),
      fc.uint8Array({ maxLength: 300 }),
      fc.boolean(),
      (seed, random, plain, isCompressed) => {
        fc.pre(secp256k1.utils.isValidSecretKey(seed) && secp256k1.utils.isValidSecretKey(random.subarray(0, 32)))
        const recipientPublicKey = secp256k1.getPublicKey(seed, isCompressed)
        const encryptor = createEncryptor({ type: 'ecies', recipientPublicKey }, random)
        const decryptor = createDecryptor(parseHeader(encryptor.header), { privateKey: seed }, { ctr: nodeCtr })
        expect(decryptor.apply(encryptor.apply(plain, 0), 0)).toEqual(plain)
      },
    ),
    runs(0.3),
  )
})
