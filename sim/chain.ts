import { flowAbi, marketAbi, storageRegistryAbi } from '@weightless/contracts'
import {
  appendSubmission,
  emptyFlow,
  flowRoot,
  fromHex,
  identityOf,
  isFailure,
  membershipHash,
  paddedChunkCountOf,
  parseAddress,
  toHex,
  type Address,
  type FlowState,
  type Hex,
  type Member,
} from '@weightless/core'
import { keccak256 } from '@weightless/kernels'
import { SUBMIT_TOPIC } from '@weightless/sdk'
import {
  decodeFunctionData,
  encodeAbiParameters,
  encodeErrorResult,
  encodeEventTopics,
  encodeFunctionResult,
  parseTransaction,
  recoverTransactionAddress,
} from 'viem'
import type { Chance } from './chance.ts'
import { submitLog } from './fakes/chain.ts'
import { RpcFault } from './fakes/rpcFault.ts'

/**
 * A small deterministic chain with the flow, its market and the registry, as far as clients and nodes can see them: order,
 * money, events, heads, reorganisations. sim/chain.anvil.test.ts holds it against the real contracts. It does no mining by
 * itself: whoever owns time calls `mine`.
 */
export type SimChain = {
  readonly chainId: number
  readonly flow: Address
  readonly registry: Address
  /** `sender`: who signs whatever comes this way; without it the signature says. */
  handle(request: Request, sender?: Address): Promise<Response>
  fund(address: string, wei: bigint): void
  /** A block of all that waits, even if nothing does. */
  mine(timestamp: number): void
  /** Mines one call in a block of its own, unsigned and without a price for gas. */
  perform(call: UnsignedCall, timestamp: number): { readonly status: 'ok' | 'failed'; readonly logs: readonly SimLog[] }
  /** Takes the newest `depth` blocks away. Their transactions wait again, in an order by chance (nonces keep theirs); the next
   *  blocks are others, even with the same content. */
  reorganise(depth: number, chance: Chance): void
  /** What the next transactions see. */
  setPrice(weiPerSector: bigint): void
  readonly head: number
  readonly waitingCount: number
  /** Called when a transaction comes into the pool. */
  onTransaction: () => void
  books(): Books
  /** Logs of the chain as it stands. */
  logs(): readonly SimLog[]
  /** The active members, and the hash of each version of their list. */
  members(): readonly Member[]
  membersAt(version: number): readonly Member[]
  membershipHashOf(version: number): Uint8Array | undefined
}
export type UnsignedCall = { readonly from: string; readonly to: string; readonly data: Hex; readonly valueWei: bigint }
export type SimChainOptions = {
  readonly chainId?: number
  /** The tag `finalized` is this far behind the head. */
  readonly finalityDepth?: number
  /** After how long the registry lets anyone call a member silent. */
  readonly graceSeconds?: number
}
export type SimLog = { readonly address: string; readonly topics: readonly string[] } & {
  readonly [name: string]: unknown
}
/** Where all money is. */
export type Books = {
  readonly fundedWei: bigint
  readonly balances: ReadonlyMap<string, bigint>
  readonly surplus: ReadonlyMap<string, bigint>
  readonly stakesWei: bigint
  /** Fees of entries, passed on to the reward pool. */
  readonly feesWei: bigint
  readonly gasWei: bigint
}

export const FLOW = `0x${'f1'.repeat(20)}` as Address
export const MARKET = `0x${'f2'.repeat(20)}` as Address
export const REGISTRY = `0x${'f3'.repeat(20)}` as Address
export const STAKE_PER_SEGMENT_WEI = 1_000_000_000n
const LEAVE_DELAY_SECONDS = 60n
const BASE_FEE_WEI = 1_000_000_000n
/** What every transaction uses: how much is none of our business, that it is paid is. */
export const GAS_USED = 100_000n
const ENTRIES_PER_BATCH_MAX = 64

