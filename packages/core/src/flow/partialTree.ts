import { zeroSubtree } from '@weightless/kernels'
import { ceilDiv, equal } from '../bytes.ts'
import { invariant } from '../errors.ts'
import { fromHex, type Root } from '../hex.ts'
import { HASH_SIZE_BYTES, SEGMENT_HEIGHT } from '../limits.ts'
import type { SegmentProof } from '../types.ts'
import { hashPair } from './hashPair.ts'
import { layoutOf, type Layout } from './layout.ts'

/** What is known of the tree of one file from the proofs of some of its segments: enough to tell whether others, that came without
 *  a proof because they were computed, are those of the file, and to make their proofs. Nothing enters it that the root does not
 *  bear out. Memory: 64 bytes for each segment of the file. Throws `SIZE_INVALID`. */
export function partialTreeOf(file: { readonly root: Root; readonly sizeBytes: number }): PartialTree {
  const layout = layoutOf(file.sizeBytes)
  const levels = emptyLevels(layout.paddedSegmentCount)
  const zeroSegment = zeroSubtree(SEGMENT_HEIGHT)
  set(levels.length - 1, 0, fromHex(file.root))
  for (let index = layout.segmentCount; index < layout.paddedSegmentCount; index++) set(0, index, zeroSegment)

  /** Keeps a node, and the parent that it completes. */
  function set(level: number, index: number, hash: Uint8Array): void {
    const { nodes, isKnown, count } = levels[level]!
    if (isKnown[index] === 1) return
    isKnown[index] = 1
    nodes.set(hash, index * HASH_SIZE_BYTES)
    if (level === levels.length - 1) return
    const sibling = index % 2 === 0 ? index + 1 : index - 1
    // The odd last node of a level is carried up unchanged.
    if (sibling === count) set(level + 1, Math.floor(index / 2), hash)
    else if (isKnown[sibling] === 1) set(level + 1, Math.floor(index / 2), parentOf(index, hash, node(level, sibling)!))
  }
  function node(level: number, index: number): Uint8Array | undefined {
    const { nodes, isKnown } = levels[level]!
    return isKnown[index] === 1 ? nodes.subarray(index * HASH_SIZE_BYTES, (index + 1) * HASH_SIZE_BYTES) : undefined
  }

  /** Goes up from the claimed roots until a known node says whether they are right. */
  function judge(claims: ReadonlyMap<number, Uint8Array>): Judgement {
    const wrong = new Set<number>()
    const open = new Set<number>()
    const needs: SegmentRange[] = []
    let row = new Map([...claims].map(([index, hash]): [number, Claim] => [index, { hash, of: [index] }]))
    for (let level = 0; row.size > 0; level++) {
      const { count } = levels[level]!
      const above = new Map<number, Claim>()
      for (const [index, claim] of row) {
        const known = node(level, index)
        if (known !== undefined) {
          if (!equal(known, claim.hash)) for (const segment of claim.of) wrong.add(segment)
          continue
        }
        const sibling = index % 2 === 0 ? index + 1 : index - 1
        const parent = Math.floor(index / 2)
        const beside = sibling === count ? undefined : (node(level, sibling) ?? row.get(sibling)?.hash)
        if (sibling === count) above.set(parent, claim)
        else if (beside === undefined) {
          for (const segment of claim.of) open.add(segment)
          needs.push(rangeOf(layout, level, sibling))
        } else if (!above.has(parent)) {
          const of = [...claim.of, ...(row.get(sibling)?.of ?? [])]
          above.set(parent, { hash: parentOf(index, claim.hash, beside), of })
        }
      }
      row = above
    }
    return { wrong, open, needs }
  }

  return {
    layout,
    learn: (index, segmentRoot, { siblings }) => {
      invariant(index < layout.segmentCount, 'a segment of the file')
      let position = index
      let count = layout.paddedSegmentCount
      let at = 0
      for (let level = 0; count > 1; level++) {
        const sibling = position % 2 === 0 ? position + 1 : position - 1
        if (sibling < count) set(level, sibling, siblings[at++]!)
        position = Math.floor(position / 2)
        count = ceilDiv(count, 2)
      }
      invariant(at === siblings.length, 'the proof is one that was checked')
      set(0, index, segmentRoot)
    },
    confirm: (claims) => {
      const { wrong, open, needs } = judge(claims)
      if (wrong.size > 0) return { kind: 'wrong', segments: ascending(wrong) }
      // What stands beside an open claim in the same sum is not borne out either.
      for (const [index, hash] of claims) if (!open.has(index)) set(0, index, hash)
      return open.size === 0 ? { kind: 'right' } : { kind: 'open', segments: ascending(open), needs }
    },
    prove: (index) => {
      const siblings: Uint8Array[] = []
      const lefts: boolean[] = []
      let position = index
      let count = layout.paddedSegmentCount
      for (let level = 0; count > 1; level++) {
        const sibling = position % 2 === 0 ? position + 1 : position - 1
        if (sibling < count) {
          const hash = node(level, sibling)
          if (hash === undefined) return undefined
          siblings.push(hash.slice())
          lefts.push(position % 2 === 0)
        }
        position = Math.floor(position / 2)
        count = ceilDiv(count, 2)
      }
      return { siblings, lefts }
    },
  }
}

export type PartialTree = {
  readonly layout: Layout
  /** Takes in what `checkSegment` has accepted. */
  learn(index: number, segmentRoot: Uint8Array, proof: SegmentProof): void
  /** Whether segments with these roots, by index, are those of the file. What is borne out is kept. */
  confirm(claims: ReadonlyMap<number, Uint8Array>): Confirmation
  /** The proof of a segment, from what is known; `undefined` when that is not enough. */
  prove(index: number): SegmentProof | undefined
}
export type Confirmation =
  | { readonly kind: 'right' }
  /** Among these segments, ascending, at least one has another root. */
  | { readonly kind: 'wrong'; readonly segments: readonly number[] }
  /** Nothing is wrong, and of these it cannot be told yet: of each of the ranges either one segment must be learned, or all must
   *  be claimed as well. */
  | { readonly kind: 'open'; readonly segments: readonly number[]; readonly needs: readonly SegmentRange[] }
/** Segments from ≤ index < to. */
export type SegmentRange = { readonly from: number; readonly to: number }

/** A node that follows from claims about the segments `of`. */
type Claim = { readonly hash: Uint8Array; readonly of: readonly number[] }
type Judgement = {
  readonly wrong: ReadonlySet<number>
  readonly open: ReadonlySet<number>
  readonly needs: readonly SegmentRange[]
}
type Level = { readonly count: number; readonly nodes: Uint8Array; readonly isKnown: Uint8Array }

function emptyLevels(leafCount: number): readonly Level[] {
  const levels: Level[] = []
  for (let count = leafCount; ; count = ceilDiv(count, 2)) {
    levels.push({ count, nodes: new Uint8Array(count * HASH_SIZE_BYTES), isKnown: new Uint8Array(count) })
    if (count === 1) return levels
  }
}

function parentOf(index: number, own: Uint8Array, sibling: Uint8Array): Uint8Array {
  return index % 2 === 0 ? hashPair(own, sibling) : hashPair(sibling, own)
}

/** The real segments below a node. */
function rangeOf({ segmentCount }: Layout, level: number, index: number): SegmentRange {
  const width = 2 ** level
  return { from: index * width, to: Math.min(segmentCount, (index + 1) * width) }
}

function ascending(indices: ReadonlySet<number>): readonly number[] {
  return [...indices].sort((a, b) => a - b)
}
