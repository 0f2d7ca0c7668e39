import { afterEach, describe, expect, test } from 'vitest'
import { bitmapOf, fingerprintRootOf, signReceipt, type HeldReceipt, type Receipt } from '@weightless/core'
import { codedObjectOf } from '../../../../sim/compliance/codedObject.ts'
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
import {
  createTestWorld,
  endWorlds,
  keyOf,
  memberOf,
  putBinary,
  type TestRole,
  type TestWorld,
} from '../../test/testRoles.ts'

afterEach(endWorlds)

const SIZE_BYTES = 5 * 262_144 + 1_000
const code = { k: 3, m: 2 }
const object = codedObjectOf(SIZE_BYTES, 1, code)

async function ask(upload: CodedUpload, node: TestRole, slots?: string): Promise<unknown> {
  return (await node.fetch(shardsPath(upload, slots))).json()
}

/** Five members with a slot each. */
async function spread(world: TestWorld, of = object): Promise<{ upload: CodedUpload; nodes: readonly Holder[] }> {
  const nodes = await world.members(5)
  const upload = await submitCoded(world, of, nodes)
  for (const [slot, node] of nodes.entries()) await putSlots(upload, node, [slot])
  return { upload, nodes }
}

describe('receipts of shards', () => {
  test('are the same ever after: after a restart, and when their signer has left and joined again', async () => {
    const world = createTestWorld()
    const [node] = await world.members(1)
    const upload = await submitCoded(world, object, [node!])
    await putSlots(upload, node!, [0, 3])
    const first = await ask(upload, node!)
    await node!.kill()
    world.chain.change({ id: 1, member: undefined })
    const again = await world.storage('node-0', { machine: node!.machine })
    await again.caughtUp()
    expect(await ask(upload, again)).toEqual(first)
    world.chain.change({ id: 1, member: memberOf(1, again) })
    await again.caughtUp()
    expect(await ask(upload, again)).toEqual(first)
  })

  test('are those of the bytes, not of the rows: fingerprints that a crash took are computed again', async () => {
    const world = createTestWorld()
    const [node] = await world.members(1)
    const upload = await submitCoded(world, object, [node!])
    await putSlots(upload, node!, [0, 3])
    const first = await ask(upload, node!)
    await node!.kill()
    node!.machine.index.lose()
    const again = await world.storage('node-0', { machine: node!.machine })
    await again.caughtUp()
    expect(await ask(upload, again)).toEqual(first)
  })

  test('are not given for shards that went bad or are gone', async () => {
    const world = createTestWorld()
    const [node] = await world.members(1)
    const upload = await submitCoded(world, object, [node!])
    await putSlots(upload, node!, [0, 3])
    const first = (await ask(upload, node!)) as { receipt: Receipt }
    expect(first.receipt.slots).toBe(bitmapOf([0, 3]))
    await node!.store.remove(upload.parity.root)
    node!.lost(upload.parity.root)
    expect(((await ask(upload, node!)) as { receipt: Receipt }).receipt.slots).toBe(bitmapOf([0]))
    expect(await ask(upload, node!, bitmapOf([0, 3]))).toMatchObject({ error: { code: 'ENTRY_INCOMPLETE' } })
  })

  test('are not signed by a stranger', async () => {
    const world = createTestWorld()
    const node = await world.storage('stranger')
    const upload = await submitCoded(world, object, [node])
    await putSlots(upload, node, [0])
    expect(await ask(upload, node)).toMatchObject({ error: { code: 'RECEIPT_UNAVAILABLE' } })
  })

  test('are signed however many sets of slots are asked for, and few are kept', async () => {
    const world = createTestWorld()
    const [node] = await world.members(1)
    const wide = codedObjectOf(8 * 262_144, 2, { k: 8, m: 1 })
    const upload = await submitCoded(world, wide, [node!])
    await putSlots(upload, node!, [0, 1, 2, 3, 4, 5, 6])
    const sets = Array.from({ length: 100 }, (_, i) => `0x${(i + 1).toString(16).padStart(2, '0')}`)
    const first = await Promise.all(sets.map((slots) => ask(upload, node!, slots)))
    expect(first.map((answer) => (answer as { receipt: Receipt }).receipt.slots)).toEqual(sets)
    expect(await Promise.all(sets.map((slots) => ask(upload, node!, slots)))).toEqual(first)
    const rows = [...node!.index.range({ from: Uint8Array.of(0x74), to: Uint8Array.of(0x75) })]
    expect(rows.length).toBeLessThanOrEqual(64)
  })
})

