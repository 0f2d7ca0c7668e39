import { keccak256 } from '@weightless/kernels'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { runs } from '../../../../sim/runs.ts'
import type { Address, Hex } from '../hex.ts'
import type { Member } from '../types.ts'
import { copyHomes, placeHomes, placementOrder } from './placement.ts'

const memberWith = (id: number, weight: bigint, domain = 0): Member => ({
  id,
  weight,
  domain: `0x${domain.toString(16).padStart(64, '0')}`,
  signer: `0x${'00'.repeat(20)}` as Address,
  endpoint: '',
})
const members = fc
  .uniqueArray(fc.record({ id: fc.nat(1000), weight: fc.bigInt({ min: 1n, max: 1n << 70n }), domain: fc.nat(4) }), {
    maxLength: 20,
    selector: ({ id }) => id,
  })
  .map((list) => list.map(({ id, weight, domain }) => memberWith(id, weight, domain)))
const keys = fc.uint8Array({ minLength: 32, maxLength: 32 })
const slotCounts = fc.integer({ min: 1, max: 8 })
const keyOf = (number: number): Uint8Array => keccak256(new TextEncoder().encode(`key ${number}`))
const ids = (homes: readonly { slot: number; member: Member }[]) =>
  homes.map(({ slot, member }) => `${slot}:${member.id}`)

test('homes never repeat a slot or a member, honour the domain limit, and are as many as can be', () => {
  fc.assert(
    fc.property(
      keys,
      slotCounts,
      fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
      members,
      (key, slotCount, domainMax, list) => {
        const homes = placeHomes({ key, slotCount, domainMax }, list)
        expect(new Set(homes.map(({ slot }) => slot)).size).toBe(homes.length)
        expect(new Set(homes.map(({ member }) => member.id)).size).toBe(homes.length)
        expect(homes.map(({ slot }) => slot)).toEqual(homes.map(({ slot }) => slot).sort((a, b) => a - b))
        const counts = new Map<Hex, number>()
        for (const member of list) counts.set(member.domain, (counts.get(member.domain) ?? 0) + 1)
        const room = [...counts.values()].reduce((sum, count) => sum + Math.min(count, domainMax ?? Infinity), 0)
        expect(homes.length).toBe(Math.min(slotCount, room))
        for (const domain of counts.keys()) {
          expect(homes.filter(({ member }) => member.domain === domain).length).toBeLessThanOrEqual(
            domainMax ?? Infinity,
          )
        }
      },
    ),
    runs(5),
  )
})

test('copies are at as many members as can be, and never all in one domain where there are two', () => {
  fc.assert(
    fc.property(keys, slotCounts, members, (key, count, list) => {
      const homes = copyHomes({ key, count }, list)
      expect(homes.length).toBe(Math.min(count, list.length))
      expect(new Set(homes.map(({ member }) => member.id)).size).toBe(homes.length)
      const domains = (some: readonly Member[]): number => new Set(some.map(({ domain }) => domain)).size
      if (count >= 2 && domains(list) >= 2) expect(domains(homes.map(({ member }) => member))).toBeGreaterThanOrEqual(2)
      // Where each has a domain of its own, or all have one, they are the best of each slot.
      for (const only of [
        list.map(({ id, weight }, i) => memberWith(id, weight, i)),
        list.map(({ id, weight }) => memberWith(id, weight)),
      ])
        expect(copyHomes({ key, count }, only)).toEqual(placeHomes({ key, slotCount: count }, only))
    }),
    runs(5),
  )
})

test('the order of the members that come in does not matter', () => {
  fc.assert(
    fc.property(keys, slotCounts, members, fc.nat(), (key, slotCount, list, turn) => {
      const turned = [...list.slice(turn % (list.length + 1)), ...list.slice(0, turn % (list.length + 1))].toReversed()
      expect(placeHomes({ key, slotCount }, turned)).toEqual(placeHomes({ key, slotCount }, list))
      expect(placementOrder({ key, slot: 3 }, turned)).toEqual(placementOrder({ key, slot: 3 }, list))
    }),
    runs(3),
  )
})

test('when one member leaves, the order of the others stays', () => {
  fc.assert(
    fc.property(keys, fc.nat(255), members, fc.nat(), (key, slot, list, pick) => {
      const gone = list[pick % Math.max(1, list.length)]
      const before = placementOrder({ key, slot }, list).filter((member) => member !== gone)
      expect(
        placementOrder(
          { key, slot },
          list.filter((member) => member !== gone),
        ),
      ).toEqual(before)
    }),
    runs(3),
  )
})

test('the first of an order changes only for keys whose first member left', () => {
  const list = Array.from({ length: 20 }, (_, id) => memberWith(id, BigInt(1 + (id % 5))))
  for (let key = 0; key < 500; key++) {
    const [first] = placementOrder({ key: keyOf(key), slot: 0 }, list)
    const [after] = placementOrder(
      { key: keyOf(key), slot: 0 },
      list.filter(({ id }) => id !== 13),
    )
    if (first!.id !== 13) expect(after!.id).toBe(first!.id)
  }
})

test('homes that hold nothing of a member that left mostly stay: churn is near the ideal', () => {
  const list = Array.from({ length: 20 }, (_, id) => memberWith(id, 10n))
  const rest = list.filter(({ id }) => id !== 4)
  let moved = 0
  let lost = 0
  for (let key = 0; key < 400; key++) {
    const before = ids(placeHomes({ key: keyOf(key), slotCount: 6 }, list))
    const after = new Set(ids(placeHomes({ key: keyOf(key), slotCount: 6 }, rest)))
    lost += before.filter((home) => home.endsWith(':4')).length
    moved += before.filter((home) => !after.has(home)).length
  }
  // DESIGN D7 measured 1.05 to 1.44 times the ideal for this greedy.
  expect(lost).toBeGreaterThan(60)
  expect(moved / lost).toBeLessThan(1.5)
})

test('the first place falls to a member in proportion to its weight', () => {
  const weights = [1n, 2n, 4n, 8n, 16n, 33n, 64n]
  const list = weights.map((weight, id) => memberWith(id, weight * 10n ** 18n))
  const total = Number(weights.reduce((sum, weight) => sum + weight, 0n))
  const keyCount = 6000
  const wins = list.map(() => 0)
  for (let key = 0; key < keyCount; key++) {
    const [first] = placementOrder({ key: keyOf(key), slot: key % 8 }, list)
    wins[first!.id]! += 1
  }
  weights.forEach((weight, id) => {
    const share = Number(weight) / total
    const deviation = Math.sqrt(keyCount * share * (1 - share))
    // The keys are fixed, so this either always holds or never; four deviations are far outside of chance.
    expect(Math.abs(wins[id]! - keyCount * share)).toBeLessThan(4 * deviation)
  })
})
