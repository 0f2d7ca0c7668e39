import { randomBytes } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { createAnvilEngine, deployContracts, type ChainEngine } from '@weightless/chain'
import { defaultDeployParams } from '@weightless/contracts'
import { addressOfPrivateKey, isFailure, REPLICA_COUNT, type Address, type Clock, type Logger } from '@weightless/core'
import { createLogger, createPrivateKey, lockDirectory, readPrivateKey, serveHttp, systemClock, systemNet, systemRandom, writeFileAtomic } from '@weightless/host'
import { createRpc, createTransactor, privateKeySigner, readMembers, type Rpc } from '@weightless/sdk'
import { fail } from './errors.ts'
import { TEST_ACCOUNTS } from './local/accounts.ts'
import { createAdminHandler, type AdminFile, type NetworkControl } from './local/admin.ts'
import { inspectDirectory, layoutOfDirectory, prepareDirectory, resetDirectory, type Layout } from './local/directory.ts'
import { capLogs, LOG_BYTES_MAX } from './local/logCap.ts'
import { checkPorts, choosePorts, DEFAULT_PORT_BASE, LOOPBACK } from './local/ports.ts'
import { proveNetwork } from './local/proof.ts'
import { gatewayConfig, type ChainFacts } from './local/roleConfig.ts'
import { createRoleProcess, type RoleProcess } from './local/roleProcess.ts'
import { readStatus } from './local/readStatus.ts'
import { readState, writeState, type NetworkState } from './local/state.ts'
import { openStorageNodes, type StorageNode, type StorageNodes } from './local/storageNodes.ts'
import { removeNetworkFile, writeNetworkFile, type NetworkDescription } from './networkFile.ts'

/** A whole network on this machine: chain, gateway and storage nodes under one directory. */
export type LocalNetwork = {
  /** What network.json holds. */
  description(): NetworkDescription
  /** Aborts when somebody asked over the admin door to stop. */
  readonly stopRequested: AbortSignal
  /** Stops everything in reverse order, each part bounded; resolves when nothing is left. */
  [Symbol.asyncDispose](): Promise<void>
}

export type LocalNetworkOptions = {
  readonly dir: string
  /** `undefined`: what the directory remembers, else the default. */
  readonly portBase: number | undefined
  readonly nodes: number | undefined
  readonly reset: boolean
  /** The bundle that role processes run. */
  readonly entry: string
  /** Called with what is being done now. */
  readonly onPhase: (phase: string) => void
}

const CHAIN_ID = 31337
/** `node rm` shall be able to leave at once: on one machine nobody else counts on the stake. */
const LOCAL_PARAMS = { registry: { ...defaultDeployParams.registry, leaveDelaySeconds: 0n } }
const NODES_DEFAULT = 6
/** Ports of a network that was killed a moment ago are still held by children that are ending. */
const PORTS_FREE_MS_MAX = 10_000
const REGISTERED_MS_MAX = 30_000
const STEP_MS = 25
const LOG_CAP_STEP_MS = 30_000

