import {
  isFailure,
  preview,
  type Abortable,
  type Address,
  type Clock,
  type Failure,
  type Random,
  type TxHash,
} from '@weightless/core'
import { fail } from './errors.ts'
import { feePerGasWeiMax, readFees } from './fees.ts'
import { inNonceTurn, nonceEpoch, type NonceTurn } from './nonces.ts'
import { hashesOf, hashOfRaw, type PendingTransaction } from './pendingTransaction.ts'
import { parseCount, parseQuantity, toQuantity } from './quantity.ts'
import { jittered } from './retry.ts'
import { isRevert, revertReason } from './revert.ts'
import { askTogether, type Rpc, type RpcCall } from './rpc.ts'
import { abortable } from './scope.ts'
import { readCount, settle, type MinedTransaction } from './settle.ts'
import { senderOf, type Call, type Fees, type Sender, type SignerLike } from './signer.ts'

/** Sends calls from one wallet. Safe to use from many places at once: nonces are handed out one after the other. */
export type Transactor = {
  address(options: Abortable): Promise<Address>
  /** Everything that can refuse a call before it is signed, in one round trip. Throws `FUNDS_INSUFFICIENT`, `FEE_ABOVE_CAP`,
   *  `TX_REVERTED` (from the estimate), `NETWORK_MISMATCH` (a wallet on another chain). */
  prepare(call: Call, options: Abortable): Promise<PreparedCall>
  /** Resolves when the transaction is mined and succeeded. Throws what `prepare` throws; once it is out: `TX_REVERTED`,
   *  `TX_REPLACED`, `TX_DROPPED`, `TX_NOT_MINED` with the hash, `NONCE_CONFLICT`; `STEP_NOT_SAVED` before. */
  send(call: Call | PreparedCall, options: SendOptions): Promise<MinedTransaction>
  /** The same for a transaction that `onPending` told before, maybe to another process: sends the same bytes again if nobody has
   *  them, and signs nothing but a higher fee for the same nonce. Throws what `settle` throws. */
  settle(pending: PendingTransaction, options: SendOptions): Promise<MinedTransaction>
}
/** Good for the next few seconds. */
export type PreparedCall = Call & {
  readonly gas: bigint
  readonly fees: Fees
  /** The pending count, read after `epoch` was taken. */
  readonly pending: { readonly count: number; readonly epoch: number } | undefined
}
export type SendOptions = Abortable & {
  /** How long to wait for the receipt. */
  readonly timeoutMs?: number | undefined
  /** Called once the transaction is out. */
  readonly onSent?: ((txHash: TxHash) => void) | undefined
  /** Awaited before anything leaves this machine, and again when that changes: what `settle` needs to go on from here. */
  readonly onPending?: ((pending: PendingTransaction) => void | Promise<void>) | undefined
}
export type TransactorOptions = { readonly chainId: number; readonly signer: SignerLike }
export type TransactorDeps = { readonly rpc: Rpc; readonly clock: Clock; readonly random: Random }

/** The cost of an insert into the flow depends on what lands before it in the block (spec/storage.md 11.1, trap 6); gas that is
 *  not used is not paid for. */
const GAS_MARGIN_PERCENT = 30n
/** Two blocks of 0G; what we offer covers six full blocks. */
const FEES_FRESH_MS = 2_000
/** Somebody else sends from the same wallet. Each lost race means that one of the others won: ten processes with five uploads
 *  each need a dozen rounds; after these, about ten seconds, an endpoint is behind for good. */
const NONCE_ATTEMPTS_MAX = 32
const NONCE_DELAY_MS_STEP = 50
const NONCE_DELAY_MS_MAX = 500
/** A minute of 0G blocks is about 30; a transaction that takes longer than five minutes was dropped or underpriced. */
const MINED_TIMEOUT_MS = 300_000

export function createTransactor(options: TransactorOptions, deps: TransactorDeps): Transactor {
  const { chainId } = options
  let resolved: Promise<Sender> | undefined
  const senderFor = (signal: AbortSignal | undefined): Promise<Sender> => {
    resolved ??= senderOf(options.signer, { signal })
    resolved.catch(() => (resolved = undefined))
    return resolved
  }
  let offered: { readonly fees: Fees; readonly untilMs: number } | undefined
  const feesNow = async (signal: AbortSignal | undefined): Promise<Fees> => {
    if (offered !== undefined && deps.clock.nowMs() < offered.untilMs) return offered.fees
    const fees = await readFees(deps.rpc, { signal })
    offered = { fees, untilMs: deps.clock.nowMs() + FEES_FRESH_MS }
    return fees
  }
  const prepared = async (call: Call, { signal }: Abortable): Promise<PreparedCall> =>
    prepare(call, { sender: await senderFor(signal), chainId, fees: feesNow }, deps, { signal })
  return {
    address: async ({ signal }) => (await senderFor(signal)).address,
    prepare: prepared,
    send: async (given, options) => {
      const { signal, timeoutMs = MINED_TIMEOUT_MS, onSent } = options
      const sender = await senderFor(signal)
      const call = 'gas' in given ? given : await prepared(given, { signal })
      const onPending = saver(options)
      const sent = await submit({ call, sender, chainId, onPending }, deps, { signal })
      try {
        onSent?.(hashesOf(sent.pending)[0]!)
        const { receipt } = sent
        return await settle(
          sent.pending,
          { ...deps, sender },
          { signal, timeoutMs, call, onPending, state: 'sent', receipt },
        )
      } finally {
        sent.settle()
      }
    },
    settle: async (pending, options) => {
      const { signal, timeoutMs = MINED_TIMEOUT_MS } = options
      const sender = await senderFor(signal)
      return settle(pending, { ...deps, sender }, { signal, timeoutMs, onPending: saver(options), state: 'saved' })
    },
  }
}

