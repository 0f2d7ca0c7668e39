import type { Address, ErasureCode, Member } from '@weightless/core'
import {
  domainOf,
  isFailure,
  MEMBERS_MAX,
  parseAddress,
  parseCode,
  preview,
  REPLICA_COUNT,
  SOCKET_PATH_BYTES_MAX,
} from '@weightless/core'
import { fail } from './errors.ts'
import { REORG_BLOCKS_MAX } from './flow/blockLog.ts'
import { LOG_PAGE_BLOCKS_MAX } from './flow/logPages.ts'
import { UPKEEP_DEFAULT, type Upkeep } from './sync/upkeep.ts'

/** Which segments a storage node keeps (DESIGN D7). */
export type StorageMembership =
  | { readonly source: 'registry' }
  | { readonly source: 'static'; readonly members: readonly Member[] }
  /** Every global segment g with g mod numShard = shardId, as the reference node. */
  | { readonly source: 'solo'; readonly shardId: number; readonly numShard: number }

export type Listen = { readonly host: string; readonly port: number }
/** Of this machine only: a loopback address, or a socket file that only this user may open. */
export type PrivateListen = Listen | { readonly socketPath: string }

export type ChainConfig = {
  readonly rpcUrl: string
  readonly wsUrl: string | undefined
  /** `undefined`: whatever the RPC says (the official configuration has no such key). */
  readonly chainId: number | undefined
  readonly flow: Address
  readonly registry: Address | undefined
  readonly startBlock: number
  /** Blocks that must follow one before it is read. */
  readonly confirmations: number
  /** Blocks of one eth_getLogs, at most. */
  readonly logPageBlocks: number
  /** How often the newest block is asked for while it is not pushed. */
  readonly pollMs: number
  readonly rpcTimeoutMs: number | undefined
}

export type StorageConfig = {
  readonly listen: Listen
  /** Where `admin_*` is served; `undefined`: nowhere. */
  readonly adminListen: PrivateListen | undefined
  readonly dataDir: string
  /** `undefined` only with `solo`: such a node signs no receipts. */
  readonly keyFile: string | undefined
  readonly membership: StorageMembership
  /** What others dial; `undefined`: the address that the server bound. */
  readonly endpoint: string | undefined
  /** Name of the failure domain; `undefined`: this node is one of its own. */
  readonly domain: string | undefined
  readonly capacityBytes: number
  readonly gatewayUrl: string | undefined
  /** `undefined`: what covers the whole capacity, so that capacity is the weight in placement. */
  readonly stakeWei: bigint | undefined
  /** `undefined`: as every node does unless told otherwise. */
  readonly upkeep?: Upkeep | undefined
}

export type GatewayConfig = {
  readonly listen: Listen
  readonly dataDir: string
  /** `none`: what the gateway has is all there is. */
  readonly policy: 'erasure' | 'replicate' | 'none'
  /** Of policy `erasure`: what it does, and whose key pays for parity. */
  readonly erasure?: GatewayErasureConfig | undefined
  readonly replicas: number
  readonly spoolBytesMax: number
  /** What official clients are told to dial; `undefined`: the address that the server bound. */
  readonly publicUrl: string | undefined
  /** Members when there is no registry. */
  readonly staticMembers: readonly Member[] | undefined
}

