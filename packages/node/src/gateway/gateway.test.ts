import { afterEach, describe, expect, test } from 'vitest'
import { keccak256 } from '@weightless/kernels'
import {
  concat,
  encodeBase64,
  copyHomes,
  SEGMENT_SIZE_BYTES,
  signReceipt,
  verifyReceipt,
  type Address,
  type Entry,
  type Receipt,
} from '@weightless/core'
import { objectOf, objectOfBytes, type TestObject } from '../../../../sim/compliance/storageNode.ts'
import { until } from '../../test/testClock.ts'
import {
  createTestWorld,
  endWorlds,
  keyOf,
  officialSegment,
  putBinary,
  type TestGatewayOptions,
  type TestRole,
  type TestWorld,
} from '../../test/testRoles.ts'

afterEach(endWorlds)

type Network = {
  readonly world: TestWorld
  readonly gateway: TestRole
  readonly nodes: readonly (TestRole & { readonly signer: string })[]
}

async function network(
  nodeCount: number,
  options: TestGatewayOptions & { readonly msPerTurn?: number | undefined } = {},
): Promise<Network> {
  const world = createTestWorld({ msPerTurn: options.msPerTurn })
  const nodes = await world.members(nodeCount)
  const gateway = await world.gateway('gateway', options)
  await gateway.caughtUp()
  return { world, gateway, nodes }
}

async function submit({ world, gateway, nodes }: Network, object: TestObject): Promise<Entry> {
  const [entry] = world.chain.submit(object.submission)
  for (const role of [gateway, ...nodes]) if (role.follower.nextSeq() <= entry!.seq) await role.caughtUp()
  return entry!
}

async function uploadOfficially(gateway: TestRole, object: TestObject, entry: Entry): Promise<void> {
  const answers = await Promise.all(
    object.segments.map((_, index) =>
      gateway.rpc('zgs_uploadSegmentsByTxSeq', [[officialSegment(object, index)], entry.seq]),
    ),
  )
  for (const answer of answers) expect(answer).toEqual({ jsonrpc: '2.0', result: 0, id: 1 })
}

const isFinal = async (gateway: TestRole, entry: Entry): Promise<boolean> =>
  (await gateway.rpc('zgs_checkFileFinalized', [entry.seq])).result === true
const untilFinal = (gateway: TestRole, entry: Entry): Promise<void> =>
  until(() => isFinal(gateway, entry), 'the entry is final')

async function holders(nodes: Network['nodes'], entry: Entry): Promise<number[]> {
  const held: number[] = []
  for (const [i, node] of nodes.entries()) {
    const response = await node.fetch(`/v1/entries/${entry.root}`)
    const { entries = [] } = (await response.json()) as { entries?: { seq: number; complete: boolean }[] }
    if (entries.some(({ seq, complete }) => seq === entry.seq && complete)) held.push(i)
  }
  return held
}

const contentOf = (object: TestObject): Buffer =>
  Buffer.concat(object.segments.map((segment) => segment.data)).subarray(0, object.submission.sizeBytes)