describe('certificates', () => {
  test('are kept over a restart', async () => {
    const world = createTestWorld()
    const { upload, nodes } = await spread(world)
    const certificate = certificateOf(upload, await receiptsOf(upload, nodes), nodes[0]!)
    expect(await (await putCertificate(upload, nodes[0]!, certificate)).json()).toEqual({
      proven: true,
      slots: bitmapOf([0, 1, 2, 3, 4]),
      lossesSurvived: 2,
    })
    await nodes[0]!.kill()
    const again = await world.storage('node-0', { machine: nodes[0]!.machine })
    await again.caughtUp()
    expect(await (await again.fetch(certificatePath(upload))).json()).toEqual(certificate)
  })

  test('that come at the same time are put together: neither is lost', async () => {
    const world = createTestWorld()
    const { upload, nodes } = await spread(world)
    const held = await receiptsOf(upload, nodes)
    const certificates = [3, 4].map((left) =>
      certificateOf(
        upload,
        held.filter((_, slot) => slot !== left),
        nodes[0]!,
      ),
    )
    const answers = await Promise.all(certificates.map((one) => putCertificate(upload, nodes[0]!, one)))
    expect(answers.map(({ status }) => status)).toEqual([200, 200])
    const kept = (await (await nodes[0]!.fetch(certificatePath(upload))).json()) as { receipts: readonly Receipt[] }
    expect(kept.receipts.map(({ signer }) => signer).sort()).toEqual(nodes.map(({ signer }) => signer).sort())
  })

  test('are kept when all nodes lose their power at once', async () => {
    const world = createTestWorld()
    const { upload, nodes } = await spread(world)
    const certificate = certificateOf(upload, await receiptsOf(upload, nodes), nodes[0]!)
    for (const node of nodes) expect((await putCertificate(upload, node, certificate)).status).toBe(200)
    for (const node of nodes) {
      await node.kill()
      node.machine.disk.losePower()
      node.machine.index.losePower()
    }
    for (const [i, node] of nodes.entries()) {
      const again = await world.storage(`node-${i}`, { machine: node.machine })
      await again.caughtUp()
      expect((await again.fetch(certificatePath(upload))).status).toBe(200)
    }
  })

  test('do not prove parity of other bytes to who has the data, though a data holder vouches for it', async () => {
    const world = createTestWorld()
    // Parity of an object that differs in the data of slot 0: its holder lies about that.
    const other = codedObjectOf(SIZE_BYTES, 2, code)
    const bogus = codedObjectOf(SIZE_BYTES, 1, code, (parity) => {
      for (const [stripe, segment] of other.shardsOf(3).segments.entries())
        parity.set(segment.data, stripe * 2 * 262_144)
    })
    const nodes = await world.members(5)
    const upload = await submitCoded(world, bogus, nodes)
    for (const [slot, node] of nodes.entries()) await putSlots(upload, node, [slot])
    const held = await receiptsOf(upload, nodes)
    // What the data slots would be if the parity were right: the liars sign that.
    const lies = await liesFor(upload, other, held)
    const certificate = certificateOf(upload, lies, nodes[0]!)
    const told = async (node: TestRole): Promise<unknown> => (await putCertificate(upload, node, certificate)).json()
    expect(await told(nodes[4]!)).toMatchObject({ proven: true })
    for (const node of nodes.slice(0, 3)) expect(await told(node)).toMatchObject({ proven: false })
  })

  test('and all that was written of shards go with a reorganisation', async () => {
    const world = createTestWorld()
    const nodes = await world.members(5)
    const block = world.chain.head
    const upload = await submitCoded(world, object, nodes)
    for (const [slot, node] of nodes.entries()) await putSlots(upload, node, [slot])
    const certificate = certificateOf(upload, await receiptsOf(upload, nodes), nodes[0]!)
    expect((await putCertificate(upload, nodes[0]!, certificate)).status).toBe(200)
    const rowsOf = (node: TestRole, letter: string): number => {
      const at = letter.charCodeAt(0)
      return [...node.index.range({ from: Uint8Array.of(at), to: Uint8Array.of(at + 1) })].length
    }
    expect(['h', 't', 'v', 'q'].map((letter) => rowsOf(nodes[0]!, letter))).toEqual([1, 1, 1, 1])
    world.chain.rewind(block)
    // The same numbers for other entries, in another order.
    const [parity, data] = world.chain.submit(object.parity.submission, object.data.submission)
    await nodes[0]!.caughtUp()
    expect(['h', 't', 'v', 'q'].map((letter) => rowsOf(nodes[0]!, letter))).toEqual([0, 0, 0, 0])
    const now: CodedUpload = { object, data: data!, parity: parity! }
    expect((await nodes[0]!.fetch(certificatePath(now))).status).toBe(404)
    await until(async () => ((await ask(now, nodes[0]!)) as { receipt?: Receipt }).receipt?.entrySeq === data!.seq)
  })
})

/** Receipts by which data slots have the fingerprints of another object's, at the point of the bogus parity. */
async function liesFor(
  { object: bogus, parity }: CodedUpload,
  other: typeof object,
  held: readonly HeldReceipt[],
): Promise<readonly HeldReceipt[]> {
  const { layout } = bogus
  return held.flatMap(({ receipt, fingerprints }, slot) => {
    if (slot === 4) return []
    if (slot === 3) return [{ receipt, fingerprints }]
    const lie = other.fingerprintsAt(bogus, [slot])
    const fingerprintRoot = fingerprintRootOf({ layout, parityRoot: parity.root, slots: [slot] }, lie)
    return [{ receipt: signReceipt({ ...receipt, fingerprintRoot }, keyOf(`node-${slot}`)), fingerprints: lie }]
  })
}

test('a node that holds an entry whole signs a copy and its shards apart', async () => {
  const world = createTestWorld()
  const [node] = await world.members(1)
  const upload = await submitCoded(world, object, [node!])
  const answer = await putBinary(node!, upload.data, object.data.segments, 1)
  const { receipt: copy } = (await answer.json()) as { receipt: Receipt }
  const { receipt: shards } = (await ask(upload, node!)) as { receipt: Receipt }
  expect([copy.slots, shards.slots]).toEqual([bitmapOf([1]), bitmapOf([0, 1, 2])])
  const path = `/v1/entries/${upload.data.root}/receipt?seq=${upload.data.seq}&slot=0`
  expect(await (await node!.fetch(path)).json()).toEqual(copy)
})