export type GatewayErasureConfig = {
  readonly code: ErasureCode
  readonly operatorKeyFile: string
  readonly dayBytesMax: number
  readonly addressDayBytesMax: number
  /** Operators of all gateways that give parity on this network; empty: this one is alone. */
  readonly gateways: readonly Address[]
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

export type RolesConfig = {
  readonly chain: ChainConfig
  readonly storage: StorageConfig | undefined
  readonly gateway: GatewayConfig | undefined
  readonly log: { readonly level: LogLevel }
  /** Official keys that have no meaning here: accepted, listed in one warning. */
  readonly ignoredKeys: readonly string[]
}

/** A node offers this much unless told otherwise: 64 GiB, a laptop's spare room. */
const CAPACITY_BYTES_DEFAULT = 64 * 1024 ** 3
/** Uploads of official clients on their way to their holders: four of their default fragments of 4 GiB. */
const SPOOL_BYTES_DEFAULT = 16 * 1024 ** 3
/** Any two of six nodes may be lost, at half the bytes of three copies. */
const CODE_DEFAULT: ErasureCode = { k: 4, m: 2 }
/** Half a terabyte of uploads a day at 4+2; an eighth of it for one sender. */
const PARITY_DAY_BYTES_DEFAULT = 256 * 1024 ** 3
const PARITY_ADDRESS_DAY_BYTES_DEFAULT = 32 * 1024 ** 3
const GATEWAYS_MAX = 64
/** Below what a follower can take back: nobody needs more certainty than that. */
const CONFIRMATIONS_MAX = REORG_BLOCKS_MAX
/** Of the reference node (spec/storage.md 5.3). */
const OFFICIAL_CONFIRMATIONS = 3
/** One question a second and role: what a public endpoint allows a guest. Between ten a second and one a minute. */
const POLL_MS_DEFAULT = 1_000
const POLL_MS_MIN = 100
const POLL_MS_MAX = 60_000
/** A segment in four seconds: less would never come to an end. */
const UPKEEP_BYTES_PER_SECOND_MIN: number = 64 * 1024
/** A day without a repair is the most that anybody can mean. */
const REPAIR_GRACE_SECONDS_MAX = 86_400
/** A year. */
const SCRUB_INTERVAL_HOURS_MAX = 8_784
const NUM_SHARD_MAX = 1 << 16
const TEXT_LENGTH_MAX = 4096

const SECTIONS = {
  chain: [
    'rpc_url',
    'ws_url',
    'chain_id',
    'flow',
    'registry',
    'start_block',
    'confirmations',
    'log_page_blocks',
    'poll_ms',
  ],
  storage: [
    'listen',
    'listen_admin',
    'data_dir',
    'key_file',
    'membership',
    'endpoint',
    'domain',
    'capacity_bytes',
    'static_members',
    'shard_position',
    'gateway_url',
    'stake_wei',
    'repair_bytes_per_second',
    'repair_grace_seconds',
    'scrub_bytes_per_second',
    'scrub_interval_hours',
  ],
  gateway: [
    'listen',
    'data_dir',
    'policy',
    'code',
    'operator_key_file',
    'parity_bytes_per_day',
    'parity_bytes_per_address_day',
    'gateways',
    'replicas',
    'spool_bytes_max',
    'public_url',
    'static_members',
  ],
  log: ['level'],
} as const
const MEMBER_KEYS = ['id', 'signer', 'endpoint', 'domain', 'weight'] as const

/**
 * Reads a parsed TOML document: our sections, or the flat keys of the official storage node, which give one `solo` storage
 * role. Throws `CONFIG_KEY_UNKNOWN` (naming the nearest known key), `CONFIG_KEY_MISSING`, `CONFIG_VALUE_INVALID`.
 */
export function parseRolesConfig(value: unknown): RolesConfig {
  const document = table(value, 'the configuration')
  return isOfficial(document) ? parseOfficial(document) : parseOurs(document)
}

/** Keys that only the official storage node's configuration has at its top. */
function isOfficial(document: Table): boolean {
  return ['blockchain_rpc_endpoint', 'log_contract_address', 'log_sync_start_block_number'].some(
    (key) => key in document,
  )
}

function parseOurs(document: Table): RolesConfig {
  refuseUnknown(document, '', Object.keys(SECTIONS))
  const section = (name: keyof typeof SECTIONS): Fields | undefined => {
    if (document[name] === undefined) return undefined
    const fields = table(document[name], `[${name}]`)
    refuseUnknown(fields, `${name}.`, SECTIONS[name])
    return fieldsOf(fields, `${name}.`)
  }
  const chain = section('chain')
  if (chain === undefined) throw fail('CONFIG_KEY_MISSING', { key: 'chain' })
  const storage = section('storage')
  const gateway = section('gateway')
  if (storage === undefined && gateway === undefined) throw fail('CONFIG_ROLE_MISSING')
  const registry = chain.optional('registry', address)
  return {
    chain: {
      rpcUrl: chain.required('rpc_url', url),
      wsUrl: chain.optional('ws_url', url),
      chainId: chain.required('chain_id', wholeNumber(1, Number.MAX_SAFE_INTEGER)),
      flow: chain.required('flow', address),
      registry,
      startBlock: chain.optional('start_block', wholeNumber(0, Number.MAX_SAFE_INTEGER)) ?? 0,
      confirmations: chain.optional('confirmations', wholeNumber(0, CONFIRMATIONS_MAX)) ?? 0,
      logPageBlocks: chain.optional('log_page_blocks', wholeNumber(1, LOG_PAGE_BLOCKS_MAX)) ?? LOG_PAGE_BLOCKS_MAX,
      pollMs: chain.optional('poll_ms', wholeNumber(POLL_MS_MIN, POLL_MS_MAX)) ?? POLL_MS_DEFAULT,
      rpcTimeoutMs: undefined,
    },
    storage: storage && parseStorage(storage, registry),
    gateway: gateway && parseGateway(gateway, registry),
    log: { level: section('log')?.optional('level', oneOf('debug', 'info', 'warn', 'error')) ?? 'info' },
    ignoredKeys: [],
  }
}

function parseStorage(fields: Fields, registry: Address | undefined): StorageConfig {
  const source = fields.optional('membership', oneOf('registry', 'static', 'solo')) ?? 'registry'
  if (source === 'registry' && registry === undefined)
    throw fail('CONFIG_KEY_MISSING', { key: 'chain.registry', because: 'storage.membership is registry' })
  const membership: StorageMembership =
    source === 'static'
      ? { source, members: fields.required('static_members', members) }
      : source === 'solo'
        ? { source, ...(fields.optional('shard_position', shardPosition) ?? { shardId: 0, numShard: 1 }) }
        : { source }
  const keyFile = fields.optional('key_file', text)
  if (source !== 'solo' && keyFile === undefined) throw fail('CONFIG_KEY_MISSING', { key: 'storage.key_file' })
  return {
    listen: fields.required('listen', listen),
    adminListen: fields.optional('listen_admin', privateListen),
    dataDir: fields.required('data_dir', text),
    keyFile,
    membership,
    endpoint: fields.optional('endpoint', url),
    domain: fields.optional('domain', text),
    capacityBytes: fields.optional('capacity_bytes', wholeNumber(1, Number.MAX_SAFE_INTEGER)) ?? CAPACITY_BYTES_DEFAULT,
    gatewayUrl: fields.optional('gateway_url', url),
    stakeWei: fields.optional('stake_wei', wei),
    upkeep: parseUpkeep(fields),
  }
}

function parseUpkeep(fields: Fields): Upkeep {
  const rate = (key: string): number | undefined =>
    fields.optional(key, wholeNumber(UPKEEP_BYTES_PER_SECOND_MIN, Number.MAX_SAFE_INTEGER))
  const graceSeconds = fields.optional('repair_grace_seconds', wholeNumber(0, REPAIR_GRACE_SECONDS_MAX))
  const intervalHours = fields.optional('scrub_interval_hours', wholeNumber(1, SCRUB_INTERVAL_HOURS_MAX))
  return {
    repairBytesPerSecond: rate('repair_bytes_per_second') ?? UPKEEP_DEFAULT.repairBytesPerSecond,
    repairGraceMs: graceSeconds === undefined ? UPKEEP_DEFAULT.repairGraceMs : 1000 * graceSeconds,
    scrubBytesPerSecond: rate('scrub_bytes_per_second') ?? UPKEEP_DEFAULT.scrubBytesPerSecond,
    scrubIntervalMs: intervalHours === undefined ? UPKEEP_DEFAULT.scrubIntervalMs : 3_600_000 * intervalHours,
  }
}

function parseGateway(fields: Fields, registry: Address | undefined): GatewayConfig {
  const staticMembers = fields.optional('static_members', members)
  if (registry === undefined && staticMembers === undefined)
    throw fail('CONFIG_KEY_MISSING', { key: 'chain.registry', because: 'the gateway needs its storage nodes' })
  const policy = fields.optional('policy', oneOf('erasure', 'replicate', 'none')) ?? 'replicate'
  const erasure = policy === 'erasure' ? parseGatewayErasure(fields) : undefined
  return {
    listen: fields.required('listen', listen),
    dataDir: fields.required('data_dir', text),
    policy,
    erasure,
    // A segment alone has no parity, and neither has what cannot get it in time: as many may be lost.
    replicas:
      fields.optional('replicas', wholeNumber(1, MEMBERS_MAX)) ??
      (erasure === undefined ? REPLICA_COUNT : 1 + erasure.code.m),
    spoolBytesMax: fields.optional('spool_bytes_max', wholeNumber(1, Number.MAX_SAFE_INTEGER)) ?? SPOOL_BYTES_DEFAULT,
    publicUrl: fields.optional('public_url', url),
    staticMembers,
  }
}

function parseGatewayErasure(fields: Fields): GatewayErasureConfig {
  const bytes = wholeNumber(0, Number.MAX_SAFE_INTEGER)
  return {
    code: fields.optional('code', code) ?? CODE_DEFAULT,
    operatorKeyFile: fields.required('operator_key_file', text),
    dayBytesMax: fields.optional('parity_bytes_per_day', bytes) ?? PARITY_DAY_BYTES_DEFAULT,
    addressDayBytesMax: fields.optional('parity_bytes_per_address_day', bytes) ?? PARITY_ADDRESS_DAY_BYTES_DEFAULT,
    gateways: fields.optional('gateways', addresses) ?? [],
  }
}

const addresses: Parse<readonly Address[]> = (value, key) => {
  if (Array.isArray(value) && value.length <= GATEWAYS_MAX) return value.map((one) => address(one, key))
  throw invalid(key, value, `a list of at most ${GATEWAYS_MAX} addresses`)
}

const code: Parse<ErasureCode> = (value, key) => {
  try {
    return parseCode(String(value))
  } catch (error) {
    if (!isFailure(error)) throw error
    throw invalid(key, value, 'a code k+m such as "4+2", with k + m up to 256')
  }
}

/** Flat keys of the official node that mean something here; all its other keys are accepted and listed as ignored. */
const OFFICIAL_USED = [
  'blockchain_rpc_endpoint',
  'log_contract_address',
  'log_sync_start_block_number',
  'rpc_listen_address',
  'rpc_listen_address_admin',
  'db_dir',
  'db_max_num_sectors',
  'db_max_num_chunks',
  'shard_position',
  'confirmation_block_count',
  'log_page_size',
  'watch_loop_wait_time_ms',
  'blockchain_rpc_timeout_secs',
] as const
const OFFICIAL_IGNORED = [
  'network_dir',
  'network_listen_address',
  'network_enr_address',
  'network_enr_tcp_port',
  'network_enr_udp_port',
  'network_libp2p_port',
  'network_discovery_port',
  'network_target_peers',
  'network_boot_nodes',
  'network_libp2p_nodes',
  'network_private',
  'network_disable_discovery',
  'network_find_chunks_enabled',
  'discv5_request_timeout_secs',
  'discv5_query_peer_timeout_secs',
  'discv5_request_retries',
  'discv5_query_parallelism',
  'discv5_report_discovered_peers',
  'discv5_disable_packet_filter',
  'discv5_disable_ip_limit',
  'discv5_disable_enr_network_id',
  'force_log_sync_from_start_block_number',
  'max_cache_data_size',
  'cache_tx_seq_ttl',
  'rate_limit_retries',
  'timeout_retries',
  'initial_backoff',
  'recover_query_delay',
  'default_finalized_block_count',
  'remove_finalized_block_interval_minutes',
  'rpc_enabled',
  'max_request_body_size',
  'rpc_chunks_per_segment',
  'rpc_max_cache_file_size',
  'chunk_pool_write_window_size',
  'chunk_pool_max_cached_chunks_all',
  'chunk_pool_max_writings',
  'chunk_pool_expiration_time_secs',
  'prune_check_time_s',
  'prune_batch_size',
  'prune_batch_wait_time_ms',
  'merkle_node_cache_capacity',
  'log_config_file',
  'log_directory',
  'mine_contract_address',
  'miner_id',
  'miner_key',
  'miner_submission_gas',
  'miner_submission_max_gas_price',
  'miner_cpu_percentage',
  'mine_iter_batch_size',
  'reward_contract_address',
  'mine_context_query_seconds',
  'network_peer_db',
  'network_peer_manager',
  'router',
  'sync',
  'file_location_cache',
  'metrics',
] as const
const OFFICIAL_RPC_IGNORED = [
  'enabled',
  'listen_address_grpc',
  'chunks_per_segment',
  'max_request_body_size',
  'max_cache_file_size',
  'mine_contract_address',
] as const
/** The official node's default (spec/storage.md 3.1), bound to this machine only unless told otherwise (DESIGN D14). */
const OFFICIAL_LISTEN_DEFAULT: Listen = { host: '127.0.0.1', port: 5678 }
const OFFICIAL_CHUNK_BYTES = 256

function parseOfficial(document: Table): RolesConfig {
  refuseUnknown(document, '', [...OFFICIAL_USED, ...OFFICIAL_IGNORED, 'rpc'])
  const rpc = document['rpc'] === undefined ? {} : table(document['rpc'], '[rpc]')
  refuseUnknown(rpc, 'rpc.', ['listen_address', 'listen_address_admin', ...OFFICIAL_RPC_IGNORED])
  const fields = fieldsOf(document, '')
  const rpcFields = fieldsOf(rpc, 'rpc.')
  const sectorsMax =
    fields.optional('db_max_num_sectors', wholeNumber(1, Number.MAX_SAFE_INTEGER)) ??
    fields.optional('db_max_num_chunks', wholeNumber(1, Number.MAX_SAFE_INTEGER))
  return {
    chain: {
      rpcUrl: fields.required('blockchain_rpc_endpoint', url),
      wsUrl: undefined,
      chainId: undefined,
      flow: fields.required('log_contract_address', address),
      registry: undefined,
      startBlock: fields.optional('log_sync_start_block_number', wholeNumber(0, Number.MAX_SAFE_INTEGER)) ?? 0,
      confirmations:
        fields.optional('confirmation_block_count', wholeNumber(0, CONFIRMATIONS_MAX)) ?? OFFICIAL_CONFIRMATIONS,
      // The official page of n asks for n + 1 blocks at most; ours counts the blocks.
      logPageBlocks: Math.min(
        fields.optional('log_page_size', wholeNumber(1, Number.MAX_SAFE_INTEGER)) ?? LOG_PAGE_BLOCKS_MAX,
        LOG_PAGE_BLOCKS_MAX,
      ),
      pollMs: clamp(
        fields.optional('watch_loop_wait_time_ms', wholeNumber(1, Number.MAX_SAFE_INTEGER)) ?? POLL_MS_DEFAULT,
      ),
      rpcTimeoutMs: seconds(fields.optional('blockchain_rpc_timeout_secs', wholeNumber(1, 3600))),
    },
    storage: {
      listen:
        rpcFields.optional('listen_address', listen) ??
        fields.optional('rpc_listen_address', listen) ??
        OFFICIAL_LISTEN_DEFAULT,
      // Unlike the official node, which takes 127.0.0.1:5679 unasked: no port is opened that nobody named.
      adminListen:
        rpcFields.optional('listen_address_admin', privateListen) ??
        fields.optional('rpc_listen_address_admin', privateListen),
      dataDir: fields.optional('db_dir', text) ?? 'db',
      keyFile: undefined,
      membership: {
        source: 'solo',
        ...(fields.optional('shard_position', shardPosition) ?? { shardId: 0, numShard: 1 }),
      },
      endpoint: undefined,
      domain: undefined,
      capacityBytes:
        sectorsMax === undefined
          ? CAPACITY_BYTES_DEFAULT
          : Math.min(sectorsMax * OFFICIAL_CHUNK_BYTES, Number.MAX_SAFE_INTEGER),
      gatewayUrl: undefined,
      stakeWei: undefined,
    },
    gateway: undefined,
    log: { level: 'info' },
    ignoredKeys: [
      ...OFFICIAL_IGNORED.filter((key) => key in document),
      ...OFFICIAL_RPC_IGNORED.filter((key) => key in rpc).map((key) => `rpc.${key}`),
    ],
  }
}

function clamp(pollMs: number): number {
  return Math.min(Math.max(pollMs, POLL_MS_MIN), POLL_MS_MAX)
}

function seconds(value: number | undefined): number | undefined {
  return value === undefined ? undefined : 1000 * value
}

type Table = { readonly [key: string]: unknown }
type Parse<T> = (value: unknown, key: string) => T
type Fields = {
  required<T>(key: string, parse: Parse<T>): T
  optional<T>(key: string, parse: Parse<T>): T | undefined
}

function fieldsOf(source: Table, prefix: string): Fields {
  return {
    required(key, parse) {
      if (source[key] === undefined) throw fail('CONFIG_KEY_MISSING', { key: prefix + key })
      return parse(source[key], prefix + key)
    },
    optional: (key, parse) => (source[key] === undefined ? undefined : parse(source[key], prefix + key)),
  }
}

function refuseUnknown(source: Table, prefix: string, known: readonly string[]): void {
  for (const key of Object.keys(source)) {
    if (!known.includes(key))
      throw fail('CONFIG_KEY_UNKNOWN', { key: prefix + preview(key), nearest: prefix + nearest(key, known) })
  }
}

function nearest(key: string, known: readonly string[]): string {
  let best = known[0] ?? ''
  let bestDistance = Infinity
  for (const candidate of known) {
    const distance = editDistance(key.slice(0, 64), candidate)
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance]
  }
  return best
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      row[j] = Math.min(row[j - 1]! + 1, previous[j]! + 1, previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1))
    }
    previous = row
  }
  return previous[b.length]!
}

