import { describe, expect, test } from 'vitest'
import { assembleCertificate, bitmapOf, certificateFromJson, decodeBase64, type Certificate } from '@weightless/core'
import vectors from '../../../../sim/vectors/shards.json' with { type: 'json' }
import { bringsNews, isOfSameParity, unionOf } from './certificateUnion.ts'

const [coded, copied] = vectors.certificates.map(certificateFromJson) as [Certificate, Certificate]
const memberships = coded.members.map(({ version, members }) => ({
  version,
  members: members.map((member) => ({ ...member, weight: BigInt(member.weight) })),
}))
const without = (...places: readonly number[]): Certificate =>
  assembleCertificate(
    coded,
    coded.receipts
      .map((receipt, i) => ({ receipt, fingerprints: decodeBase64(coded.fingerprints[i]!) }))
      .filter((_, i) => !places.includes(i)),
    memberships,
  )
const idOf = (place: number): number => {
  const { registryVersion, signer } = coded.receipts[place]!
  const list = coded.members.find(({ version }) => version === registryVersion)!
  return list.members.find((member) => member.signer === signer)!.id
}
const anybody = (): boolean => true
const withSlots = (certificate: Certificate, place: number, slots: readonly number[]): Certificate => ({
  ...certificate,
  receipts: certificate.receipts.map((receipt, i) => (i === place ? { ...receipt, slots: bitmapOf(slots) } : receipt)),
})

describe('two certificates of one parity', () => {
  test('together are the one that has the receipts of both', () => {
    expect(unionOf(without(0), without(1, 2), { isMember: anybody, prefer: 'kept' })).toEqual(coded)
    expect(unionOf(without(0), without(0), { isMember: anybody, prefer: 'other' })).toEqual(without(0))
  })

  test('leave out whoever is no member', () => {
    const isNotTwo = (id: number): boolean => id !== idOf(2)
    expect(unionOf(without(0), without(1), { isMember: isNotTwo, prefer: 'kept' })).toEqual(without(2))
    expect(unionOf(coded, coded, { isMember: () => false, prefer: 'kept' })).toBeUndefined()
  })

  test('that name other slots of one member, which has given some up since: either may count', () => {
    const other = withSlots(coded, 0, [5])
    expect(bringsNews(other, coded, anybody)).toBe(true)
    expect(unionOf(coded, other, { isMember: anybody, prefer: 'kept' })!.receipts[0]!.slots).toBe(
      coded.receipts[0]!.slots,
    )
    const slots = unionOf(coded, other, { isMember: anybody, prefer: 'other' })!.receipts.map((one) => one.slots)
    expect(slots).toContain(bitmapOf([5]))
    expect(slots).not.toContain(coded.receipts[0]!.slots)
  })

  test('have news for each other where one names a member, or slots of it, that the other does not', () => {
    expect([bringsNews(without(0), without(1), anybody), bringsNews(without(0, 1), without(1), anybody)]).toEqual([
      true,
      false,
    ])
    expect(bringsNews(without(0), without(1), (id) => id !== idOf(1))).toBe(false)
    const more = withSlots(coded, 0, [0, 1])
    expect([bringsNews(more, coded, anybody), bringsNews(coded, more, anybody)]).toEqual([true, false])
  })

  test('are of one parity by its root, its number and its code', () => {
    expect(isOfSameParity(coded, without(0))).toBe(true)
    expect(isOfSameParity(coded, { ...coded, parity: { ...coded.parity!, seq: coded.parity!.seq + 1 } })).toBe(false)
    expect(isOfSameParity(coded, { ...coded, code: { k: coded.code!.k, m: coded.code!.m + 1 } })).toBe(false)
    expect(isOfSameParity(coded, copied)).toBe(false)
  })
})
