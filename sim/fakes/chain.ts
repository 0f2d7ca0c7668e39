import { deployedAddresses, flowAbi, marketAbi, storageRegistryAbi } from '@weightless/contracts'
import {
  appendSubmission,
  emptyFlow,
  fromHex,
  identityOf,
  membershipHash,
  paddedChunkCountOf,
  parseAddress,
  toHex,
  type Address,
  type Entry,
  type Hex,
  type Member,
  type Submission,
} from '@weightless/core'
import { keccak256 } from '@weightless/kernels'
import { decodeSubmitLog } from '@weightless/sdk'
import {
  decodeFunctionData,
  encodeAbiParameters,
  encodeErrorResult,
  encodeEventTopics,
  encodeFunctionResult,
  getContractAddress,
  parseTransaction,
  recoverTransactionAddress,
} from 'viem'
import { RpcFault } from './rpcFault.ts'

/** An Ethereum JSON-RPC endpoint with one flow contract, one market and one registry behind it: enough of a chain for a client
 *  to pay for entries and to check them. Real contracts are tried elsewhere, on a real engine. */
export type FakeChain = {
  readonly chainId: number
  readonly flow: Address
  readonly registry: Address
  /** Tests may put something in front of it. */
  handle: (request: Request) => Promise<Response>
  /** The active members, as the registry lists them, and those that drain. */
  setMembers(members: readonly Member[], draining?: readonly Member[]): void
  /** Another chain in the place of this one, which has come to the same version with these members. */
  makeAnew(members: readonly Member[]): void
  setBalance(address: string, wei: bigint): void
  setPrice(weiPerSector: bigint): void
  /** Mines what waits, in nonce order; returns the new entries. Called by itself unless `mining` is 'manual'. */
  mine(): readonly Entry[]
  onEntry(listener: (entry: Entry) => void): void
  /** Mines a block with entries of a stranger, who pays elsewhere. */
  submit(submissions: readonly Submission[]): readonly Entry[]
  /** Takes a mined block away and puts another in its place, as a reorganisation does. */
  replaceBlock(number: number): void
  /** Moves the `finalized` tag; by default it is always the head. */
  setFinalized(number: number): void
  readonly head: number
  /** Nonces in the order in which transactions were mined, per sender. */
  readonly nonces: ReadonlyMap<string, readonly number[]>
  /** Calls by method, for counting. */
  readonly calls: ReadonlyMap<string, number>
}
type Call = { readonly id: number; readonly method: string; readonly params: readonly unknown[] }
export type FakeChainOptions = { readonly chainId?: number; readonly mining?: 'auto' | 'manual' }

type Pooled = {
  readonly raw: Hex
  readonly hash: Hex
  readonly from: string
  readonly nonce: number
  readonly to: string
  readonly data: Hex
  readonly valueWei: bigint
}
type Mined = {
  readonly blockNumber: number
  readonly blockHash: Hex
  readonly status: '0x1' | '0x0'
  readonly logs: readonly object[]
}

type LogFilter = { readonly topics: readonly Hex[]; readonly fromBlock: Hex; readonly toBlock: Hex }

const STRANGER = `0x${'57'.repeat(20)}`

