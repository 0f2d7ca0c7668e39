import { afterEach, describe, expect, test } from 'vitest'
import {
  bitmapOf,
  membershipHash,
  copyHomes,
  protectedHomes,
  verifyCertificate,
  type Certificate,
  type ErasureCode,
  type Receipt,
} from '@weightless/core'
import { createChance } from '../../../../sim/chance.ts'
import { codedObjectOf, type CodedObject } from '../../../../sim/compliance/codedObject.ts'
import { objectOf } from '../../../../sim/compliance/storageNode.ts'
import { createMemoryDisk } from '../../../../sim/memoryDisk.ts'
import { createMemoryIndexStore } from '../../../../sim/memoryIndex.ts'
import {
  certificateOf,
  certificatePath,
  homesOf,
  membersOf,
  nameOf,
  putCertificate,
  putSlots,
  receiptsOf,
  shardsPath,
  submitCoded,
  type CodedUpload,
  type Holder,
} from '../../test/codedUpload.ts'
import { until } from '../../test/testClock.ts'
import {
  createTestWorld,
  endWorlds,
  memberOf,
  putBinary,
  type TestRole,
  type TestStorageOptions,
  type TestWorld,
} from '../../test/testRoles.ts'
import { SYNC_SETTLE_MS } from './planSync.ts'
import type { SyncStatus } from './sync.ts'

afterEach(endWorlds)

const SEGMENT = 262_144
const SIZE_BYTES = 9 * SEGMENT + 1_000
const code: ErasureCode = { k: 4, m: 2 }

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
    const wholeHomes = copyHomes({ key: upload.data.root, count: 3 }, membersOf(nodes)).map(
      ({ member }) => member.signer,
    )
    for (const node of nodes.filter(({ signer }) => wholeHomes.includes(signer)))
      await until(async () => (await node.fetch(certificatePath(upload))).status === 200, 'the certificate is here')
    for (const node of nodes) await until(async () => (await syncOf(node)).state === 'complete')
    for (const node of nodes) expect((await syncOf(node)).fetchedBytes).toBe(0)
  })
})

describe('a certificate that does not name all homes', () => {
  const signersOf = async (upload: CodedUpload, node: Holder): Promise<number> => {
    const answer = await node.fetch(certificatePath(upload))
    return answer.status === 200 ? ((await answer.json()) as Certificate).receipts.length : 0
  }

  test('is completed by each home from what the others sign, though nobody tells it, and by a home that had all before', async () => {
    const world = createTestWorld()
    const object = codedObjectOf(SIZE_BYTES, 25, code)
    const nodes = await world.members(6)
    const homes = homesOf(object, nodes)
    const upload = await submitCoded(world, object, nodes)
    for (const [slot, node] of homes) await putSlots(upload, node, [slot])
    const holders = [...homes.values()]
    // Durable without the last one, which has its shards too; told to two of those that it names.
    const certificate = certificateOf(upload, await receiptsOf(upload, holders.slice(0, 5)), nodes[0]!)
    const told = [homes.get(1)!, homes.get(3)!]
    for (const node of told) expect((await putCertificate(upload, node, certificate)).status).toBe(200)
    // Nobody is told of anything from here on.
    for (const node of nodes)
      world.faults.set(node.url, (request) => (request.method === 'PUT' ? Promise.resolve(nothing()) : undefined))
    let turn = 0
    await until(async () => {
      if (++turn % 50 === 0) world.clock.jump(2 * SYNC_SETTLE_MS)
      return (await Promise.all(told.map((node) => signersOf(upload, node)))).every((count) => count === 6)
    }, 'all six are named')
    for (const node of told) expect((await syncOf(node)).fetchedBytes).toBe(0)
  })
})

const nothing = (): Response => new Response('{}', { status: 503 })

