import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { runs } from '../../../../sim/runs.ts'
import { selectCover, type CoverMethod } from './shards.ts'

const node = fc
  .constantFrom(1, 2, 4, 8)
  .chain((numShard) => fc.record({ numShard: fc.constant(numShard), shardId: fc.nat(numShard - 1) }))
  .map((config) => ({ config }))
const nodes = fc.array(node, { maxLength: 12 })
const methods = fc.constantFrom<CoverMethod>('min', 'max', { shuffle: (items) => items.toReversed() })

/** How often the segments 0 … 7 are held: 8 is the largest number of shards above. */
const copies = (list: readonly { config: { shardId: number; numShard: number } }[]) =>
  Array.from({ length: 8 }, (_, g) => list.filter(({ config }) => g % config.numShard === config.shardId).length)

test('one cover is found exactly when the nodes together hold every segment', () => {
  fc.assert(
    fc.property(nodes, methods, (list, method) => {
      const selected = selectCover(list, 1, method)
      if (Math.min(...copies(list)) === 0) expect(selected).toBeUndefined()
      else expect(Math.min(...copies(selected!))).toBeGreaterThanOrEqual(1)
    }),
    runs(20),
  )
})

test('what is selected holds every segment as often as asked, and nobody is selected twice', () => {
  fc.assert(
    fc.property(nodes, methods, fc.integer({ min: 1, max: 4 }), (list, method, replica) => {
      const selected = selectCover(list, replica, method)
      if (selected === undefined) return
      expect(Math.min(...copies(selected))).toBeGreaterThanOrEqual(replica)
      expect(new Set(selected).size).toBe(selected.length)
    }),
    runs(20),
  )
})
