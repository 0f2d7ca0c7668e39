import { afterEach, describe, expect, test } from 'vitest'
import type { Address, Clock, Root } from '@weightless/core'
import { bitmapOf, protectedHomes, type ErasureCode } from '@weightless/core'
import { createChance } from '../../../../sim/chance.ts'
import { codedObjectOf } from '../../../../sim/compliance/codedObject.ts'
import { rootNumber, segmentOf } from '../../../../sim/compliance/storeSamples.ts'
import { createMemoryDisk } from '../../../../sim/memoryDisk.ts'
import { createMemoryIndexStore } from '../../../../sim/memoryIndex.ts'
import { silentLogger } from '../../../../sim/silentLogger.ts'
import { certificateOf, putCertificate, putSlots, receiptsOf, shardsPath, submitCoded } from '../../test/codedUpload.ts'
import { until } from '../../test/testClock.ts'
import { createTestWorld, endWorlds, memberOf } from '../../test/testRoles.ts'
import { fail as failStore } from '../store/errors.ts'
import { createSegmentStore } from '../store/store.ts'
import { createPace } from './pace.ts'
import { createScrub, type Scrub, type ScrubStatus } from './scrub.ts'

afterEach(endWorlds)

const HOUR_MS = 3_600_000
const SEGMENT = 262_144
const START_MS = 1_700_000_000_000

/** Time that passes when somebody sleeps, and ends at `endMs`. */
function clockUntil(endMs: number, startMs = START_MS): { readonly clock: Clock; readonly signal: AbortSignal } {
  const over = new AbortController()
  let nowMs = startMs
  const clock: Clock = {
    nowMs: () => nowMs,
    async sleep(ms) {
      nowMs += ms
      if (nowMs >= endMs) over.abort(new Error('the time is over'))
      over.signal.throwIfAborted()
    },
    deadline: () => new AbortController().signal,
  }
  return { clock, signal: over.signal }
}

const signerNumber = (n: number): Address => `0x${n.toString(16).padStart(40, '0')}` as Address

/** A store of `rootCount` roots with `perRoot` segments each, all of them in slots of 4096 bytes. */
async function held(rootCount: number, perRoot: number) {
  const disk = createMemoryDisk(createChance(1))
  const index = createMemoryIndexStore(createChance(2)).open()
  const lost: { readonly root: Root; readonly index: number }[] = []
  const { clock } = clockUntil(Infinity)
  const store = await createSegmentStore(
    { dataDir: '/data', capacityBytes: 2 ** 30, freeBytesMin: 0, onLost: (one) => lost.push(one) },
    { disk, index, clock, logger: silentLogger },
  )
  for (let root = 1; root <= rootCount; root++)
    await store.put(
      rootNumber(root),
      Array.from({ length: perRoot }, (_, at) => segmentOf(root, at, { sizeBytes: 256 })),
    )
  const reads: string[] = []
  const roots: Root[] = []
  const scrubOf = (
    of: ReturnType<typeof clockUntil>,
    options: { readonly bytesPerSecond?: number; readonly signer?: Address; readonly isBusy?: () => boolean } = {},
  ): Scrub => {
    const bytesPerSecond = options.bytesPerSecond ?? 2 ** 40
    return createScrub(
      { scrubBytesPerSecond: bytesPerSecond, scrubIntervalMs: 24 * HOUR_MS },
      {
        store: {
          ...store,
          get: async (root, at, how) => {
            reads.push(`${root} ${at}`)
            return await store.get(root, at, how)
          },
        },
        index,
        clock: of.clock,
        logger: silentLogger,
        pace: createPace(
          { bytesPerSecond, yieldMsMax: 1_000 },
          { clock: of.clock, isBusy: options.isBusy ?? (() => false) },
        ),
        signer: options.signer ?? signerNumber(1),
        onRoot: async (root) => void roots.push(root),
      },
    )
  }
  return { disk, store, lost, reads, roots, scrubOf }
}

