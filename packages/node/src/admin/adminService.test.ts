/* oxlint-disable typescript/no-explicit-any -- answers of JSON-RPC, read field by field */
import { afterEach, describe, expect, test } from 'vitest'
import type { Entry } from '@weightless/core'
import { objectOf } from '../../../../sim/compliance/storageNode.ts'
import { silentLogger } from '../../../../sim/silentLogger.ts'
import { until } from '../../test/testClock.ts'
import { createTestWorld, endWorlds, putBinary, type TestWorld } from '../../test/testRoles.ts'
import { createAdminService } from './adminService.ts'
import { adminMethods } from './compat.ts'

type Node = Awaited<ReturnType<TestWorld['storage']>>

afterEach(endWorlds)

/** The private listener of a node, without its socket. */
function adminOf(world: TestWorld, node: Node) {
  let stops = 0
  const methods = adminMethods({
    entries: node.follower.entries,
    membership: node.follower.membership,
    peers: node.peers!,
    sync: node.sync!,
    nowMs: () => world.clock.nowMs(),
    version: '1.2.3',
    self: node.signer,
    publicUrl: () => node.url,
    renderMetrics: async () => '# TYPE weightless_store_segments gauge\nweightless_store_segments 4\n',
    shutDown: () => void (stops += 1),
  })
  const signal = new AbortController().signal
  const handle = createAdminService({ methods, clock: world.clock, logger: silentLogger, signal })
  const send = (
    body: string,
    headers: Record<string, string> = {},
    url = 'http://127.0.0.1:5679/',
  ): Promise<Response> =>
    handle(new Request(url, { method: 'POST', body, headers: { 'content-type': 'application/json', ...headers } }))
  const call = async (method: string, params?: readonly unknown[]): Promise<any> =>
    (await send(JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }))).json()
  return { methods, send, call, handle, stopCount: () => stops }
}

async function stored(world: TestWorld, nodes: readonly Node[], sizeBytes: number): Promise<Entry> {
  const object = objectOf(sizeBytes, sizeBytes)
  const [entry] = world.chain.submit(object.submission)
  for (const node of nodes) await putBinary(node, entry!, object.segments)
  for (const node of nodes) await node.caughtUp()
  return entry!
}

const DOCUMENTED = [
  'admin_findFile',
  'admin_shutdown',
  'admin_startSyncFile',
  'admin_startSyncChunks',
  'admin_terminateSync',
  'admin_getSyncServiceState',
  'admin_getSyncStatus',
  'admin_getSyncInfo',
  'admin_getNetworkInfo',
  'admin_getPeers',
  'admin_getFileLocation',
  'admin_getMetrics',
  'miner_start',
  'miner_stop',
  'miner_setStartPosition',
]

