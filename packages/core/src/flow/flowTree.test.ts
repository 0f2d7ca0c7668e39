import { foldProof, segmentRoots, zeroSubtree } from '@weightless/kernels'
import { describe, expect, test } from 'vitest'
import { fileOf } from '../../../../sim/vectors/files.ts'
import vectors from '../../../../sim/vectors/storage-flow.json' with { type: 'json' }
import { toHex } from '../hex.ts'
import type { SubmissionNode } from '../types.ts'
import { fileTreeOf } from './fileTree.ts'
import {
  appendSubmission,
  emptyFlow,
  flowRoot,
  flowStateFromBytes,
  flowStateToBytes,
  proveInFlow,
  subtreeRoot,
  type FlowLookup,
  type FlowState,
} from './flowTree.ts'
import { layoutOf, leafCountOf } from './layout.ts'
import { submissionOf } from './submission.ts'

function nodesOf(generator: string, size: number): readonly SubmissionNode[] {
  const data = fileOf(generator, size)
  const layout = layoutOf(size)
  const last = layout.segmentCount - 1
  const tree = fileTreeOf(layout, segmentRoots(data, leafCountOf(layout, last)))
  return submissionOf(tree, { lastSegment: data.subarray(last * 262_144) }).nodes
}

/** What a node keeps: an ordered map of all nodes ever placed. */
function store() {
  const nodes = new Map<string, Uint8Array>()
  const lookup: FlowLookup = (height, index) => nodes.get(`${height}:${index}`)
  return {
    nodes,
    lookup,
    append(state: FlowState, submission: readonly SubmissionNode[]) {
      const result = appendSubmission(state, submission)
      for (const node of result.placed) {
        expect(nodes.has(`${node.height}:${node.index}`)).toBe(false)
        nodes.set(`${node.height}:${node.index}`, node.hash)
      }
      return result
    },
  }
}

const leaf = (byte: number): SubmissionNode => ({ root: new Uint8Array(32).fill(byte), height: 0 })

test('the flow of 17 submissions has the positions and roots of the contract, and every proof leads to its root', () => {
  const { append, lookup } = store()
  let state = emptyFlow()
  expect(toHex(flowRoot(state))).toBe(vectors.meta.initial.root)
  const starts: { start: number; nodes: readonly SubmissionNode[] }[] = []
  const lengths: { length: number; root: string }[] = []
  for (const step of vectors.steps) {
    expect(state.length).toBe(step.previousLength)
    const nodes = nodesOf(step.generator, step.size)
    const result = append(state, nodes)
    expect(result.startChunk).toBe(step.startIndex)
    expect(result.paddingChunkCount).toBe(step.paddingSectors)
    state = flowStateFromBytes(flowStateToBytes(result.state))
    expect(state.length).toBe(step.currentLength)
    expect(toHex(flowRoot(state))).toBe(step.flowRoot)
    starts.push({ start: result.startChunk, nodes })
    lengths.push({ length: state.length, root: step.flowRoot })
  }
  for (const { length, root } of lengths) {
    for (const { start, nodes } of starts) {
      let chunk = start
      for (const node of nodes) {
        const position = { height: node.height, index: chunk / 2 ** node.height }
        chunk += 2 ** node.height
        if (chunk > length) continue
        const proof = proveInFlow(position, length, lookup)
        expect(toHex(foldProof(node.root, proof.siblings, proof.lefts))).toBe(root)
      }
    }
    expect(toHex(subtreeRoot({ height: Math.ceil(Math.log2(length)), index: 0 }, length, lookup))).toBe(root)
  }
})

describe('placement in the flow', () => {
  test('a file below a segment that would straddle a boundary jumps to the next segment', () => {
    // 1020 chunks are taken; a file of 9 chunks (heights 3, 0) starting at 1016 … would cross 1024.
    const first = appendSubmission(emptyFlow(), [{ root: new Uint8Array(32).fill(1), height: 9 }])
    expect(first.startChunk).toBe(512)
    const second = appendSubmission(first.state, [leaf(2)])
    expect(second.startChunk).toBe(1024)
    let state = emptyFlow()
    for (const height of [0, 1, 2, 3, 4, 5, 6, 7, 8]) {
      state = appendSubmission(state, [{ root: new Uint8Array(32).fill(height + 1), height }]).state
    }
    expect(state.length).toBe(512)
    state = appendSubmission(state, [{ root: new Uint8Array(32).fill(50), height: 8 }]).state
    for (const height of [7, 6, 5, 4, 3])
      state = appendSubmission(state, [{ root: new Uint8Array(32).fill(60), height }]).state
    expect(state.length).toBe(1016)
    const result = appendSubmission(state, [{ root: new Uint8Array(32).fill(70), height: 3 }, leaf(71)])
    expect(result).toMatchObject({ startChunk: 1024, paddingChunkCount: 8 })
  })

  test('a file of zeros and a hole look alike: zero subtrees are not persisted', () => {
    const result = appendSubmission(emptyFlow(), [{ root: zeroSubtree(2), height: 2 }])
    expect(result.startChunk).toBe(4)
    // Only what contains the reserved leaf is no zero subtree.
    expect(result.placed.map(({ height, index }) => [height, index])).toEqual([
      [1, 0],
      [2, 0],
      [3, 0],
    ])
  })
})

