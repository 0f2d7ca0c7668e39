import { afterEach, expect, test } from 'vitest'
import { PARITY_ORPHAN_MS, copyHomes, protectedHomes, type Entry, type ErasureCode } from '@weightless/core'
import { codedObjectOf } from '../../../../sim/compliance/codedObject.ts'
import {
  certificateOf,
  putCertificate,
  putSlots,
  receiptsOf,
  submitCoded,
  type CodedUpload,
  type Holder,
} from '../../test/codedUpload.ts'
import { until } from '../../test/testClock.ts'
import { createTestWorld, endWorlds, memberOf, putBinary, type TestWorld } from '../../test/testRoles.ts'
import type { ScrubStatus } from './scrub.ts'

afterEach(endWorlds)

const WEEK_MS = 7 * 24 * 3_600_000
const SIZE_BYTES = 5 * 262_144
const code: ErasureCode = { k: 2, m: 1 }
const object = codedObjectOf(SIZE_BYTES, 1, code)

async function scrubOf(node: Holder): Promise<ScrubStatus> {
  return ((await (await node.fetch('/v1/status')).json()) as { scrub: ScrubStatus }).scrub
}

/** A week goes by, in which each node reads all that it holds. */
async function passOfAll(world: TestWorld, nodes: readonly Holder[], intervalMs = WEEK_MS): Promise<void> {
  const before = await Promise.all(nodes.map(async (node) => (await scrubOf(node)).lastFullPassMs ?? 0))
  world.clock.jump(intervalMs)
  for (const [i, node] of nodes.entries())
    await until(async () => ((await scrubOf(node)).lastFullPassMs ?? 0) > before[i]!, 'all is read')
}

const heldBy = (node: Holder, { root }: Entry): number => node.store.presence(root).heldCount

function slotHomes({ data }: CodedUpload, nodes: readonly Holder[]): readonly Holder[] {
  const members = nodes.map((node, i) => memberOf(i + 1, node))
  return protectedHomes({ dataRoot: data.root, sizeBytes: data.sizeBytes, code }, members).map(({ member }) =>
    nodes.find(({ signer }) => signer === member.signer)!,
  )
}

test('parity of an object that is not in the log is dropped after the limit, by all its holders, and not fetched again', async () => {
  const world = createTestWorld()
  const nodes = await world.members(4)
  const [parity] = world.chain.submit(object.parity.submission)
  const members = nodes.map((node, i) => memberOf(i + 1, node))
  const homes = copyHomes({ key: parity!.root, count: 3 }, members).map(({ member }) =>
    nodes.find(({ signer }) => signer === member.signer)!,
  )
  for (const [slot, node] of homes.entries()) {
    await node.caughtUp()
    await putBinary(node, parity!, object.parity.segments, slot)
  }
  await passOfAll(world, nodes)
  for (const node of homes) expect(heldBy(node, parity!)).toBe(3)
  await passOfAll(world, nodes)
  for (const node of homes) await until(() => heldBy(node, parity!) === 0, 'it is dropped')
  await homes[0]!.kill()
  const again = await world.storage(new URL(homes[0]!.url).hostname.replace('.test', ''), {
    machine: homes[0]!.machine,
  })
  world.log.length = 0
  await until(async () => {
    const { sync } = (await (await again.fetch('/v1/status')).json()) as { sync: { state: string } }
    return sync.state === 'complete'
  })
  expect(heldBy(again, parity!)).toBe(0)
  expect(world.log.filter((line) => line.endsWith('/segments'))).toEqual([])
})

test('it is not dropped before the limit, however often it is seen', async () => {
  const world = createTestWorld()
  const dayMs = WEEK_MS / 7
  const node = await world.storage('daily', { upkeep: { scrubIntervalMs: dayMs } })
  const [parity] = world.chain.submit(object.parity.submission)
  await node.caughtUp()
  await putBinary(node, parity!, object.parity.segments)
  await passOfAll(world, [node], dayMs)
  const seenMs = world.clock.nowMs()
  while (world.clock.nowMs() + dayMs < seenMs + PARITY_ORPHAN_MS) {
    await passOfAll(world, [node], dayMs)
    expect(heldBy(node, parity!)).toBe(3)
  }
  for (let pass = 0; pass < 2; pass++) await passOfAll(world, [node], dayMs)
  expect(heldBy(node, parity!)).toBe(0)
})

test('parity of an object of which too little is held to read it is dropped, and serves when its writer brings both after all', async () => {
  const world = createTestWorld()
  const nodes = await world.members(3)
  const upload = await submitCoded(world, object, nodes)
  const homes = slotHomes(upload, nodes)
  await putSlots(upload, homes[2]!, [2])
  await passOfAll(world, nodes)
  expect(heldBy(homes[2]!, upload.parity)).toBe(3)
  await passOfAll(world, nodes)
  await until(() => heldBy(homes[2]!, upload.parity) === 0, 'it is dropped')
  for (const [slot, node] of homes.entries()) await putSlots(upload, node, [slot])
  const certificate = certificateOf(upload, await receiptsOf(upload, homes), nodes[0]!)
  for (const node of nodes) await putCertificate(upload, node, certificate)
  for (let pass = 0; pass < 3; pass++) await passOfAll(world, nodes)
  expect(heldBy(homes[2]!, upload.parity)).toBe(3)
})

test('parity that a lost data slot is computed from stays, certificate or not', async () => {
  const world = createTestWorld()
  const nodes = await world.members(3)
  const upload = await submitCoded(world, object, nodes)
  const homes = slotHomes(upload, nodes)
  await putSlots(upload, homes[0]!, [0])
  await putSlots(upload, homes[2]!, [2])
  for (let pass = 0; pass < 3; pass++) await passOfAll(world, nodes)
  expect(heldBy(homes[2]!, upload.parity)).toBe(3)
})

test('parity that nobody has proven stays while somebody may have all of its data, and while one of its homes does not answer', async () => {
  const world = createTestWorld()
  const nodes = await world.members(3)
  const bogus = codedObjectOf(SIZE_BYTES, 2, code, (parity) => parity.fill(7))
  const [complete, unsure] = [await submitCoded(world, bogus, nodes), await submitCoded(world, object, nodes)]
  await putBinary(nodes[0]!, complete.data, bogus.data.segments)
  await putBinary(nodes[0]!, complete.parity, bogus.parity.segments)
  await putBinary(nodes[0]!, unsure.parity, object.parity.segments)
  world.faults.set(nodes[2]!.url, () => Promise.reject(new TypeError('fetch failed')))
  for (let pass = 0; pass < 3; pass++) await passOfAll(world, nodes)
  expect(heldBy(nodes[0]!, complete.parity)).toBe(3)
  expect(heldBy(nodes[0]!, unsure.parity)).toBe(3)
  // Now that all have answered, it is only a matter of time.
  world.faults.clear()
  for (let pass = 0; pass < 2; pass++) await passOfAll(world, nodes)
  await until(() => heldBy(nodes[0]!, unsure.parity) === 0, 'it is dropped')
  expect(heldBy(nodes[0]!, complete.parity)).toBe(3)
})
