import { beforeEach, describe, expect, test } from 'vitest'
import type { Clock, Failure, Index, Root } from '@weightless/core'
import { createChance } from '../../../../sim/chance.ts'
import { expectSame } from '../../../../sim/compliance/segmentStore.ts'
import { rootNumber, segmentOf } from '../../../../sim/compliance/storeSamples.ts'
import { createMemoryDisk, type MemoryDisk } from '../../../../sim/memoryDisk.ts'
import { createMemoryIndexStore, type MemoryIndexStore } from '../../../../sim/memoryIndex.ts'
import { silentLogger } from '../../../../sim/silentLogger.ts'
import { createSegmentStore, type SegmentStore, type SegmentStoreOptions } from './store.ts'

const clock: Clock = {
  nowMs: () => 1_700_000_000_000,
  sleep: () => new Promise(() => undefined),
  deadline: () => new AbortController().signal,
}
const dataDir = '/node/data'

let disk: MemoryDisk
let indexes: MemoryIndexStore
let index: Index
let fatal: Failure[]
let lost: { root: Root; index: number }[]
let store: SegmentStore

async function open(options: Partial<SegmentStoreOptions> = {}, time: Clock = clock): Promise<SegmentStore> {
  index = indexes.open()
  return createSegmentStore(
    {
      dataDir,
      capacityBytes: 2 ** 30,
      onFatal: (failure) => fatal.push(failure),
      onLost: (one) => lost.push(one),
      ...options,
    },
    { disk: disk.process(), index, clock: time, logger: silentLogger },
  )
}

async function openFails(): Promise<Failure> {
  return open().then(
    () => expect.unreachable('the store opened'),
    (failure: Failure) => failure,
  )
}

async function failureOf(work: Promise<unknown>): Promise<Failure> {
  return work.then(
    () => expect.unreachable('it did not fail'),
    (failure: Failure) => failure,
  )
}

const small = (root: number, at: number): ReturnType<typeof segmentOf> => segmentOf(root, at, { sizeBytes: 256 })
const slotFile = `${dataDir}/slots-4096-000000.dat`

beforeEach(async () => {
  const chance = createChance(1)
  disk = createMemoryDisk(chance)
  indexes = createMemoryIndexStore(chance)
  fatal = []
  lost = []
  store = await open()
})

