import { expect, test } from 'vitest'
import { parityFits, type Entry, type Root } from '@weightless/core'
import { codedObjectOf } from '../../../../sim/compliance/codedObject.ts'
import { submissionLog } from '../../../../sim/fakes/chain.ts'
import { parityTagsOf } from '../flow/parities.ts'
import { codedEntryOf, type CodedEntry } from './codedEntry.ts'
import { createHeldShards } from './heldShards.ts'

const object = codedObjectOf(7 * 262_144, 1, { k: 3, m: 2 })
const log = submissionLog(`0x${'f0'.repeat(20)}` as never)
const [data, parity] = [log.append(object.data.submission), log.append(object.parity.submission)]
const coded: CodedEntry = codedEntryOf(data, { entry: parity, tags: parityTagsOf(parity)! })

function held() {
  const segments = new Map<Root, number[]>([
    [data.root, []],
    [parity.root, []],
  ])
  const whole = new Set<Entry>()
  let walks = 0
  const shards = createHeldShards({
    store: {
      presence: (root) => ({
        heldCount: segments.get(root)!.length,
        has: (index) => segments.get(root)!.includes(index),
        *indexes() {
          walks += 1
          yield* segments.get(root)!
        },
      }),
    },
    shelf: { isWhole: (entry) => whole.has(entry), read: async () => undefined },
  })
  return { shards, segments, whole, walks: () => walks }
}

test('a slot is whole when all its shards are here: short last stripes have fewer', () => {
  const { shards, segments } = held()
  expect(parityFits(parity, parityTagsOf(parity)!)).toBe(true)
  expect(shards.wholeSlots(coded)).toEqual([])
  segments.set(data.root, [0, 1, 3, 4, 6])
  segments.set(parity.root, [1, 3, 5])
  expect(shards.wholeSlots(coded)).toEqual([0, 1, 4])
  expect(shards.missingCount(coded, [0, 1, 2, 3, 4])).toBe(2 + 3)
})

test('a root is walked through again only when more of it is here, or something was lost', () => {
  const { shards, segments, walks } = held()
  segments.set(data.root, [0, 3])
  shards.wholeSlots(coded)
  shards.wholeSlots(coded)
  expect(walks()).toBe(1)
  segments.set(data.root, [0, 3, 6])
  expect([shards.wholeSlots(coded), walks()]).toEqual([[0], 2])
  // As many, but others.
  segments.set(data.root, [1, 2, 4])
  shards.forget(data.root)
  expect(shards.wholeSlots(coded)).toEqual([1])
})

test('what an entry that is marked whole has lost meanwhile is not held', () => {
  const { shards, segments, whole } = held()
  whole.add(data)
  segments.set(data.root, [0, 1, 2, 3, 4, 5, 6])
  expect(shards.wholeSlots(coded)).toEqual([0, 1, 2])
  segments.set(data.root, [0, 1, 2, 3, 4, 5])
  expect(shards.wholeSlots(coded)).toEqual([1, 2])
})
