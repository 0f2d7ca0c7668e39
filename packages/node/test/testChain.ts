/* oxlint-disable typescript/no-explicit-any -- answers and parameters of JSON-RPC, read field by field */
import { flowAbi, storageRegistryAbi } from '@weightless/contracts'
import {
  appendSubmission,
  emptyFlow,
  flowRoot,
  identityOf,
  membershipHash,
  paddedChunkCountOf,
  toHex,
  type Address,
  type Entry,
  type FlowState,
  type Hex,
  type Member,
  type Submission,
} from '@weightless/core'
import { keccak256 } from '@weightless/kernels'
import { decodeSubmitLog } from '@weightless/sdk'
import { decodeFunctionData, encodeAbiParameters, encodeEventTopics, encodeFunctionResult } from 'viem'
import type { ChainHead } from '../src/flow/follow.ts'
import { submitLog } from '../../../sim/fakes/chain.ts'

export const FLOW = `0x${'f0'.repeat(20)}` as Address
export const REGISTRY = `0x${'12'.repeat(20)}` as Address
export const CHAIN_ID = 31337

/** What a follower reads of a chain: heads, logs, blocks, flow roots and the registry's hashes. Blocks are made on demand. */
export type TestChain = {
  handle(request: Request): Promise<Response>
  /** All submissions in one block. */
  submit(...submissions: readonly Submission[]): readonly Entry[]
  /** Changes of members in one block; `undefined` takes a member out of the active set: marked stale, or because it drains. */
  change(
    ...changes: readonly { readonly id: number; readonly member: Member | undefined; readonly isDraining?: boolean }[]
  ): void
  /** Empty blocks. */
  advance(count: number): void
  heads(options: { readonly signal: AbortSignal }): AsyncIterable<ChainHead>
  /** Tells the logs with the heads, as our own chain does; `hiddenSeqs` are left out there too. */
  tellsLogs: boolean
  readonly head: number
  readonly calls: Map<string, unknown[][]>
  /** Answers instead of the chain, or throws a transport error; `undefined` lets the chain answer. */
  fault: ((method: string, params: readonly any[]) => unknown) | undefined
  /** Submissions whose logs the endpoint does not return. */
  readonly hiddenSeqs: Set<number>
  /** Forgets all blocks above this one; those made from now on have other hashes. */
  rewind(toBlock: number): void
  /** Another chain of the same id: even its first block differs. */
  replaceGenesis(hash?: Hex): void
  /** What it says its id is. */
  chainId: number
  /** Unix seconds of a block: ten for each. */
  timeAt(number: number): number
  /** Hash of a block; for comparing. */
  hashAt(number: number): Hex | undefined
}

