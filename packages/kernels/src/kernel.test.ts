import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { keccak_256 } from '@noble/hashes/sha3.js'
import { describe, expect, test, vi } from 'vitest'
import targets from '../targets.json' with { type: 'json' }
import vectors from '../../../sim/vectors/storage-merkle.json' with { type: 'json' }
import { keccakWasm } from './generated/keccak.wasm.ts'
import { createKernel, defaultKernel } from './kernel.ts'
import type { Kernel, Tier } from './kernel.ts'
import * as room from './index.ts'

const CHUNK = 256
const SEGMENT = 262_144
const tiers: readonly Tier[] = ['simd', 'scalar']

describe.each(tiers)('%s kernel: vectors of the official SDK', (tier) => {
  const kernel = createKernel(tier)
  // The plain twin hashes about 4 MB/s: sizes of more than two segments are left to the fast tier.
  const cases = vectors.cases.filter(({ size }) => tier === 'simd' || size <= 262_400)

  test.each(cases)(
    '$generator of $size bytes has the content hash, segment roots and file root of the SDK',
    (vector) => {
      const data = generators[vector.generator]!(vector.size)
      expect(hex(kernel.keccak256(data))).toBe(vector.contentKeccak256)
      const roots = paddedSegmentRoots(kernel, data, vector)
      for (const { index, root } of vector.segmentRootsSample) expect(hex(hashAt(roots, index))).toBe(root)
      expect(hex(kernel.merkleRoot(roots))).toBe(vector.fileRoot)
      expect(hex(kernel.merkleLevels(roots).at(-1)!)).toBe(vector.fileRoot)
    },
  )

  test('submission nodes of the SDK are roots of their chunks', () => {
    for (const vector of cases.filter(({ size }) => size <= SEGMENT)) {
      const data = generators[vector.generator]!(vector.size)
      let chunk = 0
      for (const node of vector.submission.nodes) {
        const count = 2 ** node.height
        const part = data.subarray(chunk * CHUNK, (chunk + count) * CHUNK)
        expect(hex(kernel.segmentRoot(part, count))).toBe(node.root)
        chunk += count
      }
      expect(chunk).toBe(vector.paddedChunks)
    }
  })

  test('segment proofs of the SDK lead from the segment root to the file root', () => {
    let folded = 0
    for (const { segmentProofs, fileRoot } of vectors.cases) {
      for (const { proof } of segmentProofs) {
        const [leaf, ...rest] = proof.lemma.map(bytes)
        expect(hex(kernel.foldProof(leaf!, rest.slice(0, proof.path.length), proof.path))).toBe(fileRoot)
        folded += proof.path.length
      }
    }
    expect(folded).toBeGreaterThan(100)
  })

  test('fragments of the SDK are files of their own', () => {
    const data = generators['linear7p3']!(1_000_000)
    for (const { offset, size, root } of vectors.fragments) {
      const leafCount = Math.ceil(size / CHUNK)
      expect(hex(kernel.segmentRoot(data.subarray(offset, offset + size), leafCount === 835 ? 896 : leafCount))).toBe(
        root,
      )
    }
  })

  test('zero subtrees of all 64 heights are those of the SDK, and the caller may scribble on them', () => {
    expect(vectors.zeroSubtreeHashes.map((_, height) => hex(kernel.zeroSubtree(height)))).toEqual(
      vectors.zeroSubtreeHashes,
    )
    kernel.zeroSubtree(5).fill(0)
    expect(hex(kernel.zeroSubtree(5))).toBe(vectors.zeroSubtreeHashes[5])
    expect(hex(kernel.segmentRoot(new Uint8Array(0), 1024))).toBe(vectors.zeroSubtreeHashes[10])
  })
})

