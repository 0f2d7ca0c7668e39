import { describe, expect, test } from 'vitest'
import { SEGMENT_SIZE_BYTES } from '../limits.ts'
import { lossesNeededOf, protectionOf } from './protection.ts'
import { shardLayoutOf } from './shardLayout.ts'

const layoutWith = (segmentCount: number, k: number, m: number) =>
  shardLayoutOf(segmentCount * SEGMENT_SIZE_BYTES, { k, m })
const layout = layoutWith(20, 4, 2)
const of = (shards: readonly (readonly number[])[], copyCount = 0, lossesNeeded = 1) =>
  protectionOf({ layout, shards, copyCount }, { lossesNeeded })
const each = (...slots: number[]) => slots.map((slot) => [slot])

test('4+2: all six survive two losses, five are durable and survive one, four are not durable', () => {
  expect(of(each(0, 1, 2, 3, 4, 5))).toEqual({ needed: 5, reached: 6, isDurable: true, lossesSurvived: 2 })
  expect(of(each(0, 1, 2, 3, 5))).toEqual({ needed: 5, reached: 5, isDurable: true, lossesSurvived: 1 })
  expect(of(each(0, 1, 2, 3))).toEqual({ needed: 5, reached: 4, isDurable: false, lossesSurvived: 0 })
})

test('parity does not stand for a data slot, however readable the object is', () => {
  expect(of(each(0, 1, 2, 4, 5))).toEqual({ needed: 5, reached: 5, isDurable: false, lossesSurvived: 1 })
})

test('what cannot be read survives nothing', () => {
  expect(of(each(0, 1, 5))).toMatchObject({ isDurable: false, lossesSurvived: 0 })
  expect(of([])).toEqual({ needed: 5, reached: 0, isDurable: false, lossesSurvived: 0 })
})

test('an object with fewer segments than data slots needs fewer holders', () => {
  const small = { layout: layoutWith(2, 4, 2), copyCount: 0 }
  expect(protectionOf({ ...small, shards: each(0, 1, 4) }, { lossesNeeded: 1 })).toEqual({
    needed: 3,
    reached: 3,
    isDurable: true,
    lossesSurvived: 1,
  })
})

describe('a holder of several slots', () => {
  test('counts for one of them', () => {
    expect(of([[0, 1], [2], [3], [4]])).toMatchObject({ reached: 4, isDurable: false })
    expect(of([[0, 4], [1], [2], [3], [5]])).toMatchObject({ reached: 5, isDurable: true })
  })

  test('takes all of them with it', () => {
    expect(of([[0, 1], [2], [3], [4], [5]])).toMatchObject({ lossesSurvived: 1 })
    expect(of([[0, 1, 2], [3], [4], [5]])).toMatchObject({ lossesSurvived: 0 })
  })

  test('gives way where another slot has nobody else', () => {
    expect(of([[0, 1], [0], [2], [3], [4]])).toMatchObject({ reached: 5, isDurable: true })
  })
})

test('holders that share slots survive what those with a slot of their own would', () => {
  expect(
    of([
      [0, 1],
      [1, 2],
      [2, 3],
      [3, 0],
      [4, 0],
      [5, 1],
    ]),
  ).toMatchObject({ isDurable: true, lossesSurvived: 2 })
})

test('a slot with two holders is one slot', () => {
  expect(of(each(0, 0, 1, 2, 3))).toMatchObject({ reached: 4, isDurable: false, lossesSurvived: 0 })
})

test('whole copies: one more than the losses that must be survived, alone or beside shards', () => {
  expect(of([], 2)).toEqual({ needed: 2, reached: 2, isDurable: true, lossesSurvived: 1 })
  expect(of([], 1)).toMatchObject({ isDurable: false, lossesSurvived: 0 })
  expect(of(each(0, 1), 3)).toMatchObject({ isDurable: true, lossesSurvived: 2 })
  expect(of(each(0, 1, 2, 3, 4), 2)).toEqual({ needed: 5, reached: 5, isDurable: true, lossesSurvived: 3 })
  expect(of(each(0, 1, 2, 3), 1)).toMatchObject({ isDurable: false, lossesSurvived: 1 })
})

test('without parity copies are all there is', () => {
  const copies = (copyCount: number) => protectionOf({ layout: undefined, shards: [], copyCount }, { lossesNeeded: 1 })
  expect(copies(3)).toEqual({ needed: 2, reached: 3, isDurable: true, lossesSurvived: 2 })
  expect(copies(1)).toMatchObject({ isDurable: false, lossesSurvived: 0 })
  expect(copies(0)).toEqual({ needed: 2, reached: 0, isDurable: false, lossesSurvived: 0 })
})

test('an owner may ask for more, or for none', () => {
  expect(of(each(0, 1, 2, 3, 4), 0, 2)).toMatchObject({ needed: 6, isDurable: false })
  expect(of(each(0, 1, 2, 3), 0, 0)).toMatchObject({ needed: 4, isDurable: true, lossesSurvived: 0 })
})

test.each([
  [{ k: 4, m: 2 }, 1],
  [{ k: 10, m: 4 }, 2],
  [{ k: 29, m: 51 }, 26],
  [{ k: 1, m: 1 }, 1],
  [undefined, 2],
])('%j must survive %d losses to be durable', (code, losses) => {
  expect(lossesNeededOf(code)).toBe(losses)
})
