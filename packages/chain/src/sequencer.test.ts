import type { Clock, Hex } from '@weightless/core'
import { describe, expect, test } from 'vitest'
import type { Block } from './engine.ts'
import { createSequencer, type Sequencer, type SequencerDeps } from './sequencer.ts'

/** A clock that moves only when it is told to; whoever sleeps is woken in the order of time. */
function virtualClock(): Clock & { advance(ms: number): Promise<void> } {
  let nowMs = 1_000_000
  const sleepers: { atMs: number; wake: () => void }[] = []
  const settle = async (): Promise<void> => {
    for (let i = 0; i < 50; i++) await Promise.resolve()
  }
  return {
    nowMs: () => nowMs,
    sleep: (ms, { signal }) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason)
        const sleeper = { atMs: nowMs + ms, wake: resolve }
        sleepers.push(sleeper)
        signal?.addEventListener('abort', () => {
          sleepers.splice(sleepers.indexOf(sleeper), 1)
          reject(signal.reason)
        })
      }),
    deadline: () => new AbortController().signal,
    async advance(ms) {
      const untilMs = nowMs + ms
      await settle()
      for (;;) {
        const next = sleepers.toSorted((a, b) => a.atMs - b.atMs)[0]
        if (next === undefined || next.atMs > untilMs) break
        nowMs = Math.max(nowMs, next.atMs)
        sleepers.splice(sleepers.indexOf(next), 1)
        next.wake()
        await settle()
      }
      nowMs = untilMs
    },
  }
}

type Mined = Block & { readonly replayMs: number }
const hash = (n: number): Hex => `0x${n.toString(16).padStart(64, '0')}`

/** A pool and a chain in memory. `mining` delays each block until it is let go. */
function world(pooled: readonly Hex[] = []): {
  clock: ReturnType<typeof virtualClock>
  blocks: Block[]
  ready: Hex[]
  known: Set<Hex>
  sequencer: Sequencer
  engine: SequencerDeps<Mined>['engine'] & {
    mineCount: number
    held: (() => void) | undefined
    hold: boolean
    failing: boolean
    perBlock: number
    replayMs: number
  }
  run: Promise<void>
  stop: () => Promise<void>
  accept: (n: number, where?: 'ready' | 'queued') => Promise<string>
} {
  const clock = virtualClock()
  const blocks: Block[] = []
  const ready: Hex[] = [...pooled]
  const known = new Set<Hex>()
  const engine = {
    mineCount: 0,
    hold: false,
    failing: false,
    held: undefined as (() => void) | undefined,
    perBlock: Infinity,
    replayMs: 0,
    async mine(timestampS: number): Promise<Mined> {
      if (engine.failing) throw new Error('the engine fails')
      engine.mineCount++
      const transactionHashes = ready.splice(0, engine.perBlock)
      if (engine.hold) await new Promise<void>((resolve) => (engine.held = resolve))
      return {
        number: engine.mineCount,
        hash: hash(engine.mineCount),
        timestampS,
        transactionHashes,
        replayMs: engine.replayMs,
      }
    },
    readyCount: async () => ready.length,
    isKnown: async (given: Hex) => known.has(given),
    save: async () => undefined,
  }
  const sequencer = createSequencer<Mined>({ clock, engine, onBlock: (block) => blocks.push(block) })
  const scope = new AbortController()
  const run = sequencer.run({ signal: scope.signal })
  run.catch(() => undefined)
  return {
    clock,
    blocks,
    ready,
    known,
    sequencer,
    engine,
    run,
    stop: async () => {
      scope.abort()
      await run
    },
    accept: (n, where = 'ready') => {
      known.add(hash(n))
      if (where === 'ready') ready.push(hash(n))
      return sequencer.submitted(hash(n))
    },
  }
}

