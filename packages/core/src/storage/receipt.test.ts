import { secp256k1 } from '@noble/curves/secp256k1.js'
import { hashTypedData, recoverTypedDataAddress } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { describe, expect, test } from 'vitest'
import vectors from '../../../../sim/vectors/receipt.json' with { type: 'json' }
import { fromHex, toHex, type Address, type Hex, type Root } from '../hex.ts'
import type { Receipt } from '../types.ts'
import {
  addressOfPrivateKey,
  bitmapOf,
  receiptDigest,
  receiptFromJson,
  signReceipt,
  slotsOf,
  verifyReceipt,
  type UnsignedReceipt,
} from './receipt.ts'

const key = fromHex(vectors.privateKey)
const receipts = vectors.receipts.map(({ receipt }) => receiptFromJson(receipt))
const [receipt] = receipts as [Receipt, ...Receipt[]]
const invalid = (reason?: string) =>
  expect.objectContaining(
    reason === undefined
      ? { code: 'RECEIPT_INVALID' }
      : { code: 'RECEIPT_INVALID', facts: expect.objectContaining({ reason }) },
  )

function typedData(of: UnsignedReceipt) {
  return {
    domain: { name: 'Weightless Storage', version: '1', chainId: of.chainId, verifyingContract: of.registry },
    types: {
      Receipt: [
        { name: 'registryVersion', type: 'uint64' },
        { name: 'dataRoot', type: 'bytes32' },
        { name: 'entrySeq', type: 'uint64' },
        { name: 'slots', type: 'bytes' },
        { name: 'fingerprintRoot', type: 'bytes32' },
        { name: 'blockNumber', type: 'uint64' },
      ],
    },
    primaryType: 'Receipt',
    message: {
      registryVersion: BigInt(of.registryVersion),
      dataRoot: of.dataRoot,
      entrySeq: BigInt(of.entrySeq),
      slots: of.slots,
      fingerprintRoot: of.fingerprintRoot,
      blockNumber: BigInt(of.blockNumber),
    },
  } as const
}

describe('golden vectors', () => {
  test('digest and signature are the committed ones, and signing again gives the same', () => {
    vectors.receipts.forEach(({ digest }, i) => {
      expect(toHex(receiptDigest(receipts[i]!))).toBe(digest)
      expect(signReceipt(receipts[i]!, key)).toEqual(receipts[i])
      expect(() => verifyReceipt(receipts[i]!)).not.toThrow()
    })
  })

  test('viem computes the same digest, recovers the same signer and signs the same bytes', async () => {
    for (const each of receipts) {
      expect(hashTypedData(typedData(each))).toBe(toHex(receiptDigest(each)))
      const signer = await recoverTypedDataAddress({ ...typedData(each), signature: each.signature })
      expect(signer.toLowerCase()).toBe(each.signer)
      expect(await privateKeyToAccount(vectors.privateKey as Hex).signTypedData(typedData(each))).toBe(each.signature)
    }
  })
})

describe('a receipt is refused', () => {
  test.each<[string, Partial<Receipt>]>([
    ['another chain', { chainId: 1 }],
    ['another registry', { registry: `0x${'01'.repeat(20)}` as Address }],
    ['another version', { registryVersion: 7 }],
    ['another root', { dataRoot: `0x${'01'.repeat(32)}` as Root }],
    ['another entry', { entrySeq: 43 }],
    ['other slots', { slots: '0x03' }],
    ['other fingerprints', { fingerprintRoot: `0x${'01'.repeat(32)}` }],
    ['another block', { blockNumber: 1235 }],
    ['another signer', { signer: `0x${'01'.repeat(20)}` as Address }],
  ])('when it names %s', (_, change) => {
    expect(() => verifyReceipt({ ...receipt, ...change })).toThrow(invalid())
  })

  const signature = fromHex(receipt.signature)
  const withBytes = (change: (bytes: Uint8Array) => void): Hex => {
    const copy = signature.slice()
    change(copy)
    return toHex(copy)
  }
  const malleable = () => {
    const { n } = secp256k1.Point.CURVE()
    const s = BigInt(toHex(signature.subarray(32, 64)))
    return withBytes((bytes) => {
      bytes.set(fromHex((n - s).toString(16).padStart(64, '0')), 32)
      bytes[64]! ^= 27 ^ 28
    })
  }

  test('when s is in the upper half, although a key made it', () => {
    const high = malleable()
    expect(() => verifyReceipt({ ...receipt, signature: high })).toThrow(
      invalid('no key made this signature, or s is in the upper half'),
    )
  })

  test.each([0, 1, 26, 29, 255])('when v is %d', (v) => {
    const changed = withBytes((bytes) => {
      bytes[64] = v
    })
    expect(() => verifyReceipt({ ...receipt, signature: changed })).toThrow(invalid('v is neither 27 nor 28'))
  })

  test('when v is the other one', () => {
    const changed = withBytes((bytes) => {
      bytes[64]! ^= 27 ^ 28
    })
    expect(() => verifyReceipt({ ...receipt, signature: changed })).toThrow(invalid())
  })

  test.each([
    ['r is zero', 0, 32, 0],
    ['s is zero', 32, 64, 0],
    ['r is not below the order', 0, 32, 255],
    ['s is not below the order', 32, 64, 255],
  ])('when %s', (_, from, to, byte) => {
    const changed = withBytes((bytes) => {
      bytes.fill(byte, from, to)
    })
    expect(() => verifyReceipt({ ...receipt, signature: changed })).toThrow(
      invalid('no key made this signature, or s is in the upper half'),
    )
  })

  test('when r is no point', () => {
    const r = withBytes((bytes) => {
      bytes.fill(0, 0, 32)
      bytes[31] = 5
    })
    expect(() => verifyReceipt({ ...receipt, signature: r })).toThrow(
      invalid('no key made this signature, or s is in the upper half'),
    )
  })

  test('when signature or signer have another size', () => {
    expect(() => verifyReceipt({ ...receipt, signature: `${receipt.signature}00` })).toThrow(invalid())
    expect(() => verifyReceipt({ ...receipt, signature: receipt.signature.slice(0, -2) as Hex })).toThrow(invalid())
    expect(() => verifyReceipt({ ...receipt, signer: '0x00' as Address })).toThrow(invalid('signer is no address'))
  })
})

