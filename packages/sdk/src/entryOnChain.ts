import { isFailure, preview, type Abortable, type Address, type Clock, type Entry, type TxHash } from '@weightless/core'
import { fail } from './errors.ts'
import { entriesOf } from './flowChain.ts'
import { parseCount, toQuantity } from './quantity.ts'
import type { Rpc } from './rpc.ts'
import { parseReceipt } from './settle.ts'

/** The entry that `txHash` added under the number `seq`, read from the chain: how a node's word is checked. `undefined` when the
 *  transaction is unknown, failed, or added no such entry. */
export async function readEntry(
  rpc: Rpc,
  what: { readonly flow: Address; readonly txHash: TxHash; readonly seq: number },
  options: Abortable,
): Promise<Entry | undefined> {
  const raw = await rpc.request('eth_getTransactionReceipt', [what.txHash], options)
  if (raw === null || raw === undefined) return undefined
  const receipt = parseReceipt(raw, what.txHash)
  if (!receipt.isSuccess) return undefined
  return entriesOf(receipt, what.flow).find(({ seq }) => seq === what.seq)
}

/** Blocks after which one counts as final on a chain that does not know the tag `finalized`: two epochs of Ethereum. */
const FINAL_DEPTH_BLOCKS = 64

/** Whether the chain will keep this block: it is below the `finalized` head, or so deep where there is none, and still part of
 *  the chain.
 *  Throws `ENTRY_REORGED` when another block took its place. */
export async function isFinal(
  rpc: Rpc,
  entry: Pick<Entry, 'seq' | 'txHash' | 'blockNumber' | 'blockHash'>,
  options: Abortable,
): Promise<boolean> {
  if ((await readFinalNumber(rpc, options)) < entry.blockNumber) return false
  const block = await readBlock(rpc, toQuantity(entry.blockNumber), options)
  if (block?.hash === entry.blockHash) return true
  const { seq, txHash, blockNumber, blockHash } = entry
  throw fail('ENTRY_REORGED', { seq, txHash, blockNumber, blockHash, found: block?.hash })
}

/** 0G finalises within seconds, Ethereum in about 13 minutes. */
const FINAL_DELAY_MS_MIN = 100
const FINAL_DELAY_MS_MAX = 4_000

/** Waits until `isFinal`, as long as the signal allows. */
export async function waitFinal(
  rpc: Rpc,
  entry: Pick<Entry, 'seq' | 'txHash' | 'blockNumber' | 'blockHash'>,
  deps: { readonly clock: Clock },
  options: { readonly signal: AbortSignal },
): Promise<void> {
  for (let delayMs = FINAL_DELAY_MS_MIN; ; delayMs = Math.min(FINAL_DELAY_MS_MAX, delayMs * 2)) {
    options.signal.throwIfAborted()
    if (await isFinal(rpc, entry, options)) return
    await deps.clock.sleep(delayMs, options)
  }
}

async function readFinalNumber(rpc: Rpc, options: Abortable): Promise<number> {
  const finalized = await readBlock(rpc, 'finalized', options)
  if (finalized !== undefined) return finalized.number
  const newest = await readBlock(rpc, 'latest', options)
  return (newest?.number ?? 0) - FINAL_DEPTH_BLOCKS
}

/** Where the transaction of a reorganised entry is now: mined again, under this number or another; `pending`, so that it may
 *  still be; or `gone`, dropped or replaced. */
export async function findAgain(
  rpc: Rpc,
  what: { readonly flow: Address; readonly before: Entry },
  options: Abortable,
): Promise<Entry | 'pending' | 'gone'> {
  const { flow, before } = what
  const raw = await rpc.request('eth_getTransactionReceipt', [before.txHash], options)
  if (raw === null || raw === undefined) {
    const transaction = await rpc.request('eth_getTransactionByHash', [before.txHash], options)
    return transaction === null || transaction === undefined ? 'gone' : 'pending'
  }
  const receipt = parseReceipt(raw, before.txHash)
  if (!receipt.isSuccess) return 'gone'
  const same = entriesOf(receipt, flow).find(
    (entry) => entry.identity === before.identity && entry.sizeBytes === before.sizeBytes,
  )
  // A receipt that still names the block that is no more is an answer of yesterday.
  return same === undefined || same.blockHash === before.blockHash ? 'gone' : same
}

async function readBlock(
  rpc: Rpc,
  tag: string,
  options: Abortable,
): Promise<{ readonly number: number; readonly hash: string } | undefined> {
  let block: unknown
  try {
    block = await rpc.request('eth_getBlockByNumber', [tag, false], options)
  } catch (error) {
    // A chain too young to have a finalized block says so with an error.
    if (isFailure(error, 'RPC_ERROR')) return undefined
    throw error
  }
  if (block === null || block === undefined) return undefined
  const { number, hash } = block as { readonly number?: unknown; readonly hash?: unknown }
  if (typeof hash !== 'string') throw fail('RPC_ANSWER_INVALID', { field: 'block', value: preview(block) })
  return { number: parseCount(number, 'block number'), hash: hash.toLowerCase() }
}
