import { randomBytes } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { createAnvilEngine, deployContracts, type ChainEngine } from '@weightless/chain'
import { defaultDeployParams } from '@weightless/contracts'
import { addressOfPrivateKey, isFailure, type Address, type Clock, type Logger } from '@weightless/core'
import {
  createLogger,
  createPrivateKey,
  lockDirectory,
  readPrivateKey,
  serveHttp,
  systemClock,
  systemNet,
  systemRandom,
  writeFileAtomic,
} from '@weightless/host'
import { createRpc, createTransactor, privateKeySigner, readMembers, type Rpc, type Transactor } from '@weightless/sdk'
import { fail } from './errors.ts'
import { TEST_ACCOUNTS } from './local/accounts.ts'
import { createAdminHandler, type AdminFile, type NetworkControl } from './local/admin.ts'
import {
  checkWhole,
  inspectDirectory,
  layoutOfDirectory,
  prepareDirectory,
  resetDirectory,
  type Layout,
} from './local/directory.ts'
import { capLogs, LOG_BYTES_MAX } from './local/logCap.ts'
import { createNetworkWriter, describeNetwork } from './local/networkWriter.ts'
import { checkPorts, choosePorts, DEFAULT_PORT_BASE, LOOPBACK } from './local/ports.ts'
import { freeBytesOf } from './local/room.ts'
import { checkNewNetwork, chooseCode, nodeCountFor } from './local/networkCode.ts'
import { fundNodes } from './local/nodeFunds.ts'
import { isForWantOfRoom, proveNetwork } from './local/proof.ts'
import { gatewayConfig, type ChainFacts } from './local/roleConfig.ts'
import { createRoleProcess, type RoleProcess } from './local/roleProcess.ts'
import { readStatus } from './local/readStatus.ts'
import { removalOf, type Removal } from './local/removal.ts'
import { readState, writeState, type CodeName, type NetworkState } from './local/state.ts'
import type { NetworkStatus } from './local/status.ts'
import { openStorageNodes, type StorageNode, type StorageNodes } from './local/storageNodes.ts'
import { removeNetworkFile, type NetworkDescription } from './networkFile.ts'

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
  /** Of a network that is new; `undefined`: 30. */
  readonly graceSeconds?: number | undefined
  /** `undefined`: what the directory remembers, else the default of that many nodes. */
  readonly code: CodeName | undefined
  readonly reset: boolean
  /** The bundle that role processes run. */
  readonly entry: string
  /** Called with what is being done now. */
  readonly onPhase: (phase: string) => void
}

const CHAIN_ID = 31337
/** `node rm` shall be able to leave at once: on one machine nobody else counts on the stake. */
const LOCAL_REGISTRY = { ...defaultDeployParams.registry, leaveDelaySeconds: 0n }
/** Ports of a network that was killed a moment ago are still held by children that are ending. */
const PORTS_FREE_MS_MAX = 10_000
const REGISTERED_MS_MAX = 30_000
const STEP_MS = 25
/** What a node has when it is funded again pays for days of heartbeats. */
const FUNDS_STEP_MS = 600_000
/** How often it is looked whether the registry lets a node leave that was removed. */
const LEAVE_STEP_MS = 15_000
/** A role that fails in a loop writes some MB a second; looking at ten files takes no time. */
const LOG_CAP_STEP_MS = 5_000

