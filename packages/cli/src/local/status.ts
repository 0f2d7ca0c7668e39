import { areFundsLow, SEGMENT_SIZE_BYTES } from '@weightless/core'
import type { MemberStatus } from '@weightless/sdk'
import { formatBytes, table } from '../print.ts'
import { ROOM_NEXT, type Room } from './room.ts'

/** What `weightless status --json` prints. */
export type NetworkStatus = {
  readonly ready: boolean
  /** What a network that is not ready is doing. */
  readonly phase: string
  readonly pid: number
  readonly rssBytes: number
  readonly startedMs: number
  readonly dir: string
  readonly chain: RoleStatus & {
    readonly chainId: number
    readonly headBlock: number | null
    readonly finalizedBlock: number | null
    /** Why it makes no more blocks, with the next step; `null` while it does. */
    readonly fault: string | null
  }
  readonly gateway: RoleStatus
  readonly storage: {
    /** Entries of the log; `null` while nobody answers. */
    readonly entryCount: number | null
    /** Bytes of objects by how many more nodes may be lost (`0`, `1`, … `8+`, `lost`, `unknown`), as far as nodes answer. */
    readonly bytesByLosses: Readonly<Record<string, number>>
    /** Version of the membership by the chain; `null` while it does not answer. */
    readonly registryVersion: number | null
    /** Nodes that were removed while the registry did not let them leave yet; `up` sees to it. */
    readonly leaving: readonly LeavingNode[]
    readonly nodes: readonly NodeStatus[]
  }
  readonly disk: { readonly freeBytes: number; readonly room: Room }
}

export type RoleStatus = {
  readonly url: string
  readonly pid: number | null
  readonly state: RoleState
  /** How often it was started again by itself. */
  readonly restarts: number
  readonly rssBytes: number | null
}

/** `leavesAtS`: unix seconds by the chain; `null` when that was not known yet. */
export type LeavingNode = { readonly id: string; readonly leavesAtS: number | null }

/** `waiting`: it failed and is started again after a pause. `draining`: it runs, and is out of the active set. */
export type RoleState = 'starting' | 'running' | 'draining' | 'waiting' | 'down'

export type NodeStatus = RoleStatus & {
  readonly id: string
  readonly dataDir: string
  readonly segmentCount: number | null
  readonly usedBytes: number | null
  readonly capacityBytes: number | null
  readonly readOnly: boolean | null
  /** The code of what made it read-only. */
  readonly brokenBy: string | null
  readonly nextSeq: number | null
  /** Bytes that belong on this node and are not there yet; it fetches them from the others. */
  readonly missingBytes: number | null
  readonly missingEntryCount: number | null
  /** What of the same work is done. */
  readonly repairedBytes: number | null
  readonly repairedEntryCount: number | null
  /** Until they are there; `null` while nothing is fetched. */
  readonly etaSeconds: number | null
  /** Why nothing more is repaired, `STORE_FULL` and its like; `null` where nothing stands in the way. */
  readonly repairHindrance: string | null
  /** When all that it holds was last read and found good or repaired; `null` before the first time. */
  readonly scrubbedMs: number | null
  /** What a node that drains has yet to hand off; `null` while it does not answer. */
  readonly handOff: HandOffStatus | null
  /** What it works on: `complete`, `fetching`, `looking`, `starting`, or `waiting` for what nobody has. */
  readonly syncState: string | null
  /** Entries that it misses and that no node has. */
  readonly unavailableEntryCount: number | null
  /** Whether its part of `bytesByLosses` is complete. */
  readonly isRedundancyKnown: boolean
  /** Version of the membership that it sees. */
  readonly registryVersion: number | null
  /** Why it cannot follow the chain, with the next step; `null` while it does. */
  readonly chainFault: string | null
  /** What the registry says of it; `null` while the chain does not answer. */
  readonly member: MemberStatus | null
  /** Heartbeats that its account pays for; `null` while that is not known. */
  readonly heartbeatsLeft: number | null
  /** Why its last transaction failed, with the next step. */
  readonly memberFault: string | null
}

export type HandOffStatus = {
  /** `none`: it does not drain. `stuck`: only another node that joins can go on. `done`: nothing would be lost with it. */
  readonly state: 'none' | 'moving' | 'stuck' | 'done'
  /** What its new homes have not signed for yet. */
  readonly leftBytes: number
  readonly leftEntryCount: number
  readonly handedOffBytes: number
  /** Of what is left: objects with more slots or copies than there are nodes for them. */
  readonly homelessBytes: number
  /** Uploads that nobody completed: they hold nothing up. */
  readonly unfinishedBytes: number
}

