import { segmentRoots } from '@weightless/kernels'
import { keccak256 } from '@weightless/kernels'
import { secp256k1 } from '@noble/curves/secp256k1.js'
import { describe, expect, test } from 'vitest'
import { fileOf } from '../../../../sim/vectors/files.ts'
import vectors from '../../../../sim/vectors/storage-encryption-kv.json' with { type: 'json' }
import { concat } from '../bytes.ts'
import { layoutOf } from '../flow/layout.ts'
import { fromHex, toHex } from '../hex.ts'
import { createDecryptor, createEncryptor, parseHeader, type CipherHeader, type Encryption } from './encryption.ts'

const plain = fileOf('linear7p3', 1000)
const rootOfFile = (data: Uint8Array) => toHex(segmentRoots(data, layoutOf(data.length).paddedChunkCount))

describe('v1, a key of the caller', () => {
  const { v1 } = vectors
  const key = fromHex(v1.key)
  const random = concat([new Uint8Array(32), fromHex(v1.nonce)])

  test('encrypts as the official SDK does', () => {
    const encryptor = createEncryptor({ type: 'aes256', key }, random)
    const object = concat([encryptor.header, encryptor.apply(plain, 0)])
    expect(toHex(object)).toBe(v1.encrypted)
    expect(object.length).toBe(v1.size)
    expect(rootOfFile(object)).toBe(v1.root)
  })

  test('decrypts what the official SDK encrypted', () => {
    const object = fromHex(v1.encrypted)
    const header = parseHeader(object)
    expect(header).toEqual({ version: 1, nonce: fromHex(v1.nonce), sizeBytes: 17 })
    expect(createDecryptor(header, { symmetricKey: key }).apply(object.subarray(17), 0)).toEqual(plain)
  })

  test('fragments of one encrypted object share its header and its counter', () => {
    const encryptor = createEncryptor({ type: 'aes256', key }, random)
    const object = concat([encryptor.header, encryptor.apply(plain, 0)])
    for (const fragment of vectors.v1Fragments512) {
      const part = object.slice(fragment.offset, fragment.offset + fragment.size)
      expect(toHex(part)).toBe(fragment.hex)
      expect(rootOfFile(part)).toBe(fragment.root)
    }
  })

  test('the key stream is reached at any offset', () => {
    const keystream = fromHex(vectors.cryptAt.keystream)
    const encryptor = createEncryptor({ type: 'aes256', key }, random)
    expect(toHex(encryptor.apply(new Uint8Array(keystream.length), vectors.cryptAt.offset))).toBe(
      vectors.cryptAt.keystream,
    )
  })
})

describe('v2, to a public key', () => {
  const { v2 } = vectors
  const random = concat([fromHex(v2.ephemeralPriv), fromHex(v2.nonce)])
  const recipientPublicKey = fromHex(v2.recipientPub)

  test('encrypts as the official SDK does', () => {
    const encryptor = createEncryptor({ type: 'ecies', recipientPublicKey }, random)
    const object = concat([encryptor.header, encryptor.apply(plain, 0)])
    expect(toHex(object.subarray(0, 80))).toBe(v2.encryptedFirst80)
    expect(toHex(keccak256(object))).toBe(v2.encryptedKeccak)
    expect(object.length).toBe(v2.size)
    expect(rootOfFile(object)).toBe(v2.root)
  })

  test('its body is encrypted with the derived key of the vector', () => {
    const encryptor = createEncryptor({ type: 'ecies', recipientPublicKey }, random)
    const sameKey = createEncryptor({ type: 'aes256', key: fromHex(v2.aesKey) }, random)
    expect(encryptor.apply(plain, 0)).toEqual(sameKey.apply(plain, 0))
  })

  test('takes an uncompressed key as well', () => {
    const uncompressed = secp256k1.Point.fromHex(v2.recipientPub.slice(2)).toBytes(false)
    expect(uncompressed.length).toBe(65)
    const encryptor = createEncryptor({ type: 'ecies', recipientPublicKey: uncompressed }, random)
    expect(toHex(concat([encryptor.header, encryptor.apply(plain, 0)]).subarray(0, 80))).toBe(v2.encryptedFirst80)
  })

  test('decrypts with the private key alone', () => {
    const encryptor = createEncryptor({ type: 'ecies', recipientPublicKey }, random)
    const header = parseHeader(encryptor.header)
    expect(header).toMatchObject({ version: 2, ephemeralPublicKey: fromHex(v2.ephemeralPub), sizeBytes: 50 })
    const decryptor = createDecryptor(header, { privateKey: fromHex(v2.recipientPriv) })
    expect(decryptor.apply(encryptor.apply(plain, 0), 0)).toEqual(plain)
  })

  test('is refused when the random bytes are no scalar', () => {
    expect(() => createEncryptor({ type: 'ecies', recipientPublicKey }, new Uint8Array(48))).toThrow(
      expect.objectContaining({ code: 'CIPHER_KEY_INVALID' }),
    )
  })
})

