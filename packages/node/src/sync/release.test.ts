import { afterEach, describe, expect, test } from 'vitest'
import {
  assembleCertificate,
  encodeBase64,
  fingerprintRootOf,
  copyHomes,
  signReceipt,
  type Entry,
  type ErasureCode,
  type Receipt,
} from '@weightless/core'
import { defaultErasureKernel } from '@weightless/kernels'
import { codedObjectOf, type CodedObject } from '../../../../sim/compliance/codedObject.ts'
import { objectOf } from '../../../../sim/compliance/storageNode.ts'
import {
  certificateOf,
  certificatePath,
  eventually,
  homesOf,
  membersOf,
  nameOf,
  putCertificate,
  putSlots,
  readBack,
  receiptsOf,
  segmentCount,
  slotSegments,
  submitCoded,
  tellAll,
  type CodedUpload,
  type Holder,
} from '../../test/codedUpload.ts'
import { CHAIN_ID, REGISTRY } from '../../test/testChain.ts'
import { until } from '../../test/testClock.ts'
import { createTestWorld, endWorlds, keyOf, putBinary, type TestRole, type TestWorld } from '../../test/testRoles.ts'
import { numberKey } from '../flow/keys.ts'
import { RELEASE_SETTLE_MS, type ReleaseStatus } from './release.ts'

afterEach(endWorlds)

const SEGMENT = 262_144
const SIZE_BYTES = 9 * SEGMENT + 1_000
const code: ErasureCode = { k: 4, m: 2 }

async function putCopy(node: Holder, entry: Entry, object: CodedObject['data'], slot: number): Promise<void> {
  for (let at = 0; at < object.segments.length; at += 16)
    expect((await putBinary(node, entry, object.segments.slice(at, at + 16), slot)).status).toBe(200)
}

/** As the gateway leaves an upload of an official client: copies at three nodes, then shards at their homes, then the certificate. */
async function protectedCopies(world: TestWorld, nodes: readonly Holder[], upload: CodedUpload, sharing = upload.data) {
  const { object } = upload
  const copies = copyHomes({ key: upload.data.root, count: 3 }, membersOf(nodes)).map(({ member }) => {
    return nodes.find((node) => node.signer === member.signer)!
  })
  for (const [slot, node] of copies.entries()) await putCopy(node, sharing, object.data, slot)
  const homes = homesOf(object, nodes)
  for (const [slot, node] of homes) await putSlots(upload, node, [slot])
  return { copies, homes, holders: [...homes.values()] }
}

async function releaseOf(node: TestRole): Promise<ReleaseStatus> {
  return ((await (await node.fetch('/v1/status')).json()) as { release: ReleaseStatus }).release
}

const bytesOf = ({ object }: CodedUpload): Buffer =>
  Buffer.concat(object.data.segments.map(({ data }) => data)).subarray(0, SIZE_BYTES)

/** Attempts that are due are made and have come to their end: nothing changes any more. */
async function settled(world: TestWorld, nodes: readonly Holder[]): Promise<void> {
  for (let round = 0; round < 5; round++) {
    world.clock.jump(3_600_001)
    for (let turn = 0; turn < 20; turn++) await new Promise((next) => setTimeout(next))
    for (const node of nodes) await node.caughtUp()
  }
}

