import {
  checkSegment,
  layoutOf,
  leafCountOf,
  protectedHomes,
  SEGMENT_SIZE_BYTES,
  shardLayoutOf,
  presentSlots,
  type ErasureCode,
  type Root,
} from '@weightless/core'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { codedObjectOf } from '../../../sim/compliance/codedObject.ts'
import { impatientClock } from '../../../sim/fakes/impatientClock.ts'
import {
  content,
  createFakeNetwork,
  hangs,
  isDown,
  type FakeNetwork,
  type Fault,
  type NetworkNode,
} from '../../../sim/fakes/network.ts'
import { failureOf } from '../../../sim/fakes/outcome.ts'
import { runs } from '../../../sim/runs.ts'
import { downloadBytes, openStripeReader, upload, verifyPrefix, type ReadAt } from './index.ts'

const S = SEGMENT_SIZE_BYTES
const code: ErasureCode = { k: 4, m: 2 }
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.from(a).equals(Buffer.from(b))
const reads = (network: FakeNetwork): string[] =>
  network.log.filter((line) => line.startsWith('GET') && line.includes('/segments'))

async function stored(sizeBytes: number, of: ErasureCode = code, nodeCount = of.k + of.m) {
  const network = createFakeNetwork({ nodeCount })
  const bytes = content(sizeBytes, sizeBytes)
  const { root, parity } = await upload(network.client(), bytes, { code: of })
  const homes = new Map(
    protectedHomes(
      { dataRoot: root, sizeBytes, code: of },
      network.nodes.map(({ member }) => member),
    ).map(({ slot, member }) => [slot, network.nodes.find(({ url }) => url === member.endpoint)!]),
  )
  const at = (slot: number): NetworkNode => homes.get(slot)!
  const client = network.client({ signer: undefined }, { clock: impatientClock() })
  return { network, bytes, root, parityRoot: parity!.root, at, client, homes }
}

