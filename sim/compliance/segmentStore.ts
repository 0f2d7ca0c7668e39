import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Failure, SegmentProof } from '@weightless/core'
import type { NewSegment, SegmentStore, SegmentStoreOptions } from '../../packages/node/src/store/store.ts'
import { rootNumber, segmentOf } from './storeSamples.ts'

/** What a segment store must do on any Disk and Index. */
export function segmentStoreCompliance(make: () => Promise<StoreUnderTest>): void {
  let subject: StoreUnderTest
  let store: SegmentStore
  const open = async (options: Partial<SegmentStoreOptions> = {}): Promise<void> => {
    store = await subject.open(options)
  }
  beforeEach(async () => {
    subject = await make()
    await open()
  })
  afterEach(async () => {
    await store.close()
    await subject.dispose()
  })

  test('what was put comes back with its proof, whatever its size and depth', async () => {
    const segments = [1, 256, 3840, 4096, 16_384, 16_640, 50_176, 65_536, 65_792, 262_144].map((sizeBytes, i) =>
      segmentOf(1, i, { sizeBytes, depth: (i * 7) % 49 }),
    )
    segments.push(segmentOf(1, 2 ** 32 - 1, { sizeBytes: 262_144, depth: 48 }))
    await store.put(rootNumber(1), segments)
    for (const segment of segments) expectSame(await store.get(rootNumber(1), segment.index), segment)
    expect(await store.get(rootNumber(1), 99)).toBeUndefined()
    expect(await store.get(rootNumber(2), 0)).toBeUndefined()
  })

  test('presence names the segments held', async () => {
    await store.put(
      rootNumber(1),
      [0, 3, 300].map((index) => segmentOf(1, index)),
    )
    await store.put(rootNumber(2), [segmentOf(2, 1)])
    const presence = store.presence(rootNumber(1))
    expect(presence.heldCount).toBe(3)
    expect([0, 1, 3, 300].map((index) => presence.has(index))).toEqual([true, false, true, true])
    expect([...presence.indexes()]).toEqual([0, 3, 300])
    expect(store.presence(rootNumber(3)).heldCount).toBe(0)
    expect([...store.roots()]).toEqual([rootNumber(1), rootNumber(2)].sort())
  })

  test('the same segment put twice, or by many at once, is stored once', async () => {
    await Promise.all(
      Array.from({ length: 20 }, () => store.put(rootNumber(1), [segmentOf(1, 0), segmentOf(1, 1), segmentOf(1, 0)])),
    )
    await store.put(rootNumber(1), [segmentOf(1, 0)])
    expect(store.usage().segmentCount).toBe(2)
    expect(store.presence(rootNumber(1)).heldCount).toBe(2)
  })

  test('a small object takes little room', async () => {
    await store.put(rootNumber(1), [segmentOf(1, 0, { sizeBytes: 256 })])
    expect(store.usage()).toMatchObject({ segmentCount: 1, usedBytes: 4096, readOnly: false })
    await store.put(rootNumber(2), [segmentOf(2, 0, { sizeBytes: 50_176 })])
    expect(store.usage().usedBytes).toBe(4096 + 69_632)
  })

  test('a removed root is gone and its room is free; the others stay', async () => {
    await store.put(
      rootNumber(1),
      [0, 1, 2].map((index) => segmentOf(1, index)),
    )
    await store.put(rootNumber(2), [segmentOf(2, 0)])
    await store.remove(rootNumber(1))
    expect(await store.get(rootNumber(1), 0)).toBeUndefined()
    expect(store.presence(rootNumber(1)).heldCount).toBe(0)
    expect([...store.roots()]).toEqual([rootNumber(2)])
    expectSame(await store.get(rootNumber(2), 0), segmentOf(2, 0))
    expect(store.usage().segmentCount).toBe(1)
    await store.remove(rootNumber(1))
    await store.remove(rootNumber(9))
  })

  test('a removed root can be put again, at once', async () => {
    await store.put(rootNumber(1), [segmentOf(1, 0)])
    const removed = store.remove(rootNumber(1))
    const again = store.put(rootNumber(1), [segmentOf(1, 0), segmentOf(1, 5)])
    await Promise.all([removed, again])
    expect([...store.presence(rootNumber(1)).indexes()]).toEqual([0, 5])
    expectSame(await store.get(rootNumber(1), 5), segmentOf(1, 5))
  })

  test('removed segments of a root are gone and their room is free; its others stay, and they can be put again at once', async () => {
    const segments = [0, 1, 2, 3].map((index) => segmentOf(1, index))
    await store.put(rootNumber(1), segments)
    const gone = store.removeSegments(rootNumber(1), [1, 3, 99])
    // They are not held from the call on.
    expect([...store.presence(rootNumber(1)).indexes()]).toEqual([0, 2])
    expect(store.presence(rootNumber(1)).heldCount).toBe(2)
    await gone
    expect(await store.get(rootNumber(1), 1)).toBeUndefined()
    expectSame(await store.get(rootNumber(1), 2), segments[2]!)
    expect(store.usage().segmentCount).toBe(2)
    const again = store.removeSegments(rootNumber(1), [0])
    await Promise.all([again, store.put(rootNumber(1), [segments[1]!, segments[3]!])])
    expect([...store.presence(rootNumber(1)).indexes()]).toEqual([1, 2, 3])
    await store.removeSegments(rootNumber(1), [1, 2, 3])
    expect([...store.roots()]).toEqual([])
    await store.removeSegments(rootNumber(1), [1])
  })

  test('many segments of many roots survive removals around them, and slots are used again', async () => {
    const roots = Array.from({ length: 12 }, (_, i) => i + 1)
    for (let round = 0; round < 4; round++) {
      await Promise.all(
        roots.map((n) =>
          store.put(
            rootNumber(n),
            Array.from({ length: 8 }, (_, i) => segmentOf(n, i, { sizeBytes: 256 * (1 + ((n + i) % 20)) })),
          ),
        ),
      )
      const [gone, kept] = [roots.filter((n) => n % 3 === round % 3), roots.filter((n) => n % 3 !== round % 3)]
      await Promise.all(gone.map((n) => store.remove(rootNumber(n))))
      for (const n of gone) expect(store.presence(rootNumber(n)).heldCount).toBe(0)
      for (const n of kept)
        for (let i = 0; i < 8; i++)
          expectSame(await store.get(rootNumber(n), i), segmentOf(n, i, { sizeBytes: 256 * (1 + ((n + i) % 20)) }))
    }
  })

  describe('after a restart', () => {
    test('all is there', async () => {
      const segments = [0, 1, 2].map((index) => segmentOf(1, index))
      await store.put(rootNumber(1), segments)
      const usage = store.usage()
      await store.close()
      await open()
      for (const segment of segments) expectSame(await store.get(rootNumber(1), segment.index), segment)
      expect(store.usage()).toEqual(usage)
      await store.put(rootNumber(1), [segmentOf(1, 3)])
      expect(store.presence(rootNumber(1)).heldCount).toBe(4)
    })

    test('without its index the store reads its slots: what was stored is there, what was removed is not', async () => {
      const sizes = [256, 16_384, 65_536, 262_144]
      await store.put(
        rootNumber(1),
        sizes.map((sizeBytes, index) => segmentOf(1, index, { sizeBytes, depth: index })),
      )
      await store.put(rootNumber(2), [segmentOf(2, 0), segmentOf(2, 1)])
      await store.remove(rootNumber(2))
      await store.put(rootNumber(3), [segmentOf(3, 6), segmentOf(3, 7), segmentOf(3, 8)])
      await store.removeSegments(rootNumber(3), [6, 8])
      const usage = store.usage()
      await store.close()
      await subject.loseIndex()
      await open()
      for (const [index, sizeBytes] of sizes.entries())
        expectSame(await store.get(rootNumber(1), index), segmentOf(1, index, { sizeBytes, depth: index }))
      expect([...store.roots()]).toEqual([rootNumber(1), rootNumber(3)].sort())
      expect(store.presence(rootNumber(1)).heldCount).toBe(4)
      expect([...store.presence(rootNumber(3)).indexes()]).toEqual([7])
      expect(store.usage()).toEqual(usage)
    })
  })

  describe('limits', () => {
    test('a full store says STORE_FULL, keeps nothing of that put, and goes on reading; room that is freed is used', async () => {
      expect(await store.hasRoom()).toBe(true)
      await store.close()
      await open({ capacityBytes: 5 * 4096 })
      expect(await store.hasRoom()).toBe(false)
      await store.put(
        rootNumber(1),
        [0, 1, 2].map((index) => segmentOf(1, index, { sizeBytes: 256 })),
      )
      const error = await store
        .put(
          rootNumber(2),
          [0, 1, 2].map((index) => segmentOf(2, index, { sizeBytes: 256 })),
        )
        .catch((failure: unknown) => failure)
      expect(error).toMatchObject({ code: 'STORE_FULL', retryable: true, facts: { capacityBytes: 5 * 4096 } })
      expect(store.presence(rootNumber(2)).heldCount).toBe(0)
      expect(store.usage()).toMatchObject({ segmentCount: 3, readOnly: false })
      expectSame(await store.get(rootNumber(1), 1), segmentOf(1, 1, { sizeBytes: 256 }))
      await store.remove(rootNumber(1))
      await store.put(
        rootNumber(2),
        [0, 1, 2, 3, 4].map((index) => segmentOf(2, index, { sizeBytes: 256 })),
      )
      expect(store.usage().segmentCount).toBe(5)
    })

    test('the capacity holds for puts at the same time', async () => {
      await store.close()
      await open({ capacityBytes: 10 * 4096 })
      const results = await Promise.allSettled(
        Array.from({ length: 30 }, (_, i) => store.put(rootNumber(i + 1), [segmentOf(i + 1, 0, { sizeBytes: 256 })])),
      )
      expect(results.filter(({ status }) => status === 'fulfilled').length).toBe(10)
      expect(store.usage().usedBytes).toBe(10 * 4096)
    })

    test('an aborted put stores nothing, an aborted get reads nothing', async () => {
      const reason = new Error('enough')
      const signal = AbortSignal.abort(reason)
      await expect(store.put(rootNumber(1), [segmentOf(1, 0)], { signal })).rejects.toBe(reason)
      await expect(store.get(rootNumber(1), 0, { signal })).rejects.toBe(reason)
      await expect(store.remove(rootNumber(1), { signal })).rejects.toBe(reason)
      expect(store.usage().segmentCount).toBe(0)
    })

    test('close waits for what is being written; afterwards everything is refused with STORE_CLOSED', async () => {
      const begun = store.put(rootNumber(1), [segmentOf(1, 0)])
      // A few turns later the put is past its wait for room.
      for (let turn = 0; turn < 5; turn++) await Promise.resolve()
      await Promise.all([begun, store.close()])
      for (const late of [
        store.put(rootNumber(1), [segmentOf(1, 1)]),
        store.get(rootNumber(1), 0),
        store.remove(rootNumber(1)),
      ]) {
        expect(((await late.catch((failure: unknown) => failure)) as Failure).code).toBe('STORE_CLOSED')
      }
      await open()
      expectSame(await store.get(rootNumber(1), 0), segmentOf(1, 0))
    })

    test('what is no segment is our own bug', async () => {
      const good = segmentOf(1, 0)
      for (const bad of [
        { ...good, index: -1 },
        { ...good, index: 2 ** 32 },
        { ...good, data: new Uint8Array(0) },
        { ...good, data: new Uint8Array(262_145) },
        { ...good, proof: { siblings: [], lefts: [true] } },
      ]) {
        await expect(store.put(rootNumber(1), [bad])).rejects.toThrow('invariant broken')
      }
    })
  })
}

export type StoreUnderTest = {
  /** Opens the store anew; the one before it is closed. */
  open(options: Partial<SegmentStoreOptions>): Promise<SegmentStore>
  /** Deletes the index while no store is open. */
  loseIndex(): Promise<void>
  dispose(): Promise<void>
}

export function expectSame(
  found: { readonly data: Uint8Array; readonly proof: SegmentProof } | undefined,
  segment: NewSegment,
): void {
  expect(found).toBeDefined()
  expect(Buffer.compare(found!.data, segment.data)).toBe(0)
  expect(found!.proof.lefts).toEqual(segment.proof.lefts)
  expect(found!.proof.siblings.map((sibling) => [...sibling])).toEqual(
    segment.proof.siblings.map((sibling) => [...sibling]),
  )
}
