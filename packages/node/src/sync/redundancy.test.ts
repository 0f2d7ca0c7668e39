import * as fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import {
  presentSlots,
  protectedHomes,
  SEGMENT_SIZE_BYTES,
  shardLayoutOf,
  type ErasureCode,
  type ShardLayout,
} from '@weightless/core'
import { codedObjectOf } from '../../../../sim/compliance/codedObject.ts'
import { objectOf } from '../../../../sim/compliance/storageNode.ts'
import { runs } from '../../../../sim/runs.ts'
import {
  certificateOf,
  homesOf,
  putCertificate,
  putSlots,
  receiptsOf,
  submitCoded,
  tellAll,
  type Holder,
} from '../../test/codedUpload.ts'
import { until } from '../../test/testClock.ts'
import { createTestWorld, endWorlds, memberOf } from '../../test/testRoles.ts'
import { levelOf, REDUNDANCY_LEVELS, type RedundancyLevel, type RedundancyStatus } from './redundancy.ts'

afterEach(endWorlds)

const code: ErasureCode = { k: 4, m: 2 }
const layout = shardLayoutOf(9 * SEGMENT_SIZE_BYTES, code)!
const homes = presentSlots(layout).map((slot, i) => ({ slot, id: i + 1 }))
const members = new Set([1, 2, 3, 4, 5, 6, 7])
const holders = homes.map(({ slot, id }) => ({ id, slots: [slot] }))

describe('the level of an object', () => {
  test('is its parity while all homes are members, less one for each that is not, and lost beyond', () => {
    const without = (...gone: number[]): RedundancyLevel =>
      levelOf({ layout, homes, holders, members: new Set([...members].filter((id) => !gone.includes(id))) })
    expect([without(), without(1), without(1, 6), without(1, 5, 6)]).toEqual(['2', '1', '0', 'lost'])
  })

  test('counts a slot that a member holds for a home that has it not yet, and nothing that a home has too much', () => {
    const moved = homes.map(({ slot, id }) => ({ slot, id: slot === 0 ? 7 : id }))
    expect(levelOf({ layout, homes: moved, holders, members })).toBe('2')
    const copies = holders.map(({ id, slots }) => ({ id, slots: id < 4 ? [0, 1, 2, 3, ...slots] : slots }))
    expect(levelOf({ layout, homes, holders: copies, members })).toBe('2')
    // They may have given up the others' slots since; what this node has it knows.
    const few = new Set([1, 2, 3])
    expect(levelOf({ layout, homes, holders: copies, members: few })).toBe('lost')
    expect(levelOf({ layout, homes, holders: copies, members: few, own: { id: 1, slots: [0, 1, 2, 3] } })).toBe('0')
    expect(levelOf({ layout, homes, holders: copies, members: few, own: { id: 1, slots: [0] } })).toBe('lost')
  })

  test('of copies is their number less one', () => {
    const of = (...ids: number[]): RedundancyLevel =>
      levelOf({ layout: undefined, homes: [], members, holders: ids.map((id) => ({ id, slots: [] })) })
    expect([of(1, 2, 3), of(1), of(8), of(1, 8)]).toEqual(['2', '0', 'lost', '0'])
  })

  test('has one name for all that is beyond counting', () => {
    const wide = shardLayoutOf(4 * SEGMENT_SIZE_BYTES, { k: 2, m: 12 })!
    const all = presentSlots(wide).map((slot, i) => ({ id: i + 1, slots: [slot] }))
    const state = { layout: wide, homes: all.map(({ id, slots }) => ({ id, slot: slots[0]! })), holders: all }
    expect(levelOf({ ...state, members: new Set(all.map(({ id }) => id)) })).toBe('8+')
    expect(levelOf({ ...state, members: new Set(all.slice(0, 9).map(({ id }) => id)) })).toBe('7')
  })

  test('is never more than what any losses leave readable', () => {
    const worlds = fc.record({
      holders: fc.array(fc.uniqueArray(fc.constantFrom(...presentSlots(layout)), { minLength: 1, maxLength: 3 }), {
        maxLength: 7,
      }),
      gone: fc.subarray([1, 2, 3, 4, 5, 6, 7], { maxLength: 2 }),
    })
    fc.assert(
      fc.property(worlds, ({ holders: slots, gone }) => {
        const held = slots.map((own, i) => ({ id: i + 1, slots: own }))
        const present = held.filter(({ id }) => !gone.includes(id))
        const level = levelOf({ layout, homes, holders: held, members: new Set(present.map(({ id }) => id)) })
        const truth = survived(
          layout,
          present.map((holder) => holder.slots),
        )
        if (level === 'lost') return
        expect(Number(level)).toBeLessThanOrEqual(truth)
      }),
      runs(3),
    )
  })
})