describe('a submission is refused', () => {
  const state = emptyFlow()
  test.each([
    ['without nodes', []],
    ['with rising heights', [leaf(1), { ...leaf(2), height: 1 }]],
    ['with a node of 2^53 chunks', [{ ...leaf(1), height: 53 }]],
  ])('%s', (_, nodes) => {
    expect(() => appendSubmission(state, nodes)).toThrow(expect.objectContaining({ code: 'SUBMISSION_INVALID' }))
  })

  test('when the flow passes 2^53 chunks', () => {
    const tall = { ...leaf(1), height: 51 }
    const first = appendSubmission(state, [tall]).state
    const second = appendSubmission(first, [tall]).state
    expect(second.length).toBe(2 ** 52 + 2 ** 51)
    expect(() => appendSubmission(second, [tall])).toThrow(expect.objectContaining({ code: 'SUBMISSION_INVALID' }))
    expect(appendSubmission(second, [leaf(2)]).startChunk).toBe(2 ** 52 + 2 ** 51)
  })
})

describe('a proof is refused', () => {
  const { append, lookup } = store()
  const first = append(emptyFlow(), [{ root: new Uint8Array(32).fill(1), height: 2 }])
  const second = append(first.state, [leaf(2)])
  test.each([
    ['a position at the end of the flow', { height: 0, index: 9 }, second.state.length],
    ['a position beyond a former end', { height: 0, index: 8 }, first.state.length],
    ['a negative index', { height: 0, index: -1 }, second.state.length],
    ['half an index', { height: 0, index: 0.5 }, second.state.length],
    ['a height above the tree', { height: 5, index: 0 }, second.state.length],
    ['a negative height', { height: -1, index: 0 }, second.state.length],
    ['half a height', { height: 0.5, index: 0 }, second.state.length],
    ['a flow without length', { height: 0, index: 0 }, 0],
    ['half a length', { height: 0, index: 0 }, 1.5],
    ['a chunk inside a submission node', { height: 0, index: 5 }, second.state.length],
  ])('for %s', (_, position, length) => {
    expect(() => proveInFlow(position, length, lookup)).toThrow(
      expect.objectContaining({ code: 'FLOW_POSITION_INVALID' }),
    )
  })

  test('and given for holes, the reserved leaf and the root itself', () => {
    const root = toHex(flowRoot(second.state))
    for (const [position, hash] of [
      [{ height: 0, index: 0 }, new Uint8Array(32)],
      [{ height: 0, index: 3 }, zeroSubtree(0)],
      [{ height: 1, index: 1 }, zeroSubtree(1)],
      [{ height: 4, index: 0 }, flowRoot(second.state)],
    ] as const) {
      const proof = proveInFlow(position, second.state.length, lookup)
      expect(toHex(foldProof(hash, proof.siblings, proof.lefts))).toBe(root)
    }
  })
})

describe('a saved state', () => {
  const { state } = appendSubmission(emptyFlow(), [leaf(5)])

  test('comes back as it was, even from the middle of a larger array', () => {
    const bytes = flowStateToBytes(state)
    const larger = new Uint8Array(bytes.length + 7)
    larger.set(bytes, 5)
    expect(flowStateFromBytes(larger.subarray(5, 5 + bytes.length))).toEqual(state)
    expect(flowStateFromBytes(flowStateToBytes(emptyFlow()))).toEqual(emptyFlow())
  })

  test.each([
    ['empty', new Uint8Array(0)],
    ['cut inside the length', new Uint8Array(7)],
    ['without a frontier', flowStateToBytes(state).subarray(0, 8)],
    ['cut inside a hash', flowStateToBytes(state).subarray(0, 39)],
    ['with a hash too many', new Uint8Array([...flowStateToBytes(state), ...new Uint8Array(32)])],
    ['of length zero', new Uint8Array(8)],
    ['longer than 2^53', new Uint8Array(40).fill(255)],
  ])('%s: refused', (_, bytes) => {
    expect(() => flowStateFromBytes(bytes)).toThrow(expect.objectContaining({ code: 'FLOW_STATE_INVALID' }))
  })
})