describe('bytes that go bad', () => {
  test('are STORE_CORRUPT, never data; the segment is lost, is told to the role, and can be put again', async () => {
    await store.put(rootNumber(1), [small(1, 0), small(1, 1)])
    disk.flipBit(slotFile, 200)
    expect((await failureOf(store.get(rootNumber(1), 0))).code).toBe('STORE_CORRUPT')
    expect(lost).toEqual([{ root: rootNumber(1), index: 0 }])
    expect([...store.presence(rootNumber(1)).indexes()]).toEqual([1])
    expect(await store.get(rootNumber(1), 0)).toBeUndefined()
    await store.put(rootNumber(1), [small(1, 0)])
    expectSame(await store.get(rootNumber(1), 0), small(1, 0))
    expect(store.presence(rootNumber(1)).heldCount).toBe(2)
  })

  test.each([
    ['the magic', 0],
    ['the depth', 7],
    ['the sequence', 15],
    ['the root', 40],
    ['the checksum', 70],
    ['a sibling', 80],
    ['the data', 150],
  ])('are noticed in %s', async (_, position) => {
    await store.put(rootNumber(1), [small(1, 0)])
    disk.flipBit(slotFile, position)
    expect((await failureOf(store.get(rootNumber(1), 0))).code).toBe('STORE_CORRUPT')
  })

  test('are left out by a rebuild', async () => {
    await store.put(rootNumber(1), [small(1, 0), small(1, 1)])
    await store.close()
    disk.flipBit(slotFile, 200)
    indexes.lose()
    store = await open()
    expect([...store.presence(rootNumber(1)).indexes()]).toEqual([1])
  })

  test('are noticed while the same root is being put, and the counts stay right', async () => {
    for (let turns = 0; turns < 40; turns++) {
      const root = 10 + turns
      await store.put(rootNumber(root), [small(root, 0)])
      const slot = store.usage().segmentCount - 1
      disk.flipBit(slotFile, slot * 4096 + 200)
      const put = store.put(rootNumber(root), [small(root, 1), small(root, 2)])
      for (let turn = 0; turn < turns; turn++) await Promise.resolve()
      expect((await failureOf(store.get(rootNumber(root), 0))).code).toBe('STORE_CORRUPT')
      await put
      const presence = store.presence(rootNumber(root))
      expect([...presence.indexes()]).toEqual([1, 2])
      expect(presence.heldCount).toBe(2)
    }
  })

  test('and are removed by themselves are damage no more', async () => {
    await store.put(rootNumber(1), [small(1, 0), small(1, 1)])
    disk.flipBit(slotFile, 200)
    await failureOf(store.get(rootNumber(1), 0))
    expect(store.usage().damagedCount).toBe(1)
    await store.removeSegments(rootNumber(1), [0, 1])
    expect(store.usage()).toMatchObject({ damagedCount: 0, segmentCount: 1 })
    expect([...store.damaged()]).toEqual([])
  })

  test('are listed as damage until the segment is put again, over restarts too; a removed root has none', async () => {
    await store.put(rootNumber(1), [small(1, 0), small(1, 1)])
    await store.put(rootNumber(2), [small(2, 0), small(2, 1)])
    for (const slot of [0, 1, 2, 3]) disk.flipBit(slotFile, slot * 4096 + 200)
    for (const [root, at] of [
      [1, 0],
      [1, 1],
      [2, 0],
      [2, 1],
    ] as const)
      await failureOf(store.get(rootNumber(root), at))
    expect(store.usage()).toMatchObject({ damagedCount: 4, segmentCount: 4, readOnly: false })
    disk.endProcess()
    indexes.endProcess()
    store = await open()
    expect(store.usage()).toMatchObject({ damagedCount: 4, segmentCount: 0 })
    await store.put(rootNumber(1), [small(1, 1)])
    expect([...store.damaged()].filter(({ root }) => root === rootNumber(1))).toEqual([
      { root: rootNumber(1), index: 0 },
    ])
    expect(store.usage().damagedCount).toBe(3)
    await store.remove(rootNumber(2))
    expect([...store.damaged()]).toEqual([{ root: rootNumber(1), index: 0 }])
    expect(store.usage().damagedCount).toBe(1)
    await store.put(rootNumber(1), [small(1, 0)])
    expect([...store.damaged()]).toEqual([])
    expect(store.usage().damagedCount).toBe(0)
  })

  test('and were put again before a crash took the row of that are held and no damage', async () => {
    for (let seed = 0; seed < 30; seed++) {
      disk = createMemoryDisk(createChance(seed))
      indexes = createMemoryIndexStore(createChance(seed))
      store = await open()
      await store.put(rootNumber(1), [small(1, 0)])
      await store.close()
      store = await open()
      await store.put(rootNumber(2), [small(2, 0)])
      disk.flipBit(slotFile, 200)
      await failureOf(store.get(rootNumber(1), 0))
      await store.put(rootNumber(1), [small(1, 0)])
      disk.losePower()
      indexes.losePower()
      store = await open()
      expectSame(await store.get(rootNumber(1), 0), small(1, 0))
      expect([...store.damaged()]).toEqual([])
      expect(store.usage().damagedCount).toBe(0)
    }
  })

  test('a read that fails is STORE_READ_FAILED and loses nothing', async () => {
    await store.put(rootNumber(1), [small(1, 0)])
    disk.faults.failingReads = 1
    expect(await failureOf(store.get(rootNumber(1), 0))).toMatchObject({ code: 'STORE_READ_FAILED', retryable: true })
    expectSame(await store.get(rootNumber(1), 0), small(1, 0))
  })
})