export function createFakeChain(options: FakeChainOptions = {}): FakeChain {
  const { chainId = 31337, mining = 'auto' } = options
  const addresses = deployedAddresses(
    (nonce) =>
      getContractAddress({ from: '0x00000000000000000000000000000000000000aa', nonce }).toLowerCase() as Address,
  )
  const flow = parseAddress(addresses.flow)
  const market = parseAddress(addresses.market)
  const registry = parseAddress(addresses.storageRegistry)
  const balances = new Map<string, bigint>()
  const nonces = new Map<string, number[]>()
  const pool = new Map<string, Pooled>()
  const mined = new Map<string, Mined>()
  const blockHashes: Hex[] = [hashOf('genesis')]
  const calls = new Map<string, number>()
  const listeners: ((entry: Entry) => void)[] = []
  let members: readonly Member[] = []
  let draining: readonly Member[] = []
  let version = 0n
  const hashes = new Map<bigint, Uint8Array>()
  let price = 30_733_644_962n
  let state = emptyFlow()
  let submissionCount = 0
  let finalized: number | undefined

  const head = (): number => blockHashes.length - 1
  const nonceOf = (address: string): number => nonces.get(address)?.length ?? 0
  const balanceOf = (address: string): bigint => balances.get(address) ?? 0n

  function pendingNonceOf(address: string): number {
    let nonce = nonceOf(address)
    while (pool.has(`${address} ${nonce}`)) nonce += 1
    return nonce
  }

  type SubmissionData = {
    readonly length: bigint
    readonly tags: Hex
    readonly nodes: readonly { readonly root: Hex; readonly height: bigint }[]
  }

  /** What the flow contract would do: throws a fault where it would revert. */
  function execute(
    to: string,
    data: Hex,
    valueWei: bigint,
  ): readonly { readonly data: SubmissionData; readonly submitter: string }[] {
    if (to !== flow) return []
    const decoded = decodeFunctionData({ abi: flowAbi, data })
    const submissions = (
      decoded.functionName === 'submit'
        ? [decoded.args[0]]
        : decoded.functionName === 'batchSubmit'
          ? decoded.args[0]
          : []
    ) as readonly {
      readonly data: SubmissionData
      readonly submitter: string
    }[]
    const sectors = submissions.reduce(
      (sum, submission) => sum + submission.data.nodes.reduce((all, { height }) => all + (1n << height), 0n),
      0n,
    )
    if (valueWei < sectors * price) {
      throw new RpcFault(
        3,
        'execution reverted',
        encodeErrorResult({ abi: flowAbi, errorName: 'NotEnoughFee', args: [price, sectors, valueWei] }),
      )
    }
    return submissions
  }

  function append(
    submissions: readonly { readonly data: SubmissionData; readonly submitter: string }[],
    at: { readonly blockNumber: number; readonly blockHash: Hex; readonly txHash: Hex },
    found: Entry[],
  ): readonly object[] {
    return submissions.map(({ data, submitter }, logIndex) => {
      const nodes = data.nodes.map(({ root, height }) => ({ root: fromHex(root), height: Number(height) }))
      const appended = appendSubmission(state, nodes)
      state = appended.state
      const log = submitLog({
        flow,
        submitter,
        data,
        identity: toHex(identityOf(nodes)),
        seq: submissionCount++,
        startChunk: appended.startChunk,
        sectors: paddedChunkCountOf(nodes),
        ...at,
        logIndex,
      })
      found.push(decodeSubmitLog(log))
      return log
    })
  }

  function submit(submissions: readonly Submission[]): readonly Entry[] {
    const blockNumber = blockHashes.length
    const at = { blockNumber, blockHash: hashOf(`block ${blockNumber}`), txHash: hashOf(`stranger ${blockNumber}`) }
    blockHashes.push(at.blockHash)
    const found: Entry[] = []
    const logs = append(
      submissions.map(({ sizeBytes, tags, nodes }) => ({
        data: {
          length: BigInt(sizeBytes),
          tags: toHex(tags),
          nodes: nodes.map(({ root, height }) => ({ root: toHex(root), height: BigInt(height) })),
        },
        submitter: STRANGER,
      })),
      at,
      found,
    )
    mined.set(at.txHash, { blockNumber, blockHash: at.blockHash, status: '0x1', logs })
    for (const entry of found) for (const listener of listeners) listener(entry)
    return found
  }

  function mineOne(transaction: Pooled, blockNumber: number, blockHash: Hex, found: Entry[]): Mined {
    const fromBalance = balanceOf(transaction.from)
    try {
      const submissions = execute(transaction.to, transaction.data, transaction.valueWei)
      balances.set(transaction.from, fromBalance - transaction.valueWei)
      const logs = append(submissions, { blockNumber, blockHash, txHash: transaction.hash }, found)
      return { blockNumber, blockHash, status: '0x1', logs }
    } catch (error) {
      if (error instanceof RpcFault) return { blockNumber, blockHash, status: '0x0', logs: [] }
      throw error
    }
  }

  function mine(): readonly Entry[] {
    const ready: Pooled[] = []
    for (const { from } of pool.values()) {
      for (
        let nonce = nonceOf(from) + ready.filter((other) => other.from === from).length;
        pool.has(`${from} ${nonce}`);
        nonce++
      ) {
        ready.push(pool.get(`${from} ${nonce}`)!)
        pool.delete(`${from} ${nonce}`)
      }
    }
    if (ready.length === 0) return []
    const blockNumber = blockHashes.length
    const blockHash = hashOf(`block ${blockNumber}`)
    blockHashes.push(blockHash)
    const found: Entry[] = []
    for (const transaction of ready) {
      nonces.set(transaction.from, [...(nonces.get(transaction.from) ?? []), transaction.nonce])
      mined.set(transaction.hash, mineOne(transaction, blockNumber, blockHash, found))
    }
    for (const entry of found) for (const listener of listeners) listener(entry)
    return found
  }

  async function sendRaw(raw: Hex): Promise<Hex> {
    const transaction = parseTransaction(raw)
    const hash = toHex(keccak256(fromHex(raw)))
    if (mined.has(hash) || [...pool.values()].some((pooled) => pooled.hash === hash))
      throw new RpcFault(-32000, 'already known')
    if (transaction.chainId !== chainId) throw new RpcFault(-32000, 'invalid chain id for signer')
    const from = (await recoverTransactionAddress({ serializedTransaction: raw as never })).toLowerCase()
    const nonce = transaction.nonce ?? 0
    if (nonce < nonceOf(from)) throw new RpcFault(-32000, 'nonce too low')
    if (pool.has(`${from} ${nonce}`)) throw new RpcFault(-32000, 'replacement transaction underpriced')
    const valueWei = transaction.value ?? 0n
    if (
      balanceOf(from) <
      valueWei + (transaction.gas ?? 0n) * (transaction.maxFeePerGas ?? transaction.gasPrice ?? 0n)
    ) {
      throw new RpcFault(-32003, 'insufficient funds for gas * price + value')
    }
    pool.set(`${from} ${nonce}`, {
      raw,
      hash,
      from,
      nonce,
      to: transaction.to!.toLowerCase(),
      data: transaction.data ?? '0x',
      valueWei,
    })
    if (mining === 'auto') setImmediate(mine)
    return hash
  }

  function view(to: string, data: Hex): Hex {
    if (to === flow) {
      const { functionName } = decodeFunctionData({ abi: flowAbi, data })
      if (functionName === 'market') return encodeFunctionResult({ abi: flowAbi, functionName, result: market })
    }
    if (to === market) {
      const { functionName } = decodeFunctionData({ abi: marketAbi, data })
      if (functionName === 'pricePerSector')
        return encodeFunctionResult({ abi: marketAbi, functionName, result: price })
    }
    if (to === registry) {
      const { functionName, args } = decodeFunctionData({ abi: storageRegistryAbi, data })
      if (functionName === 'version')
        return encodeFunctionResult({ abi: storageRegistryAbi, functionName, result: version })
      if (functionName === 'membershipHash') {
        return encodeFunctionResult({
          abi: storageRegistryAbi,
          functionName,
          result: toHex(hashes.get(args[0]) ?? new Uint8Array(32)),
        })
      }
      if (functionName === 'members') {
        const result = members.map((member) => recordOf(member, 1))
        return encodeFunctionResult({ abi: storageRegistryAbi, functionName, result })
      }
      if (functionName === 'memberOf') {
        const isAsked = ({ id }: Member): boolean => id === args[0]
        const [member, leaving] = [members.find(isAsked), draining.find(isAsked)]
        const nobody = { id: args[0], signer: zero(20) as Address, endpoint: '', domain: zero(32), weight: 0n }
        const result = recordOf(member ?? leaving ?? nobody, member ? 1 : leaving ? 3 : 0)
        return encodeFunctionResult({ abi: storageRegistryAbi, functionName, result })
      }
    }
    return '0x'
  }

  function block(tag: unknown): object | null {
    const number = tag === 'latest' ? head() : tag === 'finalized' ? (finalized ?? head()) : Number(tag)
    const hash = blockHashes[number]
    return hash === undefined
      ? null
      : { number: `0x${number.toString(16)}`, hash, baseFeePerGas: '0x3b9aca00', transactions: [] }
  }

  function receipt(hash: string): object | null {
    const found = mined.get(hash)
    if (found === undefined) return null
    const { blockNumber, blockHash, status, logs } = found
    return { transactionHash: hash, blockNumber: `0x${blockNumber.toString(16)}`, blockHash, status, logs }
  }

  async function answer(method: string, given: readonly unknown[]): Promise<unknown> {
    const params = given as readonly [Address & { from: string; to: string; data: Hex; value?: Hex }, unknown]
    calls.set(method, (calls.get(method) ?? 0) + 1)
    switch (method) {
      case 'eth_chainId':
        return `0x${chainId.toString(16)}`
      case 'eth_getCode':
        return [flow, market, registry].includes(params[0]) ? '0x6001' : '0x'
      case 'eth_call':
        return view(params[0].to, params[0].data)
      case 'eth_estimateGas': {
        const { from, to, data, value } = params[0]
        if (balanceOf(from) < BigInt(value ?? '0x0')) throw new RpcFault(-32000, 'insufficient funds for transfer')
        execute(to, data, BigInt(value ?? '0x0'))
        return '0x30d40'
      }
      case 'eth_getBlockByNumber':
        return block(params[0])
      case 'eth_maxPriorityFeePerGas':
        return '0x3b9aca00'
      case 'eth_getBalance':
        return `0x${balanceOf(params[0]).toString(16)}`
      case 'eth_getTransactionCount':
        return `0x${(params[1] === 'pending' ? pendingNonceOf(params[0]) : nonceOf(params[0])).toString(16)}`
      case 'eth_getLogs': {
        const { topics, fromBlock, toBlock } = params[0] as unknown as LogFilter
        return [...mined.values()]
          .filter(({ blockNumber }) => blockNumber >= Number(fromBlock) && blockNumber <= Number(toBlock))
          .flatMap(({ logs }) => logs as readonly { readonly topics: readonly Hex[] }[])
          .filter((log) => topics.every((topic, i) => log.topics[i] === topic))
      }
      case 'eth_sendRawTransaction':
        return sendRaw(params[0])
      case 'eth_getTransactionReceipt':
        return receipt(params[0])
      case 'eth_getTransactionByHash':
        return mined.has(params[0]) || [...pool.values()].some(({ hash }) => hash === params[0])
          ? { hash: params[0] }
          : null
      default:
        throw new RpcFault(-32601, `Method not found: ${method}`)
    }
  }

  async function answerCall({ id, method, params }: Call): Promise<object> {
    try {
      return { jsonrpc: '2.0', id, result: (await answer(method, params)) ?? null }
    } catch (error) {
      if (!(error instanceof RpcFault)) throw error
      const { code, message, data } = error
      return { jsonrpc: '2.0', id, error: { code, message, ...(data && { data }) } }
    }
  }

  return {
    chainId,
    flow,
    registry,
    nonces,
    calls,
    mine,
    submit,
    get head() {
      return head()
    },
    setMembers: (next, leaving = []) => {
      members = next
      draining = leaving
      version += 1n
      hashes.set(version, membershipHash(next))
    },
    makeAnew: (next) => {
      members = next
      hashes.set(version, membershipHash(next))
    },
    setBalance: (address, wei) => balances.set(address.toLowerCase(), wei),
    setPrice: (wei) => (price = wei),
    onEntry: (listener) => listeners.push(listener),
    replaceBlock: (number) => (blockHashes[number] = hashOf(`another block ${number}`)),
    setFinalized: (number) => (finalized = number),
    handle: async (request) => {
      const asked = (await request.json()) as Call | readonly Call[]
      if (!Array.isArray(asked)) return Response.json(await answerCall(asked as Call))
      const answers: object[] = []
      for (const call of asked as readonly Call[]) answers.push(await answerCall(call))
      return Response.json(answers)
    },
  }
}