describe('copies of an object that is kept by shards', () => {
  test('are given up but for the shards that belong there, and it reads back without any m of the nodes', async () => {
    const world = createTestWorld()
    const nodes = await world.members(7)
    const upload = await submitCoded(world, codedObjectOf(SIZE_BYTES, 1, code), nodes)
    const { copies, homes, holders } = await protectedCopies(world, nodes, upload)
    expect(segmentCount(upload, copies[0]!)).toBeGreaterThanOrEqual(10)
    await tellAll(upload, holders, nodes)
    world.clock.jump(RELEASE_SETTLE_MS + 1)
    for (const [slot, node] of homes)
      await eventually(
        world,
        () => segmentCount(upload, node) === slotSegments(upload, slot),
        `only slot ${slot} is left`,
      )
    for (const node of nodes.filter((one) => !holders.includes(one)))
      await eventually(world, () => segmentCount(upload, node) === 0, 'nothing is left')
    const released = await Promise.all(nodes.map(releaseOf))
    expect(released.some(({ releasedBytes }) => releasedBytes > 0)).toBe(true)
    for (const node of [homes.get(0)!, homes.get(3)!]) await node.kill()
    expect(Buffer.from(await readBack(world, nodes, upload)).equals(bytesOf(upload))).toBe(true)
  })

  test('stay while a home lacks its shard, and while one that durable asks for does not answer', async () => {
    const world = createTestWorld()
    const nodes = await world.members(6)
    const upload = await submitCoded(world, codedObjectOf(SIZE_BYTES, 2, code), nodes)
    const { copies, homes, holders } = await protectedCopies(world, nodes, upload)
    // It was durable, and then two homes went away: one left is too few, though the certificate names all.
    const away = [homes.get(4)!, homes.get(5)!].filter((node) => !copies.includes(node))
    const others = [...homes.values()].filter((node) => !copies.includes(node) && !away.includes(node))
    const down = [...away, ...others].slice(0, 2)
    await tellAll(upload, holders, nodes)
    for (const node of down) world.faults.set(node.url, () => Promise.reject(new TypeError('fetch failed')))
    await settled(world, nodes)
    for (const node of copies) expect(node.store.presence(upload.data.root).heldCount).toBe(10)
    world.faults.clear()
    await settled(world, nodes)
    for (const [slot, node] of homes)
      await eventually(
        world,
        () => segmentCount(upload, node) === slotSegments(upload, slot),
        `only slot ${slot} is left`,
      )
  })

  test('stay for as long as their bytes serve another entry too', async () => {
    const world = createTestWorld()
    const nodes = await world.members(6)
    const object = codedObjectOf(SIZE_BYTES, 3, code)
    const upload = await submitCoded(world, object, nodes)
    // The same root, a size that differs inside the padding.
    world.chain.submit({ ...object.data.submission, sizeBytes: SIZE_BYTES + 7 })
    for (const node of nodes) await node.caughtUp()
    const { copies, holders } = await protectedCopies(world, nodes, upload)
    await tellAll(upload, holders, nodes)
    await settled(world, nodes)
    for (const node of copies) expect(node.store.presence(upload.data.root).heldCount).toBe(10)
  })

  test('are given up after a restart in the middle too', async () => {
    const world = createTestWorld()
    const nodes = await world.members(6)
    const upload = await submitCoded(world, codedObjectOf(SIZE_BYTES, 4, code), nodes)
    const { copies, homes, holders } = await protectedCopies(world, nodes, upload)
    await tellAll(upload, holders, nodes)
    const node = copies[1]!
    const [slot] = [...homes].find(([, home]) => home === node)!
    // Some of a slot is gone, none of it damage: nobody can compare its fingerprints as a whole.
    await node.store.removeSegments(upload.data.root, [slot === 0 ? 1 : 0])
    await node.kill()
    const again = await world.storage(nameOf(node), { machine: node.machine })
    await again.caughtUp()
    world.clock.jump(RELEASE_SETTLE_MS + 1)
    await eventually(
      world,
      () => segmentCount(upload, again) === slotSegments(upload, slot),
      `only slot ${slot} is left`,
    )
    expect(again.store.usage().damagedCount).toBe(0)
  })

  test('are given up by a node that nobody told of the certificate: it asks', async () => {
    const world = createTestWorld()
    const nodes = await world.members(9)
    const upload = await submitCoded(world, codedObjectOf(SIZE_BYTES, 5, code), nodes)
    const { holders } = await protectedCopies(world, nodes, upload)
    const stranger = nodes.find((node) => !holders.includes(node))!
    await putCopy(stranger, upload.data, upload.object.data, 0)
    await tellAll(upload, holders, holders)
    await stranger.kill()
    const again = await world.storage(nameOf(stranger), {
      machine: stranger.machine,
    })
    await again.caughtUp()
    world.clock.jump(RELEASE_SETTLE_MS + 1)
    await eventually(world, () => segmentCount(upload, again) === 0, 'nothing is left')
  })
})

