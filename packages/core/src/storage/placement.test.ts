import { keccak256 } from '@weightless/kernels'
import { describe, expect, test } from 'vitest'
import vectors from '../../../../sim/vectors/placement.json' with { type: 'json' }
import { concat } from '../bytes.ts'
import { fromHex, type Address, type Hex } from '../hex.ts'
import type { Member } from '../types.ts'
import { negativeLog2, placeHomes, placementOrder } from './placement.ts'

const membersOf = (list: readonly { id: number; domain: string; weight: string }[]): Member[] =>
  list.map(({ id, domain, weight }) => ({
    id,
    domain: domain as Hex,
    weight: BigInt(weight),
    signer: `0x${'00'.repeat(20)}` as Address,
    endpoint: '',
  }))

/** The definition in the docstring of placementOrder, in unbounded integers and nothing shared with the code. */
function scoreByDefinition(key: Uint8Array, slot: number, id: number, weight: bigint): bigint {
  const number = (value: number) => Uint8Array.of(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255)
  const digest = keccak256(concat([key, number(id), number(Math.floor(slot / 4))]))
  const eight = digest.subarray(8 * (slot % 4), 8 * (slot % 4) + 8)
  return (weight << 96n) / negativeLog2ByDefinition(eight.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n))
}

function negativeLog2ByDefinition(value: bigint): bigint {
  const x = value === 0n ? 1n : value
  const n = BigInt(x.toString(2).length - 1)
  let m = (x << 31n) >> n
  let frac = 0n
  for (let bit = 0; bit < 32; bit++) {
    m = (m * m) >> 31n
    frac *= 2n
    if (m >= 1n << 32n) {
      m >>= 1n
      frac += 1n
    }
  }
  return (1n << 38n) - (n * (1n << 32n) + frac)
}

describe('golden vectors', () => {
  const members = membersOf(vectors.members)

  test('the order of every slot is the committed one', () => {
    expect(vectors.orders.length).toBeGreaterThan(10)
    for (const { key, slot, ids } of vectors.orders) {
      expect(placementOrder({ key: key as Hex, slot }, members).map(({ id }) => id)).toEqual(ids)
    }
  })

  test('every score is the committed one and follows the written definition', () => {
    for (const { key, slot, id, score } of vectors.scores) {
      const { weight } = members.find((member) => member.id === id)!
      expect(scoreByDefinition(fromHex(key), slot, id, weight).toString()).toBe(score)
    }
  })

  test('the homes are the committed ones', () => {
    for (const { key, slotCount, domainMax, homes } of vectors.homes) {
      const placed = placeHomes({ key: key as Hex, slotCount, domainMax: domainMax ?? undefined }, members)
      expect(placed.map(({ slot, member }) => ({ slot, id: member.id }))).toEqual(homes)
    }
  })
})

test('the logarithm follows its definition at the edges of its range', () => {
  const edges = [
    0n,
    1n,
    2n,
    3n,
    (1n << 31n) - 1n,
    1n << 31n,
    (1n << 32n) - 1n,
    1n << 32n,
    (1n << 32n) + 1n,
    (1n << 63n) - 1n,
  ]
  for (const x of [...edges, 1n << 63n, (1n << 63n) + 1n, (1n << 64n) - 1n]) {
    const cost = negativeLog2(Number(x >> 32n), Number(x & 0xffffffffn))
    expect(BigInt(cost), x.toString()).toBe(negativeLog2ByDefinition(x))
    expect(cost).toBeGreaterThanOrEqual(1)
    expect(cost).toBeLessThanOrEqual(2 ** 38)
  }
})

test('a member without weight holds nothing', () => {
  const members = membersOf([
    { id: 1, domain: '0x', weight: '0' },
    { id: 2, domain: '0x', weight: '1' },
  ])
  const key = new Uint8Array(32)
  expect(placementOrder({ key, slot: 0 }, members).map(({ id }) => id)).toEqual([2])
  expect(placeHomes({ key, slotCount: 3 }, members).map(({ member }) => member.id)).toEqual([2])
  expect(placeHomes({ key, slotCount: 3 }, [])).toEqual([])
  expect(placeHomes({ key, slotCount: 0 }, members)).toEqual([])
})

test('equal scores go to the lower id', () => {
  // Members with one id score alike; a registry never lists them, but the order must not depend on the input.
  const twins = membersOf([
    { id: 7, domain: '0x01', weight: '5' },
    { id: 7, domain: '0x02', weight: '5' },
  ])
  const key = new Uint8Array(32).fill(3)
  expect(placementOrder({ key, slot: 1 }, twins)).toEqual(twins)
  expect(placeHomes({ key, slotCount: 2 }, twins)).toHaveLength(1)
})

test.each([-1, 0.5, 256])('slot %d does not exist', (slot) => {
  expect(() => placementOrder({ key: new Uint8Array(32), slot }, [])).toThrow('a slot is a number below 256')
  expect(() => placeHomes({ key: new Uint8Array(32), slotCount: slot === 256 ? 257 : slot }, [])).toThrow(
    'at most 256 slots',
  )
})

test('a key has 32 bytes, in either form', () => {
  const members = membersOf([{ id: 1, domain: '0x', weight: '1' }])
  expect(placementOrder({ key: `0x${'ab'.repeat(32)}`, slot: 0 }, members)).toEqual(
    placementOrder({ key: new Uint8Array(32).fill(0xab), slot: 0 }, members),
  )
  expect(() => placementOrder({ key: new Uint8Array(31), slot: 0 }, members)).toThrow('a placement key has 32 bytes')
})
