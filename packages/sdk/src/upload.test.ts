import {
  paddedChunkCountOf,
  copyHomes,
  SEGMENT_SIZE_BYTES,
  signReceipt,
  verifyReceipt,
  type Address,
  type Clock,
  type Failure,
  type Receipt,
  type Root,
  type UnsignedReceipt,
} from '@weightless/core'
import { inlineKernels } from '@weightless/kernels'
import { describe, expect, test } from 'vitest'
import {
  content,
  createFakeNetwork,
  hangs,
  isDown,
  isFull,
  keyOf,
  type FakeNetwork,
  type Fault,
  type NetworkNode,
} from '../../../sim/fakes/network.ts'
import { failureOf, reasonOf, turns, turnsUntil } from '../../../sim/fakes/outcome.ts'
import { createTestClock } from '../../node/test/testClock.ts'
import { webClock } from './defaults.ts'
import { reachableCount } from './holders.ts'
import {
  downloadBytes,
  hashSource,
  privateKeySigner,
  upload,
  uploadMany,
  type ProgressEvent,
  type ReadAt,
} from './index.ts'

const inPlace = (bytes: Uint8Array): ReadAt => ({
  sizeBytes: bytes.length,
  read: async (start, end) => bytes.subarray(start, end),
})
/** Waits only a moment between questions; deadlines keep their length. */
const impatient: Clock = { ...webClock, sleep: (ms, options) => webClock.sleep(ms <= 1_000 ? 0 : ms, options) }
const homesOf = (network: FakeNetwork, root: string): NetworkNode[] =>
  copyHomes(
    { key: root as `0x${string}`, count: 3 },
    network.nodes.map(({ member }) => member),
  ).map(({ member }) => network.nodes.find(({ url }) => url === member.endpoint)!)
const sentCount = (network: FakeNetwork): number => network.chain.calls.get('eth_sendRawTransaction') ?? 0
/** Answers a PUT with an error of the wire. */
const refusing =
  (code: string, options: { readonly status?: number; readonly retryable?: boolean } = {}): Fault =>
  async (request, node) =>
    request.method === 'PUT'
      ? Response.json(
          { error: { code, message: code, facts: {}, next: 'n', retryable: options.retryable ?? false } },
          { status: options.status ?? 400 },
        )
      : node.handle(request)

