import { afterEach, describe, expect, test } from 'vitest'
import { addressOfPrivateKey, domainOf, receiptFromJson, slotsOf, verifyReceipt, type Receipt } from '@weightless/core'
import { objectOf, storageNodeCompliance } from '../../../../sim/compliance/storageNode.ts'
import { storageNodeShardCompliance, type ShardNodeHarness } from '../../../../sim/compliance/storageNodeShards.ts'
import { CHAIN_ID, FLOW, REGISTRY } from '../../test/testChain.ts'
import { until } from '../../test/testClock.ts'
import {
  createTestWorld,
  endWorlds,
  keyOf,
  memberOf,
  officialSegment,
  putBinary,
  type TestRole,
} from '../../test/testRoles.ts'

storageNodeCompliance('the storage role', oneMember)
storageNodeShardCompliance('the storage role', oneMember)

async function oneMember(): Promise<ShardNodeHarness> {
  const world = createTestWorld()
  const [node] = await world.members(1)
  return {
    url: `${node!.url}/`,
    net: { fetch: (request) => world.net.fetch(request) },
    chainId: CHAIN_ID,
    flow: FLOW,
    registry: REGISTRY,
    signer: node!.signer,
    membership: node!.follower.membership.current(),
    submit: async (submission) => {
      const [entry] = world.chain.submit(submission)
      await node!.caughtUp()
      return entry!
    },
    [Symbol.asyncDispose]: async () => endWorlds(),
  }
}

describe('receipts of a storage node', () => {
  afterEach(endWorlds)

  test('a holder signs an entry once and returns the same receipt ever after, also after a restart', async () => {
    const world = createTestWorld()
    const [node] = await world.members(1)
    const object = objectOf(1000, 1)
    const [entry] = world.chain.submit(object.submission)
    const first = ((await (await putBinary(node!, entry!, object.segments, 1)).json()) as { receipt: Receipt }).receipt
    verifyReceipt(receiptFromJson(first))
    expect(slotsOf(first.slots)).toEqual([1])
    expect(first).toMatchObject({
      registry: REGISTRY,
      registryVersion: 1,
      blockNumber: entry!.blockNumber,
      dataRoot: entry!.root,
      entrySeq: 0,
    })
    const ask = `/v1/entries/${entry!.root}/receipt?seq=0&slot=2`
    expect(await (await node!.fetch(ask)).json()).toEqual(first)
    await node!.kill()
    const again = await world.storage('node-0', { machine: node!.machine })
    expect(await (await again.fetch(ask)).json()).toEqual(first)
  })

  test('a node that is no member of the registry stores and signs nothing', async () => {
    const world = createTestWorld()
    const node = await world.storage('stranger')
    const object = objectOf(1000, 2)
    const [entry] = world.chain.submit(object.submission)
    const answer = (await (await putBinary(node, entry!, object.segments)).json()) as {
      receipt?: Receipt
      missing: number
    }
    expect(answer).toEqual({ stored: 1, missing: 0 })
    const asked = await node.fetch(`/v1/entries/${entry!.root}/receipt?seq=0&slot=0`)
    expect([asked.status, ((await asked.json()) as { error: { code: string } }).error.code]).toEqual([
      404,
      'RECEIPT_UNAVAILABLE',
    ])
  })

  test('a node that joined after the entry names the version by which it joined', async () => {
    const world = createTestWorld()
    await world.members(1)
    const object = objectOf(1000, 3)
    const [entry] = world.chain.submit(object.submission)
    const [late] = await world.members(1)
    const { receipt } = (await (await putBinary(late!, entry!, object.segments)).json()) as { receipt: Receipt }
    expect(receipt.registryVersion).toBe(2)
  })

  test('an entry whose size does not fit the bytes of its root is never signed for', async () => {
    const world = createTestWorld()
    const [node] = await world.members(1)
    // The same padded chunks, so the contract takes both; the bytes are those of the longer file.
    const object = objectOf(18 * 256, 4)
    const [long, short] = world.chain.submit(object.submission, { ...object.submission, sizeBytes: 17 * 256 })
    await putBinary(node!, long!, object.segments)
    const ask = async (seq: number): Promise<number> =>
      (await node!.fetch(`/v1/entries/${object.tree.root}/receipt?seq=${seq}&slot=0`)).status
    expect(await ask(long!.seq)).toBe(200)
    expect(await ask(short!.seq)).toBe(404)
  })
})