describe('an object whose certificate nobody has', () => {
  test('is certified anew by a home that has something of its parity, and its copies are given up', async () => {
    const world = createTestWorld()
    const nodes = await world.members(7)
    const upload = await submitCoded(world, codedObjectOf(SIZE_BYTES, 8, code), nodes)
    const { homes } = await protectedCopies(world, nodes, upload)
    // A parity home that holds a copy as well is the one that finds out.
    await putCopy(homes.get(4)!, upload.data, upload.object.data, 0)
    world.clock.jump(RELEASE_SETTLE_MS + 1)
    for (const [slot, node] of homes)
      await eventually(
        world,
        () => segmentCount(upload, node) === slotSegments(upload, slot),
        `only slot ${slot} is left`,
      )
    for (const node of homes.values()) expect((await node.fetch(certificatePath(upload))).status).toBe(200)
  })

  test('stays in copies while a home of its data does not answer', async () => {
    const world = createTestWorld()
    const nodes = await world.members(7)
    const upload = await submitCoded(world, codedObjectOf(SIZE_BYTES, 9, code), nodes)
    const homes = homesOf(upload.object, nodes)
    for (const [slot, node] of homes) if (slot !== 1) await putSlots(upload, node, [slot])
    await homes.get(1)!.kill()
    const copies = [homes.get(0)!, homes.get(3)!, homes.get(4)!]
    for (const [slot, node] of copies.entries()) await putCopy(node, upload.data, upload.object.data, slot)
    await settled(world, copies)
    for (const node of copies) expect(node.store.presence(upload.data.root).heldCount).toBe(10)
    // Another one signs for what that home would have signed for: certified, and nobody gives anything up for it.
    expect((await homes.get(4)!.fetch(certificatePath(upload))).status).toBe(200)
  })

  test('and whose writer never reached one home of its data is computed from the others, certified, and complete', async () => {
    const world = createTestWorld()
    const nodes = await world.members(7)
    const upload = await submitCoded(world, codedObjectOf(SIZE_BYTES, 10, code), nodes)
    const homes = homesOf(upload.object, nodes)
    for (const [slot, node] of homes) if (slot !== 1) await putSlots(upload, node, [slot])
    await eventually(
      world,
      () => segmentCount(upload, homes.get(1)!) >= slotSegments(upload, 1),
      'slot 1 is at its home',
    )
    for (const [slot, node] of homes)
      await eventually(
        world,
        () => segmentCount(upload, node) === slotSegments(upload, slot),
        `only slot ${slot} is left`,
      )
    expect((await homes.get(1)!.fetch(certificatePath(upload))).status).toBe(200)
  })
})

