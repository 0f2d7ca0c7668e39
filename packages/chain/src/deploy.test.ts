import { defaultDeployParams, deployPlan, deployedAddresses } from '@weightless/contracts'
import { getContractAddress, toHex } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { account, engineIn, request, rpcOf, signed, temporaryDirectory } from '../test/localChain.ts'
import { deployContracts } from './deploy.ts'
import type { ChainEngine } from './engine.ts'

let engine: ChainEngine
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let url: string
const keyOf = (byte: number): Uint8Array => new Uint8Array(32).fill(byte)
const deployer = (byte: number): ReturnType<typeof privateKeyToAccount> => privateKeyToAccount(toHex(keyOf(byte)))
const stepCount = deployPlan(
  { ...defaultDeployParams, foundationAdmin: account(0).address },
  deployedAddresses((nonce) => getContractAddress({ from: account(0).address, nonce })),
).length

beforeAll(async () => {
  directory = await temporaryDirectory()
  engine = engineIn(directory.path, {
    accounts: [
      ...Array.from({ length: 10 }, (_, i) => account(i).address),
      ...[1, 2, 3, 4].map((byte) => deployer(byte).address),
    ],
  })
  await engine.start()
  url = engine.rpcUrl
})
afterAll(async () => {
  await engine.stop()
  await directory[Symbol.asyncDispose]()
})

const nonceOf = async (address: string): Promise<number> =>
  Number(await request(url, 'eth_getTransactionCount', [address, 'latest']))

describe('a deployment', () => {
  test('puts every contract where the plan says, in two blocks at most, and touches no standard account', async () => {
    const headBefore = engine.head()!.number
    const contracts = await deployContracts(rpcOf(url), { key: keyOf(1) })
    for (const [name, address] of Object.entries(contracts)) {
      expect(address, name).toMatch(/^0x[0-9a-f]{40}$/)
      expect((await request(url, 'eth_getCode', [address, 'latest'])) as string, name).toMatch(/^0x[0-9a-f]{100}/)
    }
    expect(Object.keys(contracts).toSorted()).toEqual(['flow', 'market', 'mine', 'reward', 'storageRegistry'])
    expect(engine.head()!.number - headBefore).toBeLessThanOrEqual(2 + 3)
    for (let i = 0; i < 10; i++) expect(await nonceOf(account(i).address)).toBe(0)
  })

  test('that was made before is found again, and nothing is sent', async () => {
    const nonce = await nonceOf(deployer(1).address)
    const first = await deployContracts(rpcOf(url), { key: keyOf(1) })
    expect(await deployContracts(rpcOf(url), { key: keyOf(1) })).toEqual(first)
    expect(await nonceOf(deployer(1).address)).toBe(nonce)
  })

  test('survives a restart of the chain', async () => {
    const first = await deployContracts(rpcOf(url), { key: keyOf(1) })
    await engine.stop()
    await engine.start()
    url = engine.rpcUrl
    const nonce = await nonceOf(deployer(1).address)
    expect(await deployContracts(rpcOf(url), { key: keyOf(1) })).toEqual(first)
    expect(await nonceOf(deployer(1).address)).toBe(nonce)
  })

  test('that was cut short after any step is completed', async () => {
    const full = rpcOf(url)
    let sent = 0
    // Lets three transactions through and then fails, as a lost connection would.
    const failing = {
      request: async (method: string, params: readonly unknown[]): Promise<unknown> => {
        if (method === 'eth_sendRawTransaction' && ++sent > 3) throw new Error('connection lost')
        return full.request(method, params)
      },
    }
    await expect(deployContracts(failing, { key: keyOf(2) })).rejects.toMatchObject({ code: 'DEPLOY_FAILED' })
    await deployContracts(full, { key: keyOf(2) })
    expect(await nonceOf(deployer(2).address)).toBe(stepCount)
  })

  test('whose deployer goes on to do other things is still found', async () => {
    const sender = deployer(1)
    await request(url, 'eth_sendRawTransaction', [await signed(sender as never, await nonceOf(sender.address))])
    await deployContracts(rpcOf(url), { key: keyOf(1) })
  })
})

describe('what is refused', () => {
  test('a key that was used for something else', async () => {
    const sender = deployer(3)
    await request(url, 'eth_sendRawTransaction', [await signed(sender as never, 0)])
    await expect(deployContracts(rpcOf(url), { key: keyOf(3) })).rejects.toMatchObject({
      code: expect.stringMatching(/^DEPLOY_/),
    })
  })

  test('a deployer without funds', async () => {
    await expect(deployContracts(rpcOf(url), { key: keyOf(9) })).rejects.toMatchObject({
      code: 'DEPLOY_FAILED',
      next: expect.stringContaining('funds'),
      cause: expect.objectContaining({ message: expect.stringMatching(/insufficient funds/i) }),
    })
  })

  test('a deployment that is given up', async () => {
    await expect(deployContracts(rpcOf(url), { key: keyOf(4) }, { signal: AbortSignal.abort() })).rejects.toThrow(
      'abort',
    )
    expect(await nonceOf(deployer(4).address)).toBe(0)
  })
})
