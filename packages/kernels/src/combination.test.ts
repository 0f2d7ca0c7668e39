import { createRequire } from 'node:module'
import { describe, expect, test } from 'vitest'
import { columnsOf, productCountOf } from './combination.ts'
import { createErasureKernel } from './erasure.ts'
import type { ErasureTier } from './erasure.ts'
import { withRelaxedSimd } from '../test/withRelaxedSimd.ts'

const tiers: readonly ErasureTier[] = ['relaxed', 'simd', 'scalar']
// Its ES module looks for its binary where only CommonJS does.
const { ReedSolomonErasure } = createRequire(import.meta.url)(
  '@digitaldefiance/reed-solomon-erasure.wasm',
) as typeof import('@digitaldefiance/reed-solomon-erasure.wasm')
const codec = ReedSolomonErasure.fromCurrentDirectorySync()

describe.each(tiers)('%s combinations', (tier) => {
  const { combine } = withRelaxedSimd(() => createErasureKernel(tier))

  // An implementation in Rust that nobody of ours has written: the same field, another matrix. Its matrix is read off its parity
  // of unit vectors; what it then makes of all 256 bytes, in every place, must be what we make of them by that matrix.
  test.each([
    [4, 2],
    [10, 4],
    [29, 51],
    [64, 64],
    [100, 99],
  ])('by the matrix of another implementation give its parity: %i+%i', (k, m) => {
    const units = rows(k, k)
    for (const [i, unit] of units.entries()) unit[i] = 1
    const coefficients = Buffer.concat(encodedByPeer(units, m))
    expect(new Set(coefficients).size).toBeGreaterThan(k < 100 ? 3 : 250)

    const inputs = rows(k, 256).map((row, i) => row.map((_, at) => (at * (2 * i + 1) + 13 * i) & 255))
    const outputs = rows(m, 256)
    combine({ coefficients, inputs, outputs })
    expect(outputs).toEqual(encodedByPeer(inputs, m))
  })
})

test('the parts of a combination, one after the other, are all of it', () => {
  const { combine } = createErasureKernel('simd')
  const inputs = rows(3, 1000).map((row, i) => row.map((_, at) => at * (i + 3)))
  const coefficients = Uint8Array.of(1, 2, 3, 40, 50, 60)
  const [whole, parts] = [rows(2, 1000), rows(2, 1000)]
  combine({ coefficients, inputs, outputs: whole })
  const combination = { coefficients, inputs, outputs: parts }
  for (let at = 0; at < 1000; at += 301) combine(columnsOf(combination, at, at + 301))
  expect(parts).toEqual(whole)
  expect(productCountOf(combination)).toBe(6000)
})

function encodedByPeer(data: readonly Uint8Array[], m: number): Uint8Array[] {
  const sizeBytes = data[0]!.length
  const shards = new Uint8Array((data.length + m) * sizeBytes)
  for (const [i, shard] of data.entries()) shards.set(shard, i * sizeBytes)
  expect(codec.encode(shards, data.length, m)).toBe(0)
  return rows(m, sizeBytes).map((_, j) => {
    const at = (data.length + j) * sizeBytes
    return shards.slice(at, at + sizeBytes)
  })
}

function rows(count: number, sizeBytes: number): Uint8Array[] {
  return Array.from({ length: count }, () => new Uint8Array(sizeBytes))
}
