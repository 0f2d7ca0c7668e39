import { foldProof, zeroSubtree } from '@weightless/kernels'
import { ceilLog2, equal, nextPowerOfTwo } from '../bytes.ts'
import { fail, invariant, preview } from '../errors.ts'
import { fromHex, rootOf, toHex, type Hex, type Root } from '../hex.ts'
import { HASH_SIZE_BYTES, PROOF_DEPTH_MAX, SEGMENT_HEIGHT } from '../limits.ts'
import type { ProvenSegment, SegmentProof } from '../types.ts'
import { layoutOf, segmentDataSize, type Layout } from './layout.ts'

/** Whether `segment` is part of the file (root, sizeBytes): its index, its exact length on the wire, the position its proof names,
 *  zero subtrees in the rear padding, and the fold to the root (spec/storage.md 1.5, 3.3). `segmentRoot` is the root of its data,
 *  zero-extended to `leafCountOf(layout, index)` leaves. The client, the gateway and the node all use this one function.
 *  Throws `SIZE_INVALID`, `SEGMENT_INDEX_INVALID`, `SEGMENT_SIZE_INVALID` or `SEGMENT_PROOF_INVALID` (fact `reason`). */
export function checkSegment(
  file: { readonly root: Root; readonly sizeBytes: number },
  segment: ProvenSegment,
  segmentRoot: Uint8Array,
): void {
  const layout = layoutOf(file.sizeBytes)
  const { index, data, proof } = segment
  const expectedBytes = segmentDataSize(layout, index)
  if (data.length !== expectedBytes) {
    throw fail('SEGMENT_SIZE_INVALID', { index, dataBytes: data.length, expectedBytes })
  }
  const refuse = (reason: SegmentProofFault) => fail('SEGMENT_PROOF_INVALID', { root: file.root, index, reason })
  if (proof.siblings.length !== proof.lefts.length || proof.siblings.length > PROOF_DEPTH_MAX) throw refuse('depth')
  if (segmentRoot.length !== HASH_SIZE_BYTES) throw refuse('hash')
  if (proof.siblings.some((sibling) => sibling.length !== HASH_SIZE_BYTES)) throw refuse('hash')
  checkPosition(layout, index, proof, refuse)
  if (rootOf(foldProof(segmentRoot, proof.siblings, proof.lefts)) !== file.root) throw refuse('root')
}

/** What a proof says about the segments before its own: roots of whole subtrees that lie side by side from segment 0 up to
 *  `index`, in that order. True of the file once `checkSegment` has accepted the proof. */
export function subtreesBefore(
  layout: Layout,
  { proof }: Pick<ProvenSegment, 'proof'>,
): readonly { readonly from: number; readonly count: number; readonly root: Uint8Array }[] {
  const subtrees: { from: number; count: number; root: Uint8Array }[] = []
  let start = 0
  let count = layout.paddedSegmentCount
  for (let level = proof.lefts.length - 1; level >= 0; level--) {
    const half = nextPowerOfTwo(count) / 2
    if (proof.lefts[level] === true) count = half
    else {
      subtrees.push({ from: start, count: half, root: proof.siblings[level]! })
      start += half
      count -= half
    }
  }
  return subtrees
}

/** `depth`: too deep, or siblings and sides differ in number. `hash`: not 32 bytes. `position`: the path does not lead to the
 *  index. `padding`: a sibling over padding alone is no zero subtree. `root`: the fold gives another root. */
export type SegmentProofFault = 'depth' | 'hash' | 'position' | 'padding' | 'root'

function checkPosition(
  layout: Layout,
  index: number,
  proof: SegmentProof,
  refuse: (reason: SegmentProofFault) => Error,
): void {
  let start = 0
  let count = layout.paddedSegmentCount
  for (let level = proof.lefts.length - 1; level >= 0; level--) {
    if (count === 1) throw refuse('position')
    const half = nextPowerOfTwo(count) / 2
    if (proof.lefts[level] === true) {
      if (start + half >= layout.segmentCount && !isZeroSubtree(proof.siblings[level]!, count - half))
        throw refuse('padding')
      count = half
    } else {
      start += half
      count -= half
    }
  }
  if (count !== 1 || start !== index) throw refuse('position')
}

function isZeroSubtree(sibling: Uint8Array, segmentCount: number): boolean {
  const height = ceilLog2(segmentCount)
  invariant(2 ** height === segmentCount, 'padding-only right siblings are perfect subtrees (spec/storage.md 11.2, 15)')
  return equal(sibling, zeroSubtree(height + SEGMENT_HEIGHT))
}

/** The form of official clients: [segment root, siblings bottom to top, file root], or the root alone for one padded segment. */
export function proofToJson(segmentRoot: Uint8Array, proof: SegmentProof, root: Root): ProofJson {
  if (proof.siblings.length === 0) return { lemma: [root], path: [] }
  return { lemma: [toHex(segmentRoot), ...proof.siblings.map(toHex), root], path: [...proof.lefts] }
}

export type ProofJson = { readonly lemma: Hex[]; readonly path: boolean[] }

/** Reads `{ lemma, path }` strictly. `leaf` is the segment root that the sender claims: compare it with the computed one.
 *  Throws `SEGMENT_PROOF_INVALID`. */
export function proofFromJson(value: unknown): {
  readonly proof: SegmentProof
  readonly leaf: Uint8Array
  readonly root: Root
} {
  const refuse = () => fail('SEGMENT_PROOF_INVALID', { reason: 'form', value: preview(value) })
  if (typeof value !== 'object' || value === null) throw refuse()
  const { lemma, path } = value as { lemma?: unknown; path?: unknown }
  if (!Array.isArray(lemma) || !Array.isArray(path) || path.length > PROOF_DEPTH_MAX) throw refuse()
  // 11.2 (14): without a path the root stands once.
  if (lemma.length !== (path.length === 0 ? 1 : path.length + 2)) throw refuse()
  if (!path.every((side) => typeof side === 'boolean')) throw refuse()
  const hashes = lemma.map((hash) => {
    if (typeof hash !== 'string' || !/^0x[0-9a-fA-F]{64}$/.test(hash)) throw refuse()
    return fromHex(hash)
  })
  return {
    proof: { siblings: hashes.slice(1, -1), lefts: path },
    leaf: hashes[0]!,
    root: rootOf(hashes[hashes.length - 1]!),
  }
}
