import { merkleRoot, segmentRoot, segmentRoots } from '@weightless/kernels'
import { describe, expect, test } from 'vitest'
import { fileOf } from '../../../../sim/vectors/files.ts'
import vectors from '../../../../sim/vectors/storage-merkle.json' with { type: 'json' }
import { concat } from '../bytes.ts'
import { parseRoot, toHex, type Hex } from '../hex.ts'
import { PROOF_DEPTH_MAX } from '../limits.ts'
import type { ProvenSegment, SegmentProof } from '../types.ts'
import { fileTreeOf } from './fileTree.ts'
import { hashPair } from './hashPair.ts'
import { layoutOf, leafCountOf, segmentDataSize } from './layout.ts'
import { checkSegment, proofFromJson, proofToJson, subtreesBefore } from './segmentProof.ts'

function fileWith(data: Uint8Array) {
  const layout = layoutOf(data.length)
  const tree = fileTreeOf(layout, segmentRoots(data, leafCountOf(layout, layout.segmentCount - 1)))
  const file = { root: tree.root, sizeBytes: data.length }
  function segment(index: number): ProvenSegment {
    const wire = new Uint8Array(segmentDataSize(layout, index))
    wire.set(data.subarray(index * 262_144, index * 262_144 + wire.length))
    return { index, data: wire, proof: tree.prove(index) }
  }
  const rootOfSegment = (segment: ProvenSegment) => segmentRoot(segment.data, leafCountOf(layout, segment.index))
  return { layout, tree, file, segment, rootOfSegment }
}

const refusal = (code: string, reason?: string) =>
  expect.objectContaining(reason === undefined ? { code } : { code, facts: expect.objectContaining({ reason }) })

describe('the proofs of the official SDK', () => {
  test('are accepted for every vector file', () => {
    let count = 0
    for (const file of vectors.cases) {
      const data = fileOf(file.generator, file.size)
      const layout = layoutOf(file.size)
      for (const sample of file.segmentProofs) {
        const { proof, leaf, root } = proofFromJson(sample.proof)
        const wire = new Uint8Array(sample.dataLen)
        wire.set(data.subarray(sample.index * 262_144, sample.index * 262_144 + sample.dataLen))
        const computed = segmentRoot(wire, leafCountOf(layout, sample.index))
        expect(toHex(computed)).toBe(toHex(leaf))
        expect(root).toBe(file.fileRoot)
        checkSegment({ root, sizeBytes: file.size }, { index: sample.index, data: wire, proof }, computed)
        count++
      }
    }
    expect(count).toBeGreaterThan(72)
  })

  test('come out of our JSON form as they went in', () => {
    for (const sample of vectors.cases.flatMap((file) => file.segmentProofs)) {
      const { proof, leaf, root } = proofFromJson(sample.proof)
      expect(proofToJson(leaf, proof, root)).toEqual(sample.proof)
    }
  })
})