describe('the private methods of a storage node', () => {
  test('are those of the official node, and none of them is served in public', async () => {
    const world = createTestWorld()
    const [node] = await world.members(1)
    expect([...adminOf(world, node!).methods.keys()].sort()).toEqual([...DOCUMENTED].sort())
    for (const method of DOCUMENTED)
      expect((await node!.rpc(method, [0])).error).toMatchObject({ code: -32601, message: 'Method not found' })
  })

  test('answer in the shapes of the official node, field for field', async () => {
    const world = createTestWorld()
    const nodes = await world.members(3)
    await stored(world, nodes, 1000)
    const { call } = adminOf(world, nodes[0]!)
    await until(async () => (await call('admin_getSyncServiceState')).result.catchedUp === true)
    expect((await call('admin_getSyncServiceState')).result).toEqual({
      numSyncing: 0,
      catchedUp: true,
      autoSyncSerial: null,
      autoSyncRandom: null,
    })
    const { result: holders } = await call('admin_getFileLocation', [0, false])
    expect(new Set(holders.map(({ ip }: { ip: string }) => ip))).toEqual(new Set(['node-1.test', 'node-2.test']))
    for (const holder of holders)
      expect(holder).toEqual({ ip: expect.any(String), shardConfig: { shardId: 0, numShard: 1 } })
    expect((await call('admin_getNetworkInfo')).result).toEqual({
      peerId: nodes[0]!.signer,
      listenAddresses: ['/dns/node-0.test/tcp/80'],
      totalPeers: 2,
      bannedPeers: 0,
      disconnectedPeers: 0,
      connectedPeers: 2,
      connectedOutgoingPeers: 2,
      connectedIncomingPeers: 0,
    })
    const { result: peers } = await call('admin_getPeers')
    expect(Object.keys(peers).sort()).toEqual([nodes[1]!.signer, nodes[2]!.signer].sort())
    expect(peers[nodes[1]!.signer]).toEqual({
      client: { version: '1.2.3', os: 'unknown', protocol: 'http', agent: 'weightless/1.2.3' },
      connectionStatus: {
        status: 'connected',
        connectionsIn: 0,
        connectionsOut: 1,
        lastSeenSecs: expect.any(Number),
      },
      listeningAddresses: ['/dns/node-1.test/tcp/80'],
      seenIps: ['node-1.test'],
      isTrusted: false,
      connectionDirection: 'Outgoing',
      enr: null,
    })
    expect((await call('admin_getMetrics')).result).toEqual({ weightless_store_segments: 'gauge 4' })
    expect((await call('admin_getMetrics', ['other'])).result).toEqual({})
    expect((await call('admin_findFile', [0])).result).toBeNull()
    for (const [method, params] of [
      ['miner_start', []],
      ['miner_stop', []],
      ['miner_setStartPosition', [5]],
    ] as const)
      expect((await call(method, params)).result).toBe(false)
  })

  test('a file is fetched on demand, also where it does not belong, and its progress is told meanwhile', async () => {
    const world = createTestWorld()
    const nodes = await world.members(3)
    const entry = await stored(world, nodes, 600_000)
    // No member: nothing belongs here.
    const stranger = await world.storage('stranger')
    await stranger.caughtUp()
    const { call } = adminOf(world, stranger)
    expect((await call('admin_getSyncStatus', [entry.seq])).result).toBe('unknown')
    expect((await call('admin_getSyncInfo', [entry.seq])).result).toEqual({})
    expect((await call('admin_startSyncFile', [entry.seq])).result).toBeNull()
    const info = (await call('admin_getSyncInfo')).result[String(entry.seq)]
    expect(info).toEqual({
      elapsedSecs: expect.any(Number),
      peers: expect.any(Object),
      goal: { numChunks: 3072, indexStart: 0, indexEnd: 3072 },
      nextChunks: expect.any(Number),
      state: expect.stringMatching(/^(Idle|FindingPeers|AwaitingDownload)$/),
    })
    await until(() => stranger.store.presence(entry.root).heldCount === 3)
    await until(async () => (await call('admin_getSyncStatus', [entry.seq])).result === 'unknown')
  })

  test('a range of chunks is fetched and nothing else', async () => {
    const world = createTestWorld()
    const nodes = await world.members(3)
    const entry = await stored(world, nodes, 5 * 262_144)
    const stranger = await world.storage('stranger')
    await stranger.caughtUp()
    const { call } = adminOf(world, stranger)
    expect((await call('admin_startSyncChunks', [entry.seq, 1025, 3072])).result).toBeNull()
    await until(() => stranger.store.presence(entry.root).heldCount === 2)
    await until(async () => (await call('admin_getSyncStatus', [entry.seq])).result === 'unknown')
    expect([...stranger.store.presence(entry.root).indexes()]).toEqual([1, 2])
    for (const range of [
      [5, 5],
      [0, 5121],
    ])
      expect((await call('admin_startSyncChunks', [entry.seq, ...range])).error).toMatchObject({
        code: -32602,
        data: 'invalid chunk index',
      })
  })

  test('what nobody has is told to have failed, and is given up when that is asked for', async () => {
    const world = createTestWorld()
    const nodes = await world.members(2)
    const [entry] = world.chain.submit(objectOf(1000, 77).submission)
    const stranger = await world.storage('stranger')
    await stranger.caughtUp()
    for (const node of nodes) await node.caughtUp()
    const { call } = adminOf(world, stranger)
    expect((await call('admin_terminateSync', [entry!.seq])).result).toBe(false)
    await call('admin_startSyncFile', [entry!.seq])
    await until(async () => (await call('admin_getSyncStatus', [entry!.seq])).result.startsWith('Failed'))
    expect((await call('admin_getFileLocation', [entry!.seq, true])).result).toBeNull()
    expect((await call('admin_terminateSync', [entry!.seq])).result).toBe(true)
    expect((await call('admin_getSyncStatus', [entry!.seq])).result).toBe('unknown')
  })

  test('an entry that is unknown, and parameters that are missing, are named', async () => {
    const world = createTestWorld()
    const [node] = await world.members(1)
    const { call } = adminOf(world, node!)
    for (const method of ['admin_findFile', 'admin_startSyncFile', 'admin_startSyncChunks', 'admin_getFileLocation']) {
      expect((await call(method, [7])).error).toMatchObject({ code: -32602, message: 'Invalid params: tx_seq' })
      expect((await call(method)).error).toMatchObject({ code: -32602, data: 'missing' })
    }
    expect((await call('admin_nonsense')).error).toMatchObject({ code: -32601 })
  })

  test('shutdown is answered before it is carried out', async () => {
    const world = createTestWorld()
    const [node] = await world.members(1)
    const { call, stopCount } = adminOf(world, node!)
    expect(await call('admin_shutdown')).toMatchObject({ result: null })
    expect(stopCount()).toBe(1)
  })
})

describe('the private listener', () => {
  test('takes nothing from web pages, and echoes ids digit for digit', async () => {
    const world = createTestWorld()
    const [node] = await world.members(1)
    const { send, handle, stopCount } = adminOf(world, node!)
    const body = '{"jsonrpc":"2.0","id":12345678901234567,"method":"admin_shutdown"}'
    const refused = [
      await send(body, { origin: 'http://evil.example' }),
      await send(body, { 'content-type': 'text/plain' }),
      await send(body, {}, 'http://evil.example/'),
      await handle(new Request('http://127.0.0.1:5679/', { method: 'OPTIONS' })),
      await handle(new Request('http://127.0.0.1:5679/')),
    ]
    expect(refused.map(({ status }) => status)).toEqual([403, 415, 403, 405, 405])
    for (const { headers } of refused)
      expect([...headers.keys()].filter((name) => name.startsWith('access-'))).toEqual([])
    expect(stopCount()).toBe(0)
    expect(await (await send(body, {}, 'http://localhost/')).text()).toBe(
      '{"jsonrpc":"2.0","result":null,"id":12345678901234567}',
    )
    expect(stopCount()).toBe(1)
  })

  test('bounds what it reads', async () => {
    const world = createTestWorld()
    const [node] = await world.members(1)
    const { send } = adminOf(world, node!)
    expect(await (await send(' '.repeat(70_000))).json()).toMatchObject({ error: { code: expect.any(Number) } })
    expect(await (await send('{')).json()).toMatchObject({ error: { code: -32700 } })
  })
})
