import {
  equal,
  identityOf,
  preview,
  toHex,
  type Abortable,
  type Address,
  type Entry,
  type Submission,
} from '@weightless/core'
import { fail } from './errors.ts'
import { decodeSubmitLog, SUBMIT_TOPIC } from './flowChain.ts'
import { parseCount, toQuantity } from './quantity.ts'
import type { Rpc } from './rpc.ts'

/** Public endpoints answer for a thousand blocks at once (spec/storage.md 2.6). */
const LOG_BLOCKS_MAX = 1_000
/** A day of 0G and more. What is older is in the log of every node, where uploads look anyway. */
const SEARCH_BLOCKS_MAX = 200_000
/** Entries of one sender with one identity in one window. */
const LOGS_MAX = 1_000

/** The number of the newest block. */
export async function readHead(rpc: Rpc, options: Abortable): Promise<number> {
  const block = (await rpc.request('eth_getBlockByNumber', ['latest', false], options)) as { readonly number?: unknown }
  return parseCount(block?.number, 'block number')
}

/** The first entry after block `sinceBlock` that `sender` made of exactly this submission, if there is one: how a payment is
 *  found whose hash is not known. */
export async function findSubmitted(
  rpc: Rpc,
  what: {
    readonly flow: Address
    readonly sender: Address
    readonly submission: Submission
    readonly sinceBlock: number
  },
  options: Abortable,
): Promise<Entry | undefined> {
  const { flow, sender, submission, sinceBlock } = what
  const last = Math.min(await readHead(rpc, options), sinceBlock + SEARCH_BLOCKS_MAX)
  const topics = [SUBMIT_TOPIC, `0x${sender.slice(2).padStart(64, '0')}`, toHex(identityOf(submission.nodes))]
  for (let from = sinceBlock + 1; from <= last; from += LOG_BLOCKS_MAX) {
    const to = Math.min(last, from + LOG_BLOCKS_MAX - 1)
    const filter = { address: flow, topics, fromBlock: toQuantity(from), toBlock: toQuantity(to) }
    const logs = await rpc.request('eth_getLogs', [filter], options)
    if (!Array.isArray(logs) || logs.length > LOGS_MAX)
      throw fail('RPC_ANSWER_INVALID', { field: 'logs', value: preview(logs) })
    // Endpoints may ignore a filter: what they answer is compared, not believed.
    const found = logs.map(decodeSubmitLog).find((entry) => entry.sender === sender && isEntryOf(entry, submission))
    if (found !== undefined) return found
  }
  return undefined
}

/** Whether the chain made `entry` of this submission: same nodes, size and tags. */
export function isEntryOf(entry: Entry, submission: Submission): boolean {
  return (
    entry.identity === toHex(identityOf(submission.nodes)) &&
    entry.sizeBytes === submission.sizeBytes &&
    equal(entry.tags, submission.tags)
  )
}
