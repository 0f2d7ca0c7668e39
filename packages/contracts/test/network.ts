import {
  type Abi,
  type Hex,
  type Log,
  decodeErrorResult,
  decodeFunctionResult,
  encodeDeployData,
  encodeFunctionData,
  getContractAddress,
  numberToHex,
  parseEventLogs,
} from 'viem'
import { digestHistoryAbi } from '../src/generated/digestHistory.ts'
import { flowAbi } from '../src/generated/flow.ts'
import { marketAbi } from '../src/generated/market.ts'
import { mineAbi } from '../src/generated/mine.ts'
import { rewardAbi } from '../src/generated/reward.ts'
import { storageRegistryAbi } from '../src/generated/storageRegistry.ts'
import { type DeployParams, defaultDeployParams, deployPlan, deployedAddresses } from '../src/deployPlan.ts'
import { type Address, type Anvil, RpcError } from './anvil.ts'

const abis = {
  flow: flowAbi,
  market: marketAbi,
  reward: rewardAbi,
  mine: mineAbi,
  storageRegistry: storageRegistryAbi,
  digestHistory: digestHistoryAbi,
} as const
type Name = keyof typeof abis
const everything: Abi = Object.values(abis).flat()
const abiOf = (name: Name): Abi => abis[name]

export type Call = {
  readonly from: Address
  readonly to: Address
  readonly data: Hex
  readonly value?: bigint
  readonly gas?: bigint
}
export type Receipt = {
  readonly status: 'ok' | 'failed'
  readonly gasUsed: bigint
  readonly blockNumber: bigint
  readonly logs: readonly Log[]
  readonly contractAddress: Address | null
}
/** What a call would do: the raw answer, or why it fails. */
export type Outcome =
  | { readonly ok: true; readonly data: Hex }
  | { readonly ok: false; readonly error: string; readonly args: readonly unknown[] }

/** Gas of a test transaction where gas is not the subject. */
const GAS = 8_000_000n

/** Sends each transaction and mines all of them into one block. */
export async function sendAll(
  chain: Anvil,
  calls: readonly (Omit<Call, 'to'> & { to?: Address })[],
): Promise<Receipt[]> {
  const hashes: Hex[] = []
  for (const { from, to, data, value = 0n, gas = GAS } of calls) {
    const transaction = { from, to, data, value: numberToHex(value), gas: numberToHex(gas), gasPrice: '0x0' }
    hashes.push((await chain.rpc('eth_sendTransaction', [transaction])) as Hex)
  }
  await chain.rpc('evm_mine')
  return Promise.all(hashes.map((hash) => receiptOf(chain, hash)))
}

/** One transaction in a block of its own; throws when it fails. */
export async function send(chain: Anvil, call: Omit<Call, 'to'> & { to?: Address }): Promise<Receipt> {
  const [receipt] = await sendAll(chain, [call])
  if (receipt!.status === 'ok') return receipt!
  const outcome = call.to ? await attempt(chain, { ...call, to: call.to }) : undefined
  throw new Error(`transaction failed: ${JSON.stringify(outcome, (_, v) => (typeof v === 'bigint' ? `${v}` : v))}`)
}

export async function attempt(chain: Anvil, { from, to, data, value = 0n, gas = GAS }: Call): Promise<Outcome> {
  try {
    const transaction = { from, to, data, value: numberToHex(value), gas: numberToHex(gas), gasPrice: '0x0' }
    return { ok: true, data: (await chain.rpc('eth_call', [transaction, 'latest'])) as Hex }
  } catch (error) {
    if (!(error instanceof RpcError)) throw error
    if (typeof error.data !== 'string' || error.data === '0x') return { ok: false, error: error.message, args: [] }
    const { errorName, args = [] } = decodeErrorResult({ abi: everything, data: error.data as Hex })
    return errorName === 'Error'
      ? { ok: false, error: String(args[0]), args: [] }
      : { ok: false, error: errorName, args }
  }
}

export async function estimate(chain: Anvil, { from, to, data, value = 0n }: Call): Promise<bigint> {
  const transaction = { from, to, data, value: numberToHex(value), gasPrice: '0x0' }
  return BigInt((await chain.rpc('eth_estimateGas', [transaction, 'latest'])) as Hex)
}

/** What these calls answer one after another in a block of that number, without changing the chain. */
export async function simulate(chain: Anvil, number: bigint, calls: readonly Call[]): Promise<readonly Hex[]> {
  const transactions = calls.map(({ from, to, data }) => ({ from, to, data }))
  const block = { blockOverrides: { number: numberToHex(number) }, calls: transactions }
  const answer = (await chain.rpc('eth_simulateV1', [{ blockStateCalls: [block] }, 'latest'])) as readonly {
    readonly calls: readonly { readonly status: Hex; readonly returnData: Hex }[]
  }[]
  return answer.at(-1)!.calls.map(({ status, returnData }, i) => {
    if (status !== '0x1') throw new Error(`simulated call ${i} failed: ${returnData}`)
    return returnData
  })
}

