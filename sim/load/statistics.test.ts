import { expect, test } from 'vitest'
import { quantile, slopeOf } from './statistics.ts'

test('a line has its slope, a point has none, and noise around a level has little', () => {
  expect(slopeOf([1, 2, 3, 9].map((x) => [x, 3 * x + 1]))).toBeCloseTo(3)
  expect(slopeOf([[1, 5]])).toBe(0)
  expect(slopeOf([])).toBe(0)
  expect(Math.abs(slopeOf(Array.from({ length: 100 }, (_, x) => [x, 50 + (x % 2)])))).toBeLessThan(0.01)
})

test('a quantile is a value that was measured', () => {
  const sorted = Array.from({ length: 100 }, (_, i) => i)
  expect([0.5, 0.95, 0.99, 1].map((share) => quantile(sorted, share))).toEqual([50, 95, 99, 99])
  expect(quantile([], 0.5)).toBe(0)
})
