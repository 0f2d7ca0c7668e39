import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Clock } from '@weightless/core'
import { createChance, type Chance } from '../../../../sim/chance.ts'
import { rootNumber, segmentOf } from '../../../../sim/compliance/storeSamples.ts'
import { createMemoryDisk, type MemoryDisk } from '../../../../sim/memoryDisk.ts'
import { createMemoryIndexStore, type MemoryIndexStore } from '../../../../sim/memoryIndex.ts'
import { silentLogger } from '../../../../sim/silentLogger.ts'
import { createSegmentStore, type SegmentStore } from './store.ts'

const RUNS = Number(process.env['FC_NUM_RUNS'] ?? 100)
const clock: Clock = {
  nowMs: () => 1_700_000_000_000,
  // A removal that waits for room looks again in the next turn.
  sleep: () => Promise.resolve(),
  deadline: () => new AbortController().signal,
}

const ROOTS = 5
const INDEXES = 6
const SIZES = [256, 512, 5_000, 20_000]

/** Calls about one segment, or about a whole root, as moments. Calls that overlap may take effect in either order. */
type Calls = {
  /** When the last of them ended, well or not. A crash ends all. */
  lastEnd: number
  /** When the newest one began that ended well. */
  ackedBegin: number
}
const none = (): Calls => ({ lastEnd: -1, ackedBegin: -1 })
type World = {
  readonly chance: Chance
  readonly disk: MemoryDisk
  readonly indexes: MemoryIndexStore
  readonly puts: Map<string, Calls>
  readonly removals: Map<number, Calls>
  readonly segmentRemovals: Map<string, Calls>
  moment: number
  /** The life that goes on now; between two there is none. */
  life: number | undefined
  /** Why a store stopped taking writes though nothing was wrong with its machine. */
  brokenDown: string | undefined
}

/** Several lives of one store, each ended by a crash at any moment. Returns the first broken promise. */
async function live(seed: number, options: { readonly lyingSyncs: boolean }): Promise<string | undefined> {
  const chance = createChance(seed)
  const world: World = {
    chance,
    disk: createMemoryDisk(chance),
    indexes: createMemoryIndexStore(chance),
    puts: new Map(),
    removals: new Map(),
    segmentRemovals: new Map(),
    moment: 0,
    life: undefined,
    brokenDown: undefined,
  }
  world.disk.faults.lyingSyncs = options.lyingSyncs
  for (let life = 0; life < 5; life++) {
    world.life = life
    const store = await createSegmentStore(
      {
        dataDir: '/node/data',
        capacityBytes: 2 ** 30,
        pendingBytesMax: 40_000,
        freeBytesMin: 0,
        reservedSlotCount: 2 + chance.below(6),
        onFatal: ({ message }) => {
          if (world.life === life) world.brokenDown ??= message
        },
      },
      { disk: world.disk.process(), index: world.indexes.open(), clock, logger: silentLogger },
    )
    const broken = await brokenPromise(store, world)
    if (broken !== undefined) return `life ${life}: ${broken}`
    await act(store, world)
    if (world.brokenDown !== undefined) return `life ${life}: ${world.brokenDown}`
  }
  return undefined
}

async function act(store: SegmentStore, world: World): Promise<void> {
  const { chance } = world
  const calls: Promise<unknown>[] = []
  // In some lives the disk is too small.
  world.disk.faults.capacityBytes = chance.below(4) === 0 ? chance.below(200_000) : Infinity
  world.disk.faults.claimedFreeBytes = chance.below(2) === 0 ? undefined : Infinity
  // In some the index finds no room now and then.
  if (chance.below(3) === 0) world.indexes.faults.fullTransactions = chance.below(4)
  const actions = 3 + chance.below(25)
  for (let i = 0; i < actions; i++) {
    const act = [remove, removeSome, removeSome, put, put, put, put, put, put][chance.below(9)]!
    calls.push(act(store, world))
    // Sometimes all at once, sometimes one after the other.
    for (let turns = chance.below(2) * chance.below(120); turns > 0; turns--) await Promise.resolve()
  }
  for (let turns = chance.below(400); turns > 0; turns--) await Promise.resolve()
  switch (chance.below(6)) {
    case 0:
      await Promise.all(calls)
      await store.close()
      world.disk.losePower()
      world.indexes.losePower()
      break
    case 1:
      world.disk.endProcess()
      world.indexes.endProcess()
      break
    case 2:
      // The index is lost on top, as when somebody deletes it.
      world.disk.losePower()
      world.indexes.losePower()
      world.indexes.lose()
      break
    default:
      world.disk.losePower()
      world.indexes.losePower()
  }
  world.disk.faults.capacityBytes = Infinity
  world.indexes.faults.fullTransactions = 0
  // What breaks after the end is the end's doing.
  world.life = undefined
  await Promise.allSettled(calls)
}

