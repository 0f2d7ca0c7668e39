import { foldProof, segmentRoots, zeroSubtree } from '@weightless/kernels'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { runs } from '../../../../sim/runs.ts'
import { toHex } from '../hex.ts'
import { fileTreeOf } from './fileTree.ts'
import { hashPair } from './hashPair.ts'
import { layoutOf, leafCountOf } from './layout.ts'

/** The definition of spec/storage.md 1.3 read literally: split at the largest power of two below the count. */
function rootByDefinition(hashes: readonly Uint8Array[]): Uint8Array {
  if (hashes.length === 1) return hashes[0]!
  let k = 1
  while (k * 2 < hashes.length) k *= 2
  return hashPair(rootByDefinition(hashes.slice(0, k)), rootByDefinition(hashes.slice(k)))
}

const segmentCounts = fc.oneof(
  fc.integer({ min: 1, max: 200 }),
  fc.constantFrom(1, 2, 3, 31, 32, 33, 63, 64, 65, 127, 129),
)

test('root and proofs of any number of segments are those of the definition, padding included', () => {
  fc.assert(
    fc.property(segmentCounts, fc.integer({ min: 1, max: 262_144 }), fc.integer(), (count, lastBytes, seed) => {
      const layout = layoutOf((count - 1) * 262_144 + lastBytes)
      const roots = new Uint8Array(layout.segmentCount * 32).map((_, i) => (i * 31 + seed) & 0xff)
      const tree = fileTreeOf(layout, roots)
      const leaves = Array.from({ length: layout.paddedSegmentCount }, (_, i) =>
        i < layout.segmentCount ? roots.subarray(32 * i, 32 * i + 32) : zeroSubtree(10),
      )
      expect(toHex(tree.rootBytes)).toBe(toHex(rootByDefinition(leaves)))
      for (let index = 0; index < layout.paddedSegmentCount; index++) {
        expect(tree.segmentRoot(index)).toEqual(leaves[index])
        const proof = tree.prove(index)
        expect(toHex(foldProof(leaves[index]!, proof.siblings, proof.lefts))).toBe(tree.root)
      }
    }),
    runs(),
  )
})

test('the file root is that of one tree over all padded chunks', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1_200_000 }), (size) => {
      const data = new Uint8Array(size).map((_, i) => (i * 131 + size) & 0xff)
      const layout = layoutOf(size)
      const tree = fileTreeOf(layout, segmentRoots(data, leafCountOf(layout, layout.segmentCount - 1)))
      const padded = new Uint8Array(layout.paddedChunkCount * 256)
      padded.set(data)
      const chunks = Array.from({ length: layout.paddedChunkCount }, (_, i) =>
        segmentRoots(padded.subarray(256 * i, 256 * i + 256), 1),
      )
      expect(toHex(rootByDefinition(chunks))).toBe(tree.root)
    }),
    runs(0.1),
  )
})