describe('stages', () => {
  test('an object is durable when its three homes have signed, and only they hold it', async () => {
    const network = createFakeNetwork()
    const bytes = content(3 * SEGMENT_SIZE_BYTES + 1_000, 1)
    const result = await upload(network.client(), bytes)
    expect(result).toMatchObject({ stage: 'durable', seq: 0, sizeBytes: bytes.length, blockNumber: 1, reused: false })
    const homes = homesOf(network, result.root)
    expect(result.receipts.map(({ signer }) => signer).sort()).toEqual(homes.map(({ signer }) => signer).sort())
    for (const receipt of result.receipts) {
      verifyReceipt(receipt)
      expect(receipt).toMatchObject({ dataRoot: result.root, entrySeq: 0, registry: network.chain.registry })
    }
    expect(network.nodes.filter((node) => node.holds(result.root as never) > 0)).toEqual(expect.arrayContaining(homes))
    expect(network.nodes.filter((node) => node.holds(result.root as never) > 0)).toHaveLength(3)
  })

  test('`accepted` computes the root and asks nobody', async () => {
    const network = createFakeNetwork()
    const result = await upload(network.client({ signer: undefined }), content(1_000, 1), { until: 'accepted' })
    expect(result).toEqual({ stage: 'accepted', root: expect.stringMatching(/^0x[0-9a-f]{64}$/), sizeBytes: 1_000 })
    expect(network.log).toEqual([])
  })

  test('`anchored` pays and sends no data', async () => {
    const network = createFakeNetwork()
    const result = await upload(network.client(), content(1_000, 1), { until: 'anchored' })
    expect(result).toMatchObject({ stage: 'anchored', seq: 0, receipts: [] })
    expect(network.log.filter((line) => line.startsWith('PUT'))).toEqual([])
  })

  test('`final` waits until the finalized head has reached the entry', async () => {
    const network = createFakeNetwork()
    network.chain.setFinalized(0)
    const answer = network.chain.handle
    let asked = 0
    network.chain.handle = async (request) => {
      if ((await request.clone().text()).includes('"finalized"') && ++asked === 3) network.chain.setFinalized(1)
      return answer(request)
    }
    const result = await upload(network.client({}, { clock: impatient }), content(1_000, 1), { until: 'final' })
    expect(result).toMatchObject({ stage: 'final', blockNumber: 1 })
    expect(result.receipts).toHaveLength(3)
    expect(asked).toBe(3)
  })

  test('a block that was replaced before it was final is told, not hidden', async () => {
    const network = createFakeNetwork()
    network.chain.onEntry(() => network.chain.replaceBlock(1))
    const error = await failureOf(upload(network.client(), content(1_000, 1), { until: 'final' }))
    expect(error).toMatchObject({ code: 'ENTRY_REORGED', retryable: true, facts: { seq: 0, blockNumber: 1 } })
  })

  test('progress names every phase once it is reached, and bytes never go back', async () => {
    const network = createFakeNetwork()
    const events: ProgressEvent[] = []
    const bytes = content(20 * SEGMENT_SIZE_BYTES, 1)
    await upload(network.client(), bytes, { until: 'final', onProgress: (event) => events.push(event) })
    expect([...new Set(events.map(({ phase }) => phase))]).toEqual([
      'hash',
      'submit',
      'anchor',
      'store',
      'durable',
      'final',
    ])
    for (const phase of ['hash', 'store']) {
      const done = events.filter((event) => event.phase === phase).map(({ doneBytes }) => doneBytes)
      expect(done).toEqual([...done].sort((a, b) => a - b))
      expect(done.at(-1)).toBe(bytes.length)
    }
    expect(events.every(({ totalBytes }) => totalBytes === bytes.length)).toBe(true)
  })

  test('a smaller network has as many copies as nodes', async () => {
    const network = createFakeNetwork({ nodeCount: 2 })
    const result = await upload(network.client(), content(1_000, 1))
    expect(result).toMatchObject({ stage: 'durable' })
    expect(result.receipts).toHaveLength(2)
  })
})