function invalid(key: string, value: unknown, expected: string): Error {
  return fail('CONFIG_VALUE_INVALID', {
    key,
    value: preview(typeof value === 'bigint' ? value.toString() : value),
    expected,
  })
}

function table(value: unknown, key: string): Table {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Table
  throw invalid(key, value, 'a table')
}

const text: Parse<string> = (value, key) => {
  if (typeof value === 'string' && value.length > 0 && value.length <= TEXT_LENGTH_MAX) return value
  throw invalid(key, value, 'a text that is not empty')
}

const url: Parse<string> = (value, key) => {
  if (
    typeof value === 'string' &&
    value.length <= TEXT_LENGTH_MAX &&
    /^(https?|wss?):\/\/[^\s/]+/.test(value) &&
    URL.canParse(value)
  ) {
    return value.replace(/\/+$/, '')
  }
  throw invalid(key, value, 'a URL such as http://127.0.0.1:8600')
}

const address: Parse<Address> = (value, key) => {
  try {
    return parseAddress(value)
  } catch {
    throw invalid(key, value, '0x and 40 hex digits')
  }
}

/** TOML integers arrive as number, or as bigint above 2^53. */
function wholeNumber(least: number, most: number): Parse<number> {
  return (value, key) => {
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most) return value
    throw invalid(key, value, `a whole number from ${least} to ${most}`)
  }
}

