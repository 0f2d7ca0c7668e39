import { check } from './check.ts'
import { multiply } from './gf256.ts'
import { defaultKernel } from './kernel.ts'
import { createRecent } from './recent.ts'

/** Fingerprints of shards (DESIGN D6, docs/erasure.md 3): Σ Bᵢ·rⁱ over the blocks Bᵢ of 16 bytes, in the field of 2^128 elements
 *  GF(2^8)[y]/(y^16 + y^3 + y + 6). Byte b of 16 is the coefficient of y^b. The sum is linear over GF(2^8), so fingerprints of
 *  the shards of a stripe satisfy the equations of the code. */
export const FINGERPRINT_SIZE_BYTES = 16
/** A shard is one segment at most. */
export const SHARD_SIZE_BYTES_MAX = 262_144

/** The point r of an object and its parity: keccak-256 of both roots (32 bytes each), read as coefficients of y^0 … y^31 and
 *  reduced. The roots commit to every byte of both, so bytes can be chosen to suit the point by trial alone. */
export function fingerprintPoint(dataRoot: Uint8Array, parityRoot: Uint8Array): Uint8Array {
  check(dataRoot.length === 32 && parityRoot.length === 32, 'a root is 32 bytes')
  const roots = new Uint8Array(64)
  roots.set(dataRoot)
  roots.set(parityRoot, 32)
  return reduced(defaultKernel().keccak256(roots))
}

/** The product in the field of 2^128 elements. */
export function multiplyBlocks(a: Uint8Array, b: Uint8Array): Uint8Array {
  const product = new Uint8Array(31)
  for (let i = 0; i < 16; i++) for (let j = 0; j < 16; j++) product[i + j]! ^= multiply(a[i]!, b[j]!)
  return reduced(product)
}

/** Coefficients of y^0, y^1 …, modulo y^16 + y^3 + y + 6. */
function reduced(coefficients: Uint8Array): Uint8Array {
  const rest = coefficients.slice()
  for (let degree = rest.length - 1; degree >= 16; degree--) {
    const top = rest[degree]!
    rest[degree - 13]! ^= top
    rest[degree - 15]! ^= top
    rest[degree - 16]! ^= multiply(6, top)
  }
  return rest.slice(0, 16)
}

/** The specification of the kernel's fingerprint, and what answers where WASM SIMD is missing. The sum is taken from its end. */
export function fingerprintScalar(point: Uint8Array, shard: Uint8Array): Uint8Array {
  let sum: Uint8Array = new Uint8Array(16)
  for (let at = Math.ceil(shard.length / 16) * 16 - 16; at >= 0; at -= 16) {
    sum = multiplyBlocks(sum, point)
    for (const [b, byte] of shard.subarray(at, at + 16).entries()) sum[b]! ^= byte
  }
  return sum
}

/** What the kernel of assembly/reedSolomon.ts gives for a shard: sums over every fourth block. */
export const SUMS_SIZE_BYTES: number = 4 * FINGERPRINT_SIZE_BYTES
/** Inputs of the kernel's matrix, and its outputs: a byte of a block each. */
export const FINGERPRINT_INPUTS = 64
export const FINGERPRINT_OUTPUTS = 16
/** Points whose matrix is kept: an object has one. */
const POINTS_MAX = 8
const recent = createRecent<Uint8Array>(POINTS_MAX)

/** The kernel's matrix: row c has the coefficients of y^c in ρ^0 … ρ^63, ρ = r^4. */
export function fingerprintCoefficients(point: Uint8Array): Uint8Array {
  check(point.length === FINGERPRINT_SIZE_BYTES, 'a point is 16 bytes')
  return recent.get(point.join(), () => {
    const square = multiplyBlocks(point, point)
    const step = multiplyBlocks(square, square)
    const coefficients = new Uint8Array(FINGERPRINT_OUTPUTS * FINGERPRINT_INPUTS)
    let power: Uint8Array = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    for (let i = 0; i < FINGERPRINT_INPUTS; i++) {
      for (let c = 0; c < FINGERPRINT_OUTPUTS; c++) coefficients[c * FINGERPRINT_INPUTS + i] = power[c]!
      power = multiplyBlocks(power, step)
    }
    return coefficients
  })
}

/** The fingerprint, of the kernel's sums: Σ_j sum_j·r^j. */
export function fingerprintOfSums(point: Uint8Array, sums: Uint8Array): Uint8Array {
  return fingerprintScalar(point, sums.subarray(0, SUMS_SIZE_BYTES))
}

export function checkShards(shards: readonly Uint8Array[]): void {
  check(
    shards.every((shard) => shard.length <= SHARD_SIZE_BYTES_MAX),
    'a shard has at most 262144 bytes',
  )
}
