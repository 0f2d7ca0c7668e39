import { describe, expect, test } from 'vitest'
import { isFailure } from '@weightless/core'
import { createTestClock } from '../../test/testClock.ts'
import { createGate } from './gate.ts'

const never = new AbortController().signal
const gateOf = (bytesMax: number, waitingMax = 100): ReturnType<typeof createGate> =>
  createGate({ bytesMax, waitMsMax: 20_000, waitingMax }, { clock: createTestClock() })

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
