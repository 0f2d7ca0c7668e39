import { afterEach, describe, expect, test } from 'vitest'
import {
  assembleCertificate,
  copyHomes,
  verifyCertificate,
  membershipHash,
  type Certificate,
  type Entry,
  type Member,
  type Receipt,
} from '@weightless/core'
import { codedObjectOf } from '../../../../sim/compliance/codedObject.ts'
import { objectOf, type TestObject } from '../../../../sim/compliance/storageNode.ts'
import { homesOf as homesOfSlots, putSlots, segmentCount, slotSegments, submitCoded } from '../../test/codedUpload.ts'
import { CHAIN_ID, REGISTRY } from '../../test/testChain.ts'
import { until } from '../../test/testClock.ts'
import { createTestWorld, endWorlds, memberOf, putBinary, type TestRole, type TestWorld } from '../../test/testRoles.ts'
import type { SyncStatus } from './sync.ts'

type Node = Awaited<ReturnType<TestWorld['storage']>>

afterEach(endWorlds)

const MIB = 1024 ** 2

function membersOf(nodes: readonly Node[]): readonly Member[] {
  return nodes.map((node, i) => memberOf(i + 1, node))
}

/** The homes of an entry among these nodes, in slot order, and the others. */
function homesOf(entry: Pick<Entry, 'root'>, nodes: readonly Node[]): { homes: Node[]; others: Node[] } {
  const placed = copyHomes({ key: entry.root, count: 3 }, membersOf(nodes))
  const homes = placed.map(({ member }) => nodes.find((node) => node.signer === member.signer)!)
  return { homes, others: nodes.filter((node) => !homes.includes(node)) }
}

async function store(world: TestWorld, object: TestObject, nodes: readonly Node[]): Promise<Entry> {
  const [entry] = world.chain.submit(object.submission)
  for (const [slot, node] of homesOf(entry!, nodes).homes.entries()) {
    await node.caughtUp()
    for (let at = 0; at < object.segments.length; at += 16)
      expect((await putBinary(node, entry!, object.segments.slice(at, at + 16), slot)).status).toBe(200)
  }
  return entry!
}

async function syncOf(node: TestRole): Promise<SyncStatus> {
  return ((await (await node.fetch('/v1/status')).json()) as { sync: SyncStatus }).sync
}

async function isComplete(node: TestRole, entry: Entry): Promise<boolean> {
  const answer = await node.fetch(`/v1/entries/${entry.root}`)
  if (answer.status !== 200) return false
  const { entries } = (await answer.json()) as { entries: readonly { seq: number; complete: boolean }[] }
  return entries.find(({ seq }) => seq === entry.seq)?.complete === true
}

function nameOf(node: Node): string {
  return new URL(node.url).hostname.replace('.test', '')
}