describe('a disk that fails', () => {
  test('a failed sync is never retried: all that waited fail, the store is read-only, reads go on', async () => {
    await store.put(rootNumber(1), [small(1, 0)])
    disk.faults.failingSyncs = 1
    const waiting = [1, 2, 3].map((at) => failureOf(store.put(rootNumber(1), [small(1, at)])))
    expect((await Promise.all(waiting)).map(({ code }) => code)).toEqual([
      'STORE_SYNC_FAILED',
      'STORE_SYNC_FAILED',
      'STORE_SYNC_FAILED',
    ])
    const { syncCount } = disk
    expect((await failureOf(store.put(rootNumber(1), [small(1, 4)]))).code).toBe('STORE_SYNC_FAILED')
    expect((await failureOf(store.remove(rootNumber(1)))).code).toBe('STORE_SYNC_FAILED')
    expect(disk.syncCount).toBe(syncCount)
    expect(store.usage()).toMatchObject({ readOnly: true, brokenBy: 'STORE_SYNC_FAILED' })
    expect(fatal.map(({ code }) => code)).toEqual(['STORE_SYNC_FAILED'])
    expectSame(await store.get(rootNumber(1), 0), small(1, 0))
    expect([...store.presence(rootNumber(1)).indexes()]).toEqual([0])
    await store.close()
    expect(disk.syncCount).toBe(syncCount)
  })

  test('what a failed sync left in the cache is written again before the next process counts it as stored', async () => {
    disk.faults.failingSyncs = 1
    await failureOf(store.put(rootNumber(1), [small(1, 0)]))
    disk.endProcess()
    store = await open()
    await store.put(rootNumber(1), [small(1, 0)])
    disk.losePower()
    indexes.losePower()
    store = await open()
    expectSame(await store.get(rootNumber(1), 0), small(1, 0))
  })

  test('a write that fails makes the store read-only', async () => {
    disk.faults.failingWrites = 1
    expect((await failureOf(store.put(rootNumber(1), [small(1, 0)]))).code).toBe('STORE_WRITE_FAILED')
    expect(store.usage().readOnly).toBe(true)
  })

  test('an index that fails makes the store read-only, and nothing is acknowledged', async () => {
    await store.put(rootNumber(1), [small(1, 0)])
    indexes.faults.failingTransactions = 1
    expect((await failureOf(store.put(rootNumber(1), [small(1, 1)]))).code).toBe('STORE_INDEX_FAILED')
    expect(store.usage().readOnly).toBe(true)
    expectSame(await store.get(rootNumber(1), 0), small(1, 0))
  })

  test('a full disk is STORE_FULL: reads go on, and so do writes once there is room', async () => {
    await store.put(rootNumber(1), [small(1, 0)])
    disk.faults.capacityBytes = 256 * 1024 ** 2
    await store.close()
    store = await open({ freeBytesMin: 0 })
    disk.faults.capacityBytes = 20_000
    const error = await failureOf(
      store.put(
        rootNumber(2),
        Array.from({ length: 8 }, (_, i) => small(2, i)),
      ),
    )
    expect(error).toMatchObject({ code: 'STORE_FULL', retryable: true })
    expect(store.presence(rootNumber(2)).heldCount).toBe(0)
    expect(store.usage()).toMatchObject({ segmentCount: 1, readOnly: false })
    expectSame(await store.get(rootNumber(1), 0), small(1, 0))
    disk.faults.capacityBytes = 10_000_000
    await store.put(
      rootNumber(2),
      Array.from({ length: 8 }, (_, i) => small(2, i)),
    )
    expectSame(await store.get(rootNumber(2), 7), small(2, 7))
  })

  test('an index that finds no room is STORE_FULL: nothing of the put is there, reads go on, the next put is stored', async () => {
    await store.put(rootNumber(1), [small(1, 0)])
    indexes.faults.fullTransactions = 1
    const failure = await failureOf(store.put(rootNumber(1), [small(1, 1), small(1, 2)]))
    expect(failure).toMatchObject({ code: 'STORE_FULL', retryable: true })
    expect(store.usage()).toMatchObject({ segmentCount: 1, readOnly: false })
    expect([...store.presence(rootNumber(1)).indexes()]).toEqual([0])
    await store.put(rootNumber(1), [small(1, 1)])
    expectSame(await store.get(rootNumber(1), 0), small(1, 0))
    expectSame(await store.get(rootNumber(1), 1), small(1, 1))
    expect(fatal).toEqual([])
  })

  test('a removal that finds no room is refused while nothing has happened, and waits for room once it is promised', async () => {
    await store.close()
    const pauses: (() => void)[] = []
    const waiting: Clock = { ...clock, sleep: () => new Promise((resolve) => pauses.push(resolve)) }
    store = await open({}, waiting)
    await store.put(rootNumber(1), [small(1, 0)])
    indexes.faults.fullTransactions = 1
    expect(await failureOf(store.remove(rootNumber(1)))).toMatchObject({ code: 'STORE_FULL', retryable: true })
    expectSame(await store.get(rootNumber(1), 0), small(1, 0))
    // The first transaction is the promise.
    const { transaction } = index
    let transactions = 0
    index.transaction = (...args) => {
      transactions += 1
      if (transactions === 2) indexes.faults.fullTransactions = 1
      return transaction(...args)
    }
    const removed = store.remove(rootNumber(1))
    while (pauses.length === 0) await Promise.resolve()
    expect(await store.get(rootNumber(1), 0)).toBeUndefined()
    pauses[0]!()
    await removed
    expect(store.usage()).toMatchObject({ segmentCount: 0, readOnly: false })
    expect(fatal).toEqual([])
  })

  test('what a full disk cut off in the middle is not there after a removal and a crash, nor without the index', async () => {
    for (let room = 0; room < 40; room++) {
      disk = createMemoryDisk(createChance(room))
      indexes = createMemoryIndexStore(createChance(room))
      store = await open({ freeBytesMin: 0 })
      disk.faults.capacityBytes = room * 300
      disk.faults.claimedFreeBytes = Infinity
      await store
        .put(
          rootNumber(1),
          Array.from({ length: 4 }, (_, i) => small(1, i)),
        )
        .catch(() => undefined)
      await store.remove(rootNumber(1))
      disk.losePower()
      indexes.losePower()
      if (room % 2 === 0) indexes.lose()
      disk.faults.capacityBytes = Infinity
      store = await open()
      expect(store.usage().segmentCount).toBe(0)
    }
  })

  test('a segment that was put again after its bytes went bad is there after a crash that undoes the index', async () => {
    for (let seed = 0; seed < 30; seed++) {
      disk = createMemoryDisk(createChance(seed))
      indexes = createMemoryIndexStore(createChance(seed))
      store = await open()
      await store.put(rootNumber(1), [small(1, 0), small(1, 1)])
      await store.close()
      store = await open()
      await store.put(rootNumber(2), [small(2, 0)])
      disk.flipBit(slotFile, 200)
      await failureOf(store.get(rootNumber(1), 0))
      await store.put(rootNumber(1), [small(1, 0)])
      disk.losePower()
      indexes.losePower()
      store = await open()
      expectSame(await store.get(rootNumber(1), 0), small(1, 0))
      expect(store.presence(rootNumber(1)).heldCount).toBe(2)
      expect(store.usage().segmentCount).toBe(3)
    }
  })

  test('a share of the disk is left free', async () => {
    disk.faults.capacityBytes = 1_000_000
    await store.close()
    store = await open({ freeBytesMin: 900_000 })
    expect((await failureOf(store.put(rootNumber(1), [segmentOf(1, 0, { sizeBytes: 262_144 })]))).code).toBe(
      'STORE_FULL',
    )
    await store.put(rootNumber(1), [small(1, 0)])
  })
})

