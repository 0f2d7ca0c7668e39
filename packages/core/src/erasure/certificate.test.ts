import { keccak256, segmentRoots } from '@weightless/kernels'
import { describe, expect, test } from 'vitest'
import { fileOf } from '../../../../sim/vectors/files.ts'
import vectors from '../../../../sim/vectors/shards.json' with { type: 'json' }
import { decodeBase64, encodeBase64 } from '../base64.ts'
import { fileTreeOf } from '../flow/fileTree.ts'
import { layoutOf, leafCountOf } from '../flow/layout.ts'
import { fromHex, type Address, type Root } from '../hex.ts'
import { membershipHash } from '../storage/membership.ts'
import { bitmapOf, signReceipt } from '../storage/receipt.ts'
import type { Membership, Receipt } from '../types.ts'
import { assembleCertificate, verifyCertificate, type Certificate, type HeldReceipt } from './certificate.ts'
import { certificateFromJson } from './certificateJson.ts'
import { fingerprintRootOf } from './shardFingerprints.ts'
import { shardLayoutOf } from './shardLayout.ts'
import { NO_FINGERPRINTS } from './shardReceipt.ts'

const [coded, copied] = vectors.certificates.map(certificateFromJson) as [Certificate, Certificate]
const hashes = new Map(vectors.membershipHashes.map(({ version, hash }) => [version, fromHex(hash)]))
const trusted = {
  chainId: coded.chainId,
  registry: coded.registry,
  membershipHashOf: (version: number) => hashes.get(version),
}
const verify = (certificate: Certificate, options: Partial<Parameters<typeof verifyCertificate>[1]> = {}) =>
  verifyCertificate(certificate, { ...trusted, ...options })
const memberships: Membership[] = coded.members.map(({ version, members }) => ({
  version,
  members: members.map((member) => ({ ...member, weight: BigInt(member.weight) })),
}))
const keyOf = (id: number) => keccak256(new TextEncoder().encode(`holder ${id}`))
const heldOf = ({ receipts, fingerprints }: Certificate): HeldReceipt[] =>
  receipts.map((receipt, i) => ({ receipt, fingerprints: decodeBase64(fingerprints[i]!)! }))
const held = heldOf(coded)
const layout = shardLayoutOf(coded.sizeBytes, coded.code!)!
const without = (...places: number[]) =>
  assembleCertificate(
    coded,
    held.filter((_, i) => !places.includes(i)),
    memberships,
  )
/** The receipt at `place` signed again with a change. */
const resigned = (place: number, id: number, change: Partial<Receipt>): Certificate => ({
  ...coded,
  receipts: coded.receipts.map((receipt, i) =>
    i === place ? signReceipt({ ...receipt, ...change }, keyOf(id)) : receipt,
  ),
})
/** Holder `id` in the place of another, with these slots and fingerprints. */
const shardsBy = (id: number, slots: readonly number[], fingerprints: Uint8Array): HeldReceipt => {
  const fingerprintRoot = fingerprintRootOf({ layout, parityRoot: coded.parity!.root, slots }, fingerprints)
  const registryVersion = id === 7 ? 7 : 6
  return {
    receipt: signReceipt(
      { ...coded.receipts[0]!, registryVersion, slots: bitmapOf(slots), fingerprintRoot },
      keyOf(id),
    ),
    fingerprints,
  }
}
const copyBy = (id: number, rank: number): HeldReceipt => ({
  receipt: signReceipt(
    { ...coded.receipts[0]!, registryVersion: 7, slots: bitmapOf([rank]), fingerprintRoot: NO_FINGERPRINTS },
    keyOf(id),
  ),
})

test('the certificates of the vectors are of the bytes that they say', () => {
  for (const { sizeBytes, dataRoot } of [coded, copied]) {
    const file = layoutOf(sizeBytes)
    const roots = segmentRoots(fileOf('xorshift32', sizeBytes), leafCountOf(file, file.segmentCount - 1))
    expect(fileTreeOf(file, roots).root).toBe(dataRoot)
  }
})