export async function balanceOf(chain: Anvil, address: Address): Promise<bigint> {
  return BigInt((await chain.rpc('eth_getBalance', [address, 'latest'])) as Hex)
}

export async function advance(
  chain: Anvil,
  by: { readonly blocks?: number; readonly seconds?: number },
): Promise<void> {
  if (by.seconds) await chain.rpc('evm_increaseTime', [by.seconds])
  await chain.rpc('anvil_mine', [numberToHex(by.blocks ?? 1)])
}

export async function blockNumber(chain: Anvil): Promise<bigint> {
  return BigInt((await chain.rpc('eth_blockNumber')) as Hex)
}

export async function timestamp(chain: Anvil): Promise<bigint> {
  const block = (await chain.rpc('eth_getBlockByNumber', ['latest', false])) as { timestamp: Hex }
  return BigInt(block.timestamp)
}

export type Network = {
  readonly chain: Anvil
  readonly deployer: Address
  readonly addresses: { readonly [name in Name]: Address }
  /** A call of a function, or of one overload by its selector. */
  call(from: Address, name: Name, functionName: string, args?: readonly unknown[], value?: bigint): Call
  decode<T>(name: Name, functionName: string, data: Hex): T
  read<T>(name: Name, functionName: string, args?: readonly unknown[]): Promise<T>
  events(receipt: Receipt): readonly { readonly eventName: string; readonly args: Record<string, unknown> }[]
}

/** The whole plan on a chain, from `deployer` (account 0), with the parameters that a test cares about. */
export async function deployNetwork(chain: Anvil, overrides: Overrides = {}): Promise<Network> {
  const deployer = chain.accounts[0]!
  const nonce = BigInt((await chain.rpc('eth_getTransactionCount', [deployer, 'latest'])) as Hex)
  const planned = deployedAddresses((offset) => getContractAddress({ from: deployer, nonce: nonce + offset }))
  const registry = { ...defaultDeployParams.registry, ...overrides.registry }
  const params = { ...defaultDeployParams, foundationAdmin: deployer, ...overrides, registry }
  // A test may sit in the seat of the miner or the market: the contracts then take that account for it.
  const seats = { ...planned, mine: overrides.mine ?? planned.mine, market: overrides.market ?? planned.market }
  for (const step of deployPlan(params, seats)) {
    if (step.kind === 'create') {
      const data = encodeDeployData({ abi: step.abi as Abi, bytecode: step.bytecode, args: step.args })
      await send(chain, { from: deployer, data })
    } else {
      const data = encodeFunctionData({ abi: step.abi as Abi, functionName: 'initialize', args: step.args })
      await send(chain, { from: deployer, to: planned[step.name], data })
    }
  }

  const addresses = { ...planned, digestHistory: getContractAddress({ from: planned.flow, nonce: 1n }) }
  const encode = (name: Name, functionName: string, args: readonly unknown[]): Hex =>
    encodeFunctionData({ abi: abiOf(name), functionName, args })
  return {
    chain,
    deployer,
    addresses,
    call: (from, name, functionName, args = [], value = 0n) => {
      return { from, to: addresses[name], data: encode(name, functionName, args), value }
    },
    decode: <T>(name: Name, functionName: string, data: Hex) =>
      decodeFunctionResult({ abi: abiOf(name), functionName, data }) as T,
    async read<T>(name: Name, functionName: string, args: readonly unknown[] = []): Promise<T> {
      const call = { from: deployer, to: addresses[name], data: encode(name, functionName, args) }
      const outcome = await attempt(chain, call)
      if (!outcome.ok) throw new Error(`${name}.${functionName}: ${outcome.error}`)
      return decodeFunctionResult({ abi: abiOf(name), functionName, data: outcome.data }) as T
    },
    events: (receipt) => parseEventLogs({ abi: everything, logs: [...receipt.logs] }) as never,
  }
}

export type Overrides = Partial<Omit<DeployParams, 'registry'>> & {
  readonly registry?: Partial<DeployParams['registry']>
  readonly mine?: Address
  readonly market?: Address
}

async function receiptOf(chain: Anvil, hash: Hex): Promise<Receipt> {
  const raw = (await chain.rpc('eth_getTransactionReceipt', [hash])) as Record<string, never> | null
  if (raw === null) throw new Error(`transaction ${hash} was not mined`)
  return {
    status: raw['status'] === '0x1' ? 'ok' : 'failed',
    gasUsed: BigInt(raw['gasUsed'] ?? 0),
    blockNumber: BigInt(raw['blockNumber'] ?? 0),
    logs: raw['logs'] ?? [],
    contractAddress: raw['contractAddress'] ?? null,
  }
}