describe('a process that ends at any moment', () => {
  test.each([
    ['its first put', false],
    ['a later put', true],
  ])('in %s leaves nothing behind that the next one takes for synced when it is not', async (_, hasFile) => {
    for (let turns = 0; turns < 160; turns++) {
      const chance = createChance(turns)
      disk = createMemoryDisk(chance)
      indexes = createMemoryIndexStore(chance)
      store = await open()
      if (hasFile) await store.put(rootNumber(9), [small(9, 0)])
      const begun = store.put(rootNumber(1), [small(1, 0), small(1, 1)]).catch(() => undefined)
      for (let turn = 0; turn < turns; turn++) await Promise.resolve()
      disk.endProcess()
      indexes.endProcess()
      await begun
      store = await open()
      // Costs nothing if the segment is held, and is acknowledged in any case.
      await store.put(rootNumber(1), [small(1, 0)])
      disk.losePower()
      indexes.losePower()
      store = await open()
      expectSame(await store.get(rootNumber(1), 0), small(1, 0))
    }
  })
})

describe('a directory deleted under the process', () => {
  test('stops acknowledgements at once and says so', async () => {
    await store.put(rootNumber(1), [small(1, 0)])
    await disk.remove(dataDir)
    expect((await failureOf(store.put(rootNumber(1), [small(1, 1)]))).code).toBe('STORE_DIRECTORY_GONE')
    expect(fatal.map(({ code }) => code)).toEqual(['STORE_DIRECTORY_GONE'])
    expect(store.usage().readOnly).toBe(true)
  })

  test('and made anew by somebody else does so too', async () => {
    await store.put(rootNumber(1), [small(1, 0)])
    await disk.remove(dataDir)
    const other = await createSegmentStore(
      { dataDir, capacityBytes: 2 ** 30 },
      { disk, index: createMemoryIndexStore(createChance(2)).open(), clock, logger: silentLogger },
    )
    await other.put(rootNumber(2), [small(2, 0)])
    expect((await failureOf(store.put(rootNumber(1), [small(1, 1)]))).code).toBe('STORE_DIRECTORY_GONE')
  })

  test('is noticed without any write by checkDirectory', async () => {
    await store.checkDirectory()
    await disk.remove(dataDir)
    expect((await failureOf(store.checkDirectory())).code).toBe('STORE_DIRECTORY_GONE')
    expect(fatal.length).toBe(1)
  })

  test('before anything was put is noticed by the first put', async () => {
    await disk.remove(dataDir)
    expect((await failureOf(store.put(rootNumber(1), [small(1, 0)]))).code).toBe('STORE_DIRECTORY_GONE')
  })

  test('stops a removal', async () => {
    await store.put(rootNumber(1), [small(1, 0)])
    await disk.remove(dataDir)
    expect((await failureOf(store.remove(rootNumber(1)))).code).toBe('STORE_DIRECTORY_GONE')
  })

  test('after a restart the store begins with what is there', async () => {
    await store.put(rootNumber(1), [small(1, 0)])
    disk.endProcess()
    await disk.remove(dataDir)
    // The index lay elsewhere and still names the old slots; it is that of another store now.
    store = await open()
    expect(store.usage().segmentCount).toBe(0)
    expect(store.presence(rootNumber(1)).heldCount).toBe(0)
    await store.put(rootNumber(1), [small(1, 0)])
  })
})

