import type { Abortable, Clock, Disk, Index, Kernels, Logger, Net, Random } from '@weightless/core'
import { domainOf, isFailure, receiptSigner, SEGMENT_SIZE_BYTES } from '@weightless/core'
import {
  crc32,
  createKernelPool,
  createMetrics,
  headFeed,
  lockDirectory,
  nodeBytes,
  nodeDisk,
  openLmdbIndex,
  readPrivateKey,
  serveHttp,
  systemClock,
  systemNet,
  systemRandom,
  type HttpHandler,
  type HttpServer,
  type ServeHttpOptions,
} from '@weightless/host'
import { createClient, createRpc, createTransactor, privateKeySigner, type Client, type Rpc } from '@weightless/sdk'
import { createAdminService } from './admin/adminService.ts'
import { adminMethods } from './admin/compat.ts'
import type { ChainConfig, GatewayConfig, PrivateListen, RolesConfig, StorageConfig } from './config.ts'
import { fail } from './errors.ts'
import { readChainMark } from './flow/blockLog.ts'
import { createChainReader } from './flow/chainReader.ts'
import { createFollower, type Follower } from './flow/follow.ts'
import { fixedMembership, type MembershipView } from './flow/membership.ts'
import { followedMembers } from './gateway/followedMembers.ts'
import { createGatewayRole, type GatewayPolicy } from './gateway/gateway.ts'
import { createMemberKeeper, type MemberKeeper } from './storage/keepMember.ts'
import { createStorageRole } from './storage/storage.ts'
import { createSegmentStore, type SegmentStore } from './store/store.ts'
import { VERSION } from './version.ts'

/** The machine that the roles run on; each port that is not given is this one (`host`). */
export type RolesDeps = {
  readonly logger: Logger
  readonly clock?: Clock | undefined
  readonly random?: Random | undefined
  readonly net?: Net | undefined
  readonly disk?: Disk | undefined
  /** Ended with the roles unless it was given. */
  readonly kernels?: Kernels | undefined
  readonly machine?: Partial<Machine> | undefined
}

/** What a machine gives besides the ports of core, each by what `host` calls it. */
export type Machine = {
  lockDirectory(path: string, options: Abortable): Promise<{ release(): Promise<void> }>
  openIndex(path: string, options: Abortable): Promise<Index>
  readPrivateKey(path: string, options: Abortable): Promise<Uint8Array>
  serveHttp(options: ServeHttpOptions): Promise<Pick<HttpServer, 'url' | 'close'>>
}
const thisMachine: Machine = {
  lockDirectory,
  openIndex: openLmdbIndex,
  readPrivateKey,
  serveHttp,
}

export type RunningRoles = AsyncDisposable & {
  readonly roles: readonly { readonly name: 'storage' | 'gateway'; readonly url: string }[]
  /** Rejects when a role can no longer do its work: its process should end, saying so. Never resolves. */
  readonly failed: Promise<never>
  /** Aborts when an operator asked a role over its private listener to end. */
  readonly stopRequested: AbortSignal
}

/** One worker per process: a segment is hashed in a millisecond, and a machine that runs many roles has few cores for each. */
const KERNEL_THREADS = 1
/** How soon a process notices that its data directory was deleted while nothing is written. */
const DIRECTORY_CHECK_MS = 5_000
const CHAIN_RETRY_MS = 1_000

/**
 * The composition root: the only file that knows all parts. Starts the roles that the configuration names, in one process, and
 * resolves when they listen; `/health` of each says when it has caught up with the chain. Throws what keeps a role from
 * starting: `PORT_TAKEN`, `DIRECTORY_IN_USE`, `KEY_FILE_*`, `STORE_*`, `CHAIN_ID_MISMATCH`.
 */
