import { digestHistoryAbi, digestHistoryBytecode } from './generated/digestHistory.ts'
import { flowAbi, flowBytecode } from './generated/flow.ts'
import { marketAbi, marketBytecode } from './generated/market.ts'
import { mineAbi, mineBytecode } from './generated/mine.ts'
import { rewardAbi, rewardBytecode } from './generated/reward.ts'
import { storageRegistryAbi, storageRegistryBytecode } from './generated/storageRegistry.ts'

/** The creations and initialise calls of one network, in order, one transaction each. Pure data: whoever holds a key
 *  encodes and sends them. The order of the initialise calls is the reference's (spec/storage.md 2.8). Only the deployer
 *  can initialise, so all of them come from one account, whose nonces from `startNonce` on are used up one by one. */
export function deployPlan(params: DeployParams, addresses: DeployedAddresses): readonly DeployStep[] {
  const { mine, market, reward, flow } = addresses
  return [
    create('mine', []),
    create('market', []),
    create('reward', [params.releaseSeconds]),
    create('flow', [params.deployDelay]),
    create('storageRegistry', [
      params.registry.stakePerSegmentWei,
      params.registry.graceSeconds,
      params.registry.leaveDelaySeconds,
    ]),
    initialize('mine', [flow, reward, unusedMineParams]),
    initialize('market', [params.pricePerSector, flow, reward]),
    initialize('reward', [market, mine, params.foundationAdmin]),
    initialize('flow', [market, params.blocksPerEpoch]),
  ]
}

/** Where the contracts of a plan will be. `addressOf` maps an offset from the deployer's first nonce to its CREATE
 *  address (this room has no hash): `(offset) => getContractAddress({ from: deployer, nonce: startNonce + offset })`. */
export function deployedAddresses(addressOf: (nonceOffset: bigint) => Address): DeployedAddresses {
  const at = (name: ContractName): Address => addressOf(BigInt(creationOrder.indexOf(name)))
  return {
    mine: at('mine'),
    market: at('market'),
    reward: at('reward'),
    flow: at('flow'),
    storageRegistry: at('storageRegistry'),
  }
}

/** `pricePerSector`: 12 months at the live networks' unit price of 33 (spec/storage.md 2.5). `releaseSeconds`: 12 months of
 *  31 days. `stakePerSegmentWei`: 10^9, so that one ether of stake backs 262 TB; a test network has no market for stake. */
export const defaultDeployParams: Omit<DeployParams, 'foundationAdmin'> = {
  pricePerSector: 30_733_644_962n,
  blocksPerEpoch: 3750n,
  releaseSeconds: 32_140_800n,
  deployDelay: 0n,
  registry: { stakePerSegmentWei: 1_000_000_000n, graceSeconds: 30n, leaveDelaySeconds: 60n },
}

export type Address = `0x${string}`
export type ContractName = 'mine' | 'market' | 'reward' | 'flow' | 'storageRegistry'
export type DeployedAddresses = { readonly [name in ContractName]: Address }

export type DeployParams = {
  /** Wei per 256-byte sector. */
  readonly pricePerSector: bigint
  readonly blocksPerEpoch: bigint
  /** Term over which a filled pricing chunk pays out. */
  readonly releaseSeconds: bigint
  /** Blocks between initialisation and the first submission. */
  readonly deployDelay: bigint
  /** First treasury of service fees; the rate starts at zero. */
  readonly foundationAdmin: Address
  readonly registry: {
    readonly stakePerSegmentWei: bigint
    readonly graceSeconds: bigint
    readonly leaveDelaySeconds: bigint
  }
}

export type DeployStep =
  | {
      readonly kind: 'create'
      readonly name: ContractName
      readonly abi: Abi
      readonly bytecode: `0x${string}`
      readonly args: readonly unknown[]
    }
  | {
      readonly kind: 'call'
      readonly name: ContractName
      readonly abi: Abi
      readonly functionName: 'initialize'
      readonly args: readonly unknown[]
    }

/** ABI entries as the compiler writes them; structurally what viem and ethers accept. */
export type Abi = readonly unknown[]

/** Bytecode by name; `digestHistory` is created by Flow itself when it is initialised. */
export const bytecodes: { readonly [name in ContractName | 'digestHistory']: `0x${string}` } = {
  mine: mineBytecode,
  market: marketBytecode,
  reward: rewardBytecode,
  flow: flowBytecode,
  storageRegistry: storageRegistryBytecode,
  digestHistory: digestHistoryBytecode,
}

const abis = {
  mine: mineAbi,
  market: marketAbi,
  reward: rewardAbi,
  flow: flowAbi,
  storageRegistry: storageRegistryAbi,
  digestHistory: digestHistoryAbi,
} as const

const creationOrder: readonly ContractName[] = ['mine', 'market', 'reward', 'flow', 'storageRegistry']

const unusedMineParams = {
  difficulty: 0n,
  targetMineBlocks: 0n,
  targetSubmissions: 0n,
  maxShards: 0n,
  nSubtasks: 0n,
  subtaskInterval: 0n,
}

function create(name: ContractName, args: readonly unknown[]): DeployStep {
  return { kind: 'create', name, abi: abis[name], bytecode: bytecodes[name], args }
}

function initialize(name: ContractName, args: readonly unknown[]): DeployStep {
  return { kind: 'call', name, abi: abis[name], functionName: 'initialize', args }
}