describe('an object under two codes', () => {
  /** Kept by the one with less parity, as far as its homes know. */
  async function underTwo(world: TestWorld, change?: (parity: Uint8Array) => void) {
    const [less, more] = [1, 2].map((m) => codedObjectOf(SIZE_BYTES, 27, { k: 4, m }, m === 2 ? change : undefined))
    const nodes = await world.members(6)
    const first = await submitCoded(world, less!, nodes)
    const [parity] = world.chain.submit(more!.parity.submission)
    for (const node of nodes) await node.caughtUp()
    const second: CodedUpload = { object: more!, data: first.data, parity: parity! }
    for (const upload of [first, second])
      for (const [slot, node] of homesOf(upload.object, nodes)) await putSlots(upload, node, [slot])
    const holders = [...homesOf(less!, nodes).values()]
    const certificate = certificateOf(first, await receiptsOf(first, holders), nodes[0]!)
    for (const node of nodes) expect((await putCertificate(first, node, certificate)).status).toBe(200)
    return { nodes, first, second }
  }
  const askedIn = (world: TestWorld): number =>
    world.log.filter((line) => line.startsWith('GET') && line.endsWith('/certificate')).length
  /** Time goes on by hours. */
  const pass = async (world: TestWorld, turns: number): Promise<void> => {
    for (let turn = 0; turn < turns; turn++) {
      if (turn % 20 === 0) world.clock.jump(3_600_001)
      await new Promise((next) => setTimeout(next))
    }
  }

  test('is kept by the one with more: a home that knows the other alone looks for it, and finds it', async () => {
    const world = createTestWorld()
    const { nodes, second } = await underTwo(world)
    // One home alone is told.
    const homes = [...homesOf(second.object, nodes).values()]
    const certificate = certificateOf(second, await receiptsOf(second, homes), nodes[0]!)
    expect((await putCertificate(second, homes[0]!, certificate)).status).toBe(200)
    const keptBy = async (node: Holder): Promise<number | undefined> =>
      ((await (await node.fetch(certificatePath(second))).json()) as Certificate).parity?.seq
    let turn = 0
    await until(async () => {
      if (++turn % 20 === 0) world.clock.jump(2 * SYNC_SETTLE_MS)
      return (await Promise.all(homes.map(keptBy))).every((seq) => seq === second.parity.seq)
    }, 'all homes have the certificate')
  })

  test('of which nobody can prove the one with more: it is looked for a few times, and not for ever', async () => {
    const world = createTestWorld()
    const { nodes, first } = await underTwo(world, (parity) => parity.fill(9))
    await pass(world, 400)
    const askedCount = askedIn(world)
    expect(askedCount).toBeGreaterThan(nodes.length)
    await pass(world, 400)
    expect(askedIn(world)).toBe(askedCount)
    for (const node of nodes) {
      const kept = (await (await node.fetch(certificatePath(first))).json()) as Certificate
      expect(kept.parity?.seq).toBe(first.parity.seq)
    }
  })
})

describe('two nodes that repair one shard', () => {
  test('do no harm: both have it right, and one of them gives it up', async () => {
    const world = createTestWorld()
    const object = codedObjectOf(40 * SEGMENT, 19, code)
    const { nodes, homes, upload } = await uploaded(world, 7, object)
    const old = homes.get(2)!
    const member = membersOf(nodes)[nodes.indexOf(old)]!
    await old.kill()
    world.chain.change({ id: member.id, member: undefined })
    const left = nodes.filter((node) => node !== old)
    const now = protectedHomes(
      { dataRoot: upload.data.root, sizeBytes: upload.data.sizeBytes, code },
      membersOf(nodes).filter(({ id }) => id !== member.id),
    )
    const next = left.find(({ signer }) => signer === now.find(({ slot }) => slot === 2)!.member.signer)!
    const heldOf2 = (node: Holder): number =>
      [...node.store.presence(upload.data.root).indexes()].filter((index) => index % 4 === 2).length
    await until(() => heldOf2(next) > 0, 'the new home is at work')
    // And the old one is back with nothing, and a member again.
    const back = await world.storage(nameOf(old))
    world.chain.change({ id: member.id, member })
    await until(async () => slotIn(await slotsAt(upload, back), 2), 'the old home has it')
    await expectShards(upload, back, 2)
    for (const { index, data } of object.shardsOf(2).segments) {
      const stored = await next.store.get(upload.data.root, index)
      if (stored !== undefined) expect(Buffer.from(stored.data).equals(data)).toBe(true)
    }
    let turn = 0
    await until(() => {
      if (heldOf2(next) > 0 && ++turn % 100 === 0) world.clock.jump(3_600_001)
      return heldOf2(next) === 0
    }, 'the other gives it up')
    expect(heldOf2(back)).toBe(10)
  })
})

