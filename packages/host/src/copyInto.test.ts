import { expect, test } from 'vitest'
import { copyInto } from './copyInto.ts'

const memories = {
  own: (sizeBytes: number) => new Uint8Array(sizeBytes),
  shared: (sizeBytes: number) => new Uint8Array(new SharedArrayBuffer(sizeBytes)),
}

test.each([
  ['own', 'own'],
  ['own', 'shared'],
  ['shared', 'own'],
  ['shared', 'shared'],
] as const)('copies from %s to %s memory, wherever the bytes lie, and touches nothing beside', (from, to) => {
  for (const [skip, start, at, sizeBytes] of [
    [0, 0, 0, 4096],
    [3, 17, 5, 4099],
    [8, 0, 1, 1],
    [1, 7, 0, 0],
    [0, 9, 4200 - 4096, 4096],
  ] as const) {
    const source = memories[from](start + sizeBytes + 2)
    for (let i = 0; i < source.length; i++) source[i] = (i * 7 + 1) & 0xff
    const whole = memories[to](skip + 4200 + 9).fill(0xee)
    const part = source.subarray(start, start + sizeBytes)
    copyInto(whole.subarray(skip, skip + 4200), part, at)
    const want = new Uint8Array(whole.length).fill(0xee)
    want.set(part, skip + at)
    expect(want).toEqual(Uint8Array.from(whole))
  }
})

test('what does not fit is refused, and nothing is written', () => {
  const target = memories.shared(16).fill(0xee)
  expect(() => copyInto(target.subarray(0, 8), memories.own(9), 0)).toThrow(RangeError)
  expect(() => copyInto(target.subarray(0, 8), memories.own(4), 5)).toThrow(RangeError)
  expect(Uint8Array.from(target)).toEqual(new Uint8Array(16).fill(0xee))
})
