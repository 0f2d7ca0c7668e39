import * as fc from 'fast-check'
import { keccak_256 } from '@noble/hashes/sha3.js'
import { expect, test } from 'vitest'
import { createKernel } from './kernel.ts'

const simd = createKernel('simd')
const scalar = createKernel('scalar')

/** A segment's shape: 0 to 80 leaves of data with a cut anywhere in the last chunk, zero-extended by up to 300 leaves. */
const shape = fc
  .record({ chunks: fc.nat(80), cut: fc.nat(255), extra: fc.nat(300), seed: fc.integer() })
  .map(({ chunks, cut, extra, seed }) => {
    const size = Math.max(0, chunks * 256 - cut)
    return { data: bytesOf(size, seed), leafCount: Math.max(1, chunks + extra) }
  })

test('simd and scalar agree on the root of a segment of any shape', () => {
  fc.assert(
    fc.property(shape, ({ data, leafCount }) => {
      expect(simd.segmentRoot(data, leafCount)).toEqual(scalar.segmentRoot(data, leafCount))
    }),
  )
})

test('simd and scalar agree on full-size segments of any fill, and on several in one call', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 * 262_144 }), fc.nat(1023), fc.integer(), (size, extra, seed) => {
      const data = bytesOf(size, seed)
      const lastSize = ((size - 1) % 262_144) + 1
      const lastLeafCount = Math.min(1024, Math.ceil(lastSize / 256) + extra)
      expect(simd.segmentRoots(data, lastLeafCount)).toEqual(scalar.segmentRoots(data, lastLeafCount))
    }),
    { numRuns: 6 },
  )
})

test('zero-extension equals hashing the zeros', () => {
  fc.assert(
    fc.property(shape, ({ data, leafCount }) => {
      const extended = new Uint8Array(leafCount * 256)
      extended.set(data)
      expect(simd.segmentRoot(data, leafCount)).toEqual(simd.segmentRoot(extended, leafCount))
    }),
  )
})

test('keccak-256 of both tiers is that of noble', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 1000 }), (data) => {
      const want = keccak_256(data)
      expect(simd.keccak256(data)).toEqual(want)
      expect(scalar.keccak256(data)).toEqual(want)
    }),
  )
})

test('simd and scalar agree on the levels over any row of hashes', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 150 }), fc.integer(), (count, seed) => {
      const row = bytesOf(count * 32, seed)
      expect(simd.merkleLevels(row)).toEqual(scalar.merkleLevels(row))
      expect(simd.merkleRoot(row)).toEqual(scalar.merkleRoot(row))
    }),
  )
})

test('every leaf folds to the root of its row', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 70 }), fc.nat(), fc.integer(), (count, pick, seed) => {
      const row = bytesOf(count * 32, seed)
      const leafIndex = pick % count
      const siblings: Uint8Array[] = []
      const lefts: boolean[] = []
      let index = leafIndex
      for (const level of simd.merkleLevels(row)) {
        const sibling = level.slice((index ^ 1) * 32, (index ^ 1) * 32 + 32)
        if (sibling.length > 0) {
          siblings.push(sibling)
          lefts.push(index % 2 === 0)
        }
        index >>= 1
      }
      const leaf = row.slice(leafIndex * 32, leafIndex * 32 + 32)
      expect(simd.foldProof(leaf, siblings, lefts)).toEqual(simd.merkleRoot(row))
      expect(scalar.foldProof(leaf, siblings, lefts)).toEqual(simd.merkleRoot(row))
    }),
  )
})

function bytesOf(size: number, seed: number): Uint8Array {
  let x = seed || 1
  return Uint8Array.from({ length: size }, () => {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    return x
  })
}
