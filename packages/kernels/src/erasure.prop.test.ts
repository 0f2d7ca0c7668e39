import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { createErasureKernel } from './erasure.ts'
import { fingerprintPoint } from './fingerprint.ts'
import { withRelaxedSimd } from '../test/withRelaxedSimd.ts'

const relaxed = withRelaxedSimd(() => createErasureKernel('relaxed'))
const simd = createErasureKernel('simd')
const scalar = createErasureKernel('scalar')

test('relaxed, simd and scalar agree on combinations of any shape', () => {
  const shape = fc.record({
    inputCount: fc.integer({ min: 0, max: 40 }),
    outputCount: fc.integer({ min: 1, max: 19 }),
    sizeBytes: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 8_000, max: 40_000 })),
    seed: fc.integer(),
  })
  fc.assert(
    fc.property(shape, ({ inputCount, outputCount, sizeBytes, seed }) => {
      const coefficients = bytesOf(inputCount * outputCount, seed)
      const inputs = Array.from({ length: inputCount }, (_, i) => bytesOf(sizeBytes, seed + i + 1))
      const [byScalar, ...others] = [scalar, simd, relaxed].map(({ combine }) => {
        const outputs = Array.from({ length: outputCount }, () => new Uint8Array(sizeBytes).fill(0x5a))
        combine({ coefficients, inputs, outputs })
        return outputs
      })
      for (const outputs of others)
        expect(outputs.every((output, j) => Buffer.compare(output, byScalar![j]!) === 0)).toBe(true)
    }),
    { numRuns: 60 },
  )
})

test('relaxed, simd and scalar agree on the fingerprint of any shard at any point', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 13_000 }), fc.integer(), (sizeBytes, seed) => {
      const point = fingerprintPoint(bytesOf(32, seed), bytesOf(32, seed + 1))
      const shard = bytesOf(sizeBytes, seed)
      const expected = scalar.fingerprint(point, shard)
      for (const kernel of [simd, relaxed]) expect(kernel.fingerprint(point, shard)).toEqual(expected)
    }),
    { numRuns: 30 },
  )
  const [point, shard] = [bytesOf(16, 5), bytesOf(262_144, 6)]
  const expected = scalar.fingerprint(point, shard)
  for (const kernel of [simd, relaxed]) expect(kernel.fingerprint(point, shard)).toEqual(expected)
})

test('the fingerprint is linear over the field of the code', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5_000 }), fc.nat(255), fc.nat(255), fc.integer(), (sizeBytes, a, b, seed) => {
      const coefficients = Uint8Array.of(a, b)
      const [x, y, sum] = [bytesOf(sizeBytes, seed), bytesOf(sizeBytes, seed + 1), new Uint8Array(sizeBytes)]
      const point = bytesOf(16, seed)
      simd.combine({ coefficients, inputs: [x, y], outputs: [sum] })
      const expected = new Uint8Array(16)
      const inputs = [x, y].map((shard) => simd.fingerprint(point, shard))
      scalar.combine({ coefficients, inputs, outputs: [expected] })
      expect(simd.fingerprint(point, sum)).toEqual(expected)
    }),
  )
})

function bytesOf(sizeBytes: number, seed: number): Uint8Array {
  let state = Math.imul(seed, 0x9e3779b1) | 1
  return Uint8Array.from({ length: sizeBytes }, () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state & 0xff
  })
}
