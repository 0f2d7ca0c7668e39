import { expect, test } from 'vitest'
import { ceilDiv, ceilLog2, compare, concat, equal, isZero, nextPowerOfTwo } from './bytes.ts'

test('parts are joined in order, empty ones among them', () => {
  expect(concat([Uint8Array.of(1, 2), new Uint8Array(0), Uint8Array.of(3)])).toEqual(Uint8Array.of(1, 2, 3))
  expect(concat([])).toEqual(new Uint8Array(0))
})

test('equality looks at length and at every byte', () => {
  expect(equal(Uint8Array.of(1, 2), Uint8Array.of(1, 2))).toBe(true)
  expect(equal(Uint8Array.of(1, 2), Uint8Array.of(1, 3))).toBe(false)
  expect(equal(Uint8Array.of(1, 2), Uint8Array.of(1))).toBe(false)
})

test('the byte order is that of an ordered map: prefix first, then the first difference', () => {
  expect(compare(Uint8Array.of(1), Uint8Array.of(1, 0))).toBe(-1)
  expect(compare(Uint8Array.of(1, 0), Uint8Array.of(1))).toBe(1)
  expect(compare(Uint8Array.of(2), Uint8Array.of(1, 255))).toBe(1)
  expect(compare(Uint8Array.of(0x7f), Uint8Array.of(0x80))).toBe(-1)
  expect(compare(Uint8Array.of(7), Uint8Array.of(7))).toBe(0)
})

test('division rounds up', () => {
  expect([0, 1, 255, 256, 257].map((value) => ceilDiv(value, 256))).toEqual([0, 1, 1, 1, 2])
  expect(() => ceilDiv(1, 0)).toThrow('the divisor is positive')
})

test('powers of two and their exponents are exact up to 2^53', () => {
  for (let exponent = 0; exponent < 53; exponent++) {
    expect(nextPowerOfTwo(2 ** exponent)).toBe(2 ** exponent)
    expect(ceilLog2(2 ** exponent)).toBe(exponent)
    expect(nextPowerOfTwo(2 ** exponent + 1)).toBe(2 ** (exponent + 1))
    expect(ceilLog2(2 ** exponent + 1)).toBe(exponent + 1)
  }
  expect(() => nextPowerOfTwo(0)).toThrow('covers at least one')
  expect(() => ceilLog2(0)).toThrow('covers at least one')
})

test('zero bytes are recognised', () => {
  expect(isZero(new Uint8Array(3))).toBe(true)
  expect(isZero(new Uint8Array(0))).toBe(true)
  expect(isZero(Uint8Array.of(0, 0, 1))).toBe(false)
})
