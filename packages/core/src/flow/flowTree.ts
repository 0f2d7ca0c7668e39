import { zeroSubtree } from '@weightless/kernels'
import { ceilLog2, concat, equal } from '../bytes.ts'
import { fail, invariant } from '../errors.ts'
import { toHex } from '../hex.ts'
import { FLOW_HEIGHT_MAX, HASH_SIZE_BYTES, SEGMENT_CHUNKS } from '../limits.ts'
import type { SegmentProof, SubmissionNode } from '../types.ts'
import { hashPair } from './hashPair.ts'
import { checkNodes, paddedChunkCountOf } from './submission.ts'

/** The append-only tree over all chunks of the flow (spec/storage.md 2.3). `frontier` holds one root per one-bit of `length`,
 *  highest first: the perfect subtrees that cover positions 0 … length − 1. Plain data; `flowStateToBytes` saves it. */
export type FlowState = { readonly length: number; readonly frontier: readonly Uint8Array[] }

/** A perfect subtree: `hash` covers chunks index·2^height … (index + 1)·2^height − 1. */
export type FlowNode = { readonly height: number; readonly index: number; readonly hash: Uint8Array }
export type FlowPosition = { readonly height: number; readonly index: number }
/** Finds a node that some `appendSubmission` returned in `placed`. */
export type FlowLookup = (height: number, index: number) => Uint8Array | undefined

/** Position 0 is reserved: a leaf whose hash is 32 zero bytes, so the first file starts at 1 or later. */
export function emptyFlow(): FlowState {
  return { length: 1, frontier: [RESERVED_LEAF] }
}

/** Appends one submission by the contract's alignment rules. `placed` holds every perfect subtree that became complete, except
 *  those that are all zero: persist them by (height, index), and a missing node of a complete range means zero. They never
 *  change. Throws `SUBMISSION_INVALID` when the contract could not have accepted the nodes or positions pass 2^53. */
export function appendSubmission(state: FlowState, nodes: readonly SubmissionNode[]): AppendResult {
  const refuse = (reason: string) => fail('SUBMISSION_INVALID', { reason, flowLength: state.length })
  checkNodes(nodes, refuse)
  const chunkCount = paddedChunkCountOf(nodes)
  const startChunk = startOf(state.length, nodes[0]!.height, chunkCount)
  if (nodes[0]!.height > FLOW_HEIGHT_MAX || startChunk + chunkCount > Number.MAX_SAFE_INTEGER)
    throw refuse('the flow is full')

  const peaks: FlowNode[] = peaksOf(state)
  const placed: FlowNode[] = []
  let length = state.length
  function push(height: number, hash: Uint8Array): void {
    invariant(length % 2 ** height === 0, 'a subtree starts at a multiple of its size')
    let node: FlowNode = { height, index: length / 2 ** height, hash }
    length += 2 ** height
    keep(node)
    for (let peak = peaks.at(-1); peak?.height === node.height; peak = peaks.at(-1)) {
      peaks.pop()
      node = { height: node.height + 1, index: peak.index / 2, hash: parentOf(node.height, peak.hash, node.hash) }
      keep(node)
    }
    peaks.push(node)
  }
  function keep(node: FlowNode): void {
    if (!equal(node.hash, zeroSubtree(node.height))) placed.push(node)
  }

  while (length < startChunk) {
    const height = Math.min(trailingZeros(length), floorLog2(startChunk - length))
    push(height, zeroSubtree(height))
  }
  for (const node of nodes) push(node.height, node.root)
  invariant(length === startChunk + chunkCount, 'nodes after the first are contiguous')
  return {
    state: { length, frontier: peaks.map((peak) => peak.hash) },
    startChunk,
    paddingChunkCount: startChunk - state.length,
    placed,
  }
}

export type AppendResult = {
  readonly state: FlowState
  /** First chunk of the submission in the flow. */
  readonly startChunk: number
  /** Zero chunks between the previous end and `startChunk`. */
  readonly paddingChunkCount: number
  readonly placed: readonly FlowNode[]
}

/** Root of the smallest perfect tree that covers the flow, zero subtrees to the right. */
export function flowRoot(state: FlowState): Uint8Array {
  const top = ceilLog2(state.length)
  const peaks = peaksOf(state)
  let { height, hash } = peaks.pop()!
  for (; height < top; height++) {
    const peak = peaks.at(-1)
    if (peak?.height === height) {
      peaks.pop()
      hash = hashPair(peak.hash, hash)
    } else {
      hash = hashPair(hash, zeroSubtree(height))
    }
  }
  return hash
}

/** Root of the subtree at `position` in the flow as it was at `lengthChunks` (a length the flow had after some submission). The
 *  nodes of a submission are atoms: what lies inside one is known from its file only. Throws `FLOW_POSITION_INVALID` there. */
export function subtreeRoot(position: FlowPosition, lengthChunks: number, lookup: FlowLookup): Uint8Array {
  const { height, index } = position
  const start = index * 2 ** height
  if (start >= lengthChunks) return zeroSubtree(height)
  if (start + 2 ** height <= lengthChunks) return completeRoot(position, lengthChunks, lookup)
  // Only the subtree that straddles the end recurses, so the depth is at most the height of the tree.
  return hashPair(
    subtreeRoot({ height: height - 1, index: 2 * index }, lengthChunks, lookup),
    subtreeRoot({ height: height - 1, index: 2 * index + 1 }, lengthChunks, lookup),
  )
}

/** Proof from the node at `position` up to the flow root at `lengthChunks`, without both ends. Throws `FLOW_POSITION_INVALID` for
 *  a position beyond the flow or inside a submission node. */
