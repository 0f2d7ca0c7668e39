import {
  type Abortable,
  type Clock,
  type Disk,
  type Failure,
  type Hex,
  isFailure,
  type Logger,
  type Net,
  parseAddress,
  type Random,
} from '@weightless/core'
import { endStaleChild, ensureDirectory, lockDirectory, platform } from '@weightless/host'
import { type Door, openDoor } from '../door.ts'
import type { Block } from '../engine.ts'
import { fail } from '../errors.ts'
import { createLedger, type Ledger } from '../journal/ledger.ts'
import { createPool } from '../pool.ts'
import { createProxy } from '../proxy.ts'
import { createSequencer, type Sequencer } from '../sequencer.ts'
import type { AnvilEngineOptions } from './anvilEngine.ts'
import { type AnvilChain, openAnvilChain, type SealedBlock } from './anvilChain.ts'
import { launchAnvil } from './anvilProcess.ts'
import { findAnvil } from './binary.ts'
import { withOneFirstBlock } from './firstBlock.ts'

/** As on most public chains. Executing a full block takes 40 ms here. */
export const BLOCK_GAS_LIMIT = 30_000_000n
/** Constant: with it, what eth_gasPrice said a moment ago is always enough, also as the maxFeePerGas of official clients. */
const BASE_FEE_WEI = 1_000_000_000n
/** What each given account owns when the chain is new: as in other development chains. */
const GENESIS_BALANCE_WEI: bigint = 10_000n * 10n ** 18n
/** How long a request waits for an engine that is starting again. */
const UPSTREAM_WAIT_MS = 10_000
/** A predecessor that was killed: its anvil ends with it, within the time that its guard needs to notice. */
const STALE_PATIENCE_MS = 4000
const RESTART_DELAY_MS_MIN = 100
const RESTART_DELAY_MS_MAX = 10_000
/** A child that ran this long was healthy: its next restart does not wait for the last one's delay. */
const HEALTHY_AFTER_MS = 30_000

/** From a start of the engine to its stop: the public port stays, the child behind it may come and go. */
export async function openSession(
  options: AnvilEngineOptions,
  deps: SessionDeps,
  { signal }: Abortable,
): Promise<Session> {
  const binary = findAnvil(platform)
  const accounts = options.accounts.map((account) => parseAddress(account))
  const at = (name: string): string => `${options.dataDir}/${name}`
  const [pidFile, cacheDir] = [at('anvil.pid'), at('anvil-cache')]
  await ensureDirectory(options.dataDir, { signal })

  const scope = new AbortController()
  const cleanups: (() => Promise<void>)[] = []
  const close = async (): Promise<void> => {
    for (let cleanup = cleanups.pop(); cleanup !== undefined; cleanup = cleanups.pop()) {
      await cleanup().catch((error: unknown) => deps.logger?.error('chain.closeFailed', { error }))
    }
  }
  try {
    const lock = await lockDirectory(options.dataDir, { signal })
    cleanups.push(() => lock.release())
    await endStaleChild({ pidFile, needle: cacheDir, patienceMs: STALE_PATIENCE_MS }, deps, { signal })
    // The files of the chain belong to whoever has the lock.
    const pool = createPool()
    const ledger = createLedger({ directory: options.dataDir, chainId: options.chainId, mend: withOneFirstBlock }, deps)
    await ledger.open({ signal })
    cleanups.push(ledger.close)

    let door: Door | undefined
    const current = createCurrent(deps)
    const sequencer = createSequencer<SealedBlock>({
      clock: deps.clock,
      logger: deps.logger,
      onBlock: (block) => publish(block),
      engine: {
        mine: async (timestampS) => (await current.get({})).mine(timestampS),
        readyCount: async (abortable) => (await current.get(abortable)).readyCount(abortable),
        isKnown: async (hash, abortable) => (await current.get(abortable)).isKnown(hash, abortable),
        save: async (abortable) => (await current.get(abortable)).save(abortable),
      },
    })
    const proxy = createProxy({
      blockGasLimit: BLOCK_GAS_LIMIT,
      upstream: () => current.get({}),
      submitted: sequencer.submitted,
      onAccepted: (hash) => door?.pushAccepted(hash),
      logger: deps.logger,
    })
    // First of all the port: a taken one is known before anything was started.
    const opened = await openDoor(
      { host: options.host ?? '127.0.0.1', port: options.port },
      { proxy, random: deps.random, isReady: () => current.now() !== undefined, logger: deps.logger },
    )
    door = opened
    const closeDoor = opened.close
    cleanups.push(closeDoor)

    let published: Hex | undefined
    const publish = (block: SealedBlock): void => {
      // A child that came back begins with the block that its predecessor ended with.
      if (block.hash === published) return
      published = block.hash
      const { header, replayMs: _replayMs, logs, ...told } = block
      deps.onBlock(told)
      opened.pushHead(header)
      if (opened.listensToLogs) opened.pushLogs(header, logs)
    }

    const launch = async (abortable: Abortable): Promise<AnvilChain> => {
      const anvil = await launchAnvil(
        {
          binary,
          chainId: options.chainId,
          firstBlockS: ledger.firstBlockS(),
          blockGasLimit: BLOCK_GAS_LIMIT,
          baseFeeWei: BASE_FEE_WEI,
          cacheDir,
          logFile: options.logFile ?? at('anvil.log'),
          pidFile,
        },
        deps,
        abortable,
      )
      try {
        return await openAnvilChain(
          {
            anvil,
            ledger,
            pool,
            wantsLogs: () => opened.listensToLogs,
            baseFeeWei: BASE_FEE_WEI,
            accounts,
            balanceWei: GENESIS_BALANCE_WEI,
          },
          deps,
          abortable,
        )
      } catch (error) {
        await anvil.child.stop({ stopSignal: 'SIGKILL' })
        throw error
      }
    }

    const first = await launch({ signal })
    const life = keepAlive(first, { launch, current, sequencer, publish, ledger, signal: scope.signal }, deps)
    // The door closes first, so that what was accepted is answered; then blocks stop, then a snapshot is taken.
    cleanups.splice(cleanups.indexOf(closeDoor), 0, async () => {
      scope.abort()
      await (await life)?.stop({ saving: 'save' })
    })
    return { port: opened.port, pid: () => current.now()?.pid, close }
  } catch (error) {
    await close()
    throw error
  }
}