describe('before anything is signed', () => {
  const unsigned = async (network: FakeNetwork, work: Promise<unknown>): Promise<Failure> => {
    const error = await failureOf(work)
    expect(sentCount(network)).toBe(0)
    return error
  }

  test('an endpoint of another chain is refused', async () => {
    const network = createFakeNetwork()
    const { chain, rpcUrl } = network
    const client = network.client({ network: { rpcUrl, chainId: 16600, flow: chain.flow, registry: chain.registry } })
    const error = await unsigned(network, upload(client, content(1, 1)))
    expect(error).toMatchObject({
      code: 'NETWORK_MISMATCH',
      facts: { what: 'chain id', expected: 16600, actual: 31337 },
    })
  })

  test('a flow address without a contract is refused', async () => {
    const network = createFakeNetwork()
    const { chain, rpcUrl } = network
    const flow = `0x${'ab'.repeat(20)}`
    const client = network.client({ network: { rpcUrl, chainId: chain.chainId, flow, registry: chain.registry } })
    const error = await unsigned(network, upload(client, content(1, 1)))
    expect(error).toMatchObject({ code: 'NETWORK_MISMATCH', facts: { expected: flow, actual: 'no code' } })
  })

  test.each([
    ['chainId', 1, 'chain id of the node'],
    ['flow', `0x${'cd'.repeat(20)}`, 'flow address of the node'],
  ])('storage nodes that report another %s are refused', async (field, value, what) => {
    const network = createFakeNetwork()
    for (const node of network.nodes) {
      node.fault = async (request, real) => {
        const response = await real.handle(request)
        if (!request.url.endsWith('/v1/status')) return response
        return Response.json({ ...((await response.json()) as object), [field]: value })
      }
    }
    for (const client of [network.client(), network.client({ storageNodes: network.nodes.map(({ url }) => url) })]) {
      const error = await unsigned(network, upload(client, content(1, 1)))
      expect(error).toMatchObject({ code: 'NETWORK_MISMATCH', facts: { what, actual: value } })
      const anchored = await unsigned(network, upload(client, content(1, 1), { until: 'anchored' }))
      expect(anchored.code).toBe('NETWORK_MISMATCH')
    }
  })

  test('one member of another network does not stop uploads to the others', async () => {
    const network = createFakeNetwork()
    const bytes = content(1_000, 1)
    const { root } = await upload(network.client(), bytes, { until: 'accepted' })
    const [stranger] = homesOf(network, root)
    stranger!.fault = async (request, real) =>
      request.url.endsWith('/v1/status')
        ? Response.json({ ...((await (await real.handle(request)).json()) as object), chainId: 5 })
        : real.handle(request)
    const result = await upload(network.client(), bytes)
    expect(result.receipts.map(({ signer }) => signer)).not.toContain(stranger!.signer)
    expect(result.receipts).toHaveLength(3)
  })

  test('a poor wallet is told what it has and what it needs', async () => {
    const network = createFakeNetwork()
    const client = network.client({ signer: privateKeySigner(keyOf(9)) })
    network.chain.setBalance(privateKeySigner(keyOf(9)).address, 1_000n)
    const error = await unsigned(network, upload(client, content(1, 1)))
    expect(error).toMatchObject({ code: 'FUNDS_INSUFFICIENT', facts: { haveWei: 1_000n, valueWei: 30_733_644_962n } })
    expect(error.facts['needWei']).toBeGreaterThanOrEqual(30_733_644_962n)
    expect(error.facts['address']).toBe(privateKeySigner(keyOf(9)).address.toLowerCase())
  })

  test('enough for the fee but not for the gas is not enough', async () => {
    const network = createFakeNetwork()
    const client = network.client({ signer: privateKeySigner(keyOf(9)) })
    network.chain.setBalance(privateKeySigner(keyOf(9)).address, 40_000_000_000n)
    const error = await unsigned(network, upload(client, content(1, 1)))
    expect(error).toMatchObject({ code: 'FUNDS_INSUFFICIENT', facts: { haveWei: 40_000_000_000n } })
  })

  test('too few reachable nodes cost nothing', async () => {
    const network = createFakeNetwork()
    for (const node of network.nodes.slice(0, 4)) node.fault = isDown
    const error = await unsigned(network, upload(network.client(), content(1, 1)))
    expect(error).toMatchObject({ code: 'NODES_TOO_FEW', facts: { needed: 3, reachable: 2 } })
    expect(error.facts['failures']).toMatch(/http:\/\/node-\d\.test\/ NODE_UNREACHABLE/)
  })

  test('nodes without room cost nothing either, and are named as what they are', async () => {
    const network = createFakeNetwork()
    for (const node of network.nodes.slice(0, 4)) node.fault = isFull
    const error = await unsigned(network, upload(network.client(), content(1, 1)))
    expect(error).toMatchObject({ code: 'NODES_TOO_FEW', facts: { needed: 3, reachable: 2 } })
    expect(error.facts['failures']).toMatch(/http:\/\/node-\d\.test\/ NODE_FULL/)
  })

  test('nodes on a busy machine are waited for where too few are left without them', async () => {
    const network = createFakeNetwork()
    const clock = createTestClock()
    let heldCount = 0
    for (const node of network.nodes) {
      node.fault = async (request, honest) => {
        if (request.url.includes('/status') && heldCount < 12) {
          heldCount += 1
          await clock.sleep(5_000, {})
        }
        return honest.handle(request)
      }
    }
    const { receipts } = await upload(network.client({}, { clock }), content(1, 1))
    expect(receipts).toHaveLength(3)
    expect(heldCount).toBe(12)
  })

  test('nodes that are late count as reachable once they are needed, and no node is waited for that is not', async () => {
    const network = createFakeNetwork()
    const clock = createTestClock()
    for (const node of network.nodes.slice(0, 3))
      node.fault = async (request, honest) => {
        await clock.sleep(5_000, {})
        return honest.handle(request)
      }
    network.nodes[5]!.fault = isDown
    const client = network.client({}, { clock })
    const { members } = await client.membership.read({})
    expect(await reachableCount(client, { members, needed: 2 }, {})).toBe(2)
    expect(await reachableCount(client, { members, needed: 5 }, {})).toBe(5)
  })

  test('no signer, no members, an empty source, impossible options', async () => {
    const network = createFakeNetwork()
    expect((await unsigned(network, upload(network.client({ signer: undefined }), content(1, 1)))).code).toBe(
      'SIGNER_MISSING',
    )
    expect((await unsigned(network, upload(network.client(), new Uint8Array(0)))).code).toBe('FILE_EMPTY')
    expect((await unsigned(network, upload(network.client(), new Blob([])))).code).toBe('FILE_EMPTY')
    expect((await unsigned(network, upload(network.client(), content(1, 1), { until: 'soon' as never }))).code).toBe(
      'OPTION_INVALID',
    )
    expect((await unsigned(network, upload(network.client(), content(1, 1), { replicas: 0 }))).code).toBe(
      'OPTION_INVALID',
    )
    network.chain.setMembers([])
    expect((await unsigned(network, upload(network.client(), content(1, 1)))).code).toBe('MEMBERS_NONE')
  })
})

