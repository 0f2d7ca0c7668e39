import { afterEach, describe, expect, test } from 'vitest'
import { copyHomes, type Entry, type ErasureCode } from '@weightless/core'
import { codedObjectOf } from '../../../../sim/compliance/codedObject.ts'
import { objectOf } from '../../../../sim/compliance/storageNode.ts'
import {
  eventually,
  homesOf,
  membersOf,
  nameOf,
  putSlots,
  readBack,
  segmentCount,
  slotSegments,
  submitCoded,
  tellAll,
  type CodedUpload,
  type Holder,
} from '../../test/codedUpload.ts'
import { until } from '../../test/testClock.ts'
import { createTestWorld, endWorlds, putBinary, type TestRole, type TestWorld } from '../../test/testRoles.ts'
import { UNFINISHED_MS, type HandOffStatus } from './handOff.ts'

afterEach(endWorlds)

const SEGMENT = 262_144
const SIZE_BYTES = 9 * SEGMENT + 1_000
const code: ErasureCode = { k: 4, m: 2 }
const unreachable = (): Promise<Response> => Promise.reject(new TypeError('fetch failed'))

async function handOffOf(node: TestRole): Promise<HandOffStatus> {
  return ((await (await node.fetch('/v1/status')).json()) as { handOff: HandOffStatus }).handOff
}

async function comesTo(world: TestWorld, node: TestRole, state: HandOffStatus['state']): Promise<HandOffStatus> {
  let told: HandOffStatus | undefined
  let turn = 0
  await until(async () => {
    told = await handOffOf(node)
    // Whoever waits longest is tried again, and what is to wait for an hour is not waited for.
    if (told.state !== state && ++turn % 50 === 0) world.clock.jump(31_000)
    return told.state === state
  }, `the hand-off is ${state}`)
  return told!
}

function drain(world: TestWorld, nodes: readonly Holder[], node: Holder): readonly Holder[] {
  world.chain.change({ id: nodes.indexOf(node) + 1, member: undefined, isDraining: true })
  return nodes.filter((other) => other !== node)
}

/** Homes among those that are left, whose numbers stay what they were. */
function homesAmong({ object }: CodedUpload, nodes: readonly Holder[], left: readonly Holder[]): Map<number, Holder> {
  const members = membersOf(nodes).filter(({ signer }) => left.some((node) => node.signer === signer))
  return homesOf(object, left, members)
}

async function uploaded(world: TestWorld, nodes: readonly Holder[], seed: number): Promise<CodedUpload> {
  const upload = await submitCoded(world, codedObjectOf(SIZE_BYTES, seed, code), nodes)
  const homes = homesOf(upload.object, nodes)
  for (const [slot, node] of homes) await putSlots(upload, node, [slot])
  await tellAll(upload, [...homes.values()], nodes)
  return upload
}

const bytesOf = ({ object }: CodedUpload): Buffer =>
  Buffer.concat(object.data.segments.map(({ data }) => data)).subarray(0, SIZE_BYTES)

function copiesOf(entry: Entry, nodes: readonly Holder[], left: readonly Holder[] = nodes): readonly Holder[] {
  const members = membersOf(nodes).filter(({ signer }) => left.some((node) => node.signer === signer))
  return copyHomes({ key: entry.root, count: 3 }, members).map(({ member }) =>
    nodes.find(({ signer }) => signer === member.signer)!,
  )
}

