import type { ChainEngine } from '@weightless/chain'
import { preview, type Abortable, type Clock } from '@weightless/core'
import { processUsage } from '../processUsage.ts'
import type { RoleProcess } from './roleProcess.ts'
import { freeBytesOf, roomOf } from './room.ts'
import type { HandOffStatus, LeavingNode, NetworkStatus, NodeStatus, RoleStatus } from './status.ts'
import type { StorageNode } from './storageNodes.ts'

/** What `up` holds of its network, however far its start has come. */
export type NetworkParts = {
  readonly ready: boolean
  readonly phase: string
  readonly startedMs: number
  readonly dir: string
  readonly chainId: number
  readonly chainUrl: string
  readonly chain?: ChainEngine | undefined
  readonly gatewayUrl: string
  readonly gateway?: RoleProcess | undefined
  readonly nodes: readonly StorageNode[]
  readonly leaving: readonly LeavingNode[]
  /** Of the membership, by the chain; `undefined` before there is one. */
  readonly readRegistryVersion?: ((options: Abortable) => Promise<number>) | undefined
}

/** A status is asked by a person: a node that needs longer is shown without its numbers. */
const STATUS_MS_MAX = 2_000
/** What a node says of itself has some hundred bytes. */
const NODE_STATUS_BYTES_MAX = 64 * 1024

export async function readStatus(
  parts: NetworkParts,
  deps: { readonly clock: Clock },
  { signal }: Abortable,
): Promise<NetworkStatus> {
  const { chain, gateway } = parts
  const scope = AbortSignal.any([deps.clock.deadline(STATUS_MS_MAX), ...(signal === undefined ? [] : [signal])])
  const [chainStatus, gatewayStatus, freeBytes, registryVersion, ...told] = await Promise.all([
    roleStatus({
      url: parts.chainUrl,
      pid: chain?.pid,
      state: chain?.pid === undefined ? 'down' : 'running',
      restarts: chain?.restartCount ?? 0,
    }),
    roleStatus(gateway ?? { url: parts.gatewayUrl, pid: undefined, state: 'down', restarts: 0 }),
    freeBytesOf(parts.dir),
    parts.readRegistryVersion?.({ signal: scope }).catch(() => null) ?? null,
    ...parts.nodes.map((node) => toldStatus(node, scope)),
  ])
  const nodes = told.map(({ status }) => status)
  const known = nodes.flatMap((node) => (node.nextSeq === null ? [] : [node.nextSeq]))
  return {
    ready: parts.ready,
    phase: parts.phase,
    pid: process.pid,
    rssBytes: process.memoryUsage.rss(),
    startedMs: parts.startedMs,
    dir: parts.dir,
    chain: {
      ...chainStatus,
      chainId: parts.chainId,
      headBlock: chain?.head()?.number ?? null,
      finalizedBlock: chain?.finalized()?.number ?? null,
      fault: chain?.fault?.message ?? null,
    },
    gateway: gatewayStatus,
    storage: {
      entryCount: known.length === 0 ? null : Math.max(...known),
      registryVersion,
      leaving: parts.leaving,
      bytesByLosses: sumOf(told.map(({ bytesByLosses }) => bytesByLosses)),
      nodes,
    },
    disk: { freeBytes, room: roomOf(freeBytes) },
  }
}

async function roleStatus(
  role: Pick<RoleProcess, 'url' | 'pid' | 'restarts'> & { readonly state: RoleStatus['state'] },
): Promise<RoleStatus> {
  const { url, pid, state, restarts } = role
  const usage = pid === undefined ? undefined : await processUsage(pid)
  return { url, pid: pid ?? null, state, restarts, rssBytes: usage?.rssBytes ?? null }
}

type ToldStatus = { readonly status: NodeStatus; readonly bytesByLosses: Readonly<Record<string, number>> }

