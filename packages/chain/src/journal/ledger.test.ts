import { isFailure, type Hex } from '@weightless/core'
import { systemClock, systemRandom } from '@weightless/host'
import { describe, expect, test } from 'vitest'
import { type Chance, createChance } from '../../../../sim/chance.ts'
import { createMemoryDisk, type MemoryDisk } from '../../../../sim/memoryDisk.ts'
import { failureOf } from '../../../../sim/fakes/outcome.ts'
import { createToyEngine, type ToyEngine } from '../../test/ledgerWorld.ts'
import { createLedger, type Ledger } from './ledger.ts'

const DIRECTORY = '/chain'

function ledgerOn(disk: MemoryDisk): Ledger {
  const deps = { disk: disk.process(), random: systemRandom, clock: systemClock }
  return createLedger({ directory: DIRECTORY, chainId: 31337, aheadBytes: 2048, mend: async () => undefined }, deps)
}

async function start(disk: MemoryDisk, engine = createToyEngine()): Promise<{ ledger: Ledger; engine: ToyEngine }> {
  const ledger = ledgerOn(disk)
  await ledger.open({})
  await ledger.restore(engine, {})
  return { ledger, engine }
}

async function grow(
  { ledger, engine }: { ledger: Ledger; engine: ToyEngine },
  count: number,
  chance: Chance,
): Promise<void> {
  for (let i = 0; i < count; i++) await ledger.append(engine.make(i, [chance.bytes(1 + chance.below(700))]))
}

const namesOn = async (disk: MemoryDisk): Promise<readonly string[]> => [...(await disk.list(DIRECTORY))].sort()
const blockName = (kind: string, number: number): string => `${kind}-${String(number).padStart(12, '0')}`

describe('a power loss or a kill at any moment of a life with snapshots', () => {
  /** Every block that `append` had acknowledged, by number; what the next start finds must begin with them. */
  async function live(
    seed: number,
    spoil: (disk: MemoryDisk, chance: Chance) => void,
  ): Promise<{ readonly lives: number; readonly blocks: number }> {
    const chance = createChance(seed)
    const disk = createMemoryDisk(chance)
    const acknowledged: Hex[] = []
    let lives = 0
    for (; lives < 12; lives++) {
      let died = false
      const life = (async () => {
        const { ledger, engine } = await start(disk, createToyEngine({ birthS: acknowledged.length === 0 ? lives : 0 }))
        const { chain } = engine
        expect(chain().slice(0, acknowledged.length)).toEqual(acknowledged)
        // The newest block may be there although its acknowledgement was on its way, and no more than that one.
        expect(chain().length - acknowledged.length).toBeLessThanOrEqual(1)
        acknowledged.splice(0, Infinity, ...chain())
        for (;;) {
          await grow({ ledger, engine }, 1, chance)
          acknowledged.push(engine.newest().hash)
          if (chance.below(5) === 0) await ledger.snapshot(engine, engine.newest(), {})
        }
      })().catch((error: unknown) => {
        if (!died) throw error
        if (!isFailure(error)) throw error
      })
      for (let left = chance.below(300); left > 0; left--) await Promise.resolve()
      died = true
      spoil(disk, chance)
      await life
    }
    return { lives, blocks: acknowledged.length }
  }

  test('loses no acknowledged block and makes none up', async () => {
    let blocks = 0
    for (let seed = 1; seed <= 150; seed++)
      blocks += (await live(seed, (disk, chance) => (chance.below(3) === 0 ? disk.endProcess() : disk.losePower())))
        .blocks
    expect(blocks).toBeGreaterThan(2_000)
  })

  test('is found out when syncs lie: the loss does show in this test', async () => {
    const lying = async (seed: number): Promise<string> => {
      try {
        await live(seed, (disk) => {
          disk.faults.lyingSyncs = true
          disk.losePower()
        })
        return 'nothing lost'
      } catch {
        return 'found out'
      }
    }
    const outcomes = await Promise.all([1, 2, 3, 4, 5, 6].map(lying))
    expect(outcomes).toContain('found out')
  })
})

describe('what is kept', () => {
  test('two snapshots, and the blocks since the older of them', async () => {
    const disk = createMemoryDisk(createChance(2))
    const life = await start(disk)
    for (let i = 0; i < 4; i++) {
      await grow(life, 3, createChance(i))
      await life.ledger.snapshot(life.engine, life.engine.newest(), {})
    }
    expect(await namesOn(disk)).toEqual([
      'chain.json',
      `${blockName('journal', 9)}.log`,
      `${blockName('journal', 12)}.log`,
      `${blockName('snapshot', 9)}.state`,
      `${blockName('snapshot', 12)}.state`,
    ])
  })

  test('the older snapshot serves where the newer is no state any more, with every block', async () => {
    const disk = createMemoryDisk(createChance(3))
    const life = await start(disk)
    await grow(life, 3, createChance(1))
    await life.ledger.snapshot(life.engine, life.engine.newest(), {})
    await grow(life, 2, createChance(2))
    disk.flipBit(`${DIRECTORY}/${blockName('snapshot', 3)}.state`, 0)
    const again = await start(disk)
    expect(again.engine.chain()).toEqual(life.engine.chain())
  })
})