describe('uploads of official clients through the gateway', () => {
  test('reach three holders, become final by their signatures, and leave the spool', async () => {
    const at = await network(6)
    const object = objectOf(20 * SEGMENT_SIZE_BYTES + 300, 1)
    const entry = await submit(at, object)
    expect(await isFinal(at.gateway, entry)).toBe(false)
    await uploadOfficially(at.gateway, object, entry)
    await untilFinal(at.gateway, entry)
    expect(await holders(at.nodes, entry)).toHaveLength(3)
    await until(() => at.gateway.store.usage().segmentCount === 0, 'the spool is free')
    const info = (await at.gateway.rpc('zgs_getFileInfo', [entry.root, true])).result
    expect(info).toMatchObject({
      finalized: true,
      uploadedSegNum: 21,
      tx: { seq: 0, size: object.submission.sizeBytes },
    })
  })

  test('of a network with fewer nodes than copies become final with one signature of each', async () => {
    const at = await network(2)
    const object = objectOf(1000, 2)
    const entry = await submit(at, object)
    await uploadOfficially(at.gateway, object, entry)
    await untilFinal(at.gateway, entry)
    expect(await holders(at.nodes, entry)).toEqual([0, 1])
  })

  test('are not final while a copy is missing, and go to the next node when a home is down', async () => {
    const at = await network(4)
    const object = objectOf(600_000, 3)
    const entry = await submit(at, object)
    // Two of four are gone: at most two copies can exist.
    for (const node of at.nodes.slice(0, 2)) await node.kill()
    const left = at.nodes.slice(2)
    await uploadOfficially(at.gateway, object, entry)
    await until(async () => (await holders(left, entry)).length === 2, 'two copies')
    expect(await isFinal(at.gateway, entry)).toBe(false)
    expect(at.gateway.store.usage().segmentCount).toBe(3)
    // One comes back: it is the third.
    const back = await at.world.storage('node-0', { machine: at.nodes[0]!.machine })
    await untilFinal(at.gateway, entry)
    await until(async () => (await holders([back, ...left], entry)).length === 3, 'three copies')
  })

  test('go to the next node when the disk of a home has failed', async () => {
    const at = await network(4)
    const object = objectOf(600_000, 71)
    const entry = await submit(at, object)
    at.nodes[0]!.machine.disk.faults.failingSyncs = 1
    at.nodes[1]!.machine.disk.faults.capacityBytes = 0
    await uploadOfficially(at.gateway, object, entry)
    await until(async () => (await holders(at.nodes, entry)).length === 2)
    expect(await isFinal(at.gateway, entry)).toBe(false)
    // Room comes back; a disk that failed does not.
    at.nodes[1]!.machine.disk.faults.capacityBytes = Infinity
    await untilFinal(at.gateway, entry)
    expect(await holders(at.nodes, entry)).toEqual([1, 2, 3])
  })

  test('are taken over by others when a holder dies in the middle', async () => {
    const at = await network(6)
    const object = objectOf(40 * SEGMENT_SIZE_BYTES, -1)
    const entry = await submit(at, object)
    const putCounts = new Map<string, number>()
    for (const node of at.nodes) {
      at.world.faults.set(node.url, (request) => {
        if (request.method !== 'PUT') return undefined
        const count = (putCounts.get(node.url) ?? 0) + 1
        putCounts.set(node.url, count)
        // The first node that is sent a second batch breaks down for good.
        const broken = [...putCounts].find(([, sent]) => sent >= 2)?.[0]
        return broken === node.url ? Promise.reject(new TypeError('fetch failed')) : undefined
      })
    }
    await uploadOfficially(at.gateway, object, entry)
    await untilFinal(at.gateway, entry)
    expect((await holders(at.nodes, entry)).length).toBeGreaterThanOrEqual(3)
  })

  test('go on after the gateway was killed between the last segment and the last signature', async () => {
    const at = await network(3)
    const object = objectOf(700_000, 4)
    const entry = await submit(at, object)
    for (const node of at.nodes)
      at.world.faults.set(node.url, async () => Promise.reject(new TypeError('fetch failed')))
    await uploadOfficially(at.gateway, object, entry)
    await at.gateway.kill()
    for (const node of at.nodes) at.world.faults.delete(node.url)
    const again = await at.world.gateway('gateway', { machine: at.gateway.machine })
    await until(() => again.follower.membership.current().members.length === 3)
    await until(async () => (await holders(at.nodes, entry)).length === 3, 'three copies')
    await untilFinal(again, entry)
    await until(() => again.store.usage().segmentCount === 0, 'the spool is free')
  })

  test('keep being final, with their receipts, after the gateway was killed', async () => {
    const at = await network(3)
    const object = objectOf(1000, 5)
    const entry = await submit(at, object)
    await uploadOfficially(at.gateway, object, entry)
    await untilFinal(at.gateway, entry)
    await at.gateway.kill()
    for (const node of at.nodes)
      at.world.faults.set(node.url, async () => Promise.reject(new TypeError('fetch failed')))
    const again = await at.world.gateway('gateway', { machine: at.gateway.machine })
    expect(await isFinal(again, entry)).toBe(true)
  })

  test('whose first segments came before the entry was on chain', async () => {
    const at = await network(3)
    const object = objectOf(700_000, 6)
    const early = [0, 1, 2].map((index) => officialSegment(object, index))
    expect((await at.gateway.rpc('zgs_uploadSegments', [early])).result).toBe(0)
    const entry = await submit(at, object)
    await untilFinal(at.gateway, entry)
    expect(await holders(at.nodes, entry)).toEqual([0, 1, 2])
  })

  test('may repeat segments at any time: a success before the entry is final, the known words after', async () => {
    const at = await network(3)
    const object = objectOf(600_000, 7)
    const entry = await submit(at, object)
    for (let i = 0; i < 3; i++)
      expect((await at.gateway.rpc('zgs_uploadSegmentsByTxSeq', [[officialSegment(object, 0)], 0])).result).toBe(0)
    await uploadOfficially(at.gateway, object, entry)
    await untilFinal(at.gateway, entry)
    const repeated = await at.gateway.rpc('zgs_uploadSegmentsByTxSeq', [[officialSegment(object, 0)], 0])
    expect(repeated.error).toEqual({
      code: -32602,
      message: 'Invalid params: root',
      data: 'already uploaded and finalized',
    })
  })

  test('of content that is there already become final without an upload, each entry with its own size', async () => {
    const at = await network(3)
    const [short, long] = [objectOf(257, -1), objectOf(512, -1)]
    const first = await submit(at, short)
    await uploadOfficially(at.gateway, short, first)
    await untilFinal(at.gateway, first)
    const second = await submit(at, long)
    await untilFinal(at.gateway, second)
    expect((await at.gateway.rpc('zgs_getFileInfoByTxSeq', [second.seq])).result).toMatchObject({
      finalized: true,
      tx: { size: 512 },
    })
    // By root the first finalised entry answers, with its own size (spec/storage.md 11.1).
    expect((await at.gateway.rpc('zgs_getFileInfo', [first.root, true])).result.tx).toMatchObject({
      seq: first.seq,
      size: 257,
    })
  })

  test('of content that is there already go to the next node when a home of it is gone', async () => {
    const at = await network(4)
    const object = objectOf(20 * SEGMENT_SIZE_BYTES, -1)
    const first = await submit(at, object)
    await uploadOfficially(at.gateway, object, first)
    await untilFinal(at.gateway, first)
    await until(() => at.gateway.store.usage().segmentCount === 0, 'the spool is free')
    const [gone] = await holders(at.nodes, first)
    at.world.faults.set(at.nodes[gone!]!.url, async () => Promise.reject(new TypeError('fetch failed')))
    const second = await submit(at, object)
    // Its client is told that all is well, and sends nothing.
    expect((await at.gateway.rpc('zgs_uploadSegments', [[officialSegment(object, 0)]])).error.data).toBe(
      'already uploaded and finalized',
    )
    await untilFinal(at.gateway, second)
    const left = at.nodes.filter((_, i) => i !== gone)
    expect(await holders(left, second)).toEqual([0, 1, 2])
  })

  test('wait for room in a full spool, and are refused when none comes', async () => {
    const at = await network(3, { spoolBytesMax: 3 * 300_000 })
    for (const node of at.nodes)
      at.world.faults.set(node.url, async () => Promise.reject(new TypeError('fetch failed')))
    const [first, second] = [objectOf(2 * SEGMENT_SIZE_BYTES, 8), objectOf(2 * SEGMENT_SIZE_BYTES, 9)]
    const a = await submit(at, first)
    const b = await submit(at, second)
    await uploadOfficially(at.gateway, first, a)
    const refused = await at.gateway.rpc('zgs_uploadSegmentsByTxSeq', [
      [officialSegment(second, 0), officialSegment(second, 1)],
      b.seq,
    ])
    expect(refused.error).toMatchObject({ code: -32000, message: expect.stringContaining('GATEWAY_FULL') })
    for (const node of at.nodes) at.world.faults.delete(node.url)
    await until(
      async () =>
        (
          await at.gateway.rpc('zgs_uploadSegmentsByTxSeq', [
            [officialSegment(second, 0), officialSegment(second, 1)],
            b.seq,
          ])
        ).result === 0,
    )
    await untilFinal(at.gateway, b)
  })

  test('that stop half way are kept for a day, in a full spool too, and then make room', async () => {
    const net = await network(3, { spoolBytesMax: 12 * 270_336 })
    const { world, gateway } = net
    const object = objectOf(12 * SEGMENT_SIZE_BYTES, 70)
    const entry = await submit(net, object)
    const send = async (index: number): Promise<unknown> =>
      (await gateway.rpc('zgs_uploadSegmentsByTxSeq', [[officialSegment(object, index)], entry.seq])).result
    for (let index = 0; index < 11; index++) expect(await send(index)).toBe(0)
    for (let hour = 0; hour < 23; hour++) {
      world.clock.jump(3_600_000)
      await gateway.rpc('zgs_getStatus')
    }
    expect(gateway.store.usage().usedBytes).toBeGreaterThan(0.9 * gateway.store.usage().capacityBytes)
    expect(gateway.store.usage().segmentCount).toBe(11)
    world.clock.jump(2 * 3_600_000)
    await until(() => gateway.store.usage().segmentCount === 0, 'the spool is empty')
    // A late segment is taken, and the status says what is there: not the eleven that were given up.
    expect(await send(0)).toBe(0)
    expect((await gateway.rpc('zgs_getFileInfoByTxSeq', [entry.seq])).result).toMatchObject({
      finalized: false,
      uploadedSegNum: 1,
    })
    for (let index = 1; index < 12; index++) expect(await send(index)).toBe(0)
    await untilFinal(gateway, entry)
  })

  test('that are whole are never given up, however long their holders are away', async () => {
    const net = await network(3)
    const { world, gateway, nodes } = net
    const object = objectOf(600_000, 71)
    const entry = await submit(net, object)
    await nodes[0]!.kill()
    await uploadOfficially(gateway, object, entry)
    for (let day = 0; day < 3; day++) {
      world.clock.jump(25 * 3_600_000)
      await gateway.rpc('zgs_getStatus')
    }
    expect(await isFinal(gateway, entry)).toBe(false)
    expect(gateway.store.presence(entry.root).heldCount).toBe(3)
    const again = await world.storage('node-0', { machine: nodes[0]!.machine })
    await again.caughtUp()
    world.clock.jump(60_000)
    await untilFinal(gateway, entry)
  })

  test('whose root never comes on chain are given up after five minutes, and may begin again', async () => {
    const net = await network(3)
    const { world, gateway } = net
    const object = objectOf(5000, 72)
    const send = async (): Promise<unknown> =>
      (await gateway.rpc('zgs_uploadSegments', [[officialSegment(object, 0)]])).result
    expect(await send()).toBe(0)
    expect(gateway.store.usage().segmentCount).toBe(1)
    world.clock.jump(400_000)
    await until(() => gateway.store.usage().segmentCount === 0, 'it is given up')
    expect(await send()).toBe(0)
    const entry = await submit(net, object)
    await untilFinal(gateway, entry)
  })

  test('that are large are passed on while they come in', async () => {
    // 32 segments are hashed four times on one thread: at full speed the deadline of a put is 600 ms of it.
    const at = await network(3, { msPerTurn: 5 })
    const object = objectOf(40 * SEGMENT_SIZE_BYTES, -1)
    const entry = await submit(at, object)
    for (let index = 0; index < 39; index++)
      await at.gateway.rpc('zgs_uploadSegmentsByTxSeq', [[officialSegment(object, index)], entry.seq])
    await until(
      () => at.nodes.every((node) => node.store.presence(entry.root).heldCount === 32),
      'the holders have two full batches',
    )
    expect(await isFinal(at.gateway, entry)).toBe(false)
    at.world.log.length = 0
    await at.gateway.rpc('zgs_uploadSegmentsByTxSeq', [[officialSegment(object, 39)], entry.seq])
    await untilFinal(at.gateway, entry)
    // The rest in one batch to each of three, and nothing again.
    expect(at.world.log.filter((line) => line.startsWith('PUT'))).toHaveLength(3)
  })

  test('with a wrong proof are refused and nothing is spooled', async () => {
    const at = await network(3)
    const object = objectOf(600_000, 10)
    const entry = await submit(at, object)
    const wrong = { ...officialSegment(object, 0), data: encodeBase64(object.segments[1]!.data) }
    const answer = await at.gateway.rpc('zgs_uploadSegmentsByTxSeq', [[wrong], entry.seq])
    expect(answer.error).toEqual({ code: -32602, message: 'Invalid params: proof', data: 'validation failed' })
    expect(at.gateway.store.usage().segmentCount).toBe(0)
  })
})

