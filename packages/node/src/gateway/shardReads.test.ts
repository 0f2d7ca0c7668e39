import { SEGMENT_SIZE_BYTES, type Certificate } from '@weightless/core'
import { afterEach, describe, expect, test } from 'vitest'
import { codedObjectOf } from '../../../../sim/compliance/codedObject.ts'
import { objectOf } from '../../../../sim/compliance/storageNode.ts'
import {
  certificateOf,
  putCertificate,
  putSlots,
  receiptsOf,
  submitCoded,
  type CodedUpload,
} from '../../test/codedUpload.ts'
import { ENTRIES_PER_ROOT_MAX } from '../flow/entries.ts'
import { until } from '../../test/testClock.ts'
import { createTestWorld, endWorlds, officialSegment, type TestRole, type TestWorld } from '../../test/testRoles.ts'

afterEach(endWorlds)

const S = SEGMENT_SIZE_BYTES
const code = { k: 4, m: 2 }

type Stored = CodedUpload & {
  readonly world: TestWorld
  readonly gateway: TestRole
  readonly nodes: readonly TestRole[]
  readonly certificate: Certificate
}

/** Slot s at node s, and a certificate that nobody has been given. */
async function stored(sizeBytes: number, seed: number): Promise<Stored> {
  const world = createTestWorld()
  const nodes = await world.members(6)
  const gateway = await world.gateway('gateway')
  await gateway.caughtUp()
  const upload = await submitCoded(world, codedObjectOf(sizeBytes, seed, code), [gateway, ...nodes])
  for (const [slot, node] of nodes.entries()) await putSlots(upload, node, [slot])
  const certificate = certificateOf(upload, await receiptsOf(upload, nodes), gateway)
  return { ...upload, world, gateway, nodes, certificate }
}

const down = ({ world }: Stored, ...slots: readonly number[]): void => {
  for (const slot of slots)
    world.faults.set(`http://node-${slot}.test`, async () => {
      throw new TypeError('fetch failed')
    })
}
const infoOf = async ({ gateway }: Stored, root: string): Promise<{ finalized: boolean } | null> =>
  (await gateway.rpc('zgs_getFileInfo', [root, true])).result
const contentOf = ({ object, data }: Stored): Buffer =>
  Buffer.concat(object.data.segments.map((segment) => segment.data)).subarray(0, data.sizeBytes)

