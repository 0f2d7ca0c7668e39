import type { Entry, Member } from '@weightless/core'
import { isFailure, jsonRpcCodes, layoutOf, SEGMENT_CHUNKS } from '@weightless/core'
import type { EntryIndex } from '../flow/entries.ts'
import type { MembershipView } from '../flow/membership.ts'
import type { Peers } from '../peers/peers.ts'
import type { Span } from '../sync/planSync.ts'
import type { Sync, SyncJob } from '../sync/sync.ts'
import { invalidParam, RpcFault } from '../zgs/fault.ts'
import { countParam } from '../zgs/params.ts'
import { metricLines } from './metricLines.ts'
import { hostOf, multiaddrOf } from './multiaddr.ts'

export type AdminMethod = (params: readonly unknown[], options: { readonly signal: AbortSignal }) => Promise<unknown>
export type AdminMethods = ReadonlyMap<string, AdminMethod>

export type AdminMethodsDeps = {
  readonly entries: EntryIndex
  readonly membership: MembershipView
  readonly peers: Peers
  readonly sync: Sync
  readonly nowMs: () => number
  readonly version: string
  /** The address of this node's key; `undefined` when it has none. */
  readonly self: string | undefined
  /** Where the public server listens. */
  readonly publicUrl: () => string
  readonly renderMetrics: () => Promise<string>
  /** Ends the process in order. */
  readonly shutDown: () => void
}

/** Whole files: each node of ours that holds an entry holds all of it (DESIGN D7, numShard 1). */
const WHOLE = { shardId: 0, numShard: 1 } as const
/** How long a question to the other nodes may take: the official indexer gives up after 30 s. */
const LOCATE_MS_MAX = 10_000

/**
 * The `admin_*` methods of the official storage node (spec/storage.md 3.5) and its `miner_*`, for its private listener only.
 * docs/admin.md says for each field whether it is live or constant, and why.
 */