describe('a home that lost everything', () => {
  test('is rebuilt from the other holders without being told, signs again, and the object outlives those others', async () => {
    const world = createTestWorld()
    const nodes = await world.members(6)
    const object = objectOf(5 * MIB + 1, 21)
    const entry = await store(world, object, nodes)
    const { homes } = homesOf(entry, nodes)
    const receiptOf = async (node: TestRole): Promise<unknown> =>
      (await node.fetch(`/v1/entries/${entry.root}/receipt?seq=0&slot=0`)).json()
    const before = await receiptOf(homes[0]!)
    await homes[0]!.kill()
    const empty = await world.storage(nameOf(homes[0]!))
    await until(() => isComplete(empty, entry), 'the entry is back')
    await until(async () => (await syncOf(empty)).state === 'complete', 'nothing is missing')
    expect(await syncOf(empty)).toMatchObject({
      missingEntryCount: 0,
      missingBytes: 0,
      fetchedEntryCount: 1,
      fetchedBytes: object.segments.reduce((sum, { data }) => sum + data.length, 0),
    })
    expect(await receiptOf(empty)).toEqual(before)
    await homes[1]!.kill()
    await homes[2]!.kill()
    for (let index = 0; index < object.segments.length; index++) {
      const segment = await empty.store.get(entry.root, index)
      expect(Buffer.from(segment!.data).equals(object.segments[index]!.data)).toBe(true)
    }
  })

  test('goes on after a restart in the middle with what is still missing', async () => {
    const world = createTestWorld()
    const nodes = await world.members(3)
    const object = objectOf(12 * MIB, 22)
    const entry = await store(world, object, nodes)
    await nodes[0]!.kill()
    const half = await world.storage('node-0')
    await until(() => half.store.presence(entry.root).heldCount >= 16, 'some of it is here')
    await half.kill()
    world.log.length = 0
    const again = await world.storage('node-0', { machine: half.machine })
    const kept = again.store.presence(entry.root).heldCount
    expect(kept).toBeGreaterThanOrEqual(16)
    await until(() => isComplete(again, entry))
    // What was kept is not asked for again: whole windows are sixteen segments a request.
    const asked = world.log.filter((line) => line.endsWith(`/v1/entries/${entry.root}/segments`)).length
    expect(asked).toBeLessThanOrEqual(Math.ceil((object.segments.length - kept) / 16) + 1)
    expect((await syncOf(again)).fetchedBytes).toBe((object.segments.length - kept) * 262_144)
  })

  test('finds every entry of the log that belongs to it and none that does not', async () => {
    const world = createTestWorld()
    const nodes = await world.members(6)
    const stored: Entry[] = []
    for (let i = 0; i < 20; i++) stored.push(await store(world, objectOf(1000 + i, 30 + i), nodes))
    const own = stored.filter((entry) => homesOf(entry, nodes).homes.includes(nodes[2]!))
    expect(own.length).toBeGreaterThan(3)
    await nodes[2]!.kill()
    const empty = await world.storage('node-2')
    await until(async () => (await syncOf(empty)).fetchedEntryCount === own.length, 'all that belongs here is here')
    await until(async () => (await syncOf(empty)).state === 'complete')
    expect([...empty.store.roots()].sort()).toEqual(own.map(({ root }) => root).sort())
  })
})

describe('a home that missed an upload', () => {
  test('fetches it when it returns, from whoever stood in', async () => {
    const world = createTestWorld()
    const nodes = await world.members(4)
    const object = objectOf(600_000, 23)
    const root = object.tree.root
    const { homes, others } = homesOf({ root }, nodes)
    await homes[0]!.kill()
    const [entry] = world.chain.submit(object.submission)
    for (const [slot, node] of [others[0]!, homes[1]!, homes[2]!].entries())
      await putBinary(node, entry!, object.segments, slot)
    const back = await world.storage(nameOf(homes[0]!), { machine: homes[0]!.machine })
    await until(() => isComplete(back, entry!))
  })

  test('leaves a new entry to its writer and asks nobody about it for a while', async () => {
    const world = createTestWorld()
    const nodes = await world.members(3)
    await until(async () => (await syncOf(nodes[0]!)).state === 'complete')
    const object = objectOf(1000, 24)
    const [entry] = world.chain.submit(object.submission)
    await nodes[0]!.caughtUp()
    world.log.length = 0
    expect((await syncOf(nodes[0]!)).missingEntryCount).toBe(0)
    for (const node of nodes) await putBinary(node, entry!, object.segments)
    world.clock.jump(60_000)
    await until(async () => (await syncOf(nodes[0]!)).state === 'complete')
    expect(world.log.filter((line) => line.includes(entry!.root))).toEqual([])
  })
})

