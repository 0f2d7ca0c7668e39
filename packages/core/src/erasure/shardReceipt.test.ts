import { describe, expect, test } from 'vitest'
import vectors from '../../../../sim/vectors/shards.json' with { type: 'json' }
import { decodeBase64 } from '../base64.ts'
import { concat } from '../bytes.ts'
import { parseRoot } from '../hex.ts'
import { bitmapOf, receiptFromJson } from '../storage/receipt.ts'
import { shardLayoutOf } from './shardLayout.ts'
import { checkFingerprints, receiptKindOf } from './shardReceipt.ts'

const [coded, copied] = vectors.certificates
const layout = shardLayoutOf(coded!.sizeBytes, coded!.code)!
const of = { layout, parityRoot: parseRoot(coded!.parity!.root) }
const receipt = receiptFromJson(coded!.receipts[0])
const fingerprints = decodeBase64(coded!.fingerprints[0]!)!

test('a receipt for shards and one for a copy are told apart', () => {
  expect(receiptKindOf(receipt)).toBe('shards')
  expect(receiptKindOf(receiptFromJson(copied!.receipts[0]))).toBe('copy')
})

test('the fingerprints that a receipt signs are a claim of its slots', () => {
  expect(checkFingerprints(of, receipt, fingerprints)).toEqual({ slots: [0], fingerprints })
})

describe('fingerprints are refused', () => {
  const invalid = (reason: string) =>
    expect.objectContaining({ code: 'RECEIPT_INVALID', facts: expect.objectContaining({ reason }) })
  const notSigned = invalid('the fingerprints are not those that it signs')

  test('when the receipt signs others, of another parity or of other slots', () => {
    const changed = fingerprints.slice()
    changed[31]! ^= 1
    expect(() => checkFingerprints(of, receipt, changed)).toThrow(notSigned)
    const other = { layout, parityRoot: parseRoot(`0x${'01'.repeat(32)}`) }
    expect(() => checkFingerprints(other, receipt, fingerprints)).toThrow(notSigned)
    expect(() => checkFingerprints(of, { ...receipt, slots: bitmapOf([4]) }, fingerprints)).toThrow(notSigned)
  })

  test('when they are more or fewer than the shards', () => {
    expect(() => checkFingerprints(of, receipt, fingerprints.subarray(16))).toThrow(
      invalid('there are 16 bytes of fingerprints and not 32'),
    )
    expect(() => checkFingerprints(of, receipt, concat([fingerprints, fingerprints]))).toThrow(
      invalid('there are 64 bytes of fingerprints and not 32'),
    )
  })

  test.each([6, 255])('when the receipt names slot %d, where the object has nothing', (slot) => {
    expect(() => checkFingerprints(of, { ...receipt, slots: bitmapOf([0, slot]) }, fingerprints)).toThrow(
      invalid('the object has no shards in that slot'),
    )
  })

  test('when the receipt is for a copy', () => {
    const copy = { ...receipt, fingerprintRoot: receiptFromJson(copied!.receipts[0]).fingerprintRoot }
    expect(() => checkFingerprints(of, copy, fingerprints)).toThrow(invalid('it is for a whole copy'))
  })
})
