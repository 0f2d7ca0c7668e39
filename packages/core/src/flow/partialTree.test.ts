import { keccak256 } from '@weightless/kernels'
import { expect, test } from 'vitest'
import { fileTreeOf } from './fileTree.ts'
import { layoutOf } from './layout.ts'
import { partialTreeOf } from './partialTree.ts'

const roots = new Uint8Array(9 * 32)
for (let i = 0; i < 9; i++) roots.set(keccak256(Uint8Array.of(i)), 32 * i)
const tree = fileTreeOf(layoutOf(9 * 262_144), roots)
const partialOf = () => partialTreeOf({ root: tree.root, sizeBytes: tree.layout.sizeBytes })
const claim = (...indices: number[]) => new Map(indices.map((index) => [index, tree.segmentRoot(index)]))

test('a proof names the root of its neighbour, and subtrees further away', () => {
  const partial = partialOf()
  expect(partial.confirm(claim(0))).toEqual({ kind: 'open', segments: [0], needs: [{ from: 1, to: 2 }] })
  partial.learn(2, tree.segmentRoot(2), tree.prove(2))
  expect(partial.confirm(claim(3))).toEqual({ kind: 'right' })
  // Segments 0 and 1 stand together in it.
  expect(partial.confirm(claim(0))).toEqual({ kind: 'open', segments: [0], needs: [{ from: 1, to: 2 }] })
  expect(partial.prove(0)).toBeUndefined()
  expect(partial.confirm(claim(0, 1))).toEqual({ kind: 'right' })
  expect(partial.prove(0)).toEqual(tree.prove(0))
})

test('what is wrong is told before anything is kept', () => {
  const partial = partialOf()
  partial.learn(2, tree.segmentRoot(2), tree.prove(2))
  const claims = new Map([...claim(0, 3), [1, tree.segmentRoot(7)] as const])
  expect(partial.confirm(claims)).toEqual({ kind: 'wrong', segments: [0, 1] })
  expect(partial.confirm(claim(0))).toMatchObject({ kind: 'open' })
})

test('a file is borne out by all its roots alone', () => {
  const partial = partialOf()
  expect(partial.confirm(claim(0, 1, 2, 3, 4, 5, 6, 7))).toMatchObject({ needs: [{ from: 8, to: 9 }] })
  expect(partial.confirm(claim(0, 1, 2, 3, 4, 5, 6, 7, 8))).toEqual({ kind: 'right' })
})

test('padding is known, and a single segment is its own root', () => {
  // 33 segments are padded to 36: the last subtrees are zeros.
  const many = new Uint8Array(33 * 32).fill(5)
  const padded = fileTreeOf(layoutOf(33 * 262_144), many)
  const partial = partialTreeOf({ root: padded.root, sizeBytes: 33 * 262_144 })
  expect(partial.confirm(new Map([[32, padded.segmentRoot(32)]]))).toEqual({
    kind: 'open',
    segments: [32],
    needs: [{ from: 0, to: 32 }],
  })
  const one = fileTreeOf(layoutOf(100), new Uint8Array(32).fill(1))
  const single = partialTreeOf({ root: one.root, sizeBytes: 100 })
  expect(single.confirm(new Map([[0, one.segmentRoot(0)]]))).toEqual({ kind: 'right' })
  expect(single.confirm(new Map([[0, new Uint8Array(32)]]))).toEqual({ kind: 'wrong', segments: [0] })
  expect(single.prove(0)).toEqual({ siblings: [], lefts: [] })
})
