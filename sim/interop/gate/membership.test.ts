import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createClient, privateKeySigner, upload, type Client } from '@weightless/sdk'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { content, startNetwork, weightless, type Network, type NetworkFile } from '../network.ts'
import { until } from '../processes.ts'

// Storage nodes that come, go and come back, as real processes. A grace of three seconds, so that nobody waits for a minute; what is
// waited for is a condition.

const GRACE_SECONDS = 3
const WAIT_MS_MAX = 60_000

let network: Network
let client: Client
beforeAll(async () => {
  network = await startNetwork(['--nodes', '6', '--grace', String(GRACE_SECONDS)])
  const { chain, contracts, accounts } = network.file
  client = createClient({
    network: {
      rpcUrl: chain.rpcUrl,
      chainId: chain.chainId,
      flow: contracts.flow,
      registry: contracts.storageRegistry,
    },
    signer: privateKeySigner(accounts[3]!.privateKey),
  })
}, 90_000)
afterAll(() => network.stop())

type Status = {
  readonly chain: { readonly headBlock: number }
  readonly storage: { readonly nodes: readonly NodeStatus[] }
}
type NodeStatus = { readonly id: string; readonly state: string; readonly member: string | null }

async function status(): Promise<Status> {
  const { code, stdout, stderr } = await weightless(network, ['status', '--json'])
  expect(stderr).toBe('')
  expect(code).toBe(0)
  return JSON.parse(stdout.toString()) as Status
}
const nodeOf = async (id: string): Promise<NodeStatus> => (await status()).storage.nodes.find((node) => node.id === id)!
const fileNow = (): NetworkFile => JSON.parse(readFileSync(join(network.dir, 'network.json'), 'utf8')) as NetworkFile

let uploadCount = 0
/** An upload is what makes blocks come: a chain without any moves by one block in half a minute. */
async function someTraffic(): Promise<void> {
  uploadCount += 1
  await upload(client, content(500, uploadCount))
}

describe('a storage node that is killed', () => {
  test('is stale within a bounded number of blocks, and nobody else is', async () => {
    const victim = fileNow().storage.nodes[2]!
    const before = (await status()).chain.headBlock
    process.kill(victim.pid!, 'SIGKILL')
    await until(`${victim.id} is stale`, WAIT_MS_MAX, async () => {
      await someTraffic()
      return (await nodeOf(victim.id)).member === 'stale'
    })
    const { chain, storage } = await status()
    // An upload, the heartbeats of five and three confirmations each second, for two graces and one to be sure.
    expect(chain.headBlock - before).toBeLessThan(200)
    expect(storage.nodes.filter(({ member }) => member !== 'active').map(({ id, state }) => ({ id, state }))).toEqual([
      { id: victim.id, state: 'down' },
    ])
    expect((await weightless(network, ['status'])).stdout.toString()).toContain('down, stale')
  })

  test('is counted on again once it is started', async () => {
    const { id } = fileNow().storage.nodes[2]!
    expect((await weightless(network, ['node', 'start', id])).code).toBe(0)
    await until(`${id} is active`, WAIT_MS_MAX, async () => (await nodeOf(id)).member === 'active')
    await someTraffic()
    expect(
      (await status()).storage.nodes.every(({ member, state }) => member === 'active' && state === 'running'),
    ).toBe(true)
  })
})