type Transaction = {
  readonly hash: Hex
  readonly from: string
  readonly nonce: number
  readonly to: string
  readonly data: Hex
  readonly valueWei: bigint
  readonly gas: bigint
  readonly feePerGasWei: bigint
}
type Mined = { readonly transaction: Transaction; readonly status: '0x1' | '0x0'; readonly logs: readonly SimLog[] }
type Block = {
  readonly number: number
  readonly hash: Hex
  readonly timestamp: number
  readonly mined: readonly Mined[]
  readonly state: State
}
type Status = 'none' | 'active' | 'stale' | 'draining' | 'left'
const STATUSES: readonly Status[] = ['none', 'active', 'stale', 'draining', 'left']
type Record = {
  readonly id: number
  readonly owner: string
  readonly signer: Address
  readonly endpoint: string
  readonly domain: Hex
  readonly capacity: bigint
  readonly stakeWei: bigint
  readonly heartbeat: number
  readonly status: Status
}
/** What a number that was never given stands for. */
const NOBODY: Record = {
  id: 0,
  owner: `0x${'00'.repeat(20)}`,
  signer: `0x${'00'.repeat(20)}` as Address,
  endpoint: '',
  domain: `0x${'00'.repeat(32)}`,
  capacity: 0n,
  stakeWei: 0n,
  heartbeat: 0,
  status: 'none',
}
/** Everything that a block may change; a block gets a copy of its own. */
type State = {
  readonly balances: Map<string, bigint>
  readonly nonces: Map<string, number>
  readonly surplus: Map<string, bigint>
  readonly members: Map<number, Record>
  readonly membershipHashes: Uint8Array[]
  readonly memberLists: (readonly Member[])[]
  readonly roots: Uint8Array[]
  flow: FlowState
  feesWei: bigint
  gasWei: bigint
}