async function put(store: SegmentStore, world: World): Promise<void> {
  const { root, indexes } = someOf(world)
  const calls = indexes.map((at) => callsOf(world.puts, `${root}:${at}`))
  await followed(
    calls,
    world,
    store.put(
      rootNumber(root),
      indexes.map((at) => made(root, at)),
    ),
  )
}

async function remove(store: SegmentStore, world: World): Promise<void> {
  const root = world.chance.below(ROOTS)
  await followed([callsOf(world.removals, root)], world, store.remove(rootNumber(root)))
}

async function removeSome(store: SegmentStore, world: World): Promise<void> {
  const { root, indexes } = someOf(world)
  const calls = indexes.map((at) => callsOf(world.segmentRemovals, `${root}:${at}`))
  await followed(calls, world, store.removeSegments(rootNumber(root), indexes))
}

function someOf({ chance }: World): { readonly root: number; readonly indexes: readonly number[] } {
  const first = chance.below(INDEXES)
  const indexes = Array.from({ length: 1 + chance.below(3) }, (_, i) => (first + i) % INDEXES)
  return { root: chance.below(ROOTS), indexes }
}

async function followed(calls: readonly Calls[], world: World, work: Promise<void>): Promise<void> {
  const begin = ++world.moment
  const isAcked = await work.then(
    () => true,
    () => false,
  )
  const end = ++world.moment
  for (const one of calls) {
    one.lastEnd = end
    if (isAcked) one.ackedBegin = Math.max(one.ackedBegin, begin)
  }
}

function callsOf<K>(map: Map<K, Calls>, key: K): Calls {
  const found = map.get(key) ?? none()
  map.set(key, found)
  return found
}

async function brokenPromise(store: SegmentStore, world: World): Promise<string | undefined> {
  let total = 0
  for (let root = 0; root < ROOTS; root++) {
    const removals = callsOf(world.removals, root)
    const presence = store.presence(rootNumber(root))
    let held = 0
    for (let at = 0; at < INDEXES; at++) {
      const puts = callsOf(world.puts, `${root}:${at}`)
      const alone = callsOf(world.segmentRemovals, `${root}:${at}`)
      const found = await store.get(rootNumber(root), at).catch((error: unknown) => error as Error)
      const name = `segment ${root}:${at}`
      if (found instanceof Error) return `${name} is unreadable: ${found.message}`
      if (presence.has(at) !== (found !== undefined)) return `${name} is in the index and not on disk`
      if (found === undefined) {
        if (puts.ackedBegin > Math.max(removals.lastEnd, alone.lastEnd)) return `${name} was acknowledged and is gone`
        continue
      }
      held += 1
      if (puts.lastEnd < Math.max(removals.ackedBegin, alone.ackedBegin)) return `${name} was removed and is back`
      const { data, proof } = made(root, at)
      if (Buffer.compare(found.data, data) !== 0 || JSON.stringify(found.proof) !== JSON.stringify(proof))
        return `${name} has other bytes`
    }
    if (presence.heldCount !== held) return `root ${root} counts ${presence.heldCount}, holds ${held}`
    if (held > 0 !== [...store.roots()].includes(rootNumber(root))) return `root ${root} is listed wrongly`
    total += held
  }
  const { segmentCount } = store.usage()
  return segmentCount === total ? undefined : `usage says ${segmentCount}, ${total} are held`
}

function made(root: number, at: number): ReturnType<typeof segmentOf> {
  return segmentOf(root, at, { sizeBytes: SIZES[(root + at) % SIZES.length]!, depth: at })
}

describe('whatever happens to the machine', () => {
  test('all that was acknowledged is there after a crash, all that was removed is gone, and nothing is other than it was put', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (seed) => {
        expect(await live(seed, { lyingSyncs: false })).toBeUndefined()
      }),
      { numRuns: RUNS },
    )
  })

  test('this test has teeth: a disk that lies about one sync is caught', async () => {
    let caught = 0
    for (let seed = 0; seed < 20; seed++)
      if ((await live(seed, { lyingSyncs: true }).catch(() => 'refused')) !== undefined) caught += 1
    expect(caught).toBeGreaterThan(10)
  })
})
