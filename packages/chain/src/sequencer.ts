import type { Abortable, Clock, Hex, Logger } from '@weightless/core'
import type { Block } from './engine.ts'
import {
  afterBlock,
  afterFailedSave,
  afterSave,
  afterTransaction,
  beforeBlock,
  nextStep,
  rebase,
  startSchedule,
} from './schedule.ts'

/** How long an eth_sendRawTransaction waits for its block. Blocks take milliseconds; behind a full pool a client is told the
 *  hash and waits for the receipt like on any chain. */
const INCLUSION_MS_MAX = 5000
/** More blocks than are made while one answer of the engine is on its way. */
const RECENT_BLOCK_COUNT = 64
/** After a failed step: the engine is ending or busy, and its supervisor decides. */
const FAILURE_PAUSE_MS = 200
/** Failed steps in a row after which the engine counts as broken: more than a second without a block. */
const FAILURES_MAX = 10

/** The only one who makes blocks: carries out the schedule against an engine. One transaction that comes alone is mined at
 *  once; all that arrive while a block is being made share the next one. */
export function createSequencer<B extends MinedBlock>(deps: SequencerDeps<B>): Sequencer {
  const { engine, clock } = deps
  let state = startSchedule(clock.nowMs())
  let wake: () => void = () => undefined
  const waiting = new Map<Hex, Waiting>()
  /** A transaction may be in a block before its sender's request has come back to us. */
  const recent: (readonly Hex[])[] = []

  async function run({ signal, replayMs }: RunOptions): Promise<void> {
    // An engine that came back may have transactions of its predecessor.
    state = afterTransaction(startSchedule(clock.nowMs(), replayMs))
    const onAbort = (): void => wake()
    signal.addEventListener('abort', onAbort)
    let failures = 0
    try {
      while (!signal.aborted) {
        const nowMs = clock.nowMs()
        state = rebase(state, nowMs)
        const step = nextStep(state, nowMs)
        try {
          if (step.step === 'wait') await rest(step.untilMs - nowMs, signal)
          else if (step.step === 'save') await save({ signal })
          else await mine(step.reason, { signal })
          failures = 0
        } catch (error) {
          if (signal.aborted) break
          deps.logger?.warn('sequencer.stepFailed', { step: step.step, error })
          if (++failures > FAILURES_MAX) throw error
          await rest(FAILURE_PAUSE_MS, signal)
        }
      }
    } finally {
      signal.removeEventListener('abort', onAbort)
      for (const hash of waiting.keys()) settle(hash, 'late')
    }
  }

  async function mine(reason: MiningReason, options: Abortable): Promise<void> {
    if (reason !== 'transactions') return await makeBlock(reason, options)
    state = beforeBlock(state)
    try {
      await makeBlock(reason, options)
    } catch (error) {
      // They are still in the pool.
      state = afterTransaction(state)
      throw error
    }
  }

  async function makeBlock(reason: MiningReason, options: Abortable): Promise<void> {
    const before = [...waiting.keys()]
    // A gap in the nonces keeps a transaction out of every block: no block for it alone.
    if (reason === 'transactions' && (await engine.readyCount(options)) === 0) return await tellUnmined(before, options)
    const block = await engine.mine(Math.floor(clock.nowMs() / 1000))
    recent.push(block.transactionHashes)
    if (recent.length > RECENT_BLOCK_COUNT) recent.shift()
    deps.onBlock(block)
    for (const hash of block.transactionHashes) settle(hash, 'mined')
    const transactionCount = block.transactionHashes.length
    // When nobody waits any more, the pool holds nothing that a block could take; what could all the same, the confirmations take.
    const readyCount = waiting.size > 0 ? await engine.readyCount(options) : 0
    state = afterBlock(state, { transactionCount, readyCount, nowMs: clock.nowMs(), replayMs: block.replayMs })
    // What a block left although it took nothing cannot be mined at all.
    if (readyCount === 0 || transactionCount === 0) await tellUnmined(before, options)
  }

  /** Those of `hashes` that are not in a block, and that no ready place in the pool will bring into one: they either wait for
   *  an earlier nonce, or were thrown out when their block was built. */
  async function tellUnmined(hashes: readonly Hex[], options: Abortable): Promise<void> {
    for (const hash of hashes) {
      if (waiting.has(hash)) settle(hash, (await engine.isKnown(hash, options)) ? 'waiting' : 'dropped')
    }
  }

  async function save(options: Abortable): Promise<void> {
    const startMs = clock.nowMs()
    try {
      await engine.save(options)
      state = afterSave(state, { startMs, endMs: clock.nowMs() })
    } catch (error) {
      // Nothing is lost by it: the next start takes longer.
      deps.logger?.error('sequencer.saveFailed', { error })
      state = afterFailedSave(state, clock.nowMs())
    }
  }

  async function rest(ms: number, signal: AbortSignal): Promise<void> {
    const woken = new AbortController()
    wake = () => woken.abort()
    if (signal.aborted) return
    await clock.sleep(ms, { signal: woken.signal }).catch(() => undefined)
    wake = () => undefined
  }

  function settle(hash: Hex, fate: Fate): void {
    const entry = waiting.get(hash)
    waiting.delete(hash)
    entry?.settle(fate)
  }

  return {
    run,
    submitted(hash) {
      const known = waiting.get(hash)
      if (known !== undefined) return known.fate
      if (recent.some((hashes) => hashes.includes(hash))) return Promise.resolve('mined')
      const done = new AbortController()
      let resolve: (fate: Fate) => void = () => undefined
      const fate = new Promise<Fate>((fulfil) => (resolve = fulfil))
      waiting.set(hash, {
        fate,
        settle: (value) => {
          done.abort()
          resolve(value)
        },
      })
      clock.sleep(INCLUSION_MS_MAX, { signal: done.signal }).then(
        () => settle(hash, 'late'),
        () => undefined,
      )
      state = afterTransaction(state)
      wake()
      return fate
    },
  }
}

type MiningReason = 'transactions' | 'confirmation' | 'idle'

/** What became of a transaction that the pool had accepted. `waiting`: for an earlier nonce. `late`: not known in time. */
export type Fate = 'mined' | 'waiting' | 'dropped' | 'late'
type Waiting = { readonly fate: Promise<Fate>; settle(fate: Fate): void }

export type Sequencer = {
  /** Makes blocks until `signal` aborts. Rejects when the engine keeps failing. */
  run(options: RunOptions): Promise<void>
  /** Tells that the pool has accepted a transaction, and answers when its fate is known: bounded. */
  submitted(hash: Hex): Promise<Fate>
}

/** `replayMs`: how much of the chain had to be made again since its last snapshot. */
export type RunOptions = { readonly signal: AbortSignal; readonly replayMs?: number }

type MinedBlock = Block & { readonly replayMs: number }

export type SequencerDeps<B extends MinedBlock> = {
  readonly clock: Clock
  readonly engine: {
    /** Makes one block at this second, or at its parent's if that is later. Resolves when it is on disk. */
    mine(timestampS: number): Promise<B>
    /** Transactions in the pool that could be in the next block. */
    readyCount(options: Abortable): Promise<number>
    /** Whether the pool or a block holds the transaction. */
    isKnown(hash: Hex, options: Abortable): Promise<boolean>
    save(options: Abortable): Promise<void>
  }
  readonly onBlock: (block: B) => void
  readonly logger?: Logger | undefined
}