describe('sources that do not help', () => {
  test('wrong bytes are refused, their sender is asked no more, and another one serves', async () => {
    const world = createTestWorld()
    const nodes = await world.members(3)
    // Four requests, by turns of the sources.
    const object = objectOf(13 * MIB, 25)
    const entry = await store(world, object, nodes)
    await nodes[0]!.kill()
    let lies = 0
    world.faults.set(nodes[1]!.url, (request) => {
      if (!request.url.includes('/segments')) return undefined
      lies += 1
      return nodes[1]!.fetch(request.url.slice(nodes[1]!.url.length)).then(async (response) => {
        const body = new Uint8Array(await response.arrayBuffer())
        body[body.length - 1]! ^= 1
        return new Response(body)
      })
    })
    const empty = await world.storage('node-0')
    await until(() => isComplete(empty, entry))
    expect(lies).toBe(1)
    for (let index = 0; index < object.segments.length; index++) {
      const segment = await empty.store.get(entry.root, index)
      expect(Buffer.from(segment!.data).equals(object.segments[index]!.data)).toBe(true)
    }
  })

  test('an entry that nobody ever uploaded is reported as not to be had, and fetched once somebody has it', async () => {
    const world = createTestWorld()
    const nodes = await world.members(3)
    const object = objectOf(600_000, 26)
    const [entry] = world.chain.submit(object.submission)
    await nodes[0]!.kill()
    const empty = await world.storage('node-0')
    await until(async () => (await syncOf(empty)).unavailableEntryCount === 1)
    expect(await syncOf(empty)).toMatchObject({ state: 'waiting', missingEntryCount: 1, missingBytes: 600_000 })
    await putBinary(nodes[1]!, entry!, object.segments)
    world.clock.jump(3_600_000)
    await until(() => isComplete(empty, entry!))
  })

  test('an object of which one slot of parity is left, that nobody has proven, comes to full strength again', async () => {
    const world = createTestWorld()
    const nodes = await world.members(3)
    const upload = await submitCoded(world, codedObjectOf(3 * 262_144 + 5, 41, { k: 1, m: 2 }), nodes)
    // What the loss of two holders, and of the index of the third with its certificate, leaves of 1+2.
    await putSlots(upload, nodes[0]!, [2])
    world.clock.jump(3_600_000)
    for (const [slot, node] of homesOfSlots(upload.object, nodes))
      await until(() => segmentCount(upload, node) >= slotSegments(upload, slot), `slot ${slot} is at its home`)
  })

  test('two nodes with a half each are enough', async () => {
    const world = createTestWorld()
    const nodes = await world.members(3)
    const object = objectOf(20 * 262_144, 27)
    const [entry] = world.chain.submit(object.submission)
    await nodes[0]!.kill()
    const even = object.segments.filter(({ index }) => index % 2 === 0)
    const odd = object.segments.filter(({ index }) => index % 2 === 1)
    await putBinary(nodes[1]!, entry!, even)
    await putBinary(nodes[2]!, entry!, odd)
    const empty = await world.storage('node-0')
    await until(() => isComplete(empty, entry!))
  })

  test('an unreachable network is waited for', async () => {
    const world = createTestWorld()
    const nodes = await world.members(3)
    const object = objectOf(300_000, 28)
    const entry = await store(world, object, nodes)
    await nodes[0]!.kill()
    const away = async (): Promise<Response> => {
      throw new TypeError('fetch failed')
    }
    for (const node of nodes.slice(1)) world.faults.set(node.url, away)
    const empty = await world.storage('node-0')
    await until(async () => (await syncOf(empty)).unavailableEntryCount === 1)
    world.faults.clear()
    world.clock.jump(3_600_000)
    await until(() => isComplete(empty, entry))
  })
})

describe('a membership that changes', () => {
  test('a new node fetches what placement gives it, and tells the gateway', async () => {
    const world = createTestWorld()
    const nodes = await world.members(3)
    const gateway = await world.gateway('gateway')
    const stored: Entry[] = []
    for (let i = 0; i < 8; i++) stored.push(await store(world, objectOf(2000 + i, 60 + i), nodes))
    const [late] = await world.members(1)
    const all = [...nodes, late!]
    const own = stored.filter((entry) => homesOf(entry, all).homes.includes(late!))
    expect(own.length).toBeGreaterThan(0)
    for (const entry of own) await until(() => isComplete(late!, entry))
    await gateway.caughtUp()
    const told = (): number =>
      world.log.filter((line) => line.startsWith('PUT http://gateway.test/v1/entries/') && line.endsWith('/receipts'))
        .length
    await until(() => told() >= own.length, 'the gateway is told')
    // Every other holder may go: the gateway asks the new one.
    for (const node of nodes) await node.kill()
    for (const entry of own) {
      const { result } = await gateway.rpc('zgs_downloadSegmentByTxSeq', [entry.seq, 0, 1])
      expect(Buffer.from(result as string, 'base64')).toHaveLength(256)
    }
  })
})