describe('a pass over all that is held', () => {
  test('reads each segment once an interval and nothing in between, and tells what has rotted', async () => {
    const { disk, store, lost, reads, roots, scrubOf } = await held(3, 4)
    disk.flipBit('/data/slots-4096-000000.dat', 5 * 4096 + 200)
    const time = clockUntil(START_MS + 24 * HOUR_MS)
    const scrub = scrubOf(time)
    expect(scrub.status()).toMatchObject({ state: 'waiting', lastFullPassMs: null, etaSeconds: null })
    await scrub.run(time)
    expect(reads).toHaveLength(12)
    expect(new Set(reads).size).toBe(12)
    expect(roots).toEqual([1, 2, 3].map(rootNumber).sort())
    expect(lost).toEqual([{ root: rootNumber(2), index: 1 }])
    expect(store.usage().damagedCount).toBe(1)
    const status = scrub.status()
    expect(status).toMatchObject({ state: 'waiting', badCount: 1, unreadableCount: 0 })
    expect(status.lastFullPassMs).toBeGreaterThan(START_MS)
    const week = clockUntil(START_MS + 8 * 24 * HOUR_MS, START_MS + 24 * HOUR_MS)
    await scrubOf(week).run(week)
    expect(reads).toHaveLength(12 + 7 * 11)
  })

  test('takes as long as its rate allows, and longer while users are there', async () => {
    const durationOf = async (options: Parameters<Awaited<ReturnType<typeof held>>['scrubOf']>[1]): Promise<number> => {
      const { scrubOf } = await held(2, 10)
      const time = clockUntil(START_MS + 24 * HOUR_MS)
      const scrub = scrubOf(time, options)
      const { nextPassMs } = scrub.status()
      await scrub.run(time)
      return scrub.status().lastFullPassMs! - nextPassMs
    }
    // The first one is read at once.
    expect(await durationOf({ bytesPerSecond: SEGMENT })).toBeCloseTo(19_000, -1)
    expect(await durationOf({ bytesPerSecond: SEGMENT, isBusy: () => true })).toBeGreaterThanOrEqual(20_000)
    expect(await durationOf({ isBusy: () => true })).toBeGreaterThanOrEqual(20_000)
  })

  test('goes on after a restart where it was, and reads again no more than was not written down', async () => {
    const { reads, scrubOf } = await held(2, 400)
    const first = clockUntil(Infinity)
    const { nextPassMs } = scrubOf(first).status()
    // Ends after 700 segments.
    const cut = clockUntil(nextPassMs + 700_000 - 1)
    await scrubOf(cut, { bytesPerSecond: SEGMENT }).run(cut)
    const readBefore = reads.length
    expect(readBefore).toBe(700)
    const rest = clockUntil(nextPassMs + 2 * HOUR_MS, nextPassMs + 800_000)
    const again = scrubOf(rest)
    await again.run(rest)
    expect(new Set(reads).size).toBe(800)
    expect(reads.length - readBefore).toBeLessThanOrEqual(100 + 256)
    expect(again.status().lastFullPassMs).toBeGreaterThan(nextPassMs)
  })

  test('starts at another time at each node', async () => {
    const { scrubOf } = await held(1, 1)
    const starts = Array.from({ length: 50 }, (_, n) => scrubOf(clockUntil(Infinity), { signer: signerNumber(n) }))
      .map((scrub) => scrub.status().nextPassMs - START_MS)
      .sort((a, b) => a - b)
    expect(new Set(starts).size).toBe(50)
    expect(starts[0]).toBeGreaterThanOrEqual(0)
    expect(starts[49]).toBeLessThan(24 * HOUR_MS)
    // No quarter of the interval is left out, and none has most of them.
    const quarters = [0, 1, 2, 3].map((q) => starts.filter((ms) => Math.floor(ms / (6 * HOUR_MS)) === q).length)
    for (const count of quarters) expect(count).toBeLessThan(25)
  })

  test('gives up a place that the disk does not read twice, and nothing while it reads nothing at all', async () => {
    const { reads, lost, store, scrubOf } = await held(2, 3)
    const { get } = store
    let failing: (root: Root, at: number) => boolean = () => true
    Object.assign(store, {
      async get(root: Root, at: number) {
        if (failing(root, at)) throw failStore('STORE_READ_FAILED', { reason: 'EIO' })
        return await get(root, at)
      },
    })
    const first = clockUntil(START_MS + 24 * HOUR_MS)
    const none = scrubOf(first)
    await none.run(first)
    expect(lost).toEqual([])
    expect(none.status()).toMatchObject({ badCount: 0, unreadableCount: 6 })
    failing = (root, at) => root === rootNumber(1) && at === 1
    const second = clockUntil(START_MS + 48 * HOUR_MS, START_MS + 24 * HOUR_MS)
    const one = scrubOf(second)
    await one.run(second)
    expect(lost).toEqual([{ root: rootNumber(1), index: 1 }])
    expect(one.status()).toMatchObject({ badCount: 1, unreadableCount: 1 })
    expect([...store.presence(rootNumber(1)).indexes()]).toEqual([0, 2])
    expect(store.usage()).toMatchObject({ damagedCount: 1, readOnly: false })
    expect(reads.length).toBe(6 + 6 + 1)
  })

  test('that cannot go on is tried again', async () => {
    const { reads, scrubOf, store } = await held(1, 3)
    const time = clockUntil(START_MS + 24 * HOUR_MS)
    const { presence } = store
    let failures = 2
    Object.assign(store, {
      presence(root: Root) {
        if (failures-- > 0) throw new Error('EIO')
        return presence(root)
      },
    })
    await scrubOf(time).run(time)
    expect(reads).toHaveLength(3)
  })
})

test('a shard that rotted is built again though nobody has read it', async () => {
  const code: ErasureCode = { k: 2, m: 1 }
  const world = createTestWorld()
  const nodes = await world.members(3)
  const object = codedObjectOf(5 * SEGMENT, 1, code)
  const upload = await submitCoded(world, object, nodes)
  const members = nodes.map((node, i) => memberOf(i + 1, node))
  const homes = protectedHomes({ dataRoot: upload.data.root, sizeBytes: upload.data.sizeBytes, code }, members).map(
    ({ member }) => nodes.find(({ signer }) => signer === member.signer)!,
  )
  for (const [slot, node] of homes.entries()) await putSlots(upload, node, [slot])
  const certificate = certificateOf(upload, await receiptsOf(upload, homes), nodes[0]!)
  for (const node of nodes) await putCertificate(upload, node, certificate)
  const node = homes[2]!
  await until(async () => (await scrubAt(node)).nextPassMs > world.clock.nowMs())
  node.machine.disk.flipBit('/data/slots-266240-000000.dat', 10_000)
  expect(node.store.usage().damagedCount).toBe(0)
  world.clock.jump(7 * 24 * HOUR_MS)
  await until(async () => (await scrubAt(node)).badCount === 1, 'it is found')
  await until(() => node.store.usage().damagedCount === 0, 'it is built again')
  const told = (await (await node.fetch(shardsPath(upload))).json()) as { receipt: { slots: string } }
  expect(told.receipt.slots).toBe(bitmapOf([2]))
})

async function scrubAt(node: { fetch(path: string): Promise<Response> }): Promise<ScrubStatus> {
  return ((await (await node.fetch('/v1/status')).json()) as { scrub: ScrubStatus }).scrub
}
