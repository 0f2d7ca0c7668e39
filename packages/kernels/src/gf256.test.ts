import { expect, test } from 'vitest'
import { inverse, multiply, multiplesOf } from './gf256.ts'

test('a product is that of polynomials modulo x^8 + x^4 + x^3 + x^2 + 1, for all pairs', () => {
  let wrong = 0
  for (let a = 0; a < 256; a++) {
    const multiples = multiplesOf(a)
    for (let b = 0; b < 256; b++) {
      const product = longhand(a, b)
      if (multiply(a, b) !== product || multiples[b] !== product) wrong++
    }
  }
  expect(wrong).toBe(0)
})

test('an element times its inverse is 1', () => {
  for (let a = 1; a < 256; a++) expect(longhand(a, inverse(a))).toBe(1)
})

function longhand(a: number, b: number): number {
  let product = 0
  for (let bit = 0; bit < 8; bit++) if (b & (1 << bit)) product ^= a << bit
  for (let degree = 14; degree >= 8; degree--) if (product & (1 << degree)) product ^= 0x11d << (degree - 8)
  return product
}
