import { expect, test, describe } from 'vitest'
import { reasonOf, turns } from '../../../sim/fakes/outcome.ts'
import { createBatchFeed, planBatches, type Batch } from './batches.ts'

describe('a plan', () => {
  test('begins small, grows to its limit, and covers every segment once', () => {
    expect(planBatches({ first: 0, last: 30, max: 8 }).map(({ count }) => count)).toEqual([1, 2, 4, 8, 8, 8])
    for (const [first, last] of [
      [0, 0],
      [5, 5],
      [3, 40],
      [0, 1000],
    ] as const) {
      const covered = planBatches({ first, last, max: 8 }).flatMap(({ from, count }) =>
        Array.from({ length: count }, (_, i) => from + i),
      )
      expect(covered).toEqual(Array.from({ length: last - first + 1 }, (_, i) => first + i))
    }
  })
})

describe('a feed', () => {
  const batch = (index: number): Batch => ({ from: index, count: 1, body: Uint8Array.of(index) })
  function feedOf(count: number, window: number, signal?: AbortSignal) {
    const loads: number[] = []
    const feed = createBatchFeed({ count, window, signal }, async (index) => (loads.push(index), batch(index)))
    return { feed, loads }
  }

  test('loads each batch once, however many read it', async () => {
    const { feed, loads } = feedOf(5, 2)
    const readers = [feed.reader(), feed.reader(), feed.reader()]
    await Promise.all(
      readers.map(async (reader) => {
        for (let i = 0; i < 5; i++) {
          expect((await reader.get(i, {})).body).toEqual(Uint8Array.of(i))
          reader.done(i)
        }
      }),
    )
    expect(loads).toEqual([0, 1, 2, 3, 4])
  })

  test('holds no more than the window: the fast wait for the slow', async () => {
    const { feed, loads } = feedOf(100, 3)
    const [fast, slow] = [feed.reader(), feed.reader()]
    const running = (async () => {
      for (let i = 0; i < 100; i++) {
        await fast.get(i, {})
        fast.done(i)
      }
    })()
    await turns(20)
    expect(loads).toEqual([0, 1, 2])
    await slow.get(0, {})
    slow.done(0)
    await turns(20)
    expect(loads).toEqual([0, 1, 2, 3])
    slow.leave()
    await running
    expect(loads).toHaveLength(100)
  })

  test('a reader that finished a later batch first does not move the window', async () => {
    const { feed, loads } = feedOf(10, 2)
    const reader = feed.reader()
    await Promise.all([reader.get(0, {}), reader.get(1, {})])
    reader.done(1)
    const third = reader.get(2, {})
    await turns(5)
    expect([loads.length, reader.isFresh()]).toEqual([2, false])
    reader.done(0)
    await third
    expect(loads).toEqual([0, 1, 2])
  })

  test('waiting ends with the signal, and with the feed', async () => {
    const { feed } = feedOf(10, 1)
    const reader = feed.reader()
    const controller = new AbortController()
    const waiting = reasonOf(reader.get(5, { signal: controller.signal }))
    controller.abort('stop')
    expect(await waiting).toBe('stop')
    const other = reasonOf(reader.get(5, {}))
    feed.end()
    expect(await other).toBeInstanceOf(Error)
  })
})
