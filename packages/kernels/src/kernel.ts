import { check } from './check.ts'
import { scalar } from './scalar.ts'
import type { Primitives } from './scalar.ts'
import { compileSimd, instantiateSimd } from './simd.ts'

export type Tier = 'simd' | 'scalar'

/** keccak-256 and the 0G Merkle tree (spec/storage.md 1.3). Hashes are 32 bytes; rows of hashes are one array, 32 bytes each.
 *  All functions are synchronous, leave their input as it is, and accept views of a SharedArrayBuffer. Input of an impossible
 *  shape is the caller's bug and throws a RangeError. */
export type Kernel = {
  readonly tier: Tier
  /** keccak-256 with Ethereum's padding, of any number of bytes. */
  keccak256(data: Uint8Array): Uint8Array
  /** The root of one segment: `data`, zero-extended to `leafCount` (1 to 1024) chunks of 256 bytes. Empty `data` is the tree of
   *  `leafCount` zero chunks. */
  segmentRoot(data: Uint8Array, leafCount: number): Uint8Array
  /** Roots of consecutive segments of 262144 bytes. Each is zero-extended to 1024 leaves, the last one, which may be shorter,
   *  to `lastLeafCount`. */
  segmentRoots(data: Uint8Array, lastLeafCount: number): Uint8Array
  /** The root over a row of at least one hash; an odd last node of a level is carried unchanged. */
  merkleRoot(hashes: Uint8Array): Uint8Array
  /** All levels from the row itself (index 0, not copied) to the root. */
  merkleLevels(hashes: Uint8Array): Uint8Array[]
  /** The root a proof leads to. `siblings` from bottom to top; `lefts[i]` says that the node on the path is the left child. */
  foldProof(leaf: Uint8Array, siblings: readonly Uint8Array[], lefts: readonly boolean[]): Uint8Array
  /** Z[height]: the root of 2^height zero chunks, height 0 to 63. A copy: the caller may keep it. */
  zeroSubtree(height: number): Uint8Array
}

const CHUNK_SIZE_BYTES = 256
const SEGMENT_LEAVES = 1024
const SEGMENT_SIZE_BYTES: number = CHUNK_SIZE_BYTES * SEGMENT_LEAVES
const HASH_SIZE_BYTES = 32
/** Flow positions are 64-bit numbers of chunks: no subtree is higher. */
const ZERO_HEIGHT_MAX = 63

/** A kernel of a given tier; `simd` throws where WASM SIMD is missing. Tests run both through the same cases. */
export function createKernel(tier: Tier): Kernel {
  return kernelOf(tier, tier === 'simd' ? instantiateSimd(compileSimd()) : scalar)
}

/** The best kernel of this machine, made at first use. */
export function defaultKernel(): Kernel {
  return (chosen ??= bestKernel())
}

let chosen: Kernel | undefined

function bestKernel(): Kernel {
  try {
    return createKernel('simd')
  } catch {
    return createKernel('scalar')
  }
}

function kernelOf(tier: Tier, primitives: Primitives): Kernel {
  const { keccak256, segmentRootInto, level } = primitives
  const zeroSubtrees: Uint8Array[] = []

  function segmentRoot(data: Uint8Array, leafCount: number): Uint8Array {
    checkLeaves(data.length, leafCount)
    const root = new Uint8Array(HASH_SIZE_BYTES)
    segmentRootInto(data, leafCount, root, 0)
    return root
  }

  function segmentRoots(data: Uint8Array, lastLeafCount: number): Uint8Array {
    const lastIndex = segmentCountOf(data.length, lastLeafCount) - 1
    const roots = new Uint8Array((lastIndex + 1) * HASH_SIZE_BYTES)
    for (let index = 0; index <= lastIndex; index++) {
      const segment = data.subarray(index * SEGMENT_SIZE_BYTES, (index + 1) * SEGMENT_SIZE_BYTES)
      segmentRootInto(segment, index < lastIndex ? SEGMENT_LEAVES : lastLeafCount, roots, index * HASH_SIZE_BYTES)
    }
    return roots
  }

  function merkleRoot(hashes: Uint8Array): Uint8Array {
    checkRow(hashes)
    return primitives.merkleRoot(hashes)
  }

  function merkleLevels(hashes: Uint8Array): Uint8Array[] {
    checkRow(hashes)
    const levels = [hashes]
    for (let row = hashes; row.length > HASH_SIZE_BYTES; levels.push(row)) row = level(row)
    return levels
  }

  function foldProof(leaf: Uint8Array, siblings: readonly Uint8Array[], lefts: readonly boolean[]): Uint8Array {
    check(leaf.length === HASH_SIZE_BYTES, 'a leaf is 32 bytes')
    check(siblings.length === lefts.length, 'each sibling has a side')
    const pair = new Uint8Array(2 * HASH_SIZE_BYTES)
    let node: Uint8Array = leaf.slice()
    for (const [i, sibling] of siblings.entries()) {
      check(sibling.length === HASH_SIZE_BYTES, 'a sibling is 32 bytes')
      pair.set(node, lefts[i] === true ? 0 : HASH_SIZE_BYTES)
      pair.set(sibling, lefts[i] === true ? HASH_SIZE_BYTES : 0)
      node = level(pair)
    }
    return node
  }

  function zeroSubtree(height: number): Uint8Array {
    check(Number.isInteger(height) && height >= 0 && height <= ZERO_HEIGHT_MAX, 'a height is 0 to 63')
    for (let h = zeroSubtrees.length; h <= height; h++) {
      const below = zeroSubtrees[h - 1]
      zeroSubtrees.push(
        below === undefined ? keccak256(new Uint8Array(CHUNK_SIZE_BYTES)) : foldProof(below, [below], [true]),
      )
    }
    return zeroSubtrees[height]!.slice()
  }

  return { tier, keccak256, segmentRoot, segmentRoots, merkleRoot, merkleLevels, foldProof, zeroSubtree }
}

/** How many roots `segmentRoots` gives for such data; throws the RangeError that it would throw. For who splits a call. */
export function segmentCountOf(sizeBytes: number, lastLeafCount: number): number {
  check(sizeBytes > 0, 'there is at least one segment')
  const count = Math.ceil(sizeBytes / SEGMENT_SIZE_BYTES)
  checkLeaves(sizeBytes - (count - 1) * SEGMENT_SIZE_BYTES, lastLeafCount)
  return count
}

function checkLeaves(sizeBytes: number, leafCount: number): void {
  check(Number.isInteger(leafCount) && leafCount >= 1 && leafCount <= SEGMENT_LEAVES, 'a segment has 1 to 1024 leaves')
  check(sizeBytes <= leafCount * CHUNK_SIZE_BYTES, 'the leaves cover the data')
}

function checkRow(hashes: Uint8Array): void {
  check(hashes.length > 0 && hashes.length % HASH_SIZE_BYTES === 0, 'a row is one or more hashes of 32 bytes')
}
