import { flowAbi, marketAbi } from '@weightless/contracts'
import {
  checkSubmission,
  identityOf,
  isFailure,
  paddedChunkCountOf,
  parseAddress,
  parseHex,
  parseTxHash,
  preview,
  rootOf,
  rootOfNodes,
  toHex,
  type Abortable,
  type Address,
  type Entry,
  type Hex,
  type Submission,
} from '@weightless/core'
import { decodeEventLog, decodeFunctionResult, encodeFunctionData } from 'viem'
import { fail } from './errors.ts'
import { parseCount } from './quantity.ts'
import type { Rpc } from './rpc.ts'
import type { MinedTransaction } from './settle.ts'
import type { PreparedCall, SendOptions, Transactor } from './transactor.ts'

/** topic0 of Submit(address,bytes32,uint256,uint256,uint256,(uint256,bytes,(bytes32,uint256)[])), spec/storage.md 2.1. */
export const SUBMIT_TOPIC: Hex = '0x167ce04d2aa1981994d3a31695da0d785373335b1078cec239a1a3a2c7675555'

/** Tags are as long as their sender paid for; beyond this a log is no entry of any client. */
const LOG_DATA_BYTES_MAX: number = 1024 ** 2

/** Reads a raw JSON-RPC log of the flow contract. Strict: the decoded submission must obey the rules by which the contract
 *  accepts one, and its numbers must fit. The caller checks the log's address. Throws `LOG_INVALID`. */
export function decodeSubmitLog(log: unknown): Entry {
  try {
    const raw = log as { readonly [name: string]: unknown }
    const topics = raw['topics']
    if (!Array.isArray(topics) || topics.length !== 3 || topics[0] !== SUBMIT_TOPIC) throw refuse('topics', topics)
    if (raw['removed'] === true) throw refuse('removed', true)
    const data = toHex(parseHex(raw['data'], { name: 'data', sizeBytesMax: LOG_DATA_BYTES_MAX }))
    const identity = parseTxHash(topics[2]) as Hex
    const [sender, , submissionIndex, startPos, length, submission] = argsOf(topics, data)
    const nodes = submission.nodes.map(({ root, height }) => ({
      root: parseHex(root, { name: 'root', sizeBytesMax: 32 }),
      height: numberOf(height, 'height'),
    }))
    const tags = parseHex(submission.tags, { name: 'tags', sizeBytesMax: LOG_DATA_BYTES_MAX })
    const sizeBytes = numberOf(submission.length, 'sizeBytes')
    checkSubmission({ sizeBytes, tags, nodes })
    const paddedChunkCount = numberOf(length, 'sectors')
    if (paddedChunkCount !== paddedChunkCountOf(nodes)) throw refuse('sectors', paddedChunkCount)
    if (toHex(identityOf(nodes)) !== identity) throw refuse('identity', identity)
    return {
      seq: numberOf(submissionIndex, 'seq'),
      root: rootOf(rootOfNodes(nodes)),
      sizeBytes,
      startChunk: numberOf(startPos, 'startChunk'),
      paddedChunkCount,
      nodes,
      tags,
      sender: parseAddress(sender),
      identity,
      blockNumber: parseCount(raw['blockNumber'], 'blockNumber'),
      blockHash: parseTxHash(raw['blockHash']),
      txHash: parseTxHash(raw['transactionHash']),
      logIndex: parseCount(raw['logIndex'], 'logIndex'),
    }
  } catch (cause) {
    if (isFailure(cause, 'LOG_INVALID')) throw cause
    throw fail('LOG_INVALID', { log: preview(log) }, { cause })
  }
}

/** Entries that a mined transaction added to `flow`, in order. */
export function entriesOf(transaction: MinedTransaction, flow: Address): readonly Entry[] {
  return transaction.logs.filter((log) => isSubmitLogOf(log, flow)).map(decodeSubmitLog)
}

/** The calldata of one submission, or of several in one transaction. */
export function submitCalldata(submissions: readonly Submission[], submitter: Address): Hex {
  const all = submissions.map(({ sizeBytes, tags, nodes }) => ({
    data: {
      length: BigInt(sizeBytes),
      tags: toHex(tags),
      nodes: nodes.map(({ root, height }) => ({ root: toHex(root), height: BigInt(height) })),
    },
    submitter,
  }))
  if (all.length === 1) return encodeFunctionData({ abi: flowAbi, functionName: 'submit', args: [all[0]!] })
  return encodeFunctionData({ abi: flowAbi, functionName: 'batchSubmit', args: [all] })
}

/** Submissions that are paid for together, and what they cost now. */
export type Payment = {
  readonly flow: Address
  readonly submissions: readonly Submission[]
  readonly priceWeiPerSector: bigint
}