describe('a node that returns', () => {
  test('with old data, and finds its slot at another home: nothing is fetched again, and only one of them keeps it', async () => {
    const world = createTestWorld()
    const object = codedObjectOf(SIZE_BYTES, 22, code)
    const { nodes, homes, upload } = await uploaded(world, 7, object)
    const away = homes.get(1)!
    const member = membersOf(nodes)[nodes.indexOf(away)]!
    await away.kill()
    world.chain.change({ id: member.id, member: undefined })
    const left = nodes.filter((node) => node !== away)
    const slot1At = async (node: Holder): Promise<boolean> => slotIn(await slotsAt(upload, node), 1)
    await until(async () => (await Promise.all(left.map(slot1At))).includes(true), 'another one has taken over')
    const back = await world.storage(nameOf(away), { machine: away.machine })
    world.chain.change({ id: member.id, member })
    await back.caughtUp()
    await until(async () => (await syncOf(back)).state === 'complete')
    let turn = 0
    await until(async () => {
      if (++turn % 100 === 0) world.clock.jump(3_600_001)
      return !(await Promise.all(left.map(slot1At))).includes(true)
    }, 'the other gives it up')
    expect(await slotsAt(upload, back)).toBe(bitmapOf([1]))
    expect((await syncOf(back)).fetchedBytes).toBe(0)
  })

  test('with old data and another key signs for it anew, as the member that it is now', async () => {
    const world = createTestWorld()
    const object = codedObjectOf(SIZE_BYTES, 23, code)
    const { nodes, homes, upload } = await uploaded(world, 6, object)
    const before = homes.get(2)!
    // A copy that it had signed for whole, too.
    const [copied] = world.chain.submit(objectOf(1_000, 3).submission)
    await before.caughtUp()
    await putBinary(before, copied!, objectOf(1_000, 3).segments)
    await before.kill()
    const again = await world.storage('new-key', { machine: before.machine })
    world.chain.change({ id: nodes.indexOf(before) + 1, member: undefined }, { id: 9, member: memberOf(9, again) })
    await again.caughtUp()
    const told = (await (await again.fetch(shardsPath(upload, bitmapOf([2])))).json()) as { receipt: Receipt }
    expect(told.receipt.signer).toBe(again.signer)
    const copy = (await (
      await again.fetch(`/v1/entries/${copied!.root}/receipt?seq=${copied!.seq}&slot=0`)
    ).json()) as Receipt
    expect(copy.signer).toBe(again.signer)
    // Wherever its slot belongs now, all slots are certified at members again.
    const now = [...nodes.filter((node) => node !== before), again]
    await until(async () => {
      const answer = await now[0]!.fetch(certificatePath(upload))
      if (answer.status !== 200) return false
      const certificate = (await answer.json()) as Certificate
      const signers = new Set(certificate.receipts.map(({ signer }) => signer))
      return (
        verifiedAt(now[0]!, certificate).lossesSurvived === 2 &&
        signers.has(again.signer) &&
        !signers.has(before.signer)
      )
    }, 'the new one is certified')
  })
})

describe('parity that is there twice', () => {
  test('by a stranger, byte for byte: it is stored once, and whichever is proven serves', async () => {
    const world = createTestWorld()
    const object = codedObjectOf(SIZE_BYTES, 24, code)
    const { nodes, homes, upload } = await uploaded(world, 6, object)
    const [twin] = world.chain.submit(object.parity.submission)
    for (const node of nodes) await node.caughtUp()
    const other: CodedUpload = { ...upload, parity: twin! }
    expect(other.parity.root).toBe(upload.parity.root)
    const holders = [...homes.values()]
    const certificate = certificateOf(other, await receiptsOf(other, holders), nodes[0]!)
    for (const node of nodes)
      expect(await (await putCertificate(other, node, certificate)).json()).toMatchObject({ proven: true })
    world.clock.jump(2 * SYNC_SETTLE_MS)
    for (const node of nodes) await until(async () => (await syncOf(node)).state === 'complete')
    for (const [slot, node] of homes) {
      expect(await slotsAt(other, node)).toBe(bitmapOf([slot]))
      expect((await syncOf(node)).fetchedBytes).toBe(0)
    }
    // The first of the two counts, and a home that lost its parity has it from either.
    const kept = (await (await nodes[0]!.fetch(certificatePath(upload))).json()) as Certificate
    expect(kept.parity!.seq).toBe(upload.parity.seq)
    const lost = homes.get(5)!
    await lost.kill()
    const empty = await world.storage(nameOf(lost))
    await until(async () => (await slotsAt(upload, empty)) === bitmapOf([5]), 'slot 5 is back')
    await expectShards(upload, empty, 5)
  })
})