describe('an object by its shards', () => {
  test.each([
    [41 * S + 77, code, [0, 3]],
    [33 * S - 1, { k: 10, m: 4 }, [1, 2, 9, 12]],
    [5 * S, { k: 1, m: 2 }, [0]],
    [6 * S + 10, { k: 4, m: 2 }, []],
  ])('%i bytes at %j without the slots %j: each segment comes with a proof', async (sizeBytes, of, lost) => {
    const { root, bytes, client, network, at } = await stored(sizeBytes, of)
    for (const slot of lost) at(slot).fault = isDown
    const reader = await openStripeReader(client, { root, seq: 0, sizeBytes }, {})
    const layout = layoutOf(sizeBytes)
    for (const span of [
      { from: 0, count: layout.segmentCount },
      { from: layout.segmentCount - 2, count: 2 },
    ]) {
      const segments = await reader!.readProven(span, { signal: new AbortController().signal })
      expect(segments.map(({ index }) => index)).toEqual(Array.from({ length: span.count }, (_, i) => span.from + i))
      for (const segment of segments) {
        // The last one ends with a chunk.
        const expected = bytes.subarray(segment.index * S, (segment.index + 1) * S)
        expect(same(segment.data.subarray(0, expected.length), expected)).toBe(true)
        const lastLeafCount = leafCountOf(layout, segment.index)
        const segmentRoot = await client.deps.kernels.segmentRoots(segment.data, { lastLeafCount })
        checkSegment({ root, sizeBytes }, segment, segmentRoot)
      }
    }
    expect(
      await openStripeReader(network.client(), { root: `0x${'11'.repeat(32)}` as Root, seq: 7, sizeBytes }, {}),
    ).toBe(undefined)
  })

  test.each([
    [2 * S, code],
    [4 * S, code],
    [4 * S + 1, code],
    [41 * S + 77, code],
    [5 * S, { k: 1, m: 2 }],
    [33 * S - 1, { k: 10, m: 4 }],
    [3 * S + 300, { k: 2, m: 2 }],
  ])('%i bytes at %j come from the data holders alone while all are well', async (sizeBytes, of) => {
    const { root, bytes, network, parityRoot } = await stored(sizeBytes, of)
    expect(same(await downloadBytes(network.client({ signer: undefined }), root), bytes)).toBe(true)
    expect(reads(network).filter((line) => line.includes(parityRoot))).toEqual([])
  })

  test('a holder is asked for its shards of several stripes at once', async () => {
    const { root, network } = await stored(64 * S)
    await downloadBytes(network.client({ signer: undefined }), root)
    expect(reads(network).some((line) => line.includes('count=4&step=4'))).toBe(true)
    expect(reads(network).length).toBeLessThanOrEqual(4 * 7)
  })

  test.each([
    [0, 1],
    [1, 4],
    [4, 5],
    [2, 3],
  ])('without slots %i and %i all is read, and ranges too', async (a, b) => {
    const { client, root, bytes, at } = await stored(43 * S + 5)
    for (const slot of [a, b]) at(slot).fault = isDown
    expect(same(await downloadBytes(client, root), bytes)).toBe(true)
    for (const [start, end] of [
      [0, 1],
      [S - 1, S + 1],
      [5 * S + 100, 22 * S],
      [43 * S, 43 * S + 5],
    ] as const) {
      expect(same(await downloadBytes(client, root, { range: { start, end } }), bytes.subarray(start, end))).toBe(true)
    }
  })

  test('any m slots lost of any code, any size and any range', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 4 }),
        fc.constantFrom(-S, -S + 1, -1, 0, 1, 256, S + 300),
        fc.infiniteStream(fc.nat()),
        async (k, m, stripes, by, chance) => {
          const next = (max: number): number => (chance.next().value as number) % max
          const sizeBytes = Math.max(S + 1, stripes * k * S + by)
          const { client, root, bytes, at } = await stored(sizeBytes, { k, m })
          const slots = [...presentSlots(shardLayoutOf(sizeBytes, { k, m })!)]
          for (let i = 0; i < m; i++) at(slots.splice(next(slots.length), 1)[0]!).fault = i % 2 === 0 ? isDown : forgets
          const [a, b] = [next(sizeBytes), next(sizeBytes)]
          const range = { start: Math.min(a, b), end: Math.max(a, b) + 1 }
          expect(same(await downloadBytes(client, root), bytes)).toBe(true)
          expect(same(await downloadBytes(client, root, { range }), bytes.subarray(range.start, range.end))).toBe(true)
        },
      ),
      runs(0.1),
    )
  })

  test('every data holder lost and parity alive: no proof of data is left, and the root bears all of it out', async () => {
    const { client, root, bytes, at } = await stored(19 * S + 9, { k: 2, m: 2 })
    for (const slot of [0, 1]) at(slot).fault = isDown
    expect(same(await downloadBytes(client, root), bytes)).toBe(true)
    expect(
      same(
        await downloadBytes(client, root, { range: { start: 9 * S, end: 9 * S + 7 } }),
        bytes.subarray(9 * S, 9 * S + 7),
      ),
    ).toBe(true)
  })

  test('more than m lost: the stripe, the slots and who would help are named', async () => {
    const { client, root, at } = await stored(9 * S)
    for (const slot of [0, 2, 5]) at(slot).fault = isDown
    const error = await failureOf(downloadBytes(client, root))
    expect(error).toMatchObject({
      code: 'SHARDS_LOST',
      retryable: true,
      facts: { root, stripe: 0, missingSlots: expect.stringMatching(/^0(,2)?$/), shortBy: 1 },
    })
    expect(error.facts['wouldHelp']).toContain(`slot 0 at ${at(0).url}`)
    expect(error.facts['wouldHelp']).toContain(`slot 5 at ${at(5).url}`)
  })

  test('nodes that would help are those that signed, though they are no members any more', async () => {
    const { client, root, at, network } = await stored(9 * S)
    for (const slot of [0, 2, 5]) at(slot).fault = isDown
    network.chain.setMembers(network.nodes.filter(({ fault }) => fault === undefined).map(({ member }) => member))
    const error = await failureOf(downloadBytes(client, root))
    expect(error).toMatchObject({ code: 'SHARDS_LOST', facts: { missingSlots: '0,2' } })
    for (const slot of [0, 2, 5]) expect(error.facts['wouldHelp']).toContain(`slot ${slot} at ${at(slot).url}`)
  })

  test('a node that comes back is asked again before a stripe counts as lost', async () => {
    const { client, root, bytes, at } = await stored(9 * S)
    for (const slot of [0, 2]) at(slot).fault = isDown
    let refusals = 0
    at(5).fault = async (request, node) => {
      if (request.url.includes('/segments') && ++refusals < 3) throw new TypeError('fetch failed')
      return node.handle(request)
    }
    expect(same(await downloadBytes(client, root), bytes)).toBe(true)
  })

  test('a holder that hangs is made up for by parity', async () => {
    const { root, bytes, at, network } = await stored(24 * S)
    at(1).fault = async (request, node) =>
      request.url.includes('/segments') ? hangs(request, node) : node.handle(request)
    // Slot 1 is given up after ten seconds; parity, whose holders nobody had asked when all seemed well, is there long before.
    const client = network.client({ signer: undefined })
    expect(same(await downloadBytes(client, root), bytes)).toBe(true)
    expect(network.log.filter((line) => line.includes('/certificate') && line.startsWith('GET'))).toEqual([])
    expect(network.open.size).toBe(0)
  }, 8_000)

  test('a holder of wrong bytes is found out by the proof, and not asked again', async () => {
    const { client, root, bytes, at, network } = await stored(60 * S)
    at(0).fault = corrupting
    expect(same(await downloadBytes(client, root), bytes)).toBe(true)
    const asked = reads(network).filter((line) => line.startsWith(`GET ${at(0).url}`))
    // What was under way when the first answer came.
    expect(asked.length).toBeLessThanOrEqual(6)
  })

  test('whole copies serve as before, shards or not', async () => {
    const { network, bytes, root, client } = await stored(9 * S, code, 9)
    await upload(network.client({}, {}, 2), bytes)
    expect(same(await downloadBytes(client, root), bytes)).toBe(true)
    expect(reads(network).filter((line) => line.includes('step='))).toEqual([])
  })

  test('an object whose size is given and which is held by shards alone', async () => {
    const { client, root, bytes, at } = await stored(21 * S)
    at(3).fault = isDown
    expect(same(await downloadBytes(client, { root, sizeBytes: bytes.length }), bytes)).toBe(true)
  })

  test('a prefix is verified by the next segment that somebody has', async () => {
    const { client, root, bytes, at } = await stored(21 * S)
    at(0).fault = isDown
    const prefix = (count: number): ReadAt => ({
      sizeBytes: count * S,
      read: async (start, end) => bytes.slice(start, end),
    })
    expect(await verifyPrefix(client, root, prefix(7))).toBe(7 * S)
    // Segment 8 is in slot 0.
    expect(await verifyPrefix(client, root, prefix(8))).toBe(7 * S)
  })
})

