import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createAnvilEngine, deployContracts, type ChainEngine, type DeployedContracts } from '@weightless/chain'
import { domainOf, membershipHash, toHex, type Address, type Net } from '@weightless/core'
import { systemClock, systemNet, systemRandom } from '@weightless/host'
import { privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { content, keyOf } from '../../../sim/fakes/network.ts'
import { failureOf } from '../../../sim/fakes/outcome.ts'
import { createFakeStorageNode, type FakeStorageNode } from '../../../sim/fakes/storageNode.ts'
import {
  createClient,
  createRpc,
  createTransactor,
  decodeSubmitLog,
  downloadBytes,
  drainMember,
  heartbeat,
  info,
  leaveMember,
  privateKeySigner,
  readMembers,
  readMembershipHash,
  readOwnMember,
  readRegistryRules,
  registerMember,
  SUBMIT_TOPIC,
  updateMember,
  upload,
  uploadMany,
  type Client,
  type Rpc,
} from './index.ts'

// A real EVM with the real contracts behind its public port; storage nodes in memory that follow it.

const CHAIN_ID = 31337
const deployerKey = new Uint8Array(32).fill(0x5a)
const wallets = Array.from({ length: 12 }, (_, i) => keyOf(500 + i))
const nodeKeys = Array.from({ length: 4 }, (_, i) => new Uint8Array(32).fill(0x60 + i))

let directory: string
let engine: ChainEngine
let contracts: DeployedContracts
let rpc: Rpc
let nodes: { readonly url: string; readonly node: FakeStorageNode }[]
const deps = { clock: systemClock, random: systemRandom }
const net: Net = {
  fetch: (request) => {
    const known = nodes.find(({ url }) => request.url.startsWith(url))
    return known === undefined ? systemNet.fetch(request) : known.node.handle(request)
  },
}
const transactor = (key: string | Uint8Array) =>
  createTransactor({ chainId: CHAIN_ID, signer: privateKeySigner(key) }, { rpc, ...deps })
function clientOf(account: number): Client {
  const { flow, storageRegistry: registry } = contracts
  return createClient(
    {
      network: { rpcUrl: engine.rpcUrl, chainId: CHAIN_ID, flow, registry },
      signer: privateKeySigner(wallets[account]!),
    },
    { net },
  )
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'weightless-sdk-'))
  const accounts = [toHex(deployerKey), ...wallets, ...nodeKeys.map(toHex)].map(
    (key) => privateKeyToAccount(key).address,
  )
  engine = createAnvilEngine({ dataDir: directory, port: 0, chainId: CHAIN_ID, accounts }, { clock: systemClock })
  await engine.start()
  rpc = createRpc(engine.rpcUrl, { net: systemNet, ...deps })
  contracts = await deployContracts(rpc, { key: deployerKey })
  const { flow, storageRegistry: registry } = contracts
  nodes = nodeKeys.map((privateKey, i) => ({
    url: `http://node-${i}.test/`,
    node: createFakeStorageNode({
      privateKey,
      chainId: CHAIN_ID,
      flow: flow as Address,
      registry: registry as Address,
      waitTurns: 20_000,
    }),
  }))
  engine.onBlock(({ hash, transactionHashes }) => {
    if (transactionHashes.length > 0) void follow(hash)
  })
  async function follow(blockHash: string): Promise<void> {
    const logs = (await rpc.request('eth_getLogs', [{ address: flow, topics: [SUBMIT_TOPIC], blockHash }])) as unknown[]
    for (const log of logs) for (const { node } of nodes) node.learn(decodeSubmitLog(log))
  }
  await Promise.all(
    nodeKeys.map((key, i) =>
      registerMember(
        transactor(key),
        registry as Address,
        {
          signer: nodes[i]!.node.signer,
          endpoint: nodes[i]!.url,
          domain: domainOf(`rack ${i}`),
          capacitySegments: 1_000n,
          stakeWei: 10n ** 18n,
        },
        {},
      ),
    ),
  )
}, 60_000)
afterAll(async () => {
  await engine?.stop()
  rmSync(directory, { recursive: true, force: true })
})

