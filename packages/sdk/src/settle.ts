import {
  isFailure,
  parseTxHash,
  preview,
  type Abortable,
  type Address,
  type Clock,
  type Hex,
  type TxHash,
} from '@weightless/core'
import { fail } from './errors.ts'
import { raisedFees, readFees, reaches } from './fees.ts'
import {
  callOf,
  EARLIER_MAX,
  hashesOf,
  hashOfRaw,
  type PendingTransaction,
  type SignedTransaction,
} from './pendingTransaction.ts'
import { parseCount, parseQuantity, toQuantity } from './quantity.ts'
import { isRevert, revertReason } from './revert.ts'
import type { Rpc } from './rpc.ts'
import { withDeadline } from './scope.ts'
import type { Call, Sender } from './signer.ts'

export type MinedTransaction = {
  readonly txHash: TxHash
  readonly blockNumber: number
  readonly blockHash: Hex
  /** Raw JSON-RPC logs. */
  readonly logs: readonly unknown[]
}
export type SettleOptions = Abortable & {
  readonly timeoutMs: number
  /** `sent`: it is out, receipts are asked for at once. `saved`: it was saved by a process that may have died before it was sent. */
  readonly state: 'sent' | 'saved'
  /** The raw receipt, if the endpoint gave it when it took the transaction. */
  readonly receipt?: unknown
  /** What was called, to say why it failed; known from the signed bytes otherwise. */
  readonly call?: Call | undefined
  /** Awaited before a transaction with a raised fee is sent. */
  readonly onPending?: ((pending: PendingTransaction) => Promise<void>) | undefined
}
export type SettleDeps = { readonly rpc: Rpc; readonly clock: Clock; readonly sender: Sender }

/** The local chain mines at once: look soon, then ever more seldom. */
const RECEIPT_DELAY_MS_MIN = 3
const RECEIPT_DELAY_MS_MAX = 1_000
/** A transaction that is not mined after this long may be dropped, replaced or too cheap: two blocks of 0G. */
const LOOK_EVERY_MS = 2_000
/** Endpoints behind one address may lag behind each other by a block or two: a nonce that is used and a receipt that is missing
 *  must be seen this often in a row before the transaction is given up. */
const MISSING_LOOKS = 3

/** Follows one transaction until it is mined, and helps: what was dropped is sent again, byte for byte; what became too cheap is
 *  signed again with a higher fee under the same nonce, so that never two can be mined.
 *
 *  Throws `TX_REVERTED`; `TX_REPLACED` when another transaction has used its nonce; `TX_DROPPED` when a wallet's transaction is
 *  not known any more and none of that wallet is pending; `TX_NOT_MINED` with the hash after `timeoutMs`. */
export async function settle(
  pending: PendingTransaction,
  deps: SettleDeps,
  options: SettleOptions,
): Promise<MinedTransaction> {
  const { signal, timeoutMs, state } = options
  const { clock } = deps
  const watch: Watch = { current: pending, missingLooks: 0 }
  const first = options.receipt ?? undefined
  let receipt: RawReceipt
  try {
    receipt =
      first !== undefined
        ? parseReceipt(first, hashesOf(pending)[0]!)
        : await withDeadline({ signal, timeoutMs, what: 'transaction receipt' }, deps, async (scope) => {
            let lookAtMs = state === 'saved' ? 0 : clock.nowMs() + LOOK_EVERY_MS
            for (let delayMs = RECEIPT_DELAY_MS_MIN; ; delayMs = Math.min(RECEIPT_DELAY_MS_MAX, delayMs * 1.5)) {
              const found = await readReceipt(watch.current, deps.rpc, { signal: scope })
              if (found !== undefined) return found
              if (clock.nowMs() >= lookAtMs) {
                await look(watch, deps, { ...options, signal: scope })
                lookAtMs = clock.nowMs() + LOOK_EVERY_MS
              }
              await clock.sleep(delayMs, { signal: scope })
            }
          })
  } catch (error) {
    if (signal?.aborted) throw signal.reason
    if (!isFailure(error, 'DEADLINE_PASSED')) throw error
    throw fail('TX_NOT_MINED', { txHash: hashesOf(watch.current)[0], timeoutMs }, { cause: watch.trouble ?? error })
  }
  if (receipt.isSuccess) return receipt
  throw fail('TX_REVERTED', {
    when: 'mined',
    txHash: receipt.txHash,
    block: receipt.blockNumber,
    reason: await replayReason(receipt, watch.current, deps, { signal, call: options.call }),
  })
}

type Watch = {
  current: PendingTransaction
  /** How often in a row the nonce was used and no receipt was there. */
  missingLooks: number
  /** What the endpoint said last, for the error when time is up. */
  trouble?: unknown
}

async function readReceipt(
  pending: PendingTransaction,
  rpc: Rpc,
  { signal }: Abortable,
): Promise<RawReceipt | undefined> {
  const found = await Promise.all(
    hashesOf(pending).map(async (txHash) => {
      const value = await patient(() => rpc.request('eth_getTransactionReceipt', [txHash], { signal }))
      return value === null || value === undefined ? undefined : parseReceipt(value, txHash)
    }),
  )
  return found.find((receipt) => receipt !== undefined)
}

/** The money may be spent: an endpoint that is away for a while must not make us forget the transaction. */
async function patient(ask: () => Promise<unknown>): Promise<unknown> {
  try {
    return await ask()
  } catch (error) {
    if (isFailure(error) && error.retryable) return undefined
    throw error
  }
}