test('the counter wraps at 2^128', () => {
  const random = new Uint8Array(48).fill(255)
  const key = new Uint8Array(32).fill(1)
  const wrapped = createEncryptor({ type: 'aes256', key }, random).apply(new Uint8Array(16), 16)
  const zero = createEncryptor({ type: 'aes256', key }, new Uint8Array(48)).apply(new Uint8Array(16), 0)
  expect(wrapped).toEqual(zero)
})

test('a wrong key gives other bytes of the same size and no error', () => {
  const key = new Uint8Array(32).fill(1)
  const encryptor = createEncryptor({ type: 'aes256', key }, new Uint8Array(48))
  const header = parseHeader(encryptor.header)
  const garbage = createDecryptor(header, { symmetricKey: new Uint8Array(32).fill(2) }).apply(
    encryptor.apply(plain, 0),
    0,
  )
  expect(garbage.length).toBe(plain.length)
  expect(garbage).not.toEqual(plain)
})

test('a caller that overwrites its key changes nothing', () => {
  const key = new Uint8Array(32).fill(1)
  const encryptor = createEncryptor({ type: 'aes256', key }, new Uint8Array(48))
  const before = encryptor.apply(plain, 0)
  key.fill(0)
  expect(encryptor.apply(plain, 0)).toEqual(before)
})

describe('a key is refused', () => {
  const random = new Uint8Array(48).fill(1)
  const header: CipherHeader = { version: 1, nonce: new Uint8Array(16), sizeBytes: 17 }
  const header2 = parseHeader(
    createEncryptor({ type: 'ecies', recipientPublicKey: fromHex(vectors.v2.recipientPub) }, random).header,
  )
  const invalid = expect.objectContaining({ code: 'CIPHER_KEY_INVALID' })

  test.each([0, 16, 31, 33])('when it has %d bytes', (size) => {
    const key = new Uint8Array(size)
    expect(() => createEncryptor({ type: 'aes256', key }, random)).toThrow(invalid)
    expect(() => createDecryptor(header, { symmetricKey: key })).toThrow(invalid)
    expect(() => createDecryptor(header2, { privateKey: key })).toThrow(invalid)
    expect(() => createEncryptor({ type: 'ecies', recipientPublicKey: key }, random)).toThrow(invalid)
  })

  test('when it is text', () => {
    const text = { type: 'aes256', key: vectors.v1.key } as unknown as Encryption
    expect(() => createEncryptor(text, random)).toThrow(invalid)
  })

  test('when it is the other kind, or none', () => {
    expect(() => createDecryptor(header, {})).toThrow(invalid)
    expect(() => createDecryptor(header, { privateKey: new Uint8Array(32).fill(1) })).toThrow(invalid)
    expect(() => createDecryptor(header2, { symmetricKey: new Uint8Array(32).fill(1) })).toThrow(invalid)
  })

  test('when it is no scalar or no point', () => {
    expect(() => createDecryptor(header2, { privateKey: new Uint8Array(32) })).toThrow(invalid)
    const noPoint = new Uint8Array(33).fill(5)
    expect(() => createEncryptor({ type: 'ecies', recipientPublicKey: noPoint }, random)).toThrow(invalid)
  })
})

describe('a header is refused', () => {
  test.each([
    ['empty', []],
    ['of an unknown version', [3, ...Array(60).fill(0)]],
    ['of v1, cut off', [1, ...Array(15).fill(0)]],
    ['of v2, cut off', [2, ...Array(48).fill(0)]],
  ])('%s', (_, bytes) => {
    expect(() => parseHeader(Uint8Array.from(bytes))).toThrow(
      expect.objectContaining({ code: 'CIPHER_HEADER_INVALID' }),
    )
  })

  test('when its ephemeral key is no point', () => {
    const header = parseHeader(Uint8Array.from([2, ...Array(49).fill(5)]))
    expect(() => createDecryptor(header, { privateKey: new Uint8Array(32).fill(1) })).toThrow(
      expect.objectContaining({ code: 'CIPHER_HEADER_INVALID' }),
    )
  })
})

test('offsets are whole numbers and 48 random bytes are needed', () => {
  const encryptor = createEncryptor({ type: 'aes256', key: new Uint8Array(32) }, new Uint8Array(48))
  expect(() => encryptor.apply(plain, -1)).toThrow('an offset is a whole number')
  expect(() => encryptor.apply(plain, 0.5)).toThrow('an offset is a whole number')
  expect(() => createEncryptor({ type: 'aes256', key: new Uint8Array(32) }, new Uint8Array(16))).toThrow(
    '48 random bytes',
  )
})