describe('what is refused, and never mended in silence', () => {
  async function grown(): Promise<MemoryDisk> {
    const disk = createMemoryDisk(createChance(4))
    const life = await start(disk)
    await grow(life, 3, createChance(1))
    await life.ledger.snapshot(life.engine, life.engine.newest(), {})
    await grow(life, 3, createChance(2))
    return disk
  }

  test('an engine that makes other blocks of the same journal', async () => {
    const error = await failureOf(start(await grown(), createToyEngine({ version: 2 })))
    expect(error).toMatchObject({ code: 'CHAIN_REPLAY_DIFFERENT', facts: { block: 4 } })
  })

  test('a bit that changed in any record, the last one included', async () => {
    const file = await (await grown()).open(`${DIRECTORY}/${blockName('journal', 3)}.log`, { create: false })
    const bytes = new Uint8Array(8192)
    await file.read(bytes, 0)
    const end = bytes.findLastIndex((byte) => byte !== 0)
    for (const at of [60, 200, Math.floor(end / 2), end]) {
      const disk = await grown()
      disk.flipBit(`${DIRECTORY}/${blockName('journal', 3)}.log`, at)
      expect(await failureOf(start(disk))).toMatchObject({
        code: 'CHAIN_JOURNAL_DAMAGED',
        facts: { file: `${DIRECTORY}/${blockName('journal', 3)}.log` },
      })
    }
  })

  test('a journal between two others that has gone', async () => {
    const disk = createMemoryDisk(createChance(5))
    const life = await start(disk)
    await grow(life, 2, createChance(1))
    await grow(await start(disk), 2, createChance(2))
    await grow(await start(disk), 2, createChance(3))
    await disk.remove(`${DIRECTORY}/${blockName('journal', 2)}.log`)
    expect(await failureOf(start(disk))).toMatchObject({ code: 'CHAIN_JOURNAL_DAMAGED' })
  })

  test('a snapshot of another chain, put there by hand', async () => {
    const disk = await grown()
    const other = createToyEngine({ birthS: 9 })
    for (let i = 0; i < 3; i++) other.make(i, [])
    const file = await disk.open(`${DIRECTORY}/${blockName('snapshot', 3)}.state`, { create: false })
    await file.write([await other.dump({})], 0)
    expect(await failureOf(start(disk))).toMatchObject({ code: 'CHAIN_JOURNAL_DAMAGED' })
  })
})

describe('a disk that fails', () => {
  test.each([
    ['a sync', (disk: MemoryDisk) => (disk.faults.failingSyncs = 1)],
    ['a write', (disk: MemoryDisk) => (disk.faults.failingWrites = 1)],
    ['no room', (disk: MemoryDisk) => (disk.faults.capacityBytes = 0)],
  ])('(%s) ends the journal: that block is not acknowledged, nor any after it', async (_, fault) => {
    const disk = createMemoryDisk(createChance(6))
    const life = await start(disk)
    await grow(life, 2, createChance(1))
    fault(disk)
    const first = await failureOf(life.ledger.append(life.engine.make(3, [createChance(1).bytes(9_000)])))
    expect(first).toMatchObject({ code: 'CHAIN_JOURNAL_FAILED', facts: { block: 3 } })
    expect(life.ledger.fault()).toBe(first)
    disk.faults.capacityBytes = Infinity
    const { syncCount } = disk
    expect(await failureOf(life.ledger.append(life.engine.make(4, [])))).toBe(first)
    expect(disk.syncCount).toBe(syncCount)
    disk.endProcess()
    expect((await start(disk)).engine.newest().number).toBeGreaterThanOrEqual(2)
  })

  test('a journal that was deleted under a live process acknowledges nothing', async () => {
    const disk = createMemoryDisk(createChance(7))
    const life = await start(disk)
    await grow(life, 1, createChance(1))
    await disk.remove(`${DIRECTORY}/${blockName('journal', 0)}.log`)
    expect(await failureOf(grow(life, 1, createChance(2)))).toMatchObject({
      code: 'CHAIN_DIRECTORY_GONE',
      facts: { reason: 'it was deleted or replaced' },
    })
  })

  test('a snapshot that finds no room leaves the journal as it is, and blocks go on', async () => {
    const disk = createMemoryDisk(createChance(8))
    const life = await start(disk)
    await grow(life, 1, createChance(1))
    disk.faults.failingWrites = 1
    expect(await failureOf(life.ledger.snapshot(life.engine, life.engine.newest(), {}))).toMatchObject({
      code: 'DISK_FAILED',
    })
    await grow(life, 1, createChance(2))
    disk.losePower()
    expect((await start(disk)).engine.chain()).toEqual(life.engine.chain())
  })
})