export function proveInFlow(position: FlowPosition, lengthChunks: number, lookup: FlowLookup): SegmentProof {
  const { height, index } = position
  const refuse = (reason: string) => fail('FLOW_POSITION_INVALID', { reason, height, index, lengthChunks })
  if (!Number.isSafeInteger(lengthChunks) || lengthChunks < 1) throw refuse('the length is no length of a flow')
  const top = ceilLog2(lengthChunks)
  if (!Number.isSafeInteger(height) || height < 0 || height > top) throw refuse('the height is not in the tree')
  if (!Number.isSafeInteger(index) || index < 0 || index * 2 ** height >= lengthChunks) throw refuse('beyond the flow')
  subtreeRoot(position, lengthChunks, lookup)
  const siblings: Uint8Array[] = []
  const lefts: boolean[] = []
  let at = index
  for (let level = height; level < top; level++) {
    const isLeft = at % 2 === 0
    siblings.push(subtreeRoot({ height: level, index: isLeft ? at + 1 : at - 1 }, lengthChunks, lookup))
    lefts.push(isLeft)
    at = Math.floor(at / 2)
  }
  return { siblings, lefts }
}

/** The flow as it was at `lengthChunks`, a length it had after some submission: each peak of it is a node that was placed, or
 *  a hole. So a log is rolled back by looking up at most 53 nodes. */
export function flowStateAt(lengthChunks: number, lookup: FlowLookup): FlowState {
  let start = 0
  const frontier = bitsOf(lengthChunks).map((height) => {
    const index = start / 2 ** height
    start += 2 ** height
    if (height === 0 && index === 0) return RESERVED_LEAF
    return lookup(height, index) ?? zeroSubtree(height)
  })
  return { length: lengthChunks, frontier }
}

/** 8 bytes of length, big-endian, then the frontier. */
export function flowStateToBytes(state: FlowState): Uint8Array {
  const head = new Uint8Array(8)
  new DataView(head.buffer).setBigUint64(0, BigInt(state.length))
  return concat([head, ...state.frontier])
}

/** Throws `FLOW_STATE_INVALID`. */
export function flowStateFromBytes(bytes: Uint8Array): FlowState {
  const refuse = () => fail('FLOW_STATE_INVALID', { sizeBytes: bytes.length, head: toHex(bytes.subarray(0, 8)) })
  if (bytes.length < 8 || (bytes.length - 8) % HASH_SIZE_BYTES !== 0) throw refuse()
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0))
  if (!Number.isSafeInteger(length) || length < 1) throw refuse()
  const count = (bytes.length - 8) / HASH_SIZE_BYTES
  if (count !== bitsOf(length).length) throw refuse()
  const frontier = Array.from({ length: count }, (_, i) =>
    bytes.slice(8 + i * HASH_SIZE_BYTES, 8 + (i + 1) * HASH_SIZE_BYTES),
  )
  return { length, frontier }
}

const RESERVED_LEAF = new Uint8Array(HASH_SIZE_BYTES)

/** A missing node is a hole, unless the nearest kept node above it does not follow from its children: then that one is an atom. */
function completeRoot(position: FlowPosition, lengthChunks: number, lookup: FlowLookup): Uint8Array {
  const childOf = (height: number, index: number): Uint8Array => {
    if (height === 0 && index === 0) return RESERVED_LEAF
    return lookup(height, index) ?? zeroSubtree(height)
  }
  let { height, index } = position
  const hash = childOf(height, index)
  if (!equal(hash, zeroSubtree(height))) return hash
  while ((Math.floor(index / 2) + 1) * 2 ** (height + 1) <= lengthChunks) {
    height += 1
    index = Math.floor(index / 2)
    const above = lookup(height, index)
    if (above === undefined) continue
    if (equal(above, hashPair(childOf(height - 1, 2 * index), childOf(height - 1, 2 * index + 1)))) return hash
    throw fail('FLOW_POSITION_INVALID', { reason: 'inside a submission node', ...position, lengthChunks })
  }
  return hash
}

/** A file below one segment never straddles a segment boundary; one of a segment or more starts on one. */
function startOf(length: number, firstHeight: number, chunkCount: number): number {
  const start = alignUp(length, firstHeight)
  const firstSegment = Math.floor(start / SEGMENT_CHUNKS)
  const lastSegment = Math.floor((start + chunkCount - 1) / SEGMENT_CHUNKS)
  if (start % SEGMENT_CHUNKS === 0 || firstSegment === lastSegment) return start
  return alignUp((firstSegment + 1) * SEGMENT_CHUNKS, firstHeight)
}

function alignUp(position: number, height: number): number {
  return Math.ceil(position / 2 ** height) * 2 ** height
}

function parentOf(height: number, left: Uint8Array, right: Uint8Array): Uint8Array {
  const zero = zeroSubtree(height)
  return equal(left, zero) && equal(right, zero) ? zeroSubtree(height + 1) : hashPair(left, right)
}

function peaksOf(state: FlowState): FlowNode[] {
  const heights = bitsOf(state.length)
  invariant(heights.length === state.frontier.length, 'one frontier root for each one-bit of the length')
  let start = 0
  return heights.map((height, i) => {
    const node = { height, index: start / 2 ** height, hash: state.frontier[i]! }
    start += 2 ** height
    return node
  })
}

/** Exponents of the one-bits, highest first. */
function bitsOf(length: number): number[] {
  const bits: number[] = []
  let rest = length
  for (let bit = floorLog2(length); rest > 0; bit--) {
    if (rest >= 2 ** bit) {
      bits.push(bit)
      rest -= 2 ** bit
    }
  }
  return bits
}

function floorLog2(value: number): number {
  const ceiling = ceilLog2(value)
  return 2 ** ceiling > value ? ceiling - 1 : ceiling
}

function trailingZeros(value: number): number {
  let count = 0
  while (value % 2 ** (count + 1) === 0) count++
  return count
}
