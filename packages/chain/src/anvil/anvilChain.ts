import {
  type Abortable,
  type Clock,
  type Hex,
  fromHex,
  isFailure,
  type Logger,
  type Net,
  toHex,
} from '@weightless/core'
import type { Block } from '../engine.ts'
import { fail } from '../errors.ts'
import type { Ledger, LedgerEngine } from '../journal/ledger.ts'
import type { JournalBlock } from '../journal/segment.ts'
import type { Pool } from '../pool.ts'
import { replayMsOf } from '../schedule.ts'
import type { Log } from '../subscriptions.ts'
import type { Anvil } from './anvilProcess.ts'
import type { AnvilRpc } from './anvilRpc.ts'
import { dumpState, loadState } from './anvilState.ts'

/** A state of 100 000 transactions is saved within five seconds. */
const STOP_SAVE_MS_MAX = 20_000
const STOP_GRACE_MS = 10_000

/** A running anvil brought to the newest block of the ledger: what the sequencer, the port and the engine need of it. Takes the
 *  child over. */
export async function openAnvilChain(
  options: AnvilChainOptions,
  deps: AnvilChainDeps,
  { signal }: Abortable,
): Promise<AnvilChain> {
  const { anvil, ledger, pool, baseFeeWei } = options
  const url = `http://127.0.0.1:${anvil.port}`
  // The sequencer has a connection of its own: its few words never stand behind a large answer to a client.
  const own = await anvil.connect({ signal })
  let forClients: Promise<AnvilRpc> | undefined
  /** The block that is being made: the engine may have it already, and nobody shall see it before it is on disk. */
  let sealing: Promise<SealedBlock> | undefined

  const engine: LedgerEngine = {
    async found(abortable) {
      const balance = quantity(options.balanceWei)
      await Promise.all(
        options.accounts.map((account) => own.request('anvil_setBalance', [account, balance], abortable)),
      )
    },
    async load(state, abortable) {
      await loadState(url, state, deps, abortable)
      // To anvil the time before its own start is over, whatever state it was given.
      await setTime((await newestBlock(abortable)).timestampS, abortable)
    },
    dump: (abortable) => dumpState(url, deps, abortable),
    head: newestBlock,
    async replay(block, abortable) {
      await setBaseFee(block.baseFeeWei, abortable)
      // One after the other: the order of their arrival is that of the block.
      for (const raw of block.transactions) await own.request('eth_sendRawTransaction', [toHex(raw)], abortable)
      await own.request('evm_mine', [{ timestamp: block.timestampS }], abortable)
      return (await newestBlock(abortable)).hash
    },
  }
  const startMs = deps.clock.nowMs()
  const { replayedCount } = await ledger.restore(engine, { signal })
  const replayMs = replayedCount === 0 ? 0 : deps.clock.nowMs() - startMs
  await setBaseFee(baseFeeWei, { signal })
  let head = await newestBlock({ signal })
  await setTime(Math.max(Math.floor(deps.clock.nowMs() / 1000), head.timestampS), { signal })
  await resubmit({ signal })

  /** Anvil moves the fee after each block as EIP-1559 says; told between two blocks it holds for the next. */
  async function setBaseFee(wei: bigint, abortable: Abortable): Promise<void> {
    await own.request('anvil_setNextBlockBaseFeePerGas', [quantity(wei)], abortable)
  }

  async function setTime(timestampS: number, abortable: Abortable): Promise<void> {
    await own.request('evm_setTime', [timestampS], abortable)
  }

  async function newestBlock(abortable: Abortable): Promise<SealedBlock> {
    return sealedBlock(await own.request('eth_getBlockByNumber', ['latest', false], abortable))
  }

  /** What a predecessor had accepted and did not live to put into a block. */
  async function resubmit(abortable: Abortable): Promise<void> {
    for (const [hash, raw] of pool.all()) {
      try {
        await own.request('eth_sendRawTransaction', [raw], abortable)
      } catch (error) {
        if (!isFailure(error, 'CHAIN_CALL_FAILED')) throw error
        pool.remove(hash)
      }
    }
  }

  async function seal(timestampS: number): Promise<SealedBlock> {
    const startMs = deps.clock.nowMs()
    // No signal: a block that is begun is finished, within the time that the connection gives to an answer.
    await own.request('evm_mine', [{ timestamp: Math.max(timestampS, head.timestampS) }])
    const makingMs = deps.clock.nowMs() - startMs
    const [block] = await Promise.all([newestBlock({}), setBaseFee(baseFeeWei, {})])
    if (block.number !== head.number + 1)
      throw fail('CHAIN_UNAVAILABLE', { reason: `the engine went from block ${head.number} to ${block.number}` })
    const [logs] = await Promise.all([logsOf(block), journalBlock(block).then(ledger.append)])
    for (const hash of block.transactionHashes) pool.remove(hash)
    head = { ...block, logs, replayMs: Math.max(block.replayMs, makingMs) }
    return head
  }

  async function logsOf({ number, hash, transactionHashes }: SealedBlock): Promise<readonly Log[] | undefined> {
    if (transactionHashes.length === 0) return []
    if (!options.wantsLogs()) return undefined
    try {
      return (await own.request('eth_getLogs', [{ blockHash: hash }])) as readonly Log[]
    } catch (error) {
      deps.logger?.warn('chain.logsFailed', { block: number, error })
      return undefined
    }
  }

  async function journalBlock(block: SealedBlock): Promise<JournalBlock> {
    const { number, hash, timestampS, header } = block
    // One whose sender has no answer yet is not in our pool.
    const raws = await Promise.all(
      block.transactionHashes.map(
        async (known) => pool.get(known) ?? ((await own.request('eth_getRawTransactionByHash', [known])) as Hex),
      ),
    )
    return {
      number,
      hash,
      timestampS,
      baseFeeWei: BigInt(header['baseFeePerGas'] as string),
      transactions: raws.map(fromHex),
    }
  }

  async function askEngine(method: string, params: readonly unknown[], abortable?: Abortable): Promise<string> {
    forClients ??= anvil.connect({})
    const lane = await forClients.catch((error: unknown) => {
      forClients = undefined
      throw error
    })
    let tail: string
    try {
      tail = await lane.ask(method, params, abortable)
    } catch (error) {
      // The next one gets a new connection.
      if (isFailure(error, 'CHAIN_UNAVAILABLE') && !lane.isOpen()) forClients = undefined
      throw error
    }
    if (method === 'eth_sendRawTransaction') {
      const hash = ACCEPTED.exec(tail)?.[1]
      if (hash !== undefined) pool.add(hash as Hex, params[0] as Hex)
    }
    // The one gate between the engine and everybody else (DESIGN D2): an answer that came while a block was being made may show
    // it. It waits until that block is on disk; if it never gets there, nobody gets the answer.
    await sealing?.catch((cause: unknown) => {
      throw ledger.fault() ?? fail('CHAIN_UNAVAILABLE', { reason: 'its block was not finished' }, { cause })
    })
    return tail
  }

  return {
    get pid() {
      return anvil.child.pid
    },
    ended: anvil.child.ended.then(() => undefined),
    replayMs,
    head: () => head,
    ask: askEngine,
    async mine(timestampS) {
      sealing = seal(timestampS)
      try {
        const block = await sealing
        sealing = undefined
        return block
      } catch (error) {
        // What this engine holds now is not what the ledger holds. The gate stays shut, and a new engine begins from the ledger.
        void anvil.child.stop({ stopSignal: 'SIGKILL' })
        throw error
      }
    },
    async readyCount(abortable) {
      const status = (await own.request('txpool_status', [], abortable)) as { readonly pending?: unknown }
      return Number(status.pending)
    },
    async isKnown(hash, abortable) {
      const isKnown = (await own.request('eth_getTransactionByHash', [hash], abortable)) !== null
      if (!isKnown) pool.remove(hash)
      return isKnown
    },
    save: (abortable) => ledger.snapshot(engine, head, abortable),
    async stop({ saving }) {
      if (saving === 'save' && anvil.child.pid !== undefined) {
        try {
          await ledger.snapshot(engine, head, { signal: deps.clock.deadline(STOP_SAVE_MS_MAX) })
        } catch (error) {
          // Nothing is lost: the journal has every block.
          deps.logger?.error('chain.saveFailed', { error })
        }
      }
      own.close()
      ;(await forClients?.catch(() => undefined))?.close()
      await anvil.child.stop({ stopSignal: 'SIGKILL', graceMs: STOP_GRACE_MS })
    },
  }
}

