import type {
  Address,
  Certificate,
  Clock,
  Entry,
  Index,
  Kernels,
  Logger,
  Member,
  Net,
  ReceiptSigner,
  Root,
} from '@weightless/core'
import { SEGMENT_SIZE_BYTES } from '@weightless/core'
import { announce } from '@weightless/sdk'
import type { StorageMembership } from '../config.ts'
import { createCertificates } from '../erasure/certificates.ts'
import { hasSameReceipts } from '../erasure/certificateUnion.ts'
import { claimedCodedEntries, likelyCodedEntry, type CodedEntry } from '../erasure/codedEntry.ts'
import { createFingerprints } from '../erasure/fingerprints.ts'
import { createHeldShards } from '../erasure/heldShards.ts'
import type { Commit, Follower } from '../flow/follow.ts'
import { NO_REGISTRY, type MembershipView } from '../flow/membership.ts'
import { createParityIndex } from '../flow/parities.ts'
import type { FastBytes } from '../http/fastBytes.ts'
import { ANSWER_PACE, BODY_PACE, createGate } from '../http/gate.ts'
import { createService, describeChain, type RoleMetrics, type Service } from '../http/service.ts'
import { createSpareBuffers } from '../http/spareBuffers.ts'
import { createPeers, type Peers } from '../peers/peers.ts'
import { createEarly } from '../segments/early.ts'
import { createShelf } from '../segments/shelf.ts'
import type { SegmentStore } from '../store/store.ts'
import { askShardHomes } from '../sync/askHomes.ts'
import { certifyAnew } from '../sync/certifyAnew.ts'
import { createDuties } from '../sync/duty.ts'
import { fetchShards } from '../sync/fetchShards.ts'
import { findCertificate } from '../sync/findCertificate.ts'
import { createHandOff } from '../sync/handOff.ts'
import { createOrphanParity, isDroppedParity } from '../sync/orphanParity.ts'
import { createPace } from '../sync/pace.ts'
import { createRedundancy } from '../sync/redundancy.ts'
import { createRelease } from '../sync/release.ts'
import { createScrub, SCRUB_YIELD_MS_MAX } from '../sync/scrub.ts'
import { spreadCertificate } from '../sync/spreadCertificate.ts'
import { createSync, type Sync, type SyncDeps } from '../sync/sync.ts'
import { UPKEEP_DEFAULT, type Upkeep } from '../sync/upkeep.ts'
import { zgsMethods } from '../zgs/compat.ts'
import { createRpcEndpoint } from '../zgs/endpoint.ts'
import { createStorageBackend } from './backend.ts'
import type { MemberStanding } from './keepMember.ts'
import { createReceipts } from './receipts.ts'
import { showMetrics } from './metrics.ts'
import { createStorageRoutes } from './routes.ts'
import { createStorageRules } from './rules.ts'
import { createShardRoutes } from './shardRoutes.ts'

export type StorageRoleOptions = {
  readonly version: string
  readonly chainId: number
  readonly flow: Address
  readonly registry: Address | undefined
  readonly membership: StorageMembership
  readonly gatewayUrl: string | undefined
  readonly upkeep?: Upkeep | undefined
}

export type StorageRoleDeps = {
  readonly follower: Follower
  /** The registry's members as the follower sees them, or a fixed list. */
  readonly membership: MembershipView
  readonly store: SegmentStore
  readonly index: Index
  readonly kernels: Kernels
  /** To the other nodes, for what this one lacks. */
  readonly net: Net
  readonly clock: Clock
  readonly logger: Logger
  readonly metrics: RoleMetrics
  readonly bytes: FastBytes
  readonly signer: ReceiptSigner | undefined
  /** What the registry makes of this node; `undefined` for one that is in none. */
  readonly standing?: (() => MemberStanding | undefined) | undefined
  readonly signal: AbortSignal
}

export type StorageRole = {
  readonly handle: Service
  /** What the role does by itself; resolves when `signal` aborts. */
  run(options: { readonly signal: AbortSignal }): Promise<void>
  /** A segment that was held is held no more. */
  onLost(root: Root): void
  /** What the private listener works with. */
  readonly sync: Sync
  readonly peers: Peers
}