describe('entries that share a root', () => {
  afterEach(endWorlds)

  test('a second entry is complete by the bytes of the first, each with its own size', async () => {
    const world = createTestWorld()
    const [node] = await world.members(1)
    const [short, long] = [objectOf(1, -1), objectOf(256, -1)]
    const [a] = world.chain.submit(short.submission)
    await putBinary(node!, a!, short.segments)
    const [b] = world.chain.submit(long.submission)
    await node!.caughtUp()
    await until(async () => (await node!.rpc('zgs_getFileInfoByTxSeq', [b!.seq])).result?.finalized === true)
    expect((await node!.rpc('zgs_getFileInfoByTxSeq', [a!.seq])).result.tx.size).toBe(1)
    expect((await node!.rpc('zgs_getFileInfoByTxSeq', [b!.seq])).result.tx.size).toBe(256)
    // Lookup by root gives the first finalised entry.
    expect((await node!.rpc('zgs_getFileInfo', [a!.root, true])).result.tx.seq).toBe(a!.seq)
  })

  test('a longer entry with zeros behind reads zeros behind, and a shorter one is cut', async () => {
    const world = createTestWorld()
    const [node] = await world.members(1)
    const long = objectOf(18 * 256, -1)
    const short = objectOf(17 * 256, -1)
    expect(short.tree.root).toBe(long.tree.root)
    const [a, b] = world.chain.submit(short.submission, long.submission)
    await putBinary(node!, a!, short.segments)
    const sizeOf = async (seq: number, chunks: number): Promise<number> =>
      Buffer.from((await node!.rpc('zgs_downloadSegmentByTxSeq', [seq, 0, chunks])).result as string, 'base64').length
    expect(await sizeOf(a!.seq, 17)).toBe(17 * 256)
    expect(await sizeOf(b!.seq, 18)).toBe(18 * 256)
    const tooMuch = await node!.rpc('zgs_downloadSegmentByTxSeq', [a!.seq, 0, 18])
    expect(tooMuch.error).toMatchObject({
      code: -32602,
      message: 'Invalid params: end_index',
      data: 'invalid chunk index',
    })
  })
})

describe('membership sources', () => {
  afterEach(endWorlds)

  test('registry: official uploads of roots that are not its own are refused at once, naming the gateway', async () => {
    const world = createTestWorld()
    const nodes = await world.members(6)
    const object = objectOf(1000, 5)
    const [entry] = world.chain.submit(object.submission)
    for (const node of nodes) await node.caughtUp()
    const answers = await Promise.all(
      nodes.map((node) => node.rpc('zgs_uploadSegmentsByTxSeq', [[officialSegment(object, 0)], entry!.seq])),
    )
    expect(answers.filter((answer) => answer.result === 0)).toHaveLength(3)
    const refused = answers.filter((answer) => answer.error !== undefined)
    expect(refused).toHaveLength(3)
    for (const { error } of refused) {
      expect(error).toEqual({
        code: -32000,
        message: 'this node holds shares only; upload through http://gateway.test',
      })
    }
    for (const node of nodes) expect((await node.rpc('zgs_getShardConfig')).result).toEqual({ shardId: 0, numShard: 1 })
  })

  test('static: the list of the configuration decides whose uploads are its own', async () => {
    const world = createTestWorld()
    const names = ['s-0', 's-1', 's-2', 's-3']
    const members = names.map((name, i) =>
      memberOf(i, { url: `http://${name}.test`, signer: addressOfPrivateKey(keyOf(name)) }),
    )
    const nodes = await Promise.all(
      names.map((name) => world.storage(name, { membership: { source: 'static', members } })),
    )
    const object = objectOf(1000, 6)
    const [entry] = world.chain.submit(object.submission)
    for (const node of nodes) await node.caughtUp()
    const answers = await Promise.all(
      nodes.map((node) => node.rpc('zgs_uploadSegmentsByTxSeq', [[officialSegment(object, 0)], entry!.seq])),
    )
    expect(answers.filter((answer) => answer.result === 0)).toHaveLength(3)
    const { receipt } = (await (await putBinary(nodes[0]!, entry!, object.segments)).json()) as { receipt: Receipt }
    expect(receipt).toMatchObject({ registryVersion: 0, registry: `0x${'00'.repeat(20)}`, signer: nodes[0]!.signer })
    expect(members.map((member) => member.domain)).toContain(domainOf('rack 0'))
  })

  test('solo: keeps exactly the global segments of its shard and reports them', async () => {
    const world = createTestWorld()
    const shards = await Promise.all(
      [0, 1].map((shardId) =>
        world.storage(`solo-${shardId}`, { membership: { source: 'solo', shardId, numShard: 2 } }),
      ),
    )
    // One segment of the flow first, so that the file starts at global segment 1 or later.
    const filler = objectOf(262_144, 7)
    const object = objectOf(3 * 262_144, 8)
    world.chain.submit(filler.submission)
    const [entry] = world.chain.submit(object.submission)
    const first = entry!.startChunk / 1024
    for (const node of shards) await node.caughtUp()
    for (const [shardId, node] of shards.entries()) {
      expect((await node.rpc('zgs_getShardConfig')).result).toEqual({ shardId, numShard: 2 })
      const own = [0, 1, 2].filter((index) => (first + index) % 2 === shardId)
      for (const index of own) {
        expect(
          (await node.rpc('zgs_uploadSegmentsByTxSeq', [[officialSegment(object, index)], entry!.seq])).result,
        ).toBe(0)
      }
      expect((await node.rpc('zgs_getFileInfo', [entry!.root, true])).result).toMatchObject({
        finalized: true,
        uploadedSegNum: 3,
      })
      for (const index of [0, 1, 2]) {
        const data = (await node.rpc('zgs_downloadSegmentByTxSeq', [entry!.seq, index * 1024, (index + 1) * 1024]))
          .result as string | null
        expect(data === null).toBe(!own.includes(index))
      }
    }
  })

  test('solo: an entry without a segment in the shard is final at once', async () => {
    const world = createTestWorld()
    const shards = await Promise.all(
      [0, 1].map((shardId) =>
        world.storage(`solo-${shardId}`, { membership: { source: 'solo', shardId, numShard: 2 } }),
      ),
    )
    const object = objectOf(100, 9)
    const [entry] = world.chain.submit(object.submission)
    for (const node of shards) await node.caughtUp()
    const finals = await Promise.all(
      shards.map(async (node) => (await node.rpc('zgs_checkFileFinalized', [entry!.seq])).result as boolean),
    )
    expect(finals).toEqual([false, true])
    const foreign = await putBinary(shards[1]!, entry!, object.segments)
    expect([foreign.status, ((await foreign.json()) as { error: { code: string } }).error.code]).toEqual([
      421,
      'NOT_A_HOME',
    ])
  })
})