export function createTestChain(): TestChain {
  const hashes: Hex[] = [hashOf('genesis')]
  /** What a block left behind: the chain goes back to it. */
  const snapshots: {
    readonly flow: FlowState
    readonly rootCount: number
    readonly members: ReadonlyMap<number, Member>
    readonly memberHashCount: number
  }[] = []
  let era = 0
  let logs: { readonly blockNumber: number; readonly seq?: number; readonly log: Record<string, unknown> }[] = []
  const hiddenSeqs = new Set<number>()
  const roots: Uint8Array[] = []
  const members = new Map<number, Member>()
  const memberHashes: Uint8Array[] = [keccak256(new Uint8Array(0))]
  const calls = new Map<string, unknown[][]>()
  const wakers = new Set<() => void>()
  let flow: FlowState = emptyFlow()

  function mine(write: (blockNumber: number, blockHash: Hex) => void): void {
    const blockNumber = hashes.length
    const blockHash = hashOf(era === 0 ? `block ${blockNumber}` : `block ${blockNumber} of era ${era}`)
    hashes.push(blockHash)
    write(blockNumber, blockHash)
    snap()
    for (const wake of Array.from(wakers)) wake()
  }

  function snap(): void {
    snapshots[hashes.length - 1] = {
      flow,
      rootCount: roots.length,
      members: new Map(members),
      memberHashCount: memberHashes.length,
    }
  }
  snap()

  function view(to: string, data: Hex): Hex {
    if (to === FLOW) {
      const { functionName, args } = decodeFunctionData({ abi: flowAbi, data })
      if (functionName === 'getFlowRootByTxSeq') {
        const root = roots[Number((args as readonly bigint[])[0])] ?? new Uint8Array(32)
        return encodeFunctionResult({ abi: flowAbi, functionName, result: toHex(root) })
      }
    }
    if (to === REGISTRY) {
      const { functionName, args } = decodeFunctionData({ abi: storageRegistryAbi, data })
      if (functionName === 'membershipHash') {
        const hash = memberHashes[Number((args as readonly bigint[])[0])] ?? new Uint8Array(32)
        return encodeFunctionResult({ abi: storageRegistryAbi, functionName, result: toHex(hash) })
      }
    }
    return '0x'
  }

  function logsOf(from: number, to: number): readonly Record<string, unknown>[] {
    return logs
      .filter(({ blockNumber }) => blockNumber >= from && blockNumber <= to)
      .filter(({ seq }) => seq === undefined || !hiddenSeqs.has(seq))
      .map(({ log }) => log)
  }

  function answer(method: string, params: readonly any[]): unknown {
    switch (method) {
      case 'eth_chainId':
        return quantity(chain.chainId)
      case 'eth_blockNumber':
        return quantity(hashes.length - 1)
      case 'eth_getBlockByNumber': {
        const number = params[0] === 'latest' ? hashes.length - 1 : Number(params[0])
        const hash = hashes[number]
        return hash === undefined ? null : { number: quantity(number), hash }
      }
      case 'eth_getLogs': {
        const { fromBlock, toBlock, address, topics } = params[0]
        return logsOf(Number(fromBlock), Number(toBlock)).filter(
          (log) => address.includes(log['address']) && topics[0].includes((log['topics'] as string[])[0]),
        )
      }
      case 'eth_call':
        return view(params[0].to, params[0].data)
      case 'eth_getTransactionReceipt': {
        const own = logs.map(({ log }) => log).filter((log) => log['transactionHash'] === params[0])
        const [first] = own
        if (first === undefined) return null
        const { transactionHash, blockNumber, blockHash } = first
        return { transactionHash, blockNumber, blockHash, status: '0x1', logs: own }
      }
      default:
        throw new Error(`no such method: ${method}`)
    }
  }

  const chain: TestChain = {
    calls,
    hiddenSeqs,
    tellsLogs: false,
    chainId: CHAIN_ID,
    fault: undefined,
    get head() {
      return hashes.length - 1
    },
    submit(...submissions) {
      const entries: Entry[] = []
      mine((blockNumber, blockHash) => {
        for (const [logIndex, { sizeBytes, tags, nodes }] of submissions.entries()) {
          const appended = appendSubmission(flow, nodes)
          flow = appended.state
          const seq = roots.length
          roots.push(flowRoot(flow))
          const log = submitLog({
            flow: FLOW,
            submitter: `0x${'aa'.repeat(20)}`,
            data: {
              length: BigInt(sizeBytes),
              tags: toHex(tags),
              nodes: nodes.map(({ root, height }) => ({ root: toHex(root), height: BigInt(height) })),
            },
            identity: toHex(identityOf(nodes)),
            seq,
            startChunk: appended.startChunk,
            sectors: paddedChunkCountOf(nodes),
            blockNumber,
            blockHash,
            txHash: hashOf(`transaction ${seq} ${toHex(identityOf(nodes))}`),
            logIndex,
          }) as Record<string, unknown>
          logs.push({ blockNumber, seq, log })
          entries.push(decodeSubmitLog(log))
        }
      })
      return entries
    },
    change(...changes) {
      mine((blockNumber) => {
        for (const { id, member, isDraining } of changes) {
          const before = members.get(id)
          // Nobody who is not there leaves.
          if (member === undefined && before === undefined) continue
          if (member === undefined) members.delete(id)
          else members.set(id, member)
          const version = memberHashes.length
          memberHashes.push(membershipHash([...members.values()]))
          logs.push({
            blockNumber,
            log: memberLog({
              version,
              id,
              member: member ?? before!,
              status: member !== undefined ? 1 : isDraining === true ? 3 : 2,
              blockNumber,
            }),
          })
        }
      })
    },
    advance(count) {
      for (let i = 0; i < count; i++) mine(() => undefined)
    },
    async *heads({ signal }) {
      let given = { number: -1, hash: hashOf('nothing') }
      while (!signal.aborted) {
        const number = hashes.length - 1
        const head = { number, hash: hashes.at(-1)!, timeS: chain.timeAt(number) }
        if (head.hash !== given.hash) {
          const from = hashes[given.number] === given.hash || given.number === -1 ? given.number + 1 : head.number
          given = head
          const told = {
            from,
            parentHash: hashes[from - 1] ?? hashOf('nothing'),
            logs: logsOf(from, head.number),
          }
          yield { ...head, ...(chain.tellsLogs ? { told } : {}) }
          continue
        }
        await new Promise<void>((resolve) => {
          const wake = (): void => {
            wakers.delete(wake)
            resolve()
          }
          wakers.add(wake)
          signal.addEventListener('abort', wake, { once: true })
        })
      }
    },
    rewind(toBlock) {
      const { flow: flowThen, rootCount, members: membersThen, memberHashCount } = snapshots[toBlock]!
      era += 1
      hashes.length = toBlock + 1
      snapshots.length = toBlock + 1
      logs = logs.filter(({ blockNumber }) => blockNumber <= toBlock)
      flow = flowThen
      roots.length = rootCount
      memberHashes.length = memberHashCount
      members.clear()
      for (const [id, member] of membersThen) members.set(id, member)
      for (const wake of Array.from(wakers)) wake()
    },
    replaceGenesis: (hash = hashOf('another genesis')) => void (hashes[0] = hash),
    timeAt: (number) => 1_700_000_000 + 10 * number,
    hashAt: (number) => hashes[number],
    async handle(request) {
      const { id, method, params } = (await request.json()) as {
        id: number
        method: string
        params: readonly unknown[]
      }
      calls.set(method, [...(calls.get(method) ?? []), [...params]])
      const faulty = chain.fault?.(method, params)
      if (faulty instanceof Response) return faulty
      const result = faulty === undefined ? answer(method, params) : faulty
      return Response.json({ jsonrpc: '2.0', id, result })
    },
  }
  return chain
}

function memberLog(facts: {
  readonly version: number
  readonly id: number
  readonly member: Member
  /** Of the contract. */
  readonly status: number
  readonly blockNumber: number
}): Record<string, unknown> {
  const event = storageRegistryAbi.find((item) => item.type === 'event' && item.name === 'MemberChanged')!
  const plain = event.inputs.filter((input) => !('indexed' in input && input.indexed))
  const { signer, endpoint, domain, weight } = facts.member
  return {
    address: REGISTRY,
    topics: encodeEventTopics({
      abi: [event],
      eventName: 'MemberChanged',
      args: { version: BigInt(facts.version), id: facts.id },
    } as never),
    data: encodeAbiParameters(plain as never, [signer, endpoint, domain, weight, facts.status] as never),
    blockNumber: quantity(facts.blockNumber),
    transactionHash: hashOf(`member ${facts.version}`),
    logIndex: '0x0',
  }
}

function quantity(value: number): string {
  return `0x${value.toString(16)}`
}

function hashOf(text: string): Hex {
  return toHex(keccak256(new TextEncoder().encode(text)))
}
