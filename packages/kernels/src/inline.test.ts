import { describe, expect, test } from 'vitest'
import { createErasureKernel } from './erasure.ts'
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

describe('coding', () => {
  const code = { k: 100, m: 28 }
  const zeros = (count: number, sizeBytes: number): Uint8Array[] =>
    Array.from({ length: count }, () => new Uint8Array(sizeBytes))
  const stripe = Array.from({ length: 100 }, (_, i) => data.subarray(i * 999, i * 999 + 50_001))
  const erasure = createErasureKernel('simd')
  const parity = zeros(28, 50_001)
  erasure.encodeParity({ code, data: stripe, parity })

  test('gives the parity, the lost shards and the fingerprints of the kernel, with turns between pieces', async () => {
    let turns = 0
    const kernels = inlineKernels({ pause: () => Promise.resolve(void turns++) })
    const encoded = zeros(28, 50_001)
    await kernels.encodeParity({ code, data: stripe, parity: encoded }, {})
    expect(encoded.every((row, j) => Buffer.compare(row, parity[j]!) === 0)).toBe(true)
    expect(turns).toBe(2)
    const wanted = zeros(3, 50_001).map((into, slot) => ({ slot, into }))
    const shards = [...stripe.map((shard, slot) => (slot < 3 ? undefined : shard)), ...parity]
    await kernels.recover({ code, shards, wanted }, {})
    expect(wanted.every(({ slot, into }) => Buffer.compare(into, stripe[slot]!) === 0)).toBe(true)
    expect(turns).toBe(2)
    const point = data.subarray(0, 16)
    const found = await kernels.fingerprints(stripe.slice(0, 20), { point })
    expect(found).toHaveLength(320)
    expect(found.slice(304)).toEqual(erasure.fingerprint(point, stripe[19]!))
    expect(turns).toBe(4)
    expect(await kernels.fingerprints([], { point })).toHaveLength(0)
  })

  test('an aborted call stops at the next piece', async () => {
    const stop = new AbortController()
    const kernels = inlineKernels({ pause: () => Promise.resolve(stop.abort(new Error('enough'))) })
    const encoded = zeros(28, 50_001)
    const { signal } = stop
    await expect(kernels.encodeParity({ code, data: stripe, parity: encoded }, { signal })).rejects.toThrow('enough')
    expect(encoded[0]!.subarray(40_000).every((byte) => byte === 0)).toBe(true)
    await expect(kernels.fingerprints([], { point: data.subarray(0, 16), signal })).rejects.toThrow('enough')
  })

  test('input of an impossible shape is a rejection, not an exception', async () => {
    const kernels = inlineKernels()
    await expect(kernels.encodeParity({ code, data: stripe, parity: [] }, {})).rejects.toThrow(RangeError)
    await expect(kernels.recover({ code, shards: [], wanted: [] }, {})).rejects.toThrow(RangeError)
    await expect(kernels.fingerprints(stripe, { point: data.subarray(0, 15) })).rejects.toThrow(RangeError)
    await expect(kernels.fingerprints([data.subarray(0, 262_145)], { point: data.subarray(0, 16) })).rejects.toThrow(
      RangeError,
    )
  })
})