/** Starts the network and resolves when it has proved itself. What was started is stopped again when anything fails. */
export async function startLocalNetwork(
  options: LocalNetworkOptions,
  { signal }: { readonly signal: AbortSignal },
): Promise<LocalNetwork> {
  const clock = systemClock
  const layout = layoutOfDirectory(options.dir)
  const stopping = new AbortController()
  const cleanups: Cleanup[] = []
  const stopAll = async (): Promise<void> => {
    for (let cleanup = cleanups.pop(); cleanup !== undefined; cleanup = cleanups.pop()) {
      await cleanup().catch((error: unknown) => logger?.warn('network.partNotStopped', { error }))
    }
  }
  // `down` during the start ends the start.
  const scope = AbortSignal.any([signal, stopping.signal])
  const parts: Parts = { startedMs: clock.nowMs(), phase: 'starting', ready: false }
  let logger: Logger | undefined
  const enter = (phase: string): void => {
    parts.phase = phase
    logger?.info('phase.entered', { phase, ms: clock.nowMs() - parts.startedMs })
    options.onPhase(phase)
    scope.throwIfAborted()
  }

  try {
    const found = await claimDirectory(layout, options, cleanups)
    logger = createLogger({ file: layout.log('up'), fileBytesMax: LOG_BYTES_MAX, level: 'info' })
    startLogCap(layout, cleanups)
    enter('choosing ports')
    const state = await prepareState(layout, options, clock, scope)
    const stage: Stage = { options, layout, state, parts, cleanups, clock, logger, signal: scope }
    await openAdminDoor(controlOf(stage, stopping), stage)

    enter('starting the chain')
    const deployer = await ownKey(layout.key('deployer'))
    const chain = await startChain(deployer, stage)
    enter('deploying the contracts')
    const rpc = createRpc(chain.rpcUrl, { net: systemNet, clock, random: systemRandom })
    const { graceSeconds = Number(LOCAL_REGISTRY.graceSeconds) } = options
    const params = { registry: { ...LOCAL_REGISTRY, graceSeconds: BigInt(graceSeconds) } }
    const contracts = await deployContracts(rpc, { key: deployer, params }, { signal: scope })
    const facts: ChainFacts = {
      rpcUrl: chain.rpcUrl,
      wsUrl: chain.wsUrl,
      chainId: CHAIN_ID,
      flow: contracts.flow,
      registry: contracts.storageRegistry,
      startBlock: 0,
    }

    enter('starting the storage nodes and the gateway')
    const describe = (nodes: readonly StorageNode[] = parts.nodes?.list() ?? []): NetworkDescription =>
      describeNetwork({
        chain: facts,
        contracts,
        gatewayUrl: urlOf(state.gatewayPort),
        code: state.code,
        nodes,
        unproved: parts.unproved,
      })
    const networkFile = createNetworkWriter(options.dir, { describe, logger })
    const signer = privateKeySigner(deployer)
    // One for all: its transactions are numbered one after the other.
    const funder = createTransactor({ chainId: CHAIN_ID, signer }, { rpc, clock, random: systemRandom })
    const nodes = await openNodes(facts, { rpc, funder, onChange: networkFile.rewrite }, stage)
    const [absent] = await Promise.all([
      nodes.startAll({ signal: scope, onFailure: found === 'new' ? 'throw' : 'goOn' }),
      startGateway(facts, { rpc, funder, onChange: networkFile.rewrite }, stage),
    ])
    for (const { id, error } of absent) {
      logger.warn('node.absent', { id, error })
      options.onPhase(`${id} did not start and stays down: ${error instanceof Error ? error.message : String(error)}`)
    }

    enter('waiting until the nodes are registered')
    await untilRegistered(nodes.list(), facts, { rpc, clock }, scope)
    enter('proving itself')
    const running = nodes.list().filter((node) => node.state !== 'down')
    const signers = new Map<string, string>(running.map((node) => [node.address, node.id]))
    const proof = { network: describe(running), privateKey: deployer, signers }
    try {
      logger.info('network.proved', await proveNetwork(proof, { clock }, { signal: scope }))
    } catch (error) {
      // Nodes without room are no fault of what is stored: that shall be read all the same.
      if (found === 'new' || !isForWantOfRoom(error, await freeBytesOf(layout.top))) throw error
      logger.warn('network.unproved', { error })
      parts.unproved = 'the disk is full: what is stored can be read, nothing new is stored'
      options.onPhase(parts.unproved)
    }

    cleanups.push(() => networkFile.withdraw())
    await networkFile.publish()
    parts.ready = true
    cleanups.push(async () => {
      parts.phase = 'stopping'
      parts.ready = false
    })
    enter('ready')
    return { description: describe, stopRequested: stopping.signal, [Symbol.asyncDispose]: stopAll }
  } catch (error) {
    logger?.error('network.failed', { phase: parts.phase, error })
    await stopAll()
    throw scope.aborted ? scope.reason : error
  }
}

type Cleanup = () => Promise<void>

/** What has been started so far; `status` looks at it at any time. */
type Parts = {
  readonly startedMs: number
  phase: string
  ready: boolean
  unproved?: string
  chain?: ChainEngine
  gateway?: RoleProcess
  nodes?: StorageNodes
}

/** What every step of the start works with. */
type Stage = {
  readonly options: LocalNetworkOptions
  readonly layout: Layout
  readonly state: NetworkState
  readonly parts: Parts
  /** Run last to first. */
  readonly cleanups: Cleanup[]
  readonly clock: Clock
  readonly logger: Logger
  readonly signal: AbortSignal
}