describe('the format of a directory', () => {
  async function writeFormat(text: string): Promise<void> {
    await store.close()
    await disk.remove(`${dataDir}/store.json`)
    const file = await disk.open(`${dataDir}/store.json`, { create: true })
    await file.write([new TextEncoder().encode(text)], 0)
    await file.close()
  }

  test('an older one is refused with the next step', async () => {
    await writeFormat('{"format":"weightless segment store","version":0,"storeId":"x"}')
    const failure = await openFails()
    expect(failure).toMatchObject({ code: 'STORE_FORMAT_OLDER', facts: { version: 0, supported: 1 } })
    expect(failure.next).toContain('other holders')
  })

  test('a newer one is refused with the next step', async () => {
    await writeFormat('{"format":"weightless segment store","version":2,"storeId":"x"}')
    expect(await openFails()).toMatchObject({ code: 'STORE_FORMAT_NEWER', facts: { version: 2, supported: 1 } })
  })

  test.each([
    '',
    'null',
    '[]',
    '{"format":"other","version":1,"storeId":"x"}',
    '{"format":"weightless segment store","version":"1","storeId":"x"}',
    '{"format":"weightless segment store","version":1}',
  ])('anything else is refused: %s', async (text) => {
    await writeFormat(text)
    expect((await openFails()).code).toBe('STORE_FORMAT_INVALID')
  })

  test('slots without a format file are not taken for an empty store', async () => {
    await store.put(rootNumber(1), [small(1, 0)])
    await store.close()
    await disk.remove(`${dataDir}/store.json`)
    expect((await openFails()).code).toBe('STORE_FORMAT_INVALID')
  })

  test('an index of another store is not believed', async () => {
    await store.put(rootNumber(1), [small(1, 0)])
    await store.close()
    const stranger = createMemoryIndexStore(createChance(5))
    const other = await createSegmentStore(
      { dataDir: '/other/data', capacityBytes: 2 ** 30 },
      { disk, index: stranger.open(), clock, logger: silentLogger },
    )
    await other.put(rootNumber(2), [small(2, 0)])
    await other.close()
    store = await createSegmentStore(
      { dataDir, capacityBytes: 2 ** 30 },
      { disk, index: stranger.open(), clock, logger: silentLogger },
    )
    expect([...store.roots()]).toEqual([rootNumber(1)])
  })

  test.each([
    ['a place of another length', (row: Uint8Array) => row.slice(0, 9)],
    ['a class that there is not', (row: Uint8Array) => Uint8Array.of(228, ...row.subarray(1))],
    [
      'a slot behind the end of its file',
      (row: Uint8Array) => Uint8Array.of(row[0]!, 127, 255, 255, 255, ...row.subarray(5)),
    ],
    [
      'the slot of another segment',
      (row: Uint8Array) => Uint8Array.of(...row.subarray(0, 4), row[4]! ^ 1, ...row.subarray(5)),
    ],
    ['more data than a slot holds', (row: Uint8Array) => Uint8Array.of(...row.subarray(0, 11), 9, ...row.subarray(12))],
  ])('an index with a row that went bad (%s) is rebuilt from the slots', async (_, spoil) => {
    await store.put(rootNumber(1), [small(1, 0), small(1, 1)])
    await store.close()
    const [row] = index.range({ from: Uint8Array.of(0x81), to: Uint8Array.of(0x82) })
    await index.transaction([{ key: row!.key, value: spoil(row!.value) }], { durability: 'synced' })
    store = await open()
    for (const at of [0, 1]) expectSame(await store.get(rootNumber(1), at), small(1, at))
    expect(store.usage().segmentCount).toBe(2)
  })

  test('an index whose counts or reservations are no such rows is rebuilt from the slots', async () => {
    for (const [from, value] of [
      [0x82, Uint8Array.of(1, 2)],
      [0x82, Uint8Array.of(0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 2, 0)],
      [0x80, new TextEncoder().encode('{"storeId":"x","sequence":1,"reserved":[{"classId":0}]}')],
      [0x80, new TextEncoder().encode('{"storeId":"x","sequence":-1,"reserved":[null]}')],
    ] as const) {
      await store.put(rootNumber(1), [small(1, 0), small(1, 1)])
      await store.close()
      const [row] = index.range({ from: Uint8Array.of(from), to: Uint8Array.of(from + 1) })
      await index.transaction([{ key: row!.key, value }], { durability: 'synced' })
      store = await open()
      expect([...store.presence(rootNumber(1)).indexes()]).toEqual([0, 1])
      expect(store.presence(rootNumber(1)).heldCount).toBe(2)
    }
  })

  test('rows of others in the same index are left alone, by a rebuild too', async () => {
    const others = ['a', 'z', '~'].map((letter) => ({ key: new TextEncoder().encode(letter), value: Uint8Array.of(1) }))
    await index.transaction([...others, { key: Uint8Array.of(0xff), value: Uint8Array.of(1) }], {
      durability: 'synced',
    })
    await index.transaction([{ key: Uint8Array.of(0x80), value: undefined }], { durability: 'synced' })
    await store.close()
    await index.transaction([{ key: Uint8Array.of(0x80), value: undefined }], { durability: 'synced' })
    store = await open()
    for (const { key } of others) expect(index.get(key)).toEqual(Uint8Array.of(1))
    expect(index.get(Uint8Array.of(0xff))).toEqual(Uint8Array.of(1))
  })
})