describe('a member that goes', () => {
  test('is waited for: what it had is computed after the grace, what others can give is copied at once', async () => {
    const world = createTestWorld()
    const object = codedObjectOf(SIZE_BYTES, 20, code)
    const nodes = await world.members(6)
    const homes = homesOf(object, nodes)
    const upload = await submitCoded(world, object, nodes)
    for (const [slot, node] of homes) await putSlots(upload, node, [slot])
    const certificate = certificateOf(upload, await receiptsOf(upload, [...homes.values()]), nodes[0]!)
    for (const node of nodes) await putCertificate(upload, node, certificate)
    const upkeep = { repairGraceMs: 24 * 3_600_000 }
    const patient = await world.storage('patient', { upkeep })
    await until(async () => (await syncOf(patient)).state === 'complete', 'it has looked')
    // One whose slot falls to the new member when it goes.
    const [slot, lost] = [...homes].find(([slot, node]) => slotOf(patient, node) === slot)!
    function slotOf(added: Holder, gone: Holder): number | undefined {
      const members = [...membersOf(nodes).filter(({ signer }) => signer !== gone.signer), memberOf(9, added)]
      const placed = protectedHomes({ dataRoot: upload.data.root, sizeBytes: SIZE_BYTES, code }, members)
      return placed.find(({ member }) => member.signer === added.signer)?.slot
    }
    await lost.kill()
    world.chain.change({ id: nodes.indexOf(lost) + 1, member: undefined }, { id: 9, member: memberOf(9, patient) })
    await until(async () => (await syncOf(patient)).missingBytes > 0, 'it is seen')
    for (let turn = 0; turn < 100; turn++) await new Promise((next) => setTimeout(next))
    expect(
      patient.store.presence(upload.data.root).heldCount + patient.store.presence(upload.parity.root).heldCount,
    ).toBe(0)
    expect(await syncOf(patient)).toMatchObject({ missingEntryCount: 1, unavailableEntryCount: 0 })
    world.clock.jump(24 * 3_600_000)
    await until(async () => slotIn(await slotsAt(upload, patient), slot), 'it is computed')
    // The grace begins again; who lost what it had signed for waits for nobody.
    world.chain.change({ id: 9, member: memberOf(9, patient) })
    await patient.caughtUp()
    const { of, segments } = object.shardsOf(slot)
    const root = of === 'data' ? upload.data.root : upload.parity.root
    await patient.store.removeSegments(root, [segments[1]!.index])
    await patient.fetch(`/v1/entries/${root}/segments?from=${segments[1]!.index}&count=1`)
    await until(() => patient.store.presence(root).has(segments[1]!.index), 'it is computed at once')
  })

  test('costs no wait where what moves can be copied', async () => {
    const world = createTestWorld()
    const object = codedObjectOf(SIZE_BYTES, 21, code)
    const { nodes, homes, upload } = await uploaded(world, 6, object)
    const added = await Promise.all(
      [0, 1, 2, 3].map((i) => world.storage(`patient-${i}`, { upkeep: { repairGraceMs: 24 * 3_600_000 } })),
    )
    world.chain.change(...added.map((node, i) => ({ id: 10 + i, member: memberOf(10 + i, node) })))
    const members = [...membersOf(nodes), ...added.map((node, i) => memberOf(10 + i, node))]
    const moved = protectedHomes({ dataRoot: upload.data.root, sizeBytes: SIZE_BYTES, code }, members).flatMap(
      ({ slot, member }) => {
        const node = added.find(({ signer }) => signer === member.signer)
        return node === undefined ? [] : [{ slot, node }]
      },
    )
    expect(moved.length).toBeGreaterThan(0)
    expect(homes.size).toBe(6)
    for (const { slot, node } of moved)
      await until(async () => slotIn(await slotsAt(upload, node), slot), `slot ${slot} is copied`)
  })
})