describe('a transaction', () => {
  test('is mined at once and its sender hears of it after the block', async () => {
    const { accept, blocks, clock, stop } = world()
    const fate = accept(1)
    await clock.advance(0)
    expect(blocks.map((block) => block.transactionHashes)).toEqual([[hash(1)]])
    expect(await fate).toBe('mined')
    await stop()
  })

  test('that arrives while a block is made shares the next one with all that arrive then', async () => {
    const { accept, blocks, clock, engine, stop } = world()
    engine.hold = true
    const first = accept(1)
    await clock.advance(0)
    engine.hold = false
    const others = [accept(2), accept(3), accept(4)]
    await clock.advance(0)
    expect(blocks).toEqual([])
    engine.held!()
    await clock.advance(0)
    expect(blocks.map((block) => block.transactionHashes.length)).toEqual([1, 3])
    expect(await Promise.all([first, ...others])).toEqual(['mined', 'mined', 'mined', 'mined'])
    await stop()
  })

  test('whose block was made before its sender came back to us is told at once', async () => {
    const { accept, clock, ready, sequencer, stop } = world()
    ready.push(hash(7))
    const other = accept(1)
    await clock.advance(0)
    expect(await other).toBe('mined')
    expect(await sequencer.submitted(hash(7))).toBe('mined')
    await stop()
  })

  test('that did not fit into a full block is in the next one', async () => {
    const { accept, blocks, clock, engine, stop } = world()
    engine.perBlock = 2
    const fates = [1, 2, 3, 4, 5].map((n) => accept(n))
    await clock.advance(0)
    expect(blocks.map((block) => block.transactionHashes.length)).toEqual([2, 2, 1])
    expect(new Set(await Promise.all(fates))).toEqual(new Set(['mined']))
    await stop()
  })

  test('that waits for an earlier nonce makes no block, and its sender is not kept waiting', async () => {
    const { accept, blocks, clock, engine, stop } = world()
    const fate = accept(1, 'queued')
    await clock.advance(0)
    expect(await fate).toBe('waiting')
    expect(engine.mineCount).toBe(0)
    await clock.advance(29_999)
    expect(blocks).toEqual([])
    await stop()
  })

  test('that is thrown out when its block is built is told as dropped', async () => {
    const { accept, clock, engine, known, ready, stop } = world()
    engine.mine = async (timestampS) => {
      ready.length = 0
      known.clear()
      return { number: 1, hash: hash(1), timestampS, transactionHashes: [], replayMs: 0 }
    }
    const fate = accept(1)
    await clock.advance(0)
    expect(await fate).toBe('dropped')
    await stop()
  })

  test('that no block takes is answered in the end', async () => {
    const { accept, clock, engine, stop } = world()
    engine.perBlock = 0
    const fate = accept(1)
    await clock.advance(5000)
    expect(['waiting', 'late']).toContain(await fate)
    expect(engine.mineCount).toBeLessThan(20)
    await stop()
  })

  test('submitted twice has one fate', async () => {
    const { accept, clock, sequencer, stop } = world()
    const fates = [accept(1), sequencer.submitted(hash(1))]
    await clock.advance(0)
    expect(await Promise.all(fates)).toEqual(['mined', 'mined'])
    await stop()
  })
})

describe('the rhythm', () => {
  test('three confirmations, then one block in thirty seconds', async () => {
    const { accept, blocks, clock, stop } = world()
    const startMs = clock.nowMs()
    await accept(1)
    await clock.advance(40_000)
    expect(blocks.map((block) => block.timestampS * 1000 - startMs)).toEqual([0, 1000, 2000, 3000, 33_000])
    await stop()
  })
})

test('what an engine that came back has in its pool is mined without a word from anybody', async () => {
  const { blocks, clock, stop } = world([hash(1)])
  await clock.advance(0)
  expect(blocks.map((block) => block.transactionHashes)).toEqual([[hash(1)]])
  await stop()
})

describe('an engine that fails', () => {
  test('for a moment only costs that moment', async () => {
    const { accept, blocks, clock, engine, stop } = world()
    engine.failing = true
    const fate = accept(1)
    await clock.advance(300)
    expect(blocks).toEqual([])
    engine.failing = false
    await clock.advance(300)
    expect(blocks).toHaveLength(1)
    expect(await fate).toBe('mined')
    await stop()
  })

  test('again and again ends the run, and nobody is left waiting', async () => {
    const { accept, clock, engine, run } = world()
    engine.failing = true
    const fate = accept(1)
    await clock.advance(60_000)
    await expect(run).rejects.toThrow('the engine fails')
    expect(await fate).toBe('late')
  })

  test('to save does not stop the blocks', async () => {
    const { accept, blocks, clock, engine, stop } = world()
    let saves = 0
    engine.save = async () => {
      saves++
      throw new Error('no space')
    }
    engine.replayMs = 60_000
    await accept(1)
    await clock.advance(65_000)
    expect(blocks).toHaveLength(6)
    expect(saves).toBeGreaterThan(2)
    await stop()
  })
})

test('stopping ends the run at once and tells those who wait', async () => {
  const { clock, engine, sequencer, ready, stop } = world()
  await clock.advance(0)
  engine.hold = true
  ready.push(hash(1))
  const fate = sequencer.submitted(hash(1))
  await clock.advance(0)
  const stopped = stop()
  engine.held!()
  await stopped
  expect(['mined', 'late']).toContain(await fate)
})
