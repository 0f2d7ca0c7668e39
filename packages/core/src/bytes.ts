import { invariant } from './errors.ts'

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  let sizeBytes = 0
  for (const part of parts) sizeBytes += part.length
  const out = new Uint8Array(sizeBytes)
  let offset = 0
  for (const part of parts) {
    out.set(part, offset)
    offset += part.length
  }
  return out
}

export function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

/** Byte order of an ordered map: -1, 0 or 1. */
export function compare(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length)
  for (let i = 0; i < shared; i++) {
    const difference = a[i]! - b[i]!
    if (difference !== 0) return Math.sign(difference)
  }
  return Math.sign(a.length - b.length)
}

export function ceilDiv(value: number, divisor: number): number {
  invariant(divisor > 0, 'the divisor is positive')
  return Math.ceil(value / divisor)
}

/** `count` as the smallest power of two that is not below it. `count` ≥ 1, up to 2^53. */
export function nextPowerOfTwo(count: number): number {
  invariant(count >= 1, 'a power of two covers at least one')
  let power = 1
  while (power < count) power *= 2
  return power
}

/** The smallest e with 2^e ≥ count, counted and not calculated: Math.log2 need not be exact. `count` ≥ 1, up to 2^53. */
export function ceilLog2(count: number): number {
  invariant(count >= 1, 'a power of two covers at least one')
  let exponent = 0
  for (let power = 1; power < count; power *= 2) exponent++
  return exponent
}

export function isZero(bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== 0) return false
  return true
}