type SubmitFacts = {
  readonly flow: string
  readonly submitter: string
  readonly data: {
    readonly length: bigint
    readonly tags: Hex
    readonly nodes: readonly { readonly root: Hex; readonly height: bigint }[]
  }
  readonly identity: Hex
  readonly seq: number
  readonly startChunk: number
  readonly sectors: number
  readonly blockNumber: number
  readonly blockHash: Hex
  readonly txHash: Hex
  readonly logIndex: number
}

/** A flow without a chain: appends submissions one after the other, each in a block of its own. */
export function submissionLog(flow: Address): { append(submission: Submission): Entry } {
  let state = emptyFlow()
  let seq = 0
  return {
    append: ({ sizeBytes, tags, nodes }) => {
      const appended = appendSubmission(state, nodes)
      state = appended.state
      const data = {
        length: BigInt(sizeBytes),
        tags: toHex(tags),
        nodes: nodes.map(({ root, height }) => ({ root: toHex(root), height: BigInt(height) })),
      }
      return decodeSubmitLog(
        submitLog({
          flow,
          submitter: flow,
          data,
          identity: toHex(identityOf(nodes)),
          startChunk: appended.startChunk,
          sectors: paddedChunkCountOf(nodes),
          blockNumber: seq + 1,
          blockHash: hashOf(`block ${seq}`),
          txHash: hashOf(`transaction ${seq}`),
          logIndex: 0,
          seq: seq++,
        }),
      )
    },
  }
}