async function toldStatus(node: StorageNode, signal: AbortSignal): Promise<ToldStatus> {
  const { pid, restarts } = node.process
  const [role, told, member] = await Promise.all([
    roleStatus({ url: node.url, pid, state: node.state, restarts }),
    pid === undefined ? undefined : askNode(node.url, signal),
    node.readMember({ signal }).then(
      (own) => own?.status ?? 'none',
      () => null,
    ),
  ])
  const { store, sync, scrub, nextSeq, chain } = told ?? {}
  const status = {
    id: node.id,
    ...role,
    dataDir: node.dataDir,
    segmentCount: whole(store?.segmentCount),
    usedBytes: whole(store?.usedBytes),
    capacityBytes: whole(store?.capacityBytes),
    readOnly: typeof store?.readOnly === 'boolean' ? store.readOnly : null,
    brokenBy: typeof store?.brokenBy === 'string' ? preview(store.brokenBy) : null,
    nextSeq: whole(nextSeq),
    missingBytes: whole(sync?.missingBytes),
    missingEntryCount: whole(sync?.missingEntryCount),
    repairedBytes: whole(sync?.roundBytes),
    repairedEntryCount: whole(sync?.roundEntryCount),
    etaSeconds: whole(sync?.etaSeconds),
    repairHindrance: typeof sync?.hindrance === 'string' ? preview(sync.hindrance) : null,
    scrubbedMs: whole(scrub?.lastFullPassMs),
    handOff: handOffOf(told?.handOff),
    syncState: typeof sync?.state === 'string' ? preview(sync.state) : null,
    unavailableEntryCount: whole(sync?.unavailableEntryCount),
    isRedundancyKnown: told?.redundancy?.state === 'known',
    registryVersion: whole(told?.registryVersion),
    chainFault: typeof chain?.message === 'string' ? chain.message : null,
    member,
    heartbeatsLeft: whole(told?.member?.heartbeatsLeft),
    memberFault: typeof told?.member?.fault?.message === 'string' ? told.member.fault.message : null,
  }
  return { status, bytesByLosses: numbersOf(told?.redundancy?.bytes) }
}

const HAND_OFF_STATES = ['none', 'moving', 'stuck', 'done'] as const

function handOffOf(told: Told['handOff']): HandOffStatus | null {
  const state = HAND_OFF_STATES.find((one) => one === told?.state)
  if (state === undefined) return null
  return {
    state,
    leftBytes: whole(told?.leftBytes) ?? 0,
    leftEntryCount: whole(told?.leftEntryCount) ?? 0,
    handedOffBytes: whole(told?.handedOffBytes) ?? 0,
    homelessBytes: whole(told?.homelessBytes) ?? 0,
    unfinishedBytes: whole(told?.unfinishedBytes) ?? 0,
  }
}

function numbersOf(value: unknown): Readonly<Record<string, number>> {
  const fields = typeof value === 'object' && value !== null ? Object.entries(value) : []
  return Object.fromEntries(fields.filter(([, bytes]) => Number.isSafeInteger(bytes)))
}

function sumOf(all: readonly Readonly<Record<string, number>>[]): Readonly<Record<string, number>> {
  const sum: Record<string, number> = {}
  for (const one of all) for (const [name, bytes] of Object.entries(one)) sum[name] = (sum[name] ?? 0) + bytes
  return sum
}

type Told = {
  readonly nextSeq?: unknown
  readonly store?: { readonly [name: string]: unknown }
  readonly chain?: { readonly message?: unknown }
  readonly member?: {
    readonly heartbeatsLeft?: unknown
    readonly fault?: { readonly message?: unknown } | null
  } | null
  readonly sync?: { readonly [name: string]: unknown }
  readonly scrub?: { readonly lastFullPassMs?: unknown }
  readonly redundancy?: { readonly state?: unknown; readonly bytes?: unknown }
  readonly registryVersion?: unknown
  readonly handOff?: { readonly [name: string]: unknown }
}

/** `undefined` when the node does not answer. */
async function askNode(url: string, signal: AbortSignal): Promise<Told | undefined> {
  try {
    const response = await fetch(`${url}/v1/status`, { signal })
    const text = await response.text()
    return text.length > NODE_STATUS_BYTES_MAX ? undefined : (JSON.parse(text) as Told)
  } catch {
    return undefined
  }
}

function whole(value: unknown): number | null {
  return Number.isSafeInteger(value) ? (value as number) : null
}