/** A block with its header as the engine wrote it, less what a header does not have. */
export type SealedBlock = Block & {
  readonly header: { readonly [name: string]: unknown }
  /** All of them, where somebody wanted them and the engine gave them. */
  readonly logs: readonly Log[] | undefined
  /** About how long making it again takes: by its gas, or as long as it took this time, for each block costs the engine more the
   *  larger the state (decision 0009). */
  readonly replayMs: number
}

export type AnvilChain = {
  readonly pid: number | undefined
  /** Resolves when the process has ended, for whatever reason. */
  readonly ended: Promise<void>
  /** How long it took to make the blocks after the snapshot again. */
  readonly replayMs: number
  /** The newest block on disk. */
  head(): SealedBlock
  /** For clients: the answer's text behind its id. Shows no block that is not on disk. */
  ask(method: string, params: readonly unknown[], options?: Abortable): Promise<string>
  /** Resolves when the block is on disk. When it rejects, this engine is over. */
  mine(timestampS: number): Promise<SealedBlock>
  readyCount(options: Abortable): Promise<number>
  isKnown(hash: Hex, options: Abortable): Promise<boolean>
  save(options: Abortable): Promise<void>
  stop(options: { readonly saving: 'save' | 'discard' }): Promise<void>
}
export type AnvilChainOptions = {
  readonly anvil: Anvil
  readonly ledger: Ledger
  readonly pool: Pool
  /** Whether the logs of a block shall come with it. */
  readonly wantsLogs: () => boolean
  readonly baseFeeWei: bigint
  /** Funded when the chain is new. */
  readonly accounts: readonly string[]
  readonly balanceWei: bigint
}
export type AnvilChainDeps = { readonly clock: Clock; readonly net: Net; readonly logger?: Logger | undefined }

const ACCEPTED = /^"result":"(0x[0-9a-f]{64})"\}$/

function quantity(value: bigint): string {
  return `0x${value.toString(16)}`
}

function sealedBlock(value: unknown): SealedBlock {
  const {
    transactions,
    uncles: _uncles,
    withdrawals: _withdrawals,
    ...header
  } = value as {
    readonly [name: string]: unknown
    readonly transactions: readonly Hex[]
  }
  const { number, hash, timestamp, gasUsed } = header as {
    readonly number?: unknown
    readonly hash?: unknown
    readonly timestamp?: unknown
    readonly gasUsed?: unknown
  }
  if (
    typeof number !== 'string' ||
    typeof hash !== 'string' ||
    typeof timestamp !== 'string' ||
    !Array.isArray(transactions)
  ) {
    throw fail('CHAIN_UNAVAILABLE', { reason: 'the engine gave no block' })
  }
  return {
    number: Number(number),
    hash: hash as Hex,
    timestampS: Number(timestamp),
    transactionHashes: transactions,
    header,
    logs: undefined,
    replayMs: replayMsOf(Number(gasUsed)),
  }
}
