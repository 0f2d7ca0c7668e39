import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { runs } from '../../../sim/runs.ts'
import { content, createFakeNetwork, isDown, type Fault } from '../../../sim/fakes/network.ts'
import { downloadBytes, upload } from './index.ts'

const corrupting: Fault = async (request, node) => {
  const response = await node.handle(request)
  if (request.method !== 'GET' || !request.url.includes('/segments') || !response.ok) return response
  const body = new Uint8Array(await response.arrayBuffer())
  body[Math.floor(body.length / 2)]! ^= 0x10
  return new Response(body, { headers: response.headers })
}
const cutting: Fault = async (request, node) => {
  const response = await node.handle(request)
  if (request.method !== 'GET' || !request.url.includes('/segments')) return response
  return new Response((await response.arrayBuffer()).slice(0, 1_000))
}
const faults: readonly (Fault | undefined)[] = [undefined, isDown, corrupting, cutting]

test('download(upload(x)) is x for any size, any range, with and without encryption, while any two of three holders fail', async () => {
  // Sizes on both sides of a chunk, a segment, a batch.
  const sizes = fc.oneof(
    fc.integer({ min: 1, max: 2_000 }),
    fc.integer({ min: 262_000, max: 262_300 }),
    fc.integer({ min: 300_000, max: 1_200_000 }),
  )
  await fc.assert(
    fc.asyncProperty(
      sizes,
      fc.boolean(),
      fc.nat(),
      fc.nat(),
      fc.tuple(fc.nat(3), fc.nat(3)),
      fc.nat(2),
      async (sizeBytes, isSealed, a, b, kinds, spared) => {
        const network = createFakeNetwork({ nodeCount: 3 })
        const client = network.client()
        const bytes = content(sizeBytes, sizeBytes)
        const key = content(32, 1)
        const { root } = await upload(client, bytes, isSealed ? { encryption: { type: 'aes256', key } } : {})
        const others = network.nodes.filter((_, i) => i !== spared)
        others.forEach((node, i) => (node.fault = faults[kinds[i]!]))
        const [start, end] = [a % sizeBytes, b % (sizeBytes + 1)].sort((x, y) => x - y) as [number, number]
        const range = start < end ? { start, end } : undefined
        const read = await downloadBytes(client, root, {
          range,
          ...(isSealed ? { decryption: { symmetricKey: key } } : {}),
        })
        const expected = range === undefined ? bytes : bytes.subarray(start, end)
        expect(Buffer.from(read).equals(Buffer.from(expected))).toBe(true)
        expect(network.open.size).toBe(0)
      },
    ),
    runs(0.3),
  )
})
