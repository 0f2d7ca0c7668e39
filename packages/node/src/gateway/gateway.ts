import type { Address, Clock, Entry, ErasureCode, Index, Kernels, Logger, Net, Root } from '@weightless/core'
import { SEGMENT_SIZE_BYTES, UPLOAD_IDLE_MS } from '@weightless/core'
import type { Client } from '@weightless/sdk'
import { createCertificates } from '../erasure/certificates.ts'
import { createFingerprints } from '../erasure/fingerprints.ts'
import { createHeldShards } from '../erasure/heldShards.ts'
import { lookupByRoot } from '../flow/entries.ts'
import type { Follower } from '../flow/follow.ts'
import { NO_REGISTRY, type MembershipView } from '../flow/membership.ts'
import { createParityIndex } from '../flow/parities.ts'
import type { FastBytes } from '../http/fastBytes.ts'
import { ANSWER_PACE, BODY_PACE, createGate } from '../http/gate.ts'
import { createService, type ServiceCall, type RoleMetrics, type Service } from '../http/service.ts'
import { createSpareBuffers } from '../http/spareBuffers.ts'
import { createEarly } from '../segments/early.ts'
import { createShelf } from '../segments/shelf.ts'
import type { SegmentStore } from '../store/store.ts'
import { findCertificate } from '../sync/findCertificate.ts'
import { zgsMethods } from '../zgs/compat.ts'
import { createRpcEndpoint } from '../zgs/endpoint.ts'
import { createGatewayBackend } from './backend.ts'
import { indexerMethods } from './compat.ts'
import { createBatchBodies } from './batchBodies.ts'
import { createCertificateRoute } from './certificateRoute.ts'
import { createDispersal } from './dispersal.ts'
import { createBudget } from './budget.ts'
import { createLedger } from './ledger.ts'
import { createParityGiver } from './parity.ts'
import { createPeers } from '../peers/peers.ts'
import { createSegmentReader } from './reader.ts'
import { createReceiptRoute } from './receiptRoute.ts'
import { createReceiptSearch } from './receiptSearch.ts'
import { createRestRoutes } from './rest.ts'
import { createSegmentWindow } from './segmentWindow.ts'
import { createShardReads } from './shardReads.ts'

export type GatewayRoleOptions = {
  readonly version: string
  readonly chainId: number
  readonly flow: Address
  readonly registry: Address | undefined
  readonly replicas: number
  readonly policy: GatewayPolicy
  /** Asked when it is needed: the server may have chosen its port by then. */
  readonly publicUrl: () => string
}

/** What uploads of official clients get (DESIGN D8). `none`: what is synced in the spool stays there, and is all there is. */
export type GatewayPolicy =
  | { readonly kind: 'replicate' | 'none' }
  | {
      readonly kind: 'erasure'
      readonly code: ErasureCode
      readonly dayBytesMax: number
      readonly addressDayBytesMax: number
      readonly gateways: readonly Address[]
    }

export type GatewayRoleDeps = {
  readonly follower: Follower
  readonly membership: MembershipView
  readonly spool: SegmentStore
  /** How this role uses the storage nodes as any user would: for shards. */
  readonly client: Client
  readonly index: Index
  readonly kernels: Kernels
  readonly net: Net
  readonly clock: Clock
  readonly logger: Logger
  readonly metrics: RoleMetrics
  readonly bytes: FastBytes
  readonly signal: AbortSignal
}

export type GatewayRole = {
  readonly handle: Service
  /** What the role does by itself; resolves when `signal` aborts. */
  run(options: { readonly signal: AbortSignal }): Promise<void>
  /** A segment of the spool went bad. */
  onLost(root: Root): void
}