describe('uploads whose entry a reorganisation takes back', () => {
  test('are not final while it is gone, and are final again when it comes back, under whatever number', async () => {
    const at = await network(3)
    const block = at.world.chain.head
    const object = objectOf(600_000, 41)
    await submit(at, objectOf(1000, 42))
    const entry = await submit(at, object)
    await uploadOfficially(at.gateway, object, entry)
    await untilFinal(at.gateway, entry)
    at.world.chain.rewind(block)
    at.world.chain.advance(4)
    await at.gateway.caughtUp()
    expect(await isFinal(at.gateway, entry)).toBe(false)
    expect((await at.gateway.rpc('zgs_getFileInfo', [entry.root, true])).result).toBeNull()
    const back = await submit(at, object)
    expect(back.seq).toBe(0)
    await untilFinal(at.gateway, back)
    expect((await at.gateway.rpc('zgs_downloadSegmentByTxSeq', [0, 0, 4])).result).toBe(
      encodeBase64(object.segments[0]!.data.subarray(0, 1024)),
    )
  })

  test('go on from the spool when they were on their way', async () => {
    const at = await network(3)
    const block = at.world.chain.head
    const object = objectOf(600_000, 43)
    const entry = await submit(at, object)
    for (const node of at.nodes)
      at.world.faults.set(node.url, async () => Promise.reject(new TypeError('fetch failed')))
    await uploadOfficially(at.gateway, object, entry)
    at.world.chain.rewind(block)
    at.world.chain.advance(4)
    await at.gateway.caughtUp()
    for (const node of at.nodes) at.world.faults.delete(node.url)
    // Another upload has its number first.
    const other = objectOf(1000, 44)
    const first = await submit(at, other)
    await uploadOfficially(at.gateway, other, first)
    const back = await submit(at, object)
    expect([first.seq, back.seq]).toEqual([0, 1])
    await untilFinal(at.gateway, first)
    await untilFinal(at.gateway, back)
    expect(await holders(at.nodes, back)).toEqual([0, 1, 2])
  })
})

