import type { Address } from '@weightless/core'
import { systemClock, systemNet, systemRandom } from '@weightless/host'
import { createRpc, createTransactor, privateKeySigner, type Rpc, type Transactor } from '@weightless/sdk'
import { startAnvil, type Anvil } from '../../contracts/test/anvil.ts'
import { deployNetwork } from '../../contracts/test/network.ts'

/** The real registry on a real EVM whose clock the test sets. */
export type RegistryChain = AsyncDisposable & {
  readonly chain: Anvil
  readonly rpc: Rpc
  readonly registry: Address
  walletOf(key: Uint8Array): Transactor
}

export const CHAIN_ID = 31337
/** How long a member that drains has to wait before it may leave. */
export const LEAVE_DELAY_S = 3_600
export const STAKE_PER_SEGMENT_WEI = 1_000_000_000n

export async function startRegistryChain(): Promise<RegistryChain> {
  const chain = await startAnvil()
  const { addresses } = await deployNetwork(chain, {
    registry: { stakePerSegmentWei: STAKE_PER_SEGMENT_WEI, leaveDelaySeconds: BigInt(LEAVE_DELAY_S) },
  })
  await chain.rpc('evm_setAutomine', [true])
  const deps = { clock: systemClock, random: systemRandom }
  const rpc = createRpc(chain.url, { net: systemNet, ...deps })
  return {
    chain,
    rpc,
    registry: addresses.storageRegistry.toLowerCase() as Address,
    walletOf: (key) => createTransactor({ chainId: CHAIN_ID, signer: privateKeySigner(key) }, { rpc, ...deps }),
    [Symbol.asyncDispose]: () => chain[Symbol.asyncDispose](),
  }
}