describe('a segment is refused', () => {
  // 39 real segments, 40 padded.
  const { tree, file, segment, rootOfSegment } = fileWith(fileOf('xorshift32', 10_000_001))

  test('never when it is what was uploaded', () => {
    for (const index of [0, 1, 19, 31, 32, 37, 38]) {
      expect(() => checkSegment(file, segment(index), rootOfSegment(segment(index)))).not.toThrow()
    }
  })

  test('with an index beyond the real data, even if its proof is right', () => {
    const padding = { index: 39, data: new Uint8Array(256), proof: tree.prove(39) }
    expect(() => checkSegment(file, padding, tree.segmentRoot(39))).toThrow(refusal('SEGMENT_INDEX_INVALID'))
    expect(() => checkSegment(file, { ...segment(0), index: -1 }, tree.segmentRoot(0))).toThrow(
      refusal('SEGMENT_INDEX_INVALID'),
    )
  })

  test('with any other length than the exact one', () => {
    for (const bytes of [0, 38_400, 38_655, 38_657, 38_912, 262_144]) {
      const wrong = { ...segment(38), data: new Uint8Array(bytes) }
      expect(() => checkSegment(file, wrong, tree.segmentRoot(38))).toThrow(refusal('SEGMENT_SIZE_INVALID'))
    }
  })

  test('with a size that cannot be', () => {
    expect(() => checkSegment({ ...file, sizeBytes: 0 }, segment(0), tree.segmentRoot(0))).toThrow(
      refusal('SIZE_INVALID'),
    )
  })

  test('under the index of its neighbour', () => {
    expect(() => checkSegment(file, { ...segment(1), index: 0 }, tree.segmentRoot(1))).toThrow(
      refusal('SEGMENT_PROOF_INVALID', 'position'),
    )
  })

  test('with a flipped bit in the data', () => {
    const data = segment(5).data.map((byte, i) => (i === 1000 ? byte ^ 4 : byte))
    expect(() => checkSegment(file, { ...segment(5), data }, segmentRoot(data, 1024))).toThrow(
      refusal('SEGMENT_PROOF_INVALID', 'root'),
    )
  })

  test('with a proof of another shape', () => {
    const { siblings, lefts } = tree.prove(3)
    const shapes: [string, SegmentProof][] = [
      ['depth', { siblings: siblings.slice(1), lefts }],
      [
        'depth',
        { siblings: Array(PROOF_DEPTH_MAX + 1).fill(siblings[0]), lefts: Array(PROOF_DEPTH_MAX + 1).fill(true) },
      ],
      ['hash', { siblings: [siblings[0]!.subarray(1), ...siblings.slice(1)], lefts }],
      ['position', { siblings: siblings.slice(1), lefts: lefts.slice(1) }],
      ['position', { siblings: [siblings[0]!, ...siblings], lefts: [false, ...lefts] }],
      ['position', { siblings: [], lefts: [] }],
    ]
    for (const [reason, proof] of shapes) {
      expect(() => checkSegment(file, { ...segment(3), proof }, tree.segmentRoot(3))).toThrow(
        refusal('SEGMENT_PROOF_INVALID', reason),
      )
    }
    expect(() => checkSegment(file, segment(3), tree.segmentRoot(3).subarray(1))).toThrow(
      refusal('SEGMENT_PROOF_INVALID', 'hash'),
    )
  })

  test('when a file of one segment comes with a path', () => {
    const single = fileWith(fileOf('linear7p3', 2304))
    const root = single.tree.segmentRoot(0)
    const proof = { siblings: [root], lefts: [true] }
    expect(() => checkSegment(single.file, { ...single.segment(0), proof }, root)).toThrow(
      refusal('SEGMENT_PROOF_INVALID', 'position'),
    )
    expect(() => checkSegment(single.file, single.segment(0), root)).not.toThrow()
  })

  test('when the padding behind it is not zero, although everything hashes to the root', () => {
    // An attacker roots 40 segments of data and submits 10 000 001 bytes: the 40th is data where padding belongs.
    const forged = fileWith(fileOf('xorshift32', 40 * 262_144))
    const claimed = { root: forged.tree.root, sizeBytes: 10_000_001 }
    const honest = forged.segment(38)
    const cut = { ...honest, data: honest.data.subarray(0, 38_656) }
    expect(() => checkSegment(claimed, cut, forged.tree.segmentRoot(38))).toThrow(
      refusal('SEGMENT_PROOF_INVALID', 'padding'),
    )
    // Seen from segment 0 the padding hides inside a larger sibling; only who holds its neighbour can tell.
    expect(() => checkSegment(claimed, forged.segment(0), forged.tree.segmentRoot(0))).not.toThrow()
  })

  test('when a larger subtree of padding is not zero', () => {
    // 65 segments are padded to 72, a sixteenth of 128 at a time: 66 and 67 are one sibling of padding alone.
    const size = 65 * 262_144
    const whole = fileWith(fileOf('linear7p3', size))
    expect(whole.layout.paddedSegmentCount).toBe(72)
    expect(() => checkSegment(whole.file, whole.segment(64), whole.tree.segmentRoot(64))).not.toThrow()
    const { siblings, lefts } = whole.tree.prove(64)
    const other = hashPair(siblings[1]!, siblings[1]!)
    const proof = { siblings: siblings.map((sibling, level) => (level === 1 ? other : sibling)), lefts }
    expect(() => checkSegment(whole.file, { ...whole.segment(64), proof }, whole.tree.segmentRoot(64))).toThrow(
      refusal('SEGMENT_PROOF_INVALID', 'padding'),
    )
  })
})

describe('the JSON form of a proof', () => {
  const hash = (byte: number): Hex => toHex(new Uint8Array(32).fill(byte))
  const root = parseRoot(hash(9))

  test('has the root alone for one padded segment, and then only', () => {
    expect(proofToJson(new Uint8Array(32).fill(9), { siblings: [], lefts: [] }, root)).toEqual({
      lemma: [root],
      path: [],
    })
    expect(proofFromJson({ lemma: [root], path: [] })).toEqual({
      proof: { siblings: [], lefts: [] },
      leaf: new Uint8Array(32).fill(9),
      root,
    })
  })

  test('takes hex in any case and drops fields it does not know', () => {
    const value = { lemma: [hash(1).toUpperCase().replace('0X', '0x'), hash(0xab), root], path: [true], extra: 1 }
    expect(proofFromJson(value).proof).toEqual({ siblings: [new Uint8Array(32).fill(0xab)], lefts: [true] })
  })

  test.each([
    ['nothing', undefined],
    ['null', null],
    ['a string', 'lemma'],
    ['no lemma', { path: [] }],
    ['no path', { lemma: [root] }],
    ['a lemma that is no array', { lemma: root, path: [] }],
    ['a path that is no array', { lemma: [root], path: 'x' }],
    ['an empty lemma', { lemma: [], path: [] }],
    ['two hashes without a path', { lemma: [root, root], path: [] }],
    ['too few hashes', { lemma: [root, root], path: [true] }],
    ['too many hashes', { lemma: [root, root, root, root], path: [true] }],
    ['a side that is no boolean', { lemma: [root, root, root], path: [1] }],
    ['a hash that is no string', { lemma: [root, 5, root], path: [true] }],
    ['a hash of 31 bytes', { lemma: [root, root.slice(2), root], path: [true] }],
    [
      'a path beyond the depth limit',
      { lemma: Array(PROOF_DEPTH_MAX + 3).fill(root), path: Array(PROOF_DEPTH_MAX + 1).fill(true) },
    ],
  ])('%s: refused', (_, value) => {
    expect(() => proofFromJson(value)).toThrow(refusal('SEGMENT_PROOF_INVALID', 'form'))
  })
})

describe('what a proof says about the segments before its own', () => {
  test.each([1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 21])('in a file of %i segments', (count) => {
    const { layout, tree, segment } = fileWith(fileOf('xorshift32', (count - 1) * 262_144 + 1))
    for (let index = 0; index < layout.segmentCount; index++) {
      let next = 0
      for (const { from, count: width, root } of subtreesBefore(layout, segment(index))) {
        expect(from).toBe(next)
        const leaves = Array.from({ length: width }, (_, i) => tree.segmentRoot(from + i))
        expect(toHex(merkleRoot(concat(leaves)))).toBe(toHex(root))
        next = from + width
      }
      expect(next).toBe(index)
    }
  })
})
