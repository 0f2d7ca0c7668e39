import { addressOfPrivateKey, domainOf, type Address } from '@weightless/core'
import { systemClock, systemNet, systemRandom } from '@weightless/host'
import {
  createRpc,
  createTransactor,
  drainMember,
  privateKeySigner,
  readOwnMember,
  registerMember,
  type Rpc,
  type Transactor,
} from '@weightless/sdk'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startAnvil, type Anvil } from '../../../contracts/test/anvil.ts'
import { advance, deployNetwork } from '../../../contracts/test/network.ts'
import { leaveRegistry } from './leaving.ts'

// The real registry on a real EVM whose clock the test sets.

const CHAIN_ID = 31337
const DELAY_S = 3_600
const STAKE_WEI = 1_000_000_000n
const key = new Uint8Array(32).fill(0x5c)
const owner: Address = addressOfPrivateKey(key)

let chain: Anvil
let rpc: Rpc
let registry: Address
let wallet: Transactor
beforeAll(async () => {
  chain = await startAnvil()
  const { addresses } = await deployNetwork(chain, {
    registry: { stakePerSegmentWei: STAKE_WEI, leaveDelaySeconds: BigInt(DELAY_S) },
  })
  registry = addresses.storageRegistry.toLowerCase() as Address
  await chain.rpc('evm_setAutomine', [true])
  const deps = { clock: systemClock, random: systemRandom }
  rpc = createRpc(chain.url, { net: systemNet, ...deps })
  wallet = createTransactor({ chainId: CHAIN_ID, signer: privateKeySigner(key) }, { rpc, ...deps })
  await chain.rpc('anvil_setBalance', [owner, '0xde0b6b3a7640000'])
})
afterAll(() => chain[Symbol.asyncDispose]())

test('a member leaves when the time of the chain has come, not before, and its stake is its own again', async () => {
  const description = { signer: owner, endpoint: 'http://node.test', domain: domainOf('here'), capacitySegments: 9n }
  await registerMember(wallet, registry, { ...description, stakeWei: 5n * STAKE_WEI }, {})
  const { blockNumber } = await drainMember(wallet, registry, {})
  const block = await rpc.request('eth_getBlockByNumber', [`0x${blockNumber.toString(16)}`, false], {})
  const leavesAtS = Number((block as { readonly timestamp: string }).timestamp) + DELAY_S
  expect(await leaveRegistry(wallet, registry, { rpc }, {})).toEqual({ kind: 'later', leavesAtS })
  expect((await readOwnMember(rpc, registry, owner, {}))?.status).toBe('draining')
  await advance(chain, { seconds: DELAY_S })
  expect(await leaveRegistry(wallet, registry, { rpc }, {})).toEqual({ kind: 'left', withdrawnWei: 5n * STAKE_WEI })
  expect(await readOwnMember(rpc, registry, owner, {})).toBeUndefined()
  // A process that ended in between comes again.
  expect(await leaveRegistry(wallet, registry, { rpc }, {})).toEqual({ kind: 'left', withdrawnWei: 0n })
})
