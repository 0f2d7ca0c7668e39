import { segmentRoots } from '@weightless/kernels'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { runs } from '../../../../sim/runs.ts'
import { rootOf } from '../hex.ts'
import { FLOW_ENTRY_BYTES_MAX } from '../limits.ts'
import { fileTreeOf } from './fileTree.ts'
import { layoutOf, leafCountOf } from './layout.ts'
import { checkSubmission, nodeHeights, rootOfNodes, submissionOf } from './submission.ts'

test('what we build the contract accepts, and it folds to the file root', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 3_000_000 }), (size) => {
      const data = new Uint8Array(size).map((_, i) => (i * 17 + size) & 0xff)
      const layout = layoutOf(size)
      const last = layout.segmentCount - 1
      const tree = fileTreeOf(layout, segmentRoots(data, leafCountOf(layout, last)))
      const submission = submissionOf(tree, { lastSegment: data.subarray(last * 262_144) })
      expect(rootOf(rootOfNodes(submission.nodes))).toBe(tree.root)
    }),
    runs(0.5),
  )
})

test('the heights of any size up to 8 TiB pass the rules, and no other size of the same heights pads more', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: FLOW_ENTRY_BYTES_MAX }), (sizeBytes) => {
      const heights = nodeHeights(layoutOf(sizeBytes).paddedChunkCount)
      const nodes = heights.map((height) => ({ root: new Uint8Array(32), height }))
      expect(() => checkSubmission({ sizeBytes, tags: new Uint8Array(0), nodes })).not.toThrow()
      expect(heights.length).toBeLessThanOrEqual(4)
    }),
    runs(5),
  )
})
