import { assembleCertificate, concat, encodeFrames, SEGMENT_SIZE_BYTES, type Root } from '@weightless/core'
import { describe, expect, test } from 'vitest'
import { codedObjectOf } from '../../../sim/compliance/codedObject.ts'
import { objectOf } from '../../../sim/compliance/storageNode.ts'
import { createFakeNetwork } from '../../../sim/fakes/network.ts'
import { failureOf } from '../../../sim/fakes/outcome.ts'
import { webClock } from './defaults.ts'
import { createStorageNodeClient, type ShardsAnswer } from './storageNodeClient.ts'

const root = `0x${'ab'.repeat(32)}` as Root
const answering = (answer: (request: Request) => Response | Promise<Response>, url = 'http://node.test/base') => {
  const seen: string[] = []
  const net = { fetch: async (request: Request) => (seen.push(`${request.method} ${request.url}`), answer(request)) }
  return { node: createStorageNodeClient(url, { net, clock: webClock }), seen }
}

describe('the client of a storage node', () => {
  test('speaks all routes with a node', async () => {
    const network = createFakeNetwork()
    const { url } = network.nodes[0]!
    const node = createStorageNodeClient(url, { net: network.net, clock: webClock })
    const object = objectOf(600_000, 3)
    for (const one of network.nodes) one.learn({ ...entry, root: object.tree.root, sizeBytes: 600_000 } as never)
    expect(await node.status({})).toMatchObject({
      chainId: 31337,
      flow: network.chain.flow,
      signer: network.nodes[0]!.signer,
      readOnly: false,
      isFull: false,
      ready: true,
    })
    expect(await node.receipt(object.tree.root, { seq: 0, slot: 1 }, {})).toBeUndefined()
    expect(await node.getSegments(object.tree.root, { from: 0, count: 1 }, {})).toBeUndefined()
    const { receipt } = await node.putSegments(object.tree.root, { seq: 0, slot: 1, segments: object.segments }, {})
    expect(receipt).toMatchObject({ dataRoot: object.tree.root, entrySeq: 0 })
    expect(await node.receipt(object.tree.root, { seq: 0, slot: 1 }, {})).toEqual(receipt)
    const segments = await node.getSegments(object.tree.root, { from: 1, count: 2 }, {})
    expect(segments!.map(({ index }) => index)).toEqual([1, 2])
    expect(await node.entries(object.tree.root, {})).toMatchObject([
      { seq: 0, sizeBytes: 600_000, complete: true, heldSegmentCount: 3 },
    ])
    expect(await node.entries(root, {})).toEqual([])
    expect(await node.list({ limit: 10 }, {})).toMatchObject([{ seq: 0, root: object.tree.root }])
  })

  test('is told by the log whose parity an entry says it is, and believes no other form of it', async () => {
    const txHash = `0x${'12'.repeat(32)}`
    const logged = { root, seq: 0, sizeBytes: 9, startChunk: 1, blockNumber: 1, txHash }
    const answers = [
      { ...logged, parityOf: root },
      { ...logged, parityOf: 'any' },
    ]
    const { node } = answering(() => Response.json({ entries: [answers.shift()] }))
    expect(await node.list({ limit: 1 }, {})).toEqual([{ ...logged, parityOf: root }])
    expect(await failureOf(node.list({ limit: 1 }, {}))).toMatchObject({ code: 'NODE_ANSWER_INVALID' })
  })

  test('keeps the path of its base address', async () => {
    const { node, seen } = answering(() => Response.json({ entries: [] }))
    await node.list({ after: 4, limit: 7 }, {})
    expect(seen).toEqual(['GET http://node.test/base/v1/entries?limit=7&after=4'])
  })

  test.each(['', 'node.test', 'file:///etc/passwd', 'javascript:alert(1)'])('refuses the address %j', (url) => {
    expect(() => answering(() => new Response(), url)).toThrow(/OPTION_INVALID/)
  })

  test('tells what the node said: its code, its facts, its next step, and who it was', async () => {
    const { node } = answering(() =>
      Response.json(
        {
          error: {
            code: 'STORE_FULL',
            message: 'm',
            facts: { usedBytes: 5, nested: { a: 1 } },
            next: 'Ask another \u001b[31mnode\n',
            retryable: true,
          },
        },
        { status: 507 },
      ),
    )
    expect(await failureOf(node.status({}))).toMatchObject({
      code: 'STORE_FULL',
      retryable: true,
      blame: 'peer',
      next: 'Ask another ?[31mnode?',
      facts: { usedBytes: 5, node: 'http://node.test/base/', status: 507 },
    })
  })

  test.each([
    [500, '<html>', 'NODE_UNREACHABLE'],
    [429, '', 'NODE_UNREACHABLE'],
    [403, 'no', 'NODE_REFUSED'],
    [400, '{"error":{"code":"lower"}}', 'NODE_REFUSED'],
    [404, '{"error":{"code":"ENTRY_UNKNOWN"}}', 'ENTRY_UNKNOWN'],
  ])('status %i with %j is %s', async (status, body, code) => {
    const { node } = answering(() => new Response(body, { status }))
    expect(await failureOf(node.status({}))).toMatchObject({ code })
  })

  test('a broken connection is the node being away', async () => {
    const { node } = answering(() => Promise.reject(new TypeError('fetch failed')))
    expect(await failureOf(node.status({}))).toMatchObject({
      code: 'NODE_UNREACHABLE',
      retryable: true,
      cause: { message: 'fetch failed' },
    })
  })

  test.each([
    ['not JSON', 'hello'],
    ['an array', '[]'],
    ['no signer', JSON.stringify({ chainId: 1, flow: root.slice(0, 42), store: {}, nextSeq: 0 })],
    [
      'a chain id in words',
      JSON.stringify({ chainId: 'one', flow: root.slice(0, 42), signer: root.slice(0, 42), store: {}, nextSeq: 0 }),
    ],
    ['no store', JSON.stringify({ chainId: 1, flow: root.slice(0, 42), signer: root.slice(0, 42), nextSeq: 0 })],
  ])('a status that is %s is refused', async (_, body) => {
    const { node } = answering(() => new Response(body))
    expect(await failureOf(node.status({}))).toMatchObject({ code: 'NODE_ANSWER_INVALID', blame: 'peer' })
  })

  test.each([
    ['no list', { entries: 5 }],
    ['more than may be', { entries: Array.from({ length: 65 }, () => held) }],
    ['a size in words', { entries: [{ ...held, sizeBytes: 'big' }] }],
    ['a size beyond 2^53', { entries: [{ ...held, sizeBytes: 2 ** 60 }] }],
    ['no transaction', { entries: [{ ...held, txHash: '0x12' }] }],
    ['complete in words', { entries: [{ ...held, complete: 'yes' }] }],
    ['more parities than may be', { entries: [{ ...held, parities: Array.from({ length: 17 }, () => parity) }] }],
    ['parity of no code', { entries: [{ ...held, parities: [{ ...parity, m: 255 }] }] }],
    ['parity proven in words', { entries: [{ ...held, parities: [{ ...parity, proven: 1 }] }] }],
    ['a bitmap of 33 bytes', { entries: [{ ...held, parities: [{ ...parity, slots: `0x${'ff'.repeat(33)}` }] }] }],
    ['slots that are a list', { entries: [{ ...held, parities: [{ ...parity, slots: [1] }] }] }],
  ])('entries with %s are refused', async (_, body) => {
    const { node } = answering(() => Response.json(body))
    expect(await failureOf(node.entries(root, {}))).toMatchObject({ code: 'NODE_ANSWER_INVALID' })
  })

  test('slots beyond the code are not read', async () => {
    const { node } = answering(() =>
      Response.json({ entries: [{ ...held, parities: [{ ...parity, slots: '0xff' }] }] }),
    )
    const [entry] = await node.entries(root, {})
    expect(entry!.parities).toEqual([{ seq: 1, root, code: { k: 3, m: 2 }, proven: false, slots: [0, 1, 2, 3, 4] }])
    const [older] = await answering(() => Response.json({ entries: [held] })).node.entries(root, {})
    expect(older!.parities).toEqual([])
  })

  test('speaks of shards with a node: runs with a step, receipts with fingerprints, certificates', async () => {
    const network = createFakeNetwork()
    const coded = codedObjectOf(5 * SEGMENT_SIZE_BYTES, 7, { k: 2, m: 1 })
    const [data, parityEntry] = network.chain.submit([coded.data.submission, coded.parity.submission])
    const { root } = data!
    const node = createStorageNodeClient(network.nodes[0]!.url, { net: network.net, clock: webClock })
    const what = { seq: data!.seq, parity: parityEntry!.seq, fingerprintBytesMax: 10 * 16 }
    expect(await node.shards(root, what, {})).toEqual({ kind: 'incomplete', heldStripeCount: 0 })
    await node.putSegments(root, { seq: data!.seq, slot: 0, segments: coded.shardsOf(0).segments }, {})
    const segments = await node.getSegments(root, { from: 0, count: 3, step: 2, seq: data!.seq }, {})
    expect(segments!.map(({ index }) => index)).toEqual([0, 2, 4])
    const answer = await node.shards(root, { ...what, slots: [0] }, {})
    const { held } = answer as ShardsAnswer & { kind: 'signed' }
    expect(held.fingerprints).toEqual(coded.fingerprintsOf([0]))
    expect(held.receipt).toMatchObject({ slots: '0x01', fingerprintRoot: coded.fingerprintRootOf([0]) })
    expect(await node.shards(root, what, {})).toEqual(answer)
    await node.putSegments(root, { seq: data!.seq, slot: 1, segments: coded.shardsOf(1).segments.slice(0, 1) }, {})
    expect(await node.shards(root, { ...what, slots: [1] }, {})).toEqual({ kind: 'incomplete', heldStripeCount: 1 })
    expect(await failureOf(node.shards(root, { ...what, parity: what.seq }, {}))).toMatchObject({
      code: 'PARITY_MISMATCH',
    })
    expect(await failureOf(node.shards(root, { ...what, fingerprintBytesMax: 1 - 4 * 1024 }, {}))).toMatchObject({
      code: 'BODY_TOO_LARGE',
    })
    const about = { seq: data!.seq, sizeBytesMax: 100_000 }
    expect(await node.certificate(root, about, {})).toBeUndefined()
    const { chainId, registry } = network.chain
    const certificate = assembleCertificate(
      {
        chainId,
        registry,
        code: { k: 2, m: 1 },
        dataRoot: root,
        sizeBytes: data!.sizeBytes,
        entrySeq: data!.seq,
        parity: { root: parityEntry!.root, seq: parityEntry!.seq },
      },
      [held!],
      [{ version: 1, members: network.nodes.map(({ member }) => member) }],
    )
    expect(await node.putCertificate(root, { seq: data!.seq, certificate }, {})).toEqual({ lossesSurvived: 0 })
    expect(await node.certificate(root, about, {})).toEqual(certificate)
    expect(await failureOf(node.certificate(root, { ...about, sizeBytesMax: 100 }, {}))).toMatchObject({
      code: 'BODY_TOO_LARGE',
    })
    expect(await node.entries(root, {})).toMatchObject([
      { parities: [{ seq: parityEntry!.seq, code: { k: 2, m: 1 }, proven: false, slots: [0] }] },
    ])
  })

  test.each([
    ['no receipt', { fingerprints: '' }, 'RECEIPT_INVALID'],
    ['fingerprints that are no base64', { receipt: {}, fingerprints: '???' }, 'NODE_ANSWER_INVALID'],
    ['no fingerprints', { receipt: {} }, 'NODE_ANSWER_INVALID'],
  ])('shards with %s are refused', async (_, body, code) => {
    const { node } = answering(() => Response.json(body))
    expect(await failureOf(node.shards(root, { seq: 0, parity: 1, fingerprintBytesMax: 64 }, {}))).toMatchObject({
      code,
    })
  })

  test('a body without an end is cut off', async () => {
    let pulls = 0
    const { node } = answering(
      () =>
        new Response(
          new ReadableStream({ pull: (controller) => (pulls++, controller.enqueue(new Uint8Array(1024 ** 2))) }),
        ),
    )
    expect(await failureOf(node.status({}))).toMatchObject({ code: 'BODY_TOO_LARGE', blame: 'peer' })
    expect(pulls).toBeLessThan(6)
  })

  test('good segments that were not asked for are refused', async () => {
    const { segments } = objectOf(600_000, 3)
    const { node } = answering(() => new Response(concat(encodeFrames(segments.slice(1))) as Uint8Array<ArrayBuffer>))
    expect((await node.getSegments(root, { from: 1, count: 2 }, {}))!.map(({ index }) => index)).toEqual([1, 2])
    expect(await failureOf(node.getSegments(root, { from: 0, count: 2 }, {}))).toMatchObject({
      code: 'NODE_ANSWER_INVALID',
    })
    expect(await failureOf(node.getSegments(root, { from: 1, count: 3 }, {}))).toMatchObject({
      code: 'NODE_ANSWER_INVALID',
    })
  })

  test('segments of another step than asked for are refused', async () => {
    const { segments } = objectOf(600_000, 3)
    const body = concat(encodeFrames([segments[0]!, segments[2]!])) as Uint8Array<ArrayBuffer>
    const { node, seen } = answering(() => new Response(body))
    expect(await node.getSegments(root, { from: 0, count: 2, step: 2 }, {})).toHaveLength(2)
    expect(seen).toEqual([`GET http://node.test/base/v1/entries/${root}/segments?from=0&count=2&step=2`])
    expect(await failureOf(node.getSegments(root, { from: 0, count: 2 }, {}))).toMatchObject({
      code: 'NODE_ANSWER_INVALID',
    })
  })

  test('a node that hangs is given up', async () => {
    const { node } = answering(() => new Promise(() => undefined))
    expect(await failureOf(node.status({ timeoutMs: 5 }))).toMatchObject({
      code: 'DEADLINE_PASSED',
      facts: { what: 'GET v1/status', timeoutMs: 5 },
    })
  })
})

const held = {
  seq: 0,
  sizeBytes: 10,
  startChunk: 1,
  blockNumber: 1,
  txHash: `0x${'cc'.repeat(32)}`,
  complete: true,
  heldSegmentCount: 1,
}
const parity = { seq: 1, root, k: 3, m: 2, proven: false, slots: '0x' }
const entry = { seq: 0, startChunk: 1, blockNumber: 1, txHash: `0x${'cc'.repeat(32)}`, tags: new Uint8Array(0) }
