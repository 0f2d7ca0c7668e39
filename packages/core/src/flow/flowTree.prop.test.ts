import { foldProof, merkleRoot, zeroSubtree } from '@weightless/kernels'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { runs } from '../../../../sim/runs.ts'
import { nextPowerOfTwo } from '../bytes.ts'
import { toHex } from '../hex.ts'
import type { SubmissionNode } from '../types.ts'
import {
  appendSubmission,
  emptyFlow,
  flowRoot,
  flowStateAt,
  flowStateFromBytes,
  flowStateToBytes,
  proveInFlow,
  subtreeRoot,
} from './flowTree.ts'

/** Heights as a file would have: strictly falling, spanning at most three. */
const submissions = fc.array(
  fc
    .record({ highest: fc.integer({ min: 0, max: 8 }), below: fc.subarray([1, 2, 3]), isZero: fc.boolean() })
    .map(({ highest, below, isZero }) => ({
      heights: [highest, ...below.map((step) => highest - step).filter((height) => height >= 0)],
      isZero,
    })),
  { minLength: 1, maxLength: 12 },
)

/** The whole flow as a list of chunk hashes: slow and obvious. */
function naiveRoot(leaves: readonly Uint8Array[]): string {
  const row = new Uint8Array(32 * nextPowerOfTwo(leaves.length))
  for (let i = 0; i < row.length / 32; i++) row.set(leaves[i] ?? zeroSubtree(0), 32 * i)
  return toHex(merkleRoot(row))
}

function build(list: readonly { heights: number[]; isZero: boolean }[]) {
  const leaves: Uint8Array[] = [new Uint8Array(32)]
  const nodes = new Map<string, Uint8Array>()
  const history: { length: number; root: string }[] = []
  const atoms: { height: number; index: number; root: Uint8Array }[] = []
  let state = emptyFlow()
  list.forEach(({ heights, isZero }, number) => {
    const parts = heights.map((height) =>
      Array.from({ length: 2 ** height }, (_, i) =>
        isZero ? zeroSubtree(0) : new Uint8Array(32).fill(1 + ((number * 37 + i) % 200)),
      ),
    )
    const submission: SubmissionNode[] = parts.map((part, i) => {
      const row = new Uint8Array(32 * part.length)
      part.forEach((leaf, j) => row.set(leaf, 32 * j))
      return { height: heights[i]!, root: merkleRoot(row) }
    })
    const result = appendSubmission(state, submission)
    while (leaves.length < result.startChunk) leaves.push(zeroSubtree(0))
    submission.forEach((node, i) => {
      atoms.push({ height: node.height, index: leaves.length / 2 ** node.height, root: node.root })
      leaves.push(...parts[i]!)
    })
    for (const node of result.placed) nodes.set(`${node.height}:${node.index}`, node.hash)
    state = flowStateFromBytes(flowStateToBytes(result.state))
    expect(state.length).toBe(leaves.length)
    history.push({ length: state.length, root: toHex(flowRoot(state)) })
  })
  return { state, leaves, history, atoms, lookup: (height: number, index: number) => nodes.get(`${height}:${index}`) }
}

test('the incremental root is that of the full tree after every submission', () => {
  fc.assert(
    fc.property(submissions, (list) => {
      const { leaves, history } = build(list)
      for (const { length, root } of history) expect(root).toBe(naiveRoot(leaves.slice(0, length)))
    }),
    runs(),
  )
})

test('a file below a segment never straddles a boundary and a larger one starts on one', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 14 }), { minLength: 1, maxLength: 30 }), (heights) => {
      let state = emptyFlow()
      for (const height of heights) {
        const { startChunk, state: next } = appendSubmission(state, [{ height, root: new Uint8Array(32).fill(3) }])
        expect(startChunk).toBeGreaterThanOrEqual(state.length)
        if (height >= 10) expect(startChunk % 1024).toBe(0)
        else expect(Math.floor(startChunk / 1024)).toBe(Math.floor((startChunk + 2 ** height - 1) / 1024))
        state = next
      }
    }),
    runs(),
  )
})

test('every node of every submission, and every hole, proves to the root of every later length', () => {
  fc.assert(
    fc.property(submissions, fc.nat(), (list, pick) => {
      const { history, atoms, lookup } = build(list)
      for (const { length, root } of history) {
        for (const { height, index, root: hash } of atoms) {
          if ((index + 1) * 2 ** height > length) continue
          const proof = proveInFlow({ height, index }, length, lookup)
          expect(toHex(foldProof(hash, proof.siblings, proof.lefts))).toBe(root)
        }
        const chunk = pick % length
        const isInside = atoms.some(({ height, index }) => Math.floor(chunk / 2 ** height) === index)
        if (isInside || chunk === 0) continue
        const proof = proveInFlow({ height: 0, index: chunk }, length, lookup)
        expect(toHex(foldProof(zeroSubtree(0), proof.siblings, proof.lefts))).toBe(root)
      }
    }),
    runs(),
  )
})

test('a chunk inside a node of data is refused instead of being proved wrongly', () => {
  fc.assert(
    fc.property(submissions, (list) => {
      const { history, atoms, lookup } = build(list)
      const { length } = history.at(-1)!
      const zero = (height: number) => toHex(zeroSubtree(height))
      for (const { height, index, root } of atoms) {
        if (height === 0 || toHex(root) === zero(height)) continue
        for (let below = 0; below < height; below++) {
          const position = { height: below, index: index * 2 ** (height - below) }
          const invalid = expect.objectContaining({ code: 'FLOW_POSITION_INVALID' })
          expect(() => proveInFlow(position, length, lookup)).toThrow(invalid)
          expect(() => subtreeRoot(position, length, lookup)).toThrow(invalid)
        }
      }
    }),
    runs(),
  )
})

test('the flow as it was after any earlier submission comes back from the placed nodes', () => {
  fc.assert(
    fc.property(submissions, (list) => {
      const { lookup, history } = build(list)
      expect(flowStateAt(1, lookup)).toEqual(emptyFlow())
      for (const { length, root } of history) {
        const state = flowStateAt(length, lookup)
        expect(state.length).toBe(length)
        expect(toHex(flowRoot(state))).toBe(root)
      }
      // It goes on from there as it did the first time.
      for (const [i] of list.entries()) {
        const again = build(list.slice(0, i + 1))
        expect(flowStateAt(history[i]!.length, lookup)).toEqual(again.state)
      }
    }),
    runs(1),
  )
})