/** Starts the network and resolves when it has proved itself. What was started is stopped again when anything fails. */
export async function startLocalNetwork(options: LocalNetworkOptions, { signal }: { readonly signal: AbortSignal }): Promise<LocalNetwork> {
  const clock = systemClock
  const layout = layoutOfDirectory(options.dir)
  const cleanups: (() => Promise<void>)[] = []
  const stopping = new AbortController()
  const stopAll = async (): Promise<void> => {
    for (let cleanup = cleanups.pop(); cleanup !== undefined; cleanup = cleanups.pop()) await cleanup().catch(() => undefined)
  }
  // `down` during the start ends the start.
  const scope = AbortSignal.any([signal, stopping.signal])
  const startedMs = clock.nowMs()
  let phase = 'starting'
  let ready = false
  let log: Logger | undefined
  const enter = (next: string): void => {
    phase = next
    log?.info('phase.entered', { phase: next, ms: clock.nowMs() - startedMs })
    options.onPhase(next)
    scope.throwIfAborted()
  }

  try {
    await claimDirectory(layout, options, cleanups)
    const logger = createLogger({ file: layout.log('up'), fileBytesMax: LOG_BYTES_MAX, level: 'info' })
    log = logger
    enter('choosing ports')
    const state = await prepareState(layout, options, clock, scope)

    const gatewayUrl = urlOf(state.gatewayPort)
    let chain: ChainEngine | undefined
    let gateway: RoleProcess | undefined
    let nodes: StorageNodes | undefined
    const control: NetworkControl = {
      stop: () => stopping.abort(fail('INTERRUPTED', { reason: 'weightless down' })),
      status: (abortable) =>
        readStatus(
          { ready, phase, startedMs, dir: layout.top, chainId: CHAIN_ID, chainUrl: urlOf(state.chainPort), chain, gatewayUrl, gateway, nodes: nodes?.list() ?? [] },
          { clock },
          abortable,
        ),
      addNode: (how) => requireReady(nodes).add(how),
      changeNode: (id, verb, abortable) => requireReady(nodes).change(id, verb, abortable),
    }
    await openAdminDoor(control, layout, state.adminPort, cleanups)

    enter('starting the chain')
    const deployer = await ownKey(layout.key('deployer'))
    chain = createAnvilEngine(
      {
        dataDir: layout.chain,
        host: LOOPBACK,
        port: state.chainPort,
        chainId: CHAIN_ID,
        accounts: [...TEST_ACCOUNTS.map((account) => account.address as Address), addressOfPrivateKey(deployer)],
        logFile: layout.log('chain'),
      },
      { clock, logger: logger.child({ role: 'chain' }) },
    )
    cleanups.push(() => chain!.stop())
    await chain.start({ signal: scope })

    enter('deploying the contracts')
    const rpc = createRpc(chain.rpcUrl, { net: systemNet, clock, random: systemRandom })
    const contracts = await deployContracts(rpc, { key: deployer, params: LOCAL_PARAMS }, { signal: scope })
    const facts: ChainFacts = {
      rpcUrl: chain.rpcUrl,
      wsUrl: chain.wsUrl,
      chainId: CHAIN_ID,
      flow: contracts.flow,
      registry: contracts.storageRegistry,
      startBlock: 0,
    }

    enter('starting the storage nodes and the gateway')
    let write: Promise<void> = Promise.resolve()
    const description = (): NetworkDescription => describeNetwork(facts, contracts, gatewayUrl, nodes?.list() ?? [])
    const onChange = (): void => {
      if (!ready) return
      write = write.then(() => (ready ? writeNetworkFile(options.dir, description()) : undefined)).catch((error: unknown) => {
        logger.error('networkFile.writeFailed', { error })
      })
    }
    const funder = createTransactor({ chainId: CHAIN_ID, signer: privateKeySigner(deployer) }, { rpc, clock, random: systemRandom })
    nodes = await openStorageNodes(
      { layout, entry: options.entry, chain: facts, gatewayUrl, state },
      { rpc, funder, clock, logger, onChange },
      { signal: scope },
    )
    cleanups.push(() => nodes!.stopAll())
    await writeFileAtomic(
      layout.config('gateway'),
      gatewayConfig(facts, { port: state.gatewayPort, dataDir: layout.gateway, replicas: REPLICA_COUNT }),
      { mode: 0o600 },
    )
    gateway = createRoleProcess(
      { name: 'gateway', url: gatewayUrl, entry: options.entry, configFile: layout.config('gateway'), logFile: layout.log('gateway'), restart: 'backOff' },
      { clock, logger, onChange },
    )
    cleanups.push(() => gateway!.stop())
    await Promise.all([nodes.startAll({ signal: scope }), gateway.start({ signal: scope })])

    enter('waiting until the nodes are registered')
    await untilRegistered(nodes.list(), facts, { rpc, clock }, scope)
    enter('proving itself')
    const proof = await proveNetwork(
      { network: description(), privateKey: deployer, signers: new Map(nodes.list().map((node) => [node.address, node.id])) },
      { clock },
      { signal: scope },
    )
    logger.info('network.proved', proof)

    startLogCap(layout, cleanups)
    await writeNetworkFile(options.dir, description())
    ready = true
    cleanups.push(async () => {
      ready = false
      await write
      await removeNetworkFile(options.dir)
    })
    enter('ready')
    return { description, stopRequested: stopping.signal, [Symbol.asyncDispose]: stopAll }
  } catch (error) {
    log?.error('network.failed', { phase, error })
    await stopAll()
    if (scope.aborted && !isFailure(error)) throw scope.reason
    throw error
  }
}

/** Ours or empty, and nobody else's at the moment. */
async function claimDirectory(layout: Layout, options: LocalNetworkOptions, cleanups: (() => Promise<void>)[]): Promise<void> {
  const found = await inspectDirectory(layout.top, options)
  await mkdir(layout.logs, { recursive: true, mode: 0o700 })
  const lock = await lockDirectory(layout.top).catch((cause: unknown) => {
    if (!isFailure(cause, 'DIRECTORY_IN_USE')) throw cause
    throw fail('NETWORK_RUNNING', { dir: layout.top, pid: cause.facts['pid'] }, { cause })
  })
  cleanups.push(() => lock.release())
  // A file that a killed `up` left behind must not send anybody to addresses that nobody serves.
  await removeNetworkFile(layout.top)
  if (options.reset && found === 'ours') await resetDirectory(layout)
  await prepareDirectory(layout)
}

