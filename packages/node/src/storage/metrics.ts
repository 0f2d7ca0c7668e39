import type { Follower } from '../flow/follow.ts'
import type { Gate } from '../http/gate.ts'
import type { RoleMetrics } from '../http/service.ts'
import type { Early } from '../segments/early.ts'
import type { SegmentStore } from '../store/store.ts'
import type { HandOff } from '../sync/handOff.ts'
import type { Release } from '../sync/release.ts'
import type { Scrub } from '../sync/scrub.ts'
import type { Sync } from '../sync/sync.ts'
import type { MemberStanding } from './keepMember.ts'

/** What `/metrics` of a storage node shows of these. */
export type Measured = {
  readonly follower: Pick<Follower, 'head' | 'nextSeq'>
  readonly store: Pick<SegmentStore, 'usage'>
  readonly early: Pick<Early, 'usage'>
  readonly sync: Pick<Sync, 'status'>
  readonly release: Pick<Release, 'status'>
  readonly handOff: Pick<HandOff, 'status'>
  readonly scrub: Pick<Scrub, 'status'>
  readonly bodies: Pick<Gate, 'usage'>
  readonly standing: () => MemberStanding | undefined
}

export function showMetrics(
  metrics: RoleMetrics,
  { follower, store, early, sync, release, handOff, scrub, bodies, standing }: Measured,
): void {
  metrics.gaugeOf('weightless_follower_block', 'Last block whose logs are in the index.', () => follower.head().number)
  metrics.gaugeOf('weightless_follower_entries', 'Entries of the log.', () => follower.nextSeq())
  metrics.gaugeOf('weightless_store_segments', 'Segments held.', () => store.usage().segmentCount)
  metrics.gaugeOf('weightless_store_used_bytes', 'Bytes of segments held.', () => store.usage().usedBytes)
  metrics.gaugeOf('weightless_store_capacity_bytes', 'Bytes that this node offers.', () => store.usage().capacityBytes)
  metrics.gaugeOf('weightless_store_read_only', '1 when the store takes no more writes.', () =>
    Number(store.usage().readOnly),
  )
  metrics.gaugeOf(
    'weightless_store_damaged_segments',
    'Segments whose bytes went bad and that are not repaired yet.',
    () => store.usage().damagedCount,
  )
  metrics.gaugeOf(
    'weightless_early_bytes',
    'Bytes of segments whose root is not on chain yet.',
    () => early.usage().usedBytes,
  )
  metrics.gaugeOf('weightless_early_roots', 'Such roots.', () => early.usage().rootCount)
  metrics.gaugeOf('weightless_early_expired_total', 'Such roots that were given up.', () => early.usage().expiredCount)
  metrics.gaugeOf(
    'weightless_sync_missing_bytes',
    'Bytes of entries that belong on this node and are not here yet.',
    () => sync.status().missingBytes,
  )
  metrics.gaugeOf('weightless_sync_missing_entries', 'Such entries.', () => sync.status().missingEntryCount)
  metrics.gaugeOf(
    'weightless_sync_unavailable_entries',
    'Such entries that no node holds.',
    () => sync.status().unavailableEntryCount,
  )
  metrics.gaugeOf(
    'weightless_sync_eta_seconds',
    'Until they are here at the pace of the last fetches; 0 when nothing is fetched.',
    () => sync.status().etaSeconds ?? 0,
  )
  metrics.gaugeOf('weightless_sync_held_up', '1 when the last turn could store nothing, as on a full disk.', () =>
    Number(sync.status().hindrance !== null),
  )
  metrics.gaugeOf('weightless_sync_fetched_bytes_total', 'Bytes from other nodes.', () => sync.status().fetchedBytes)
  metrics.gaugeOf(
    'weightless_released_bytes_total',
    'Bytes that were given up because others keep them.',
    () => release.status().releasedBytes,
  )
  metrics.gaugeOf(
    'weightless_release_waiting_entries',
    'Entries of which more may be here than belongs here.',
    () => release.status().waitingEntryCount,
  )
  metrics.gaugesOf(
    'weightless_handoff_state',
    '1 for what the hand-off of a node that drains has come to.',
    'state',
    () => ({ none: 0, moving: 0, stuck: 0, done: 0, [handOff.status().state]: 1 }),
  )
  metrics.gaugeOf(
    'weightless_handoff_left_bytes',
    'Bytes on a node that drains which their new homes have not signed for yet.',
    () => handOff.status().leftBytes,
  )
  metrics.gaugeOf('weightless_handoff_left_entries', 'Such objects.', () => handOff.status().leftEntryCount)
  metrics.gaugeOf(
    'weightless_handoff_handed_off_bytes',
    'Bytes on a node that drains which their new homes have signed for.',
    () => handOff.status().handedOffBytes,
  )
  metrics.gaugeOf(
    'weightless_handoff_homeless_bytes',
    'Bytes of objects with more slots or copies than there are members for them.',
    () => handOff.status().homelessBytes,
  )
  metrics.gaugeOf(
    'weightless_scrub_read_bytes',
    'Bytes of the pass that reads all that is held, 0 between two.',
    () => scrub.status().readBytes,
  )
  metrics.gaugeOf(
    'weightless_scrub_bad_segments_total',
    'Segments whose bytes a pass found bad.',
    () => scrub.status().badCount,
  )
  metrics.gaugeOf(
    'weightless_scrub_unreadable_segments_total',
    'Segments that a pass could not read.',
    () => scrub.status().unreadableCount,
  )
  metrics.gaugeOf(
    'weightless_scrub_last_full_pass_seconds',
    'When the last pass over everything ended, in seconds since 1970; 0 before the first.',
    () => (scrub.status().lastFullPassMs ?? 0) / 1000,
  )
  metrics.gaugeOf('weightless_bodies_bytes', 'Bytes of request bodies in memory.', () => bodies.usage().usedBytes)
  metrics.gaugeOf('weightless_bodies_waiting', 'Requests whose body waits unread.', () => bodies.usage().waitingCount)

  metrics.gaugeOf(
    'weightless_member_heartbeat_seconds',
    'Unix time of the last heartbeat, by the chain; 0 where there is none.',
    () => standing()?.lastHeartbeatS ?? 0,
  )
  metrics.gaugeOf(
    'weightless_member_heartbeats_left',
    'Heartbeats that the account of this node pays for; -1 while that is not known.',
    () => standing()?.heartbeatsLeft ?? -1,
  )
}
