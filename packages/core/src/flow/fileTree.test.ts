import { segmentRoots } from '@weightless/kernels'
import { describe, expect, test } from 'vitest'
import { fileOf } from '../../../../sim/vectors/files.ts'
import vectors from '../../../../sim/vectors/storage-merkle.json' with { type: 'json' }
import { toHex } from '../hex.ts'
import { fileTreeOf } from './fileTree.ts'
import { layoutOf, leafCountOf } from './layout.ts'
import { proofToJson } from './segmentProof.ts'

function treeOf(data: Uint8Array) {
  const layout = layoutOf(data.length)
  return fileTreeOf(layout, segmentRoots(data, leafCountOf(layout, layout.segmentCount - 1)))
}

describe.each(['linear7p3', 'zeros', 'xorshift32'])('%s files of the vectors', (generator) => {
  const files = vectors.cases.filter((file) => file.generator === generator)

  test('have the roots, segment roots and proofs of the official SDK', () => {
    expect(files).toHaveLength(24)
    for (const file of files) {
      const tree = treeOf(fileOf(generator, file.size))
      expect(tree.root).toBe(file.fileRoot)
      for (const sample of file.segmentRootsSample) expect(toHex(tree.segmentRoot(sample.index))).toBe(sample.root)
      for (const sample of file.segmentProofs) {
        const proof = tree.prove(sample.index)
        expect(proofToJson(tree.segmentRoot(sample.index), proof, tree.root)).toEqual(sample.proof)
      }
    }
  })
})

test('fragments are files of their own', () => {
  const data = fileOf('linear7p3', 1_000_000)
  for (const fragment of vectors.fragments) {
    expect(treeOf(data.subarray(fragment.offset, fragment.offset + fragment.size)).root).toBe(fragment.root)
  }
})

test('the tree keeps nothing of the array it was built from', () => {
  const data = fileOf('linear7p3', 600_000)
  const layout = layoutOf(data.length)
  const roots = segmentRoots(data, layout.lastLeafCount)
  const tree = fileTreeOf(layout, roots)
  const before = tree.prove(1)
  roots.fill(0)
  expect(tree.prove(1)).toEqual(before)
})

test('a segment beyond the padded file has no root and no proof', () => {
  const tree = treeOf(fileOf('zeros', 10_000_001))
  for (const index of [-1, 40, 1.5]) {
    expect(() => tree.prove(index)).toThrow(expect.objectContaining({ code: 'SEGMENT_INDEX_INVALID' }))
    expect(() => tree.segmentRoot(index)).toThrow(expect.objectContaining({ code: 'SEGMENT_INDEX_INVALID' }))
  }
  expect(() => tree.subtree(3, 5)).toThrow('a subtree inside the file')
})

test('there must be one root for each real segment', () => {
  expect(() => fileTreeOf(layoutOf(262_145), new Uint8Array(32))).toThrow('one root for each real segment')
})