describe('parity that is proven and not durable', () => {
  /** Four holders in all, where five are needed: one of them has a parity slot, and a copy beside those at the homes of copies. */
  async function atFour(world: TestWorld, nodes: readonly Holder[]) {
    const upload = await submitCoded(world, codedObjectOf(SIZE_BYTES, 12, code), nodes)
    const homes = homesOf(upload.object, nodes)
    const copies = copyHomes({ key: upload.data.root, count: 3 }, membersOf(nodes)).map(({ member }) => {
      return nodes.find((node) => node.signer === member.signer)!
    })
    const slot = [4, 5].find((one) => !copies.includes(homes.get(one)!))!
    const fourth = homes.get(slot)!
    for (const [rank, node] of copies.entries()) await putCopy(node, upload.data, upload.object.data, rank)
    await putSlots(upload, fourth, [slot])
    await putCopy(fourth, upload.data, upload.object.data, 0)
    return { upload, homes, fourth, copies: [...copies, fourth] }
  }

  test('lets go of no copy, not even of one whose homes are others', async () => {
    const world = createTestWorld()
    const nodes = await world.members(7)
    const { upload, fourth, copies } = await atFour(world, nodes)
    for (const node of nodes) if (!copies.includes(node)) await node.kill()
    await settled(world, copies)
    expect((await fourth.fetch(certificatePath(upload))).status).toBe(200)
    // It looks at all that it has.
    await fourth.kill()
    const again = await world.storage(nameOf(fourth), { machine: fourth.machine })
    await settled(world, [again])
    for (const node of [...copies.slice(0, 3), again]) {
      expect((await releaseOf(node)).releasedBytes).toBe(0)
      expect(node.store.presence(upload.data.root).heldCount).toBe(10)
    }
  })

  test('is built at its homes while the copies stay; they are given up once it is durable', async () => {
    const world = createTestWorld()
    const nodes = await world.members(7)
    const { upload, homes, copies } = await atFour(world, nodes)
    const isBuilt = (slot: number): boolean => {
      const { root } = slot < code.k ? upload.data : upload.parity
      const { segments } = upload.object.shardsOf(slot)
      return segments.every(({ index }) => homes.get(slot)!.store.presence(root).has(index))
    }
    const hasGone = (): boolean => copies.some((node) => node.store.presence(upload.data.root).heldCount < 10)
    await eventually(
      world,
      () => {
        if (hasGone()) expect([0, 1, 2, 3, 4, 5].filter(isBuilt).length).toBeGreaterThanOrEqual(5)
        return [...homes].every(([slot, node]) => segmentCount(upload, node) === slotSegments(upload, slot))
      },
      'each home has its slot and nothing else',
    )
    for (const node of homes.values()) expect((await node.fetch(certificatePath(upload))).status).toBe(200)
    for (const node of [homes.get(0)!, homes.get(3)!]) await node.kill()
    expect(Buffer.from(await readBack(world, nodes, upload)).equals(bytesOf(upload))).toBe(true)
  })
})