/** A raw JSON-RPC log of the Submit event. */
export function submitLog(facts: SubmitFacts): object {
  const event = flowAbi.find((item) => item.type === 'event' && item.name === 'Submit')!
  const plain = event.inputs.filter((input) => !('indexed' in input && input.indexed))
  return {
    address: facts.flow,
    topics: encodeEventTopics({
      abi: [event],
      eventName: 'Submit',
      args: { sender: facts.submitter as Hex, identity: facts.identity },
    } as never),
    data: encodeAbiParameters(
      plain as never,
      [BigInt(facts.seq), BigInt(facts.startChunk), BigInt(facts.sectors), facts.data] as never,
    ),
    blockNumber: `0x${facts.blockNumber.toString(16)}`,
    blockHash: facts.blockHash,
    transactionHash: facts.txHash,
    logIndex: `0x${facts.logIndex.toString(16)}`,
    removed: false,
  }
}

function hashOf(text: string): Hex {
  return toHex(keccak256(new TextEncoder().encode(text)))
}

/** As the registry shows one, of this status in the order of the contract's enum. */
function recordOf({ id, signer, endpoint, domain, weight }: Member, status: number) {
  return {
    id,
    owner: signer,
    signer,
    endpoint,
    domain: domain as Hex,
    weight,
    capacitySegments: weight,
    stake: weight,
    lastHeartbeat: 0n,
    status,
  }
}

const zero = (sizeBytes: number): Hex => `0x${'00'.repeat(sizeBytes)}`
