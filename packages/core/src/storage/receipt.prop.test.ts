import { secp256k1 } from '@noble/curves/secp256k1.js'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { runs } from '../../../../sim/runs.ts'
import { isFailure } from '../errors.ts'
import { toHex, type Address, type Root } from '../hex.ts'
import { bitmapOf, receiptFromJson, signReceipt, slotsOf, verifyReceipt } from './receipt.ts'

const hexOf = (length: number) => fc.uint8Array({ minLength: length, maxLength: length }).map(toHex)
const unsigned = fc.record({
  chainId: fc.maxSafeNat(),
  registry: hexOf(20).map((hex) => hex as Address),
  registryVersion: fc.maxSafeNat(),
  dataRoot: hexOf(32).map((hex) => hex as Root),
  entrySeq: fc.maxSafeNat(),
  slots: fc.uniqueArray(fc.nat(255), { minLength: 1, maxLength: 8 }).map(bitmapOf),
  fingerprintRoot: hexOf(32),
  blockNumber: fc.maxSafeNat(),
})
const privateKey = fc
  .uint8Array({ minLength: 32, maxLength: 32 })
  .filter((key) => secp256k1.utils.isValidSecretKey(key))

test('what is signed verifies, travels as JSON and comes back', () => {
  fc.assert(
    fc.property(unsigned, privateKey, (content, key) => {
      const receipt = signReceipt(content, key)
      expect(receiptFromJson(JSON.parse(JSON.stringify(receipt)))).toEqual(receipt)
      verifyReceipt(receipt)
    }),
    runs(0.5),
  )
})

test('no JSON value makes the parser throw anything but its own error', () => {
  const fields = fc.dictionary(
    fc.constantFrom(
      'chainId',
      'registry',
      'registryVersion',
      'dataRoot',
      'entrySeq',
      'slots',
      'fingerprintRoot',
      'blockNumber',
      'signer',
      'signature',
    ),
    fc.oneof(fc.jsonValue(), hexOf(32), hexOf(20), fc.nat()),
  )
  fc.assert(
    fc.property(fc.oneof(fields, fc.jsonValue()), (value) => {
      try {
        receiptFromJson(value)
      } catch (error) {
        expect(isFailure(error, 'RECEIPT_INVALID')).toBe(true)
      }
    }),
    runs(5),
  )
})

test('slots and bitmaps are each other’s inverse', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(255), { maxLength: 20 }), (slots) => {
      expect(slotsOf(bitmapOf(slots))).toEqual(slots.sort((a, b) => a - b))
    }),
    runs(2),
  )
})