describe('planted attacks', () => {
  test('a stranger submits the data and bogus parity first, then the owner uploads: copies go for the right parity, and it reads back', async () => {
    const world = createTestWorld()
    const nodes = await world.members(6)
    const bogus = codedObjectOf(SIZE_BYTES, 6, code, (parity) => parity.fill(7))
    const planted = await submitCoded(world, bogus, nodes)
    const object = codedObjectOf(SIZE_BYTES, 6, code)
    const upload = await submitCoded(world, object, nodes)
    expect(planted.data.root).toBe(upload.data.root)
    // He brings the data and his parity to their homes, and three copies as well.
    const [first, second, third] = nodes
    const copies = [first!, second!, third!]
    for (const [slot, node] of copies.entries()) await putCopy(node, planted.data, bogus.data, slot)
    const bogusHomes = homesOf(bogus, nodes)
    for (const [slot, node] of bogusHomes) await putSlots(planted, node, [slot])
    const forged = certificateOf(planted, await receiptsOf(planted, [...bogusHomes.values()]), nodes[0]!)
    for (const node of nodes)
      expect(await (await putCertificate(planted, node, forged)).json()).toMatchObject({ proven: false })
    await settled(world, nodes)
    for (const node of copies) expect(node.store.presence(upload.data.root).heldCount).toBe(10)
    const { homes, holders } = await protectedCopies(world, nodes, upload)
    await tellAll(upload, holders, nodes)
    for (const [slot, node] of homes) {
      const { of, segments } = object.shardsOf(slot)
      await eventually(
        world,
        () => node.store.presence(upload.data.root).heldCount === (of === 'data' ? segments.length : 0),
        `only slot ${slot} is left`,
      )
    }
    for (const node of [homes.get(1)!, homes.get(2)!]) await node.kill()
    expect(Buffer.from(await readBack(world, nodes, upload)).equals(bytesOf(upload))).toBe(true)
    expect(Buffer.from(await readBack(world, nodes, planted)).equals(bytesOf(upload))).toBe(true)
  })

  test('a data holder vouches for parity of other bytes: who has the data gives nothing up, not even what all agree about', async () => {
    const world = createTestWorld()
    const nodes = await world.members(7)
    // Right for data whose slot 0 is zeros, whose fingerprints are zeros.
    const bogus = codedObjectOf(SIZE_BYTES, 7, code, (parity) => spoilSlot(parity, 7))
    const upload = await submitCoded(world, bogus, nodes)
    const homes = homesOf(bogus, nodes)
    for (const [slot, node] of homes) await putSlots(upload, node, [slot])
    const outsider = nodes.find((node) => ![...homes.values()].includes(node))!
    await putCopy(outsider, upload.data, bogus.data, 0)
    const fingerprints = new Uint8Array(slotSegments(upload, 0) * 16)
    const parityRoot = upload.parity.root
    const fingerprintRoot = fingerprintRootOf({ layout: bogus.layout, parityRoot, slots: [0] }, fingerprints)
    const [honest] = await receiptsOf(upload, [homes.get(0)!])
    const receipt = signReceipt({ ...honest!.receipt, fingerprintRoot }, keyOf(nameOf(homes.get(0)!)))
    world.faults.set(homes.get(0)!.url, ({ url }) =>
      new URL(url).pathname.endsWith('/shards')
        ? Promise.resolve(Response.json({ receipt, fingerprints: encodeBase64(fingerprints) }))
        : undefined,
    )
    const others = await receiptsOf(
      upload,
      [1, 2, 3, 4, 5].map((slot) => homes.get(slot)!),
    )
    const forged = certificateOf(upload, [{ receipt, fingerprints }, ...others], nodes[0]!)
    // To who has nothing of slot 0 it looks proven.
    const deceived = homes.get(4)!
    expect(await (await putCertificate(upload, deceived, forged)).json()).toMatchObject({ proven: true })
    // As if the copy's holder had taken it before the copy came.
    const rows = (['certificate', 'certified'] as const).map((kind) => {
      const key = numberKey(kind, upload.data.seq)
      return { key, value: deceived.index.get(key)! }
    })
    await outsider.index.transaction(rows, { durability: 'written' })
    await outsider.kill()
    const again = await world.storage(nameOf(outsider), { machine: outsider.machine })
    await again.caughtUp()
    await settled(world, [again])
    expect(again.store.presence(upload.data.root).heldCount).toBe(10)
    expect(await releaseOf(again)).toEqual({ releasedBytes: 0, waitingEntryCount: 1 })
  })
})

test('tags that lie about k and m, for parity of the same size, prove nothing and cost nobody a copy', async () => {
  const world = createTestWorld()
  const nodes = await world.members(6)
  // Eight segments have four of parity under 4+2 and under 2+1.
  const sizeBytes = 8 * SEGMENT
  const right = codedObjectOf(sizeBytes, 12, code)
  const lying = codedObjectOf(sizeBytes, 12, { k: 2, m: 1 }, (parity) =>
    parity.set(Buffer.concat(right.parity.segments.map(({ data }) => data))),
  )
  const upload = await submitCoded(world, lying, nodes)
  const { copies, homes, holders } = await protectedCopies(world, nodes, upload)
  const certificate = certificateOf(upload, await receiptsOf(upload, holders), nodes[0]!)
  for (const node of nodes)
    expect(await (await putCertificate(upload, node, certificate)).json()).toMatchObject({ proven: false })
  await settled(world, nodes)
  for (const node of copies) expect(node.store.presence(upload.data.root).heldCount).toBe(8)
  expect(homes.size).toBe(3)
})