describe.each(tiers)('%s kernel: edges', (tier) => {
  const kernel = createKernel(tier)

  test('keccak-256 agrees with noble around every block edge and around the size of the working area', () => {
    const around = (edge: number): number[] => [edge - 1, edge, edge + 1]
    const area = tier === 'simd' ? [...around(1927 * 136), ...around(SEGMENT), ...around(2 * 1927 * 136)] : []
    for (const size of [
      0,
      1,
      7,
      ...around(64),
      ...around(128),
      ...around(136),
      ...around(256),
      ...around(272),
      ...area,
    ]) {
      const data = generators['xorshift32']!(size)
      expect(hex(kernel.keccak256(data)), `${size} bytes`).toBe(hex(keccak_256(data)))
    }
  })

  test('a segment root is the plain tree over its zero-extended chunks, for odd and ragged leaf counts', () => {
    for (const [size, leafCount] of [
      [0, 1],
      [0, 3],
      [0, 37],
      [1, 1],
      [1, 2],
      [1, 3],
      [257, 2],
      [257, 3],
      [511, 7],
      [512, 2],
      [513, 5],
      [1280, 6],
      [2305, 11],
      [256 * 37, 37],
      [256 * 37 - 1, 63],
      [256 * 36 + 1, 64],
      [256 * 5, 96],
      [256 * 31, 33],
      [1, 99],
    ] as const) {
      const data = generators['xorshift32']!(size)
      expect(hex(kernel.segmentRoot(data, leafCount)), `${size} bytes, ${leafCount} leaves`).toBe(
        hex(nobleSegmentRoot(data, leafCount)),
      )
    }
  })

  // The fast tier hashes three at a time: rows of leaves and of pairs end with one, two or three.
  test.each(Array.from({ length: 14 }, (_, i) => i + 1))(
    '%i chunks, alone or before up to three zero chunks, and as many hashes have the root of the plain tree',
    (count) => {
      const data = generators['xorshift32']!(count * CHUNK)
      for (let zeros = 0; zeros <= 3; zeros++) {
        const leafCount = count + zeros
        expect(hex(kernel.segmentRoot(data, leafCount)), `${zeros} zero chunks`).toBe(
          hex(nobleSegmentRoot(data, leafCount)),
        )
      }
      const leaves = Array.from({ length: count }, (_, i) => keccak_256(data.subarray(i * CHUNK, (i + 1) * CHUNK)))
      expect(hex(kernel.merkleRoot(new Uint8Array(leaves.flatMap((leaf) => [...leaf]))))).toBe(
        hex(nobleSegmentRoot(data, count)),
      )
    },
  )

  test('a full segment after a ragged one is not touched by what the first left behind', () => {
    const data = generators['xorshift32']!(SEGMENT)
    const fresh = hex(createKernel(tier).segmentRoot(data, 1024))
    kernel.segmentRoot(data.subarray(0, 777), 1000)
    kernel.keccak256(data.subarray(5))
    expect(hex(kernel.segmentRoot(data, 1024))).toBe(fresh)
    expect(hex(kernel.segmentRoot(new Uint8Array(1), 1024))).toBe(vectors.zeroSubtreeHashes[10])
  })

  test('a level of odd length carries its last hash unchanged', () => {
    const row = generators['xorshift32']!(5 * 32)
    const levels = kernel.merkleLevels(row)
    expect(levels.map((level) => level.length / 32)).toEqual([5, 3, 2, 1])
    expect(levels[0]).toBe(row)
    expect(hashAt(levels[1]!, 2)).toEqual(hashAt(row, 4))
    expect(hashAt(levels[2]!, 1)).toEqual(hashAt(row, 4))
    expect(levels[3]).toEqual(kernel.merkleRoot(row))
    expect(kernel.merkleRoot(row.subarray(0, 32))).toEqual(row.slice(0, 32))
  })

  test('input is left as it is, and may lie in shared memory at any offset', () => {
    const shared = new Uint8Array(new SharedArrayBuffer(10_003)).subarray(3)
    shared.set(generators['xorshift32']!(10_000))
    const before = shared.slice()
    expect(kernel.keccak256(shared)).toEqual(kernel.keccak256(before))
    expect(kernel.segmentRoot(shared, 40)).toEqual(kernel.segmentRoot(before, 40))
    expect(kernel.segmentRoots(shared, 48)).toEqual(kernel.segmentRoots(before, 48))
    const row = shared.subarray(0, 96)
    expect(kernel.merkleRoot(row)).toEqual(kernel.merkleRoot(row.slice()))
    expect(kernel.foldProof(row.subarray(0, 32), [row.subarray(32, 64)], [true])).toEqual(
      kernel.merkleRoot(row.slice(0, 64)),
    )
    expect(shared.slice()).toEqual(before)
  })

  test.each<[string, (kernel: Kernel) => unknown]>([
    ['no leaves', (k) => k.segmentRoot(new Uint8Array(0), 0)],
    ['a negative leaf count', (k) => k.segmentRoot(new Uint8Array(1), -1)],
    ['half a leaf', (k) => k.segmentRoot(new Uint8Array(1), 1.5)],
    ['more leaves than a segment has', (k) => k.segmentRoot(new Uint8Array(1), 1025)],
    ['data that its leaves do not cover', (k) => k.segmentRoot(new Uint8Array(257), 1)],
    ['no segments', (k) => k.segmentRoots(new Uint8Array(0), 1024)],
    ['a last segment that its leaves do not cover', (k) => k.segmentRoots(new Uint8Array(SEGMENT + 513), 2)],
    ['an empty row', (k) => k.merkleRoot(new Uint8Array(0))],
    ['a row that is not whole hashes', (k) => k.merkleRoot(new Uint8Array(33))],
    ['levels of an empty row', (k) => k.merkleLevels(new Uint8Array(0))],
    ['a leaf that is no hash', (k) => k.foldProof(new Uint8Array(31), [], [])],
    ['a sibling that is no hash', (k) => k.foldProof(new Uint8Array(32), [new Uint8Array(33)], [true])],
    ['a sibling without a side', (k) => k.foldProof(new Uint8Array(32), [new Uint8Array(32)], [])],
    ['a height below 0', (k) => k.zeroSubtree(-1)],
    ['a height above 63', (k) => k.zeroSubtree(64)],
  ])('%s is refused', (_, call) => {
    expect(() => call(kernel)).toThrow(RangeError)
  })
})