describe('holders that fail', () => {
  test('a home that is down is replaced by the next node, which gets everything', async () => {
    const network = createFakeNetwork()
    const bytes = content(5 * SEGMENT_SIZE_BYTES, 1)
    const { root } = await upload(network.client(), bytes, { until: 'accepted' })
    const homes = homesOf(network, root)
    homes[0]!.fault = isDown
    const result = await upload(network.client(), bytes)
    expect(result.receipts).toHaveLength(3)
    expect(result.receipts.map(({ signer }) => signer)).not.toContain(homes[0]!.signer)
    expect(network.nodes.filter((node) => node.holds(root as never) === 5)).toHaveLength(3)
  })

  test('a home that dies in the middle of an upload is replaced', async () => {
    const network = createFakeNetwork()
    const bytes = content(40 * SEGMENT_SIZE_BYTES, 1)
    const { root } = await upload(network.client(), bytes, { until: 'accepted' })
    const [first] = homesOf(network, root)
    let puts = 0
    first!.fault = async (request, real) => {
      if (request.method === 'PUT' && ++puts > 3) throw new TypeError('fetch failed')
      return real.handle(request)
    }
    const result = await upload(network.client(), bytes)
    expect(result.receipts.map(({ signer }) => signer)).not.toContain(first!.signer)
    expect(network.nodes.filter((node) => node.holds(root as never) === 40)).toHaveLength(3)
  })

  test('a home that hangs while the others answer is given up after its grace, and replaced', async () => {
    const network = createFakeNetwork()
    const bytes = content(20 * SEGMENT_SIZE_BYTES, 1)
    const { root } = await upload(network.client(), bytes, { until: 'accepted' })
    const [first] = homesOf(network, root)
    first!.fault = (request, real) => (request.method === 'PUT' ? hangs(request, real) : real.handle(request))
    // A second of watching passes in a turn; everything else takes its time.
    let aheadMs = 0
    const nowMs = (): number => webClock.nowMs() + aheadMs
    const clock: Clock = {
      ...webClock,
      nowMs,
      sleep: async (ms, options) => {
        if (ms !== 1_000) return webClock.sleep(ms, options)
        const untilMs = nowMs() + ms
        await webClock.sleep(1, options)
        aheadMs += Math.max(0, untilMs - nowMs())
      },
    }
    const result = await upload(network.client({}, { clock }), bytes)
    expect(result.receipts.map(({ signer }) => signer)).not.toContain(first!.signer)
    expect(result.receipts).toHaveLength(3)
    // 15 s of grace; at the rate that nothing is known of, a first segment would have been given 32 s more.
    expect(aheadMs).toBeGreaterThanOrEqual(15_000)
    expect(aheadMs).toBeLessThan(30_000)
  })

  test('a short hiccup is tried again, and the home stays', async () => {
    const network = createFakeNetwork()
    const bytes = content(1_000, 1)
    const { root } = await upload(network.client(), bytes, { until: 'accepted' })
    const [first] = homesOf(network, root)
    let puts = 0
    first!.fault = (request, real) =>
      request.method === 'PUT' && ++puts < 3
        ? refusing('STORE_BUSY', { status: 503, retryable: true })(request, real)
        : real.handle(request)
    const result = await upload(network.client(), bytes)
    expect(result.receipts.map(({ signer }) => signer)).toContain(first!.signer)
    expect(puts).toBe(3)
  })

  test('when too few are left, the error names them and why, and what was paid for is not paid again', async () => {
    const network = createFakeNetwork({ nodeCount: 3 })
    const bytes = content(1_000, 1)
    network.nodes[1]!.fault = refusing('STORE_FULL')
    const error = await failureOf(upload(network.client(), bytes))
    expect(error).toMatchObject({ code: 'DURABILITY_NOT_REACHED', facts: { needed: 3, reached: 2, seq: 0 } })
    expect(error.facts['failures']).toBe('http://node-1.test/ STORE_FULL')
    network.nodes[1]!.fault = undefined
    const again = await upload(network.client(), bytes)
    expect(again).toMatchObject({ stage: 'durable', seq: 0, reused: true })
    expect(again.receipts).toHaveLength(3)
    expect(sentCount(network)).toBe(1)
  })

  test('a holder that refuses good bytes is blamed and replaced', async () => {
    const network = createFakeNetwork()
    const bytes = content(1_000, 1)
    const { root } = await upload(network.client(), bytes, { until: 'accepted' })
    const [first] = homesOf(network, root)
    first!.fault = refusing('SEGMENT_PROOF_INVALID')
    const result = await upload(network.client(), bytes)
    expect(result.receipts.map(({ signer }) => signer)).not.toContain(first!.signer)
  })

  test.each([
    ['signed by another key', (receipt: object) => ({ ...receipt, signer: `0x${'11'.repeat(20)}` })],
    ['with a broken signature', (receipt: object) => ({ ...receipt, signature: `0x${'22'.repeat(64)}1b` })],
    ['for another entry', (receipt: object) => ({ ...receipt, entrySeq: 77 })],
    ['for another registry', (receipt: object) => ({ ...receipt, registry: `0x${'33'.repeat(20)}` })],
    ['that is no receipt', () => ({ hello: 'world' })],
  ])('a receipt %s does not count', async (_, spoil) => {
    const network = createFakeNetwork()
    const bytes = content(1_000, 1)
    const { root } = await upload(network.client(), bytes, { until: 'accepted' })
    const [first] = homesOf(network, root)
    first!.fault = async (request, real) => {
      const response = await real.handle(request)
      if (request.method !== 'PUT') return response
      const answer = (await response.json()) as { receipt: object }
      return Response.json({ ...answer, receipt: spoil(answer.receipt) })
    }
    const result = await upload(network.client(), bytes)
    expect(result.receipts).toHaveLength(3)
    expect(result.receipts.map(({ signer }) => signer)).not.toContain(first!.signer)
  })

  test.each<[string, Partial<UnsignedReceipt>, number]>([
    ['by a key that is no member’s', {}, 99],
    ['by another member’s key', {}, 6],
    ['for another entry', { entrySeq: 77 }, 0],
    ['for another chain', { chainId: 1 }, 0],
    ['for another root', { dataRoot: `0x${'44'.repeat(32)}` as Root }, 0],
    ['for another registry', { registry: `0x${'33'.repeat(20)}` as Address }, 0],
  ])('a receipt that is signed well, but %s, does not count', async (_, other, keyByte) => {
    const network = createFakeNetwork()
    const bytes = content(1_000, 1)
    const { root } = await upload(network.client(), bytes, { until: 'accepted' })
    const [first] = homesOf(network, root)
    first!.fault = async (request, real) => {
      const response = await real.handle(request)
      if (request.method !== 'PUT') return response
      const answer = (await response.json()) as { receipt: Receipt }
      const privateKey = new Uint8Array(32).fill(keyByte === 0 ? first!.member.id : keyByte)
      return Response.json({ ...answer, receipt: signReceipt({ ...answer.receipt, ...other }, privateKey) })
    }
    const result = await upload(network.client(), bytes)
    expect(result.receipts).toHaveLength(3)
    expect(
      result.receipts.every(
        ({ entrySeq, dataRoot, chainId }) => entrySeq === 0 && dataRoot === root && chainId === 31337,
      ),
    ).toBe(true)
    expect(network.nodes.filter((node) => node.holds(root) > 0)).toHaveLength(4)
  })

  test('a holder that takes everything and signs nothing is replaced', async () => {
    const network = createFakeNetwork()
    const bytes = content(1_000, 1)
    const { root } = await upload(network.client(), bytes, { until: 'accepted' })
    const [first] = homesOf(network, root)
    first!.fault = async (request, real) => {
      if (request.url.includes('/receipt'))
        return Response.json({ error: { code: 'ENTRY_INCOMPLETE' } }, { status: 404 })
      if (request.method !== 'PUT') return real.handle(request)
      await real.handle(request)
      return Response.json({ stored: 1, missing: 0 })
    }
    const result = await upload(network.client(), bytes)
    expect(result.receipts.map(({ signer }) => signer)).not.toContain(first!.signer)
  })

  test('one signer behind two addresses counts once', async () => {
    const network = createFakeNetwork({ nodeCount: 2 })
    const [first, second] = network.nodes
    second!.fault = (request) => first!.handle(new Request(request))
    const client = network.client({ storageNodes: [first!.url, second!.url] })
    const error = await failureOf(upload(client, content(1_000, 1)))
    expect(error).toMatchObject({ code: 'DURABILITY_NOT_REACHED', facts: { needed: 2, reached: 1 } })
  })
})

