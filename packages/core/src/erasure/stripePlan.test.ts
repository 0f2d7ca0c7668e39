import { describe, expect, test } from 'vitest'
import { SEGMENT_SIZE_BYTES } from '../limits.ts'
import { shardLayoutOf } from './shardLayout.ts'
import { planStripe, stripeRuns, stripesOfSegments } from './stripePlan.ts'

// Ten segments under 4+2: two whole stripes and one of two segments.
const layout = shardLayoutOf(10 * SEGMENT_SIZE_BYTES, { k: 4, m: 2 })!
const plan = (
  stripe: number,
  slots: readonly number[],
  preferred: readonly number[],
  avoided: readonly number[] = [],
) => planStripe(layout, { stripe, slots }, { preferred, avoided })
const read = (direct: readonly number[], rebuilt: readonly number[] = [], helpers: readonly number[] = []) =>
  expect.objectContaining({ kind: 'read', direct, rebuilt, helpers })

test.each([
  [0, 10, ['0: 0 1 2 3', '1: 0 1 2 3', '2: 0 1']],
  [0, 1, ['0: 0']],
  [3, 5, ['0: 3', '1: 0']],
  [4, 8, ['1: 0 1 2 3']],
  [9, 10, ['2: 1']],
  [7, 7, []],
])('segments %d to %d are in stripes %j', (from, to, expected) => {
  const stripes = [...stripesOfSegments(layout, { from, to })]
  expect(stripes.map(({ stripe, slots }) => `${stripe}: ${slots.join(' ')}`)).toEqual(expected)
})

test('there are no segments beyond the object', () => {
  expect(() => [...stripesOfSegments(layout, { from: 0, to: 11 })]).toThrow('segments of the object')
})

test('what can be had is fetched as it is, and nothing else', () => {
  expect(plan(0, [1, 2], [5, 4, 3, 2, 1, 0])).toEqual(read([1, 2]))
  expect(plan(0, [1], [1])).toEqual(read([1]))
})

test('what cannot be had is computed from k others, the preferred ones first', () => {
  expect(plan(0, [0, 1, 2, 3], [1, 2, 3, 4, 5])).toEqual(read([1, 2, 3], [0], [4]))
  expect(plan(0, [0], [5, 3, 4, 1, 2])).toEqual(read([], [0], [5, 3, 4, 1]))
  expect(plan(0, [0, 1], [2, 3, 4, 5])).toEqual(read([], [0, 1], [2, 3, 4, 5]))
})

test('zeros of the last stripe cost nothing', () => {
  expect(plan(2, [0, 1], [0, 2, 3, 5])).toEqual(read([0], [1], [5]))
  expect(plan(2, [0, 1], [4, 5])).toEqual(read([], [0, 1], [4, 5]))
})

test('parity can be wanted, as a repair wants it', () => {
  expect(plan(0, [5], [0, 1, 2, 3, 4])).toEqual(read([], [5], [0, 1, 2, 3]))
})

test('slots to avoid are used only when the others do not suffice, and no more of them than it takes', () => {
  expect(plan(0, [0], [1, 2, 3, 4], [0])).toEqual(read([], [0], [1, 2, 3, 4]))
  expect(plan(0, [0], [1, 2, 3], [5, 0])).toEqual(read([0]))
  expect(plan(0, [0, 1], [2, 3, 4], [0, 1])).toEqual(read([0], [1], [2, 3, 4]))
  expect(plan(0, [0], [1, 2], [4, 5])).toEqual(read([], [0], [1, 2, 4, 5]))
})

describe('a stripe is lost', () => {
  test('when fewer than k shards can be had: what is missing and what would help', () => {
    expect(plan(0, [0, 1], [1, 4], [5])).toEqual({
      kind: 'lost',
      stripe: 0,
      missing: [0],
      shortBy: 1,
      wouldHelp: [0, 2, 3],
    })
    expect(plan(2, [0], [])).toEqual({ kind: 'lost', stripe: 2, missing: [0], shortBy: 2, wouldHelp: [0, 1, 4, 5] })
  })

  test('though a slot be named twice', () => {
    expect(plan(0, [0], [1, 1, 2, 3], [3, 2])).toMatchObject({ kind: 'lost', shortBy: 1 })
  })
})

test('nobody wants what does not exist', () => {
  expect(() => plan(2, [2], [0])).toThrow('what is wanted exists')
  expect(() => plan(3, [0], [0])).toThrow('what is wanted exists')
})

test('stripes come in runs of neighbours, none longer than one request names', () => {
  const runs = (...stripes: readonly number[]) =>
    stripeRuns(stripes, { countMax: 3 }).map(({ from, count }) => `${from}+${count}`)
  expect(runs()).toEqual([])
  expect(runs(4)).toEqual(['4+1'])
  expect(runs(0, 1, 2, 3, 5, 6, 9)).toEqual(['0+3', '3+1', '5+2', '9+1'])
})