describe('after a reorganisation', () => {
  afterEach(endWorlds)

  async function stored() {
    const world = createTestWorld()
    const [node] = await world.members(1)
    const object = objectOf(1000, 31)
    const block = world.chain.head
    world.chain.submit(objectOf(1000, 32).submission)
    const [entry] = world.chain.submit(object.submission)
    const { receipt } = (await (await putBinary(node!, entry!, object.segments, 1)).json()) as { receipt: Receipt }
    expect(receipt.entrySeq).toBe(1)
    return { world, node: node!, object, block, receipt }
  }
  type Stored = Awaited<ReturnType<typeof stored>>
  const ask = ({ node, object }: Stored, seq: number): Promise<Response> =>
    node.fetch(`/v1/entries/${object.tree.root}/receipt?seq=${seq}&slot=1`)

  test('the receipt of an entry that is gone is not served, nor for another entry that has its number', async () => {
    const at = await stored()
    at.world.chain.rewind(at.block)
    at.world.chain.advance(3)
    await at.node.caughtUp()
    expect([(await ask(at, 1)).status, (await ask(at, 0)).status]).toEqual([404, 404])
    expect((await at.node.rpc('zgs_getFileInfo', [at.object.tree.root, true])).result).toBeNull()
    // Two others take the numbers 0 and 1; the second has the very root, in another block.
    at.world.chain.submit(objectOf(1000, 33).submission)
    const [again] = at.world.chain.submit(at.object.submission)
    await at.node.caughtUp()
    const answer = receiptFromJson(await (await ask(at, 1)).json())
    expect(answer).toMatchObject({ entrySeq: 1, blockNumber: again!.blockNumber })
    expect(answer).not.toEqual(at.receipt)
    verifyReceipt(answer)
  })

  test('an entry that comes back under another number is whole at once, with a receipt of its own', async () => {
    const at = await stored()
    at.world.chain.rewind(at.block)
    const [back] = at.world.chain.submit(at.object.submission)
    expect(back!.seq).toBe(0)
    await at.node.caughtUp()
    await until(async () => (await at.node.rpc('zgs_checkFileFinalized', [0])).result === true, 'it is whole')
    expect(receiptFromJson(await (await ask(at, 0)).json())).toMatchObject({ entrySeq: 0 })
  })

  test('a number that another file has is not whole by the bytes of the first', async () => {
    const at = await stored()
    at.world.chain.rewind(at.block)
    at.world.chain.submit(objectOf(1000, 34).submission, objectOf(1000, 35).submission)
    await at.node.caughtUp()
    expect((await at.node.rpc('zgs_checkFileFinalized', [1])).result).toBe(false)
  })

  test('bytes that no entry refers to any more stay for an hour and are dropped then', async () => {
    const at = await stored()
    at.world.chain.rewind(at.block)
    at.world.chain.advance(3)
    await at.node.caughtUp()
    at.world.clock.jump(50 * 60_000)
    at.world.clock.jump(60_000)
    await until(() => at.node.follower.isCaughtUp())
    expect(at.node.store.usage().segmentCount).toBe(1)
    at.world.clock.jump(12 * 60_000)
    await until(() => at.node.store.usage().segmentCount === 0, 'the bytes are gone')
  })

  test('a chain that takes back too much, or is another one, is told in health and status; what is stored is read', async () => {
    const at = await stored()
    at.world.chain.chainId = 1
    at.world.chain.rewind(at.block)
    at.world.chain.advance(3)
    const health = async (): Promise<{ ready: boolean; chain?: { state: string; code: string; next: string } }> =>
      (await (await at.node.fetch('/health')).json()) as never
    await until(async () => (await health()).chain?.code === 'CHAIN_ID_MISMATCH', 'health names the other chain')
    expect(await health()).toMatchObject({ ready: false, chain: { state: 'halted', next: expect.any(String) } })
    expect(await (await at.node.fetch('/v1/status')).json()).toMatchObject({
      ready: false,
      chain: { state: 'halted', code: 'CHAIN_ID_MISMATCH' },
    })
    const read = await at.node.fetch(`/v1/entries/${at.object.tree.root}/segments?from=0&count=1`)
    expect(read.status).toBe(200)
    await read.body?.cancel()
    // The endpoint serves the right chain again.
    at.world.chain.chainId = CHAIN_ID
    at.world.clock.jump(30_000)
    await at.node.caughtUp()
    expect(await health()).toEqual({ ready: true })
  })
})