/** The call that pays for the submissions, ready to be sent. Throws what `Transactor.prepare` throws. */
export async function prepareSubmission(
  payment: Payment,
  transactor: Transactor,
  options: Abortable,
): Promise<PreparedCall> {
  const { flow, submissions, priceWeiPerSector } = payment
  const submitter = await transactor.address(options)
  const sectorCount = submissions.reduce((sum, { nodes }) => sum + paddedChunkCountOf(nodes), 0)
  const call = {
    to: flow,
    data: submitCalldata(submissions, submitter),
    valueWei: BigInt(sectorCount) * priceWeiPerSector,
  }
  return transactor.prepare(call, options)
}

/** Pays for the submissions in one transaction and reads their entries back from its logs, in the order given. Safe under
 *  concurrency. Throws what `Transactor.send` throws, and `TX_LOG_MISSING`. */
export async function submitEntries(
  payment: Payment,
  transactor: Transactor,
  options: SendOptions,
): Promise<readonly Entry[]> {
  return sendSubmission(payment, await prepareSubmission(payment, transactor, options), transactor, options)
}

/** The same with a call that `prepareSubmission` made of these submissions. */
export async function sendSubmission(
  { flow, submissions }: Pick<Payment, 'flow' | 'submissions'>,
  prepared: PreparedCall,
  transactor: Transactor,
  options: SendOptions,
): Promise<readonly Entry[]> {
  const mined = await transactor.send(prepared, options)
  const entries = entriesOf(mined, flow)
  const isAll =
    entries.length === submissions.length &&
    entries.every(
      ({ identity, sizeBytes }, i) =>
        identity === toHex(identityOf(submissions[i]!.nodes)) && sizeBytes === submissions[i]!.sizeBytes,
    )
  if (!isAll)
    throw fail('TX_LOG_MISSING', { flow, txHash: mined.txHash, expected: submissions.length, found: entries.length })
  return entries
}

/** The market that sets the price of this flow contract. */
export async function readMarket(rpc: Rpc, flow: Address, options: Abortable): Promise<Address> {
  const data = encodeFunctionData({ abi: flowAbi, functionName: 'market' })
  const result = await call(rpc, flow, data, options)
  return decoded(flow, () => parseAddress(decodeFunctionResult({ abi: flowAbi, functionName: 'market', data: result })))
}

/** Wei for one sector of 256 bytes, padding included. */
export async function readPrice(rpc: Rpc, market: Address, options: Abortable): Promise<bigint> {
  const data = encodeFunctionData({ abi: marketAbi, functionName: 'pricePerSector' })
  const result = await call(rpc, market, data, options)
  return decoded(market, () => decodeFunctionResult({ abi: marketAbi, functionName: 'pricePerSector', data: result }))
}

/** Bytes that are no answer of the contract that we take this address for: the decoder has errors of its own for them. */
function decoded<T>(from: Address, decode: () => T): T {
  try {
    return decode()
  } catch (cause) {
    throw fail('RPC_ANSWER_INVALID', { reason: 'not the answer of such a contract', from }, { cause })
  }
}

/** The raw result of an eth_call. Throws `RPC_ANSWER_INVALID` for an empty one: nothing lives at that address. */
export async function call(rpc: Rpc, to: Address, data: Hex, options: Abortable): Promise<Hex> {
  return resultOfCall(await rpc.request('eth_call', [{ to, data }, 'latest'], options), { to, data })
}

/** The same of an answer that is there. */
export function resultOfCall(result: unknown, { to, data }: { readonly to: Address; readonly data: Hex }): Hex {
  const bytes = parseHex(result, { name: 'result of eth_call', sizeBytesMax: LOG_DATA_BYTES_MAX })
  if (bytes.length > 0) return toHex(bytes)
  throw fail('RPC_ANSWER_INVALID', {
    reason: 'an empty result: no such contract here',
    to,
    selector: data.slice(0, 10),
  })
}

function isSubmitLogOf(log: unknown, flow: Address): boolean {
  const { address, topics } = (log ?? {}) as { readonly address?: unknown; readonly topics?: unknown }
  return (
    typeof address === 'string' && address.toLowerCase() === flow && Array.isArray(topics) && topics[0] === SUBMIT_TOPIC
  )
}

type SubmitArgs = readonly [
  sender: string,
  identity: string,
  submissionIndex: bigint,
  startPos: bigint,
  length: bigint,
  submission: {
    readonly length: bigint
    readonly tags: string
    readonly nodes: readonly { readonly root: string; readonly height: bigint }[]
  },
]

function argsOf(topics: readonly unknown[], data: Hex): SubmitArgs {
  const { args } = decodeEventLog({ abi: flowAbi, eventName: 'Submit', topics: topics as [Hex, ...Hex[]], data })
  // In order of the inputs: one of them is called `length`, so positions are safer than names.
  return Object.values(args) as unknown as SubmitArgs
}

function numberOf(value: bigint, name: string): number {
  const number = Number(value)
  if (Number.isSafeInteger(number)) return number
  throw refuse(name, value.toString())
}

function refuse(field: string, value: unknown): Error {
  return fail('LOG_INVALID', { field, value: preview(value) })
}