export function describeStatus(status: NetworkStatus): string {
  const { chain, gateway, storage } = status
  const rows = [
    ['ROLE', 'STATE', 'PID', 'RSS', 'SEGMENTS', 'DISK', 'URL'],
    ['up', status.ready ? 'ready' : status.phase, String(status.pid), formatBytes(status.rssBytes), '', '', ''],
    ['chain', describeState(chain), pid(chain), rss(chain), `block ${chain.headBlock ?? '?'}`, '', chain.url],
    ['gateway', describeState(gateway), pid(gateway), rss(gateway), '', '', gateway.url],
    ...storage.nodes.map((node) => [
      node.id,
      `${node.state === 'draining' ? describeDrain(node) : describeState(node)}${describeMember(node)}${node.readOnly === true ? `, read-only${node.brokenBy === null ? '' : `: ${node.brokenBy}`}` : ''}${isFull(node) ? ', full' : ''}${describeMissing(node)}`,
      pid(node),
      rss(node),
      String(node.segmentCount ?? '?'),
      node.usedBytes === null ? '?' : formatBytes(node.usedBytes),
      node.url,
    ]),
  ]
  return [
    table(rows),
    '',
    ...storage.nodes.flatMap(({ id, chainFault }) =>
      chainFault === null ? [] : [`${id} does not follow the chain. ${chainFault}`, ''],
    ),
    ...storage.nodes.flatMap(({ id, memberFault }) =>
      memberFault === null ? [] : [`${id} cannot say that it lives. ${memberFault}`, ''],
    ),
    ...(chain.fault === null ? [] : [`The chain has stopped. ${chain.fault}`, '']),
    ...describeRoom(status.disk),
    ...describeRepairs(storage.nodes),
    ...describeRedundancy(storage),
    ...storage.leaving.map(
      ({ id, leavesAtS }) =>
        `${id} is removed and leaves the registry ${describeTime(leavesAtS)}; its stake follows then`,
    ),
    `${storage.entryCount ?? '?'} entries in the log, ${formatBytes(status.disk.freeBytes)} free on disk, directory ${status.dir}`,
  ].join('\n')
}

function describeRoom({ freeBytes, room }: NetworkStatus['disk']): readonly string[] {
  const free = formatBytes(freeBytes)
  if (room === 'full') return [`The disk is full: ${free} free. Nothing new is stored. ${ROOM_NEXT}`, '']
  return room === 'low' ? [`The disk fills up: ${free} free. ${ROOM_NEXT}`, ''] : []
}

/** No whole segment fits any more. */
function isFull({ usedBytes, capacityBytes }: NodeStatus): boolean {
  return usedBytes !== null && capacityBytes !== null && capacityBytes - usedBytes < SEGMENT_SIZE_BYTES
}

/** What is not so with a node that is well. Whether it drains its state says. */
function describeMember({ member, heartbeatsLeft }: NodeStatus): string {
  const standing = member === 'stale' ? ', stale' : member === 'none' || member === 'left' ? ', no member' : ''
  return `${standing}${areFundsLow(heartbeatsLeft) ? ', funds low' : ''}`
}

function describeMissing({ missingBytes }: NodeStatus): string {
  return missingBytes === null || missingBytes === 0 ? '' : `, ${formatBytes(missingBytes)} missing`
}

function describeRepairs(nodes: readonly NodeStatus[]): readonly string[] {
  const lines = nodes.flatMap((node) => {
    const { id, missingBytes, missingEntryCount, repairedBytes, repairedEntryCount, etaSeconds } = node
    if (!missingBytes || missingEntryCount === null) return []
    const [entryCount, bytes] = [repairedEntryCount ?? 0, repairedBytes ?? 0]
    const entries = `${entryCount} of ${entryCount + missingEntryCount} entries`
    const size = `${formatBytes(bytes)} of ${formatBytes(bytes + missingBytes)}`
    const hindrance = node.repairHindrance === null ? '' : `, held up by ${node.repairHindrance}`
    return [`${id}: repairing ${entries}, ${size}${etaSeconds === null ? '' : `, about ${etaSeconds} s`}${hindrance}`]
  })
  return lines.length === 0 ? [] : [...lines, '']
}

/** Worst first. Nodes tell what the certificates of members say, and a node that has just died is a member still. */
function describeRedundancy({ bytesByLosses, nodes }: NetworkStatus['storage']): readonly string[] {
  const downCount = nodes.filter(({ state, member }) => state === 'down' && member === 'active').length
  const caveat =
    downCount === 0 ? '' : ` (${downCount} down: counted as there, what they reported left out, until marked stale)`
  const names = ['lost', ...Array.from({ length: 8 }, (_, losses) => String(losses)), '8+', 'unknown']
  const parts = names.flatMap((name) => {
    const bytes = bytesByLosses[name] ?? 0
    if (bytes === 0) return []
    if (name === 'lost') return [`${formatBytes(bytes)} lost`]
    if (name === 'unknown') return [`${formatBytes(bytes)} without a certificate`]
    return [`${formatBytes(bytes)} survive${name === '0' ? ' no more loss' : ` ${name} more`}`]
  })
  if (parts.length === 0 && downCount === 0) return []
  return [`Losses of nodes: ${parts.length === 0 ? 'nothing reported' : parts.join(', ')}${caveat}`]
}

/** A time of the chain. */
export function describeTime(seconds: number | null): string {
  return seconds === null ? 'later' : `at ${new Date(seconds * 1000).toISOString()}`
}

/** What stands for `draining` while more is known. */
function describeDrain({ handOff }: NodeStatus): string {
  switch (handOff?.state) {
    case 'done':
      return 'drained: safe to remove'
    case 'stuck':
      return 'draining, stuck: add a node'
    case 'moving':
      return `draining, ${formatBytes(handOff.leftBytes)} to hand off`
    default:
      return 'draining'
  }
}

function describeState(role: RoleStatus): string {
  return role.restarts > 0 ? `${role.state}, restarted ${role.restarts}x` : role.state
}

function pid(role: RoleStatus): string {
  return role.pid === null ? '-' : String(role.pid)
}

function rss(role: RoleStatus): string {
  return role.rssBytes === null ? '' : formatBytes(role.rssBytes)
}