/** Ours or empty, and nobody else's at the moment. */
async function claimDirectory(
  layout: Layout,
  options: LocalNetworkOptions,
  cleanups: Cleanup[],
): Promise<'new' | 'ours'> {
  const found = await inspectDirectory(layout.top, options)
  if (found === 'new' || options.reset) checkNewNetwork(options)
  await mkdir(layout.logs, { recursive: true, mode: 0o700 })
  const lock = await lockDirectory(layout.top).catch((cause: unknown) => {
    if (!isFailure(cause, 'DIRECTORY_IN_USE')) throw cause
    throw fail('NETWORK_RUNNING', { dir: layout.top, pid: cause.facts['pid'] }, { cause })
  })
  cleanups.push(() => lock.release())
  // A file that a killed `up` left behind must not send anybody to addresses that nobody serves.
  await removeNetworkFile(layout.top)
  if (options.reset && found === 'ours') await resetDirectory(layout)
  else if (found === 'ours') await checkWhole(layout)
  await prepareDirectory(layout)
  return options.reset ? 'new' : found
}

/** Remembered ports and nodes, or new ones. */
async function prepareState(
  layout: Layout,
  options: LocalNetworkOptions,
  clock: Clock,
  signal: AbortSignal,
): Promise<NetworkState> {
  const known = await readState(layout)
  const ported =
    known === undefined || (options.portBase !== undefined && options.portBase !== known.portBase)
      ? await newPorts(known, options)
      : known
  const code = chooseCode({ asked: options.code, known: known?.code }, ported.nodes.length)
  const state = code === ported.code ? ported : { ...ported, code }
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
  const ids =
    known?.nodes.map((node) => node.id) ??
    Array.from({ length: options.nodes ?? nodeCountFor(options.code) }, (_, index) => `node-${index}`)
  const ports = await choosePorts({ portBase, nodeIndexes: ids.map((id) => Number(id.slice('node-'.length))) })
  return {
    leaving: known?.leaving ?? [],
    portBase,
    chainPort: ports.chain,
    gatewayPort: ports.gateway,
    adminPort: ports.admin,
    code: known?.code ?? 'none',
    nextNode: known?.nextNode ?? ids.length,
    nodes: ids.map((id, place) => ({
      id,
      port: ports.nodes[place]!,
      draining: known?.nodes[place]?.draining ?? false,
    })),
  }
}

function controlOf({ parts, layout, state, clock }: Stage, stopping: AbortController): NetworkControl {
  const nodes = (): StorageNodes => {
    if (parts.nodes === undefined || !parts.ready) throw fail('NETWORK_STARTING', { phase: parts.phase })
    return parts.nodes
  }
  const status = (options: { readonly signal: AbortSignal }): Promise<NetworkStatus> =>
    readStatus(
      {
        ...parts,
        dir: layout.top,
        chainId: CHAIN_ID,
        chainUrl: urlOf(state.chainPort),
        gatewayUrl: urlOf(state.gatewayPort),
        nodes: parts.nodes?.list() ?? [],
        leaving: parts.nodes?.leaving() ?? [],
        readRegistryVersion: parts.nodes?.readRegistryVersion,
      },
      { clock },
      options,
    )
  return {
    stop: () => stopping.abort(fail('INTERRUPTED', { reason: 'weightless down' })),
    status,
    addNode: (options) => nodes().add(options),
    async changeNode(id, verb, { force, signal }) {
      if (verb === 'rm' && !force) {
        await nodes().change(id, 'drain', { signal })
        refuseUnsafe(id, removalOf(await status({ signal }), id))
      }
      return await nodes().change(id, verb, { signal })
    },
  }
}

/** Throws while something would be lost with the node. */
function refuseUnsafe(id: string, removal: Removal): void {
  const { kind } = removal
  if (kind === 'safe') return
  if (kind === 'needed') {
    const { lostBytes, unavailableEntryCount } = removal
    throw fail('NODE_DATA_NEEDED', { id, lostBytes, unavailableEntryCount })
  }
  const { leftBytes, homelessBytes } = removal.handOff ?? {}
  throw fail(kind === 'stuck' ? 'NODE_DRAIN_STUCK' : 'NODE_DRAIN_UNFINISHED', { id, leftBytes, homelessBytes })
}

async function openAdminDoor(control: NetworkControl, { layout, state, cleanups }: Stage): Promise<void> {
  const token = randomBytes(32).toString('base64url')
  const server = await serveHttp({
    host: LOOPBACK,
    port: state.adminPort,
    handler: createAdminHandler(control, { token }),
  })
  cleanups.push(() => server.close())
  const file: AdminFile = { pid: process.pid, url: server.url, token }
  await writeFileAtomic(layout.admin, `${JSON.stringify(file)}\n`, { mode: 0o600 })
  cleanups.push(() => rm(layout.admin, { force: true }))
}