describe('sources that change', () => {
  const bytes = content(9 * SEGMENT_SIZE_BYTES + 5, 3)
  const changing = (change: (reads: number, bytes: Uint8Array) => Uint8Array) => {
    let reads = 0
    return {
      sizeBytes: bytes.length,
      read: async (start: number, end: number) => change(++reads, bytes.slice(start, end)),
    }
  }

  test('a byte that changes between the two readings is the caller’s, and no holder is blamed', async () => {
    const network = createFakeNetwork()
    const source = changing((reads, part) =>
      reads > 2 && part.length > 300_000 ? ((part[300_000]! ^= 1), part) : part,
    )
    const error = await failureOf(upload(network.client(), source))
    expect(error).toMatchObject({ code: 'SOURCE_CHANGED', blame: 'caller' })
    expect(network.open.size).toBe(0)
  })

  test('a source that becomes shorter is found out at once', async () => {
    const network = createFakeNetwork()
    const error = await failureOf(
      upload(
        network.client(),
        changing((_, part) => part.subarray(0, part.length - 1)),
      ),
    )
    expect(error).toMatchObject({ code: 'SOURCE_CHANGED', facts: { sizeBytes: bytes.length } })
    expect(sentCount(network)).toBe(0)
  })
})

describe('the same bytes again', () => {
  test('are found on chain and not paid twice', async () => {
    const network = createFakeNetwork()
    const bytes = content(300_000, 1)
    const first = await upload(network.client(), bytes)
    const puts = network.log.filter((line) => line.startsWith('PUT')).length
    const again = await upload(network.client(), bytes)
    expect(again).toEqual({ ...first, reused: true })
    expect(sentCount(network)).toBe(1)
    expect(network.log.filter((line) => line.startsWith('PUT'))).toHaveLength(puts)
  })

  test('are paid again when the caller says so', async () => {
    const network = createFakeNetwork()
    const bytes = content(300_000, 1)
    await upload(network.client(), bytes)
    const again = await upload(network.client(), bytes, { onExisting: 'resubmit' })
    expect(again).toMatchObject({ seq: 1, reused: false, stage: 'durable' })
  })

  test('another size under the same root is another object', async () => {
    const network = createFakeNetwork()
    const one = await upload(network.client(), new Uint8Array(1))
    const many = await upload(network.client(), new Uint8Array(256))
    expect(many.root).toBe(one.root)
    expect(many).toMatchObject({ seq: 1, reused: false, sizeBytes: 256 })
  })

  test('other tags are another entry', async () => {
    const network = createFakeNetwork()
    await upload(network.client(), content(100, 1))
    const tagged = await upload(network.client(), content(100, 1), { tags: Uint8Array.of(1, 2) })
    const again = await upload(network.client(), content(100, 1), { tags: Uint8Array.of(1, 2) })
    expect([tagged.seq, again.seq, again.reused]).toEqual([1, 1, true])
  })

  test('under an entry that the caller names are stored for that one, though others came first', async () => {
    const network = createFakeNetwork()
    const bytes = content(300_000, 90)
    for (let tag = 0; tag < 5; tag++)
      await upload(network.client(), bytes, { until: 'anchored', tags: Uint8Array.of(tag) })
    const sent = sentCount(network)
    const [entry] = network.chain.submit([
      (await hashSource(inPlace(bytes), { kernels: inlineKernels() }, {})).submission,
    ])
    const result = await upload(network.client(), bytes, { entry })
    expect(result).toMatchObject({ stage: 'durable', seq: entry!.seq, reused: true })
    expect(sentCount(network)).toBe(sent)
    const others = await failureOf(upload(network.client(), content(300_000, 91), { entry }))
    expect(others).toMatchObject({ code: 'OPTION_INVALID', facts: { name: 'entry' } })
  })

  test('a node’s word that they are on chain is not enough to skip the payment', async () => {
    const network = createFakeNetwork()
    const bytes = content(100, 1)
    const { root } = await upload(network.client(), bytes, { until: 'accepted' })
    for (const node of network.nodes) {
      node.fault = (request, real) =>
        request.url.endsWith(`/v1/entries/${root}`)
          ? Promise.resolve(
              Response.json({
                root,
                entries: [
                  {
                    seq: 0,
                    sizeBytes: 100,
                    startChunk: 1,
                    blockNumber: 1,
                    txHash: `0x${'ab'.repeat(32)}`,
                    complete: true,
                    heldSegmentCount: 1,
                  },
                ],
              }),
            )
          : real.handle(request)
    }
    expect(await upload(network.client(), bytes)).toMatchObject({ reused: false, seq: 0 })
    expect(sentCount(network)).toBe(1)
  })

  test('an upload that was cut off after paying goes on from there', async () => {
    const network = createFakeNetwork()
    const bytes = content(300_000, 1)
    const anchored = await upload(network.client(), bytes, { until: 'anchored' })
    const durable = await upload(network.client(), bytes)
    expect(durable).toMatchObject({ seq: anchored.seq, txHash: anchored.txHash, reused: true, stage: 'durable' })
    expect(sentCount(network)).toBe(1)
  })
})