describe('entries that our own clients brought to the holders themselves', () => {
  test('become final at the gateway when somebody asks', async () => {
    const at = await network(3)
    const object = objectOf(1000, 11)
    const entry = await submit(at, object)
    for (const [slot, node] of at.nodes.entries()) await putBinary(node, entry, object.segments, slot)
    await until(async () => (await at.gateway.rpc('zgs_getFileInfo', [entry.root, true])).result.finalized === true)
    expect((await at.gateway.rpc('indexer_getFileLocations', [entry.root])).result).toHaveLength(1)
  })

  test('become final in the background when nobody asks', async () => {
    const at = await network(3)
    const object = objectOf(1000, 12)
    const entry = await submit(at, object)
    for (const [slot, node] of at.nodes.entries()) await putBinary(node, entry, object.segments, slot)
    await until(() => at.world.log.filter((line) => line.includes('/receipt')).length >= 3, 'the gateway has asked')
    const asked = at.world.log.length
    await untilFinal(at.gateway, entry)
    expect(at.world.log.length).toBeLessThan(asked + 10)
  })

  test('are asked for at their homes first, and elsewhere only while those are not enough', async () => {
    const at = await network(6)
    const object = objectOf(1000, 16)
    const entry = await submit(at, object)
    const { members } = at.gateway.follower.membership.current()
    const homes = copyHomes({ key: entry.root, count: 3 }, members).map(({ member }) => member.signer)
    const atHome = at.nodes.filter((node) => homes.includes(node.signer as Address))
    const elsewhere = at.nodes.filter((node) => !atHome.includes(node))
    const askedOf = (nodes: Network['nodes']): number =>
      at.world.log.filter((line) => line.includes('/receipt') && nodes.some((node) => line.includes(node.url))).length
    for (const [slot, node] of atHome.slice(0, 2).entries()) await putBinary(node, entry, object.segments, slot)
    await putBinary(elsewhere[0]!, entry, object.segments, 2)
    await untilFinal(at.gateway, entry)
    expect(askedOf(elsewhere)).toBeGreaterThan(0)

    const other = objectOf(1000, 17)
    const second = await submit(at, other)
    const secondHomes = copyHomes({ key: second.root, count: 3 }, members).map(({ member }) => member.signer)
    const [here, there] = [true, false].map((isHome) =>
      at.nodes.filter((node) => secondHomes.includes(node.signer as Address) === isHome),
    )
    for (const [slot, node] of here!.entries()) await putBinary(node, second, other.segments, slot)
    await untilFinal(at.gateway, second)
    // It may have asked everywhere before they had it; once they do, nobody else is asked.
    const lastAsked = (nodes: Network['nodes']): number =>
      at.world.log.findLastIndex((line) =>
        nodes.some((node) => line === `GET ${node.url}/v1/entries/${second.root}/receipt`),
      )
    expect(lastAsked(here!)).toBeGreaterThan(lastAsked(there!))
  })

  test('are asked for at most once a second however often a client polls', async () => {
    const at = await network(3)
    const object = objectOf(1000, 13)
    const entry = await submit(at, object)
    at.world.log.length = 0
    const nowMs = at.world.clock.nowMs()
    await Promise.all(Array.from({ length: 50 }, () => at.gateway.rpc('zgs_getFileInfo', [entry.root, true])))
    const seconds = Math.ceil((at.world.clock.nowMs() - nowMs) / 900) + 1
    expect(at.world.log.filter((line) => line.includes('/receipt')).length).toBeLessThanOrEqual(3 * seconds)
  })

  test('with a receipt that is not for them, or of no member, do not become final', async () => {
    const at = await network(3)
    const object = objectOf(1000, 14)
    const other = objectOf(1000, 15)
    const entry = await submit(at, object)
    const strange = await submit(at, other)
    for (const [slot, node] of at.nodes.entries()) await putBinary(node, strange, other.segments, slot)
    const [node] = at.nodes
    const { receipt } = {
      receipt: await (await node!.fetch(`/v1/entries/${strange.root}/receipt?seq=${strange.seq}&slot=0`)).json(),
    }
    verifyReceipt(receipt)
    for (const liar of at.nodes) {
      at.world.faults.set(liar.url, async (request) =>
        request.url.includes(`/receipt?seq=${entry.seq}`) ? Response.json(receipt) : Response.json({}, { status: 404 }),
      )
    }
    expect((await at.gateway.rpc('zgs_getFileInfo', [entry.root, true])).result.finalized).toBe(false)
  })

  test('with receipts of shards do not become final: three sixths are no copy', async () => {
    const at = await network(3)
    const other = objectOf(1000, 16)
    const entry = await submit(at, objectOf(1000, 17))
    const stored = await submit(at, other)
    for (const [slot, node] of at.nodes.entries()) {
      await putBinary(node, stored, other.segments, slot)
      const path = `/v1/entries/${stored.root}/receipt?seq=${stored.seq}&slot=${slot}`
      const { signature: _, ...copy } = (await (await node.fetch(path)).json()) as Receipt
      const unsigned = { ...copy, dataRoot: entry.root, entrySeq: entry.seq, blockNumber: entry.blockNumber }
      const ofShards = signReceipt({ ...unsigned, fingerprintRoot: `0x${'5a'.repeat(32)}` }, keyOf(`node-${slot}`))
      const answer = await at.gateway.fetch(`/v1/entries/${entry.root}/receipts?seq=${entry.seq}`, {
        method: 'PUT',
        body: JSON.stringify([ofShards]),
      })
      expect(await answer.json()).toMatchObject({ error: { code: 'RECEIPT_REFUSED' } })
    }
    expect(await isFinal(at.gateway, entry)).toBe(false)
  })
})

