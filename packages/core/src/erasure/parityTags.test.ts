import { describe, expect, test } from 'vitest'
import vectors from '../../../../sim/vectors/shards.json' with { type: 'json' }
import { concat } from '../bytes.ts'
import { fromHex, parseRoot, toHex } from '../hex.ts'
import { ENTRY_SIZE_BYTES_MAX, SEGMENT_SIZE_BYTES } from '../limits.ts'
import { chooseParity, encodeParityTags, parityFits, parseParityTags, type ParityTags } from './parityTags.ts'

const parsed = vectors.tags.map(({ tags, dataRoot, ...rest }) => ({
  tags: fromHex(tags),
  value: { ...rest, dataRoot: parseRoot(dataRoot) } satisfies ParityTags,
}))
const { tags: good, value } = parsed[0]!

test('tags are those of the vectors, in both directions', () => {
  expect(parsed.length).toBeGreaterThan(2)
  for (const { tags, value } of parsed) {
    expect(toHex(encodeParityTags(value))).toBe(toHex(tags))
    expect(parseParityTags(tags)).toEqual(value)
  }
})

test('tags inside a larger buffer are read where they are', () => {
  const around = concat([new Uint8Array(5), good, new Uint8Array(5)])
  expect(parseParityTags(around.subarray(5, 5 + good.length))).toEqual(value)
})

describe('tags say nothing to us', () => {
  const changed = (at: number, ...bytes: number[]) => {
    const copy = good.slice()
    copy.set(bytes, at)
    return copy
  }
  test.each<[string, Uint8Array]>([
    ['when there are none', new Uint8Array(0)],
    [
      'of a key-value stream',
      fromHex(`0xdf2ff3bb0af36c6384e6206552a4ed807f6f6a26e7d0aa6bff772ddc9d4307aa${'01'.repeat(32)}`),
    ],
    ['of another domain', changed(31, good[31]! ^ 1)],
    ['of a later version', changed(32, 2)],
    ['without data slots', changed(33, 0)],
    ['without parity slots', changed(34, 0)],
    ['of more than 256 slots', changed(33, 200, 57)],
    ['of an empty object', changed(67, 0, 0, 0, 0, 0, 0, 0, 0)],
    ['of a size beyond 2^53', changed(67, 0, 0x20)],
    ['one byte short', good.subarray(0, -1)],
    ['one byte long', concat([good, new Uint8Array(1)])],
  ])('%s', (_, tags) => {
    expect(parseParityTags(tags)).toBeUndefined()
  })

  test('but 256 slots and 2^53 − 1 bytes are still something', () => {
    expect(parseParityTags(changed(33, 200, 56))?.code).toEqual({ k: 200, m: 56 })
    expect(parseParityTags(changed(67, 0, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))?.sizeBytes).toBe(2 ** 53 - 1)
  })
})

test('nobody writes tags of what is no code or no size', () => {
  for (const wrong of [{ code: { k: 0, m: 1 } }, { sizeBytes: 0 }, { sizeBytes: 0.5 }]) {
    expect(() => encodeParityTags({ ...value, ...wrong })).toThrow('tags are of an object and a code')
  }
})

test('a parity entry fits when it has exactly the bytes that code and size demand', () => {
  const tags = { ...value, code: { k: 4, m: 2 }, sizeBytes: 5 * SEGMENT_SIZE_BYTES }
  const fits = (parity: number, change: Partial<ParityTags> = {}) =>
    parityFits({ sizeBytes: parity * SEGMENT_SIZE_BYTES }, { ...tags, ...change })
  expect(fits(4)).toBe(true)
  expect(fits(2)).toBe(false)
  expect(fits(4 - 1 / 256)).toBe(false)
  expect(fits(4, { sizeBytes: 8 * SEGMENT_SIZE_BYTES })).toBe(true)
  expect(fits(4, { sizeBytes: 8 * SEGMENT_SIZE_BYTES + 1 })).toBe(false)
  expect(fits(2, { sizeBytes: SEGMENT_SIZE_BYTES })).toBe(false)
  expect(fits(2, { sizeBytes: 2 ** 53 - 1 })).toBe(false)
  expect(fits(2, { code: { k: 1, m: 5 }, sizeBytes: ENTRY_SIZE_BYTES_MAX })).toBe(false)
})

test('of proven parities the largest m counts, then the one that came first', () => {
  const of = (k: number, m: number, seq: number) => ({ code: { k, m }, seq })
  expect(chooseParity([])).toBeUndefined()
  expect(chooseParity([of(4, 2, 9), of(10, 4, 12), of(8, 4, 11)])).toEqual(of(8, 4, 11))
  expect(chooseParity([of(4, 2, 9), of(4, 2, 3), of(4, 1, 1)])).toEqual(of(4, 2, 3))
})
