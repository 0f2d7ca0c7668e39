import { describe, expect, test } from 'vitest'
import { parseToml } from '@weightless/host'
import { domainOf, isFailure } from '@weightless/core'
import { parseRolesConfig } from './config.ts'

const CHAIN = `
[chain]
rpc_url = "http://127.0.0.1:8600/"
ws_url = "ws://127.0.0.1:8600"
chain_id = 31337
flow = "0x62D4144dB0F0a6fBBaeb6296c785C71B3D57C526"
registry = "0x00A9E9604b0538e06b268Fb297Df333337f9593b"
start_block = 7
`
const STORAGE = `
[storage]
listen = "127.0.0.1:8610"
data_dir = "/data/node-0"
key_file = "/keys/node-0.key"
`
const parse = (toml: string): ReturnType<typeof parseRolesConfig> => parseRolesConfig(parseToml(toml))
const failure = (toml: string): { code: string; facts: object } => {
  try {
    parse(toml)
  } catch (error) {
    if (isFailure(error)) return { code: error.code, facts: error.facts }
    throw error
  }
  throw new Error('it was accepted')
}

describe('the configuration of roles', () => {
  test('a storage node of a registry, with its defaults', () => {
    const config = parse(
      `${CHAIN}${STORAGE}gateway_url = "http://127.0.0.1:8601"\nstake_wei = "1000000000000000000000"\n`,
    )
    expect(config).toEqual({
      chain: {
        rpcUrl: 'http://127.0.0.1:8600',
        wsUrl: 'ws://127.0.0.1:8600',
        chainId: 31337,
        flow: '0x62d4144db0f0a6fbbaeb6296c785c71b3d57c526',
        registry: '0x00a9e9604b0538e06b268fb297df333337f9593b',
        startBlock: 7,
        confirmations: 0,
        logPageBlocks: 1000,
        pollMs: 1000,
        rpcTimeoutMs: undefined,
      },
      storage: {
        listen: { host: '127.0.0.1', port: 8610 },
        adminListen: undefined,
        dataDir: '/data/node-0',
        keyFile: '/keys/node-0.key',
        membership: { source: 'registry' },
        endpoint: undefined,
        domain: undefined,
        capacityBytes: 64 * 1024 ** 3,
        gatewayUrl: 'http://127.0.0.1:8601',
        stakeWei: 10n ** 21n,
        upkeep: {
          repairBytesPerSecond: 64 * 1024 ** 2,
          repairGraceMs: 10_000,
          scrubBytesPerSecond: 8 * 1024 ** 2,
          scrubIntervalMs: 7 * 24 * 3_600_000,
        },
      },
      gateway: undefined,
      log: { level: 'info' },
      ignoredKeys: [],
    })
  })

  test('upkeep in bytes per second, seconds and hours, within what makes sense', () => {
    const keys =
      'repair_bytes_per_second = 1000000\nrepair_grace_seconds = 0\nscrub_bytes_per_second = 65536\nscrub_interval_hours = 1\n'
    expect(parse(`${CHAIN}${STORAGE}${keys}`).storage!.upkeep).toEqual({
      repairBytesPerSecond: 1_000_000,
      repairGraceMs: 0,
      scrubBytesPerSecond: 65_536,
      scrubIntervalMs: 3_600_000,
    })
    for (const line of ['scrub_bytes_per_second = 65535', 'scrub_interval_hours = 0', 'repair_grace_seconds = 86401'])
      expect(failure(`${CHAIN}${STORAGE}${line}\n`).code).toBe('CONFIG_VALUE_INVALID')
  })

  test('both roles in one process', () => {
    const config = parse(
      `${CHAIN}${STORAGE}[gateway]\nlisten = "[::1]:8601"\ndata_dir = "/data/gateway"\n[log]\nlevel = "debug"\n`,
    )
    expect(config.gateway).toEqual({
      listen: { host: '::1', port: 8601 },
      dataDir: '/data/gateway',
      policy: 'replicate',
      replicas: 3,
      spoolBytesMax: 16 * 1024 ** 3,
      publicUrl: undefined,
      staticMembers: undefined,
    })
    expect(config.log.level).toBe('debug')
  })

  test('a gateway that gives parity: whose key pays, how much, and as many copies where there is none', () => {
    const gateway = (more: string) =>
      parse(`${CHAIN}[gateway]\nlisten = "a:1"\ndata_dir = "d"\npolicy = "erasure"\noperator_key_file = "k"\n${more}`)
        .gateway!
    expect(gateway('')).toMatchObject({
      policy: 'erasure',
      replicas: 3,
      erasure: {
        code: { k: 4, m: 2 },
        operatorKeyFile: 'k',
        dayBytesMax: 256 * 1024 ** 3,
        addressDayBytesMax: 32 * 1024 ** 3,
        gateways: [],
      },
    })
    expect(
      gateway(
        'code = "10+4"\nparity_bytes_per_day = 7\nparity_bytes_per_address_day = 0\ngateways = ["0x0000000000000000000000000000000000000001"]',
      ),
    ).toMatchObject({
      replicas: 5,
      erasure: { code: { k: 10, m: 4 }, dayBytesMax: 7, addressDayBytesMax: 0, gateways: [`0x${'00'.repeat(19)}01`] },
    })
  })

  test('a static list of members', () => {
    const { storage } = parse(`${CHAIN}${STORAGE}membership = "static"
static_members = [
  { signer = "0x0000000000000000000000000000000000000001", endpoint = "http://a.example/", domain = "rack" },
  { signer = "0x0000000000000000000000000000000000000002", endpoint = "http://b.example", weight = 5, id = 9 },
]`)
    expect(storage!.membership).toEqual({
      source: 'static',
      members: [
        { id: 0, signer: `0x${'0'.repeat(39)}1`, endpoint: 'http://a.example', domain: domainOf('rack'), weight: 1n },
        {
          id: 9,
          signer: `0x${'0'.repeat(39)}2`,
          endpoint: 'http://b.example',
          domain: domainOf('http://b.example'),
          weight: 5n,
        },
      ],
    })
  })

  test('the flat keys of the official storage node give a solo role, and what has no meaning here is listed', () => {
    const config = parse(`
blockchain_rpc_endpoint = "https://rpc.example"
log_contract_address = "0x8873cc79c5b3b5666535C825205C9a128B1D75F1"
log_sync_start_block_number = 802
confirmation_block_count = 6
log_page_size = 500
watch_loop_wait_time_ms = 250
blockchain_rpc_timeout_secs = 120
rpc_listen_address = "0.0.0.0:5678"
db_dir = "db"
shard_position = "1/4"
db_max_num_sectors = 4000000
miner_key = "ab"
network_boot_nodes = []
[sync]
auto_sync_enabled = true
`)
    expect(config.chain).toEqual({
      rpcUrl: 'https://rpc.example',
      wsUrl: undefined,
      chainId: undefined,
      flow: '0x8873cc79c5b3b5666535c825205c9a128b1d75f1',
      registry: undefined,
      startBlock: 802,
      confirmations: 6,
      logPageBlocks: 500,
      pollMs: 250,
      rpcTimeoutMs: 120_000,
    })
    expect(config.storage).toMatchObject({
      listen: { host: '0.0.0.0', port: 5678 },
      dataDir: 'db',
      keyFile: undefined,
      membership: { source: 'solo', shardId: 1, numShard: 4 },
      capacityBytes: 4_000_000 * 256,
    })
    expect(config.ignoredKeys).toEqual(['network_boot_nodes', 'miner_key', 'sync'])
  })

  test('the official [rpc] section names the address too, and the default is this machine only', () => {
    const official =
      'blockchain_rpc_endpoint = "http://x"\nlog_contract_address = "0x8873cc79c5b3b5666535C825205C9a128B1D75F1"\n'
    expect(
      parse(`${official}[rpc]\nlisten_address = "1.2.3.4:99"\nchunks_per_segment = 1024\n`).storage!.listen,
    ).toEqual({ host: '1.2.3.4', port: 99 })
    expect(parse(official).storage!.listen).toEqual({ host: '127.0.0.1', port: 5678 })
    expect(parse(official).storage!.adminListen).toBeUndefined()
    for (const line of [
      'rpc_listen_address_admin = "127.0.0.1:5679"\n',
      '[rpc]\nlisten_address_admin = "127.0.0.1:5679"\n',
    ])
      expect(parse(official + line)).toMatchObject({
        storage: { adminListen: { host: '127.0.0.1', port: 5679 } },
        ignoredKeys: [],
      })
    expect(parse(`${CHAIN}${STORAGE}listen_admin = "unix:/run/admin.sock"\n`).storage!.adminListen).toEqual({
      socketPath: '/run/admin.sock',
    })
    expect(parse(official).storage!.membership).toEqual({ source: 'solo', shardId: 0, numShard: 1 })
    // As the reference node: three blocks behind the newest one.
    expect(parse(official).chain).toMatchObject({ confirmations: 3, logPageBlocks: 1000, pollMs: 1000 })
  })

  test.each([
    ['a section', `${CHAIN}[storag]\nx = 1`, { key: '"storag"', nearest: 'storage' }],
    ['a key of ours', `${CHAIN}${STORAGE}data_dri = "x"`, { nearest: 'storage.data_dir' }],
    ['a key of the chain', `${CHAIN}rpc_ur = "x"\n${STORAGE}`, { nearest: 'chain.rpc_url' }],
    [
      'an official key',
      'blockchain_rpc_endpoint = "http://x"\nlog_contract_adress = "0x"',
      { nearest: 'log_contract_address' },
    ],
  ])('%s that is unknown is an error that names the nearest known one', (_, toml, facts) => {
    const { code, facts: found } = failure(toml)
    expect(code).toBe('CONFIG_KEY_UNKNOWN')
    expect(found).toMatchObject({ nearest: facts.nearest })
  })

  test.each([
    ['no chain', STORAGE, 'CONFIG_KEY_MISSING'],
    ['no role', CHAIN, 'CONFIG_ROLE_MISSING'],
    ['no key file', `${CHAIN}${STORAGE.replace(/key_file.*\n/, '')}`, 'CONFIG_KEY_MISSING'],
    ['no registry', `${CHAIN.replace(/registry.*\n/, '')}${STORAGE}`, 'CONFIG_KEY_MISSING'],
    [
      'no members for a gateway',
      `${CHAIN.replace(/registry.*\n/, '')}[gateway]\nlisten = "a:1"\ndata_dir = "d"`,
      'CONFIG_KEY_MISSING',
    ],
    ['an address that is none', CHAIN.replace('0x62D4', '0x62') + STORAGE, 'CONFIG_VALUE_INVALID'],
    [
      'an admin listener that others can reach',
      `${CHAIN}${STORAGE}listen_admin = "0.0.0.0:5679"`,
      'CONFIG_VALUE_INVALID',
    ],
    [
      'a socket path that no kernel takes',
      `${CHAIN}${STORAGE}listen_admin = "unix:/${'a'.repeat(103)}"`,
      'CONFIG_VALUE_INVALID',
    ],
    ['a listen address without a port', CHAIN + STORAGE.replace(':8610', ''), 'CONFIG_VALUE_INVALID'],
    ['a port that is none', CHAIN + STORAGE.replace('8610', '86100'), 'CONFIG_VALUE_INVALID'],
    ['a URL that is none', CHAIN.replace('http://127.0.0.1:8600/', 'localhost') + STORAGE, 'CONFIG_VALUE_INVALID'],
    ['a membership that does not exist', `${CHAIN}${STORAGE}membership = "all"`, 'CONFIG_VALUE_INVALID'],
    [
      'a policy that does not exist',
      `${CHAIN}[gateway]\nlisten = "a:1"\ndata_dir = "d"\npolicy = "raid"`,
      'CONFIG_VALUE_INVALID',
    ],
    [
      'a code that is none',
      `${CHAIN}[gateway]\nlisten = "a:1"\ndata_dir = "d"\npolicy = "erasure"\noperator_key_file = "k"\ncode = "4-2"`,
      'CONFIG_VALUE_INVALID',
    ],
    [
      'parity that nobody pays for',
      `${CHAIN}[gateway]\nlisten = "a:1"\ndata_dir = "d"\npolicy = "erasure"`,
      'CONFIG_KEY_MISSING',
    ],
    [
      'a shard number that is no power of two',
      'blockchain_rpc_endpoint = "http://x"\nlog_contract_address = "0x8873cc79c5b3b5666535C825205C9a128B1D75F1"\nshard_position = "0/3"',
      'CONFIG_VALUE_INVALID',
    ],
    [
      'two members with one signer',
      `${CHAIN}${STORAGE}membership = "static"\nstatic_members = [{ signer = "0x0000000000000000000000000000000000000001", endpoint = "http://a" }, { signer = "0x0000000000000000000000000000000000000001", endpoint = "http://b" }]`,
      'CONFIG_VALUE_INVALID',
    ],
  ])('%s is refused', (_, toml, code) => {
    expect(failure(toml).code).toBe(code)
  })
})
