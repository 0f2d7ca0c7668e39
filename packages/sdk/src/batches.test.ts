import { expect, test, describe } from 'vitest'
import { reasonOf, turns } from '../../../sim/fakes/outcome.ts'
import { concat, encodeFrames, layoutOf, SEGMENT_SIZE_BYTES } from '@weightless/core'
import { inlineKernels } from '@weightless/kernels'
import { content } from '../../../sim/fakes/network.ts'
import { createBatchFeed, createBodyBuffers, loadBatch, planBatches, readSpan, type Batch } from './batches.ts'
import { hashSource } from './hash.ts'

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

describe('a body', () => {
  const bytes = content(5 * SEGMENT_SIZE_BYTES + 700, 3)
  const source = { sizeBytes: bytes.length, read: async (start: number, end: number) => bytes.slice(start, end) }

  test('is the frames of its segments, padded with zeros, also in a buffer that was used before', async () => {
    const { tree } = await hashSource(source, { kernels: inlineKernels() }, {})
    const take = (sizeBytes: number): Uint8Array => new Uint8Array(sizeBytes + 99).fill(0xee)
    for (const span of [
      { from: 0, count: 2 },
      { from: 3, count: 3 },
      { from: 5, count: 1 },
    ]) {
      const data = await readSpan(source, layoutOf(bytes.length), span, {})
      const segments = Array.from({ length: span.count }, (_, i) => ({
        index: span.from + i,
        data: data.subarray(i * SEGMENT_SIZE_BYTES, (i + 1) * SEGMENT_SIZE_BYTES),
        proof: tree.prove(span.from + i),
      }))
      const { body } = await loadBatch(source, tree, span, { take })
      expect(Buffer.from(body).equals(concat(encodeFrames(segments)))).toBe(true)
    }
  })

  test('buffers are given out again when they are large enough', () => {
    const buffers = createBodyBuffers()
    const [small, large] = [buffers.take(10), buffers.take(20)]
    expect(small.buffer).not.toBe(large.buffer)
    buffers.give(large.subarray(0, 15))
    // Bodies differ a little in their length.
    expect(buffers.take(21).buffer).toBe(large.buffer)
    buffers.give(small)
    expect(buffers.take(small.buffer.byteLength + 1).buffer).not.toBe(small.buffer)
  })

  test('of a body from elsewhere nothing is kept', () => {
    const buffers = createBodyBuffers('shared')
    expect(buffers.take(1).buffer).toBeInstanceOf(SharedArrayBuffer)
    const foreign = new Uint8Array(2 ** 20)
    buffers.give(foreign)
    expect(buffers.take(1).buffer).not.toBe(foreign.buffer)
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

  test('gives a batch back once all its readers are done with it, in time for the next one', async () => {
    const released: number[] = []
    const feed = createBatchFeed<Batch>(
      { count: 9, window: 2, release: ({ from }) => released.push(from) },
      async (index) => batch(index),
    )
    const [one, two] = [feed.reader(), feed.reader()]
    await Promise.all([one.get(0, {}), two.get(0, {})])
    one.done(0)
    await turns(5)
    expect(released).toEqual([])
    two.done(0)
    await turns(5)
    expect(released).toEqual([0])
  })

  test('never gives back a batch that somebody may still be sending', async () => {
    const released: number[] = []
    const feed = createBatchFeed<Batch>(
      { count: 9, window: 3, release: ({ from }) => released.push(from) },
      async (index) => batch(index),
    )
    const [one, two] = [feed.reader(), feed.reader()]
    for (const index of [0, 1, 2]) await Promise.all([one.get(index, {}), two.get(index, {})])
    // A first attempt failed, a second one was answered; and a holder that is given up.
    one.spoil(0)
    one.done(0)
    two.done(0)
    two.done(1)
    one.leave()
    two.done(2)
    await turns(5)
    expect(released).toEqual([])
    await two.get(3, {})
    two.done(3)
    await turns(5)
    expect(released).toEqual([3])
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
