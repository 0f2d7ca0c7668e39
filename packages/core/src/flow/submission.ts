import { keccak256, segmentRoot } from '@weightless/kernels'
import { ceilLog2, concat, equal } from '../bytes.ts'
import { fail, invariant } from '../errors.ts'
import type { Address } from '../hex.ts'
import {
  CHUNK_SIZE_BYTES,
  HASH_SIZE_BYTES,
  SEGMENT_CHUNKS,
  SEGMENT_HEIGHT,
  SEGMENT_SIZE_BYTES,
  TAGS_BYTES_MAX,
} from '../limits.ts'
import type { Submission, SubmissionNode } from '../types.ts'
import type { FileTree } from './fileTree.ts'
import { hashPair } from './hashPair.ts'

/** What a client submits for the file of `tree`: its padded chunks as perfect subtrees, largest first (spec/storage.md 1.4).
 *  `lastSegment` is the data of the last real segment (with or without zero padding): nodes smaller than a segment lie inside it,
 *  below what the tree knows. Throws `SUBMISSION_INVALID` when it is not the segment the tree was built from. */
export function submissionOf(
  tree: FileTree,
  options: { readonly lastSegment: Uint8Array; readonly tags?: Uint8Array | undefined },
): Submission {
  const tags = options.tags ?? new Uint8Array(0)
  if (tags.length > TAGS_BYTES_MAX)
    throw fail('SUBMISSION_INVALID', { tagsBytes: tags.length, tagsBytesMax: TAGS_BYTES_MAX })
  const { layout } = tree
  const nodes: SubmissionNode[] = []
  const tail: SubmissionNode[] = []
  let chunk = 0
  for (const height of nodeHeights(layout.paddedChunkCount)) {
    const size = 2 ** height
    if (height >= SEGMENT_HEIGHT) {
      nodes.push({ height, root: tree.subtree(height - SEGMENT_HEIGHT, chunk / size) })
    } else {
      const from = (chunk % SEGMENT_CHUNKS) * CHUNK_SIZE_BYTES
      const to = Math.min(from + size * CHUNK_SIZE_BYTES, options.lastSegment.length)
      tail.push({ height, root: segmentRoot(options.lastSegment.subarray(from, to), size) })
    }
    chunk += size
  }
  const last = layout.segmentCount - 1
  if (tail.length > 0 && !equal(rootOfNodes(tail), tree.segmentRoot(last))) {
    throw fail('SUBMISSION_INVALID', {
      reason: 'the last segment is not the one the tree was built from',
      segmentIndex: last,
    })
  }
  const submission: Submission = { sizeBytes: layout.sizeBytes, tags, nodes: [...nodes, ...tail] }
  checkSubmission(submission)
  return submission
}

/** Heights of the nodes that cover `paddedChunkCount` chunks: its one-bits, highest first. */
export function nodeHeights(paddedChunkCount: number): readonly number[] {
  const heights: number[] = []
  let rest = paddedChunkCount
  for (let height = ceilLog2(paddedChunkCount); rest > 0; height--) {
    if (rest >= 2 ** height) {
      heights.push(height)
      rest -= 2 ** height
    }
  }
  return heights
}

/** Chunks that the nodes cover, and that the flow charges. Exact for every valid list of heights. */
export function paddedChunkCountOf(nodes: readonly SubmissionNode[]): number {
  return nodes.reduce((sum, node) => sum + 2 ** node.height, 0)
}

/** `identity` of the Submit event: keccak256 over all node roots. It is not the file root (spec/storage.md 1.4). */
export function identityOf(nodes: readonly SubmissionNode[]): Uint8Array {
  return keccak256(concat(nodes.map((node) => node.root)))
}

/** The file root: the nodes folded from the right. */
export function rootOfNodes(nodes: readonly SubmissionNode[]): Uint8Array {
  invariant(nodes.length > 0, 'a submission has nodes')
  return nodes.map((node) => node.root).reduceRight((right, left) => hashPair(left, right))
}

/** The rules by which the contract accepts a submission (spec/storage.md 2.2). Throws `SUBMISSION_INVALID` with the rule broken. */
export function checkSubmission(
  submission: Submission,
  options: { readonly submitter?: Address | undefined } = {},
): void {
  const { sizeBytes, nodes } = submission
  const refuse = (reason: string) =>
    fail('SUBMISSION_INVALID', { reason, sizeBytes, heights: nodes.map((node) => node.height).join(',') })
  if (options.submitter !== undefined && /^0x0{40}$/.test(options.submitter)) throw refuse('the submitter is zero')
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0) throw refuse('the size is no whole number')
  checkNodes(nodes, refuse)
  const highest = nodes[0]!.height
  const capacity = paddedChunkCountOf(nodes)
  if (sizeBytes > capacity * CHUNK_SIZE_BYTES) throw refuse('the nodes cover fewer bytes than the size')
  const lower =
    capacity < 16 ? capacity - 1 : nodes.length === 1 ? capacity - capacity / 16 : capacity - 2 ** (highest - 3)
  if (sizeBytes <= lower * CHUNK_SIZE_BYTES) throw refuse('the nodes cover more padding than a sixteenth')
}

/** Rules 2 to 5: they bound what the flow tree has to insert. */
export function checkNodes(nodes: readonly SubmissionNode[], refuse: (reason: string) => Error): void {
  const first = nodes[0]
  if (first === undefined) throw refuse('there is no node')
  for (const node of nodes) {
    if (!Number.isSafeInteger(node.height) || node.height < 0) throw refuse('a height is no whole number')
    if (node.root.length !== HASH_SIZE_BYTES) throw refuse('a node root is no hash')
  }
  if (first.height >= 64) throw refuse('a height is 64 or more')
  for (let i = 1; i < nodes.length; i++) {
    if (nodes[i]!.height >= nodes[i - 1]!.height) throw refuse('the heights do not fall')
  }
  if (first.height - nodes[nodes.length - 1]!.height >= 4) throw refuse('the heights span more than three')
}

invariant(2 ** SEGMENT_HEIGHT * CHUNK_SIZE_BYTES === SEGMENT_SIZE_BYTES, 'a segment is a subtree of height 10')