/** An amount above 2^53 is written as text. */
const wei: Parse<bigint> = (value, key) => {
  if (typeof value === 'bigint' && value >= 0n) return value
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return BigInt(value)
  if (typeof value === 'string' && /^[0-9]{1,78}$/.test(value)) return BigInt(value)
  throw invalid(key, value, 'an amount in wei, as text of decimal digits')
}

function oneOf<const T extends string>(...choices: readonly T[]): Parse<T> {
  return (value, key) => {
    const found = choices.find((choice) => choice === value)
    if (found === undefined) throw invalid(key, value, `one of ${choices.join(', ')}`)
    return found
  }
}

const listen: Parse<Listen> = (value, key) => {
  const match = typeof value === 'string' ? /^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})$/.exec(value) : null
  const port = Number(match?.[2])
  if (match === null || port > 65535) throw invalid(key, value, 'host:port such as 127.0.0.1:8610')
  return { host: match[1]!.replace(/^\[|\]$/g, ''), port }
}

/** `admin_*` is never served in public (DESIGN D14): an address of this machine alone, or "unix:/path". */
const privateListen: Parse<PrivateListen> = (value, key) => {
  const path = typeof value === 'string' ? /^unix:(.+)$/s.exec(value)?.[1] : undefined
  if (path !== undefined && new TextEncoder().encode(path).length <= SOCKET_PATH_BYTES_MAX) return { socketPath: path }
  const expected = `a loopback address such as 127.0.0.1:5679, or unix: and a path of at most ${SOCKET_PATH_BYTES_MAX} bytes`
  if (path !== undefined) throw invalid(key, value, expected)
  const address = listen(value, key)
  if (/^(127(\.\d{1,3}){3}|::1|localhost)$/.test(address.host)) return address
  throw invalid(key, value, expected)
}