/** Bodies of segments in memory at once: 140 segments of an official client, more than disk and hash can work on. */
const BODIES_BYTES_MAX = 48 * 1024 ** 2
/** Of these, bodies that arrive at speed: those that the spare buffers below serve. */
const BURST_BYTES_MAX = 8 * 1024 ** 2
/** Buffers kept between bodies: 24 segments of an official client. */
const SPARE_BYTES_MAX = 9 * 1024 ** 2
/** Buffers kept between segments: as many. */
const SPARE_SEGMENT_BYTES_MAX = 6 * 1024 ** 2
/** Segments kept in memory from the spool's sync to their departure: a batch on its way and one that fills. */
const WINDOW_BYTES_MAX = 8 * 1024 ** 2
/** Segments on their way to official clients: 32 at once. */
const ANSWERS_BYTES_MAX = 32 * 1024 ** 2
/** Files being sent over REST, two segments each: 128 slow readers. */
const STREAMS_BYTES_MAX = 64 * 1024 ** 2
/** Below what an official client waits for an answer (30 s). */
const QUEUE_MS_MAX = 20_000
/** One place per connection that the server allows. */
const QUEUE_COUNT_MAX = 4096
const SWEEP_MS = 30_000
/** How long a client that asks where its upload is waits for that to be final: dispersal of 64 MB on a busy machine. */
const FINAL_WAIT_MS_MAX = 5_000
const FINAL_STEP_MS = 100
/** Entries on their way at once, when one is added whose bytes are not here; others wait until they are asked for again. */
const REPAIRS_MAX = 1024