/** Parity of the object of a seed as if its slot 0 were zeros. */
function spoilSlot(parity: Uint8Array, seed: number): void {
  const { segments } = objectOf(SIZE_BYTES, seed)
  for (let stripe = 0; stripe * code.k < segments.length; stripe++) {
    const data = [1, 2, 3].map((slot) => {
      const found = segments[stripe * code.k + slot]
      if (found === undefined) return undefined
      const shard = new Uint8Array(SEGMENT)
      shard.set(found.data)
      return shard
    })
    const rows = [0, 1].map((j) => parity.subarray((stripe * 2 + j) * SEGMENT, (stripe * 2 + j + 1) * SEGMENT))
    defaultErasureKernel().encodeParity({ code, data: [undefined, ...data], parity: rows })
  }
}

describe('a shard whose home is another by now', () => {
  test('is given up once the new home has signed for it, and not while that does not answer', async () => {
    const world = createTestWorld()
    const nodes = await world.members(6)
    const upload = await submitCoded(world, codedObjectOf(SIZE_BYTES, 9, code), nodes)
    const homes = homesOf(upload.object, nodes)
    for (const [slot, node] of homes) await putSlots(upload, node, [slot])
    await tellAll(upload, [...homes.values()], nodes)
    const added = await world.members(6)
    const all = [...nodes, ...added]
    const now = homesOf(upload.object, all)
    const moved = [...homes].filter(([slot, node]) => now.get(slot) !== node)
    expect(moved.length).toBeGreaterThan(0)
    for (const [slot] of moved)
      await until(() => segmentCount(upload, now.get(slot)!) >= slotSegments(upload, slot), `slot ${slot} has moved`)
    for (const [slot] of moved)
      world.faults.set(now.get(slot)!.url, () => Promise.reject(new TypeError('fetch failed')))
    await settled(world, all)
    for (const [slot, node] of moved)
      expect(segmentCount(upload, node)).toBeGreaterThanOrEqual(slotSegments(upload, slot))
    // Nor while it sees another membership: it might be giving up the shard on this one's account.
    for (const [slot] of moved) {
      const home = now.get(slot)!
      world.faults.set(home.url, ({ url }) =>
        url.endsWith('/v1/status')
          ? home.fetch('/v1/status').then(async (answer) => {
              const status = (await answer.json()) as { registryVersion: number }
              return Response.json({ ...status, registryVersion: status.registryVersion - 1 })
            })
          : undefined,
      )
    }
    await settled(world, all)
    for (const [slot, node] of moved)
      expect(segmentCount(upload, node)).toBeGreaterThanOrEqual(slotSegments(upload, slot))
    world.faults.clear()
    await settled(world, all)
    for (const node of all) {
      const own = [...now].filter(([, home]) => home === node).map(([slot]) => slotSegments(upload, slot))
      const expected = own.reduce((sum, count) => sum + count, 0)
      await eventually(world, () => segmentCount(upload, node) === expected, 'each has what belongs there')
    }
    expect(Buffer.from(await readBack(world, all, upload)).equals(bytesOf(upload))).toBe(true)
  })

  test('is given up to the last one by a node that is a member no more', async () => {
    const world = createTestWorld()
    const nodes = await world.members(7)
    const upload = await submitCoded(world, codedObjectOf(SIZE_BYTES, 10, code), nodes)
    const homes = homesOf(upload.object, nodes)
    for (const [slot, node] of homes) await putSlots(upload, node, [slot])
    await tellAll(upload, [...homes.values()], nodes)
    const leaver = homes.get(1)!
    world.chain.change({ id: nodes.indexOf(leaver) + 1, member: undefined })
    const left = nodes.filter((node) => node !== leaver)
    const now = homesOf(
      upload.object,
      left,
      membersOf(nodes).filter(({ signer }) => signer !== leaver.signer),
    )
    for (const [slot, node] of now)
      await until(() => segmentCount(upload, node) >= slotSegments(upload, slot), `slot ${slot} has a home`)
    world.clock.jump(RELEASE_SETTLE_MS + 1)
    await eventually(world, () => segmentCount(upload, leaver) === 0, 'nothing is left')
    for (const [slot, node] of now)
      await eventually(
        world,
        () => segmentCount(upload, node) === slotSegments(upload, slot),
        'each has what belongs there',
      )
  })
})

