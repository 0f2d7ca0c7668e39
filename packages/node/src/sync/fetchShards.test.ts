import { afterEach, describe, expect, test } from 'vitest'
import {
  bitmapOf,
  membershipHash,
  placeHomes,
  protectedHomes,
  verifyCertificate,
  type Certificate,
  type ErasureCode,
  type Member,
  type Receipt,
} from '@weightless/core'
import { codedObjectOf, type CodedObject } from '../../../../sim/compliance/codedObject.ts'
import {
  certificateOf,
  certificatePath,
  putCertificate,
  putSlots,
  receiptsOf,
  shardsPath,
  submitCoded,
  type CodedUpload,
  type Holder,
} from '../../test/codedUpload.ts'
import { until } from '../../test/testClock.ts'
import { createTestWorld, endWorlds, memberOf, putBinary, type TestRole, type TestWorld } from '../../test/testRoles.ts'
import { SYNC_SETTLE_MS } from './planSync.ts'
import type { SyncStatus } from './sync.ts'

afterEach(endWorlds)

const SEGMENT = 262_144
const SIZE_BYTES = 9 * SEGMENT + 1_000
const code: ErasureCode = { k: 4, m: 2 }

function membersOf(nodes: readonly Holder[]): readonly Member[] {
  return nodes.map((node, i) => memberOf(i + 1, node))
}

/** The nodes in the order of their slots; `undefined` where a slot has no home. */
function homesOf(object: CodedObject, nodes: readonly Holder[]): Map<number, Holder> {
  const { root, layout } = object.data.tree
  const placed = protectedHomes(
    { dataRoot: root, sizeBytes: layout.sizeBytes, code: object.layout.code },
    membersOf(nodes),
  )
  return new Map(placed.map(({ slot, member }) => [slot, nodes.find((node) => node.signer === member.signer)!]))
}

function nameOf(node: Holder): string {
  return new URL(node.url).hostname.replace('.test', '')
}

async function syncOf(node: TestRole): Promise<SyncStatus> {
  return ((await (await node.fetch('/v1/status')).json()) as { sync: SyncStatus }).sync
}

/** Slots of which a node says that it holds every shard. */
async function slotsAt(upload: CodedUpload, node: TestRole): Promise<string | undefined> {
  const answer = await node.fetch(`/v1/entries/${upload.data.root}`)
  if (answer.status !== 200) return undefined
  const { entries } = (await answer.json()) as {
    entries: readonly { seq: number; parities: readonly { seq: number; slots: string }[] }[]
  }
  const held = entries.find(({ seq }) => seq === upload.data.seq)
  return held?.parities.find(({ seq }) => seq === upload.parity.seq)?.slots
}

/** Shards at their homes, a certificate at every one of them: as a writer leaves an upload. */
async function uploaded(world: TestWorld, nodeCount: number, object: CodedObject) {
  const nodes = await world.members(nodeCount)
  const homes = homesOf(object, nodes)
  const upload = await submitCoded(world, object, nodes)
  for (const [slot, node] of homes) await putSlots(upload, node, [slot])
  const holders = [...homes.values()]
  const certificate = certificateOf(upload, await receiptsOf(upload, holders), nodes[0]!)
  for (const node of holders) expect((await putCertificate(upload, node, certificate)).status).toBe(200)
  return { nodes, homes, upload, certificate }
}

async function expectShards({ object, data, parity }: CodedUpload, node: Holder, slot: number): Promise<void> {
  const { of, segments } = object.shardsOf(slot)
  for (const { index, data: bytes } of segments) {
    const stored = await node.store.get(of === 'data' ? data.root : parity.root, index)
    expect(Buffer.from(stored!.data).equals(bytes)).toBe(true)
  }
}