describe('bytes that go bad', () => {
  test('are fetched again from another holder once somebody has read them', async () => {
    const world = createTestWorld()
    const nodes = await world.members(3)
    const object = objectOf(1000, 29)
    const entry = await store(world, object, nodes)
    await until(async () => (await syncOf(nodes[0]!)).state === 'complete')
    // As a scrub or a repair would: the store no longer holds the segment.
    await nodes[0]!.store.remove(entry.root)
    nodes[0]!.lost(entry.root)
    // Whoever asks before the mark is gone must not bring it back.
    await isComplete(nodes[0]!, entry)
    await until(() => nodes[0]!.store.presence(entry.root).heldCount === 1)
    await until(() => isComplete(nodes[0]!, entry))
  })

  test('on the disk are found by a read, fetched from another holder and rewritten', async () => {
    const world = createTestWorld()
    const nodes = await world.members(3)
    const object = objectOf(1000, 35)
    const entry = await store(world, object, nodes)
    await until(async () => (await syncOf(nodes[0]!)).state === 'complete')
    nodes[0]!.machine.disk.flipBit('/data/slots-4096-000000.dat', 300)
    const path = `/v1/entries/${entry.root}/segments?from=0&count=1`
    expect((await nodes[0]!.fetch(path)).status).toBe(404)
    await until(() => nodes[0]!.store.usage().damagedCount === 0 && nodes[0]!.store.presence(entry.root).has(0))
    const again = await nodes[0]!.fetch(path)
    expect(again.status).toBe(200)
    expect(Buffer.from(await again.arrayBuffer()).includes(Buffer.from(object.segments[0]!.data))).toBe(true)
    await until(() => isComplete(nodes[0]!, entry))
  })

  test('of a store that was deleted beside its index are noticed at the start', async () => {
    const world = createTestWorld()
    const nodes = await world.members(3)
    const object = objectOf(1000, 31)
    const entry = await store(world, object, nodes)
    await nodes[0]!.store.remove(entry.root)
    await nodes[0]!.kill()
    const again = await world.storage('node-0', { machine: nodes[0]!.machine })
    await until(() => again.store.presence(entry.root).heldCount === 1)
    await until(() => isComplete(again, entry))
  })
})

describe('an index that cannot be read', () => {
  test('is a turn that failed: the next one waits for its time', async () => {
    const world = createTestWorld()
    const nodes = await world.members(3)
    await store(world, objectOf(1000, 83), nodes)
    for (const node of nodes) await node.kill()
    const empty = await world.storage('node-0')
    await until(async () => (await syncOf(empty)).unavailableEntryCount === 1, 'it is looked for')
    const { get } = empty.index
    let readCount = 0
    Object.assign(empty.index, {
      get(key: Uint8Array) {
        readCount += 1
        // A turn that follows at once would leave no time for anything else.
        if (readCount > 1_000) return get(key)
        throw new Error('EIO')
      },
    })
    world.clock.jump(4_000)
    await until(() => readCount > 0, 'it is tried again')
    const nowMs = world.clock.nowMs()
    await until(() => world.clock.nowMs() - nowMs > 2_000)
    expect(readCount).toBeLessThan(10)
  })
})

