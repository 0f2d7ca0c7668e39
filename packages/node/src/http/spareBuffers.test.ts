import { describe, expect, test } from 'vitest'
import { borrowing, createSpareBuffers } from './spareBuffers.ts'

const STEP = 64 * 1024

describe('spare buffers', () => {
  test('a buffer that was given serves the next body of about its size, and no other', () => {
    const spares = createSpareBuffers({ bytesMax: 8 * STEP })
    const first = spares.take(STEP + 1)
    expect(first.length).toBe(2 * STEP)
    spares.give(first)
    expect(spares.take(STEP) === first).toBe(false)
    expect(spares.take(2 * STEP) === first).toBe(true)
    expect(spares.take(2 * STEP) === first).toBe(false)
  })

  test('shared memory, where a worker is to read it', () => {
    expect(createSpareBuffers({ bytesMax: STEP }).take(1).buffer).toBeInstanceOf(ArrayBuffer)
    expect(createSpareBuffers({ bytesMax: STEP, memory: 'shared' }).take(1).buffer).toBeInstanceOf(SharedArrayBuffer)
  })

  test('no more than the limit is kept', () => {
    const spares = createSpareBuffers({ bytesMax: 2 * STEP })
    const taken = [1, 2, 3].map(() => spares.take(STEP))
    for (const buffer of taken) spares.give(buffer)
    spares.give(new Uint8Array(3 * STEP))
    const again = [1, 2, 3].map(() => spares.take(STEP))
    expect(again.filter((buffer) => taken.includes(buffer))).toHaveLength(2)
  })

  test('what nobody used between two trims is let go', () => {
    const spares = createSpareBuffers({ bytesMax: 2 * STEP })
    const buffer = spares.take(STEP)
    spares.give(buffer)
    spares.trim()
    expect(spares.take(STEP) === buffer).toBe(true)
    spares.give(buffer)
    spares.trim()
    spares.trim()
    expect(spares.take(STEP) === buffer).toBe(false)
  })
})

test('what an answer takes is given back together, and serves the next one', () => {
  const spares = createSpareBuffers({ bytesMax: 1024 * 1024 })
  const first = borrowing(spares)
  const buffers = [first.take(100_000), first.take(100_000)].map(({ buffer }) => buffer)
  expect(buffers[0]).not.toBe(buffers[1])
  const second = borrowing(spares)
  expect(buffers).not.toContain(second.take(100_000).buffer)
  first.giveBack()
  first.giveBack()
  const again = [second.take(100_000), second.take(90_000)].map(({ buffer }) => buffer)
  expect(new Set(again)).toEqual(new Set(buffers))
  expect(second.take(100_000)).toHaveLength(100_000)
})
