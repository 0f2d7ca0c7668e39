import { SEGMENT_SIZE_BYTES } from '@weightless/core'
import { describe, expect, test } from 'vitest'
import { content, createFakeNetwork, isDown } from '../../../sim/fakes/network.ts'
import { failureOf, reasonOf } from '../../../sim/fakes/outcome.ts'
import { download, upload, verifyPrefix, type ReadAt } from './index.ts'

const SEGMENT = SEGMENT_SIZE_BYTES
const readAt = (bytes: Uint8Array): ReadAt => ({
  sizeBytes: bytes.length,
  read: async (start, end) => bytes.slice(start, end),
})

async function stored(sizeBytes: number) {
  const network = createFakeNetwork()
  const client = network.client()
  const bytes = content(sizeBytes, sizeBytes)
  const { root } = await upload(client, bytes)
  return { network, client, bytes, root }
}

describe('what lies there already', () => {
  // Sizes around powers of two: the tree has another shape at each.
  test.each([1, 2, 3, 4, 5, 8, 9, 13, 37])('of %i segments counts in whole segments, never the last', async (count) => {
    const { client, bytes, root } = await stored((count - 1) * SEGMENT + 1_000)
    for (let have = 0; have <= count; have++) {
      const part = bytes.subarray(0, have * SEGMENT + 77)
      expect(await verifyPrefix(client, root, readAt(part))).toBe(Math.min(have, count - 1) * SEGMENT)
    }
  })

  test('is compared with the proof of what comes next: a flipped bit ends it, and the rest comes from the network', async () => {
    const { client, bytes, root } = await stored(12 * SEGMENT + 5)
    const part = bytes.slice(0, 11 * SEGMENT)
    part[9 * SEGMENT + 100]! ^= 1
    // Segments before 11 hang on subtrees of 8, 2 and 1.
    const start = await verifyPrefix(client, root, readAt(part))
    expect(start).toBe(8 * SEGMENT)
    const whole: Uint8Array[] = [part.subarray(0, start)]
    for await (const piece of download(client, root, { range: { start } })) whole.push(piece)
    expect(Buffer.concat(whole).equals(Buffer.from(bytes))).toBe(true)
  })

  test.each([
    ['of another object', content(6 * SEGMENT, 99)],
    ['of zeros, as a crash leaves them', new Uint8Array(6 * SEGMENT)],
    ['longer than the object', content(60 * SEGMENT, 98)],
  ])('%s counts for nothing', async (_, part) => {
    const { client, root } = await stored(12 * SEGMENT + 5)
    expect(await verifyPrefix(client, root, readAt(part))).toBe(0)
  })

  test('needs one holder that gives a proof; a liar’s counts for nothing', async () => {
    const { network, client, bytes, root } = await stored(5 * SEGMENT)
    const holders = network.nodes.filter((node) => node.holds(root) > 0)
    holders[0]!.fault = isDown
    holders[1]!.fault = async (request, node) => {
      const response = await node.handle(request)
      if (!request.url.includes('/segments?')) return response
      const body = new Uint8Array(await response.arrayBuffer())
      body[body.length - 1]! ^= 1
      return new Response(body, { headers: response.headers })
    }
    expect(await verifyPrefix(client, root, readAt(bytes.subarray(0, 3 * SEGMENT)))).toBe(3 * SEGMENT)
    holders[2]!.fault = isDown
    const work = verifyPrefix(client, { root, sizeBytes: bytes.length }, readAt(bytes.subarray(0, 3 * SEGMENT)))
    expect(await failureOf(work)).toMatchObject({ code: 'OBJECT_UNAVAILABLE' })
  })

  test('is read until the signal aborts, and no further', async () => {
    const { client, root } = await stored(40 * SEGMENT)
    const life = new AbortController()
    const part: ReadAt = {
      sizeBytes: 39 * SEGMENT,
      read: async (start, end) => {
        life.abort('enough')
        return new Uint8Array(end - start)
      },
    }
    expect(await reasonOf(verifyPrefix(client, root, part, { signal: life.signal }))).toBe('enough')
  })
})