describe('reads through the gateway', () => {
  async function stored(
    sizeBytes: number,
    seed: number,
    nodeCount = 3,
  ): Promise<Network & { readonly object: TestObject; readonly entry: Entry }> {
    const at = await network(nodeCount)
    const object = objectOf(sizeBytes, seed)
    const entry = await submit(at, object)
    for (const [slot, node] of at.nodes.slice(0, 3).entries()) {
      for (let from = 0; from < object.segments.length; from += 16)
        await putBinary(node, entry, object.segments.slice(from, from + 16), slot)
    }
    await untilFinal(at.gateway, entry)
    at.world.log.length = 0
    return { ...at, object, entry }
  }

  /** Another object in the same network. */
  async function storeToo(at: Network, object: TestObject): Promise<Entry> {
    const entry = await submit(at, object)
    await uploadOfficially(at.gateway, object, entry)
    await untilFinal(at.gateway, entry)
    return entry
  }

  function directoryOf(entries: readonly object[]): TestObject {
    const head = [keccak256(new TextEncoder().encode('0g-storage-client-dir-codec')), Uint8Array.of(0, 2)]
    const text = JSON.stringify({ name: '/', type: 'directory', entries })
    return objectOfBytes(concat([...head, new TextEncoder().encode(text)]))
  }

  test('segment by segment come in batches from the holders, and each is verified', async () => {
    const at = await stored(40 * SEGMENT_SIZE_BYTES, -1)
    for (let index = 0; index < 40; index++) {
      const { result } = await at.gateway.rpc('zgs_downloadSegmentByTxSeq', [
        at.entry.seq,
        index * 1024,
        (index + 1) * 1024,
      ])
      expect(result).toBe(encodeBase64(at.object.segments[index]!.data))
    }
    // Three batches of 16, not forty requests.
    expect(at.world.log.filter((line) => line.includes('/segments')).length).toBeLessThanOrEqual(4)
  })

  test('many readers of one batch cost one request', async () => {
    const at = await stored(10 * SEGMENT_SIZE_BYTES, 21)
    await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        at.gateway.rpc('zgs_downloadSegmentByTxSeq', [0, index * 1024, (index + 1) * 1024]),
      ),
    )
    expect(at.world.log.filter((line) => line.includes('/segments'))).toHaveLength(1)
  })

  test('go to the next holder when one is down or lies, and never give a wrong byte', async () => {
    const at = await stored(600_000, 22)
    at.world.faults.set(at.nodes[0]!.url, async () => Promise.reject(new TypeError('fetch failed')))
    at.world.faults.set(at.nodes[1]!.url, async (request) => {
      const response = await at.nodes[1]!.fetch(new URL(request.url).pathname + new URL(request.url).search)
      const body = new Uint8Array(await response.arrayBuffer())
      body[body.length - 10]! ^= 1
      return new Response(body)
    })
    for (let index = 0; index < 3; index++) {
      const { result } = await at.gateway.rpc('zgs_downloadSegmentByTxSeq', [
        0,
        index * 1024,
        Math.min(2344, (index + 1) * 1024),
      ])
      expect(result).toBe(encodeBase64(at.object.segments[index]!.data))
    }
  })

  test('of bytes that went bad at a holder come from the next one', async () => {
    const at = await network(3)
    const object = objectOf(600_000, 70)
    const entry = await submit(at, object)
    for (const [slot, node] of at.nodes.entries()) await putBinary(node, entry, object.segments, slot)
    await untilFinal(at.gateway, entry)
    for (const node of at.nodes.slice(0, 2)) node.machine.disk.flipBit('/data/slots-266240-000000.dat', 10_000)
    const response = await at.gateway.fetch(`/file?root=${entry.root}`)
    expect(response.status).toBe(200)
    expect(Buffer.from(await response.arrayBuffer()).equals(contentOf(object))).toBe(true)
  })

  test('do not wait for a holder that hangs', async () => {
    const at = await stored(600_000, 23)
    for (const node of at.nodes.slice(0, 2)) at.world.faults.set(node.url, () => new Promise(() => undefined))
    expect((await at.gateway.rpc('zgs_downloadSegmentByTxSeq', [0, 0, 1024])).result).toBe(
      encodeBase64(at.object.segments[0]!.data),
    )
  })

  test('with all holders away end in an error with a next step', async () => {
    const at = await stored(600_000, 24)
    for (const node of at.nodes)
      at.world.faults.set(node.url, async () => Promise.reject(new TypeError('fetch failed')))
    const { error } = await at.gateway.rpc('zgs_downloadSegmentByTxSeq', [0, 0, 1024])
    expect(error).toMatchObject({ code: -32000, message: expect.stringContaining('HOLDERS_UNREACHABLE') })
    const rest = await at.gateway.fetch(`/file?root=${at.entry.root}`)
    expect(rest.status).toBe(503)
    expect(await rest.json()).toMatchObject({ code: 2, message: 'Internal server error' })
  })

  test('of a segment that nobody has yet are null', async () => {
    const at = await network(3)
    const object = objectOf(600_000, 25)
    const entry = await submit(at, object)
    expect(await at.gateway.rpc('zgs_downloadSegmentByTxSeq', [entry.seq, 0, 1024])).toEqual({
      jsonrpc: '2.0',
      result: null,
      id: 1,
    })
    await at.gateway.rpc('zgs_uploadSegmentsByTxSeq', [[officialSegment(object, 1)], entry.seq])
    expect((await at.gateway.rpc('zgs_downloadSegmentByTxSeq', [entry.seq, 1024, 2048])).result).toBe(
      encodeBase64(object.segments[1]!.data),
    )
  })

  test('with proof give what an official client can check', async () => {
    const at = await stored(600_000, 26)
    expect((await at.gateway.rpc('zgs_downloadSegmentWithProofByTxSeq', [0, 2])).result).toEqual(
      officialSegment(at.object, 2),
    )
  })

  test('find bytes that only a node outside the homes holds', async () => {
    const at = await network(6)
    const object = objectOf(1000, 27)
    const entry = await submit(at, object)
    const homes = new Set<string>()
    for (const node of at.nodes) {
      const answer = await node.rpc('zgs_uploadSegmentsByTxSeq', [[officialSegment(object, 0)], entry.seq])
      if (answer.result === 0) homes.add(node.url)
      await node.store.remove(entry.root)
    }
    const outsider = at.nodes.find((node) => !homes.has(node.url))!
    await putBinary(outsider, entry, object.segments)
    expect((await at.gateway.rpc('zgs_downloadSegmentByTxSeq', [entry.seq, 0, 4])).result).toBe(
      encodeBase64(object.segments[0]!.data),
    )
  })

  describe('over REST', () => {
    test('whole files, ranges, heads and tags', async () => {
      const at = await stored(20 * SEGMENT_SIZE_BYTES + 77, -1)
      const content = contentOf(at.object)
      const whole = await at.gateway.fetch(`/file?root=${at.entry.root}`)
      expect(whole.status).toBe(200)
      expect(Object.fromEntries(whole.headers)).toMatchObject({
        'content-length': String(content.length),
        'content-type': 'application/octet-stream',
        'content-disposition': `attachment; filename="${at.entry.root}"; filename*=UTF-8''${at.entry.root}`,
        'accept-ranges': 'bytes',
        'x-content-type-options': 'nosniff',
        'access-control-allow-origin': '*',
        etag: `"${at.entry.root}-${content.length}"`,
      })
      expect(Buffer.from(await whole.arrayBuffer()).equals(content)).toBe(true)
      const same = await at.gateway.fetch(`/file/${at.entry.root}`)
      expect(Buffer.from(await same.arrayBuffer()).equals(content)).toBe(true)
      const bySeq = await at.gateway.fetch('/file?txSeq=0', { method: 'HEAD' })
      expect([bySeq.status, bySeq.headers.get('content-length'), (await bySeq.arrayBuffer()).byteLength]).toEqual([
        200,
        String(content.length),
        0,
      ])
      const known = await at.gateway.fetch('/file?txSeq=0', {
        headers: { 'if-none-match': whole.headers.get('etag')! },
      })
      expect([known.status, (await known.arrayBuffer()).byteLength]).toEqual([304, 0])
    })

    test.each([
      ['bytes=0-0', 0, 0],
      ['bytes=262143-262144', 262_143, 262_144],
      ['bytes=5-', 5, undefined],
      ['bytes=-7', -7, undefined],
      ['bytes=100-99999999', 100, undefined],
      ['bytes=-99999999', 0, undefined],
    ] as const)('the range %s', async (range, from, last) => {
      const at = await stored(2 * SEGMENT_SIZE_BYTES + 100, 29)
      const content = contentOf(at.object)
      const [start, end] = [from < 0 ? content.length + from : from, last ?? content.length - 1]
      const response = await at.gateway.fetch('/file?txSeq=0', { headers: { range } })
      expect(response.status).toBe(206)
      expect(response.headers.get('content-range')).toBe(`bytes ${start}-${end}/${content.length}`)
      expect(response.headers.get('content-length')).toBe(String(end - start + 1))
      expect(Buffer.from(await response.arrayBuffer()).equals(content.subarray(start, end + 1))).toBe(true)
    })

    test('a range behind the end is a 416, one that makes no sense is ignored, an old tag gives the whole file', async () => {
      const at = await stored(1000, 30)
      const behind = await at.gateway.fetch('/file?txSeq=0', { headers: { range: 'bytes=1000-' } })
      expect([behind.status, behind.headers.get('content-range')]).toEqual([416, 'bytes */1000'])
      for (const range of ['bytes=5-2', 'bytes=a-b', 'bytes=0-1,5-6', 'chunks=1-2', 'bytes=-']) {
        expect((await at.gateway.fetch('/file?txSeq=0', { headers: { range } })).status).toBe(200)
      }
      expect(
        (await at.gateway.fetch('/file?txSeq=0', { headers: { range: 'bytes=0-1', 'if-range': '"old"' } })).status,
      ).toBe(200)
      const tag = `"${at.entry.root}-1000"`
      expect(
        (await at.gateway.fetch('/file?txSeq=0', { headers: { range: 'bytes=0-1', 'if-range': tag } })).status,
      ).toBe(206)
    })

    test('content types by option and by name; nothing that a browser would run is shown', async () => {
      const at = await stored(100, 31)
      const headers = async (query: string): Promise<[string | null, string | null]> => {
        const response = await at.gateway.fetch(`/file?txSeq=0&${query}`)
        await response.arrayBuffer()
        return [response.headers.get('content-type'), response.headers.get('content-disposition')]
      }
      expect(await headers('name=a.png')).toEqual(['image/png', `inline; filename="a.png"; filename*=UTF-8''a.png`])
      expect(await headers('name=a.html')).toEqual([
        'application/octet-stream',
        `attachment; filename="a.html"; filename*=UTF-8''a.html`,
      ])
      expect((await headers('type=text/html'))[0]).toBe('text/html')
      expect((await headers('type=text/html'))[1]).toMatch(/^attachment/)
      expect((await headers('type=image/svg%2Bxml'))[1]).toMatch(/^attachment/)
      expect((await headers('type=video/mp4&name=x'))[0]).toBe('video/mp4')
      expect((await headers('type=x%0d%0ay:z'))[0]).toBe('application/octet-stream')
      expect((await headers(`name=${encodeURIComponent('ü"\r\n;.txt')}`))[1]).toBe(
        `inline; filename="_____.txt"; filename*=UTF-8''%C3%BC%22%0D%0A%3B.txt`,
      )
    })

    test('a directory that an official client stored: lists, links, files by their path, over fragments and with ranges', async () => {
      const at = await stored(1000, 35)
      const fragments = [objectOf(SEGMENT_SIZE_BYTES, 36), objectOf(300_001, 37), objectOf(50, 38)]
      for (const fragment of fragments) await storeToo(at, fragment)
      const file = (name: string, roots: readonly string[], size: number): object => ({
        name,
        type: 'file',
        roots,
        size,
      })
      const large = file(
        'large ü.png',
        fragments.map(({ tree }) => tree.root),
        SEGMENT_SIZE_BYTES + 300_051,
      )
      const directory = await storeToo(
        at,
        directoryOf([
          file('a', [at.entry.root], 1000),
          { name: 'empty', type: 'file' },
          file('gone', [`0x${'ab'.repeat(32)}`], 1),
          { name: 'link', type: 'symbolic', link: 'a' },
          { name: 'sub', type: 'directory', entries: [large] },
        ]),
      )
      const read = (path: string, headers: Record<string, string> = {}): Promise<Response> =>
        at.gateway.fetch(`/file/${directory.root}/${path}`, { headers })
      const shown = async (path: string): Promise<unknown> => {
        const { code, data } = (await (await read(path)).json()) as { code: number; data: unknown }
        return code === 0 ? data : code
      }
      expect(await shown('')).toEqual([
        { name: 'a', type: 'file', size: 1000 },
        { name: 'empty', type: 'file' },
        { name: 'gone', type: 'file', size: 1 },
        { name: 'link', type: 'symbolic' },
        { name: 'sub', type: 'directory' },
      ])
      expect(await shown('sub/')).toEqual([{ name: 'large ü.png', type: 'file', size: SEGMENT_SIZE_BYTES + 300_051 }])
      expect(await shown('link')).toEqual({ name: 'link', type: 'symbolic', link: 'a' })
      expect([await shown('b'), await shown('a/b'), await shown('link/x'), await shown('gone')]).toEqual([
        104, 104, 104, 101,
      ])
      const small = await read('a')
      expect(small.headers.get('content-disposition')).toContain('filename="a"')
      expect(Buffer.from(await small.arrayBuffer()).equals(contentOf(at.object))).toBe(true)
      const nothing = await read('empty')
      expect([nothing.status, nothing.headers.get('content-length'), (await nothing.arrayBuffer()).byteLength]).toEqual(
        [200, '0', 0],
      )
      const whole = await read('sub/large%20%C3%BC.png')
      const content = Buffer.concat(fragments.map(contentOf))
      expect([whole.status, whole.headers.get('content-type')]).toEqual([200, 'image/png'])
      expect(Buffer.from(await whole.arrayBuffer()).equals(content)).toBe(true)
      for (const [first, last] of [
        [SEGMENT_SIZE_BYTES - 1, SEGMENT_SIZE_BYTES],
        [SEGMENT_SIZE_BYTES + 300_000, SEGMENT_SIZE_BYTES + 300_001],
        [content.length - 50, content.length - 1],
        [5, content.length - 5],
      ] as const) {
        const part = await read('sub/large%20%C3%BC.png', { range: `bytes=${first}-${last}` })
        expect([part.status, part.headers.get('content-range')]).toEqual([
          206,
          `bytes ${first}-${last}/${content.length}`,
        ])
        expect(Buffer.from(await part.arrayBuffer()).equals(content.subarray(first, last + 1))).toBe(true)
      }
      const known = await read('sub/large%20%C3%BC.png', { 'if-none-match': whole.headers.get('etag')! })
      expect(known.status).toBe(304)
    })

    test('a path in what is no directory is a 404, an unreadable one a 400', async () => {
      const at = await stored(1000, 39)
      const code = async (path: string): Promise<unknown> =>
        ((await (await at.gateway.fetch(path)).json()) as { code: number }).code
      expect(await code(`/file/${at.entry.root}/`)).toBe(104)
      expect(await code(`/file/${at.entry.root}/a`)).toBe(104)
      expect(await code(`/file/${at.entry.root}/%ff`)).toBe(1)
      const large = await storeToo(at, objectOf(4 * 1024 ** 2 + 1, -1))
      expect(await code(`/file/${large.root}/a`)).toBe(104)
    })

    test.each([
      ['/file?root=0x12', 400, 1],
      ['/file', 400, 1],
      ['/file?txSeq=99', 404, 101],
      [`/file?root=0x${'ab'.repeat(32)}`, 404, 101],
      [`/file/info/0x${'ab'.repeat(32)}`, 404, 101],
      ['/file/info/xyz', 400, 1],
      ['/files/info', 400, 1],
      [`/files/info?${Array.from({ length: 101 }, (_, i) => `cid=${i}`).join('&')}`, 400, 1],
      [`/file/0x${'ab'.repeat(32)}/a/b`, 404, 101],
      ['/file/xyz/a', 400, 1],
    ])('%s is refused with status %i and code %i', async (path, status, code) => {
      const { gateway } = await network(1)
      const response = await gateway.fetch(path)
      expect(response.status).toBe(status)
      expect(await response.json()).toEqual({ code, message: expect.any(String), data: expect.any(String) })
    })

    test('a file that is not final yet is a 409', async () => {
      const at = await network(3)
      const entry = await submit(at, objectOf(1000, 32))
      const response = await at.gateway.fetch(`/file?root=${entry.root}`)
      expect([response.status, await response.json()]).toEqual([
        409,
        { code: 103, message: 'File not finalized yet', data: entry.root },
      ])
    })

    test('infos of one file and of many', async () => {
      const at = await stored(1000, 33)
      const info = {
        code: 0,
        message: 'Success',
        data: (await at.gateway.rpc('zgs_getFileInfo', [at.entry.root, true])).result,
      }
      expect(await (await at.gateway.fetch(`/file/info/${at.entry.root}`)).json()).toEqual(info)
      expect(await (await at.gateway.fetch('/file/info/0')).json()).toEqual(info)
      expect(await (await at.gateway.fetch(`/files/info?cid=0&cid=7&cid=${at.entry.root}&cid=x`)).json()).toEqual({
        code: 0,
        message: 'Success',
        data: [info.data, null, info.data, expect.any(String)],
      })
      expect(await (await at.gateway.fetch('/node/status')).json()).toMatchObject({
        code: 0,
        data: { connectedPeers: 3, nextTxSeq: 1 },
      })
    })

    test('segments are taken one by one', async () => {
      const at = await network(3)
      const object = objectOf(600_000, 34)
      const entry = await submit(at, object)
      const post = (body: unknown): Promise<Response> =>
        at.gateway.fetch('/file/segment', {
          method: 'POST',
          body: typeof body === 'string' ? body : JSON.stringify(body),
        })
      for (const index of [0, 1, 2]) {
        const { fileSize, ...segment } = officialSegment(object, index)
        expect(fileSize).toBe(600_000)
        const response = await post(index === 1 ? { ...segment, txSeq: entry.seq } : segment)
        expect([response.status, await response.json()]).toEqual([200, { code: 0, message: 'Success', data: null }])
      }
      await untilFinal(at.gateway, entry)
      expect((await post(officialSegment(object, 0))).status).toBe(200)
      const wrong = objectOf(600_000, 35)
      expect(await (await post(officialSegment(wrong, 0))).json()).toMatchObject({ code: 101 })
      expect(await (await post('{')).json()).toMatchObject({ code: 1 })
    })

    test('a wrong segment is refused', async () => {
      const at = await network(3)
      const object = objectOf(600_000, 36)
      await submit(at, object)
      const response = await at.gateway.fetch('/file/segment', {
        method: 'POST',
        body: JSON.stringify({ ...officialSegment(object, 0), index: 1 }),
      })
      expect([response.status, await response.json()]).toEqual([
        400,
        { code: 1, message: 'Invalid parameter', data: 'Invalid params: proof: validation failed' },
      ])
    })
  })
})