test('nobody signs what no verifier accepts', () => {
  const wrong: Partial<UnsignedReceipt>[] = [
    { slots: '0x' },
    { slots: '0x0100' },
    { slots: '0x00' },
    { slots: `0x${'01'.repeat(33)}` },
    { entrySeq: -1 },
    { entrySeq: 2 ** 53 },
    { blockNumber: 0.5 },
    { dataRoot: '0x01' as Root },
    { registry: '0x01' as Address },
    { fingerprintRoot: '0x' },
  ]
  for (const change of wrong) expect(() => signReceipt({ ...receipt, ...change }, key)).toThrow(invalid())
})

test('signing drops what is no part of a receipt', () => {
  const more = { ...receipt, note: 'x' }
  expect(signReceipt(more, key)).toEqual(receipt)
})

describe('a receipt from outside', () => {
  test('keeps its fields, hex in lower case, and drops the rest', () => {
    const upper = { ...receipt, dataRoot: `0x${receipt.dataRoot.slice(2).toUpperCase()}`, more: 1 }
    expect(receiptFromJson(JSON.parse(JSON.stringify(upper)))).toEqual(receipt)
  })

  test.each([
    ['nothing', undefined],
    ['null', null],
    ['text', 'receipt'],
    ['an empty object', {}],
    ['a number as text', { ...receipt, chainId: '31337' }],
    ['half a number', { ...receipt, blockNumber: 0.5 }],
    ['a number beyond 2^53', { ...receipt, entrySeq: 2 ** 53 }],
    ['a negative number', { ...receipt, registryVersion: -1 }],
    ['a root that is no text', { ...receipt, dataRoot: 5 }],
    ['half a byte', { ...receipt, slots: '0x1' }],
    ['hex without prefix', { ...receipt, slots: '01' }],
    ['a slot bitmap beyond its limit', { ...receipt, slots: `0x${'01'.repeat(33)}` }],
    ['no slots', { ...receipt, slots: '0x' }],
    ['a short signer', { ...receipt, signer: '0x00' }],
    ['a short signature', { ...receipt, signature: '0x00' }],
    ['a long signature', { ...receipt, signature: `${receipt.signature}00` }],
    ['a short root', { ...receipt, dataRoot: '0x00' }],
  ])('%s: refused', (_, value) => {
    expect(() => receiptFromJson(value)).toThrow(invalid())
  })
})

describe('bitmaps of slots', () => {
  test.each([
    [[], '0x'],
    [[0], '0x01'],
    [[2, 0], '0x05'],
    [[7, 8], '0x8001'],
    [[255], `0x${'00'.repeat(31)}80`],
  ])('%j is %s', (slots, bitmap) => {
    expect(bitmapOf(slots)).toBe(bitmap)
    expect(slotsOf(bitmap as Hex)).toEqual([...slots].sort((a, b) => a - b))
  })

  test.each([256, 0.5, -1])('there is no slot %d', (slot) => {
    expect(() => bitmapOf([0, slot])).toThrow('a slot is a number below 256')
  })
})

test('an address is that of viem', () => {
  expect(addressOfPrivateKey(key)).toBe(privateKeyToAccount(vectors.privateKey as Hex).address.toLowerCase())
})