/** Nothing is sent that could not be saved. Throws `STEP_NOT_SAVED`. */
function saver({ onPending, signal }: SendOptions): ((pending: PendingTransaction) => Promise<void>) | undefined {
  if (onPending === undefined) return undefined
  return async (pending) => {
    try {
      await abortable(Promise.resolve(onPending(pending)), { signal })
    } catch (cause) {
      signal?.throwIfAborted()
      throw isFailure(cause) ? cause : fail('STEP_NOT_SAVED', { reason: messageOf(cause).slice(0, 200) }, { cause })
    }
  }
}

type Payer = {
  readonly sender: Sender
  readonly chainId: number
  readonly fees: (signal: AbortSignal | undefined) => Promise<Fees>
}

async function prepare(call: Call, payer: Payer, deps: TransactorDeps, options: Abortable): Promise<PreparedCall> {
  const { rpc } = deps
  const { sender, chainId } = payer
  const request = { from: sender.address, to: call.to, data: call.data, value: toQuantity(call.valueWei) }
  const epoch = nonceEpoch()
  const calls: RpcCall[] = [
    ['eth_estimateGas', [request]],
    ['eth_getBalance', [sender.address, 'latest']],
  ]
  if (sender.kind === 'local') calls.push(pendingCall(sender.address))
  const [estimating, asking, counting] = askTogether(rpc, calls, options)
  const [estimate, fees, balance, walletChainId, pendingCount] = await Promise.all([
    estimating!.catch((error: unknown) => {
      if (isFailure(error, 'RPC_ERROR')) return error
      throw error
    }),
    payer.fees(options.signal),
    asking!,
    sender.kind === 'wallet' ? sender.chainId(options) : chainId,
    counting?.then((count) => parseCount(count, 'nonce')),
  ])
  if (walletChainId !== undefined && walletChainId !== chainId) {
    throw fail('NETWORK_MISMATCH', { what: 'chain id of the wallet', expected: chainId, actual: walletChainId })
  }
  const haveWei = parseQuantity(balance, 'balance')
  const funds = (needWei: bigint): Failure =>
    fail('FUNDS_INSUFFICIENT', { address: sender.address, haveWei, needWei, valueWei: call.valueWei })
  if (haveWei < call.valueWei) throw funds(call.valueWei)
  if (isFailure(estimate)) {
    if (isFundsMessage(estimate)) throw funds(call.valueWei + feePerGasWeiMax(fees) * 21_000n)
    if (isRevert(estimate))
      throw fail('TX_REVERTED', { when: 'before sending', reason: revertReason(estimate) }, { cause: estimate })
    throw estimate
  }
  const gas = (parseQuantity(estimate, 'gas') * (100n + GAS_MARGIN_PERCENT)) / 100n
  const needWei = call.valueWei + gas * feePerGasWeiMax(fees)
  if (haveWei < needWei) throw funds(needWei)
  return { ...call, gas, fees, pending: pendingCount === undefined ? undefined : { count: pendingCount, epoch } }
}

function pendingCall(address: Address): RpcCall {
  return ['eth_getTransactionCount', [address, 'pending']]
}

type Outgoing = {
  readonly call: PreparedCall
  readonly sender: Sender
  readonly chainId: number
  readonly onPending: ((pending: PendingTransaction) => Promise<void>) | undefined
}
type Sent = {
  readonly pending: PendingTransaction
  /** If the endpoint had it when it took the transaction. */
  readonly receipt?: unknown
  settle(): void
}

