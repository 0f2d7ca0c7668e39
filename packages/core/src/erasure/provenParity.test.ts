import { describe, expect, test } from 'vitest'
import vectors from '../../../../sim/vectors/shards.json' with { type: 'json' }
import { concat } from '../bytes.ts'
import { fromHex } from '../hex.ts'
import { proveParity, type ShardClaim } from './provenParity.ts'
import { shardLayoutOf } from './shardLayout.ts'

const { sizeBytes, code, roots } = vectors.fingerprints
// Five segments of data under 4+2: slot 0 has two shards, slots 1 to 3 one, slots 4 and 5 two.
const layout = shardLayoutOf(sizeBytes, code)!
const fingerprintsOf = (slot: number) =>
  concat(
    roots
      .at(-1)!
      .shards.filter((shard) => shard.slot === slot)
      .map(({ fingerprint }) => fromHex(fingerprint)),
  )
const claim = (...slots: number[]): ShardClaim => ({ slots, fingerprints: concat(slots.map(fingerprintsOf)) })
const wrong = (slot: number, at = 0): ShardClaim => {
  const { slots, fingerprints } = claim(slot)
  const changed = fingerprints.slice()
  changed[at]! ^= 1
  return { slots, fingerprints: changed }
}
const data = [claim(0), claim(1), claim(2), claim(3)]

test('with all data slots each parity slot is proven by itself', () => {
  expect(proveParity(layout, [...data, claim(4), claim(5)])).toEqual({
    counted: [[0], [1], [2], [3], [4], [5]],
    proven: [4, 5],
    unproven: [],
    disputed: [],
  })
  expect(proveParity(layout, [...data, claim(5)])).toMatchObject({ proven: [5], unproven: [] })
})

test('a holder may have several slots, and a slot several holders', () => {
  const { counted, proven } = proveParity(layout, [claim(0, 1, 5), claim(2, 3), claim(4), claim(0, 4)])
  expect(counted).toEqual([[0, 1, 5], [2, 3], [4], [0, 4]])
  expect(proven).toEqual([4, 5])
})

test.each([0, 1, 2, 3])('without data slot %d nothing is proven', (slot) => {
  const claims = [...data.filter((_, i) => i !== slot), claim(4), claim(5)]
  expect(proveParity(layout, claims)).toMatchObject({ proven: [], unproven: [4, 5], disputed: [] })
})

test.each([0, 15, 16, 31])(
  'a parity slot whose fingerprints are wrong in byte %d is named and does not count',
  (at) => {
    const { counted, proven, unproven } = proveParity(layout, [...data, wrong(4, at), claim(5)])
    expect(counted).toEqual([[0], [1], [2], [3], [], [5]])
    expect(proven).toEqual([5])
    expect(unproven).toEqual([4])
  },
)

test('another holder of the slot can prove it nevertheless', () => {
  const { counted, proven, unproven } = proveParity(layout, [...data, wrong(4), claim(4)])
  expect(counted.slice(4)).toEqual([[], [4]])
  expect(proven).toEqual([4])
  expect(unproven).toEqual([])
})

test('one wrong data slot leaves no parity proven: who is wrong cannot be told', () => {
  const claims = [claim(0), wrong(1), claim(2), claim(3), claim(4), claim(5)]
  expect(proveParity(layout, claims)).toMatchObject({ proven: [], unproven: [4, 5] })
})

describe('a disputed data slot', () => {
  const claims = [...data, wrong(2), claim(4), claim(5)]

  test('counts for nobody, and nothing is proven', () => {
    expect(proveParity(layout, claims)).toEqual({
      counted: [[0], [1], [], [3], [], [], []],
      proven: [],
      unproven: [4, 5],
      disputed: [2],
    })
  })

  test('is settled by who has the data', () => {
    const known = new Map([[2, fingerprintsOf(2)]])
    expect(proveParity(layout, claims, known)).toEqual({
      counted: [[0], [1], [2], [3], [], [4], [5]],
      proven: [4, 5],
      unproven: [],
      disputed: [2],
    })
  })
})

/** What parity slot `slot` would have to say if data slot `changed` had `fingerprints` in the first stripe. */
function parityIf(slot: number, changed: number, fingerprints: Uint8Array): ShardClaim {
  const before = fingerprintsOf(changed)
  const difference = fingerprints.map((byte, i) => product(inverse(slot ^ changed), byte ^ before[i]!))
  return { slots: [slot], fingerprints: fingerprintsOf(slot).map((byte, i) => byte ^ (difference[i] ?? 0)) }
}

test('parity of other data, which agrees with all data slots that speak, is not proven while one is silent', () => {
  const claims = [claim(0), claim(1), claim(2), ...[4, 5].map((slot) => parityIf(slot, 3, new Uint8Array(16)))]
  expect(proveParity(layout, claims)).toMatchObject({ proven: [], unproven: [4, 5] })
})

test('parity of other data is not proven to who has the data, although a data holder speaks for it', () => {
  // All equations hold for the claims: they are those of an object that differs in slot 1.
  const other = new Uint8Array(16).fill(9)
  const claims = [
    claim(0),
    { slots: [1], fingerprints: other },
    claim(2),
    claim(3),
    parityIf(4, 1, other),
    parityIf(5, 1, other),
  ]
  expect(proveParity(layout, claims).proven).toEqual([4, 5])
  const known = new Map([0, 1, 2, 3].map((slot) => [slot, fingerprintsOf(slot)]))
  expect(proveParity(layout, claims, known)).toMatchObject({ proven: [], disputed: [1] })
})

function inverse(of: number): number {
  return Array.from({ length: 255 }, (_, i) => i + 1).find((candidate) => product(of, candidate) === 1)!
}

/** In GF(2^8) modulo 0x11d. */
function product(a: number, b: number): number {
  let sum = 0
  for (let bit = 0; bit < 8; bit++) {
    if ((b >> bit) & 1) sum ^= a << bit
  }
  for (let bit = 14; bit >= 8; bit--) if ((sum >> bit) & 1) sum ^= 0x11d << (bit - 8)
  return sum
}
