import { keccak256 } from '@weightless/kernels'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { runs } from '../../../../sim/runs.ts'
import { toHex, type Address } from '../hex.ts'
import { SEGMENT_SIZE_BYTES } from '../limits.ts'
import type { Member } from '../types.ts'
import { protectedHomes } from './shardPlacement.ts'

const memberWith = (id: number, weight: bigint, domain: number): Member => ({
  id,
  weight,
  domain: `0x${domain.toString(16).padStart(64, '0')}`,
  signer: `0x${'00'.repeat(20)}` as Address,
  endpoint: '',
})
const members = fc
  .uniqueArray(fc.record({ id: fc.nat(1000), weight: fc.bigInt({ min: 0n, max: 1n << 70n }), domain: fc.nat(5) }), {
    maxLength: 20,
    selector: ({ id }) => id,
  })
  .map((list) => list.map(({ id, weight, domain }) => memberWith(id, weight, domain)))
const codes = fc.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 4 })).map(([k, m]) => ({ k, m }))
const rootOf = (number: number) => toHex(keccak256(new TextEncoder().encode(`object ${number}`)))

test('as many slots as there can be have a home each, data first, and m of a domain are passed only for want of domains', () => {
  fc.assert(
    fc.property(fc.nat(), fc.integer({ min: 1, max: 20 }), codes, members, (seed, segmentCount, code, list) => {
      const sizeBytes = segmentCount * SEGMENT_SIZE_BYTES
      const homes = protectedHomes({ dataRoot: rootOf(seed), sizeBytes, code }, list)
      const present = Array.from({ length: code.k + code.m }, (_, slot) => slot).filter(
        (slot) => slot < segmentCount || slot >= code.k,
      )
      const expected = segmentCount === 1 ? Array.from({ length: 1 + code.m }, (_, rank) => rank) : present
      const willing = list.filter(({ weight }) => weight > 0n)
      expect(homes.map(({ slot }) => slot)).toEqual(expected.slice(0, willing.length))
      expect(new Set(homes.map(({ member }) => member.id)).size).toBe(homes.length)
      const counts = new Map<string, number>()
      for (const { domain } of willing) counts.set(domain, (counts.get(domain) ?? 0) + 1)
      const room = [...counts.values()].reduce((sum, count) => sum + Math.min(count, code.m), 0)
      for (const domain of counts.keys()) {
        const held = homes.filter(({ member }) => member.domain === domain).length
        if (room >= homes.length) expect(held).toBeLessThanOrEqual(code.m)
      }
    }),
    runs(3),
  )
})

test('a member that leaves takes few homes with it but its own', () => {
  const list = Array.from({ length: 12 }, (_, id) => memberWith(id, 10n, id))
  let moved = 0
  let lost = 0
  for (let number = 0; number < 300; number++) {
    const object = { dataRoot: rootOf(number), sizeBytes: 10 * SEGMENT_SIZE_BYTES, code: { k: 4, m: 2 } }
    const names = (of: readonly Member[]) =>
      protectedHomes(object, of).map(({ slot, member }) => `${slot}:${member.id}`)
    const before = names(list)
    const after = new Set(names(list.filter(({ id }) => id !== 4)))
    lost += before.filter((home) => home.endsWith(':4')).length
    moved += before.filter((home) => !after.has(home)).length
  }
  expect(lost).toBeGreaterThan(100)
  // DESIGN D7 measured 1.05 to 1.44 times the ideal for this greedy.
  expect(moved / lost).toBeLessThan(1.7)
})