export function adminMethods(deps: AdminMethodsDeps): AdminMethods {
  const { entries, membership, peers, sync } = deps

  function entryParam(value: unknown): Entry {
    const seq = countParam(value, 'tx_seq')
    const entry = entries.bySeq(seq)
    if (entry === undefined) throw invalidParam('tx_seq', 'unknown: this node has not seen the entry')
    return entry
  }

  function startSync(entry: Entry, range?: Span): null {
    try {
      sync.start(entry.seq, range)
    } catch (error) {
      if (isFailure(error, 'ENTRY_UNKNOWN')) throw invalidParam('tx_seq', error.message)
      throw error
    }
    return null
  }

  const others = (): readonly Member[] => membership.current().members.filter(({ signer }) => signer !== deps.self)
  const countOf = (state: ReturnType<Peers['standing']>['state']): number =>
    others().filter((member) => peers.standing(member).state === state).length

  function infoOf(job: SyncJob): object {
    const goal = { from: job.goal.from * SEGMENT_CHUNKS, to: (job.goal.from + job.goal.count) * SEGMENT_CHUNKS }
    return {
      elapsedSecs: Math.floor((deps.nowMs() - job.sinceMs) / 1000),
      peers: job.sourceCount === 0 ? {} : { connected: job.sourceCount },
      goal: { numChunks: goal.to - goal.from, indexStart: goal.from, indexEnd: goal.to },
      nextChunks: job.next * SEGMENT_CHUNKS,
      state: stateOf(job),
    }
  }

  function peerOf(member: Member): object {
    const { state, lastSeenMs } = peers.standing(member)
    const host = hostOf(member.endpoint)
    return {
      client: { version: deps.version, os: 'unknown', protocol: 'http', agent: `weightless/${deps.version}` },
      connectionStatus: {
        status: state,
        connectionsIn: 0,
        connectionsOut: state === 'connected' ? 1 : 0,
        lastSeenSecs: lastSeenMs === undefined ? 0 : Math.floor((deps.nowMs() - lastSeenMs) / 1000),
      },
      listeningAddresses: [multiaddrOf(member.endpoint)].filter((address) => address !== undefined),
      seenIps: host === undefined ? [] : [host],
      isTrusted: false,
      connectionDirection: 'Outgoing',
      enr: null,
    }
  }

  return new Map<string, AdminMethod>([
    // The official node asks the network to announce who has the file; here the log and the placement say whom to ask.
    [
      'admin_findFile',
      async ([seq]) => {
        entryParam(seq)
        return null
      },
    ],
    [
      'admin_shutdown',
      async () => {
        deps.shutDown()
        return null
      },
    ],
    ['admin_startSyncFile', async ([seq]) => startSync(entryParam(seq))],
    [
      'admin_startSyncChunks',
      async ([seq, start, end]) => {
        const entry = entryParam(seq)
        const [from, to] = [countParam(start, 'start_index'), countParam(end, 'end_index')]
        if (from >= to || to > layoutOf(entry.sizeBytes).chunkCount)
          throw invalidParam('end_index', 'invalid chunk index')
        const first = Math.floor(from / SEGMENT_CHUNKS)
        return startSync(entry, { from: first, count: Math.ceil(to / SEGMENT_CHUNKS) - first })
      },
    ],
    ['admin_terminateSync', async ([seq]) => sync.stop(countParam(seq, 'tx_seq'))],
    [
      'admin_getSyncServiceState',
      async () => {
        const { state, missingEntryCount } = sync.status()
        const catchedUp = state === 'starting' || state === 'looking' ? null : missingEntryCount === 0
        return { numSyncing: sync.activeCount(), catchedUp, autoSyncSerial: null, autoSyncRandom: null }
      },
    ],
    [
      'admin_getSyncStatus',
      async ([seq]) => {
        const job = sync.job(countParam(seq, 'tx_seq'))
        return job === undefined ? 'unknown' : stateOf(job)
      },
    ],
    [
      'admin_getSyncInfo',
      async ([seq]) => {
        const one = seq === undefined || seq === null ? undefined : sync.job(countParam(seq, 'tx_seq'))
        const jobs = seq === undefined || seq === null ? sync.jobs(LISTED_MAX) : one === undefined ? [] : [one]
        return Object.fromEntries(jobs.map((job) => [String(job.seq), infoOf(job)]))
      },
    ],
    [
      'admin_getNetworkInfo',
      async () => ({
        peerId: deps.self ?? '',
        listenAddresses: [multiaddrOf(deps.publicUrl())].filter((address) => address !== undefined),
        totalPeers: others().length,
        bannedPeers: countOf('banned'),
        disconnectedPeers: countOf('disconnected') + countOf('unknown'),
        connectedPeers: countOf('connected'),
        connectedOutgoingPeers: countOf('connected'),
        connectedIncomingPeers: 0,
      }),
    ],
    ['admin_getPeers', async () => Object.fromEntries(others().map((member) => [member.signer, peerOf(member)]))],
    [
      'admin_getFileLocation',
      // Every holder of ours covers all shards, so the second parameter, allShards, changes nothing.
      async ([seq], { signal }) => {
        const holders = await sync.locate(entryParam(seq).seq, { signal, timeoutMs: LOCATE_MS_MAX })
        const ips = holders.map(({ endpoint }) => hostOf(endpoint)).filter((ip) => ip !== undefined)
        return ips.length === 0 ? null : [...new Set(ips)].map((ip) => ({ ip, shardConfig: WHOLE }))
      },
    ],
    [
      'admin_getMetrics',
      async ([prefix]) => {
        if (prefix !== undefined && prefix !== null && typeof prefix !== 'string')
          throw invalidParam('prefix', 'a text is expected')
        return metricLines(await deps.renderMetrics(), prefix ?? '')
      },
    ],
    // Mining is not built: nothing was started, stopped or moved.
    ['miner_start', async () => false],
    ['miner_stop', async () => false],
    ['miner_setStartPosition', async () => false],
  ])
}

/** Entries of one answer: more than a person reads, and bounded. */
const LISTED_MAX = 1000

/** In the words of the official node's states, for what they have in common. */
function stateOf(job: SyncJob): string {
  switch (job.state) {
    case 'queued':
      return 'Idle'
    case 'searching':
      return 'FindingPeers'
    case 'fetching':
      return 'AwaitingDownload'
    case 'unavailable':
      return 'Failed { reason: no peer has the segments; tried again later }'
  }
}

/** Looks a method up and calls it. Throws `RpcFault`. */
export async function callAdmin(
  methods: AdminMethods,
  call: { readonly method: string; readonly params: unknown },
  options: { readonly signal: AbortSignal },
): Promise<unknown> {
  const method = methods.get(call.method)
  if (method === undefined) throw new RpcFault(jsonRpcCodes.methodNotFound, 'Method not found')
  if (!Array.isArray(call.params)) throw invalidParam('params', 'positional parameters in an array are expected')
  return await method(call.params as readonly unknown[], options)
}
