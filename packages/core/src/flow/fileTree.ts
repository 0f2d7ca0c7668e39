import { merkleLevels, zeroSubtree } from '@weightless/kernels'
import { fail, invariant } from '../errors.ts'
import { rootOf, type Root } from '../hex.ts'
import { HASH_SIZE_BYTES, SEGMENT_HEIGHT } from '../limits.ts'
import type { SegmentProof } from '../types.ts'
import type { Layout } from './layout.ts'

/** The tree over the segment roots of one file (spec/storage.md 1.3). `segmentRoots` holds the roots of the real segments,
 *  32 bytes each; padding segments are zero subtrees and their data never exists. Memory: 64 bytes per segment. */
export function fileTreeOf(layout: Layout, segmentRoots: Uint8Array): FileTree {
  invariant(segmentRoots.length === layout.segmentCount * HASH_SIZE_BYTES, 'one root for each real segment')
  const levels = merkleLevels(withPadding(layout, segmentRoots))
  const top = levels[levels.length - 1]!
  invariant(top.length === HASH_SIZE_BYTES, 'the top level is the root')

  function node(level: number, index: number): Uint8Array {
    return levels[level]!.subarray(index * HASH_SIZE_BYTES, (index + 1) * HASH_SIZE_BYTES)
  }
  function checkIndex(index: number): void {
    if (!Number.isSafeInteger(index) || index < 0 || index >= layout.paddedSegmentCount) {
      throw fail('SEGMENT_INDEX_INVALID', { index, segmentCount: layout.paddedSegmentCount })
    }
  }

  return {
    layout,
    root: rootOf(top),
    rootBytes: top,
    segmentRoot(index) {
      checkIndex(index)
      return node(0, index)
    },
    subtree(level, index) {
      invariant((index + 1) * 2 ** level <= layout.paddedSegmentCount, 'a subtree inside the file')
      return node(level, index)
    },
    prove(index) {
      checkIndex(index)
      const siblings: Uint8Array[] = []
      const lefts: boolean[] = []
      let position = index
      let count = layout.paddedSegmentCount
      for (let level = 0; count > 1; level++) {
        const isLeft = position % 2 === 0
        // The odd last node of a level is carried up unchanged and adds nothing to the path (1.5).
        if (!(isLeft && position === count - 1)) {
          siblings.push(node(level, isLeft ? position + 1 : position - 1))
          lefts.push(isLeft)
        }
        position = Math.floor(position / 2)
        count = Math.ceil(count / 2)
      }
      return { siblings, lefts }
    },
  }
}

export type FileTree = {
  readonly layout: Layout
  readonly root: Root
  readonly rootBytes: Uint8Array
  /** A view, real or padding. Throws `SEGMENT_INDEX_INVALID`. */
  segmentRoot(index: number): Uint8Array
  /** Root of the perfect subtree over segments index·2^level … (index + 1)·2^level − 1, all inside the padded file. */
  subtree(level: number, index: number): Uint8Array
  /** Proof of a segment, real or padding. Throws `SEGMENT_INDEX_INVALID`. */
  prove(index: number): SegmentProof
}

function withPadding(layout: Layout, segmentRoots: Uint8Array): Uint8Array {
  // A copy even without padding: the lowest level of the tree is this array, and the caller may reuse its own.
  const all = new Uint8Array(layout.paddedSegmentCount * HASH_SIZE_BYTES)
  all.set(segmentRoots)
  const zeroSegment = zeroSubtree(SEGMENT_HEIGHT)
  for (let index = layout.segmentCount; index < layout.paddedSegmentCount; index++) {
    all.set(zeroSegment, index * HASH_SIZE_BYTES)
  }
  return all
}