describe('early segments', () => {
  afterEach(endWorlds)

  test('are stored before their root is on chain and make the entry final when it comes', async () => {
    const world = createTestWorld()
    const [node] = await world.members(1)
    const object = objectOf(600_000, 10)
    const segments = object.segments.map((_, index) => officialSegment(object, index))
    expect((await node!.rpc('zgs_uploadSegments', [segments])).result).toBe(0)
    expect((await node!.rpc('zgs_getFileInfo', [object.tree.root, true])).result).toBeNull()
    const [entry] = world.chain.submit(object.submission)
    await until(async () => (await node!.rpc('zgs_getFileInfo', [object.tree.root, true])).result?.finalized === true)
    expect((await node!.rpc('zgs_getFileInfoByTxSeq', [entry!.seq])).result.uploadedSegNum).toBe(3)
  })

  test('survive a restart of the node', async () => {
    const world = createTestWorld()
    const [node] = await world.members(1)
    const object = objectOf(5000, 11)
    await node!.rpc('zgs_uploadSegments', [[officialSegment(object, 0)]])
    await node!.kill()
    const again = await world.storage('node-0', { machine: node!.machine })
    world.chain.submit(object.submission)
    await until(async () => (await again.rpc('zgs_getFileInfo', [object.tree.root, true])).result?.finalized === true)
  })

  test('are forgotten when nobody submits their root in time', async () => {
    const world = createTestWorld()
    const [node] = await world.members(1)
    const object = objectOf(5000, 12)
    await node!.rpc('zgs_uploadSegments', [[officialSegment(object, 0)]])
    expect(node!.store.usage().segmentCount).toBe(1)
    // Half of the time is not enough, all of it is.
    world.clock.jump(200_000)
    await node!.rpc('zgs_uploadSegments', [[officialSegment(object, 0)]])
    world.clock.jump(200_000)
    await node!.rpc('zgs_getStatus')
    expect(node!.store.usage().segmentCount).toBe(1)
    world.clock.jump(200_000)
    await until(() => node!.store.usage().segmentCount === 0, 'the early segment is gone')
  })

  test('of files above 10 MiB are refused', async () => {
    const world = createTestWorld()
    const [node] = await world.members(1)
    const object = objectOf(10 * 1024 ** 2 + 1, -1)
    const answer = await node!.rpc('zgs_uploadSegments', [[officialSegment(object, 0)]])
    expect(answer.error).toEqual({
      code: -32602,
      message: 'Invalid params: fileSize',
      data: 'caching of large file when tx is unavailable is not supported',
    })
  })
})