describe('an entry that a reorganisation took away', () => {
  test('is looked for no more, and the one that got its number is fetched instead', async () => {
    const world = createTestWorld()
    const nodes = await world.members(3)
    await nodes[0]!.kill()
    const block = world.chain.head
    const [gone, other] = [objectOf(1000, 81), objectOf(2000, 82)]
    world.chain.submit(gone.submission)
    const empty = await world.storage('node-0')
    await until(async () => (await syncOf(empty)).unavailableEntryCount === 1, 'it is looked for')
    world.chain.rewind(block)
    const [entry] = world.chain.submit(other.submission)
    world.chain.advance(1)
    expect(entry!.seq).toBe(0)
    await empty.caughtUp()
    for (const node of nodes.slice(1)) expect((await putBinary(node, entry!, other.segments)).status).toBe(200)
    world.clock.jump(60_000)
    await until(() => isComplete(empty, entry!))
    expect([...empty.store.roots()]).toEqual([other.tree.root])
    await until(async () => (await syncOf(empty)).state === 'complete')
  })
})

describe('an object of one segment under a code', () => {
  const code = { k: 10, m: 4 }

  async function certificateAt(node: TestRole, entry: Entry): Promise<Certificate | undefined> {
    const answer = await node.fetch(`/v1/entries/${entry.root}/certificate?seq=${entry.seq}`)
    return answer.status === 200 ? ((await answer.json()) as Certificate) : undefined
  }

  test('has 1 + m copies again after m of them were lost for good, and certificates that say so', async () => {
    const world = createTestWorld()
    const nodes = [...(await world.members(7))]
    const object = objectOf(1_000, 40)
    const [entry] = world.chain.submit(object.submission)
    const placed = copyHomes({ key: entry!.root, count: 5 }, membersOf(nodes))
    const homes = placed.map(({ member }) => nodes.find((node) => node.signer === member.signer)!)
    const receipts: { receipt: Receipt }[] = []
    for (const [slot, node] of homes.entries()) {
      await node.caughtUp()
      const answer = await putBinary(node, entry!, object.segments, slot)
      receipts.push((await answer.json()) as { receipt: Receipt })
    }
    const membership = homes[0]!.follower.membership.current()
    const about = { chainId: CHAIN_ID, registry: REGISTRY, code, dataRoot: entry!.root, sizeBytes: 1_000 }
    const certificate = assembleCertificate({ ...about, entrySeq: entry!.seq, parity: null }, receipts, [membership])
    const body = JSON.stringify(certificate)
    const headers = { 'content-length': String(body.length) }
    // One holder alone is told, and it is the one that is left.
    const path = `/v1/entries/${entry!.root}/certificate?seq=${entry!.seq}`
    expect((await homes[2]!.fetch(path, { method: 'PUT', body, headers })).status).toBe(200)
    for (const node of homes.filter((_, slot) => slot !== 2)) {
      await node.kill()
      world.chain.change({ id: nodes.indexOf(node) + 1, member: undefined })
    }
    const added = await world.members(4)
    const now = [homes[2]!, ...nodes.filter((node) => !homes.includes(node)), ...added]
    await homes[2]!.caughtUp()
    const { members } = homes[2]!.follower.membership.current()
    const due = copyHomes({ key: entry!.root, count: 5 }, members).map(({ member }) => member.signer)
    for (const node of now.filter(({ signer }) => due.includes(signer))) {
      await until(() => isComplete(node, entry!), 'the copy is there')
      await until(async () => {
        const kept = await certificateAt(node, entry!)
        return due.every((signer) => kept?.receipts.some((receipt) => receipt.signer === signer))
      }, 'its certificate names all homes')
      const hashOf = (version: number): Uint8Array => membershipHash(node.follower.membership.at(version)!.members)
      const facts = verifyCertificate((await certificateAt(node, entry!))!, {
        chainId: CHAIN_ID,
        registry: REGISTRY,
        membershipHashOf: hashOf,
      })
      expect(facts).toMatchObject({ isDurable: true })
      expect(facts.lossesSurvived).toBeGreaterThanOrEqual(4)
    }
  })
})