/** Finds out why there is no receipt, and does what helps. */
async function look(watch: Watch, deps: SettleDeps, options: SettleOptions): Promise<void> {
  try {
    if (watch.current.by === 'wallet') await lookAtWallet(watch, watch.current.from, deps, options)
    else await lookAtSigned(watch, watch.current, deps, options)
  } catch (error) {
    options.signal?.throwIfAborted()
    if (!isFailure(error) || !error.retryable || error.code === 'TX_REPLACED') throw error
    watch.trouble = error
  }
}

async function lookAtWallet(watch: Watch, from: Address, { rpc }: SettleDeps, options: Abortable): Promise<void> {
  const [txHash] = hashesOf(watch.current)
  const [pendingCount, count, found] = await Promise.all([
    readCount(rpc, from, 'pending', options),
    readCount(rpc, from, 'latest', options),
    txHash === undefined ? undefined : rpc.request('eth_getTransactionByHash', [txHash], options),
  ])
  const isGone = pendingCount <= count && (found === undefined || found === null)
  if (isGone && (txHash === undefined || ++watch.missingLooks >= MISSING_LOOKS))
    throw fail('TX_DROPPED', { from, txHash })
  if (!isGone) watch.missingLooks = 0
}

async function lookAtSigned(
  watch: Watch,
  signed: SignedTransaction,
  deps: SettleDeps,
  options: SettleOptions,
): Promise<void> {
  const { rpc } = deps
  const { from, nonce, txHash, raw } = signed
  if ((await readCount(rpc, from, 'latest', options)) > nonce) {
    // It may have been mined a moment ago: the receipt is asked for after the count.
    if ((await readReceipt(signed, rpc, options)) !== undefined) return
    if (++watch.missingLooks >= MISSING_LOOKS) throw fail('TX_REPLACED', { from, nonce, txHash })
    return
  }
  watch.missingLooks = 0
  const fees = await readFees(rpc, options)
  if (!reaches(callOf(signed).fees, fees)) {
    const raised = await raise(signed, fees, deps, options)
    if (raised !== undefined) watch.current = raised
    return
  }
  const known = await Promise.all(
    hashesOf(signed).map((hash) => rpc.request('eth_getTransactionByHash', [hash], options)),
  )
  if (known.some((found) => found !== null && found !== undefined)) return
  try {
    await rpc.request('eth_sendRawTransaction', [raw], options)
  } catch (error) {
    // "already known" or "nonce too low": the next look sees which. Anything else is told when time is up.
    if (!isFailure(error, 'RPC_ERROR')) throw error
    watch.trouble = error
  }
}

/** The same call under the same nonce, for more. `undefined` when the wallet is not at hand or the fee is at its cap. */
async function raise(
  signed: SignedTransaction,
  wished: Awaited<ReturnType<typeof readFees>>,
  { sender, rpc }: SettleDeps,
  options: SettleOptions,
): Promise<SignedTransaction | undefined> {
  const call = callOf(signed)
  const fees = raisedFees(call.fees, wished)
  if (fees === undefined || signed.earlier.length >= EARLIER_MAX) return undefined
  if (sender.kind !== 'local' || sender.address !== signed.from) return undefined
  const raw = await sender.sign({ ...call, fees })
  const next: SignedTransaction = {
    ...signed,
    raw,
    txHash: hashOfRaw(raw),
    earlier: [signed.txHash, ...signed.earlier],
  }
  await options.onPending?.(next)
  try {
    await rpc.request('eth_sendRawTransaction', [raw], options)
  } catch (error) {
    if (!isFailure(error, 'RPC_ERROR')) throw error
  }
  return next
}

export async function readCount(
  rpc: Rpc,
  address: Address,
  tag: 'pending' | 'latest',
  options: Abortable,
): Promise<number> {
  return parseCount(await rpc.request('eth_getTransactionCount', [address, tag], options), 'nonce')
}

export type RawReceipt = MinedTransaction & { readonly isSuccess: boolean }

/** Strict: what comes from an endpoint is outside input. Throws `RPC_ANSWER_INVALID`. */
export function parseReceipt(value: unknown, txHash: TxHash): RawReceipt {
  const receipt = value as {
    readonly transactionHash?: unknown
    readonly blockNumber?: unknown
    readonly blockHash?: unknown
    readonly status?: unknown
    readonly logs?: unknown
  }
  const { blockHash, logs } = receipt
  if (
    typeof receipt.transactionHash !== 'string' ||
    receipt.transactionHash.toLowerCase() !== txHash ||
    !Array.isArray(logs)
  ) {
    throw fail('RPC_ANSWER_INVALID', { field: 'receipt', txHash, value: preview(value) })
  }
  return {
    txHash,
    blockNumber: parseCount(receipt.blockNumber, 'blockNumber'),
    blockHash: parseTxHash(blockHash),
    logs,
    isSuccess: parseQuantity(receipt.status, 'status') === 1n,
  }
}

/** A receipt does not say why: the same call on the state of that block usually does. */
async function replayReason(
  receipt: MinedTransaction,
  pending: PendingTransaction,
  { rpc }: SettleDeps,
  options: Abortable & { readonly call: Call | undefined },
): Promise<string> {
  const call = pending.by === 'key' ? callOf(pending) : options.call
  if (call === undefined) return 'unknown: a wallet sent it, look the transaction up'
  const request = { from: pending.from, to: call.to, data: call.data, value: toQuantity(call.valueWei) }
  try {
    await rpc.request('eth_call', [request, toQuantity(receipt.blockNumber)], options)
  } catch (error) {
    options.signal?.throwIfAborted()
    if (isRevert(error)) return revertReason(error)
  }
  return 'unknown: the same call succeeds now, so it may have run out of gas'
}
