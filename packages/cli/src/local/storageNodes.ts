import { rm } from 'node:fs/promises'
import {
  addressOfPrivateKey,
  isFailure,
  SOCKET_PATH_BYTES_MAX,
  type Abortable,
  type Address,
  type Clock,
  type Logger,
} from '@weightless/core'
import { createPrivateKey, freePorts, readPrivateKey, systemRandom, writeFileAtomic } from '@weightless/host'
import {
  createTransactor,
  drainMember,
  privateKeySigner,
  readOwnMember,
  readVersion,
  type OwnMember,
  type Rpc,
  type Transactor,
} from '@weightless/sdk'
import { LOCAL_NODES_MAX } from '../arguments.ts'
import { fail } from '../errors.ts'
import type { NodeChange, NodeVerb } from './admin.ts'
import type { Layout } from './directory.ts'
import { leaveRegistry } from './leaving.ts'
import { fundNodes } from './nodeFunds.ts'
import { LOOPBACK, nodePort } from './ports.ts'
import { storageConfig, type ChainFacts } from './roleConfig.ts'
import { createRoleProcess, type RoleProcess } from './roleProcess.ts'
import { writeState, type NetworkState, type NodeState } from './state.ts'
import type { LeavingNode, RoleState } from './status.ts'

/** The storage nodes of a local network: each a process, a key, a port and a data directory. */
export type StorageNodes = {
  list(): readonly StorageNode[]
  /** Starts all, each for itself, and answers with those that did not start. Throws when none did, or the first failure. */
  startAll(
    options: { readonly onFailure: 'throw' | 'goOn' } & Abortable,
  ): Promise<readonly { readonly id: string; readonly error: unknown }[]>
  /** A node to be replaced that is down is removed at once; one that lives is drained, for whoever asked to wait for and remove. */
  add(options: { readonly replace: string | undefined } & Abortable): Promise<NodeChange>
  /** `rm` removes the node as it is: whether anything would be lost with it is for the caller to look at first. */
  change(id: string, verb: NodeVerb, options: Abortable): Promise<NodeChange>
  /** Those that were removed while the registry did not let them leave. */
  leaving(): readonly LeavingNode[]
  /** Lets those leave whose time has come. */
  settleLeaving(options: Abortable): Promise<void>
  /** Version of the membership by the chain. */
  readRegistryVersion(options: Abortable): Promise<number>
  stopAll(): Promise<void>
}

export type StorageNode = {
  readonly id: string
  readonly url: string
  readonly dataDir: string
  readonly adminSocket: string | undefined
  readonly address: Address
  readonly process: RoleProcess
  readonly state: RoleState
  /** What the registry says of it; `undefined` when it was never a member. */
  readMember(options: Abortable): Promise<OwnMember | undefined>
}

export type StorageNodesOptions = {
  readonly layout: Layout
  readonly entry: string
  readonly chain: ChainFacts
  readonly gatewayUrl: string
  readonly state: NetworkState
}
export type StorageNodesDeps = {
  readonly rpc: Rpc
  /** Pays for the stakes and the gas of nodes. */
  readonly funder: Transactor
  readonly clock: Clock
  readonly logger: Logger
  readonly onChange: () => void
}

/** A new node says who it is within a block. */
const MEMBER_MS_MAX = 30_000
const MEMBER_STEP_MS = 50

type Held = { readonly address: Address; readonly wallet: Transactor; readonly process: RoleProcess }

