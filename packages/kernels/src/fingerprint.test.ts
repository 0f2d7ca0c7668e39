import { keccak_256 } from '@noble/hashes/sha3.js'
import { expect, test } from 'vitest'
import { fingerprintPoint, fingerprintScalar, multiplyBlocks } from './fingerprint.ts'
import { inverse, multiply } from './gf256.ts'

/** Coefficients of y^0, y^1 … over GF(2^8). */
type Polynomial = readonly number[]
const MODULUS: Polynomial = [6, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]

test('y^16 + y^3 + y + 6 is irreducible over the field of 256 elements', () => {
  // Rabin: f of degree 16 is irreducible when it divides y^(q^16) - y, and y^(q^8) - y has no factor in common with it.
  const y: Polynomial = [0, 1]
  const frobenius = [y]
  for (let i = 1; i <= 16; i++) frobenius.push(power256(frobenius[i - 1]!))
  expect(frobenius[16]).toEqual(y)
  expect(greatestCommonDivisor(MODULUS, sum(frobenius[8]!, y))).toEqual([1])
  // The test can fail: (y^8 + 1)·(y^8 + 2) would not pass.
  expect(
    greatestCommonDivisor([2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0, 0, 0, 1]),
  ).toEqual([1, 0, 0, 0, 0, 0, 0, 0, 1])
})

test('a product is that of polynomials, reduced', () => {
  const [a, b] = [keccak_256(Uint8Array.of(1)).slice(0, 16), keccak_256(Uint8Array.of(2)).slice(0, 16)]
  expect(trimmed([...multiplyBlocks(a, b)])).toEqual(remainder(product([...a], [...b]), MODULUS))
  expect(multiplyBlocks(a, b)).toEqual(multiplyBlocks(b, a))
})

test('the point is the hash of both roots, reduced', () => {
  const [dataRoot, parityRoot] = [keccak_256(Uint8Array.of(3)), keccak_256(Uint8Array.of(4))]
  const hash = keccak_256(new Uint8Array([...dataRoot, ...parityRoot]))
  const point = fingerprintPoint(dataRoot, parityRoot)
  expect(trimmed([...point])).toEqual(remainder([...hash], MODULUS))
  expect(point).not.toEqual(fingerprintPoint(parityRoot, dataRoot))
})

test('the fingerprint is the sum of blocks times powers of the point', () => {
  const point = keccak_256(Uint8Array.of(5)).slice(0, 16)
  const shard = new Uint8Array([...keccak_256(Uint8Array.of(6)), ...keccak_256(Uint8Array.of(7))]).subarray(0, 50)
  let expected: Polynomial = []
  let power: Polynomial = [1]
  for (let at = 0; at < 50; at += 16) {
    expected = sum(expected, product([...shard.subarray(at, at + 16)], power))
    power = remainder(product(power, [...point]), MODULUS)
  }
  expect(trimmed([...fingerprintScalar(point, shard)])).toEqual(remainder(expected, MODULUS))
})

function power256(base: Polynomial): Polynomial {
  let power = base
  for (let i = 0; i < 8; i++) power = remainder(product(power, power), MODULUS)
  return power
}

function product(a: Polynomial, b: Polynomial): Polynomial {
  const coefficients = Array.from({ length: a.length + b.length - 1 }, () => 0)
  for (const [i, x] of a.entries()) for (const [j, y] of b.entries()) coefficients[i + j]! ^= multiply(x, y)
  return trimmed(coefficients)
}

function sum(a: Polynomial, b: Polynomial): Polynomial {
  return trimmed(Array.from({ length: Math.max(a.length, b.length) }, (_, i) => (a[i] ?? 0) ^ (b[i] ?? 0)))
}

function remainder(a: Polynomial, divisor: Polynomial): Polynomial {
  let rest = trimmed(a)
  while (rest.length >= divisor.length) {
    const factor = multiply(rest.at(-1)!, inverse(divisor.at(-1)!))
    const shift = Array.from({ length: rest.length - divisor.length }, () => 0)
    rest = sum(rest, [...shift, ...divisor.map((coefficient) => multiply(coefficient, factor))])
  }
  return rest
}

/** With the leading coefficient 1. */
function greatestCommonDivisor(a: Polynomial, b: Polynomial): Polynomial {
  if (b.length > 0) return greatestCommonDivisor(b, remainder(a, b))
  return a.map((coefficient) => multiply(coefficient, inverse(a.at(-1)!)))
}

function trimmed(coefficients: Polynomial): Polynomial {
  return coefficients.slice(0, coefficients.findLastIndex((coefficient) => coefficient !== 0) + 1)
}