export function createSimChain(options: SimChainOptions = {}): SimChain {
  const { chainId = 31337, finalityDepth = 0, graceSeconds = 30 } = options
  let fundedWei = 0n
  let price = 30_733_644_962n
  let branch = 0
  const empty: State = {
    balances: new Map(),
    nonces: new Map(),
    surplus: new Map(),
    members: new Map(),
    membershipHashes: [membershipHash([])],
    memberLists: [[]],
    roots: [],
    flow: emptyFlow(),
    feesWei: 0n,
    gasWei: 0n,
  }
  const blocks: Block[] = [{ number: 0, hash: hashOf('genesis'), timestamp: 0, mined: [], state: empty }]
  const pool = new Map<string, Transaction>()
  const receipts = new Map<string, { readonly block: Block; readonly mined: Mined }>()
  const views = new Map<string, { readonly state: State; readonly result: Hex }>()

  const newest = (): Block => blocks.at(-1)!
  const poolKey = (from: string, nonce: number): string => `${from} ${nonce}`

  function mine(timestamp: number): void {
    const number = blocks.length
    const state = copyOf(newest().state)
    const hash = hashOf(`block ${number} of branch ${branch} after ${newest().hash}`)
    const mined: Mined[] = []
    // The pool keeps the order of coming, and nonces keep the order of each sender.
    for (let before = -1; before !== mined.length;) {
      before = mined.length
      for (const [key, transaction] of pool) {
        if (transaction.nonce !== (state.nonces.get(transaction.from) ?? 0)) continue
        pool.delete(key)
        mined.push(run(transaction, state, { number, hash, timestamp }))
      }
    }
    const block = { number, hash, timestamp, mined, state }
    blocks.push(block)
    for (const one of mined) receipts.set(one.transaction.hash, { block, mined: one })
  }

  type At = { readonly number: number; readonly hash: Hex; readonly timestamp: number }

  function run(transaction: Transaction, state: State, at: At): Mined {
    const { from, valueWei, hash } = transaction
    const gasWei = GAS_USED * transaction.feePerGasWei
    state.nonces.set(from, transaction.nonce + 1)
    add(state.balances, from, -gasWei)
    state.gasWei += gasWei
    // Written into a copy first: what reverts leaves nothing behind.
    const next = copyOf(state)
    try {
      if ((next.balances.get(from) ?? 0n) < valueWei) throw new RpcFault(-32003, 'insufficient funds')
      add(next.balances, from, -valueWei)
      const logs = execute(transaction, next, at).map((log, logIndex) => ({
        ...log,
        blockNumber: quantity(at.number),
        blockHash: at.hash,
        transactionHash: hash,
        logIndex: quantity(logIndex),
        removed: false,
      }))
      assign(state, next)
      return { transaction, status: '0x1', logs }
    } catch (error) {
      if (error instanceof RpcFault || isFailure(error)) return { transaction, status: '0x0', logs: [] }
      throw error
    }
  }

  /** What the contracts do. Throws a fault where they revert. The value has left the sender already. */
  function execute(
    call: Pick<Transaction, 'from' | 'to' | 'data' | 'valueWei' | 'hash'>,
    state: State,
    at: At,
  ): readonly SimLog[] {
    if (call.to === FLOW) return executeFlow(call, state, at)
    if (call.to === REGISTRY) return executeRegistry(call, state, at)
    add(state.balances, call.to, call.valueWei)
    return []
  }

  function executeFlow(
    call: Pick<Transaction, 'from' | 'data' | 'valueWei' | 'hash'>,
    state: State,
    at: At,
  ): readonly SimLog[] {
    const { functionName, args } = decodeFunctionData({ abi: flowAbi, data: call.data })
    if (functionName === 'withdrawSurplus') {
      const wei = state.surplus.get(call.from) ?? 0n
      if (wei === 0n)
        throw reverted(encodeErrorResult({ abi: flowAbi, errorName: 'NothingToWithdraw', args: [call.from as Hex] }))
      state.surplus.delete(call.from)
      add(state.balances, call.from, wei)
      return []
    }
    if (functionName !== 'submit' && functionName !== 'batchSubmit') throw reverted('0x')
    const given = (functionName === 'submit' ? [args[0]] : args[0]) as readonly (WithSubmitter | SubmissionData)[]
    if (given.length === 0 || given.length > ENTRIES_PER_BATCH_MAX) {
      const args = [BigInt(given.length), BigInt(ENTRIES_PER_BATCH_MAX)] as const
      throw reverted(encodeErrorResult({ abi: flowAbi, errorName: 'BatchSizeInvalid', args }))
    }
    const submissions = given.map((one) => ('data' in one ? one : { data: one, submitter: call.from as Hex }))
    const sectorCount = submissions.reduce(
      (sum, { data }) => sum + data.nodes.reduce((all, { height }) => all + (1n << height), 0n),
      0n,
    )
    const feeWei = sectorCount * price
    if (call.valueWei < feeWei)
      throw reverted(
        encodeErrorResult({ abi: flowAbi, errorName: 'NotEnoughFee', args: [price, sectorCount, call.valueWei] }),
      )
    state.feesWei += feeWei
    if (call.valueWei > feeWei) add(state.surplus, call.from, call.valueWei - feeWei)
    return submissions.map(({ data, submitter }, logIndex) => {
      const nodes = data.nodes.map(({ root, height }) => ({ root: fromHex(root), height: Number(height) }))
      const appended = appendSubmission(state.flow, nodes)
      state.flow = appended.state
      state.roots.push(flowRoot(appended.state))
      return submitLog({
        flow: FLOW,
        submitter,
        data,
        identity: toHex(identityOf(nodes)),
        seq: state.roots.length - 1,
        startChunk: appended.startChunk,
        sectors: paddedChunkCountOf(nodes),
        blockNumber: at.number,
        blockHash: at.hash,
        txHash: call.hash,
        logIndex,
      }) as SimLog
    })
  }

  function executeRegistry(
    call: Pick<Transaction, 'from' | 'data' | 'valueWei'>,
    state: State,
    at: At,
  ): readonly SimLog[] {
    const { functionName, args } = decodeFunctionData({ abi: storageRegistryAbi, data: call.data })
    const own = [...state.members.values()].find(({ owner, status }) => owner === call.from && status !== 'left')
    const described = (record: Record): Record => {
      const [signer, endpoint, domain, capacity] = args as readonly [Hex, string, Hex, bigint]
      return {
        ...record,
        signer: parseAddress(signer),
        endpoint,
        domain: domain.toLowerCase() as Hex,
        capacity,
        stakeWei: record.stakeWei + call.valueWei,
      }
    }
    switch (functionName) {
      case 'register': {
        if (own !== undefined)
          throw reverted(
            encodeErrorResult({
              abi: storageRegistryAbi,
              errorName: 'AlreadyMember',
              args: [call.from as Hex, own.id],
            }),
          )
        const blank = {
          id: state.members.size + 1,
          owner: call.from,
          signer: call.from as Address,
          endpoint: '',
          domain: '0x' as Hex,
          capacity: 0n,
          stakeWei: 0n,
          heartbeat: at.timestamp,
          status: 'active' as const,
        }
        return changeMember(state, described(blank))
      }
      case 'update':
        if (own?.status !== 'active') throw reverted('0x')
        return changeMember(state, described(own))
      case 'drain': {
        const leaving = notDraining(own, call.from)
        const drained: Record = { ...leaving, status: 'draining' }
        if (leaving.status === 'active') return changeMember(state, drained)
        state.members.set(leaving.id, drained)
        return []
      }
      case 'heartbeat': {
        const living = notDraining(own, call.from)
        const beaten: Record = { ...living, heartbeat: at.timestamp, status: 'active' }
        if (living.status === 'stale') return changeMember(state, beaten)
        state.members.set(living.id, beaten)
        return []
      }
      case 'markStale': {
        const id = Number(args[0])
        const marked = state.members.get(id)
        if (marked?.status !== 'active') throw wrongStatus(id, marked?.status ?? 'none')
        const staleAfter = BigInt(marked.heartbeat + graceSeconds)
        if (BigInt(at.timestamp) <= staleAfter) {
          const alive = [id, staleAfter] as const
          throw reverted(encodeErrorResult({ abi: storageRegistryAbi, errorName: 'StillAlive', args: alive }))
        }
        return changeMember(state, { ...marked, status: 'stale' })
      }
      default:
        throw reverted('0x')
    }
  }

  function notDraining(own: Record | undefined, from: string): Record {
    if (own === undefined)
      throw reverted(encodeErrorResult({ abi: storageRegistryAbi, errorName: 'NotMember', args: [from as Hex] }))
    if (own.status === 'draining') throw wrongStatus(own.id, own.status)
    return own
  }

  function wrongStatus(id: number, status: Status): Error {
    const args = [id, STATUSES.indexOf(status)] as const
    return reverted(encodeErrorResult({ abi: storageRegistryAbi, errorName: 'WrongStatus', args }))
  }

  function changeMember(state: State, record: Record): readonly SimLog[] {
    state.members.set(record.id, record)
    const members = activeOf(state)
    state.membershipHashes.push(membershipHash(members))
    state.memberLists.push(members)
    return [memberLog(state.membershipHashes.length - 1, record)]
  }

  function view(to: string, data: Hex): Hex {
    const { state } = newest()
    const key = `${to} ${data}`
    const known = views.get(key)
    if (known?.state === state) return known.result
    const result = answerView(to, data, state)
    views.set(key, { state, result })
    return result
  }

  function answerView(to: string, data: Hex, state: State): Hex {
    if (to === FLOW) {
      const { functionName, args } = decodeFunctionData({ abi: flowAbi, data })
      const flowView = { abi: flowAbi, functionName } as const
      switch (functionName) {
        case 'market':
          return encodeFunctionResult({ ...flowView, functionName, result: MARKET })
        case 'getFlowRootByTxSeq':
          return toHex(state.roots[Number(args![0])] ?? new Uint8Array(32))
        case 'surplusOf':
        case 'submissionIndex':
        case 'numSubmissions':
          return word(
            functionName === 'surplusOf'
              ? (state.surplus.get(String(args![0]).toLowerCase()) ?? 0n)
              : BigInt(state.roots.length),
          )
        default:
          throw reverted('0x')
      }
    }
    if (to === MARKET) {
      const { functionName } = decodeFunctionData({ abi: marketAbi, data })
      if (functionName === 'pricePerSector') return word(price)
      throw reverted('0x')
    }
    if (to !== REGISTRY) return '0x'
    const { functionName, args } = decodeFunctionData({ abi: storageRegistryAbi, data })
    switch (functionName) {
      case 'version':
        return word(BigInt(state.membershipHashes.length - 1))
      case 'membershipHash':
        return toHex(state.membershipHashes[Number(args![0])] ?? new Uint8Array(32))
      case 'members':
        return encodeFunctionResult({
          abi: storageRegistryAbi,
          functionName,
          result: [...state.members.values()].filter(({ status }) => status === 'active').map(shownMember),
        })
      case 'memberByOwner': {
        const owner = String(args![0]).toLowerCase()
        const own = [...state.members.values()].find((record) => record.owner === owner && record.status !== 'left')
        return word(BigInt(own?.id ?? 0))
      }
      case 'memberOf': {
        const id = Number(args[0])
        const result = shownMember(state.members.get(id) ?? { ...NOBODY, id })
        return encodeFunctionResult({ abi: storageRegistryAbi, functionName, result })
      }
      case 'stakePerSegmentWei':
        return word(STAKE_PER_SEGMENT_WEI)
      case 'graceSeconds':
        return word(BigInt(graceSeconds))
      case 'leaveDelaySeconds':
        return word(LEAVE_DELAY_SECONDS)
      default:
        throw reverted('0x')
    }
  }

  async function sendRaw(raw: Hex, sender: Address | undefined): Promise<Hex> {
    const hash = toHex(keccak256(fromHex(raw)))
    const parsed = parseTransaction(raw)
    if (parsed.chainId !== chainId) throw new RpcFault(-32000, 'invalid chain id for signer')
    const from = sender ?? (await recoverTransactionAddress({ serializedTransaction: raw as never })).toLowerCase()
    const nonce = parsed.nonce ?? 0
    const { state } = newest()
    const waiting = pool.get(poolKey(from, nonce))
    if (receipts.has(hash) || waiting?.hash === hash) throw new RpcFault(-32000, 'already known')
    if (nonce < (state.nonces.get(from) ?? 0)) throw new RpcFault(-32000, 'nonce too low')
    if (waiting !== undefined) throw new RpcFault(-32000, 'replacement transaction underpriced')
    const gas = parsed.gas ?? 0n
    const feePerGasWei = minOf(
      parsed.maxFeePerGas ?? parsed.gasPrice ?? 0n,
      BASE_FEE_WEI + (parsed.maxPriorityFeePerGas ?? 0n),
    )
    const valueWei = parsed.value ?? 0n
    if ((state.balances.get(from) ?? 0n) < valueWei + gas * (parsed.maxFeePerGas ?? parsed.gasPrice ?? 0n))
      throw new RpcFault(-32003, 'insufficient funds for gas * price + value')
    pool.set(poolKey(from, nonce), {
      hash,
      from,
      nonce,
      to: parsed.to!.toLowerCase(),
      data: parsed.data ?? '0x',
      valueWei,
      gas,
      feePerGasWei,
    })
    chain.onTransaction()
    return hash
  }

  function estimate({ from, to, data, value }: { from: string; to: string; data: Hex; value?: Hex }): Hex {
    const valueWei = BigInt(value ?? '0x0')
    const state = copyOf(newest().state)
    if ((state.balances.get(from) ?? 0n) < valueWei) throw new RpcFault(-32000, 'insufficient funds for transfer')
    try {
      const at = { number: blocks.length, hash: hashOf('estimate'), timestamp: newest().timestamp }
      execute({ from, to, data, valueWei, hash: hashOf('estimate') }, state, at)
    } catch (error) {
      if (isFailure(error)) throw reverted('0x')
      throw error
    }
    return quantity(Number(GAS_USED))
  }

  const finalizedNumber = (): number => Math.max(0, newest().number - finalityDepth)

  function shownBlock(tag: unknown): object | null {
    const number =
      tag === 'latest' || tag === 'pending'
        ? newest().number
        : tag === 'finalized' || tag === 'safe'
          ? finalizedNumber()
          : Number(tag)
    const block = blocks[number]
    if (block === undefined) return null
    return {
      number: quantity(number),
      hash: block.hash,
      parentHash: blocks[number - 1]?.hash ?? hashOf('nothing'),
      timestamp: quantity(block.timestamp),
      baseFeePerGas: quantity(Number(BASE_FEE_WEI)),
      transactions: block.mined.map(({ transaction }) => transaction.hash),
    }
  }

  function logsOf(filter: {
    readonly fromBlock?: Hex
    readonly toBlock?: Hex
    readonly blockHash?: Hex
    readonly address: string | readonly string[]
    readonly topics: readonly (string | readonly string[])[]
  }): readonly SimLog[] {
    const addresses = [filter.address].flat()
    const topics = [filter.topics[0] ?? []].flat()
    const chosen =
      filter.blockHash === undefined
        ? blocks.slice(Number(filter.fromBlock ?? 0), Number(filter.toBlock ?? newest().number) + 1)
        : blocks.filter(({ hash }) => hash === filter.blockHash)
    if (filter.blockHash !== undefined && chosen.length === 0) throw new RpcFault(-32000, 'unknown block')
    return chosen
      .flatMap(({ mined }) => mined.flatMap(({ logs }) => logs))
      .filter((log) => addresses.includes(log.address) && (topics.length === 0 || topics.includes(log.topics[0]!)))
  }

  async function answer(method: string, params: readonly unknown[], sender: Address | undefined): Promise<unknown> {
    const [first, second] = params as readonly [never, unknown]
    switch (method) {
      case 'eth_chainId':
        return quantity(chainId)
      case 'eth_blockNumber':
        return quantity(newest().number)
      case 'eth_getCode':
        return [FLOW, MARKET, REGISTRY].includes(first) ? '0x6001' : '0x'
      case 'eth_call':
        return view((first as { to: string }).to, (first as { data: Hex }).data)
      case 'eth_estimateGas':
        return estimate(first)
      case 'eth_getBlockByNumber':
        return shownBlock(first)
      case 'eth_getBlockByHash': {
        const found = blocks.find(({ hash }) => hash === first)
        return found === undefined ? null : shownBlock(found.number)
      }
      case 'eth_maxPriorityFeePerGas':
        return quantity(1_000_000_000)
      case 'eth_getBalance':
        return `0x${(newest().state.balances.get(String(first).toLowerCase()) ?? 0n).toString(16)}`
      case 'eth_getTransactionCount': {
        const from = String(first).toLowerCase()
        let nonce = newest().state.nonces.get(from) ?? 0
        if (second === 'pending') while (pool.has(poolKey(from, nonce))) nonce += 1
        return quantity(nonce)
      }
      case 'eth_sendRawTransaction':
        return sendRaw(first, sender)
      case 'eth_getTransactionReceipt': {
        const found = receipts.get(first)
        if (found === undefined) return null
        const { block, mined } = found
        return {
          transactionHash: first,
          blockNumber: quantity(block.number),
          blockHash: block.hash,
          status: mined.status,
          logs: mined.logs,
        }
      }
      case 'eth_getTransactionByHash': {
        const block = receipts.get(first)?.block
        const isWaiting = [...pool.values()].some(({ hash }) => hash === first)
        if (block === undefined && !isWaiting) return null
        return {
          hash: first,
          blockNumber: block === undefined ? null : quantity(block.number),
          blockHash: block?.hash ?? null,
        }
      }
      case 'eth_getLogs':
        return logsOf(first)
      default:
        throw new RpcFault(-32601, `Method not found: ${method}`)
    }
  }

  async function answerOne({ id, method, params }: Question, sender: Address | undefined): Promise<object> {
    try {
      return { jsonrpc: '2.0', id, result: (await answer(method, params, sender)) ?? null }
    } catch (error) {
      if (!(error instanceof RpcFault)) throw error
      const { code, message, data } = error
      return { jsonrpc: '2.0', id, error: { code, message, ...(data && { data }) } }
    }
  }

  const chain: SimChain = {
    chainId,
    flow: FLOW,
    registry: REGISTRY,
    mine,
    get head() {
      return newest().number
    },
    get waitingCount() {
      return pool.size
    },
    onTransaction: () => undefined,
    fund(address, wei) {
      fundedWei += wei
      // In the state of every block: money that a reorganisation must not take away.
      for (const { state } of blocks) add(state.balances, address.toLowerCase(), wei)
    },
    perform({ from, to, data, valueWei }, timestamp) {
      const sender = from.toLowerCase()
      const nonce = newest().state.nonces.get(sender) ?? 0
      const call = { from: sender, to: to.toLowerCase(), data, valueWei, nonce, gas: 0n, feePerGasWei: 0n }
      const hash = hashOf(`call ${newest().number}`)
      pool.set(poolKey(sender, nonce), { ...call, hash })
      mine(timestamp)
      // Others' transactions that wait are in the same block.
      const mined = newest().mined.find(({ transaction }) => transaction.hash === hash)
      return { status: mined!.status === '0x1' ? 'ok' : 'failed', logs: mined!.logs }
    },
    reorganise(depth, chance) {
      branch += 1
      const removed = blocks.splice(Math.max(1, blocks.length - depth))
      const waiting = [...pool.values()]
      pool.clear()
      const again = removed.flatMap(({ mined }) => mined.map(({ transaction }) => transaction))
      for (const { hash } of again) receipts.delete(hash)
      while (again.length > 0) {
        const [transaction] = again.splice(chance.below(again.length), 1)
        pool.set(poolKey(transaction!.from, transaction!.nonce), transaction!)
      }
      for (const transaction of waiting) {
        const key = poolKey(transaction.from, transaction.nonce)
        if (!pool.has(key)) pool.set(key, transaction)
      }
    },
    setPrice: (wei) => void (price = wei),
    books() {
      const { balances, surplus, members, feesWei, gasWei } = newest().state
      const stakesWei = [...members.values()].reduce((sum, { stakeWei }) => sum + stakeWei, 0n)
      return { fundedWei, balances, surplus, stakesWei, feesWei, gasWei }
    },
    logs: () => blocks.flatMap(({ mined }) => mined.flatMap(({ logs }) => logs)),
    members: () => activeOf(newest().state),
    membersAt: (version) => newest().state.memberLists[version] ?? [],
    membershipHashOf: (version) => newest().state.membershipHashes[version],
    async handle(request, sender) {
      const body = (await request.json()) as Question | readonly Question[]
      if (!Array.isArray(body)) return Response.json(await answerOne(body as Question, sender))
      const answers: object[] = []
      for (const question of body as readonly Question[]) answers.push(await answerOne(question, sender))
      return Response.json(answers)
    },
  }
  return chain
}