async function submit(out: Outgoing, deps: TransactorDeps, options: Abortable): Promise<Sent> {
  const { sender } = out
  const wallet = { rpcUrl: deps.rpc.url, chainId: out.chainId, address: sender.address }
  return inNonceTurn(
    wallet,
    async (turn) => {
      let last: unknown
      for (let attempt = 1; attempt <= NONCE_ATTEMPTS_MAX; attempt++) {
        try {
          if (sender.kind === 'wallet') return await sendByWallet(out, sender, options)
          const { pending } = out.call
          const isCurrent = attempt === 1 && pending !== undefined && pending.epoch === nonceEpoch()
          const count = isCurrent ? pending.count : await readCount(deps.rpc, sender.address, 'pending', options)
          return await sendSigned(out, sender, { turn, count }, deps, options)
        } catch (error) {
          if (options.signal?.aborted) throw options.signal.reason
          if (!isNonceMessage(error)) throw refusal(error, out)
          last = error
          turn.forget()
          await deps.clock.sleep(
            jittered(Math.min(NONCE_DELAY_MS_MAX, NONCE_DELAY_MS_STEP * attempt), deps.random),
            options,
          )
        }
      }
      throw fail('NONCE_CONFLICT', { address: sender.address, attempts: NONCE_ATTEMPTS_MAX }, { cause: last })
    },
    options,
  )
}

async function sendSigned(
  out: Outgoing,
  sender: Sender & { readonly kind: 'local' },
  { turn, count }: { readonly turn: NonceTurn; readonly count: number },
  { rpc }: TransactorDeps,
  options: Abortable,
): Promise<Sent> {
  const { call, chainId } = out
  const nonce = turn.choose(count)
  const raw = await sender.sign({ ...call, chainId, nonce })
  options.signal?.throwIfAborted()
  const txHash = hashOfRaw(raw)
  const pending = { by: 'key', from: sender.address, nonce, raw, txHash, earlier: [] } as const
  await out.onPending?.(pending)
  options.signal?.throwIfAborted()
  // From here on the transaction may be out, whatever the answer is.
  const settle = turn.used(nonce)
  // A chain that makes its block at once has the receipt by the time it answers; for any other the question costs nothing.
  const [sending, receiving] = askTogether(
    rpc,
    [
      ['eth_sendRawTransaction', [raw]],
      ['eth_getTransactionReceipt', [txHash]],
    ],
    options,
  )
  const receipt = receiving!.catch(() => undefined)
  try {
    await sending
  } catch (error) {
    // "already known", or "nonce too low" after an answer got lost: ours may be the one that used the nonce.
    if (isFailure(error, 'RPC_ERROR') && (await isKnown(txHash, rpc, options))) return { pending, settle }
    settle()
    if (isFailure(error, 'RPC_ERROR') || options.signal?.aborted) throw error
    throw fail(
      'TX_NOT_MINED',
      { txHash, reason: 'the endpoint went away while the transaction was sent' },
      { cause: error },
    )
  }
  return { pending, settle, receipt: await receipt }
}

async function sendByWallet(
  out: Outgoing,
  sender: Sender & { readonly kind: 'wallet' },
  options: Abortable,
): Promise<Sent> {
  const { address: from } = sender
  await out.onPending?.({ by: 'wallet', from })
  const txHash = await sender.send(out.call, options)
  const pending = { by: 'wallet', from, txHash } as const
  await out.onPending?.(pending)
  return { pending, settle: () => undefined }
}

async function isKnown(txHash: TxHash, rpc: Rpc, options: Abortable): Promise<boolean> {
  const found = await rpc.request('eth_getTransactionByHash', [txHash], options)
  return found !== null && found !== undefined
}

function refusal(error: unknown, out: Outgoing): unknown {
  if (isFailure(error) && error.code !== 'RPC_ERROR') return error
  if (isFundsMessage(error)) {
    const needWei = out.call.valueWei + out.call.gas * feePerGasWeiMax(out.call.fees)
    return fail(
      'FUNDS_INSUFFICIENT',
      { address: out.sender.address, needWei, valueWei: out.call.valueWei },
      { cause: error },
    )
  }
  if (isFailure(error)) return error
  return fail(
    'SIGNER_REFUSED',
    { address: out.sender.address, reason: messageOf(error).slice(0, 200) },
    { cause: error },
  )
}

/** Words of geth, reth, anvil, cosmos-evm, our own chain (chain/proxy.ts), and the codes of ethers. */
function isNonceMessage(error: unknown): boolean {
  const code = (error as { readonly code?: unknown } | null)?.code
  if (code === 'NONCE_EXPIRED' || code === 'REPLACEMENT_UNDERPRICED') return true
  if (isFailure(error) && error.code !== 'RPC_ERROR') return false
  return /nonce too (low|high)|invalid nonce|nonce has already been used|nonce was used|replacement transaction underpriced|replacement fee too low/i.test(
    messageOf(error),
  )
}

function isFundsMessage(error: unknown): boolean {
  if ((error as { readonly code?: unknown } | null)?.code === 'INSUFFICIENT_FUNDS') return true
  return /insufficient (funds|balance)/i.test(messageOf(error))
}

function messageOf(error: unknown): string {
  if (isFailure(error)) return String(error.facts['message'] ?? error.message)
  return error instanceof Error ? error.message : preview(error)
}
