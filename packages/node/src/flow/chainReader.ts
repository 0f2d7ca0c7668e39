import { flowAbi, storageRegistryAbi } from '@weightless/contracts'
import type { Abortable, Address, Entry, Hex, Membership } from '@weightless/core'
import { equal, membershipHash, parseAddress, parseHex, toHex } from '@weightless/core'
import { decodeSubmitLog, readMembershipHash, SUBMIT_TOPIC, type Rpc } from '@weightless/sdk'
import { decodeEventLog, decodeFunctionResult, encodeFunctionData, toEventSelector } from 'viem'
import { fail } from '../errors.ts'
import type { MemberChange } from './membership.ts'

/** What the follower asks of a chain besides its logs. */
export type ChainReader = {
  /** topic0 of the events that `decode` knows. */
  readonly topics: readonly string[]
  /** `undefined` for a log of another contract. Throws `LOG_INVALID` for one that ours never emits. */
  decode(log: unknown): LogEvent | undefined
  chainId(options: Abortable): Promise<number>
  /** `undefined` when the endpoint has no such block. */
  blockHash(number: number, options: Abortable): Promise<Hex | undefined>
  /** The root that the contract computed right after this submission; zero when it kept none. */
  flowRootBySeq(seq: number, options: Abortable): Promise<Uint8Array>
  /** Whether the registry stored the hash of exactly this list for this version. */
  isMembership(membership: Membership, options: Abortable): Promise<boolean>
}

export type LogEvent =
  | { readonly kind: 'entry'; readonly entry: Entry }
  | { readonly kind: 'member'; readonly change: MemberChange }

/** topic0 of the registry's one event about its active set. */
const MEMBER_CHANGED_TOPIC: Hex = toEventSelector('MemberChanged(uint64,uint32,address,string,bytes32,uint256,uint8)')
/** `MemberStatus` of the registry. */
const ACTIVE = 1
const DRAINING = 3
const LOG_DATA_BYTES_MAX = 4096

export function createChainReader(
  at: { readonly flow: Address; readonly registry: Address | undefined },
  deps: { readonly rpc: Rpc },
): ChainReader {
  const { rpc } = deps
  return {
    topics: at.registry === undefined ? [SUBMIT_TOPIC] : [SUBMIT_TOPIC, MEMBER_CHANGED_TOPIC],
    decode: remembering((log) => {
      const { address, topics } = (log ?? {}) as { readonly address?: unknown; readonly topics?: unknown }
      const from = typeof address === 'string' ? address.toLowerCase() : undefined
      const topic = Array.isArray(topics) ? (topics[0] as unknown) : undefined
      if (from === at.flow && topic === SUBMIT_TOPIC) return { kind: 'entry', entry: decodeSubmitLog(log) }
      if (from === at.registry && topic === MEMBER_CHANGED_TOPIC)
        return { kind: 'member', change: decodeMemberLog(log) }
      return undefined
    }),
    chainId: async (options) => count(await rpc.request('eth_chainId', [], options), 'chainId'),
    async blockHash(number, options) {
      const block = (await rpc.request('eth_getBlockByNumber', [`0x${number.toString(16)}`, false], options)) as {
        readonly hash?: unknown
      } | null
      return block === null ? undefined : toHex(parseHex(block.hash, { name: 'block hash', sizeBytesMax: 32 }))
    },
    async flowRootBySeq(seq, options) {
      const data = encodeFunctionData({ abi: flowAbi, functionName: 'getFlowRootByTxSeq', args: [BigInt(seq)] })
      const result = await rpc.request('eth_call', [{ to: at.flow, data }, 'latest'], options)
      const root = decodeFunctionResult({ abi: flowAbi, functionName: 'getFlowRootByTxSeq', data: result as Hex })
      return parseHex(root, { name: 'flow root', sizeBytesMax: 32 })
    },
    async isMembership(membership, options) {
      if (at.registry === undefined) return true
      const stored = await readMembershipHash(rpc, at.registry, { version: membership.version }, options)
      return equal(stored, membershipHash(membership.members))
    },
  }
}

/** Logs that were read lately: what lies in the last blocks is looked at again with each new one. */
const REMEMBERED_MAX = 256
/** As JSON; longer ones are rare, and read each time. */
const REMEMBERED_CHARS_MAX = 8_192

function remembering(decode: ChainReader['decode']): ChainReader['decode'] {
  const known = new Map<string, LogEvent>()
  return (log) => {
    const text = JSON.stringify(log)
    const event = known.get(text) ?? decode(log)
    if (event === undefined || text.length > REMEMBERED_CHARS_MAX) return event
    known.delete(text)
    if (known.size >= REMEMBERED_MAX) known.delete(known.keys().next().value!)
    known.set(text, event)
    return event
  }
}

function decodeMemberLog(log: unknown): MemberChange {
  try {
    const raw = log as { readonly topics: [Hex, ...Hex[]]; readonly data: unknown; readonly blockNumber: unknown }
    const data = toHex(parseHex(raw.data, { name: 'data', sizeBytesMax: LOG_DATA_BYTES_MAX }))
    const { args } = decodeEventLog({ abi: storageRegistryAbi, eventName: 'MemberChanged', topics: raw.topics, data })
    const { version, id, endpoint, weight, status } = args
    const signer = parseAddress(args.signer)
    const member = { id, signer, endpoint, domain: args.domain.toLowerCase() as Hex, weight }
    return {
      version: Number(version),
      blockNumber: count(raw.blockNumber, 'blockNumber'),
      id,
      signer,
      member: status === ACTIVE ? member : undefined,
      draining: status === DRAINING ? member : undefined,
    }
  } catch (cause) {
    throw fail('MEMBERSHIP_MISMATCH', { reason: 'an event of the registry cannot be read' }, { cause })
  }
}

function count(value: unknown, name: string): number {
  const number = typeof value === 'string' && /^0x[0-9a-fA-F]{1,13}$/.test(value) ? Number(value) : NaN
  if (Number.isSafeInteger(number)) return number
  throw fail('CHAIN_LAGGING', { field: name })
}
