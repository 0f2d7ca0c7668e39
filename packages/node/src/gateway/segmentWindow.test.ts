import { describe, expect, test } from 'vitest'
import type { Entry, Root } from '@weightless/core'
import { SEGMENT_SIZE_BYTES } from '@weightless/core'
import type { TestClock } from '../../test/testClock.ts'
import { createVirtualClock } from '../../test/virtualClock.ts'
import { createSegmentWindow, type SegmentWindow } from './segmentWindow.ts'

const entry = { root: `0x${'11'.repeat(32)}` as Root, sizeBytes: 10 * SEGMENT_SIZE_BYTES } as Entry
const proof = { siblings: [], lefts: [] }
const filled = (value: number, sizeBytes = SEGMENT_SIZE_BYTES): Uint8Array => new Uint8Array(sizeBytes).fill(value)
const windowOfTwo = (clock: TestClock = createVirtualClock()): SegmentWindow =>
  createSegmentWindow({ bytesMax: 2 * SEGMENT_SIZE_BYTES }, { clock })

describe('segments between the spool and their holders', () => {
  test('are copies: the buffers that they came in may be used again', () => {
    const window = windowOfTwo()
    const data = filled(1)
    window.put(entry, { index: 0, data, proof })
    data.fill(9)
    expect(Buffer.compare(window.take(entry, 0)!.segment.data, filled(1))).toBe(0)
    expect(window.take(entry, 0)).toBeUndefined()
  })

  test('keep their bytes until they are released, and a short one its length', () => {
    const window = windowOfTwo()
    window.put(entry, { index: 0, data: filled(1), proof })
    const taken = window.take(entry, 0)!
    window.put(entry, { index: 1, data: filled(2), proof })
    window.put(entry, { index: 2, data: filled(3), proof })
    expect(Buffer.compare(taken.segment.data, filled(1))).toBe(0)
    taken.release()
    taken.release()
    for (const index of [1, 2]) window.take(entry, index)!.release()
    window.put(entry, { index: 3, data: filled(4, 256), proof })
    window.put(entry, { index: 4, data: filled(5), proof })
    expect(Buffer.compare(window.take(entry, 3)!.segment.data, filled(4, 256))).toBe(0)
    expect(Buffer.compare(window.take(entry, 4)!.segment.data, filled(5))).toBe(0)
  })

  test('that find no place are not kept: those that came first are sent first', () => {
    const window = windowOfTwo()
    for (const index of [0, 1, 2]) window.put(entry, { index, data: filled(index), proof })
    expect(window.isFull()).toBe(true)
    expect([0, 1, 2].map((index) => window.take(entry, index)?.segment.data[0])).toEqual([0, 1, undefined])
    expect(window.isFull()).toBe(false)
  })

  test('of an upload that stopped make room for others', () => {
    const clock = createVirtualClock()
    const window = windowOfTwo(clock)
    for (const index of [0, 1]) window.put(entry, { index, data: filled(index), proof })
    clock.jump(2_000)
    expect(window.isFull()).toBe(false)
    window.put(entry, { index: 2, data: filled(2), proof })
    expect([0, 1, 2].map((index) => window.take(entry, index)?.segment.data[0])).toEqual([undefined, 1, 2])
  })

  test('that come again take their own place', () => {
    const window = windowOfTwo()
    for (const index of [0, 1, 1]) window.put(entry, { index, data: filled(index), proof })
    expect([0, 1].map((index) => window.take(entry, index)?.segment.data[0])).toEqual([0, 1])
  })
})
