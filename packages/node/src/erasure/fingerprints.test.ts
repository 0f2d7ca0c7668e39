import { expect, test } from 'vitest'
import type { Entry, Index, IndexChange, Shard } from '@weightless/core'
import { inlineKernels } from '@weightless/kernels'
import { codedObjectOf } from '../../../../sim/compliance/codedObject.ts'
import { submissionLog } from '../../../../sim/fakes/chain.ts'
import { silentLogger } from '../../../../sim/silentLogger.ts'
import { parityTagsOf } from '../flow/parities.ts'
import { createArrivals } from './arrivals.ts'
import { codedEntryOf, segmentOf, type CodedEntry } from './codedEntry.ts'
import { createFingerprints } from './fingerprints.ts'

const object = codedObjectOf(7 * 262_144 - 1_000, 1, { k: 3, m: 2 })
const log = submissionLog(`0x${'f0'.repeat(20)}` as never)
const [data, parity] = [log.append(object.data.submission), log.append(object.parity.submission)]
const coded: CodedEntry = codedEntryOf(data, { entry: parity, tags: parityTagsOf(parity)! })
const signal = new AbortController().signal

function node(likely: CodedEntry | undefined = coded) {
  const rows = new Map<string, Uint8Array>()
  const reads: Shard[] = []
  const segmentOfShard = (shard: Shard) => {
    const { entry, index } = segmentOf(coded, shard)
    return (entry.seq === data.seq ? object.data : object.parity).segments[index]!
  }
  const fingerprints = createFingerprints({
    index: {
      get: (key: Uint8Array) => rows.get(key.join()),
      transaction: async (changes: readonly IndexChange[]) => {
        for (const { key, value } of changes) rows.set(key.join(), value!)
      },
    } as unknown as Index,
    held: {
      missingCount: () => 0,
      read: async (_: CodedEntry, shard: Shard) => {
        reads.push(shard)
        return segmentOfShard(shard)
      },
    } as never,
    kernels: inlineKernels(),
    logger: silentLogger,
    codedOf: () => likely,
    enter: async () => () => undefined,
  })
  const bring = async (slot: number, stripes: readonly number[]): Promise<void> => {
    const entry: Entry = slot < coded.code.k ? data : parity
    const segments = stripes.map((stripe) => segmentOfShard({ slot, stripe }))
    await fingerprints.note(entry, segments, { signal })
  }
  return { fingerprints, bring, reads }
}

test('what was noted as it came is not read again, and is what the store would say', async () => {
  for (const slot of [0, 2, 4]) {
    const { fingerprints, bring, reads } = node()
    const all = object.shardsOf(slot).segments.map((_, stripe) => stripe)
    await bring(slot, all)
    expect(await fingerprints.of(coded, [slot], { signal })).toEqual(object.fingerprintsOf([slot]))
    expect(reads).toEqual([])
  }
})

test('of a slot of which some came earlier, only those are read', async () => {
  const { fingerprints, bring, reads } = node()
  await bring(0, [2, 0])
  expect(await fingerprints.of(coded, [0, 1], { signal })).toEqual(object.fingerprintsOf([0, 1]))
  expect(reads).toEqual([
    { slot: 0, stripe: 1 },
    { slot: 1, stripe: 0 },
    { slot: 1, stripe: 1 },
  ])
})

test('what was noted for another parity is of no use, and does no harm', async () => {
  const other = codedObjectOf(7 * 262_144 - 1_000, 1, { k: 3, m: 2 }, (bytes) => bytes.fill(1, 0, 16))
  const bogus = { ...parity, root: other.parity.tree.root }
  const { fingerprints, bring, reads } = node({ ...coded, parity: bogus })
  await bring(0, [0, 1, 2])
  expect(await fingerprints.of(coded, [0], { signal })).toEqual(object.fingerprintsOf([0]))
  expect(reads.length).toBe(3)
})

test('arrivals have a limit: those that came to last stay', () => {
  const arrivals = createArrivals(2 * (3 * 16 + 1))
  const one = new Uint8Array(16).fill(1)
  for (const slot of [0, 1, 0, 2]) arrivals.add(coded, { slot, stripe: 1 }, one)
  expect([0, 1, 2].map((slot) => arrivals.of(coded, slot)(1) !== undefined)).toEqual([true, false, true])
  arrivals.forget(coded, 0)
  expect(arrivals.of(coded, 0)(1)).toBeUndefined()
})