export type Session = { readonly port: number; pid(): number | undefined; close(): Promise<void> }
export type SessionDeps = {
  readonly clock: Clock
  readonly net: Net
  readonly random: Random
  readonly disk: Disk
  readonly logger?: Logger | undefined
  readonly onBlock: (block: Block) => void
  readonly onRestart: () => void
  /** Called when no more blocks are made until the next start. */
  readonly onFault: (failure: Failure) => void
}

type LifeParts = {
  readonly launch: (options: Abortable) => Promise<AnvilChain>
  readonly current: Current
  readonly sequencer: Pick<Sequencer, 'run'>
  readonly ledger: Pick<Ledger, 'fault'>
  readonly publish: (block: SealedBlock) => void
  readonly signal: AbortSignal
}

/** Makes blocks on one child after the other until `signal` aborts; resolves with the child that lives then, if one does. */
async function keepAlive(first: AnvilChain, parts: LifeParts, deps: SessionDeps): Promise<AnvilChain | undefined> {
  const { current, signal } = parts
  let delayMs = RESTART_DELAY_MS_MIN
  let chain: AnvilChain | undefined = first
  while (chain !== undefined) {
    current.set(chain)
    parts.publish(chain.head())
    const startedMs = deps.clock.nowMs()
    await runUntilEnd(chain, parts, deps)
    if (signal.aborted) return chain
    current.set(undefined)
    deps.logger?.error('chain.engineLost', { pid: chain.pid, headNumber: chain.head().number })
    await chain.stop({ saving: 'discard' })
    const broken = parts.ledger.fault()
    if (broken !== undefined) return stopForGood(broken, parts, deps)
    deps.onRestart()
    if (deps.clock.nowMs() - startedMs >= HEALTHY_AFTER_MS) delayMs = RESTART_DELAY_MS_MIN
    chain = undefined
    while (chain === undefined && !signal.aborted) {
      try {
        await deps.clock.sleep(delayMs, { signal })
        delayMs = Math.min(2 * delayMs, RESTART_DELAY_MS_MAX)
        chain = await parts.launch({ signal })
      } catch (error) {
        if (signal.aborted) break
        deps.logger?.error('chain.restartFailed', { error })
        if (isFailure(error) && !error.retryable) return stopForGood(error, parts, deps)
      }
    }
  }
  return undefined
}

/** What no new child can mend: the port stays and says so. */
function stopForGood(failure: Failure, parts: LifeParts, deps: SessionDeps): undefined {
  deps.logger?.error('chain.stopped', { error: failure })
  deps.onFault(failure)
  // Without the facts: they name files.
  parts.current.halt(fail('CHAIN_STOPPED', { reason: failure.code }))
}

/** Resolves when the child has ended, or its engine fails again and again, or `signal` aborts. */
async function runUntilEnd(chain: AnvilChain, parts: LifeParts, deps: SessionDeps): Promise<void> {
  const ended = new AbortController()
  void chain.ended.then(() => ended.abort())
  try {
    await parts.sequencer.run({
      signal: AbortSignal.any([parts.signal, ended.signal]),
      replayMs: chain.replayMs,
    })
  } catch (error) {
    deps.logger?.error('chain.engineStuck', { error })
  }
}

/** The child that answers now, or the wait for the next one. */
type Current = {
  now(): AnvilChain | undefined
  set(chain: AnvilChain | undefined): void
  /** There will be none any more. */
  halt(failure: Failure): void
  /** Throws `CHAIN_UNAVAILABLE` when there is none for too long. */
  get(options: Abortable): Promise<AnvilChain>
}

function createCurrent(deps: { readonly clock: Clock }): Current {
  let chain: AnvilChain | undefined
  let halted: Failure | undefined
  const waiting = new Set<{ pass(chain: AnvilChain): void; refuse(failure: Failure): void }>()
  return {
    now: () => chain,
    set(next) {
      chain = next
      if (next === undefined) return
      for (const { pass } of waiting) pass(next)
      waiting.clear()
    },
    halt(failure) {
      chain = undefined
      halted = failure
      for (const { refuse } of waiting) refuse(failure)
      waiting.clear()
    },
    async get({ signal }) {
      if (halted !== undefined) throw halted
      if (chain !== undefined) return chain
      const done = new AbortController()
      let waiter: { pass(chain: AnvilChain): void; refuse(failure: Failure): void } | undefined
      const next = new Promise<AnvilChain>((pass, refuse) => waiting.add((waiter = { pass, refuse })))
      try {
        const late = deps.clock.sleep(UPSTREAM_WAIT_MS, {
          signal: signal === undefined ? done.signal : AbortSignal.any([done.signal, signal]),
        })
        return await Promise.race([
          next,
          late.then(() => {
            throw fail('CHAIN_UNAVAILABLE', { reason: 'the engine is starting' })
          }),
        ])
      } finally {
        if (waiter !== undefined) waiting.delete(waiter)
        done.abort()
      }
    },
  }
}