/** The front door (DESIGN D8): one node to official clients, a writer and reader to the storage nodes behind it. */
export function createGatewayRole(options: GatewayRoleOptions, deps: GatewayRoleDeps): GatewayRole {
  const { follower, membership, spool, index, kernels, clock, logger, bytes, metrics } = deps
  const { replicas, chainId, flow, registry, policy } = options
  const touchedMs = new Map<Root, number>()
  let expiredCount = 0
  const touch = (root: Root): void => void touchedMs.set(root, clock.nowMs())

  const gateOptions = { waitMsMax: QUEUE_MS_MAX, waitingMax: QUEUE_COUNT_MAX }
  const answers = createGate({ ...gateOptions, bytesMax: ANSWERS_BYTES_MAX, pace: ANSWER_PACE }, { clock })
  const shelf = createShelf({ store: spool, kernels, index, entries: follower.entries, logger })
  const peers = createPeers({ net: deps.net, clock, logger })
  const parities = createParityIndex({ index, entries: follower.entries })
  const held = createHeldShards({ store: spool, shelf })
  const certificates = createCertificates(
    { chainId, registry: registry ?? NO_REGISTRY },
    {
      index,
      membership,
      parities,
      held,
      // While the data is here, its own fingerprints count (docs/decisions/0013).
      fingerprints: createFingerprints({
        index,
        held,
        kernels,
        logger,
        codedOf: () => undefined,
        enter: answers.enter,
      }),
    },
  )
  const ledger = createLedger(
    { chainId, registry, replicas, isKept: policy.kind === 'none' ? shelf.isWhole : undefined },
    { index, entries: follower.entries, certificates, membership, logger },
  )
  const window = createSegmentWindow({ bytesMax: WINDOW_BYTES_MAX }, { clock })
  const reader = createSegmentReader(
    { replicas },
    {
      shelf,
      ledger,
      membership,
      peers,
      shards: createShardReads({ client: deps.client, logger, signal: deps.signal }),
      kernels,
      clock,
      logger,
      signal: deps.signal,
    },
  )
  const parity =
    policy.kind === 'erasure'
      ? createParityGiver(policy, {
          client: deps.client,
          entries: follower.entries,
          certificates,
          ledger,
          reader,
          budget: createBudget(policy, { index, clock }),
          index,
          clock,
          logger,
        })
      : undefined
  const bodiesOut = createBatchBodies({ shelf, window, fetch: reader.read })
  const dispersal = createDispersal(
    { replicas },
    { bodies: bodiesOut, ledger, membership, peers, parity, isSpooled: shelf.isWhole, clock, logger, onFinal: free },
  )
  const search = createReceiptSearch(
    { replicas },
    {
      ledger,
      membership,
      peers,
      clock,
      signal: deps.signal,
      isSpooled: (entry) => spool.presence(entry.root).heldCount > 0,
      async findCertificate(entry, { signal }) {
        for (const _ of parities.of(entry)) {
          const { members } = membership.current()
          await findCertificate(entry, { members, signal }, { certificates, parities, peers, logger })
          return
        }
      },
      // Nobody may ever send its bytes: official clients are told that content which is final under another number is here.
      onShort(entry) {
        if (dispersal.states().size < REPAIRS_MAX) dispersal.offer(entry)
      },
    },
  )
  const early = createEarly(
    [...spool.roots()].map((root) => ({ root, sizeBytes: spool.presence(root).heldCount * SEGMENT_SIZE_BYTES })),
    { clock, logger, entries: follower.entries, drop: shelf.drop },
  )
  const backend = createGatewayBackend({
    chainId,
    flow,
    follower,
    membership,
    shelf,
    spool,
    early,
    ledger,
    dispersal,
    search,
    reader,
    kernels,
    clock,
    logger,
    window,
    touch,
  })
  const spares = createSpareBuffers({ bytesMax: SPARE_BYTES_MAX })
  const segmentBuffers = createSpareBuffers({ bytesMax: SPARE_SEGMENT_BYTES_MAX, memory: 'shared' })
  const bodies = createGate(
    { ...gateOptions, bytesMax: BODIES_BYTES_MAX, burstBytesMax: BURST_BYTES_MAX, pace: BODY_PACE },
    { clock },
  )
  const streams = createGate({ ...gateOptions, bytesMax: STREAMS_BYTES_MAX, pace: ANSWER_PACE }, { clock })

  async function lookup(root: Root, { signal }: { readonly signal: AbortSignal }): Promise<Entry | undefined> {
    const entries = follower.entries.byRoot(root)
    const found = lookupByRoot(entries, ledger.isFinal)
    if (found === undefined || ledger.isFinal(found)) return found
    await backend.refresh(entries, { signal })
    return lookupByRoot(entries, ledger.isFinal)
  }

  /** Who uploaded may read at once: what lies here whole is served, final or not. Some clients read only what is final, so it gets a
   *  moment to become that. */
  async function servedByRoot(root: Root, { signal }: { readonly signal: AbortSignal }): Promise<Entry | undefined> {
    const found = await lookup(root, { signal })
    if (found === undefined || ledger.isFinal(found)) return found
    if (!shelf.isWhole(found)) return undefined
    for (let waitedMs = 0; waitedMs < FINAL_WAIT_MS_MAX && !ledger.isFinal(found); waitedMs += FINAL_STEP_MS)
      await clock.sleep(FINAL_STEP_MS, { signal })
    return found
  }

  /** Spool space is free when every entry that its bytes are for has its copies elsewhere (DESIGN D8). */
  function free(entry: Entry): void {
    if (policy.kind === 'none') return
    const open = follower.entries.byRoot(entry.root).filter((sharing) => !ledger.isFinal(sharing))
    for (const sharing of open) if (shelf.isWhole(sharing)) dispersal.offer(sharing)
    if (open.length > 0) return
    touchedMs.delete(entry.root)
    oweParity(entry.root)
      .then(() => shelf.drop(entry.root, { signal: deps.signal }))
      .catch((error: unknown) => {
        if (!deps.signal.aborted) logger.warn('spool.unfreed', { root: entry.root, error })
      })
  }

  /** What was uploaded here and has copies before it has its parity, because the homes found it at each other (sim seed 51302). */
  async function oweParity(root: Root): Promise<void> {
    if (parity === undefined) return
    for (const entry of follower.entries.byRoot(root))
      if (parity.covers(entry) && !ledger.isCertified(entry) && shelf.isWhole(entry)) await parity.owe(entry)
  }

  /** What a crash left behind, and what nobody went on with. */
  async function resume(signal: AbortSignal): Promise<void> {
    for (const root of Array.from(spool.roots())) {
      touch(root)
      const entries = follower.entries.byRoot(root)
      for (const entry of entries) {
        if (!ledger.isFinal(entry) && (await shelf.finish(entry, { signal }))) dispersal.offer(entry)
      }
      if (entries.length > 0 && entries.every(ledger.isFinal)) free(entries[0]!)
    }
  }

  async function sweep(signal: AbortSignal): Promise<void> {
    await early.expire({ signal })
    for (const root of Array.from(spool.roots())) {
      const entries = follower.entries.byRoot(root)
      // Its removal may have found no room: on a full disk not even a row can be changed.
      if (entries.length > 0 && entries.every(ledger.isFinal)) {
        free(entries[0]!)
        continue
      }
      // Unknown roots are on the account of the early ones.
      if (entries.length === 0 || clock.nowMs() - (touchedMs.get(root) ?? 0) < UPLOAD_IDLE_MS) continue
      // Whole ones are a promise that only holders can take over.
      if (await isPromised(entries, signal)) continue
      touchedMs.delete(root)
      expiredCount += 1
      logger.info('spool.expired', { root, segmentCount: spool.presence(root).heldCount })
      await shelf.drop(root, { signal })
    }
  }

  async function isPromised(entries: readonly Entry[], signal: AbortSignal): Promise<boolean> {
    let promised = false
    for (const entry of entries) {
      if (ledger.isFinal(entry) || !(await shelf.finish(entry, { signal }))) continue
      dispersal.offer(entry)
      promised = true
    }
    return promised
  }

  metrics.gaugeOf('weightless_follower_block', 'Last block whose logs are in the index.', () => follower.head().number)
  metrics.gaugeOf('weightless_follower_entries', 'Entries of the log.', () => follower.nextSeq())
  metrics.gaugeOf('weightless_members', 'Active storage nodes.', () => membership.current().members.length)
  metrics.gaugeOf(
    'weightless_spool_used_bytes',
    'Bytes of uploads that have not reached all their holders.',
    () => spool.usage().usedBytes,
  )
  metrics.gaugeOf('weightless_spool_capacity_bytes', 'Room for such uploads.', () => spool.usage().capacityBytes)
  metrics.gaugeOf('weightless_spool_read_only', '1 when the spool takes no more writes.', () =>
    Number(spool.usage().readOnly),
  )
  for (const state of ['queued', 'sending', 'short'] as const) {
    metrics.gaugeOf(
      `weightless_dispersals_${state}`,
      `Entries whose dispersal is ${state}.`,
      () => [...dispersal.states().values()].filter((one) => one === state).length,
    )
  }
  if (parity !== undefined)
    metrics.gaugeOf(
      'weightless_parity_owed',
      'Entries with copies whose parity is still to be given.',
      parity.owedCount,
    )
  metrics.gaugeOf(
    'weightless_early_bytes',
    'Bytes of segments whose root is not on chain yet.',
    () => early.usage().usedBytes,
  )
  metrics.gaugeOf('weightless_early_roots', 'Such roots.', () => early.usage().rootCount)
  metrics.gaugeOf('weightless_early_expired_total', 'Such roots that were given up.', () => early.usage().expiredCount)
  metrics.gaugeOf(
    'weightless_spool_expired_total',
    'Uploads on chain that stopped half way and were given up.',
    () => expiredCount,
  )
  metrics.gaugeOf('weightless_bodies_bytes', 'Bytes of request bodies in memory.', () => bodies.usage().usedBytes)
  metrics.gaugeOf('weightless_bodies_waiting', 'Requests whose body waits unread.', () => bodies.usage().waitingCount)
  metrics.gaugeOf('weightless_segment_cache_hits_total', 'Segments served from memory.', () => reader.usage().hitCount)
  metrics.gaugeOf(
    'weightless_segment_cache_misses_total',
    'Segments read from holders.',
    () => reader.usage().missCount,
  )

  const methods = new Map([
    ...zgsMethods(backend, { bytes }),
    ...indexerMethods({
      publicUrl: options.publicUrl,
      sinceSeconds: Math.floor(clock.nowMs() / 1000),
      replicaCount: () => Math.max(1, Math.min(copiesWorth(options), membership.current().members.length)),
      servedByRoot,
    }),
  ])
  const handle = createService({
    name: 'weightless gateway',
    version: options.version,
    logger,
    rpc: createRpcEndpoint({
      methods,
      gate: bodies,
      answers,
      spares,
      segmentBuffers,
      bytes,
      clock,
      logger,
      signal: deps.signal,
    }),
    routes: firstOf(
      createReceiptRoute({ ledger, follower, clock }),
      createCertificateRoute({ certificates, follower, clock, bodies, spares, bytes }),
      createRestRoutes({
        backend,
        isReadable: shelf.isWhole,
        lookup,
        bodies,
        spares,
        streams,
        bytes,
        clock,
        logger,
      }),
    ),
    isReady: () => follower.isCaughtUp() && !spool.usage().readOnly,
    brokenBy: () => spool.usage().brokenBy,
    chain: follower.state,
    metrics,
    signal: deps.signal,
  })

  /** What was brought to its holders, or was on its way, is on the chain no more. Should it come back, under this number or
   *  another, its bytes are here or with its holders, and it starts again. */
  function onRemoved(removed: readonly Entry[]): void {
    ledger.forget(removed)
    dispersal.forget(removed)
    for (const { root } of removed) {
      if (spool.presence(root).heldCount > 0 && follower.entries.byRoot(root).length === 0) early.abandon(root)
    }
  }

  function onEntries(entries: readonly Entry[], signal: AbortSignal): void {
    early.settle(entries.map((entry) => entry.root))
    for (const entry of entries) {
      if (spool.presence(entry.root).heldCount === 0) {
        search.watch(entry)
        continue
      }
      shelf.finish(entry, { signal }).then(
        (isWhole) => {
          if (isWhole) dispersal.offer(entry)
        },
        (error: unknown) => {
          if (!signal.aborted) logger.warn('entry.unfinished', { seq: entry.seq, root: entry.root, error })
        },
      )
    }
  }

  return {
    handle,
    onLost: (root) => void shelf.unmark(root).catch((error: unknown) => logger.warn('spool.unmarked', { root, error })),
    async run({ signal }) {
      const end = follower.onCommit(({ removed, entries, membership: changed }) => {
        if (removed.length > 0) onRemoved(removed)
        onEntries(entries, signal)
        if (changed === undefined) return
        dispersal.retry()
        parity?.retry()
      })
      const parts = [dispersal, search, parity].map((part) => part?.run({ signal }) ?? Promise.resolve())
      try {
        await resume(signal)
        for (;;) {
          await clock.sleep(SWEEP_MS, { signal })
          spares.trim()
          segmentBuffers.trim()
          window.trim()
          // Before the log is followed to its end, a root may look early or idle that is not.
          if (follower.isCaughtUp())
            await sweep(signal).catch((error: unknown) => logger.warn('spool.unswept', { error }))
        }
      } catch (error) {
        if (!signal.aborted) throw error
      } finally {
        end()
        await Promise.all(parts)
      }
    },
  }
}

type Routes = (call: ServiceCall) => Promise<Response> | undefined

function firstOf(...tables: readonly Routes[]): Routes {
  return (call) => {
    for (const table of tables) {
      const answer = table(call)
      if (answer !== undefined) return answer
    }
    return undefined
  }
}

/** How many copies an upload is worth under a policy, with enough nodes. */
function copiesWorth({ policy, replicas }: GatewayRoleOptions): number {
  if (policy.kind === 'erasure') return 1 + policy.code.m
  return policy.kind === 'none' ? 1 : replicas
}
