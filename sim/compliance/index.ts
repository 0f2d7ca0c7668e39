import { afterEach, beforeEach, expect, test } from 'vitest'
import { compare, type Index, type IndexChange } from '@weightless/core'
import { createChance } from '../chance.ts'

/** What every Index must do. `reopen` closes it and opens it again. */
export function indexCompliance(make: () => Promise<IndexUnderTest>): void {
  let subject: IndexUnderTest
  beforeEach(async () => {
    subject = await make()
  })
  afterEach(async () => {
    await subject.dispose()
  })

  const key = (...values: number[]): Uint8Array => Uint8Array.from(values)
  const put = (
    changes: readonly [Uint8Array, Uint8Array | undefined][],
    durability: 'synced' | 'written' = 'written',
  ): Promise<void> =>
    subject.index.transaction(
      changes.map(([key, value]): IndexChange => ({ key, value })),
      { durability },
    )
  const rows = (options: Parameters<Index['range']>[0]): [number[], number[]][] =>
    Array.from(subject.index.range(options), ({ key, value }) => [[...key], [...value]])

  test('values are found by key, replaced and removed', async () => {
    await put([
      [key(1), key(10)],
      [key(2), key(20)],
    ])
    expect(subject.index.get(key(1))).toEqual(key(10))
    await put([
      [key(1), key(11)],
      [key(2), undefined],
      [key(3), undefined],
    ])
    expect(subject.index.get(key(1))).toEqual(key(11))
    expect(subject.index.get(key(2))).toBeUndefined()
    expect(subject.index.get(key(3))).toBeUndefined()
  })

  test('within a transaction the last change of a key counts', async () => {
    await put([
      [key(1), key(1)],
      [key(1), undefined],
      [key(1), key(3)],
      [key(2), key(1)],
      [key(2), undefined],
    ])
    expect(rows({ from: key(0), to: key(255) })).toEqual([[[1], [3]]])
  })

  test('values may be empty and large', async () => {
    await put(
      [
        [key(1), key()],
        [key(2), new Uint8Array(1_000_000).fill(7)],
      ],
      'synced',
    )
    expect(subject.index.get(key(1))).toEqual(key())
    expect(subject.index.get(key(2))?.length).toBe(1_000_000)
  })

  test('what is returned is plain, and the caller may keep and change it', async () => {
    await put([
      [key(1), key(1, 2, 3)],
      [key(2), key(4)],
    ])
    const found = subject.index.get(key(1))!
    expect(found.constructor).toBe(Uint8Array)
    found[0] = 99
    subject.index.get(key(2))
    expect(found).toEqual(key(99, 2, 3))
    expect(subject.index.get(key(1))).toEqual(key(1, 2, 3))
  })

  test('a range is in byte order: from is in it, to is not, a prefix comes before what it begins', async () => {
    await put([
      [key(2), key(0)],
      [key(1, 255), key(0)],
      [key(1), key(0)],
      [key(1, 0), key(0)],
      [key(3), key(0)],
    ])
    const keys = (options: Parameters<Index['range']>[0]): number[][] => rows(options).map(([found]) => found)
    expect(keys({ from: key(1), to: key(3) })).toEqual([[1], [1, 0], [1, 255], [2]])
    expect(keys({ from: key(1, 0), to: key(2) })).toEqual([
      [1, 0],
      [1, 255],
    ])
    expect(keys({ from: key(1), to: key(3), reverse: true })).toEqual([[2], [1, 255], [1, 0], [1]])
    expect(keys({ from: key(1), to: key(3), limit: 2 })).toEqual([[1], [1, 0]])
    expect(keys({ from: key(1), to: key(3), limit: 2, reverse: true })).toEqual([[2], [1, 255]])
    expect(keys({ from: key(2), to: key(1) })).toEqual([])
    expect(keys({ from: key(2), to: key(2) })).toEqual([])
    expect(keys({ from: key(9), to: key(10), reverse: true })).toEqual([])
  })

  test('ranges agree with a sorted list, whatever the keys', async () => {
    const chance = createChance(7)
    const keys = Array.from({ length: 300 }, () => chance.bytes(1 + chance.below(6)))
    await put(keys.map((one): [Uint8Array, Uint8Array] => [one, one]))
    const sorted = [...new Map(keys.map((one) => [one.join(), one])).values()].sort(compare)
    for (let i = 0; i < 60; i++) {
      const [from, to] = [chance.bytes(1 + chance.below(3)), chance.bytes(1 + chance.below(3))]
      const inside = sorted.filter((one) => compare(one, from) >= 0 && compare(one, to) < 0).map((one) => [...one])
      expect(rows({ from, to }).map(([found]) => found)).toEqual(inside)
      expect(rows({ from, to, reverse: true }).map(([found]) => found)).toEqual(inside.toReversed())
    }
  })

  test('a range sees one moment, though it is read while others write', async () => {
    await put(Array.from({ length: 100 }, (_, i): [Uint8Array, Uint8Array] => [key(i), key(1)]))
    const seen: number[] = []
    for (const { key: found, value } of subject.index.range({ from: key(0), to: key(200) })) {
      seen.push(value[0]!)
      if (found[0] === 10)
        await put([
          [key(50), key(2)],
          [key(60), undefined],
          [key(150), key(2)],
        ])
    }
    expect(seen).toEqual(Array.from({ length: 100 }, () => 1))
    expect(rows({ from: key(0), to: key(200) }).length).toBe(100)
  })

  test('a range that is left early does no harm', async () => {
    await put(Array.from({ length: 100 }, (_, i): [Uint8Array, Uint8Array] => [key(i), key(1)]))
    for (let i = 0; i < 200; i++)
      for (const row of subject.index.range({ from: key(0), to: key(200) })) if (row.key[0] === 3) break
    await put([[key(1), key(5)]])
    expect(subject.index.get(key(1))).toEqual(key(5))
  })

  test('transactions take effect in the order in which they were asked for, each as a whole', async () => {
    const all = Array.from({ length: 50 }, (_, i) =>
      put(
        [
          [key(1), key(i)],
          [key(2), key(i)],
        ],
        i % 7 === 0 ? 'synced' : 'written',
      ),
    )
    const agree = (): boolean => subject.index.get(key(1))?.[0] === subject.index.get(key(2))?.[0]
    for (const one of all) {
      await one
      expect(agree()).toBe(true)
    }
    expect(subject.index.get(key(1))).toEqual(key(49))
  })

  test('when a transaction resolves its changes are visible', async () => {
    for (let i = 0; i < 50; i++) {
      await put([[key(1), key(i)]])
      expect(subject.index.get(key(1))).toEqual(key(i))
    }
  })

  test('all is there again after a close', async () => {
    await put([[key(1), key(10)]], 'written')
    await put([[key(2), key(20)]], 'synced')
    await subject.reopen()
    expect(rows({ from: key(0), to: key(255) })).toEqual([
      [[1], [10]],
      [[2], [20]],
    ])
  })

  test('close twice is close', async () => {
    await subject.index.close()
    await subject.index.close()
  })
}

export type IndexUnderTest = { readonly index: Index; reopen(): Promise<void>; dispose(): Promise<void> }