describe('rows larger than the working area', () => {
  // 8192 hashes fill the area: one less, exactly, one more, and an odd number of areas with a ragged end.
  test.each([8191, 8192, 8193, 8194, 16_385, 24_579])(
    '%i hashes have the root and levels of the plain tree',
    (count) => {
      const [simd, scalar] = [createKernel('simd'), createKernel('scalar')]
      const row = generators['xorshift32']!(count * 32)
      const levels = simd.merkleLevels(row)
      expect(levels.at(-1)).toEqual(simd.merkleRoot(row))
      expect(simd.merkleRoot(row)).toEqual(scalar.merkleRoot(row))
    },
  )
})

describe('the committed kernel', () => {
  test('is what its source compiles to', () => {
    const script = join(import.meta.dirname, '../scripts/build.mjs')
    expect(execFileSync(process.execPath, [script, '--check'], { encoding: 'utf8' })).toContain(targets.keccak.sha256)
  })

  test('keeps its size budget', () => {
    expect(atob(keccakWasm).length).toBeLessThanOrEqual(targets.keccak.maxBytes)
    expect(targets.keccak.maxBytes).toBe(8192)
  })

  test('answers by default on this machine', () => {
    expect(defaultKernel().tier).toBe('simd')
    expect(defaultKernel()).toBe(defaultKernel())
    const data = generators['linear7p3']!(1000)
    expect(room.segmentRoots(data, 4)).toEqual(room.segmentRoot(data, 4))
    expect(hex(room.keccak256(data))).toBe(hex(keccak_256(data)))
    expect(room.merkleRoot(data.subarray(0, 64))).toEqual(
      room.foldProof(data.slice(0, 32), [data.slice(32, 64)], [true]),
    )
    expect(room.merkleLevels(data.subarray(0, 64))).toHaveLength(2)
    expect(hex(room.zeroSubtree(63))).toBe(vectors.zeroSubtreeHashes[63])
  })

  test('gives way to the plain twin where WASM does not compile', async () => {
    const refuse = class {
      constructor() {
        throw new RangeError('not on this thread')
      }
    }
    vi.stubGlobal('WebAssembly', { Module: refuse })
    vi.resetModules()
    try {
      const fresh = await import('./kernel.ts')
      expect(fresh.defaultKernel().tier).toBe('scalar')
      expect(() => fresh.createKernel('simd')).toThrow('not on this thread')
    } finally {
      vi.unstubAllGlobals()
    }
  })

  test('needs no name of Node', () => {
    const sources = readdirSync(import.meta.dirname, { recursive: true, encoding: 'utf8' })
    for (const file of sources.filter((name) => /(?<!\.test)\.ts$/.test(name))) {
      expect(readFileSync(join(import.meta.dirname, file), 'utf8')).not.toMatch(/\bBuffer\b|'node:|\bprocess\b/)
    }
  })
})

/** Roots of all padded segments, built as spec/storage.md 1.3 says: real segments by the kernel, padding from zero trees. */
function paddedSegmentRoots(
  kernel: Kernel,
  data: Uint8Array,
  vector: { paddedChunks: number; numSegmentsPadded: number },
): Uint8Array {
  const realCount = Math.ceil(data.length / SEGMENT)
  const lastPadded = vector.paddedChunks - (vector.numSegmentsPadded - 1) * 1024
  const lastReal = realCount === vector.numSegmentsPadded ? lastPadded : 1024
  const rows = [kernel.segmentRoots(data, lastReal)]
  for (let index = realCount; index < vector.numSegmentsPadded; index++) {
    rows.push(kernel.segmentRoot(new Uint8Array(0), index === vector.numSegmentsPadded - 1 ? lastPadded : 1024))
  }
  return new Uint8Array(rows.flatMap((row) => [...row]))
}

function nobleSegmentRoot(data: Uint8Array, leafCount: number): Uint8Array {
  const extended = new Uint8Array(leafCount * CHUNK)
  extended.set(data)
  let row = Array.from({ length: leafCount }, (_, i) => keccak_256(extended.subarray(i * CHUNK, (i + 1) * CHUNK)))
  while (row.length > 1) {
    const below = row
    row = Array.from({ length: Math.ceil(below.length / 2) }, (_, i) =>
      2 * i + 1 < below.length ? keccak_256(new Uint8Array([...below[2 * i]!, ...below[2 * i + 1]!])) : below[2 * i]!,
    )
  }
  return row[0]!
}

const generators: Record<string, (size: number) => Uint8Array> = {
  zeros: (size) => new Uint8Array(size),
  linear7p3: (size) => Uint8Array.from({ length: size }, (_, i) => (i * 7 + 3) & 0xff),
  xorshift32: (size) => {
    let x = 0x12345678
    return Uint8Array.from({ length: size }, () => {
      x ^= x << 13
      x ^= x >>> 17
      x ^= x << 5
      return x & 0xff
    })
  },
}

const hex = (hash: Uint8Array): string => `0x${Buffer.from(hash).toString('hex')}`
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.slice(2), 'hex'))
const hashAt = (row: Uint8Array, index: number): Uint8Array => row.slice(index * 32, index * 32 + 32)