test('the certificates of the vectors prove what they should', () => {
  expect(verify(coded)).toMatchObject({
    needed: 5,
    reached: 6,
    isDurable: true,
    lossesSurvived: 2,
    blockNumber: 1234,
    proven: [4, 5],
    unproven: [],
    disputed: [],
  })
  expect(verify(coded).holders.map(({ member, kind, slots }) => [member.id, kind, slots])).toEqual([
    [1, 'shards', [0]],
    [2, 'shards', [1]],
    [3, 'shards', [2]],
    [4, 'shards', [3]],
    [5, 'shards', [4]],
    [7, 'shards', [5]],
  ])
  expect(verify(copied)).toMatchObject({ needed: 2, reached: 3, isDurable: true, lossesSurvived: 2, proven: [] })
})

test('what is assembled is the certificate of the vectors, whatever order the receipts came in', () => {
  expect(assembleCertificate(coded, held.toReversed(), memberships)).toEqual(coded)
  expect(assembleCertificate(copied, heldOf(copied).toReversed(), memberships)).toEqual(copied)
})

test('a parity slot that nobody holds costs a loss, and a data slot all that parity is worth', () => {
  expect(verify(without(5))).toMatchObject({ isDurable: true, reached: 5, lossesSurvived: 1, proven: [4] })
  expect(verify(without(4, 5))).toMatchObject({ isDurable: false, reached: 4, lossesSurvived: 0, proven: [] })
  expect(verify(without(2))).toMatchObject({ isDurable: false, lossesSurvived: 0, proven: [], unproven: [4, 5] })
})

test('an equation that fails leaves its slot unproven and the others as they are', () => {
  const bogus = held[4]!.fingerprints!.slice()
  bogus[20]! ^= 1
  const certificate = assembleCertificate(
    coded,
    [...held.filter((_, i) => i !== 4), shardsBy(5, [4], bogus)],
    memberships,
  )
  expect(verify(certificate)).toMatchObject({ isDurable: true, lossesSurvived: 1, proven: [5], unproven: [4] })
})

test('who has the data believes no holder about it', () => {
  const known = new Map([[1, new Uint8Array(16).fill(1)]])
  expect(verify(coded, { known })).toMatchObject({ isDurable: false, proven: [], disputed: [1] })
})

test('copies count beside shards', () => {
  const facts = verify(assembleCertificate(coded, [...held.slice(0, 5), copyBy(7, 0)], memberships))
  expect(facts).toMatchObject({ isDurable: true, lossesSurvived: 2 })
  expect(facts.holders.at(-1)).toMatchObject({ kind: 'copy', slots: [0], member: { id: 7 } })
  const parity = null
  expect(verify(assembleCertificate({ ...coded, parity }, [copyBy(1, 0), copyBy(7, 1)], memberships))).toMatchObject({
    isDurable: true,
    lossesSurvived: 1,
  })
})

test('an owner may ask for more losses', () => {
  expect(verify(coded, { lossesNeeded: 3 })).toMatchObject({ isDurable: false, needed: 7 })
  expect(verify({ ...copied, code: null })).toMatchObject({ isDurable: true, needed: 3 })
})