const shardPosition: Parse<{ shardId: number; numShard: number }> = (value, key) => {
  const match = typeof value === 'string' ? /^([0-9]{1,6})\/([0-9]{1,6})$/.exec(value) : null
  const [shardId, numShard] = [Number(match?.[1]), Number(match?.[2])]
  if (
    match === null ||
    numShard < 1 ||
    numShard > NUM_SHARD_MAX ||
    (numShard & (numShard - 1)) !== 0 ||
    shardId >= numShard
  ) {
    throw invalid(key, value, 'id/number such as 0/2, the number a power of two')
  }
  return { shardId, numShard }
}

const members: Parse<readonly Member[]> = (value, key) => {
  if (!Array.isArray(value) || value.length === 0 || value.length > MEMBERS_MAX)
    throw invalid(key, value, `an array of 1 to ${MEMBERS_MAX} tables`)
  const parsed = value.map((one: unknown, i): Member => {
    const prefix = `${key}[${i}].`
    const source = table(one, `${key}[${i}]`)
    refuseUnknown(source, prefix, MEMBER_KEYS)
    const fields = fieldsOf(source, prefix)
    return {
      id: fields.optional('id', wholeNumber(0, 0xffff_ffff)) ?? i,
      signer: fields.required('signer', address),
      endpoint: fields.required('endpoint', url),
      domain: domainOf(fields.optional('domain', text) ?? fields.required('endpoint', url)),
      weight: fields.optional('weight', wei) ?? 1n,
    }
  })
  for (const name of ['id', 'signer'] as const) {
    if (new Set(parsed.map((member) => member[name])).size !== parsed.length)
      throw invalid(key, value.length, `members with different ${name}`)
  }
  return parsed
}
