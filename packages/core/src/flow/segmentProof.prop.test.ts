import { segmentRoot, segmentRoots } from '@weightless/kernels'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { runs } from '../../../../sim/runs.ts'
import { isFailure } from '../errors.ts'
import { fileTreeOf } from './fileTree.ts'
import { layoutOf, leafCountOf, segmentDataSize } from './layout.ts'
import { checkSegment, proofFromJson, proofToJson } from './segmentProof.ts'

/** Files of up to 80 segments whose segments are cheap: one byte of content each. */
const files = fc
  .record({
    segmentCount: fc.integer({ min: 1, max: 80 }),
    lastBytes: fc.integer({ min: 1, max: 262_144 }),
    seed: fc.nat(),
  })
  .map(({ segmentCount, lastBytes, seed }) => {
    const layout = layoutOf((segmentCount - 1) * 262_144 + lastBytes)
    const data = (index: number) => new Uint8Array(segmentDataSize(layout, index)).fill((index * 7 + seed) & 0xff)
    return { layout, data }
  })

test('every segment that its own tree proves is accepted, at its index and at no other', () => {
  fc.assert(
    fc.property(files, fc.nat(), fc.nat(), ({ layout, data }, pick, otherPick) => {
      const roots = new Uint8Array(layout.segmentCount * 32)
      for (let i = 0; i < layout.segmentCount; i++) roots.set(segmentRoots(data(i), leafCountOf(layout, i)), 32 * i)
      const tree = fileTreeOf(layout, roots)
      const file = { root: tree.root, sizeBytes: layout.sizeBytes }
      const index = pick % layout.segmentCount
      const other = otherPick % layout.segmentCount
      const segment = { index, data: data(index), proof: tree.prove(index) }
      const computed = segmentRoot(segment.data, leafCountOf(layout, index))
      checkSegment(file, segment, computed)
      if (other !== index) expect(() => checkSegment(file, { ...segment, index: other }, computed)).toThrow()
      const json = proofFromJson(JSON.parse(JSON.stringify(proofToJson(computed, segment.proof, tree.root))))
      expect(json).toEqual({ proof: segment.proof, leaf: computed, root: tree.root })
    }),
    runs(0.2),
  )
})

test('any change to a proof is refused with a typed error', () => {
  const layout = layoutOf(39 * 262_144)
  const roots = new Uint8Array(39 * 32).map((_, i) => i & 0xff)
  const tree = fileTreeOf(layout, roots)
  const file = { root: tree.root, sizeBytes: layout.sizeBytes }
  fc.assert(
    fc.property(
      fc.nat(38),
      fc.nat(),
      fc.nat(31),
      fc.integer({ min: 1, max: 255 }),
      fc.boolean(),
      (index, at, byte, mask, isSide) => {
        const { siblings, lefts } = tree.prove(index)
        const level = at % siblings.length
        const proof = isSide
          ? { siblings, lefts: lefts.map((isLeft, i) => (i === level ? !isLeft : isLeft)) }
          : {
              siblings: siblings.map((s, i) => (i === level ? s.map((b, j) => (j === byte ? b ^ mask : b)) : s)),
              lefts,
            }
        try {
          checkSegment(file, { index, data: new Uint8Array(262_144), proof }, tree.segmentRoot(index))
          expect.unreachable('a changed proof was accepted')
        } catch (error) {
          expect(isFailure(error, 'SEGMENT_PROOF_INVALID')).toBe(true)
        }
      },
    ),
    runs(5),
  )
})

test('no JSON value makes the proof parser throw anything but its own error', () => {
  const hash = fc.constant(`0x${'ab'.repeat(32)}`)
  const lemma = fc.oneof(fc.array(fc.oneof(hash, fc.jsonValue()), { maxLength: 5 }), fc.jsonValue())
  const path = fc.oneof(fc.array(fc.oneof(fc.boolean(), fc.jsonValue()), { maxLength: 4 }), fc.jsonValue())
  fc.assert(
    fc.property(fc.oneof(fc.record({ lemma, path }), fc.jsonValue()), (value) => {
      try {
        proofFromJson(value)
      } catch (error) {
        expect(isFailure(error, 'SEGMENT_PROOF_INVALID')).toBe(true)
      }
    }),
    runs(5),
  )
})
