import { type Abortable, type Clock, type Hex, isFailure, type Logger } from '@weightless/core'
import type { Block } from '../engine.ts'
import { fail } from '../errors.ts'
import type { Log } from '../subscriptions.ts'
import type { Anvil } from './anvilProcess.ts'
import type { AnvilRpc } from './anvilRpc.ts'
import type { StateStore } from './stateStore.ts'

/** A state of 100 000 transactions is saved within five seconds. */
const STOP_SAVE_MS_MAX = 20_000
const STOP_GRACE_MS = 10_000

/** A running anvil with its state in it: what the sequencer, the port and the engine need of it. Takes the child over. */
export async function openAnvilChain(
  options: AnvilChainOptions,
  deps: AnvilChainDeps,
  { signal }: Abortable,
): Promise<AnvilChain> {
  const { anvil, store } = options
  const url = `http://127.0.0.1:${anvil.port}`
  // The sequencer has a connection of its own: its few words never stand behind a large answer to a client.
  const own = await anvil.connect({ signal })
  let forClients: Promise<AnvilRpc> | undefined

  if ((await store.load(url, { signal })) === 'fresh') {
    const balance = `0x${options.balanceWei.toString(16)}`
    await Promise.all(
      options.accounts.map((account) => own.request('anvil_setBalance', [account, balance], { signal })),
    )
  }
  await fixBaseFee({ signal })
  // From here on a SIGTERM at our death keeps what has happened; before, it would have kept an empty chain over the saved one.
  anvil.child.endSignalAtParentDeath('SIGTERM')
  let head = await newestBlock({ signal })

  /** Anvil moves the fee after each block as EIP-1559 says; told between two blocks it holds for the next. */
  async function fixBaseFee(abortable: Abortable): Promise<void> {
    await own.request('anvil_setNextBlockBaseFeePerGas', [`0x${options.baseFeeWei.toString(16)}`], abortable)
  }

  async function newestBlock(abortable: Abortable): Promise<SealedBlock> {
    return sealedBlock(await own.request('eth_getBlockByNumber', ['latest', false], abortable))
  }

  return {
    get pid() {
      return anvil.child.pid
    },
    ended: anvil.child.ended.then(() => undefined),
    head: () => head,
    async ask(method, params, abortable) {
      forClients ??= anvil.connect({})
      const lane = await forClients.catch((error: unknown) => {
        forClients = undefined
        throw error
      })
      try {
        return await lane.ask(method, params, abortable)
      } catch (error) {
        // The next one gets a new connection.
        if (isFailure(error, 'CHAIN_UNAVAILABLE') && !lane.isOpen()) forClients = undefined
        throw error
      }
    },
    async mine(timestampS, abortable) {
      // Never before the parent: anvil refuses it, and a clock may be set back.
      await own.request('evm_mine', [{ timestamp: Math.max(timestampS, head.timestampS) }], abortable)
      const [block] = await Promise.all([newestBlock(abortable), fixBaseFee(abortable)])
      head = block
      return block
    },
    async readyCount(abortable) {
      const status = (await own.request('txpool_status', [], abortable)) as { readonly pending?: unknown }
      return Number(status.pending)
    },
    async isKnown(hash, abortable) {
      return (await own.request('eth_getTransactionByHash', [hash], abortable)) !== null
    },
    async logsOf(blockHash, abortable) {
      return (await own.request('eth_getLogs', [{ blockHash }], abortable)) as readonly Log[]
    },
    save: (abortable) => store.save(url, abortable),
    async stop({ saving }) {
      let stopSignal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'
      if (saving === 'save' && anvil.child.pid !== undefined) {
        try {
          // Faster than anvil's own way out, which takes two seconds after it has written its state.
          await store.save(url, { signal: deps.clock.deadline(STOP_SAVE_MS_MAX) })
        } catch (error) {
          deps.logger?.error('chain.saveFailed', { error })
          stopSignal = 'SIGTERM'
        }
      }
      own.close()
      ;(await forClients?.catch(() => undefined))?.close()
      await anvil.child.stop({ stopSignal, graceMs: STOP_GRACE_MS })
    },
  }
}

/** A block with its header as the engine wrote it, less what a header does not have. */
export type SealedBlock = Block & { readonly header: { readonly [name: string]: unknown } }

export type AnvilChain = {
  readonly pid: number | undefined
  /** Resolves when the process has ended, for whatever reason. */
  readonly ended: Promise<void>
  head(): SealedBlock
  /** For clients: the answer's text behind its id. */
  ask(method: string, params: readonly unknown[], options?: Abortable): Promise<string>
  mine(timestampS: number, options: Abortable): Promise<SealedBlock>
  readyCount(options: Abortable): Promise<number>
  isKnown(hash: Hex, options: Abortable): Promise<boolean>
  logsOf(blockHash: Hex, options: Abortable): Promise<readonly Log[]>
  save(options: Abortable): Promise<void>
  stop(options: { readonly saving: 'save' | 'discard' }): Promise<void>
}
export type AnvilChainOptions = {
  readonly anvil: Anvil
  readonly store: StateStore
  readonly baseFeeWei: bigint
  /** Funded when the chain is new. */
  readonly accounts: readonly string[]
  readonly balanceWei: bigint
}
export type AnvilChainDeps = { readonly clock: Clock; readonly logger?: Logger | undefined }

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
  const { number, hash, timestamp } = header as {
    readonly number?: unknown
    readonly hash?: unknown
    readonly timestamp?: unknown
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
  }
}