type Question = { readonly id: number; readonly method: string; readonly params: readonly unknown[] }
type SubmissionData = {
  readonly length: bigint
  readonly tags: Hex
  readonly nodes: readonly { readonly root: Hex; readonly height: bigint }[]
}
type WithSubmitter = { readonly data: SubmissionData; readonly submitter: Hex }

export const isSubmit = (log: SimLog): boolean => log.topics[0] === SUBMIT_TOPIC

function copyOf(state: State): State {
  return {
    ...state,
    balances: new Map(state.balances),
    nonces: new Map(state.nonces),
    surplus: new Map(state.surplus),
    members: new Map(state.members),
    membershipHashes: [...state.membershipHashes],
    memberLists: [...state.memberLists],
    roots: [...state.roots],
  }
}

/** `state` becomes `next`. */
function assign(state: State, next: State): void {
  for (const name of ['balances', 'nonces', 'surplus', 'members'] as const) {
    const into = state[name] as Map<unknown, unknown>
    into.clear()
    for (const [key, value] of next[name]) into.set(key, value)
  }
  state.membershipHashes.splice(0, Infinity, ...next.membershipHashes)
  state.memberLists.splice(0, Infinity, ...next.memberLists)
  state.roots.splice(0, Infinity, ...next.roots)
  state.flow = next.flow
  state.feesWei = next.feesWei
  state.gasWei = next.gasWei
}