/** Any dataSlotCount slots decode: the most losses that always leave so many; -1 where they are not there. */
function survived({ dataSlotCount }: ShardLayout, slots: readonly (readonly number[])[]): number {
  const isReadable = (lost: number): boolean =>
    new Set(slots.filter((_, i) => ((lost >> i) & 1) === 0).flat()).size >= dataSlotCount
  let least = slots.length + 1
  for (let lost = 0; lost < 2 ** slots.length; lost++)
    if (!isReadable(lost)) least = Math.min(least, lost.toString(2).replaceAll('0', '').length)
  return least - 1
}

describe('what nodes report', () => {
  async function redundancyOf(node: Holder): Promise<RedundancyStatus> {
    return ((await (await node.fetch('/v1/status')).json()) as { redundancy: RedundancyStatus }).redundancy
  }

  async function sumOf(nodes: readonly Holder[]): Promise<Partial<Record<RedundancyLevel, number>>> {
    const sum: Partial<Record<RedundancyLevel, number>> = {}
    for (const node of nodes) {
      const { bytes } = await redundancyOf(node)
      for (const level of REDUNDANCY_LEVELS) if (bytes[level] > 0) sum[level] = (sum[level] ?? 0) + bytes[level]
    }
    return sum
  }

  test('is each object once, at what it survives: less when a member goes, and as before once others have taken over', async () => {
    const world = createTestWorld()
    const nodes = await world.members(7)
    const sizes = [5, 6, 9].map((count) => count * SEGMENT_SIZE_BYTES + 100)
    const uploads = []
    for (const [i, sizeBytes] of sizes.entries()) {
      const object = codedObjectOf(sizeBytes, 20 + i, code)
      const upload = await submitCoded(world, object, nodes)
      const placed = protectedHomes(
        { dataRoot: upload.data.root, sizeBytes, code },
        nodes.map((node, id) => memberOf(id + 1, node)),
      ).map(({ slot, member }) => ({ slot, node: nodes.find(({ signer }) => signer === member.signer)! }))
      for (const { slot, node } of placed) await putSlots(upload, node, [slot])
      const certificate = certificateOf(
        upload,
        await receiptsOf(
          upload,
          placed.map(({ node }) => node),
        ),
        nodes[0]!,
      )
      uploads.push({ upload, certificate, placed })
    }
    // Homes may certify what nobody has certified; one that nobody can certify stays unknown.
    world.chain.submit(objectOf(1_000, 1).submission)
    for (const node of nodes) await node.caughtUp()
    const codedBytes = sizes.reduce((sum, size) => sum + size, 0)
    const total = async (): Promise<number> => Object.values(await sumOf(nodes)).reduce((sum, bytes) => sum + bytes, 0)
    await until(async () => (await total()) === codedBytes + 1_000, 'each is counted once')
    for (const { upload, certificate, placed } of uploads)
      for (const { node } of placed) await putCertificate(upload, node, certificate)
    await until(async () => JSON.stringify(await sumOf(nodes)) === JSON.stringify({ unknown: 1_000, '2': codedBytes }))
    const gone = uploads[0]!.placed[1]!.node
    await gone.kill()
    world.chain.change({ id: nodes.indexOf(gone) + 1, member: undefined })
    const left = nodes.filter((node) => node !== gone)
    await until(async () => ((await sumOf(left))['1'] ?? 0) >= sizes[0]!, 'it is seen')
    await until(
      async () => JSON.stringify(await sumOf(left)) === JSON.stringify({ unknown: 1_000, '2': codedBytes }),
      'all is as before',
    )
    for (const node of left) expect((await redundancyOf(node)).state).toBe('known')
  })

  // As in sim seed 103907: the certificate of the first entry was made before the last shards came.
  test('of two entries of the same bytes goes by the certificate that keeps both', async () => {
    const world = createTestWorld()
    const nodes = await world.members(6)
    const object = codedObjectOf(5 * SEGMENT_SIZE_BYTES, 30, { k: 3, m: 3 })
    const first = await submitCoded(world, object, nodes)
    const [twin] = world.chain.submit(object.data.submission)
    for (const node of nodes) await node.caughtUp()
    const second = { ...first, data: twin! }
    const placed = [...homesOf(object, nodes)].sort(([a], [b]) => a - b)
    for (const [slot, node] of placed) await putSlots(first, node, [slot])
    const homes = placed.map(([, node]) => node)
    const lesser = certificateOf(first, await receiptsOf(first, homes.slice(0, 4)), nodes[0]!)
    await tellAll(second, homes, nodes)
    for (const node of nodes) expect((await putCertificate(first, node, lesser)).status).toBe(200)
    await until(async () => JSON.stringify(await sumOf(nodes)) === JSON.stringify({ '3': 5 * SEGMENT_SIZE_BYTES }))
  })
})
