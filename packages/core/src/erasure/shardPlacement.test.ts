import { expect, test } from 'vitest'
import vectors from '../../../../sim/vectors/shards.json' with { type: 'json' }
import type { Address, Hex } from '../hex.ts'
import { SEGMENT_SIZE_BYTES } from '../limits.ts'
import { placeHomes } from '../storage/placement.ts'
import type { Member } from '../types.ts'
import { protectedHomes } from './shardPlacement.ts'

const memberOf = (id: number, domain: number | string = id, weight = 1n): Member => ({
  id,
  domain: (typeof domain === 'string' ? domain : `0x${domain.toString(16).padStart(64, '0')}`) as Hex,
  weight,
  signer: `0x${'00'.repeat(20)}` as Address,
  endpoint: '',
})
const dataRoot: Hex = `0x${'5a'.repeat(32)}`
const code = { k: 4, m: 2 }
const many = (count: number): Member[] => Array.from({ length: count }, (_, id) => memberOf(id + 1))
const slotsOf = (homes: readonly { slot: number }[]) => homes.map(({ slot }) => slot)

test('the homes of a 4+2 object over six and nine members are those of the vectors', () => {
  expect(vectors.placements.length).toBeGreaterThan(3)
  for (const { members, sizeBytes, homes, ...object } of vectors.placements) {
    const list = members.map(({ id, domain, weight }) => memberOf(id, domain, BigInt(weight)))
    const placed = protectedHomes({ ...object, dataRoot: object.dataRoot as Hex, sizeBytes }, list)
    expect(placed.map(({ slot, member }) => ({ slot, id: member.id }))).toEqual(homes)
  }
})

test('homes that are remembered are those of the same object among the same members', () => {
  const object = { dataRoot, sizeBytes: 6 * SEGMENT_SIZE_BYTES, code }
  const [six, nine] = [many(6), many(9)]
  const first = protectedHomes(object, nine)
  expect(protectedHomes({ ...object }, nine)).toBe(first)
  expect(protectedHomes(object, many(9))).toEqual(first)
  expect(slotsOf(protectedHomes({ ...object, code: { k: 2, m: 2 } }, nine))).toEqual([0, 1, 2, 3])
  expect(slotsOf(protectedHomes({ ...object, sizeBytes: 2 * SEGMENT_SIZE_BYTES }, nine))).toEqual([0, 1, 4, 5])
  expect(protectedHomes({ ...object, dataRoot: `0x${'5b'.repeat(32)}` }, nine)).not.toEqual(first)
  expect(protectedHomes(object, six).every(({ member }) => member.id <= 6)).toBe(true)
})

test('slots keep their numbers where an object has fewer segments than data slots', () => {
  const homes = protectedHomes({ dataRoot, sizeBytes: 2 * SEGMENT_SIZE_BYTES, code }, many(9))
  expect(slotsOf(homes)).toEqual([0, 1, 4, 5])
})

test('one segment has 1 + m homes, the ones of as many copies', () => {
  const homes = protectedHomes({ dataRoot, sizeBytes: 700, code }, many(9))
  expect(homes).toEqual(placeHomes({ key: dataRoot, slotCount: 3 }, many(9)))
})

test('fewer members than slots leave out parity, never data', () => {
  const object = { dataRoot, sizeBytes: 20 * SEGMENT_SIZE_BYTES, code }
  expect(slotsOf(protectedHomes(object, many(6)))).toEqual([0, 1, 2, 3, 4, 5])
  expect(slotsOf(protectedHomes(object, many(5)))).toEqual([0, 1, 2, 3, 4])
  expect(slotsOf(protectedHomes(object, many(4)))).toEqual([0, 1, 2, 3])
  expect(slotsOf(protectedHomes(object, many(3)))).toEqual([0, 1, 2])
  expect(slotsOf(protectedHomes(object, [...many(5), memberOf(6, 6, 0n)]))).toEqual([0, 1, 2, 3, 4])
  expect(protectedHomes(object, [])).toEqual([])
})

test('a domain gets m slots, and more only where there are too few domains', () => {
  const object = { dataRoot, sizeBytes: 20 * SEGMENT_SIZE_BYTES, code }
  const perDomain = (members: readonly Member[]) => {
    const counts = new Map<Hex, number>()
    for (const { member } of protectedHomes(object, members))
      counts.set(member.domain, (counts.get(member.domain) ?? 0) + 1)
    return [...counts.values()].sort((a, b) => a - b)
  }
  const inDomains = (sizes: readonly number[]) =>
    sizes.flatMap((size, domain) => Array.from({ length: size }, (_, i) => memberOf(100 * domain + i, domain)))
  expect(perDomain(inDomains([4, 4, 4]))).toEqual([2, 2, 2])
  expect(perDomain(inDomains([6, 1, 1, 1]))).toEqual([1, 1, 1, 3])
  expect(perDomain(inDomains([9]))).toEqual([6])
})
