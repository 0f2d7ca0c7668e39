import type { Address, Clock, Entry, Kernels, Logger, Root } from '@weightless/core'
import { isFailure, SEGMENT_SIZE_BYTES } from '@weightless/core'
import { fail } from '../errors.ts'
import type { Follower } from '../flow/follow.ts'
import type { MembershipView } from '../flow/membership.ts'
import { putEarly, type Early } from '../segments/early.ts'
import type { Shelf } from '../segments/shelf.ts'
import type { SegmentStore } from '../store/store.ts'
import type { ZgsBackend } from '../zgs/backend.ts'
import type { Dispersal } from './dispersal.ts'
import type { Ledger } from './ledger.ts'
import type { SegmentReader } from './reader.ts'
import type { ReceiptSearch } from './receiptSearch.ts'
import type { SegmentWindow } from './segmentWindow.ts'

export type GatewayBackendDeps = {
  readonly chainId: number
  readonly flow: Address
  readonly follower: Follower
  readonly membership: MembershipView
  readonly shelf: Shelf
  readonly spool: SegmentStore
  readonly early: Early
  readonly ledger: Ledger
  readonly dispersal: Dispersal
  readonly search: ReceiptSearch
  readonly reader: SegmentReader
  readonly kernels: Kernels
  readonly clock: Clock
  readonly logger: Logger
  readonly window: SegmentWindow
  /** Somebody works with this root: its spool space is not idle. */
  readonly touch: (root: Root) => void
}

/** How often a full spool is looked at while an upload waits for room. */
const ROOM_POLL_MS = 250
/** Below what an official client waits for its answer. */
const ROOM_WAIT_MS_MAX = 20_000

/** One node with numShard 1, as official clients see the gateway (DESIGN D8). */
export function createGatewayBackend(deps: GatewayBackendDeps): ZgsBackend {
  const { follower, membership, shelf, spool, early, ledger, dispersal, search, reader, kernels, clock, window } = deps

  /** The spool empties as holders sign; a client that waits a little need not fail. */
  async function awaitRoom(sizeBytes: number, signal: AbortSignal): Promise<void> {
    const untilMs = clock.nowMs() + ROOM_WAIT_MS_MAX
    for (;;) {
      const { usedBytes, capacityBytes } = spool.usage()
      if (usedBytes + sizeBytes <= capacityBytes) return
      if (clock.nowMs() >= untilMs) throw fail('GATEWAY_FULL', { usedBytes, capacityBytes })
      await clock.sleep(ROOM_POLL_MS, { signal })
    }
  }

  return {
    chainId: deps.chainId,
    flowAddress: deps.flow,
    entries: follower.entries,
    kernels,
    flow: follower.flow,
    head: follower.head,
    nextSeq: follower.nextSeq,
    peerCount: () => membership.current().members.length,
    shardConfig: () => ({ shardId: 0, numShard: 1 }),
    isFinal: ledger.isFinal,
    progress: shelf.contiguousCount,
    async refresh(entries, { signal }) {
      await Promise.all(
        entries.map(async (entry) => {
          if (dispersal.states().has(entry.seq)) return
          if (spool.presence(entry.root).heldCount === 0) await search.ask(entry)
          else if (await shelf.finish(entry, { signal })) dispersal.offer(entry)
        }),
      )
    },
    checkUpload: () => undefined,
    async store({ root, sizeBytes, entry, segments }, { signal }) {
      deps.touch(root)
      await awaitRoom(segments.length * SEGMENT_SIZE_BYTES, signal)
      if (entry === undefined) await putEarly({ root, sizeBytes, segments }, { early, shelf }, { signal })
      else {
        await shelf.put(entry, segments, { signal })
        if (!ledger.isFinal(entry) && dispersal.passesOn(entry)) {
          // An upload that comes in no faster than it is passed on is never read back from the spool.
          while (window.isFull() && (await dispersal.nextBatch(entry)) === 'left');
          for (const segment of segments) window.put(entry, segment)
        }
        dispersal.feed(
          entry,
          segments.map((segment) => segment.index),
        )
      }
      // The entry may have come on chain meanwhile, and a root may stand for several entries.
      for (const sharing of follower.entries.byRoot(root)) {
        if (!ledger.isFinal(sharing) && (await shelf.finish(sharing, { signal }))) dispersal.offer(sharing)
      }
    },
    async read(entry: Entry, index: number, { signal }) {
      try {
        return await reader.read(entry, index, { signal })
      } catch (error) {
        // Official clients try again on null and give up on an error.
        if (isFailure(error, 'HOLDERS_UNREACHABLE') && !ledger.isFinal(entry)) return undefined
        throw error
      }
    },
  }
}