describe('against the real contracts', () => {
  test('the registry lists who registered, and its hash is that of the list we read', async () => {
    const registry = contracts.storageRegistry as Address
    const membership = await readMembers(rpc, registry, {})
    expect(membership.members.map(({ endpoint }) => endpoint).sort()).toEqual(nodes.map(({ url }) => url))
    const stored = await readMembershipHash(rpc, registry, { version: membership.version }, {})
    expect(toHex(stored)).toBe(toHex(membershipHash(membership.members)))
  })

  test.each([1, 256, 70_000, 262_145, 1_000_000])(
    '%i bytes become durable and final, and come back',
    async (sizeBytes) => {
      const client = clientOf(0)
      const bytes = content(sizeBytes, sizeBytes)
      const result = await upload(client, bytes, { until: 'final' })
      expect(result).toMatchObject({ stage: 'final', sizeBytes, reused: false })
      expect(result.receipts).toHaveLength(3)
      expect(Buffer.from(await downloadBytes(client, result.root)).equals(Buffer.from(bytes))).toBe(true)
      expect(await upload(client, bytes)).toMatchObject({ seq: result.seq, reused: true })
      expect(await info(client, result.root)).toMatchObject({
        stage: 'final',
        entries: [{ seq: result.seq, txHash: result.txHash }],
      })
    },
  )

  test('several files are one batchSubmit', async () => {
    const results = await uploadMany(clientOf(1), [content(300, 1), content(300_000, 2), content(5_000, 3)])
    expect(new Set(results.map(({ txHash }) => txHash)).size).toBe(1)
    const [first] = results
    expect(results.map(({ seq }) => seq)).toEqual([first!.seq, first!.seq + 1, first!.seq + 2])
  })

  test('fifty uploads at once from one wallet all arrive, none out of gas', async () => {
    const client = clientOf(2)
    const results = await Promise.all(
      Array.from({ length: 50 }, (_, i) => upload(client, content(1_000 + i, 1_000 + i), { until: 'anchored' })),
    )
    expect(new Set(results.map(({ seq }) => seq)).size).toBe(50)
    expect(
      Number(await rpc.request('eth_getTransactionCount', [privateKeyToAccount(wallets[2]!).address, 'latest'])),
    ).toBe(50)
  })

  test('many wallets in one block: none runs out of gas', async () => {
    const results = await Promise.all(
      Array.from({ length: 9 }, (_, i) =>
        upload(clientOf(3 + i), content(262_145 * (1 + (i % 3)), 2_000 + i), { until: 'anchored' }),
      ),
    )
    expect(new Set(results.map(({ seq }) => seq)).size).toBe(9)
  })

  test('an empty wallet is refused before anything is sent, a wrong network before anything is signed', async () => {
    const { flow, market, storageRegistry: registry } = contracts
    const poor = createClient(
      { network: { rpcUrl: engine.rpcUrl, chainId: CHAIN_ID, flow, registry }, signer: privateKeySigner(keyOf(999)) },
      { net },
    )
    expect(await failureOf(upload(poor, content(100, 77)))).toMatchObject({
      code: 'FUNDS_INSUFFICIENT',
      facts: { haveWei: 0n },
    })
    const wrongId = createClient(
      { network: { rpcUrl: engine.rpcUrl, chainId: 16661, flow, registry }, signer: privateKeySigner(wallets[0]!) },
      { net },
    )
    expect(await failureOf(upload(wrongId, content(100, 77)))).toMatchObject({ code: 'NETWORK_MISMATCH' })
    const wrongFlow = createClient(
      {
        network: { rpcUrl: engine.rpcUrl, chainId: CHAIN_ID, flow: market, registry },
        signer: privateKeySigner(wallets[0]!),
      },
      { net },
    )
    expect(await failureOf(upload(wrongFlow, content(100, 77)))).toMatchObject({
      code: 'NETWORK_MISMATCH',
      facts: { actual: 'no flow contract' },
    })
    const wrongRegistry = createClient(
      {
        network: { rpcUrl: engine.rpcUrl, chainId: CHAIN_ID, flow, registry: market },
        signer: privateKeySigner(wallets[0]!),
      },
      { net },
    )
    expect(await failureOf(upload(wrongRegistry, content(100, 77)))).toMatchObject({ code: 'REGISTRY_INVALID' })
  })

  test('a node lives its life in the registry', async () => {
    const registry = contracts.storageRegistry as Address
    const owner = transactor(wallets[11]!)
    const address = await owner.address({})
    const rules = await readRegistryRules(rpc, registry, {})
    expect(await readOwnMember(rpc, registry, address, {})).toBeUndefined()
    const description = {
      signer: address,
      endpoint: 'http://new.test/',
      domain: domainOf('rack 9'),
      capacitySegments: 10n,
    }
    expect(await failureOf(registerMember(owner, registry, { ...description, stakeWei: 0n }, {}))).toMatchObject({
      code: 'TX_REVERTED',
      facts: { reason: `StakeTooLow(0, ${rules.stakePerSegmentWei})` },
    })
    await registerMember(owner, registry, { ...description, stakeWei: rules.stakePerSegmentWei * 7n }, {})
    expect(await readOwnMember(rpc, registry, address, {})).toMatchObject({
      ...description,
      status: 'active',
      weight: 7n,
      owner: address,
    })
    await heartbeat(owner, registry, {})
    await updateMember(
      owner,
      registry,
      { ...description, endpoint: 'http://newer.test/', stakeWei: rules.stakePerSegmentWei * 2n },
      {},
    )
    expect(await readOwnMember(rpc, registry, address, {})).toMatchObject({
      endpoint: 'http://newer.test/',
      weight: 9n,
    })
    await drainMember(owner, registry, {})
    expect(await readOwnMember(rpc, registry, address, {})).toMatchObject({ status: 'draining' })
    expect((await readMembers(rpc, registry, {})).members.map(({ signer }) => signer)).not.toContain(address)
    expect(await failureOf(leaveMember(owner, registry, {}))).toMatchObject({ code: 'TX_REVERTED' })
  })
})
