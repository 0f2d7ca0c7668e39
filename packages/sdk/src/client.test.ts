import { describe, expect, test } from 'vitest'
import { content, createFakeNetwork, hangs, isDown } from '../../../sim/fakes/network.ts'
import { failureOf, reasonOf, turns } from '../../../sim/fakes/outcome.ts'
import { createClient, downloadBytes, upload, type ClientOptions } from './index.ts'

const network = {
  rpcUrl: 'http://chain.test/',
  chainId: 31337,
  flow: `0x${'ab'.repeat(20)}`,
  registry: `0x${'cd'.repeat(20)}`,
}

describe('createClient', () => {
  test.each<[string, unknown]>([
    ['no network', {}],
    ['no URL', { network: { ...network, rpcUrl: 'ws://chain.test' } }],
    ['no chain id', { network: { ...network, chainId: 0 } }],
    ['a chain id in hex', { network: { ...network, chainId: '0x7a69' } }],
    ['no flow', { network: { ...network, flow: '0x12' } }],
    ['a registry that is no address', { network: { ...network, registry: 'here' } }],
    ['an empty list of nodes', { network, storageNodes: [] }],
    ['a node that is no URL', { network, storageNodes: ['node-1:5678'] }],
  ])('refuses %s at once', (_, options) => {
    expect(() => createClient(options as ClientOptions)).toThrow(/OPTION_INVALID/)
  })

  test('takes addresses in any case and keeps one form', () => {
    expect(createClient({ network: { ...network, flow: `0x${'AB'.repeat(20)}` } }).network.flow).toBe(network.flow)
  })

  test('without a registry or nodes says so when they are needed', async () => {
    const { chain, net, rpcUrl } = createFakeNetwork()
    const client = createClient({ network: { rpcUrl, chainId: chain.chainId, flow: chain.flow } }, { net })
    expect(await failureOf(downloadBytes(client, `0x${'ab'.repeat(32)}`))).toMatchObject({
      code: 'OPTION_INVALID',
      facts: { name: 'network.registry' },
    })
  })
})

describe('what is remembered between calls', () => {
  test('chain id, code, price and members are asked once for two uploads in a row', async () => {
    const world = createFakeNetwork()
    const client = world.client()
    await upload(client, content(100, 1))
    const before = new Map(world.chain.calls)
    await upload(client, content(100, 2))
    for (const method of ['eth_chainId', 'eth_getCode', 'eth_call'])
      expect(world.chain.calls.get(method)).toBe(before.get(method))
  })

  test('a new member is seen once the list is a few seconds old', async () => {
    const world = createFakeNetwork({ nodeCount: 4 })
    let nowMs = 1_000
    const { clock } = world.client().deps
    const client = world.client({}, { clock: { ...clock, nowMs: () => nowMs } })
    const all = world.nodes.map(({ member }) => member)
    world.chain.setMembers(all.slice(0, 2))
    expect((await upload(client, content(100, 1))).receipts).toHaveLength(2)
    world.chain.setMembers(all)
    expect((await upload(client, content(100, 2))).receipts).toHaveLength(2)
    nowMs += 3_001
    expect((await upload(client, content(100, 3))).receipts).toHaveLength(3)
  })

  test('a network made anew behind the same address is noticed, even at the same version', async () => {
    const world = createFakeNetwork({ nodeCount: 4 })
    let nowMs = 1_000
    const { clock } = world.client().deps
    const client = world.client({}, { clock: { ...clock, nowMs: () => nowMs } })
    await upload(client, content(100, 1))
    world.chain.makeAnew(world.nodes.slice(0, 2).map(({ member }) => member))
    nowMs += 3_001
    expect((await upload(client, content(100, 2))).receipts).toHaveLength(2)
  })

  test('a node that failed is asked last for a while, and then again', async () => {
    const world = createFakeNetwork({ nodeCount: 3 })
    let nowMs = 1_000
    const { clock } = world.client().deps
    const client = world.client({}, { clock: { ...clock, nowMs: () => nowMs } })
    const { root } = await upload(client, content(100, 1))
    const asked = (i: number): number =>
      world.log.filter((line) => line.includes(`node-${i}`) && line.includes(root)).length
    for (const node of world.nodes) node.fault = isDown
    await failureOf(downloadBytes(client, root))
    for (const node of world.nodes) node.fault = undefined
    expect(client.contacts.of(world.nodes[0]!.url).isAvoided()).toBe(true)
    expect(await downloadBytes(client, root)).toHaveLength(100)
    nowMs += 20_001
    expect(client.contacts.of(world.nodes[0]!.url).isAvoided()).toBe(false)
    expect(asked(0)).toBeGreaterThan(0)
  })
})

describe('a fixed list of nodes', () => {
  test('serves like a registry', async () => {
    const world = createFakeNetwork({ nodeCount: 5 })
    const { rpcUrl, chain } = world
    const client = world.client({
      network: { rpcUrl, chainId: chain.chainId, flow: chain.flow },
      storageNodes: world.nodes.map(({ url }) => url),
    })
    const bytes = content(300_000, 1)
    const { root, receipts } = await upload(client, bytes)
    expect(receipts).toHaveLength(3)
    expect(Buffer.from(await downloadBytes(client, root)).equals(Buffer.from(bytes))).toBe(true)
  })

  test('does not look smaller because a node is down', async () => {
    const world = createFakeNetwork({ nodeCount: 3 })
    world.nodes[1]!.fault = isDown
    const client = world.client({ storageNodes: world.nodes.map(({ url }) => url) })
    expect(await failureOf(upload(client, content(100, 1)))).toMatchObject({
      code: 'NODES_TOO_FEW',
      facts: { needed: 3, reachable: 2 },
    })
    expect((await upload(client, content(100, 1), { replicas: 2 })).receipts).toHaveLength(2)
  })

  test('an abort while they are asked leaves no request behind', async () => {
    const world = createFakeNetwork({ nodeCount: 3 })
    for (const node of world.nodes) node.fault = hangs
    const client = world.client({ storageNodes: world.nodes.map(({ url }) => url) })
    const controller = new AbortController()
    const caught = reasonOf(downloadBytes(client, `0x${'ab'.repeat(32)}`, { signal: controller.signal }))
    await turns(3)
    controller.abort('stop')
    expect(await caught).toBe('stop')
    await turns(2)
    expect(world.open.size).toBe(0)
  })
})

test('a library says nothing, whatever happens', async () => {
  const said: unknown[] = []
  const { log, warn, error, info } = console
  Object.assign(console, {
    log: (...all: unknown[]) => said.push(all),
    warn: (...all: unknown[]) => said.push(all),
    error: (...all: unknown[]) => said.push(all),
    info: (...all: unknown[]) => said.push(all),
  })
  try {
    const world = createFakeNetwork()
    world.nodes[0]!.fault = isDown
    const { root } = await upload(world.client(), content(100, 1))
    await downloadBytes(world.client(), root)
    await reasonOf(downloadBytes(world.client(), `0x${'00'.repeat(32)}`))
  } finally {
    Object.assign(console, { log, warn, error, info })
  }
  expect(said).toEqual([])
})