/** Bodies of segments in memory at once: 140 segments of an official client, more than disk and hash can work on. */
const BODIES_BYTES_MAX = 48 * 1024 ** 2
/** Of these, bodies that arrive at speed: those that the spare buffers below serve. */
const BURST_BYTES_MAX = 13 * 1024 ** 2
/** Buffers kept between bodies: three batches of our own clients. */
const SPARE_BYTES_MAX = 13 * 1024 ** 2
/** Buffers kept between segments of official clients. */
const SPARE_SEGMENT_BYTES_MAX = 4 * 1024 ** 2
/** Buffers kept between answers with segments: what one reader of ours asks a node for at once. */
const SPARE_READ_BYTES_MAX = 8 * 1024 ** 2
/** Answers with segments in memory at once, to clients of either kind. */
const READS_BYTES_MAX = 32 * 1024 ** 2
/** Below what an official client waits for an answer (30 s). */
const QUEUE_MS_MAX = 20_000
/** One place per connection that the server allows. */
const QUEUE_COUNT_MAX = 4096
const SWEEP_MS = 30_000
/** Nobody signs for a node without a key. */
const NOBODY = `0x${'00'.repeat(20)}`

/** Entries that say they are the parity of an object, with which data that nobody has is computed. */
const CLAIMED_MAX = 4