describe('an object whose parity is proven', () => {
  test('is kept by shards: nobody copies the data or the parity whole', async () => {
    const world = createTestWorld()
    const object = codedObjectOf(SIZE_BYTES, 1, code)
    const { nodes, homes, upload } = await uploaded(world, 6, object)
    world.clock.jump(2 * SYNC_SETTLE_MS)
    for (const node of nodes) await until(async () => (await syncOf(node)).state === 'complete', 'nothing is missing')
    for (const [slot, node] of homes) {
      expect(await slotsAt(upload, node)).toBe(bitmapOf([slot]))
      expect(await syncOf(node)).toMatchObject({ fetchedBytes: 0, missingBytes: 0 })
    }
  })

  test('is not copied by a home that was not told: it asks another member for the certificate first', async () => {
    const world = createTestWorld()
    const object = codedObjectOf(SIZE_BYTES, 2, code)
    const nodes = await world.members(7)
    const homes = homesOf(object, nodes)
    const upload = await submitCoded(world, object, nodes)
    for (const [slot, node] of homes) await putSlots(upload, node, [slot])
    const certificate = certificateOf(upload, await receiptsOf(upload, [...homes.values()]), nodes[0]!)
    // One alone is told.
    expect((await putCertificate(upload, homes.get(5)!, certificate)).status).toBe(200)
    world.clock.jump(2 * SYNC_SETTLE_MS)
    const wholeHomes = placeHomes({ key: upload.data.root, slotCount: 3 }, membersOf(nodes)).map(
      ({ member }) => member.signer,
    )
    for (const node of nodes.filter(({ signer }) => wholeHomes.includes(signer)))
      await until(async () => (await node.fetch(certificatePath(upload))).status === 200, 'the certificate is here')
    for (const node of nodes) await until(async () => (await syncOf(node)).state === 'complete')
    for (const node of nodes) expect((await syncOf(node)).fetchedBytes).toBe(0)
  })
})

describe('an object whose parity is not proven', () => {
  test('is kept by copies at its three homes, and bogus parity changes nothing and is not copied', async () => {
    const world = createTestWorld()
    const bogus = codedObjectOf(SIZE_BYTES, 3, code, (parity) => parity.fill(7))
    const nodes = await world.members(6)
    const placed = placeHomes({ key: bogus.data.tree.root, slotCount: 3 }, membersOf(nodes))
    const homes = placed.map(({ member }) => nodes.find((node) => node.signer === member.signer)!)
    const upload = await submitCoded(world, bogus, nodes)
    for (const [slot, node] of homes.slice(0, 2).entries())
      await putBinary(node, upload.data, bogus.data.segments, slot)
    // Somebody has brought all of the bogus parity to a node.
    const other = nodes.find((node) => !homes.includes(node))!
    await putBinary(other, upload.parity, bogus.parity.segments)
    world.clock.jump(2 * SYNC_SETTLE_MS)
    await until(
      async () => homes[2]!.store.presence(upload.data.root).heldCount === bogus.data.segments.length,
      'the copy is made',
    )
    for (const node of nodes) await until(async () => (await syncOf(node)).state === 'complete')
    for (const node of nodes.filter((one) => one !== other))
      expect(node.store.presence(upload.parity.root).heldCount).toBe(0)
  })
})