describe('an object whose parity is not proven', () => {
  test('is kept by copies at its three homes, and bogus parity changes nothing and is not copied', async () => {
    const world = createTestWorld()
    const bogus = codedObjectOf(SIZE_BYTES, 3, code, (parity) => parity.fill(7))
    const nodes = await world.members(6)
    const placed = copyHomes({ key: bogus.data.tree.root, count: 3 }, membersOf(nodes))
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
  async function replaced(world: TestWorld, home: Holder, options: TestStorageOptions = {}): Promise<Holder> {
    await home.kill()
    return await world.storage(nameOf(home), options)
  }

  const readsIn = (world: TestWorld): number => world.log.filter((line) => line.endsWith('/segments')).length

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
    let readCount = 0
    for (const { url } of homes.values())
      world.faults.set(url, (request) => {
        const asked = new URL(request.url)
        if (request.method === 'GET' && asked.pathname.endsWith('/segments'))
          readCount += Number(asked.searchParams.get('count'))
        return undefined
      })
    await homes.get(4)!.kill()
    await homes.get(5)!.kill()
    const [a, b] = [await world.storage(nameOf(homes.get(4)!)), await world.storage(nameOf(homes.get(5)!))]
    await until(async () => (await slotsAt(upload, a)) === bitmapOf([4]), 'slot 4 is back')
    await until(async () => (await slotsAt(upload, b)) === bitmapOf([5]), 'slot 5 is back')
    await expectShards(upload, a, 4)
    await expectShards(upload, b, 5)
    // Each reads the data once: the other parity, for the proofs of its own, is computed from what it has read.
    expect(readCount).toBeGreaterThanOrEqual(2 * 21)
    expect(readCount).toBeLessThan(3 * 21)
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

  test('a shard that somebody asked for in vain is computed again at once', async () => {
    const world = createTestWorld()
    const object = codedObjectOf(SIZE_BYTES, 15, code)
    const { homes, upload } = await uploaded(world, 6, object)
    const node = homes.get(5)!
    await until(async () => (await syncOf(node)).state === 'complete')
    // As if its files had been put back from yesterday: nothing was read that went bad.
    await node.store.removeSegments(upload.parity.root, [1, 3])
    node.lost(upload.data.root)
    const before = world.log.length
    await until(async () => (await slotsAt(upload, node)) === bitmapOf([5]), 'it was told')
    await node.store.removeSegments(upload.parity.root, [3])
    expect((await node.fetch(`/v1/entries/${upload.parity.root}/segments?from=3&count=1`)).status).toBe(404)
    await until(() => node.store.presence(upload.parity.root).has(3), 'it is back')
    expect(world.log.length).toBeGreaterThan(before)
    await expectShards(upload, node, 5)
  })

  test('a segment that a writer has yet to bring is left to him, however often it is asked for', async () => {
    const world = createTestWorld()
    const object = codedObjectOf(SIZE_BYTES, 16, code)
    const nodes = await world.members(6)
    for (const node of nodes) await until(async () => (await syncOf(node)).state === 'complete')
    const upload = await submitCoded(world, object, nodes)
    const homes = homesOf(object, nodes)
    await putSlots(upload, homes.get(0)!, [0])
    world.log.length = 0
    for (let i = 0; i < 20; i++) await homes.get(1)!.fetch(`/v1/entries/${upload.data.root}/segments?from=1&count=1`)
    for (let turn = 0; turn < 20; turn++) await new Promise((next) => setTimeout(next))
    expect(world.log.filter((line) => line.includes(upload.data.root))).toEqual([])
  })

  test('waits for room where there is none, names it, reads nothing meanwhile, and goes on', async () => {
    const world = createTestWorld()
    const object = codedObjectOf(SIZE_BYTES, 17, code)
    const { homes, upload } = await uploaded(world, 6, object)
    await homes.get(1)!.kill()
    world.log.length = 0
    const empty = await world.storage(nameOf(homes.get(1)!), { capacityBytes: 200_000 })
    await until(async () => (await syncOf(empty)).hindrance === 'STORE_FULL', 'it is said')
    world.clock.jump(60_000)
    for (let turn = 0; turn < 30; turn++) await new Promise((next) => setTimeout(next))
    expect(await syncOf(empty)).toMatchObject({ hindrance: 'STORE_FULL', missingEntryCount: 1 })
    expect(readsIn(world)).toBe(0)
    // The same machine with a larger share.
    await empty.kill()
    const again = await world.storage(nameOf(empty), { machine: empty.machine })
    await until(async () => (await slotsAt(upload, again)) === bitmapOf([1]), 'slot 1 is back')
    expect((await syncOf(again)).hindrance).toBe(null)
  })

  test('goes on by itself when a full disk has room again', async () => {
    const world = createTestWorld()
    const object = codedObjectOf(SIZE_BYTES, 18, code)
    const { homes, upload } = await uploaded(world, 6, object)
    const home = homes.get(4)!
    await home.kill()
    const { machine } = home
    // The disk is new, and full of other people's files.
    Object.assign(machine, { disk: createMemoryDisk(createChance(9)), index: createMemoryIndexStore(createChance(9)) })
    machine.disk.faults.capacityBytes = 8_192
    const empty = await world.storage(nameOf(home), { machine })
    await until(async () => (await syncOf(empty)).hindrance === 'STORE_FULL', 'it is said')
    expect((await syncOf(empty)).missingEntryCount).toBe(1)
    empty.machine.disk.faults.capacityBytes = Infinity
    world.clock.jump(30_000)
    await until(async () => (await slotsAt(upload, empty)) === bitmapOf([4]), 'slot 4 is back')
    await until(async () => (await syncOf(empty)).state === 'complete')
    expect(empty.store.usage().readOnly).toBe(false)
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