/** The storage node: admits segments by proof, keeps them, signs for them, serves them. */
export function createStorageRole(options: StorageRoleOptions, deps: StorageRoleDeps): StorageRole {
  const { follower, membership, store, index, kernels, net, clock, logger, signer, bytes, metrics } = deps
  const rules = createStorageRules(options.membership, {
    membership,
    signer: signer?.address,
    gatewayUrl: options.gatewayUrl,
  })
  const shelf = createShelf({ store, kernels, index, entries: follower.entries, logger, wanted: rules.wanted })
  const receipts = createReceipts(
    { chainId: options.chainId, registry: options.registry },
    { index, membership, signer, logger },
  )
  const held = createHeldShards({ store, shelf })
  const drop = async (root: Root, options: { readonly signal: AbortSignal }): Promise<void> => {
    await shelf.drop(root, options)
    held.forget(root)
  }
  const early = createEarly(
    [...store.roots()].map((root) => ({ root, sizeBytes: store.presence(root).heldCount * SEGMENT_SIZE_BYTES })),
    { clock, logger, entries: follower.entries, drop },
  )
  const gateOptions = { waitMsMax: QUEUE_MS_MAX, waitingMax: QUEUE_COUNT_MAX }
  const spares = createSpareBuffers({ bytesMax: SPARE_BYTES_MAX, memory: 'shared' })
  const readSpares = createSpareBuffers({ bytesMax: SPARE_READ_BYTES_MAX })
  const segmentBuffers = createSpareBuffers({ bytesMax: SPARE_SEGMENT_BYTES_MAX, memory: 'shared' })
  const bodies = createGate(
    { ...gateOptions, bytesMax: BODIES_BYTES_MAX, burstBytesMax: BURST_BYTES_MAX, pace: BODY_PACE },
    { clock },
  )
  const reads = createGate({ ...gateOptions, bytesMax: READS_BYTES_MAX, pace: ANSWER_PACE }, { clock })
  const parities = createParityIndex({ index, entries: follower.entries })
  const codedOf = (entry: Entry): CodedEntry | undefined =>
    likelyCodedEntry(entry, { entries: follower.entries, parities })
  const fingerprints = createFingerprints({ index, held, kernels, logger, codedOf, enter: reads.enter })
  const certificates = createCertificates(
    { chainId: options.chainId, registry: options.registry ?? NO_REGISTRY },
    { index, membership, parities, held, fingerprints },
  )
  const shards = createShardRoutes({
    follower,
    parities,
    held,
    fingerprints,
    certificates,
    receipts,
    bodies,
    reads,
    spares,
    bytes,
    clock,
    onAsked: (entry) => sync.asked(entry),
    onCertificate(entry) {
      sync.reconsider(entry)
      release.reconsider(entry)
      handOff.reconsider(entry)
      redundancy.reconsider(entry)
    },
  })
  const peers = createPeers({ net, clock, logger })
  const isBusy = (): boolean =>
    [bodies, reads].some((gate) => gate.usage().usedBytes > 0 || gate.usage().waitingCount > 0)
  const hasSigned = (entry: Entry): boolean => receipts.get(entry) !== undefined
  const upkeep = options.upkeep ?? UPKEEP_DEFAULT
  const pace = createPace({ bytesPerSecond: upkeep.repairBytesPerSecond }, { clock, isBusy })
  const duties = createDuties({
    entries: follower.entries,
    parities,
    certificates,
    held,
    shelf,
    membership,
    signer: signer?.address,
    hasSigned,
    isDropped: (entry) => isDroppedParity(index, entry),
  })
  const isWritable = (): boolean => !store.usage().readOnly
  const others = (): readonly Member[] =>
    membership.current().members.filter((member) => member.signer !== signer?.address)
  const tell = async (entry: Entry, members: readonly Member[], signal: AbortSignal): Promise<void> => {
    const certificate = certificates.get(entry)
    if (certificate !== undefined) await spreadCertificate(entry, certificate, { members, signal }, { peers, logger })
  }
  const searchCertificate: SyncDeps['findCertificate'] = async (entry, options) => {
    const before = certificates.get(entry)
    const kept = duties.shardsOf(entry)?.coded
    const found = await findCertificate(entry, options, { certificates, parities, peers, logger })
    const isFound = kept === undefined ? found === 'found' : duties.betterOf(entry) === undefined
    if (!isFound) await makeCertificate(entry, kept, options.signal)
    if (isNew(certificates.get(entry), before)) {
      // Whoever of them has asked.
      sync.reconsider(entry)
      release.reconsider(entry)
      redundancy.reconsider(entry)
    }
    return isFound || duties.shardsOf(entry) !== undefined ? 'found' : 'none'
  }
  async function makeCertificate(entry: Entry, kept: CodedEntry | undefined, signal: AbortSignal): Promise<void> {
    const { chainId, registry = NO_REGISTRY } = options
    const asked = { parities, membership, peers, held, fingerprints, receipts, signer: signer?.address }
    const certificate = await certifyAnew(entry, { chainId, registry, kept, signal }, asked)
    if (certificate === undefined) return
    const before = certificates.get(entry)
    await certificates.take(entry, certificate, { signal })
    // Who searches again and again makes the same one as long as nobody has built anything.
    if (!isNew(certificates.get(entry), before)) return
    logger.info('certificate.madeAnew', { seq: entry.seq, root: entry.root })
    await tell(entry, others(), signal)
  }
  const sync = createSync({
    follower,
    membership,
    shelf,
    duties,
    findCertificate: searchCertificate,
    fetchShards: ({ coded, slots }, options) =>
      fetchShards(coded, slots, options, { shelf, held, kernels, peers, pace, logger }),
    claimed: (entry) => claimedCodedEntries(entry, parities, CLAIMED_MAX),
    async askReceipts({ coded }, homes, { signal }) {
      const { chainId, registry = NO_REGISTRY } = options
      const registryVersion = membership.current().version
      const { claims } = await askShardHomes(
        coded,
        homes,
        { chainId, registry, registryVersion, signal },
        { peers, membership },
      )
      for (const { receipt, fingerprints: told } of claims)
        await certificates.add(coded.data, { receipt, fingerprints: told }, { signal })
      if (claims.length > 0) redundancy.reconsider(coded.data)
    },
    async onShards({ coded }, { signal }) {
      // All that is here, so that a slot whose home has moved keeps its holder in the certificate.
      const slots = held.wholeSlots(coded)
      const found = await fingerprints.of(coded, slots, { signal })
      const receipt = found && receipts.signShards(coded, slots, found)
      if (receipt === undefined) return
      if (!(await certificates.add(coded.data, { receipt, fingerprints: found }, { signal }))) return
      redundancy.reconsider(coded.data)
      await tell(coded.data, others(), signal)
    },
    tellHomes: (entry, homes, { signal }) =>
      tell(
        entry,
        homes.map(({ member }) => member),
        signal,
      ),
    wanted: rules.wanted,
    peers,
    pace,
    clock,
    logger,
    signer: signer?.address,
    isWritable,
    isFull: () => store.usage().capacityBytes - store.usage().usedBytes < SEGMENT_SIZE_BYTES,
    repairGraceMs: upkeep.repairGraceMs,
    hasSigned,
    async onWhole(entry, slot, { signal }) {
      const receipt = await receipts.sign(entry, slot)
      const { gatewayUrl } = options
      // Official clients find this holder through the gateway.
      if (receipt !== undefined && gatewayUrl !== undefined)
        await announce(
          { deps: { net, clock, logger } },
          { gatewayUrl, root: entry.root, seq: entry.seq, receipts: [receipt] },
          { signal },
        )
      if (receipt === undefined || !(await certificates.add(entry, { receipt }, { signal }))) return
      redundancy.reconsider(entry)
      await tell(entry, others(), signal)
    },
  })
  const release = createRelease(
    { chainId: options.chainId, registry: options.registry ?? NO_REGISTRY },
    {
      follower,
      membership,
      duties,
      held,
      fingerprints,
      certificates,
      receipts,
      shelf,
      peers,
      pace,
      clock,
      logger,
      signer: signer?.address,
      isWritable,
      isDraining: () => handOff.isDraining(),
      onReleased: (entry) => redundancy.reconsider(entry),
      isUnderWay: (seq) => ['searching', 'fetching'].includes(sync.job(seq)?.state ?? ''),
      findCertificate: searchCertificate,
    },
  )
  const handOff = createHandOff(
    { chainId: options.chainId, registry: options.registry ?? NO_REGISTRY },
    {
      follower,
      membership,
      duties,
      parities,
      held,
      fingerprints,
      receipts,
      shelf,
      peers,
      pace,
      clock,
      logger,
      signer: signer?.address,
      isDraining: () => deps.standing?.()?.status === 'draining',
      findCertificate: searchCertificate,
    },
  )
  const redundancy = createRedundancy({
    follower,
    membership,
    parities,
    certifiedOf: certificates.of,
    held,
    clock,
    logger,
    signer: signer?.address,
  })
  const orphans = createOrphanParity({
    index,
    entries: follower.entries,
    duties,
    held,
    peers,
    members: others,
    drop,
    clock,
    logger,
  })
  const scrub = createScrub(upkeep, {
    store,
    index,
    clock,
    logger,
    pace: createPace({ bytesPerSecond: upkeep.scrubBytesPerSecond, yieldMsMax: SCRUB_YIELD_MS_MAX }, { clock, isBusy }),
    signer: signer?.address,
    async onRoot(root, { signal }) {
      for (const entry of follower.entries.byRoot(root).flatMap(duties.concerning)) release.reconsider(entry)
      await orphans.visit(root, { signal })
    },
  })
  const backend = createStorageBackend({
    follower,
    shelf,
    early,
    kernels,
    rules,
    chainId: options.chainId,
    flow: options.flow,
  })

  showMetrics(metrics, {
    follower,
    store,
    early,
    sync,
    release,
    handOff,
    scrub,
    bodies,
    standing: () => deps.standing?.(),
  })

  const isReady = (): boolean => follower.isCaughtUp() && !store.usage().readOnly
  /** A file system that cannot be asked is for the next write to judge. */
  const hasRoom = (): Promise<boolean> => store.hasRoom().catch(() => true)
  const status = async (): Promise<object> => ({
    version: options.version,
    nodeId: String(membership.current().members.find((member) => member.signer === signer?.address)?.id ?? ''),
    signer: signer?.address ?? NOBODY,
    chainId: options.chainId,
    flow: options.flow,
    registry: options.registry ?? null,
    registryVersion: membership.current().version,
    membership: options.membership.source,
    gatewayUrl: options.gatewayUrl ?? null,
    head: follower.head(),
    nextSeq: follower.nextSeq(),
    store: { ...store.usage(), full: !(await hasRoom()) },
    sync: sync.status(),
    release: release.status(),
    handOff: handOff.status(),
    scrub: scrub.status(),
    redundancy: redundancy.status(),
    chain: describeChain(follower.state()),
    member: describeStanding(deps.standing?.()),
    ready: isReady(),
  })

  const handle = createService({
    name: 'weightless storage node',
    version: options.version,
    logger,
    rpc: createRpcEndpoint({
      methods: zgsMethods(backend, { bytes }),
      gate: bodies,
      answers: reads,
      spares,
      segmentBuffers,
      bytes,
      clock,
      logger,
      signal: deps.signal,
    }),
    routes: createStorageRoutes({
      follower,
      shelf,
      receipts,
      shards,
      fingerprints,
      bodies,
      reads,
      spares,
      readSpares,
      bytes,
      clock,
      logger,
      checkWanted: rules.checkWanted,
      onMissed: (entry) => sync.missed(entry),
      onAsked: (entry) => sync.asked(entry),
      status,
    }),
    isReady,
    brokenBy: () => store.usage().brokenBy,
    chain: follower.state,
    metrics,
    signal: deps.signal,
  })

  /** Bytes of a new entry may be here already: early ones, or those of another entry with its root. */
  async function settle(entries: readonly Entry[], signal: AbortSignal): Promise<void> {
    for (const entry of entries) {
      if (store.presence(entry.root).heldCount === 0) continue
      await shelf.finish(entry, { signal }).catch((error: unknown) => {
        signal.throwIfAborted()
        logger.warn('entry.unfinished', { seq: entry.seq, root: entry.root, error })
      })
    }
  }

  async function sweep(signal: AbortSignal): Promise<void> {
    for (;;) {
      await clock.sleep(SWEEP_MS, { signal })
      spares.trim()
      readSpares.trim()
      segmentBuffers.trim()
      // Before the log is followed to its end, a root may look early that is not.
      if (follower.isCaughtUp())
        await early.expire({ signal }).catch((error: unknown) => logger.warn('early.unexpired', { error }))
    }
  }

  /** Bytes of entries that are on the chain no more stay for a while: as a rule the same transaction comes again. */
  function onRemoved({ removed, membership: changed }: Commit, signal: AbortSignal): void {
    for (const { root } of removed) {
      if (store.presence(root).heldCount > 0 && follower.entries.byRoot(root).length === 0) early.abandon(root)
    }
    if (changed === undefined) return
    receipts.forgetAbove(changed.version, { signal }).catch((error: unknown) => {
      if (!signal.aborted) logger.error('receipts.unforgotten', { error })
    })
  }

  return {
    handle,
    sync,
    peers,
    onLost(root) {
      held.forget(root)
      shelf
        .unmark(root)
        .then(() => sync.lost(root))
        .catch((error: unknown) => logger.warn('entry.unmarked', { root, error }))
    },
    async run({ signal }) {
      const end = follower.onCommit((commit: Commit) => {
        if (commit.removed.length > 0) onRemoved(commit, signal)
        if (commit.entries.length === 0) return
        early.settle(commit.entries.map((entry) => entry.root))
        settle(commit.entries, signal).catch(() => undefined)
      })
      try {
        await Promise.all([
          sweep(signal),
          sync.run({ signal }),
          release.run({ signal }),
          handOff.run({ signal }),
          scrub.run({ signal }),
          redundancy.run({ signal }),
        ])
      } catch (error) {
        if (!signal.aborted) throw error
      } finally {
        end()
      }
    },
  }
}

function isNew(certificate: Certificate | undefined, before: Certificate | undefined): boolean {
  return certificate !== undefined && (before === undefined || !hasSameReceipts(certificate, before))
}

function describeStanding(standing: MemberStanding | undefined): object | null {
  if (standing === undefined) return null
  const { id, status, lastHeartbeatS, heartbeatsLeft, fault } = standing
  return {
    id: id ?? null,
    status,
    lastHeartbeatS: lastHeartbeatS ?? null,
    heartbeatsLeft: heartbeatsLeft ?? null,
    fault: fault === undefined ? null : { code: fault.code, message: fault.message, next: fault.next },
  }
}
