import { segmentRoots } from '@weightless/kernels'
import { encodeFunctionData, parseAbi } from 'viem'
import { describe, expect, test } from 'vitest'
import { fileOf } from '../../../../sim/vectors/files.ts'
import flow from '../../../../sim/vectors/storage-flow.json' with { type: 'json' }
import merkle from '../../../../sim/vectors/storage-merkle.json' with { type: 'json' }
import { toHex, type Address } from '../hex.ts'
import { TAGS_BYTES_MAX } from '../limits.ts'
import type { SubmissionNode } from '../types.ts'
import { fileTreeOf } from './fileTree.ts'
import { layoutOf, leafCountOf } from './layout.ts'
import {
  checkSubmission,
  identityOf,
  nodeHeights,
  paddedChunkCountOf,
  rootOfNodes,
  submissionOf,
} from './submission.ts'

const abi = parseAbi([
  'struct SubmissionNode { bytes32 root; uint256 height; }',
  'struct SubmissionData { uint256 length; bytes tags; SubmissionNode[] nodes; }',
  'struct Submission { SubmissionData data; address submitter; }',
  'function submit(Submission submission) payable',
])
const submitter: Address = `0x${'11'.repeat(20)}` as Address

function treeAndTail(data: Uint8Array) {
  const layout = layoutOf(data.length)
  const last = layout.segmentCount - 1
  return {
    tree: fileTreeOf(layout, segmentRoots(data, leafCountOf(layout, last))),
    lastSegment: data.subarray(last * 262_144),
  }
}

describe.each(['linear7p3', 'zeros', 'xorshift32'])('%s files of the vectors', (generator) => {
  test('submit the nodes, identity and calldata of the official SDK', () => {
    for (const file of merkle.cases.filter((file) => file.generator === generator)) {
      const { tree, lastSegment } = treeAndTail(fileOf(generator, file.size))
      const submission = submissionOf(tree, { lastSegment })
      expect(submission.sizeBytes).toBe(file.submission.length)
      expect(submission.nodes.map(({ root, height }) => ({ root: toHex(root), height }))).toEqual(
        file.submission.nodes.map(({ root, height }) => ({ root, height })),
      )
      expect(toHex(identityOf(submission.nodes))).toBe(file.identityDigest)
      expect(toHex(rootOfNodes(submission.nodes))).toBe(file.fileRoot)
      expect(paddedChunkCountOf(submission.nodes)).toBe(file.sectors)
      if ('calldataSubmit' in file) {
        const nodes = submission.nodes.map(({ root, height }) => ({ root: toHex(root), height: BigInt(height) }))
        const data = { length: BigInt(submission.sizeBytes), tags: toHex(submission.tags), nodes }
        expect(encodeFunctionData({ abi, args: [{ data, submitter }] })).toBe(file.calldataSubmit)
      }
    }
  })
})

test('fragments submit nodes of their own', () => {
  const data = fileOf('linear7p3', 1_000_000)
  for (const fragment of merkle.fragments) {
    const { tree, lastSegment } = treeAndTail(data.subarray(fragment.offset, fragment.offset + fragment.size))
    expect(
      submissionOf(tree, { lastSegment }).nodes.map(({ root, height }) => ({ root: toHex(root), height })),
    ).toEqual(fragment.nodes.map(({ root, height }) => ({ root, height })))
  }
})

test('the validity table of the contract holds line by line', () => {
  const root = new Uint8Array(32)
  expect(flow.validity).toHaveLength(23)
  for (const line of flow.validity) {
    const nodes = line.heights.map((height) => ({ root, height }))
    const check = () =>
      checkSubmission(
        { sizeBytes: line.length, tags: new Uint8Array(0), nodes },
        { submitter: 'submitter' in line ? (`0x${'00'.repeat(20)}` as Address) : submitter },
      )
    if (line.valid) expect(check, JSON.stringify(line)).not.toThrow()
    else expect(check, JSON.stringify(line)).toThrow(expect.objectContaining({ code: 'SUBMISSION_INVALID' }))
  }
})

const nodesOf = (...heights: number[]): SubmissionNode[] =>
  heights.map((height) => ({ root: new Uint8Array(32), height }))

test.each([
  ['no node at all', 1, []],
  ['rising heights', 2304, nodesOf(0, 3)],
  ['equal heights', 512, nodesOf(0, 0)],
  ['a height of 64', 256, nodesOf(64)],
  ['heights that span four', 4352, nodesOf(4, 0)],
  ['a height that is no whole number', 256, nodesOf(0.5)],
  ['a negative height', 256, nodesOf(0, -1)],
  ['a size that is no whole number', 0.5, nodesOf(0)],
  ['a negative size', -1, nodesOf(0)],
  ['a root of 31 bytes', 256, [{ root: new Uint8Array(31), height: 0 }]],
])('%s: refused', (_, sizeBytes, nodes) => {
  expect(() => checkSubmission({ sizeBytes, tags: new Uint8Array(0), nodes })).toThrow(
    expect.objectContaining({ code: 'SUBMISSION_INVALID' }),
  )
})

test('the rules are exact for the tallest nodes', () => {
  const check = (sizeBytes: number) => checkSubmission({ sizeBytes, tags: new Uint8Array(0), nodes: nodesOf(44) })
  expect(() => check(2 ** 52)).not.toThrow()
  expect(() => check(2 ** 52 + 1)).toThrow('fewer bytes')
  expect(() => check(2 ** 52 - 2 ** 48 + 1)).not.toThrow()
  expect(() => check(2 ** 52 - 2 ** 48)).toThrow('more padding')
  // A full node of height 63 holds more bytes than a safe integer counts, so no size fills it.
  expect(() =>
    checkSubmission({ sizeBytes: Number.MAX_SAFE_INTEGER, tags: new Uint8Array(0), nodes: nodesOf(63) }),
  ).toThrow('more padding')
})

test('a last segment of other bytes is noticed, if a node lies inside it', () => {
  const data = fileOf('linear7p3', 2304)
  const { tree } = treeAndTail(data)
  expect(() => submissionOf(tree, { lastSegment: data.map((byte) => byte ^ 1) })).toThrow(
    'the last segment is not the one',
  )
})

test('a last segment may come with its zero padding', () => {
  const data = fileOf('xorshift32', 65_537)
  const { tree, lastSegment } = treeAndTail(data)
  const padded = new Uint8Array(262_144)
  padded.set(lastSegment)
  expect(submissionOf(tree, { lastSegment: padded })).toEqual(submissionOf(tree, { lastSegment }))
})

test('tags travel with the submission up to their limit', () => {
  const { tree, lastSegment } = treeAndTail(fileOf('zeros', 1))
  const tags = new Uint8Array(TAGS_BYTES_MAX).fill(7)
  expect(submissionOf(tree, { lastSegment, tags }).tags).toEqual(tags)
  expect(() => submissionOf(tree, { lastSegment, tags: new Uint8Array(TAGS_BYTES_MAX + 1) })).toThrow(
    expect.objectContaining({ code: 'SUBMISSION_INVALID' }),
  )
})

test.each([
  [257, [1]],
  [2304, [3, 0]],
  [4353, [4, 1]],
  [65_537, [8, 5]],
  [262_145, [10, 7]],
  [10_000_001, [15, 13]],
  [360_448, [10, 8, 7]],
])('a file of %d bytes has nodes of heights %j', (size, heights) => {
  expect(nodeHeights(layoutOf(size).paddedChunkCount)).toEqual(heights)
})