export async function startRoles(
  config: RolesConfig,
  deps: RolesDeps,
  { signal }: { readonly signal: AbortSignal },
): Promise<RunningRoles> {
  const { logger } = deps
  if (config.ignoredKeys.length > 0) logger.warn('config.ignored', { keys: config.ignoredKeys.join(' ') })
  const over = new AbortController()
  const closers: (() => Promise<unknown>)[] = []
  const stopRequested = new AbortController()
  let reject: (error: unknown) => void = () => undefined
  const failed = new Promise<never>((_, no) => (reject = no))
  failed.catch(() => undefined)
  const pool = (): Kernels => {
    const made = createKernelPool({ threads: KERNEL_THREADS })
    closers.push(async () => made[Symbol.asyncDispose]())
    return made
  }
  const stage: Stage = {
    signal: over.signal,
    logger,
    clock: deps.clock ?? systemClock,
    random: deps.random ?? systemRandom,
    net: deps.net ?? systemNet,
    disk: deps.disk ?? nodeDisk(),
    kernels: deps.kernels ?? pool(),
    machine: { ...thisMachine, ...deps.machine },
    closeLater: (close) => void closers.push(close),
    run(name, work) {
      const done = work().catch((error: unknown) => {
        if (over.signal.aborted) return
        logger.error('role.failed', { part: name, error })
        reject(error)
      })
      closers.push(() => done)
    },
    fail: reject,
    requestStop: () => stopRequested.abort(fail('SERVICE_STOPPING')),
  }
  let stopping: Promise<void> | undefined
  const stop = (): Promise<void> => (stopping ??= stopAll(over, closers, logger))
  const onAbort = (): void => over.abort(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  stage.closeLater(async () => signal.removeEventListener('abort', onAbort))
  try {
    signal.throwIfAborted()
    const roles: { name: 'storage' | 'gateway'; url: string }[] = []
    if (config.storage !== undefined)
      roles.push({ name: 'storage', url: await startStorage(config.chain, config.storage, stage) })
    if (config.gateway !== undefined)
      roles.push({ name: 'gateway', url: await startGateway(config.chain, config.gateway, stage) })
    return { roles, failed, stopRequested: stopRequested.signal, [Symbol.asyncDispose]: stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** What all roles of a process share, and how their parts are started and stopped. */
type Stage = {
  readonly signal: AbortSignal
  readonly logger: Logger
  readonly clock: Clock
  readonly random: Random
  readonly net: Net
  readonly disk: Disk
  readonly kernels: Kernels
  readonly machine: Machine
  /** Closers run last to first. */
  closeLater(close: () => Promise<unknown>): void
  /** Runs until the stage is over; an error before that is the end of the process. */
  run(name: string, work: () => Promise<void>): void
  fail(error: unknown): void
  /** Asks whoever runs the roles to end them. */
  requestStop(): void
}

async function stopAll(
  over: AbortController,
  closers: readonly (() => Promise<unknown>)[],
  logger: Logger,
): Promise<void> {
  if (!over.signal.aborted) over.abort(fail('SERVICE_STOPPING'))
  for (const close of [...closers].reverse()) {
    await close().catch((error: unknown) => logger.warn('role.unclosed', { error }))
  }
}

async function startStorage(chain: ChainConfig, config: StorageConfig, stage: Stage): Promise<string> {
  const logger = stage.logger.child({ role: 'storage' })
  const { signal, clock, kernels, net } = stage
  const key = config.keyFile === undefined ? undefined : await stage.machine.readPrivateKey(config.keyFile, { signal })
  const signer = key && receiptSigner(key)
  const metrics = createMetrics()
  const index = await openData(config.dataDir, stage)
  let onLost: (lost: { readonly root: Parameters<typeof role.onLost>[0] }) => void = () => undefined
  const store = await openStore(
    { dataDir: config.dataDir, capacityBytes: config.capacityBytes, onLost: (lost) => onLost(lost) },
    { index, logger, stage },
  )
  const { follower, rpc, chainId } = await openFollower(chain, { index, logger, stage })
  const { source } = config.membership
  const membership: MembershipView =
    source === 'registry'
      ? follower.membership
      : fixedMembership(config.membership.source === 'static' ? config.membership.members : [])
  let keeper: MemberKeeper | undefined
  const role = createStorageRole(
    {
      version: VERSION,
      chainId,
      flow: chain.flow,
      registry: chain.registry,
      membership: config.membership,
      gatewayUrl: config.gatewayUrl,
      upkeep: config.upkeep,
    },
    {
      follower,
      membership,
      store,
      index,
      kernels,
      net,
      clock,
      logger,
      metrics,
      bytes: nodeBytes,
      signer,
      signal,
      standing: () => keeper?.standing(),
    },
  )
  onLost = ({ root }) => role.onLost(root)
  const server = await listen(config.listen, role.handle, { logger, stage })
  if (config.adminListen !== undefined) {
    const methods = adminMethods({
      entries: follower.entries,
      membership,
      peers: role.peers,
      sync: role.sync,
      nowMs: () => clock.nowMs(),
      version: VERSION,
      self: signer?.address,
      publicUrl: () => server.url,
      renderMetrics: () => metrics.render(),
      shutDown: () => stage.requestStop(),
    })
    const admin = createAdminService({ methods, clock, logger, signal })
    await listen(config.adminListen, (request) => admin(request), { logger, stage })
  }
  stage.run('storage', () => role.run({ signal }))
  stage.run('follower', () => follower.run({ signal }))
  if (source === 'registry' && key !== undefined && signer !== undefined && chain.registry !== undefined) {
    const member = {
      registry: chain.registry,
      signer: signer.address,
      endpoint: config.endpoint ?? server.url,
      // A node that names no domain fails alone.
      domain: domainOf(config.domain ?? signer.address),
      capacitySegments: BigInt(Math.max(1, Math.floor(config.capacityBytes / SEGMENT_SIZE_BYTES))),
      stakeWei: config.stakeWei,
    }
    const transactor = createTransactor(
      { chainId, signer: privateKeySigner(key) },
      { rpc, clock, random: stage.random },
    )
    const made = createMemberKeeper(member, { rpc, transactor, follower, peers: role.peers, clock, logger })
    keeper = made
    stage.run('membership', () => made.run({ signal }))
  }
  return server.url
}

async function startGateway(chain: ChainConfig, config: GatewayConfig, stage: Stage): Promise<string> {
  const logger = stage.logger.child({ role: 'gateway' })
  const { signal, clock, kernels, net } = stage
  const metrics = createMetrics()
  const index = await openData(config.dataDir, stage)
  let onLost: (lost: { readonly root: Parameters<typeof role.onLost>[0] }) => void = () => undefined
  const spool = await openStore(
    { dataDir: config.dataDir, capacityBytes: config.spoolBytesMax, onLost: (lost) => onLost(lost) },
    { index, logger, stage },
  )
  const { follower, chainId } = await openFollower(chain, { index, logger, stage })
  let publicUrl = config.publicUrl
  const role = createGatewayRole(
    {
      version: VERSION,
      chainId,
      flow: chain.flow,
      registry: chain.registry,
      replicas: config.replicas,
      policy: policyOf(config),
      publicUrl: () => publicUrl ?? '',
    },
    {
      follower,
      membership: config.staticMembers === undefined ? follower.membership : fixedMembership(config.staticMembers),
      spool,
      client: await openClient(chain, config, { chainId, follower, logger, stage }),
      index,
      kernels,
      net,
      clock,
      logger,
      metrics,
      bytes: nodeBytes,
      signal,
    },
  )
  onLost = ({ root }) => role.onLost(root)
  const server = await listen(config.listen, role.handle, { logger, stage })
  publicUrl ??= server.url
  stage.run('gateway', () => role.run({ signal }))
  stage.run('follower', () => follower.run({ signal }))
  return server.url
}

function policyOf({ policy, erasure }: GatewayConfig): GatewayPolicy {
  if (policy !== 'erasure') return { kind: policy }
  return { kind: policy, ...erasure! }
}

/** The gateway uses the storage nodes as any user does; the operator's key pays for parity. */
async function openClient(
  chain: ChainConfig,
  { erasure, staticMembers }: GatewayConfig,
  deps: { readonly chainId: number; readonly follower: Follower; readonly logger: Logger; readonly stage: Stage },
): Promise<Client> {
  const { chainId, follower, logger, stage } = deps
  const { signal, net, clock, random, kernels, machine } = stage
  const key = erasure && (await machine.readPrivateKey(erasure.operatorKeyFile, { signal }))
  const client = createClient(
    {
      network: { rpcUrl: chain.rpcUrl, chainId, flow: chain.flow, registry: chain.registry },
      storageNodes: staticMembers?.map(({ endpoint }) => endpoint),
      signer: key && privateKeySigner(key),
      bodies: 'stream',
    },
    { net, clock, random, kernels, logger },
  )
  if (staticMembers !== undefined || chain.registry === undefined) return client
  return { ...client, membership: followedMembers(follower.membership, chain.registry) }
}

/** One process per data directory; the index of the log, the marks and the store's rows share one lmdb. */
async function openData(dataDir: string, stage: Stage): Promise<Index> {
  const lock = await stage.machine.lockDirectory(dataDir, { signal: stage.signal })
  stage.closeLater(() => lock.release())
  const index = await stage.machine.openIndex(`${dataDir}/index`, { signal: stage.signal })
  stage.closeLater(() => index.close())
  return index
}

type StoreOptions = {
  readonly dataDir: string
  readonly capacityBytes: number
  readonly onLost: NonNullable<Parameters<typeof createSegmentStore>[0]['onLost']>
}

async function openStore(
  options: StoreOptions,
  deps: { readonly index: Index; readonly logger: Logger; readonly stage: Stage },
): Promise<SegmentStore> {
  const { index, logger, stage } = deps
  const { disk, clock, signal } = stage
  const store = await createSegmentStore(
    {
      dataDir: `${options.dataDir}/segments`,
      capacityBytes: options.capacityBytes,
      // A store that takes no more writes still serves what it has; without its directory it has nothing to serve for long.
      onFatal: (failure) => {
        if (isFailure(failure, 'STORE_DIRECTORY_GONE')) stage.fail(failure)
      },
      onLost: options.onLost,
    },
    { disk, index, clock, logger, crc32 },
    { signal },
  )
  stage.closeLater(() => store.close())
  stage.run('directory', async () => {
    for (;;) {
      await clock.sleep(DIRECTORY_CHECK_MS, { signal })
      await store.checkDirectory({ signal })
    }
  })
  return store
}

async function openFollower(
  chain: ChainConfig,
  deps: { readonly index: Index; readonly logger: Logger; readonly stage: Stage },
): Promise<{ readonly follower: Follower; readonly rpc: Rpc; readonly chainId: number }> {
  const { index, logger, stage } = deps
  const { net, clock, random } = stage
  const { flow, registry, startBlock, confirmations, logPageBlocks, pollMs, rpcTimeoutMs } = chain
  const rpc = createRpc(
    chain.rpcUrl,
    { net, clock, random },
    rpcTimeoutMs === undefined ? {} : { timeoutMs: rpcTimeoutMs },
  )
  const reader = createChainReader({ flow, registry }, { rpc })
  const logAddresses = registry === undefined ? [flow] : [flow, registry]
  // A node that has followed a chain serves what it has while that chain is away.
  const chainId = chain.chainId ?? readChainMark(index)?.chainId ?? (await askChainId(reader, stage))
  const follower = createFollower(
    { chainId, flow, registry, startBlock, confirmations, logPageBlocks },
    {
      rpc,
      reader,
      index,
      clock,
      logger,
      heads: ({ signal }) =>
        headFeed(
          {
            rpcUrl: chain.rpcUrl,
            wsUrl: chain.wsUrl,
            pollMs,
            logs: { addresses: logAddresses, topics: reader.topics },
          },
          { clock, random, net, logger },
          { signal },
        ),
    },
  )
  return { follower, rpc, chainId }
}

/** The official configuration does not name the chain: what its endpoint says is what counts. */
async function askChainId(
  reader: ReturnType<typeof createChainReader>,
  { clock, signal, logger }: Stage,
): Promise<number> {
  for (;;) {
    try {
      return await reader.chainId({ signal })
    } catch (error) {
      signal.throwIfAborted()
      if (!isFailure(error) || !error.retryable) throw error
      logger.warn('chain.unreachable', { error })
    }
    await clock.sleep(CHAIN_RETRY_MS, { signal })
  }
}

async function listen(
  at: PrivateListen,
  handler: HttpHandler,
  deps: { readonly logger: Logger; readonly stage: Stage },
): Promise<Pick<HttpServer, 'url' | 'close'>> {
  const where = 'socketPath' in at ? { port: 0, socketPath: at.socketPath } : { host: at.host, port: at.port }
  const server = await deps.stage.machine.serveHttp({ ...where, handler, logger: deps.logger })
  deps.stage.closeLater(() => server.close())
  return server
}