describe('a storage node whose disk fails', () => {
  afterEach(endWorlds)
  const largeSlots = '/data/slots-266240-000000.dat'

  const failure = async (response: Response): Promise<{ status: number; code: string; retryable: boolean }> => {
    const { error } = (await response.json()) as { error: { code: string; retryable: boolean } }
    return { status: response.status, code: error.code, retryable: error.retryable }
  }
  const served = async (node: TestRole, root: string): Promise<number> => {
    const response = await node.fetch(`/v1/entries/${root}/segments?from=0&count=1`)
    await response.arrayBuffer()
    return response.status
  }

  test('after a failed sync takes no more uploads, says why everywhere, and goes on serving', async () => {
    const world = createTestWorld()
    const [node] = await world.members(1)
    const [before, during, after] = [objectOf(600_000, 20), objectOf(600_000, 21), objectOf(5_000, 22)]
    const [first, second, third] = [before, during, after].map((object) => world.chain.submit(object.submission)[0]!)
    await node!.caughtUp()
    expect((await putBinary(node!, first!, before.segments)).status).toBe(200)
    node!.machine.disk.faults.failingSyncs = 1
    const refused = { status: 503, code: 'STORE_SYNC_FAILED', retryable: false }
    expect(await failure(await putBinary(node!, second!, during.segments))).toEqual(refused)
    expect(await failure(await putBinary(node!, third!, after.segments))).toEqual(refused)
    const { error } = await node!.rpc('zgs_uploadSegments', [[officialSegment(after, 0)]])
    expect(error.message).toMatch(/^STORE_SYNC_FAILED: /)
    expect(await served(node!, first!.root)).toBe(200)
    expect((await node!.rpc('zgs_downloadSegment', [first!.root, 0, 1])).result).not.toBeNull()

    const health = await node!.fetch('/health')
    expect([health.status, await health.json()]).toEqual([503, { ready: false, readOnly: 'STORE_SYNC_FAILED' }])
    const status = (await (await node!.fetch('/v1/status')).json()) as { store: object; ready: boolean }
    expect(status).toMatchObject({ ready: false, store: { readOnly: true, brokenBy: 'STORE_SYNC_FAILED' } })
  })

  test('without room refuses uploads for a while only, and goes on serving', async () => {
    const world = createTestWorld()
    const [node] = await world.members(1)
    const [before, during] = [objectOf(600_000, 23), objectOf(600_000, 24)]
    const [first, second] = [before, during].map((object) => world.chain.submit(object.submission)[0]!)
    await node!.caughtUp()
    await putBinary(node!, first!, before.segments)
    const { faults } = node!.machine.disk
    faults.capacityBytes = 700_000
    expect(await failure(await putBinary(node!, second!, during.segments))).toEqual({
      status: 507,
      code: 'STORE_FULL',
      retryable: true,
    })
    const { error } = await node!.rpc('zgs_uploadSegments', [[officialSegment(during, 0)]])
    expect(error.message).toMatch(/^STORE_FULL: /)
    const isFull = async (): Promise<unknown> =>
      ((await (await node!.fetch('/v1/status')).json()) as { readonly store: { readonly full: unknown } }).store.full
    world.clock.jump(1_000) // what was free a moment ago is believed until then
    expect(await isFull()).toBe(true)
    expect(await served(node!, first!.root)).toBe(200)
    expect((await node!.fetch('/health')).status).toBe(200)
    faults.capacityBytes = Infinity
    expect((await putBinary(node!, second!, during.segments)).status).toBe(200)
    expect(await isFull()).toBe(false)
    expect(await served(node!, second!.root)).toBe(200)
  })

  test('says of a segment whose bytes went bad that it is not held, and takes it again', async () => {
    const world = createTestWorld()
    const [node] = await world.members(1)
    const object = objectOf(600_000, 25)
    const [entry] = world.chain.submit(object.submission)
    await node!.caughtUp()
    await putBinary(node!, entry!, object.segments)
    node!.machine.disk.flipBit(largeSlots, 10_000)
    expect((await node!.rpc('zgs_downloadSegment', [entry!.root, 0, 1024])).result).toBeNull()
    expect(await served(node!, entry!.root)).toBe(404)
    expect([...node!.store.damaged()]).toEqual([{ root: entry!.root, index: 0 }])
    await until(async () => (await node!.rpc('zgs_getFileInfo', [entry!.root, true])).result.finalized === false)

    const again = (await (await putBinary(node!, entry!, object.segments.slice(0, 1))).json()) as { missing: number }
    expect(again.missing).toBe(0)
    expect(await served(node!, entry!.root)).toBe(200)
    expect([...node!.store.damaged()]).toEqual([])
    expect((await node!.rpc('zgs_getFileInfo', [entry!.root, true])).result.finalized).toBe(true)
  })
})