describe('several at once', () => {
  test('several files are one transaction, and each is an entry of its own', async () => {
    const network = createFakeNetwork()
    const files = [content(1, 1), content(300_000, 2), content(600_000, 3)]
    const results = await uploadMany(network.client(), files)
    expect(results.map(({ seq }) => seq)).toEqual([0, 1, 2])
    expect(new Set(results.map(({ txHash }) => txHash)).size).toBe(1)
    expect(sentCount(network)).toBe(1)
    for (const [i, file] of files.entries()) {
      expect(Buffer.from(await downloadBytes(network.client(), results[i]!.root)).equals(Buffer.from(file))).toBe(true)
    }
  })

  test('more than 32 are split, and equal ones share an entry', async () => {
    const network = createFakeNetwork()
    const files = Array.from({ length: 35 }, (_, i) => content(200 + (i % 34), i % 34))
    const results = await uploadMany(network.client(), files)
    expect(sentCount(network)).toBe(2)
    expect(new Set(results.map(({ seq }) => seq)).size).toBe(34)
    expect(results[34]).toMatchObject({ seq: results[0]!.seq, reused: true, stage: 'durable' })
  })

  test('when one cannot be stored, the others are', async () => {
    const network = createFakeNetwork({ nodeCount: 3 })
    const files = [content(500, 1), content(600, 2)]
    const [bad] = await uploadMany(network.client(), files, { until: 'accepted' })
    network.nodes[0]!.fault = (request, real) =>
      request.url.includes(bad!.root) && request.method === 'PUT'
        ? refusing('STORE_FULL')(request, real)
        : real.handle(request)
    const error = await failureOf(uploadMany(network.client(), files))
    expect(error).toMatchObject({ code: 'DURABILITY_NOT_REACHED', facts: { root: bad!.root } })
    expect(await upload(network.client(), files[1]!)).toMatchObject({ reused: true, stage: 'durable' })
  })

  test('fifty uploads at once from one wallet use each nonce once', async () => {
    const network = createFakeNetwork()
    const client = network.client()
    const other = network.client()
    const results = await Promise.all(
      Array.from({ length: 50 }, (_, i) => upload(i % 2 ? client : other, content(100 + i, i))),
    )
    expect(results.map(({ seq }) => seq).sort((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i))
    const address = privateKeySigner(keyOf(0)).address.toLowerCase()
    expect(network.chain.nonces.get(address)).toEqual(Array.from({ length: 50 }, (_, i) => i))
    expect(sentCount(network)).toBe(50)
  })

  test('a price that rose since it was read is asked again, and nothing reverts', async () => {
    const network = createFakeNetwork()
    const client = network.client()
    await upload(client, content(100, 1))
    network.chain.setPrice(60_000_000_000n)
    expect(await upload(client, content(100, 2))).toMatchObject({ stage: 'durable', seq: 1 })
    expect(sentCount(network)).toBe(2)
  })

  test('the fee is the price of the padded sectors, not a wei more', async () => {
    const network = createFakeNetwork()
    const client = network.client()
    const before = 10n ** 24n
    const { sizeBytes } = await upload(client, content(70_000, 1))
    const address = privateKeySigner(keyOf(0)).address.toLowerCase()
    const balance = BigInt((await client.rpc.request('eth_getBalance', [address, 'latest'])) as string)
    const sectors = BigInt(
      paddedChunkCountOf([
        { root: new Uint8Array(32), height: 8 },
        { root: new Uint8Array(32), height: 5 },
      ]),
    )
    expect(sizeBytes).toBe(70_000)
    expect(before - balance).toBe(sectors * 30_733_644_962n)
  })
})

describe('cancelling', () => {
  const phases: [string, (network: FakeNetwork) => void][] = [
    ['while the chain is asked', (network) => (network.chain.handle = hangs as never)],
    ['while nodes are asked', (network) => network.nodes.forEach((node) => (node.fault = hangs))],
    [
      'while data is sent',
      (network) =>
        network.nodes.forEach(
          (node) =>
            (node.fault = (request, real) => (request.method === 'PUT' ? hangs(request, real) : real.handle(request))),
        ),
    ],
  ]
  test.each(phases)('%s: the reason comes back at once and no request stays open', async (_, arrange) => {
    const network = createFakeNetwork()
    arrange(network)
    const controller = new AbortController()
    const work = upload(network.client(), content(3 * SEGMENT_SIZE_BYTES, 1), { signal: controller.signal })
    const caught = reasonOf(work)
    await turnsUntil(
      () => network.open.size > 0 && (_ !== 'while data is sent' || network.log.some((line) => line.startsWith('PUT'))),
    )
    const reason = new Error('I changed my mind')
    controller.abort(reason)
    expect(await caught).toBe(reason)
    await turns(3)
    expect(network.open.size).toBe(0)
    const sent = network.log.length
    await turns(20)
    expect(network.log.length).toBe(sent)
  })

  test('a deadline ends an upload that hangs', async () => {
    const network = createFakeNetwork()
    for (const node of network.nodes)
      node.fault = (request, real) => (request.method === 'PUT' ? hangs(request, real) : real.handle(request))
    const error = await failureOf(upload(network.client(), content(1_000, 1), { timeoutMs: 60 }))
    expect(error).toMatchObject({ code: 'DEADLINE_PASSED', facts: { what: 'upload', timeoutMs: 60 } })
    await turns(3)
    expect(network.open.size).toBe(0)
  })

  test('an aborted signal sends nothing', async () => {
    const network = createFakeNetwork()
    const reason = new Error('never mind')
    expect(await reasonOf(upload(network.client(), content(1, 1), { signal: AbortSignal.abort(reason) }))).toBe(reason)
    expect(network.log).toEqual([])
  })
})
