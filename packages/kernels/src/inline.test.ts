import { expect, test } from 'vitest'
import { inlineKernels } from './inline.ts'
import { createKernel } from './kernel.ts'

const SEGMENT = 262_144
const PIECE = 8 * SEGMENT
const kernel = createKernel('simd')
const data = Uint8Array.from({ length: 2 * PIECE + SEGMENT + 5 }, (_, i) => (i * 31) ^ (i >> 9))

test.each([1, SEGMENT, SEGMENT + 1, PIECE, PIECE + 1, data.length])(
  '%i bytes have the roots of the kernel',
  async (size) => {
    const part = data.subarray(0, size)
    const roots = await inlineKernels().segmentRoots(part, { lastLeafCount: 1024 })
    expect(roots).toEqual(kernel.segmentRoots(part, 1024))
  },
)

test('the event loop gets a turn between pieces of 2 MiB, and none is taken for less', async () => {
  let turns = 0
  const kernels = inlineKernels({ pause: () => Promise.resolve(void turns++) })
  await kernels.segmentRoots(data.subarray(0, PIECE), { lastLeafCount: 1024 })
  expect(turns).toBe(0)
  await kernels.segmentRoots(data, { lastLeafCount: 1 })
  expect(turns).toBe(2)

  let isDone = false
  const turnsOfOthers: boolean[] = []
  setImmediate(() => turnsOfOthers.push(isDone))
  await inlineKernels().segmentRoots(data, { lastLeafCount: 1 })
  isDone = true
  expect(turnsOfOthers).toEqual([false])
})

test('an aborted call stops at the next piece with the reason of its signal', async () => {
  const stop = new AbortController()
  let turns = 0
  const kernels = inlineKernels({
    kernel,
    pause: () => {
      turns++
      stop.abort(new Error('enough'))
      return Promise.resolve()
    },
  })
  await expect(kernels.segmentRoots(data, { lastLeafCount: 1, signal: stop.signal })).rejects.toThrow('enough')
  expect(turns).toBe(1)
  await expect(kernels.segmentRoots(data.subarray(0, 9), { lastLeafCount: 1, signal: stop.signal })).rejects.toThrow(
    'enough',
  )
})

test('input of an impossible shape is a rejection, not an exception', async () => {
  const kernels = inlineKernels()
  await expect(kernels.segmentRoots(new Uint8Array(0), { lastLeafCount: 1 })).rejects.toThrow(RangeError)
  await expect(kernels.segmentRoots(data, { lastLeafCount: 1025 })).rejects.toThrow(RangeError)
})