describe('an object that is kept by shards', () => {
  test('is final by its certificate, and so is its parity', async () => {
    const at = await stored(9 * S + 300, 1)
    expect(await infoOf(at, at.data.root)).toMatchObject({ finalized: false })
    expect((await putCertificate(at, at.gateway, at.certificate)).status).toBe(200)
    expect(await infoOf(at, at.data.root)).toMatchObject({ finalized: true, uploadedSegNum: 10 })
    expect(await infoOf(at, at.parity.root)).toMatchObject({ finalized: true })
    const locations = await at.gateway.rpc('indexer_getFileLocations', [at.data.root])
    expect(locations.result).toHaveLength(1)
  })

  test('has a parity that is final under each number that it has in the log', async () => {
    const at = await stored(9 * S, 11)
    const [again] = at.world.chain.submit(at.object.parity.submission)
    for (const node of [at.gateway, ...at.nodes]) await node.caughtUp()
    const isFinal = async (seq: number): Promise<unknown> =>
      (await at.gateway.rpc('zgs_checkFileFinalized', [seq])).result
    expect([await isFinal(at.parity.seq), await isFinal(again!.seq)]).toEqual([false, false])
    await putCertificate(at, at.gateway, at.certificate)
    expect([await isFinal(at.parity.seq), await isFinal(again!.seq)]).toEqual([true, true])
    const read = await at.gateway.rpc('zgs_downloadSegmentWithProofByTxSeq', [again!.seq, 1])
    expect((read.result as { root: string }).root).toBe(again!.root)
  })

  test('is found to be final where only a holder was told', async () => {
    const at = await stored(9 * S, 2)
    expect((await putCertificate(at, at.nodes[3]!, at.certificate)).status).toBe(200)
    await until(async () => (await infoOf(at, at.data.root))?.finalized === true, 'the certificate is found')
  })

  test('is not final by a certificate of less than durable asks for, nor by one that is none', async () => {
    const at = await stored(9 * S, 3)
    const few = certificateOf(at, await receiptsOf(at, at.nodes.slice(0, 4)), at.gateway)
    expect((await putCertificate(at, at.gateway, few)).status).toBe(200)
    const { receipts, ...rest } = at.certificate
    const forged = { ...rest, receipts: receipts.map((one) => ({ ...one, blockNumber: one.blockNumber + 1 })) }
    expect((await putCertificate(at, at.gateway, forged as Certificate)).status).toBe(400)
    expect(await infoOf(at, at.data.root)).toMatchObject({ finalized: false })
  })

  test.each([[[]], [[0, 3]], [[1, 4]]])('without the slots %j gives each segment with a proof', async (lost) => {
    const at = await stored(9 * S + 300, 4)
    await putCertificate(at, at.gateway, at.certificate)
    down(at, ...lost)
    for (const index of [0, 1, 3, 8, 9]) {
      const answer = await at.gateway.rpc('zgs_downloadSegmentWithProofByTxSeq', [at.data.seq, index])
      expect(answer.result).toEqual(officialSegment(at.object.data, index))
    }
  })

  test('is read as a file, and in ranges', async () => {
    const at = await stored(20 * S + 77, 5)
    await putCertificate(at, at.gateway, at.certificate)
    down(at, 2, 3)
    const whole = await at.gateway.fetch(`/file?root=${at.data.root}`)
    expect(Buffer.from(await whole.arrayBuffer()).equals(contentOf(at))).toBe(true)
    const headers = { range: `bytes=${3 * S - 10}-${3 * S + 9}` }
    const part = await at.gateway.fetch(`/file?root=${at.data.root}`, { headers })
    expect(part.status).toBe(206)
    expect(Buffer.from(await part.arrayBuffer()).equals(contentOf(at).subarray(3 * S - 10, 3 * S + 10))).toBe(true)
  })

  test('is read while the chain is away', async () => {
    const at = await stored(9 * S, 8)
    await putCertificate(at, at.gateway, at.certificate)
    at.world.chain.fault = () => new Response('gone', { status: 503 })
    down(at, 0)
    const whole = await at.gateway.fetch(`/file?root=${at.data.root}`)
    expect(Buffer.from(await whole.arrayBuffer()).equals(contentOf(at))).toBe(true)
  })

  test('is final under its own number, however many strangers have submitted the same before', async () => {
    const world = createTestWorld()
    const nodes = await world.members(6)
    const gateway = await world.gateway('gateway')
    await gateway.caughtUp()
    const object = codedObjectOf(2 * S, 9, code)
    world.chain.submit(...Array.from({ length: ENTRIES_PER_ROOT_MAX }, () => object.data.submission))
    const upload = await submitCoded(world, object, [gateway, ...nodes])
    for (const [slot, node] of nodes.entries()) if (slot < 2 || slot > 3) await putSlots(upload, node, [slot])
    const holders = nodes.filter((_, slot) => slot < 2 || slot > 3)
    await putCertificate(upload, gateway, certificateOf(upload, await receiptsOf(upload, holders), gateway))
    expect((await gateway.rpc('zgs_checkFileFinalized', [upload.data.seq])).result).toBe(true)
  })

  test('has a parity that is read as any file, each segment from the holder of its slot', async () => {
    const at = await stored(40 * S, 10)
    await putCertificate(at, at.gateway, at.certificate)
    const whole = await at.gateway.fetch(`/file?root=${at.parity.root}`)
    const expected = Buffer.concat(at.object.parity.segments.map((segment) => segment.data))
    expect(Buffer.from(await whole.arrayBuffer()).equals(expected)).toBe(true)
    const reads = at.world.log.filter((line) => line.startsWith('GET') && line.endsWith('/segments'))
    expect(reads).toHaveLength(20)
  })

  test('with more than m holders away says which slots are missing', async () => {
    const at = await stored(9 * S, 6)
    await putCertificate(at, at.gateway, at.certificate)
    down(at, 0, 1, 2)
    const answer = await at.gateway.rpc('zgs_downloadSegmentWithProofByTxSeq', [at.data.seq, 0])
    expect(JSON.stringify(answer.error)).toContain('SHARDS_LOST')
  })
})

test('under the policy `none` what the gateway has is final, stays there, and goes nowhere', async () => {
  const world = createTestWorld()
  const nodes = await world.members(3)
  const gateway = await world.gateway('gateway', { policy: { kind: 'none' } })
  const object = objectOf(3 * S + 10, 7)
  const [entry] = world.chain.submit(object.submission)
  for (const role of [gateway, ...nodes]) await role.caughtUp()
  const isFinal = async (): Promise<boolean> =>
    (await gateway.rpc('zgs_checkFileFinalized', [entry!.seq])).result === true
  for (const index of [0, 1, 2]) {
    await gateway.rpc('zgs_uploadSegmentsByTxSeq', [[officialSegment(object, index)], entry!.seq])
    expect(await isFinal()).toBe(false)
  }
  await gateway.rpc('zgs_uploadSegmentsByTxSeq', [[officialSegment(object, 3)], entry!.seq])
  await until(isFinal, 'all of it is here')
  world.clock.jump(86_400_000 * 2)
  await until(async () => world.clock.nowMs() > 0, 'sweeps have run')
  expect(gateway.store.usage().segmentCount).toBe(4)
  expect(world.log.filter((line) => line.startsWith('PUT'))).toEqual([])
  const read = await gateway.rpc('zgs_downloadSegmentWithProofByTxSeq', [entry!.seq, 3])
  expect(read.result).toEqual(officialSegment(object, 3))
})
