import { encodeAbiParameters, keccak256 as viemKeccak256, stringToHex } from 'viem'
import { describe, expect, test } from 'vitest'
import vectors from '../../../../sim/vectors/membership.json' with { type: 'json' }
import { toHex, type Address, type Hex } from '../hex.ts'
import { ENDPOINT_BYTES_MAX, MEMBERS_MAX } from '../limits.ts'
import type { Member } from '../types.ts'
import { domainOf, memberLeaf, membershipHash } from './membership.ts'

const members: Member[] = vectors.members.map(({ id, signer, endpoint, domain, weight }) => ({
  id,
  signer: signer as Address,
  endpoint,
  domain: domain as Hex,
  weight: BigInt(weight),
}))
const byId = (id: number) => members.find((member) => member.id === id)!

test('leaves are those of the vectors and of abi.encode', () => {
  const types = [
    { type: 'uint32' },
    { type: 'address' },
    { type: 'bytes32' },
    { type: 'bytes32' },
    { type: 'uint256' },
  ] as const
  vectors.members.forEach((vector, i) => {
    const member = members[i]!
    expect(toHex(memberLeaf(member))).toBe(vector.leaf)
    expect(domainOf(vector.domainName)).toBe(vector.domain)
    const endpointHash = viemKeccak256(stringToHex(member.endpoint))
    const encoded = encodeAbiParameters(types, [member.id, member.signer, endpointHash, member.domain, member.weight])
    expect(viemKeccak256(encoded)).toBe(vector.leaf)
  })
})

test('the hash of a set is that of its leaves in ascending id order, whatever order they come in', () => {
  for (const { ids, membershipHash: expected } of vectors.sets) {
    expect(toHex(membershipHash(ids.map(byId)))).toBe(expected)
  }
})

test('any change of a member changes the hash', () => {
  const before = toHex(membershipHash(members))
  const changes: Partial<Member>[] = [
    { id: 3 },
    { signer: `0x${'12'.repeat(20)}` as Address },
    { endpoint: 'http://127.0.0.1:8611' },
    { domain: domainOf('c') },
    { weight: 1025n },
  ]
  for (const change of changes) {
    expect(toHex(membershipHash([{ ...members[0]!, ...change }, ...members.slice(1)]))).not.toBe(before)
  }
})

describe('a member list is refused', () => {
  const invalid = expect.objectContaining({ code: 'MEMBERSHIP_INVALID' })
  const [member] = members as [Member, ...Member[]]

  test.each<[string, Partial<Member>]>([
    ['an id of five bytes', { id: 2 ** 32 }],
    ['a negative id', { id: -1 }],
    ['half an id', { id: 0.5 }],
    ['a negative weight', { weight: -1n }],
    ['a weight of 33 bytes', { weight: 1n << 256n }],
    ['a signer of 19 bytes', { signer: `0x${'00'.repeat(19)}` as Address }],
    ['a domain that is no hash', { domain: '0x00' }],
    ['an endpoint beyond its limit', { endpoint: 'é'.repeat(ENDPOINT_BYTES_MAX / 2 + 1) }],
  ])('for %s', (_, change) => {
    expect(() => membershipHash([{ ...member, ...change }])).toThrow(invalid)
  })

  test('when an id comes twice', () => {
    expect(() => membershipHash([member, members[1]!, member])).toThrow(invalid)
  })

  test('when it is longer than a registry allows', () => {
    const many = Array.from({ length: MEMBERS_MAX + 1 }, (_, id) => ({ ...member, id }))
    expect(() => membershipHash(many)).toThrow(invalid)
    expect(() => membershipHash(many.slice(1))).not.toThrow()
  })
})
