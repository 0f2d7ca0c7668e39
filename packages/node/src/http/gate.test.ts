import { describe, expect, test } from 'vitest'
import { isFailure } from '@weightless/core'
import { createVirtualClock } from '../../test/virtualClock.ts'
import { createGate } from './gate.ts'

const never = new AbortController().signal
const gateOf = (bytesMax: number, waitingMax = 100): ReturnType<typeof createGate> =>
  createGate({ bytesMax, waitMsMax: 20_000, waitingMax }, { clock: createVirtualClock() })

describe('the gate of request bodies', () => {
  test('lets in what fits, and the rest in the order of coming as bytes are given back', async () => {
    const gate = gateOf(10)
    const order: string[] = []
    const enter = async (name: string, sizeBytes: number): Promise<() => void> => {
      const leave = await gate.enter(sizeBytes, { signal: never })
      order.push(name)
      return leave
    }
    const first = await enter('a', 6)
    const second = await enter('b', 4)
    const third = enter('c', 5)
    // Small, but it came later: whoever waits is not overtaken for ever.
    const fourth = enter('d', 1)
    expect(gate.usage()).toEqual({ usedBytes: 10, waitingCount: 2 })
    second()
    await Promise.resolve()
    expect(order).toEqual(['a', 'b'])
    first()
    ;(await third)()
    ;(await fourth)()
    expect(order).toEqual(['a', 'b', 'c', 'd'])
    expect(gate.usage()).toEqual({ usedBytes: 0, waitingCount: 0 })
  })

  test('a body above the budget goes in alone', async () => {
    const gate = gateOf(10)
    const leave = await gate.enter(50, { signal: never })
    const next = gate.enter(1, { signal: never })
    leave()
    ;(await next)()
    expect(gate.usage().usedBytes).toBe(0)
  })

  test('giving back twice gives back once', async () => {
    const gate = gateOf(10)
    const leave = await gate.enter(6, { signal: never })
    const other = await gate.enter(4, { signal: never })
    leave()
    leave()
    expect(gate.usage().usedBytes).toBe(4)
    other()
  })

  test('a wait ends with its signal, and those behind it move up', async () => {
    const gate = gateOf(10)
    const leave = await gate.enter(8, { signal: never })
    const over = new AbortController()
    const large = gate.enter(9, { signal: over.signal })
    const small = gate.enter(2, { signal: never })
    over.abort(new Error('gone'))
    await expect(large).rejects.toThrow('gone')
    ;(await small)()
    leave()
  })

  test('a wait ends with SERVER_BUSY when its time is over, and at once when too many wait', async () => {
    const gate = gateOf(10, 1)
    const leave = await gate.enter(10, { signal: never })
    const late = gate.enter(1, { signal: never })
    await expect(gate.enter(1, { signal: never })).rejects.toSatisfy((error) => isFailure(error, 'SERVER_BUSY'))
    await expect(late).rejects.toSatisfy((error) => isFailure(error, 'SERVER_BUSY'))
    leave()
  })
})

