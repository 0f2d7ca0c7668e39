import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { domainOf, type Address } from '@weightless/core'
import { readPrivateKey, systemClock } from '@weightless/host'
import { readOwnMember, registerMember, type Rpc } from '@weightless/sdk'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { advance } from '../../../contracts/test/network.ts'
import {
  CHAIN_ID,
  LEAVE_DELAY_S,
  STAKE_PER_SEGMENT_WEI,
  startRegistryChain,
  type RegistryChain,
} from '../../test/registryChain.ts'
import { silentLogger } from '../../../../sim/silentLogger.ts'
import { layoutOfDirectory } from './directory.ts'
import { readState, writeState, type NetworkState } from './state.ts'
import { openStorageNodes, type StorageNodes } from './storageNodes.ts'

// The real registry, keys and files. Each opening of the nodes stands for a process of `up`; none ends in any other way than by being
// forgotten, as after kill -9.

const folder = mkdtempSync(join(tmpdir(), 'weightless-nodes-'))

let network: RegistryChain
let chain: RegistryChain['chain']
let rpc: Rpc
let registry: Address
let walletOf: RegistryChain['walletOf']
beforeAll(async () => {
  network = await startRegistryChain()
  ;({ chain, rpc, registry, walletOf } = network)
})
afterAll(async () => {
  await network[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

/** A directory with one node, which is a member, and the nodes as each process of it opens them. */
async function directoryOf(name: string) {
  const layout = layoutOfDirectory(join(folder, name))
  for (const part of ['keys', 'config', 'logs']) mkdirSync(join(layout.top, part), { recursive: true })
  mkdirSync(layout.node('node-0'), { recursive: true })
  const ports = { portBase: 0, chainPort: 1, gatewayPort: 2, adminPort: 3 }
  const nodes = [{ id: 'node-0', port: 4, draining: false }]
  const state: NetworkState = { ...ports, code: 'none', nextNode: 1, nodes, leaving: [] }
  await writeState(layout, state)
  const funderKey = new Uint8Array(32).fill(name.length)
  const funder = walletOf(funderKey)
  await chain.rpc('anvil_setBalance', [await funder.address({}), '0x56bc75e2d63100000'])
  const facts = { rpcUrl: chain.url, wsUrl: '', chainId: CHAIN_ID, flow: registry, registry, startBlock: 0 }
  const open = async (by: Rpc = rpc): Promise<StorageNodes> =>
    await openStorageNodes(
      { layout, entry: '', chain: facts, gatewayUrl: 'http://gateway.test', state: (await readState(layout))! },
      { rpc: by, funder, clock: systemClock, logger: silentLogger, onChange: () => undefined },
      {},
    )
  await open()
  const wallet = walletOf(await readPrivateKey(layout.key('node-0')))
  const owner = await wallet.address({})
  const description = { signer: owner, endpoint: `http://${name}.test`, domain: domainOf(name), capacitySegments: 9n }
  await registerMember(wallet, registry, { ...description, stakeWei: 5n * STAKE_PER_SEGMENT_WEI }, {})
  return { layout, open, owner }
}

test.each([
  ['knows when it may leave', 'later'],
  ['has not asked yet whether it may', 'unasked'],
] as const)(
  'a node that was removed leaves under a later `up`, if the first one ended when it %s',
  async (_, stage) => {
    const { layout, open, owner } = await directoryOf(stage)
    const isRemembered = async (): Promise<boolean> => (await readState(layout))!.leaving.length > 0
    const dying: Rpc = {
      url: rpc.url,
      request: async (method, params, options) => {
        if (await isRemembered()) throw new Error('the process has ended')
        return await rpc.request(method, params, options)
      },
    }
    const first = await open(stage === 'unasked' ? dying : rpc)
    await first.change('node-0', 'rm', {})
    expect(existsSync(layout.node('node-0'))).toBe(false)

    const second = await open()
    expect(second.list()).toEqual([])
    const leavesAtS = stage === 'unasked' ? null : expect.any(Number)
    expect(second.leaving()).toEqual([{ id: 'node-0', leavesAtS }])
    await second.settleLeaving({})
    expect(second.leaving()).toEqual([{ id: 'node-0', leavesAtS: expect.any(Number) }])
    expect((await readOwnMember(rpc, registry, owner, {}))?.status).toBe('draining')

    const third = await open()
    await advance(chain, { seconds: LEAVE_DELAY_S })
    await third.settleLeaving({})
    expect(third.leaving()).toEqual([])
    expect((await readState(layout))!.leaving).toEqual([])
    expect(await readOwnMember(rpc, registry, owner, {})).toBeUndefined()
  },
)