describe('the indexer on the gateway', () => {
  test('names the gateway itself, with numShard 1, as often as what is uploaded there is worth copies', async () => {
    const self = {
      url: 'http://gateway.test',
      config: { shardId: 0, numShard: 1 },
      latency: expect.any(Number),
      since: expect.any(Number),
    }
    const erasure = {
      kind: 'erasure',
      code: { k: 4, m: 2 },
      dayBytesMax: 1,
      addressDayBytesMax: 1,
      gateways: [],
    } as const
    const worth: readonly [number, TestGatewayOptions, number][] = [
      [3, {}, 3],
      [2, {}, 2],
      [6, { policy: erasure }, 3],
      [6, { policy: { ...erasure, code: { k: 2, m: 4 } } }, 5],
      [3, { policy: { kind: 'none' } }, 1],
      [0, {}, 1],
    ]
    for (const [nodeCount, options, count] of worth) {
      const { gateway } = await network(nodeCount, options)
      const selected = async (...params: unknown[]): Promise<unknown> => {
        const { result, error } = await gateway.rpc('indexer_getSelectedNodes', params)
        return error ?? result.trusted.length
      }
      expect((await gateway.rpc('indexer_getShardedNodes')).result).toEqual({
        trusted: Array.from({ length: count }, () => self),
        discovered: [],
      })
      expect(await selected(1, 'min', false, [])).toBe(1)
      expect(await selected(count, 'random', true, ['http://gateway.test'])).toBe(count)
      const refusal = {
        code: -32000,
        message: expect.stringContaining('replication requirement'),
        data: expect.stringContaining(`at most ${count},`),
      }
      expect(await selected(count + 1, 'min', false, [])).toMatchObject(refusal)
      expect(await selected(1, '2', false, [])).toMatchObject(refusal)
      expect(await selected('one')).toMatchObject({ code: -32602 })
      expect((await gateway.rpc('indexer_getNodeLocations')).result).toEqual({})
      expect((await gateway.rpc('zgs_getShardConfig')).result).toEqual({ shardId: 0, numShard: 1 })
    }
  })

  test('a file that lies whole at the gateway is told and read before it is final; one that becomes final is waited for', async () => {
    const object = objectOf(300_000, 42)
    const alone = await network(0)
    const entry = await submit(alone, object)
    await uploadOfficially(alone.gateway, object, entry)
    expect(await isFinal(alone.gateway, entry)).toBe(false)
    expect((await alone.gateway.rpc('indexer_getFileLocations', [entry.root])).result).toMatchObject([
      { url: 'http://gateway.test' },
    ])
    expect((await alone.gateway.rpc('zgs_downloadSegmentByTxSeq', [entry.seq, 1024, 1172])).result).toBe(
      encodeBase64(object.segments[1]!.data),
    )

    const at = await network(3)
    const sooner = await submit(at, object)
    await uploadOfficially(at.gateway, object, sooner)
    expect((await at.gateway.rpc('indexer_getFileLocations', [sooner.root])).result).toHaveLength(1)
    expect(await isFinal(at.gateway, sooner)).toBe(true)
  })

  test('locations of a file that is unknown or not uploaded are an empty list and neither null nor an error', async () => {
    const at = await network(3)
    expect(await at.gateway.rpc('indexer_getFileLocations', [`0x${'ab'.repeat(32)}`])).toEqual({
      jsonrpc: '2.0',
      result: [],
      id: 1,
    })
    const entry = await submit(at, objectOf(1000, 41))
    expect((await at.gateway.rpc('indexer_getFileLocations', [entry.root])).result).toEqual([])
    expect((await at.gateway.rpc('indexer_getFileLocations', ['x'])).error.code).toBe(-32602)
  })

  test('health says when the chain has been followed, metrics answer', async () => {
    const { gateway } = await network(1)
    const health = await gateway.fetch('/health')
    expect([health.status, await health.json()]).toEqual([200, { ready: true }])
    expect((await gateway.fetch('/metrics')).headers.get('content-type')).toMatch(/^text\/plain/)
  })
})