function add(sums: Map<string, bigint>, key: string, wei: bigint): void {
  sums.set(key, (sums.get(key) ?? 0n) + wei)
}

const weightOf = ({ capacity, stakeWei }: Record): bigint => minOf(capacity, stakeWei / STAKE_PER_SEGMENT_WEI)

function activeOf(state: State): readonly Member[] {
  return [...state.members.values()]
    .filter(({ status }) => status === 'active')
    .sort((a, b) => a.id - b.id)
    .map((record) => ({
      id: record.id,
      signer: record.signer,
      endpoint: record.endpoint,
      domain: record.domain,
      weight: weightOf(record),
    }))
}

function shownMember(record: Record) {
  return {
    id: record.id,
    owner: record.owner as Hex,
    signer: record.signer as Hex,
    endpoint: record.endpoint,
    domain: record.domain,
    weight: weightOf(record),
    capacitySegments: record.capacity,
    stake: record.stakeWei,
    lastHeartbeat: BigInt(record.heartbeat),
    status: STATUSES.indexOf(record.status),
  }
}

const memberEvent = storageRegistryAbi.find((item) => item.type === 'event' && item.name === 'MemberChanged')!

function memberLog(version: number, record: Record): SimLog {
  const plain = memberEvent.inputs.filter((input) => !('indexed' in input && input.indexed))
  const { signer, endpoint, domain, status } = record
  return {
    address: REGISTRY,
    topics: encodeEventTopics({
      abi: [memberEvent],
      eventName: 'MemberChanged',
      args: { version: BigInt(version), id: record.id },
    } as never) as unknown as string[],
    data: encodeAbiParameters(
      plain as never,
      [signer, endpoint, domain, weightOf(record), STATUSES.indexOf(status)] as never,
    ),
  }
}

const reverted = (data: Hex): RpcFault => new RpcFault(3, 'execution reverted', data)
const minOf = (a: bigint, b: bigint): bigint => (a < b ? a : b)
const quantity = (value: number): Hex => `0x${value.toString(16)}`
const word = (value: bigint): Hex => `0x${value.toString(16).padStart(64, '0')}`
const hashOf = (text: string): Hex => toHex(keccak256(new TextEncoder().encode(text)))