async function startChain(deployer: Uint8Array, stage: Stage): Promise<ChainEngine> {
  const { layout, state, parts, cleanups, clock, logger, signal } = stage
  const chain = createAnvilEngine(
    {
      dataDir: layout.chain,
      host: LOOPBACK,
      port: state.chainPort,
      chainId: CHAIN_ID,
      accounts: [...TEST_ACCOUNTS.map((account) => account.address), addressOfPrivateKey(deployer)],
      logFile: layout.log('chain'),
    },
    { clock, logger: logger.child({ role: 'chain' }) },
  )
  parts.chain = chain
  cleanups.push(() => chain.stop())
  await chain.start({ signal })
  return chain
}

async function openNodes(
  chain: ChainFacts,
  deps: { readonly rpc: Rpc; readonly funder: Transactor; readonly onChange: () => void },
  stage: Stage,
): Promise<StorageNodes> {
  const { options, layout, state, parts, cleanups, clock, logger, signal } = stage
  const { rpc, funder, onChange } = deps
  const nodes = await openStorageNodes(
    { layout, entry: options.entry, chain, gatewayUrl: urlOf(state.gatewayPort), state },
    { rpc, funder, clock, logger, onChange },
    { signal },
  )
  parts.nodes = nodes
  cleanups.push(() => nodes.stopAll())
  const timer = setInterval(() => {
    const addresses = nodes.list().map(({ address }) => address)
    fundNodes(addresses, { rpc, funder }, { signal }).catch((error: unknown) =>
      logger.warn('nodes.unfunded', { error }),
    )
  }, FUNDS_STEP_MS)
  const leaveTimer = setInterval(() => {
    if (nodes.leaving().length > 0) nodes.settleLeaving({ signal }).catch(() => undefined)
  }, LEAVE_STEP_MS)
  cleanups.push(async () => {
    clearInterval(timer)
    clearInterval(leaveTimer)
  })
  return nodes
}

async function startGateway(
  chain: ChainFacts,
  deps: { readonly rpc: Rpc; readonly funder: Transactor; readonly onChange: () => void },
  stage: Stage,
): Promise<void> {
  const { options, layout, state, parts, cleanups, clock, logger, signal } = stage
  const operatorKeyFile = layout.key('gateway')
  const operator = addressOfPrivateKey(await ownKey(operatorKeyFile))
  const config = gatewayConfig(chain, {
    port: state.gatewayPort,
    dataDir: layout.gateway,
    code: state.code,
    operatorKeyFile,
  })
  await writeFileAtomic(layout.config('gateway'), config, { mode: 0o600 })
  const gateway = createRoleProcess(
    {
      name: 'gateway',
      url: urlOf(state.gatewayPort),
      entry: options.entry,
      configFile: layout.config('gateway'),
      logFile: layout.log('gateway'),
      restart: 'backOff',
    },
    { clock, logger, onChange: deps.onChange },
  )
  parts.gateway = gateway
  cleanups.push(() => gateway.stop())
  await Promise.all([fundNodes([operator], deps, { signal }), gateway.start({ signal })])
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
async function untilRegistered(
  nodes: readonly StorageNode[],
  chain: ChainFacts,
  deps: { rpc: Rpc; clock: Clock },
  signal: AbortSignal,
): Promise<void> {
  const awaited = nodes.filter((node) => node.state === 'running')
  const deadline = deps.clock.nowMs() + REGISTERED_MS_MAX
  for (;;) {
    const { members } = await readMembers(deps.rpc, chain.registry as Address, { signal })
    const signers = new Set(members.map((member) => member.signer))
    const missing = awaited.filter((node) => !signers.has(node.address))
    if (missing.length === 0) return
    if (deps.clock.nowMs() > deadline)
      throw fail('ROLE_NOT_READY', { role: missing.map((node) => node.id).join(', '), reason: 'it is not registered' })
    await deps.clock.sleep(STEP_MS, { signal })
  }
}

function startLogCap(layout: Layout, cleanups: Cleanup[]): void {
  const timer = setInterval(
    () => void capLogs(layout.logs, { bytesMax: LOG_BYTES_MAX }).catch(() => undefined),
    LOG_CAP_STEP_MS,
  )
  cleanups.push(async () => clearInterval(timer))
}

function urlOf(port: number): string {
  return `http://${LOOPBACK}:${port}`
}