describe('the gate, of clients that are slow', () => {
  const pace = { windowMs: 2_000, wholeMs: 60_000 }
  const paced = (bytesMax: number, clock = createVirtualClock()): ReturnType<typeof createGate> =>
    createGate({ bytesMax, waitMsMax: 20_000, waitingMax: 100, pace }, { clock })
  const stalled = (bytes = 0) => ({ signal: never, movedBytes: () => bytes })

  test('a body that does not come loses its place to one that waits, and only then', async () => {
    const clock = createVirtualClock()
    const gate = paced(10, clock)
    const slow = await gate.enterWatched(10, stalled())
    await clock.sleep(10_000, {})
    expect(slow.lost.aborted).toBe(false)
    const next = await gate.enterWatched(4, stalled())
    expect(slow.lost.reason).toSatisfy((error) => isFailure(error, 'CLIENT_TOO_SLOW'))
    expect(gate.usage().usedBytes).toBe(4)
    slow.leave()
    expect(gate.usage().usedBytes).toBe(4)
    next.leave()
  })

  test('no more lose their places than others need', async () => {
    const gate = paced(10)
    const places = [await gate.enterWatched(5, stalled()), await gate.enterWatched(5, stalled())]
    await gate.enter(5, { signal: never })
    expect(places.map(({ lost }) => lost.aborted)).toEqual([true, false])
  })

  test('a body that comes, and one that has come, keep their places', async () => {
    const clock = createVirtualClock()
    const gate = paced(60_000, clock)
    const startMs = clock.nowMs()
    // Twice the pace at which it would take a minute.
    const coming = await gate.enterWatched(30_000, { signal: never, movedBytes: () => clock.nowMs() - startMs })
    const come = await gate.enterWatched(30_000, stalled())
    come.expect()
    come.keep()
    await expect(gate.enter(1, { signal: never })).rejects.toSatisfy((error) => isFailure(error, 'SERVER_BUSY'))
    expect([coming.lost.aborted, come.lost.aborted]).toEqual([false, false])
  })

  test("an answer loses its place while it is the client's turn, and a place that was left is never watched again", async () => {
    const clock = createVirtualClock()
    const gate = paced(10, clock)
    const place = await gate.enterWatched(10, stalled())
    place.keep()
    await clock.sleep(5_000, {})
    place.expect()
    const left = await gate.enterWatched(5, stalled())
    expect(place.lost.aborted).toBe(true)
    left.leave()
    left.expect()
    const other = await gate.enterWatched(10, stalled())
    await gate.enter(10, { signal: never })
    expect([left.lost.aborted, other.lost.aborted]).toEqual([false, true])
  })

  test('a body that came fast and then stops loses its place too', async () => {
    const clock = createVirtualClock()
    const gate = paced(10, clock)
    const place = await gate.enterWatched(10, { signal: never, movedBytes: () => Math.min(9, clock.nowMs()) })
    await gate.enter(10, { signal: never })
    expect(place.lost.aborted).toBe(true)
  })

  test('whoever sends goes before those who send nothing', async () => {
    const gate = paced(100_000)
    const leave = await gate.enter(100_000, { signal: never })
    const order: string[] = []
    const enter = async (name: string, bytes: number): Promise<void> => {
      const place = await gate.enterWatched(100_000, stalled(bytes))
      order.push(name)
      place.leave()
    }
    const all = [enter('silent', 0), enter('sending', 10_000), enter('mute', 100), enter('sending too', 10_000)]
    leave()
    await Promise.all(all)
    expect(order).toEqual(['sending', 'sending too', 'silent', 'mute'])
  })
})

describe('the gate, of many that send at once', () => {
  const burstOf = (clock = createVirtualClock()): ReturnType<typeof createGate> =>
    createGate(
      {
        bytesMax: 30,
        burstBytesMax: 10,
        waitMsMax: 20_000,
        waitingMax: 100,
        pace: { windowMs: 2_000, wholeMs: 60_000 },
      },
      { clock },
    )
  const watched = { signal: never, movedBytes: () => 0 }

  test('few are let in at a time, however much room there is', async () => {
    const gate = burstOf()
    const first = await gate.enterWatched(6, watched)
    first.keep()
    const second = gate.enterWatched(6, watched)
    await Promise.resolve()
    expect(gate.usage()).toEqual({ usedBytes: 6, waitingCount: 1 })
    first.leave()
    ;(await second).leave()
    expect(gate.usage()).toEqual({ usedBytes: 0, waitingCount: 0 })
  })

  test('those that turn out to be slow keep their places and hold up nobody', async () => {
    const gate = burstOf()
    const slow = await gate.enterWatched(10, watched)
    const next = await gate.enterWatched(10, watched)
    expect(slow.lost.aborted).toBe(false)
    expect(gate.usage()).toEqual({ usedBytes: 20, waitingCount: 0 })
    slow.leave()
    next.leave()
    const last = await gate.enterWatched(10, watched)
    expect(gate.usage().usedBytes).toBe(10)
    last.leave()
  })

  test('a body above the burst goes in when no other is at speed', async () => {
    const gate = burstOf()
    const slow = await gate.enterWatched(2, watched)
    const large = await gate.enterWatched(20, watched)
    expect([slow.lost.aborted, gate.usage().usedBytes]).toEqual([false, 22])
    slow.leave()
    large.leave()
  })
})
