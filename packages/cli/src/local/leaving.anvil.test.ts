import { addressOfPrivateKey, domainOf, type Address } from '@weightless/core'
import { drainMember, readOwnMember, registerMember, type Rpc, type Transactor } from '@weightless/sdk'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { advance } from '../../../contracts/test/network.ts'
import {
  LEAVE_DELAY_S,
  STAKE_PER_SEGMENT_WEI,
  startRegistryChain,
  type RegistryChain,
} from '../../test/registryChain.ts'
import { leaveRegistry } from './leaving.ts'

const key = new Uint8Array(32).fill(0x5c)
const owner: Address = addressOfPrivateKey(key)

let network: RegistryChain
let chain: RegistryChain['chain']
let rpc: Rpc
let registry: Address
let wallet: Transactor
beforeAll(async () => {
  network = await startRegistryChain()
  ;({ chain, rpc, registry } = network)
  wallet = network.walletOf(key)
  await chain.rpc('anvil_setBalance', [owner, '0xde0b6b3a7640000'])
})
afterAll(() => network[Symbol.asyncDispose]())

test('a member leaves when the time of the chain has come, not before, and its stake is its own again', async () => {
  const description = { signer: owner, endpoint: 'http://node.test', domain: domainOf('here'), capacitySegments: 9n }
  await registerMember(wallet, registry, { ...description, stakeWei: 5n * STAKE_PER_SEGMENT_WEI }, {})
  const { blockNumber } = await drainMember(wallet, registry, {})
  const block = await rpc.request('eth_getBlockByNumber', [`0x${blockNumber.toString(16)}`, false], {})
  const leavesAtS = Number((block as { readonly timestamp: string }).timestamp) + LEAVE_DELAY_S
  expect(await leaveRegistry(wallet, registry, { rpc }, {})).toEqual({ kind: 'later', leavesAtS })
  expect((await readOwnMember(rpc, registry, owner, {}))?.status).toBe('draining')
  await advance(chain, { seconds: LEAVE_DELAY_S })
  expect(await leaveRegistry(wallet, registry, { rpc }, {})).toEqual({
    kind: 'left',
    withdrawnWei: 5n * STAKE_PER_SEGMENT_WEI,
  })
  expect(await readOwnMember(rpc, registry, owner, {})).toBeUndefined()
  // A process that ended in between comes again.
  expect(await leaveRegistry(wallet, registry, { rpc }, {})).toEqual({ kind: 'left', withdrawnWei: 0n })
})