describe('a node that drains', () => {
  test('hands off shards and copies; its process goes, m more are lost, and all reads back', async () => {
    const world = createTestWorld()
    const nodes = await world.members(7)
    const upload = await uploaded(world, nodes, 21)
    const copied = objectOf(2 * SEGMENT, 22)
    const [entry] = world.chain.submit(copied.submission)
    for (const node of nodes) await node.caughtUp()
    for (const [slot, node] of copiesOf(entry!, nodes).entries()) await putBinary(node, entry!, copied.segments, slot)
    // Twin: the same bytes once more.
    world.chain.submit(upload.object.data.submission)
    const leaver = [...homesOf(upload.object, nodes)].find(([, node]) => copiesOf(entry!, nodes).includes(node))![1]
    expect(await handOffOf(leaver)).toMatchObject({ state: 'none', leftBytes: 0, handedOffBytes: 0 })
    const heldBytes = leaver.store.usage().segmentCount * SEGMENT
    const left = drain(world, nodes, leaver)
    const told = await comesTo(world, leaver, 'done')
    expect(told).toEqual({
      state: 'done',
      leftBytes: 0,
      leftEntryCount: 0,
      handedOffBytes: heldBytes,
      homelessBytes: 0,
      unfinishedBytes: 0,
    })
    // Nothing was given up for it: it serves on.
    expect(leaver.store.usage().segmentCount * SEGMENT).toBe(heldBytes)
    await leaver.kill()
    const now = homesAmong(upload, nodes, left)
    for (const [slot, node] of now)
      await until(() => segmentCount(upload, node) >= slotSegments(upload, slot), `slot ${slot} is at its home`)
    const copies = copiesOf(entry!, nodes, left)
    expect(copies).toHaveLength(3)
    for (const node of copies) expect(node.store.presence(entry!.root).heldCount).toBe(2)
    for (const node of [now.get(0)!, now.get(1)!]) await node.kill()
    expect(Buffer.from(await readBack(world, left, upload)).equals(bytesOf(upload))).toBe(true)
  })

  test('is where the new homes get what only it has: shards that cannot be computed, and copies', async () => {
    const world = createTestWorld()
    const nodes = await world.members(7)
    const upload = await uploaded(world, nodes, 23)
    const homes = homesOf(upload.object, nodes)
    const leaver = homes.get(0)!
    // Nobody can reach it, two others lose their slots, and two do not answer: too little is left to compute slot 0 from.
    world.faults.set(leaver.url, unreachable)
    const copied = objectOf(2 * SEGMENT, 24)
    const [entry] = world.chain.submit(copied.submission)
    for (const node of nodes) await node.caughtUp()
    await putBinary(leaver, entry!, copied.segments, 0)
    const { root } = upload.data
    for (const slot of [1, 2]) {
      const { store } = homes.get(slot)!
      await store.removeSegments(root, [...store.presence(root).indexes()])
      world.faults.set(homes.get(3 + slot)!.url, unreachable)
    }
    const left = drain(world, nodes, leaver)
    await comesTo(world, leaver, 'moving')
    world.faults.delete(leaver.url)
    const now = homesAmong(upload, nodes, left).get(0)!
    const count = slotSegments(upload, 0)
    const indexes = Array.from({ length: count }, (_, stripe) => stripe * code.k)
    await eventually(world, () => indexes.every((index) => now.store.presence(root).has(index)), 'slot 0 has moved')
    await eventually(
      world,
      () => copiesOf(entry!, nodes, left).every((node) => node.store.presence(entry!.root).heldCount === 2),
      'the copies are made',
    )
    world.faults.clear()
    await comesTo(world, leaver, 'done')
    await leaver.kill()
    expect(Buffer.from(await readBack(world, left, upload)).equals(bytesOf(upload))).toBe(true)
  })

  test('is asked again soon by homes that gave up on finding what only it has, once it is back', async () => {
    const world = createTestWorld()
    const nodes = await world.members(5)
    const copied = objectOf(2 * SEGMENT, 30)
    const [entry] = world.chain.submit(copied.submission)
    for (const node of nodes) await node.caughtUp()
    const leaver = copiesOf(entry!, nodes)[0]!
    world.faults.set(leaver.url, unreachable)
    await putBinary(leaver, entry!, copied.segments, 0)
    const left = drain(world, nodes, leaver)
    const homes = copiesOf(entry!, nodes, left)
    const isTriedIn = (node: Holder): boolean => node.sync!.job(entry!.seq)?.state === 'unavailable'
    // By then they try once an hour.
    for (let hour = 0; hour < 14; hour++) {
      world.clock.jump(3_600_001)
      await until(() => homes.every(isTriedIn), 'they have tried in vain')
      for (let turn = 0; turn < 20; turn++) await new Promise((next) => setTimeout(next))
    }
    await until(() => homes.every(isTriedIn), 'they have tried in vain')
    world.faults.clear()
    const fromMs = world.clock.nowMs()
    await comesTo(world, leaver, 'done')
    expect(world.clock.nowMs() - fromMs).toBeLessThan(1_800_000)
  })

  test('is stuck where a slot has no home left, says how much, and goes on when a node joins', async () => {
    const world = createTestWorld()
    const nodes = await world.members(6)
    const upload = await uploaded(world, nodes, 25)
    const leaver = homesOf(upload.object, nodes).get(1)!
    drain(world, nodes, leaver)
    const stuck = await comesTo(world, leaver, 'stuck')
    const heldBytes = segmentCount(upload, leaver) * SEGMENT
    expect(stuck).toMatchObject({ leftBytes: heldBytes, leftEntryCount: 1, homelessBytes: heldBytes })
    // However long it takes: nothing is given up meanwhile, though its own slot has a home that has it.
    for (let hour = 0; hour < 3; hour++) {
      world.clock.jump(3_600_001)
      for (let turn = 0; turn < 50; turn++) await new Promise((next) => setTimeout(next))
    }
    expect(await handOffOf(leaver)).toEqual(stuck)
    expect(segmentCount(upload, leaver) * SEGMENT).toBe(heldBytes)
    await world.members(1)
    expect(await comesTo(world, leaver, 'done')).toMatchObject({ leftBytes: 0, homelessBytes: 0 })
  })

  test('goes on after a restart, and is not done while a new home does not answer', async () => {
    const world = createTestWorld()
    const nodes = await world.members(7)
    const upload = await uploaded(world, nodes, 26)
    const [slot, leaver] = [...homesOf(upload.object, nodes)][2]!
    const left = nodes.filter((node) => node !== leaver)
    const home = homesAmong(upload, nodes, left).get(slot)!
    world.faults.set(home.url, unreachable)
    drain(world, nodes, leaver)
    const heldBytes = segmentCount(upload, leaver) * SEGMENT
    await until(async () => (await handOffOf(leaver)).leftBytes === heldBytes, 'it has looked')
    await leaver.kill()
    const again = await world.storage(nameOf(leaver), { machine: leaver.machine })
    await again.caughtUp()
    await until(async () => (await handOffOf(again)).leftBytes === heldBytes, 'it has looked again')
    for (let hour = 0; hour < 3; hour++) {
      world.clock.jump(3_600_001)
      for (let turn = 0; turn < 20; turn++) await new Promise((next) => setTimeout(next))
      expect(await handOffOf(again)).toMatchObject({ state: 'moving', leftBytes: heldBytes })
    }
    world.faults.clear()
    await comesTo(world, again, 'done')
  })

  test('is a member as before when a reorganisation takes the drain back', async () => {
    const world = createTestWorld()
    const nodes = await world.members(7)
    const upload = await uploaded(world, nodes, 27)
    const [slot, leaver] = [...homesOf(upload.object, nodes)][3]!
    const block = world.chain.head
    drain(world, nodes, leaver)
    await comesTo(world, leaver, 'done')
    world.chain.rewind(block)
    world.chain.advance(2)
    for (const node of nodes) await node.caughtUp()
    expect(await handOffOf(leaver)).toMatchObject({ state: 'none', leftBytes: 0, handedOffBytes: 0 })
    for (const node of nodes) expect(node.follower.membership.draining()).toEqual([])
    await eventually(world, () => segmentCount(upload, leaver) === slotSegments(upload, slot), 'it has its slot')
  })

  test('is not held up for ever by an upload that its writer gave up', async () => {
    const world = createTestWorld()
    const nodes = await world.members(4)
    const object = objectOf(3 * SEGMENT, 28)
    const [entry] = world.chain.submit(object.submission)
    for (const node of nodes) await node.caughtUp()
    const leaver = copiesOf(entry!, nodes)[0]!
    await putBinary(leaver, entry!, object.segments.slice(0, 1), 0)
    drain(world, nodes, leaver)
    await until(async () => (await handOffOf(leaver)).leftBytes === SEGMENT, 'it is left at first')
    world.clock.jump(UNFINISHED_MS)
    expect(await comesTo(world, leaver, 'done')).toMatchObject({ leftBytes: 0, unfinishedBytes: SEGMENT })
  })

  test('hands off what it keeps for another, whether the certificate names it or not', async () => {
    const world = createTestWorld()
    const nodes = await world.members(7)
    const upload = await uploaded(world, nodes, 29)
    const holders = [...homesOf(upload.object, nodes).values()]
    const stranger = nodes.find((node) => !holders.includes(node))!
    // A shard that it keeps for somebody who could not be reached.
    await putSlots(upload, stranger, [2])
    drain(world, nodes, stranger)
    expect(await comesTo(world, stranger, 'done')).toMatchObject({ leftBytes: 0 })
  })
})
