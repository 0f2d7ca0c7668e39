import { getContractAddress } from 'viem'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Anvil, startAnvil } from '../test/anvil.ts'
import { deployNetwork } from '../test/network.ts'
import { defaultDeployParams, deployPlan, deployedAddresses } from './deployPlan.ts'

let chain: Anvil
beforeAll(async () => {
  chain = await startAnvil()
})
afterAll(() => chain[Symbol.asyncDispose]())

const deployer = '0x00000000000000000000000000000000000000d1'

test('addresses are those of CREATE from the first nonce on, in the order of the plan', () => {
  const addressOf = (offset: bigint) => getContractAddress({ from: deployer, nonce: 40n + offset })
  const addresses = deployedAddresses(addressOf)
  const plan = deployPlan({ ...defaultDeployParams, foundationAdmin: deployer }, addresses)
  const creations = plan.filter(({ kind }) => kind === 'create').map(({ name }) => name)
  expect(creations.map((name) => addresses[name])).toEqual(creations.map((_, i) => addressOf(BigInt(i))))
  expect(Object.keys(addresses).sort()).toEqual([...creations].sort())
})

test('contracts are initialised once, after all creations, in the order of the reference', () => {
  const addresses = deployedAddresses((offset) => getContractAddress({ from: deployer, nonce: offset }))
  const plan = deployPlan({ ...defaultDeployParams, foundationAdmin: deployer }, addresses)
  expect(plan.map(({ kind, name }) => `${kind} ${name}`)).toEqual([
    'create mine',
    'create market',
    'create reward',
    'create flow',
    'create storageRegistry',
    'call mine',
    'call market',
    'call reward',
    'call flow',
  ])
})

test('a network deployed by the plan is wired together and has the default parameters', async () => {
  const { addresses, read } = await deployNetwork(chain)
  const { mine, market, reward, flow, storageRegistry } = addresses
  expect(await read('flow', 'market')).toBe(market)
  expect([await read('market', 'flow'), await read('market', 'reward')]).toEqual([flow, reward])
  expect([await read('reward', 'market'), await read('reward', 'mine')]).toEqual([market, mine])
  expect([await read('mine', 'flow'), await read('mine', 'reward')]).toEqual([flow, reward])
  expect(await read('market', 'pricePerSector')).toBe(30_733_644_962n)
  expect(await read('flow', 'blocksPerEpoch')).toBe(3750n)
  expect(await read('flow', 'deployDelay')).toBe(0n)
  expect(await read('reward', 'releaseSeconds')).toBe(32_140_800n)
  expect(await read('reward', 'serviceFeeRateBps')).toBe(0n)
  expect(await read('storageRegistry', 'graceSeconds')).toBe(30n)
  expect(await chain.rpc('eth_getCode', [storageRegistry, 'latest'])).not.toBe('0x')
})