describe('bogus parity', () => {
  /** A stranger's parity of other bytes is in the log first, held, and said to be proven. */
  async function attacked(lost: readonly number[], of: ErasureCode = { k: 4, m: 3 }) {
    const sizeBytes = 14 * S + 11
    const network = createFakeNetwork({ nodeCount: 8 })
    const bogus = codedObjectOf(sizeBytes, 6, of, (parity) => (parity[3]! ^= 0x40))
    network.chain.submit([bogus.data.submission, bogus.parity.submission])
    const bytes = content(sizeBytes, 6)
    const { root, seq } = await upload(network.client(), bytes, { code })
    const homes = protectedHomes(
      { dataRoot: root as Root, sizeBytes, code },
      network.nodes.map(({ member }) => member),
    )
    const nodeOf = (slot: number): NetworkNode =>
      network.nodes.find(({ member }) => member.id === homes.find((home) => home.slot === slot)!.member.id)!
    const others = network.nodes.filter(({ member }) => homes.every((home) => home.member.id !== member.id))
    for (const node of others) for (const segment of bogus.parity.segments) node.plant(bogus.parity.tree.root, segment)
    for (const node of network.nodes) {
      node.fault = async (request, real) => {
        const response = await real.handle(request)
        if (!new URL(request.url).pathname.endsWith(root)) return response
        const answer = (await response.json()) as { entries: { parities: { m: number; proven: boolean }[] }[] }
        for (const entry of answer.entries)
          for (const parity of entry.parities) if (parity.m === 3) parity.proven = true
        return Response.json(answer)
      }
    }
    for (const slot of lost) nodeOf(slot).fault = isDown
    /** One of the others says so of every parity, and gives no data away. */
    const liesAbout = (slot: number): void => {
      const liar = others[0]!
      const honest = liar.fault!
      liar.fault = async (request, real) => {
        const { pathname } = new URL(request.url)
        if (pathname.endsWith(`${root}/segments`)) return new Response('{}', { status: 404 })
        const response = await honest(request, real)
        if (!pathname.endsWith(root)) return response
        const answer = (await response.json()) as { entries: { parities: { slots: string }[] }[] }
        for (const entry of answer.entries)
          for (const parity of entry.parities)
            parity.slots = `0x${(Number(parity.slots) | (1 << slot)).toString(16).padStart(2, '0')}`
        return Response.json(answer)
      }
    }
    return {
      network,
      liesAbout,
      bytes,
      root,
      seq,
      bogusRoot: bogus.parity.tree.root,
      client: network.client({ signer: undefined }, { clock: impatientClock() }),
    }
  }

  test('is found out by the data root before a byte is yielded, and the right one serves', async () => {
    const { client, root, bytes, network, bogusRoot } = await attacked([0, 3])
    expect(same(await downloadBytes(client, root), bytes)).toBe(true)
    expect(reads(network).some((line) => line.includes(bogusRoot))).toBe(true)
  })

  test('is found out too where all is computed from it, and no segment has a proof', async () => {
    // Of 2+3 no node has a whole data slot, and any two of its parity slots give every byte of it.
    const { client, root, bytes, network, bogusRoot } = await attacked([0, 3], { k: 2, m: 3 })
    expect(same(await downloadBytes(client, root), bytes)).toBe(true)
    expect(reads(network).some((line) => line.includes(bogusRoot))).toBe(true)
    const range = { start: 3 * S, end: 3 * S + 9 }
    expect(same(await downloadBytes(client, root, { range }), bytes.subarray(3 * S, 3 * S + 9))).toBe(true)
  })

  test('does not keep readers from the right one where somebody says that he has the data slot that is gone', async () => {
    const { client, root, bytes, liesAbout } = await attacked([1])
    liesAbout(1)
    expect(same(await downloadBytes(client, root), bytes)).toBe(true)
  })

  test('with no other parity left the object is lost rather than wrong', async () => {
    const { client, root } = await attacked([0, 4, 5])
    const error = await failureOf(downloadBytes(client, root))
    expect(error.code).toBe('SHARDS_LOST')
  })
})

const corrupting: Fault = async (request, node) => {
  const response = await node.handle(request)
  if (request.method !== 'GET' || !request.url.includes('/segments') || !response.ok) return response
  const body = new Uint8Array(await response.arrayBuffer())
  body[body.length - 100]! ^= 1
  return new Response(body, { headers: response.headers })
}
/** Says that it has its shards, and has lost them. */
const forgets: Fault = async (request, node) =>
  request.method === 'GET' && request.url.includes('/segments')
    ? Response.json(
        { error: { code: 'SEGMENT_MISSING', message: 'm', facts: {}, next: 'n', retryable: true } },
        { status: 404 },
      )
    : node.handle(request)