describe('a certificate is refused', () => {
  const refused = (certificate: Certificate, reason: string, options: Parameters<typeof verify>[1] = {}) =>
    expect(() => verify(certificate, options)).toThrow(
      expect.objectContaining({ code: 'CERTIFICATE_INVALID', facts: expect.objectContaining({ reason }) }),
    )
  const badReceipt = (certificate: Certificate, reason: string) =>
    expect(() => verify(certificate)).toThrow(
      expect.objectContaining({ code: 'RECEIPT_INVALID', facts: expect.objectContaining({ reason }) }),
    )
  const [first, ...rest] = coded.members
  const another = `0x${'01'.repeat(20)}` as Address

  test('of another chain or registry', () => {
    refused(coded, 'it is of another chain or registry', { chainId: 1 })
    refused(coded, 'it is of another chain or registry', { registry: another })
  })

  test('with a member list that the registry did not have', () => {
    const strange = {
      ...first!,
      members: first!.members.map((member, i) => (i === 2 ? { ...member, weight: '5' } : member)),
    }
    refused({ ...coded, members: [strange, ...rest] }, 'the members are not those that the registry had')
    refused(
      { ...coded, members: [...coded.members, { ...first!, version: 8 }] },
      'the registry has no members of that version',
    )
    refused({ ...coded, members: [...coded.members, first!] }, 'the members of a version come twice')
    refused({ ...coded, members: rest }, 'the members of a version are missing')
  })

  test('with the receipt of a stranger, or of who was no member of that version', () => {
    refused(resigned(0, 99, {}), 'the signer is no member')
    refused(resigned(5, 7, { registryVersion: 6 }), 'the signer is no member')
  })

  test('with a receipt of another entry', () => {
    refused(resigned(1, 2, { chainId: 1 }), 'chainId of a receipt differs')
    refused(resigned(1, 2, { registry: another }), 'registry of a receipt differs')
    refused(resigned(1, 2, { dataRoot: `0x${'01'.repeat(32)}` as Root }), 'dataRoot of a receipt differs')
    refused(resigned(1, 2, { entrySeq: 41 }), 'entrySeq of a receipt differs')
    refused(resigned(1, 2, { blockNumber: 1 }), 'blockNumber of a receipt differs')
    refused({ ...coded, dataRoot: copied.dataRoot }, 'dataRoot of a receipt differs')
  })

  test('with a signature of somebody else', () => {
    const [one, two] = coded.receipts
    badReceipt(
      { ...coded, receipts: [{ ...one!, signature: two!.signature }, ...coded.receipts.slice(1)] },
      'another key made this signature',
    )
  })

  test('with a member that signs twice, under two keys too', () => {
    const twice = assembleCertificate(coded, [...held, shardsBy(5, [5], held[5]!.fingerprints!)], memberships)
    refused(twice, 'a member signs twice')
    const renamed = {
      version: 8,
      members: first!.members.map((member) =>
        member.id === 5 ? { ...member, signer: coded.receipts[5]!.signer } : member,
      ),
    }
    const list = renamed.members.map((member) => ({ ...member, weight: BigInt(member.weight) }))
    refused({ ...resigned(5, 7, { registryVersion: 8 }), members: [first!, renamed] }, 'a member signs twice', {
      membershipHashOf: (version) => (version === 8 ? membershipHash(list) : hashes.get(version)),
    })
  })

  test('with fingerprints that a receipt does not sign', () => {
    const bytes = held[3]!.fingerprints!.slice()
    bytes[0]! ^= 1
    const fingerprints = coded.fingerprints.map((text, i) => (i === 3 ? encodeBase64(bytes) : text))
    badReceipt({ ...coded, fingerprints }, 'the fingerprints are not those that it signs')
    badReceipt(
      { ...coded, parity: { ...coded.parity!, root: coded.dataRoot } },
      'the fingerprints are not those that it signs',
    )
    badReceipt({ ...coded, code: { k: 4, m: 3 } }, 'the fingerprints are not those that it signs')
    refused({ ...coded, fingerprints: fingerprints.slice(1) }, 'not every receipt has its fingerprints')
    refused({ ...coded, fingerprints: fingerprints.with(0, '*') }, 'the fingerprints of a receipt are no base64')
    refused({ ...copied, fingerprints: ['AAAA', '', ''] }, 'a copy has no fingerprints')
  })

  test('with another number of segments than the shards of its holders', () => {
    badReceipt({ ...coded, sizeBytes: coded.sizeBytes + 262_144 }, 'there are 16 bytes of fingerprints and not 32')
    badReceipt({ ...coded, sizeBytes: coded.sizeBytes - 5000 }, 'there are 32 bytes of fingerprints and not 16')
  })

  test('with shards where there is no parity, and with parity where there is nothing to protect', () => {
    refused({ ...coded, parity: null }, 'a receipt is for shards and there is no parity')
    refused({ ...coded, code: null }, 'an object of one segment, or without a code, has no parity')
    refused({ ...copied, parity: coded.parity }, 'an object of one segment, or without a code, has no parity')
  })

  test('without receipts', () => {
    refused({ ...coded, receipts: [], fingerprints: [] }, 'the number of receipts')
  })
})

describe('nothing is assembled', () => {
  const invalid = (reason: string) =>
    expect.objectContaining({ code: 'CERTIFICATE_INVALID', facts: expect.objectContaining({ reason }) })

  test('without the members of a version that a receipt names', () => {
    expect(() => assembleCertificate(coded, held, memberships.slice(0, 1))).toThrow(
      invalid('the members of a version are not known'),
    )
  })

  test('of no receipts, or of more than there are slots', () => {
    expect(() => assembleCertificate(coded, [], memberships)).toThrow(invalid('the number of receipts'))
    const many = Array.from({ length: 257 }, () => held[0]!)
    expect(() => assembleCertificate(coded, many, memberships)).toThrow(invalid('the number of receipts'))
  })
})