/** Remembered ports and nodes, or new ones. */
async function prepareState(layout: Layout, options: LocalNetworkOptions, clock: Clock, signal: AbortSignal): Promise<NetworkState> {
  const known = await readState(layout)
  const state = known === undefined || (options.portBase !== undefined && options.portBase !== known.portBase) ? await newPorts(known, options) : known
  const deadline = clock.nowMs() + (known === undefined ? 0 : PORTS_FREE_MS_MAX)
  for (;;) {
    try {
      await checkPorts([state.chainPort, state.gatewayPort, state.adminPort, ...state.nodes.map((node) => node.port)])
      break
    } catch (error) {
      if (clock.nowMs() >= deadline) throw error
      await clock.sleep(STEP_MS * 4, { signal })
    }
  }
  if (state !== known) await writeState(layout, state)
  return state
}

/** A directory that has nodes keeps them, on other ports. */
async function newPorts(known: NetworkState | undefined, options: LocalNetworkOptions): Promise<NetworkState> {
  const portBase = options.portBase ?? DEFAULT_PORT_BASE
  const ids = known?.nodes.map((node) => node.id) ?? Array.from({ length: options.nodes ?? NODES_DEFAULT }, (_, index) => `node-${index}`)
  const ports = await choosePorts({ portBase, nodeIndexes: ids.map((id) => Number(id.slice('node-'.length))) })
  return {
    portBase,
    chainPort: ports.chain,
    gatewayPort: ports.gateway,
    adminPort: ports.admin,
    nextNode: known?.nextNode ?? ids.length,
    nodes: ids.map((id, place) => ({ id, port: ports.nodes[place]!, draining: known?.nodes[place]?.draining ?? false })),
  }
}

async function openAdminDoor(control: NetworkControl, layout: Layout, port: number, cleanups: (() => Promise<void>)[]): Promise<void> {
  const token = randomBytes(32).toString('base64url')
  const server = await serveHttp({ host: LOOPBACK, port, handler: createAdminHandler(control, { token }) })
  cleanups.push(() => server.close())
  const file: AdminFile = { pid: process.pid, url: server.url, token }
  await writeFileAtomic(layout.admin, `${JSON.stringify(file)}\n`, { mode: 0o600 })
  cleanups.push(() => rm(layout.admin, { force: true }))
}

async function ownKey(path: string): Promise<Uint8Array> {
  try {
    return await readPrivateKey(path)
  } catch (error) {
    if (isFailure(error, 'KEY_FILE_MISSING')) return createPrivateKey(path)
    throw error
  }
}

/** Placement counts on members, so the proof waits until every node is one. Draining nodes are none. */
async function untilRegistered(nodes: readonly StorageNode[], chain: ChainFacts, deps: { rpc: Rpc; clock: Clock }, signal: AbortSignal): Promise<void> {
  const awaited = nodes.filter((node) => node.state === 'running')
  const deadline = deps.clock.nowMs() + REGISTERED_MS_MAX
  for (;;) {
    const { members } = await readMembers(deps.rpc, chain.registry as Address, { signal })
    const signers = new Set(members.map((member) => member.signer))
    const missing = awaited.filter((node) => !signers.has(node.address))
    if (missing.length === 0) return
    if (deps.clock.nowMs() > deadline) throw fail('ROLE_NOT_READY', { role: missing.map((node) => node.id).join(', '), reason: 'it is not registered' })
    await deps.clock.sleep(STEP_MS, { signal })
  }
}

function startLogCap(layout: Layout, cleanups: (() => Promise<void>)[]): void {
  const timer = setInterval(() => void capLogs(layout.logs, { bytesMax: LOG_BYTES_MAX }).catch(() => undefined), LOG_CAP_STEP_MS)
  cleanups.push(async () => clearInterval(timer))
}

function requireReady(nodes: StorageNodes | undefined): StorageNodes {
  if (nodes === undefined) throw fail('NETWORK_DOWN', { reason: 'it is still starting' })
  return nodes
}

function urlOf(port: number): string {
  return `http://${LOOPBACK}:${port}`
}

function describeNetwork(
  chain: ChainFacts,
  contracts: { readonly flow: string; readonly market: string; readonly reward: string; readonly storageRegistry: string },
  gatewayUrl: string,
  nodes: readonly StorageNode[],
): NetworkDescription {
  return {
    version: 1,
    pid: process.pid,
    chain: { rpcUrl: chain.rpcUrl, wsUrl: chain.wsUrl, chainId: chain.chainId },
    accounts: TEST_ACCOUNTS,
    contracts: { flow: contracts.flow, market: contracts.market, reward: contracts.reward, storageRegistry: contracts.storageRegistry },
    storage: {
      indexerUrl: gatewayUrl,
      gatewayUrl,
      nodes: nodes.map(({ id, url, process: { pid }, dataDir }) => ({ id, url, pid: pid ?? null, dataDir })),
    },
  }
}