export async function openStorageNodes(
  options: StorageNodesOptions,
  deps: StorageNodesDeps,
  { signal }: Abortable,
): Promise<StorageNodes> {
  const { layout, chain } = options
  const registry = chain.registry as Address
  let state = options.state
  const held = new Map<string, Held>()
  // Changes come one after the other: two commands at once must not choose the same port or write the state half each.
  let turn: Promise<unknown> = Promise.resolve()
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const done = turn.then(work)
    turn = done.catch(() => undefined)
    return done
  }

  const save = async (next: NetworkState): Promise<void> => {
    await writeState(layout, next)
    state = next
    deps.onChange()
  }

  async function open(node: NodeState): Promise<Held> {
    const keyFile = layout.key(node.id)
    const key = await readPrivateKey(keyFile).catch((error: unknown) => {
      if (isFailure(error, 'KEY_FILE_MISSING')) return createPrivateKey(keyFile)
      throw error
    })
    const config = storageConfig(chain, {
      id: node.id,
      port: node.port,
      dataDir: layout.node(node.id),
      keyFile,
      gatewayUrl: options.gatewayUrl,
      adminSocket: adminSocketOf(layout, node.id),
    })
    await writeFileAtomic(layout.config(node.id), config, { mode: 0o600 })
    const process = createRoleProcess(
      {
        name: node.id,
        url: urlOf(node),
        entry: options.entry,
        configFile: layout.config(node.id),
        logFile: layout.log(node.id),
        restart: 'never',
      },
      deps,
    )
    const one: Held = { address: addressOfPrivateKey(key), wallet: walletOf(key), process }
    held.set(node.id, one)
    return one
  }

  function walletOf(key: Uint8Array): Transactor {
    return createTransactor(
      { chainId: chain.chainId, signer: privateKeySigner(key) },
      { ...deps, random: systemRandom },
    )
  }

  function find(id: string): { readonly node: NodeState; readonly one: Held } {
    const node = state.nodes.find((candidate) => candidate.id === id)
    const one = held.get(id)
    if (node === undefined || one === undefined)
      throw fail('NODE_UNKNOWN', { id, known: state.nodes.map((other) => other.id).join(', ') })
    return { node, one }
  }

  async function add(abortable: Abortable): Promise<NodeState> {
    if (state.nodes.length >= LOCAL_NODES_MAX)
      throw fail('NODE_LIMIT', { nodes: state.nodes.length, nodesMax: LOCAL_NODES_MAX })
    const port = state.portBase === 0 ? (await freePorts(1))[0]! : nodePort(state.portBase, state.nextNode)
    const node: NodeState = { id: `node-${state.nextNode}`, port, draining: false }
    const one = await open(node)
    await fundNodes([one.address], deps, abortable)
    await save({ ...state, nextNode: state.nextNode + 1, nodes: [...state.nodes, node] })
    await one.process.start(abortable)
    return node
  }

  /** Out of the active set: writers no longer choose it. */
  async function drain(id: string, abortable: Abortable): Promise<void> {
    const { one } = find(id)
    const member = await readOwnMember(deps.rpc, registry, one.address, abortable)
    if (member?.status === 'active' || member?.status === 'stale') await drainMember(one.wallet, registry, abortable)
    await save({ ...state, nodes: state.nodes.map((node) => (node.id === id ? { ...node, draining: true } : node)) })
  }

  /** Resolves to the stake that came back, or when the registry lets it come. */
  async function remove(id: string, abortable: Abortable): Promise<Pick<NodeChange, 'withdrawnWei' | 'leavesAtS'>> {
    await drain(id, abortable)
    const { one } = find(id)
    await one.process.stop()
    await rm(layout.node(id), { recursive: true, force: true })
    await rm(layout.config(id), { force: true })
    held.delete(id)
    const nodes = state.nodes.filter((node) => node.id !== id)
    // Remembered first: whatever ends this process, a later one lets it leave.
    await save({ ...state, nodes, leaving: [...state.leaving, { id, leavesAtS: null }] })
    return await letLeave(id, one.wallet, abortable)
  }

  async function letLeave(
    id: string,
    wallet: Transactor,
    abortable: Abortable,
  ): Promise<Pick<NodeChange, 'withdrawnWei' | 'leavesAtS'>> {
    const others = state.leaving.filter((one) => one.id !== id)
    try {
      const leave = await leaveRegistry(wallet, registry, deps, abortable)
      if (leave.kind === 'later') {
        const { leavesAtS } = leave
        await save({ ...state, leaving: [...others, { id, leavesAtS }] })
        return { leavesAtS }
      }
      await save({ ...state, leaving: others })
      deps.logger.info('member.left', { id, withdrawnWei: leave.withdrawnWei })
      return { withdrawnWei: leave.withdrawnWei.toString() }
    } catch (error) {
      abortable.signal?.throwIfAborted()
      // The node is gone and its stake waits: tried again as long as this is not done.
      deps.logger.warn('member.notLeft', { id, error })
      return { leavesAtS: null }
    }
  }

  async function settleLeaving(abortable: Abortable): Promise<void> {
    for (const { id } of state.leaving) {
      abortable.signal?.throwIfAborted()
      try {
        await letLeave(id, walletOf(await readPrivateKey(layout.key(id))), abortable)
      } catch (error) {
        abortable.signal?.throwIfAborted()
        deps.logger.warn('member.notLeft', { id, error })
      }
    }
  }

  /** Placement counts on members: before another one drains, the new one is one. */
  async function untilMember(id: string, abortable: Abortable): Promise<void> {
    const { one } = find(id)
    const deadlineMs = deps.clock.nowMs() + MEMBER_MS_MAX
    for (;;) {
      const member = await readOwnMember(deps.rpc, registry, one.address, abortable)
      if (member?.status === 'active') return
      if (deps.clock.nowMs() > deadlineMs) throw fail('ROLE_NOT_READY', { role: id, reason: 'it is not registered' })
      await deps.clock.sleep(MEMBER_STEP_MS, abortable)
    }
  }

  function changed(id: string, extra: Partial<NodeChange> = {}): NodeChange {
    const { node, one } = find(id)
    return { id, url: urlOf(node), pid: one.process.pid ?? null, state: stateOf(node, one), ...extra }
  }

  for (const node of state.nodes) await open(node)
  await fundNodes(
    [...held.values()].map((one) => one.address),
    deps,
    { signal },
  )

  return {
    list: () =>
      state.nodes.flatMap((node) => {
        const one = held.get(node.id)
        if (one === undefined) return []
        return [
          {
            id: node.id,
            url: urlOf(node),
            dataDir: layout.node(node.id),
            adminSocket: adminSocketOf(layout, node.id),
            address: one.address,
            process: one.process,
            state: stateOf(node, one),
            readMember: (abortable) => readOwnMember(deps.rpc, registry, one.address, abortable),
          },
        ]
      }),
    startAll: async ({ onFailure, ...abortable }) => {
      const ids = [...held.keys()]
      const started = await Promise.allSettled([...held.values()].map((one) => one.process.start(abortable)))
      const absent = started.flatMap((result, place) =>
        result.status === 'rejected' ? [{ id: ids[place]!, error: result.reason as unknown }] : [],
      )
      if (absent.length > 0 && (onFailure === 'throw' || absent.length === started.length)) throw absent[0]!.error
      return absent
    },
    add: ({ replace, signal: scope }) =>
      inTurn(async () => {
        if (replace !== undefined) find(replace)
        const { id } = await add({ signal: scope })
        if (replace === undefined) return changed(id)
        if (find(replace).one.process.pid === undefined)
          return changed(id, { replaced: replace, ...(await remove(replace, { signal: scope })) })
        await untilMember(id, { signal: scope })
        await drain(replace, { signal: scope })
        return changed(id, { draining: replace })
      }),
    change: (id, verb, abortable) =>
      inTurn(async () => {
        const { node, one } = find(id)
        if (verb === 'start') {
          if (one.process.pid !== undefined) return changed(id)
          await one.process.start(abortable)
        } else if (verb === 'stop') await one.process.stop()
        else if (verb === 'drain') await drain(id, abortable)
        else {
          return { id, url: urlOf(node), pid: null, state: 'removed', ...(await remove(id, abortable)) }
        }
        return changed(id)
      }),
    leaving: () => state.leaving,
    settleLeaving: (abortable) => inTurn(() => settleLeaving(abortable)),
    readRegistryVersion: (abortable) => readVersion(deps.rpc, registry, abortable),
    stopAll: async () => {
      await Promise.all([...held.values()].map((one) => one.process.stop()))
    },
  }
}

function urlOf(node: NodeState): string {
  return `http://${LOOPBACK}:${node.port}`
}

/** `undefined` in a directory whose path is too long for a socket, and where there are no socket files. */
function adminSocketOf(layout: Layout, id: string): string | undefined {
  const path = layout.socket(id)
  return process.platform === 'win32' || Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX ? undefined : path
}

function stateOf(node: NodeState, one: Held): RoleState {
  return node.draining && one.process.state === 'running' ? 'draining' : one.process.state
}
