import { inlineKernels } from '@weightless/kernels'
import { fromHex, SEGMENT_SIZE_BYTES, toHex } from '@weightless/core'
import { describe, expect, test } from 'vitest'
import merkle from '../../../sim/vectors/storage-merkle.json' with { type: 'json' }
import { reasonOf } from '../../../sim/fakes/outcome.ts'
import { hashSource } from './hash.ts'
import type { HashRange } from './source.ts'

const kernels = inlineKernels()
const generators: Record<string, (sizeBytes: number) => Uint8Array> = {
  linear7p3: (sizeBytes) => Uint8Array.from({ length: sizeBytes }, (_, i) => (i * 7 + 3) & 0xff),
  zeros: (sizeBytes) => new Uint8Array(sizeBytes),
  xorshift32: (sizeBytes) => {
    let x = 0x12345678
    return Uint8Array.from({ length: sizeBytes }, () => ((x ^= x << 13), (x ^= x >>> 17), (x ^= x << 5), x & 0xff))
  },
}
const sourceOf = (bytes: Uint8Array) => ({
  sizeBytes: bytes.length,
  read: async (start: number, end: number) => bytes.slice(start, end),
})

describe('the first reading', () => {
  const sizes = new Set([1, 256, 257, 2304, 65_537, 262_144, 262_145, 1_000_000, 10_000_001])
  test.each(
    merkle.cases.filter(({ size }) => sizes.has(size)).map((one) => [`${one.generator} ${one.size}`, one] as const),
  )('gives the root and the nodes of the official client: %s', async (_, { generator, size, fileRoot, submission }) => {
    const hashed = await hashSource(sourceOf(generators[generator]!(size)), { kernels }, {})
    expect(hashed.tree.root).toBe(fileRoot)
    expect(hashed.submission.nodes.map(({ root, height }) => ({ root: toHex(root), height }))).toEqual(submission.nodes)
  })

  test('is the same for sources that read into buffers of ours or hash by themselves, which are used again', async () => {
    const bytes = generators['xorshift32']!(10_000_001)
    const { tree, submission } = await hashSource(sourceOf(bytes), { kernels }, {})
    const buffers = new Set<ArrayBufferLike>()
    const filled = {
      ...sourceOf(bytes),
      sizeBytes: bytes.length,
      readInto: async (parts: readonly Uint8Array[], start: number) => {
        buffers.add(parts[0]!.buffer)
        parts[0]!.set(bytes.subarray(start, start + parts[0]!.length))
        return parts[0]!.length
      },
    }
    const one = await hashSource(filled, { kernels }, {})
    expect([one.tree.root, one.submission]).toEqual([tree.root, submission])
    expect(buffers.size).toBe(3)
    const big = {
      ...filled,
      sizeBytes: 40 * SEGMENT_SIZE_BYTES * 16,
      readInto: async (parts: readonly Uint8Array[]) => (buffers.add(parts[0]!.buffer), parts[0]!.length),
    }
    const instant = {
      segmentRoots: async (data: Uint8Array) => new Uint8Array(32 * Math.ceil(data.length / SEGMENT_SIZE_BYTES)),
    }
    buffers.clear()
    await reasonOf(hashSource(big, { kernels: instant }, {}))
    expect(buffers.size).toBeLessThanOrEqual(4)
    const own = {
      ...sourceOf(bytes),
      segmentRoots: ({ start, end, lastLeafCount }: HashRange) =>
        kernels.segmentRoots(bytes.subarray(start, end), { lastLeafCount }),
    }
    const none = { segmentRoots: () => Promise.reject(new Error('not asked')) }
    const other = await hashSource(own, { kernels: none }, {})
    expect([other.tree.root, other.submission]).toEqual([tree.root, submission])
  })

  test('holds a few batches, whatever the size', async () => {
    let open = 0
    let most = 0
    const counting = {
      segmentRoots: async (data: Uint8Array) => {
        await new Promise((next) => setImmediate(next))
        open -= 1
        return new Uint8Array(32 * Math.ceil(data.length / SEGMENT_SIZE_BYTES))
      },
    }
    const source = {
      sizeBytes: 100 * 16 * SEGMENT_SIZE_BYTES,
      read: async (start: number, end: number) => ((most = Math.max(most, ++open)), new Uint8Array(end - start)),
    }
    await reasonOf(hashSource(source, { kernels: counting }, {}))
    expect(most).toBeLessThanOrEqual(3)
  })

  test('tells how far it is, carries the tags, and stops at an abort', async () => {
    const bytes = new Uint8Array(9_000_000)
    const told: number[] = []
    const tags = fromHex('0xabcd')
    const hashed = await hashSource(sourceOf(bytes), { kernels }, { tags, onHashed: (done) => told.push(done) })
    expect(told).toEqual([4_194_304, 8_388_608, 9_000_000])
    expect(hashed.submission.tags).toEqual(tags)
    expect(await reasonOf(hashSource(sourceOf(bytes), { kernels }, { signal: AbortSignal.abort('no') }))).toBe('no')
  })
})