describe('work in hand', () => {
  test('many puts share few syncs, and no put waits for a timer', async () => {
    await store.put(rootNumber(100), [small(100, 0)])
    const { syncCount } = disk
    await Promise.all(Array.from({ length: 100 }, (_, i) => store.put(rootNumber(i), [small(i, 0)])))
    expect(disk.syncCount - syncCount).toBeLessThan(20)
    expect(store.usage().segmentCount).toBe(101)
  })

  test('one put with nobody beside it takes one sync of one file', async () => {
    await store.put(rootNumber(1), [small(1, 0)])
    const { syncCount } = disk
    await store.put(rootNumber(1), [small(1, 1)])
    expect(disk.syncCount - syncCount).toBe(1)
  })

  test('puts wait when too much is being written, and go on in order', async () => {
    await store.close()
    store = await open({ pendingBytesMax: 1024 })
    let most = 0
    let doneCount = 0
    let ended = false
    const puts = Promise.all(
      Array.from({ length: 40 }, (_, i) => store.put(rootNumber(i), [small(i, 0)]).then(() => (doneCount += 1))),
    ).finally(() => (ended = true))
    while (!ended) {
      most = Math.max(most, store.usage().segmentCount - doneCount)
      await Promise.resolve()
    }
    await puts
    // 4 × 256 bytes may be inside at once.
    expect(most).toBeLessThanOrEqual(4)
    expect(store.usage().segmentCount).toBe(40)
  })

  test('a put that waits for room ends at once when it is aborted; the one that it would have doubled is not harmed', async () => {
    await store.close()
    store = await open({ pendingBytesMax: 256 })
    const stop = new AbortController()
    const reason = new Error('enough')
    const first = store.put(rootNumber(1), [small(1, 0)])
    const waiting = store.put(rootNumber(2), [small(2, 0)], { signal: stop.signal })
    const behind = store.put(rootNumber(2), [small(2, 0)])
    stop.abort(reason)
    await expect(waiting).rejects.toBe(reason)
    await Promise.all([first, behind])
    expectSame(await store.get(rootNumber(2), 0), small(2, 0))
  })

  test('a put larger than all the room goes in alone', async () => {
    await store.close()
    store = await open({ pendingBytesMax: 1000 })
    await Promise.all([1, 2, 3].map((n) => store.put(rootNumber(n), [segmentOf(n, 0, { sizeBytes: 16_384 })])))
    expect(store.usage().segmentCount).toBe(3)
  })

  test('when the write that others wait for fails, one of them tries in its place', async () => {
    await store.close()
    store = await open({ capacityBytes: 4096 })
    await store.put(rootNumber(1), [small(1, 0)])
    // Both want the same segment; the first also wants too much.
    const greedy = failureOf(store.put(rootNumber(2), [small(2, 0), small(2, 1)]))
    const removed = store.remove(rootNumber(1))
    await removed
    const modest = store.put(rootNumber(2), [small(2, 0)])
    expect((await greedy).code).toBe('STORE_FULL')
    await modest
    expect([...store.presence(rootNumber(2)).indexes()]).toEqual([0])
  })

  test('reads during removals and new puts give the right bytes or nothing', async () => {
    const reads: Promise<void>[] = []
    for (let round = 0; round < 30; round++) {
      await store.put(rootNumber(1), [small(1, 0), small(1, 1)])
      for (let i = 0; i < 10; i++) {
        reads.push(
          store
            .get(rootNumber(1), i % 2)
            .then((found) => (found === undefined ? undefined : expectSame(found, small(1, i % 2)))),
        )
      }
      const removed = store.remove(rootNumber(1))
      const others = Promise.all([2, 3].map((n) => store.put(rootNumber(n * 100 + round), [small(n * 100 + round, 0)])))
      await Promise.all([removed, others])
    }
    await Promise.all(reads)
    expect(lost).toEqual([])
  })
})