describe('a copy without parity whose homes are others by now', () => {
  test('is given up once each of them has signed for one', async () => {
    const world = createTestWorld()
    const nodes = await world.members(3)
    const object = objectOf(2 * SEGMENT, 11)
    const [entry] = world.chain.submit(object.submission)
    for (const [slot, node] of nodes.entries()) {
      await node.caughtUp()
      await putBinary(node, entry!, object.segments, slot)
    }
    const all = [...nodes, ...(await world.members(5))]
    const homes = copyHomes({ key: entry!.root, count: 3 }, membersOf(all)).map(({ member }) => member.signer)
    const others = nodes.filter(({ signer }) => !homes.includes(signer))
    expect(others.length).toBeGreaterThan(0)
    const heldBy = (node: Holder): number => node.store.presence(entry!.root).heldCount
    for (const node of all.filter(({ signer }) => homes.includes(signer)))
      await until(() => heldBy(node) === 2, 'the new homes have it')
    world.clock.jump(RELEASE_SETTLE_MS + 1)
    for (const node of others) await eventually(world, () => heldBy(node) === 0, 'it is given up')
    for (const node of all.filter(({ signer }) => homes.includes(signer))) expect(heldBy(node)).toBe(2)
  })
})

describe('a copy of one segment beyond those that its certificate asks for', () => {
  /** Stores it at these nodes, and tells all of them a certificate of what the homes of the code have signed. */
  async function certified(nodes: readonly Holder[], entry: Entry, object: CodedObject['data'], code: ErasureCode) {
    const homes = copyHomes({ key: entry.root, count: 1 + code.m }, membersOf(nodes)).map(({ member }) => member.signer)
    const receipts: { receipt: Receipt }[] = []
    for (const node of nodes) {
      const slot = Math.max(0, homes.indexOf(node.signer))
      const answer = await putBinary(node, entry, object.segments, slot)
      if (homes.includes(node.signer)) receipts.push((await answer.json()) as { receipt: Receipt })
    }
    const { root, sizeBytes, seq } = entry
    const about = {
      chainId: CHAIN_ID,
      registry: REGISTRY,
      code,
      dataRoot: root,
      sizeBytes,
      entrySeq: seq,
      parity: null,
    }
    const certificate = assembleCertificate(about, receipts, [nodes[0]!.follower.membership.current()])
    const body = JSON.stringify(certificate)
    const init = { method: 'PUT', body, headers: { 'content-length': String(body.length) } }
    for (const node of nodes)
      expect((await node.fetch(`/v1/entries/${root}/certificate?seq=${seq}`, init)).status).toBe(200)
    return nodes.filter(({ signer }) => !homes.includes(signer))
  }

  test.each([
    ['is given up', [{ k: 2, m: 1 }], 0],
    [
      'stays where another entry of the same bytes asks for more (sim seed 80751)',
      [
        { k: 2, m: 1 },
        { k: 1, m: 2 },
      ],
      1,
    ],
  ] as const)('%s', async (_, codes, left) => {
    const world = createTestWorld()
    const nodes = await world.members(3)
    const object = objectOf(1_000, 12)
    const entries = world.chain.submit(...codes.map(() => object.submission))
    for (const node of nodes) await node.caughtUp()
    const spare: Holder[] = []
    for (const [i, code] of codes.entries()) spare.push(...(await certified(nodes, entries[i]!, object, code)))
    expect(spare).toHaveLength(1)
    await settled(world, nodes)
    const heldCount = (): number => spare[0]!.store.presence(entries[0]!.root).heldCount
    if (left === 0) await eventually(world, () => heldCount() === 0, 'it is given up')
    expect(heldCount()).toBe(left)
  })
})
