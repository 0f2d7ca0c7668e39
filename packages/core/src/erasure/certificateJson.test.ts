import { describe, expect, test } from 'vitest'
import vectors from '../../../../sim/vectors/shards.json' with { type: 'json' }
import { CERTIFICATE_FINGERPRINT_BYTES_MAX } from '../limits.ts'
import { certificateFromJson } from './certificateJson.ts'

const [coded, copied] = vectors.certificates
const invalid = (code = 'CERTIFICATE_INVALID') => expect.objectContaining({ code })
const [list] = coded!.members
const withMember = (change: object) => ({
  ...coded,
  members: [{ ...list, members: [{ ...list!.members[0], ...change }, ...list!.members.slice(1)] }],
})

test('a certificate travels as JSON, hex in any case, and loses what it has too much', () => {
  for (const certificate of [coded!, copied!]) expect(certificateFromJson(certificate)).toEqual(certificate)
  const upper = { ...coded, dataRoot: `0x${coded!.dataRoot.slice(2).toUpperCase()}`, more: 1 }
  const withMore = { ...upper, code: { ...coded!.code, more: 2 }, parity: { ...coded!.parity, more: 3 } }
  expect(certificateFromJson(withMore)).toEqual(coded)
  expect(certificateFromJson(withMember({ more: 4 })).members[0]).toEqual(list)
})

test('the -0 that JSON has is the number 0', () => {
  const { entrySeq } = certificateFromJson(
    JSON.parse(JSON.stringify({ ...coded, entrySeq: 42 }).replace('"entrySeq":42', '"entrySeq":-0')),
  )
  expect(Object.is(entrySeq, 0)).toBe(true)
})

describe('a certificate from outside is refused', () => {
  test.each<[string, unknown]>([
    ['nothing', undefined],
    ['null', null],
    ['a list', [coded]],
    ['text', 'certificate'],
    ['an empty object', {}],
    ['another version', { ...coded, version: 2 }],
    ['a chain id as text', { ...coded, chainId: '31337' }],
    ['half a size', { ...coded, sizeBytes: 0.5 }],
    ['a number beyond 2^53', { ...coded, entrySeq: 2 ** 53 }],
    ['a short registry', { ...coded, registry: '0x00' }],
    ['a root without prefix', { ...coded, dataRoot: coded!.dataRoot.slice(2) }],
    ['no code', { ...coded, code: undefined }],
    ['a code of nothing', { ...coded, code: { k: 0, m: 2 } }],
    ['a code of 257 slots', { ...coded, code: { k: 200, m: 57 } }],
    ['parity without a number', { ...coded, parity: { root: coded!.parity!.root } }],
    ['receipts that are no list', { ...coded, receipts: { length: 1 } }],
    ['257 receipts', { ...coded, receipts: Array.from({ length: 257 }, () => coded!.receipts[0]) }],
    ['257 fingerprints', { ...coded, fingerprints: Array.from({ length: 257 }, () => '') }],
    ['fingerprints that are no text', { ...coded, fingerprints: [7] }],
    ['257 member lists', { ...coded, members: Array.from({ length: 257 }, () => list) }],
    [
      '257 members',
      { ...coded, members: [{ version: 6, members: Array.from({ length: 257 }, () => list!.members[0]) }] },
    ],
    ['a member that is none', { ...coded, members: [{ version: 6, members: [null] }] }],
    ['an id of five bytes', withMember({ id: 2 ** 32 })],
    ['a short signer', withMember({ signer: '0x00' })],
    ['a domain that is no hash', withMember({ domain: 'a' })],
    ['an endpoint beyond its limit', withMember({ endpoint: 'x'.repeat(257) })],
    ['a weight as a number', withMember({ weight: 1 })],
    ['a weight in hex', withMember({ weight: '0x1' })],
    ['a weight with a zero before it', withMember({ weight: '01' })],
    ['a negative weight', withMember({ weight: '-1' })],
    ['a weight of 79 digits', withMember({ weight: '1'.repeat(79) })],
  ])('%s', (_, value) => {
    expect(() => certificateFromJson(value)).toThrow(invalid())
  })

  test('with a receipt that is none', () => {
    expect(() => certificateFromJson({ ...coded, receipts: [{ ...coded!.receipts[0], slots: '0x' }] })).toThrow(
      invalid('RECEIPT_INVALID'),
    )
  })

  test('with more fingerprints than the largest object has', () => {
    const half = 'A'.repeat((CERTIFICATE_FINGERPRINT_BYTES_MAX / 3) * 2 + 1024)
    expect(() => certificateFromJson({ ...coded, fingerprints: [half] })).not.toThrow()
    expect(() => certificateFromJson({ ...coded, fingerprints: [half, half] })).toThrow(invalid())
  })
})