describe('repair', () => {
  async function replaced(world: TestWorld, home: Holder): Promise<Holder> {
    await home.kill()
    return await world.storage(nameOf(home))
  }

  test('a home that lost everything asks for the certificate, computes its shards from the others, and signs', async () => {
    const world = createTestWorld()
    const object = codedObjectOf(SIZE_BYTES, 4, code)
    const { homes, upload } = await uploaded(world, 6, object)
    for (const slot of [1, 4]) {
      const before = await (await homes.get(slot)!.fetch(shardsPath(upload))).json()
      const empty = await replaced(world, homes.get(slot)!)
      await until(async () => (await slotsAt(upload, empty)) === bitmapOf([slot]), `slot ${slot} is back`)
      await expectShards(upload, empty, slot)
      expect(((await (await empty.fetch(shardsPath(upload))).json()) as { receipt: Receipt }).receipt).toEqual(
        (before as { receipt: Receipt }).receipt,
      )
      await until(async () => (await syncOf(empty)).state === 'complete')
    }
  })

  test('two homes are lost at once, both of parity: the tree of the parity is computed whole', async () => {
    const world = createTestWorld()
    const object = codedObjectOf(21 * SEGMENT, 5, code)
    const { homes, upload } = await uploaded(world, 6, object)
    await homes.get(4)!.kill()
    await homes.get(5)!.kill()
    const [a, b] = [await world.storage(nameOf(homes.get(4)!)), await world.storage(nameOf(homes.get(5)!))]
    await until(async () => (await slotsAt(upload, a)) === bitmapOf([4]), 'slot 4 is back')
    await until(async () => (await slotsAt(upload, b)) === bitmapOf([5]), 'slot 5 is back')
    await expectShards(upload, a, 4)
    await expectShards(upload, b, 5)
  })

  test('all holders of data are lost and parity is enough', async () => {
    const world = createTestWorld()
    const object = codedObjectOf(7 * SEGMENT + 5, 6, { k: 2, m: 3 })
    const { homes, upload } = await uploaded(world, 5, object)
    const lost = [0, 1].map((slot) => homes.get(slot)!)
    for (const node of lost) await node.kill()
    const back = [await world.storage(nameOf(lost[0]!)), await world.storage(nameOf(lost[1]!))]
    for (const [slot, node] of back.entries()) {
      await until(async () => (await slotsAt(upload, node)) === bitmapOf([slot]), `slot ${slot} is back`)
      await expectShards(upload, node, slot)
    }
  })

  test('a member that leaves is replaced by the next home, which reads what it can from the old one', async () => {
    const world = createTestWorld()
    const object = codedObjectOf(SIZE_BYTES, 7, code)
    const { nodes, homes, upload } = await uploaded(world, 7, object)
    const leaver = homes.get(2)!
    const id = nodes.indexOf(leaver) + 1
    await leaver.kill()
    world.chain.change({ id, member: undefined })
    const left = nodes.filter((node) => node !== leaver)
    const now = protectedHomes(
      { dataRoot: upload.data.root, sizeBytes: SIZE_BYTES, code },
      membersOf(nodes).filter((member) => member.id !== id),
    )
    for (const { slot, member } of now) {
      const node = left.find(({ signer }) => signer === member.signer)!
      await until(
        async () => ((await slotsAt(upload, node)) ?? '').length > 2 && slotIn(await slotsAt(upload, node), slot),
        `slot ${slot} has a home`,
      )
      await expectShards(upload, node, slot)
    }
  })

  test('after two members were replaced every home has a certificate that names the new ones and not the old ones', async () => {
    const world = createTestWorld()
    const object = codedObjectOf(SIZE_BYTES, 13, code)
    const { nodes, homes, upload, certificate } = await uploaded(world, 6, object)
    const gone = [homes.get(0)!, homes.get(5)!]
    for (const node of gone) {
      await node.kill()
      world.chain.change({ id: nodes.indexOf(node) + 1, member: undefined })
    }
    const added = await world.members(2)
    const now = [...nodes.filter((node) => !gone.includes(node)), ...added]
    const signersAt = async (node: TestRole): Promise<readonly string[]> => {
      const answer = await node.fetch(certificatePath(upload))
      if (answer.status !== 200) return []
      return ((await answer.json()) as { receipts: readonly Receipt[] }).receipts.map(({ signer }) => signer).sort()
    }
    expect(certificate.receipts.map(({ signer }) => signer)).toContain(gone[0]!.signer)
    const all = now.map(({ signer }) => signer).sort()
    for (const node of now) await until(async () => (await signersAt(node)).join() === all.join(), 'all have signed')
    // The two others may go now.
    const spared = now.filter((node) => !added.includes(node)).slice(0, 2)
    for (const node of spared) await node.kill()
    const kept = (await (await added[0]!.fetch(certificatePath(upload))).json()) as Certificate
    expect(verifiedAt(added[0]!, kept)).toMatchObject({ isDurable: true, lossesSurvived: 2 })
  })

  test.each<[string, readonly number[], number]>([
    ['a slot of data costs k shards for each one, fewer where the last stripe is short', [1], 10],
    ['a slot of parity, with another one alive, as much', [4], 10],
    ['all of the parity at once costs twice as much: first its tree, then its shards', [4, 5], 2 * 2 * 10],
  ])('to compute %s', async (_, slots, shardCountMax) => {
    const world = createTestWorld()
    const object = codedObjectOf(SIZE_BYTES, 14, code)
    const { nodes, homes, upload } = await uploaded(world, 6, object)
    let readCount = 0
    for (const node of nodes)
      world.faults.set(node.url, ({ url }) => {
        const { pathname, searchParams } = new URL(url)
        if (pathname.endsWith('/segments')) readCount += Number(searchParams.get('count'))
        return undefined
      })
    const lost = slots.map((slot) => homes.get(slot)!)
    for (const node of lost) await node.kill()
    const back = await Promise.all(lost.map((node) => world.storage(nameOf(node))))
    for (const [i, node] of back.entries())
      await until(async () => (await slotsAt(upload, node)) === bitmapOf([slots[i]!]), 'the slot is back')
    expect(readCount).toBeGreaterThan(0)
    expect(readCount).toBeLessThanOrEqual(shardCountMax)
  })

  test('wrong shards are refused, their sender is asked no more, and the rest is enough', async () => {
    const world = createTestWorld()
    const object = codedObjectOf(SIZE_BYTES, 8, code)
    const { homes, upload } = await uploaded(world, 6, object)
    let lies = 0
    const liar = homes.get(0)!
    world.faults.set(liar.url, (request) => {
      if (!request.url.includes('/segments')) return undefined
      lies += 1
      return liar.fetch(request.url.slice(liar.url.length)).then(async (response) => {
        const body = new Uint8Array(await response.arrayBuffer())
        body[body.length - 1]! ^= 1
        return new Response(body)
      })
    })
    const empty = await replaced(world, homes.get(3)!)
    await until(async () => (await slotsAt(upload, empty)) === bitmapOf([3]), 'slot 3 is back')
    await expectShards(upload, empty, 3)
    expect(lies).toBe(1)
  })

  test('a shard that went bad is computed again once somebody has read it', async () => {
    const world = createTestWorld()
    const object = codedObjectOf(SIZE_BYTES, 9, code)
    const { homes, upload } = await uploaded(world, 6, object)
    const node = homes.get(4)!
    await until(async () => (await syncOf(node)).state === 'complete')
    node.machine.disk.flipBit('/data/slots-266240-000000.dat', 10_000)
    const read = async (index: number): Promise<number> =>
      (await node.fetch(`/v1/entries/${upload.parity.root}/segments?from=${index}&count=1`)).status
    expect([await read(0), await read(2), await read(4)].sort((a, b) => a - b)).toEqual([200, 200, 404])
    await until(() => node.store.usage().damagedCount === 0, 'it is put again')
    await expectShards(upload, node, 4)
    expect(await slotsAt(upload, node)).toBe(bitmapOf([4]))
  })

  test('a holder that lacks one shard of its slot gives the others, and what is lost of one stripe holds up no other', async () => {
    const world = createTestWorld()
    const object = codedObjectOf(SIZE_BYTES, 11, { k: 4, m: 1 })
    const { homes, upload } = await uploaded(world, 5, object)
    const partial = homes.get(1)!
    await partial.store.remove(upload.data.root)
    const [first, , third] = object.shardsOf(1).segments
    await putBinary(partial, upload.data, [first!, third!])
    const empty = await replaced(world, homes.get(0)!)
    await until(async () => (await syncOf(empty)).unavailableEntryCount === 1, 'not all of it can be had')
    expect([0, 4, 8].map((index) => empty.store.presence(upload.data.root).has(index))).toEqual([true, false, true])
    expect((await syncOf(empty)).missingBytes).toBe(SEGMENT)
  })

  test('goes on after a restart with what is still missing', async () => {
    const world = createTestWorld()
    const object = codedObjectOf(40 * SEGMENT, 12, code)
    const { homes, upload } = await uploaded(world, 6, object)
    const half = await replaced(world, homes.get(0)!)
    await until(() => half.store.presence(upload.data.root).heldCount > 0, 'some of it is here')
    await half.kill()
    const again = await world.storage(nameOf(half), { machine: half.machine })
    const keptCount = again.store.presence(upload.data.root).heldCount
    expect(keptCount).toBeGreaterThan(0)
    await until(async () => (await slotsAt(upload, again)) === bitmapOf([0]), 'slot 0 is back')
    expect((await syncOf(again)).fetchedBytes).toBe((10 - keptCount) * SEGMENT)
  })

  test('fewer than k are left: it is said, and mended once one is back', async () => {
    const world = createTestWorld()
    const object = codedObjectOf(SIZE_BYTES, 10, code)
    const { homes, upload } = await uploaded(world, 6, object)
    const away = [0, 1, 2].map((slot) => homes.get(slot)!)
    for (const node of away) world.faults.set(node.url, () => Promise.reject(new TypeError('fetch failed')))
    const empty = await replaced(world, homes.get(3)!)
    await until(async () => (await syncOf(empty)).unavailableEntryCount === 1, 'it cannot be had')
    expect(await syncOf(empty)).toMatchObject({ state: 'waiting', missingBytes: 2 * SEGMENT })
    world.faults.clear()
    world.clock.jump(3_600_000)
    await until(async () => (await slotsAt(upload, empty)) === bitmapOf([3]), 'slot 3 is back')
  })
})

function verifiedAt({ follower }: Holder, certificate: Certificate) {
  const { chainId, registry } = certificate
  const membershipHashOf = (version: number) => membershipHash(follower.membership.at(version)!.members)
  return verifyCertificate(certificate, { chainId, registry, membershipHashOf })
}

function slotIn(bitmap: string | undefined, slot: number): boolean {
  return bitmap !== undefined && (Number.parseInt(bitmap.slice(2), 16) >> slot) % 2 === 1
}
