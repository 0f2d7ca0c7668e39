import { SYNC_BYTES_PER_SECOND_MAX } from './pace.ts'

/** How much of its machine a node gives to what nobody waits for. */
export type Upkeep = {
  /** What is read from other nodes, to copy or to compute what is missing here. */
  readonly repairBytesPerSecond: number
  /** How long after a change of the membership a new home waits before it computes what another one had until then. */
  readonly repairGraceMs: number
  /** What is read from the own disk to see whether it is still good. */
  readonly scrubBytesPerSecond: number
  /** From the start of one pass over all that is held to that of the next. */
  readonly scrubIntervalMs: number
}

/** An eighth of the repair: a terabyte takes a day and a half. */
const SCRUB_BYTES_PER_SECOND: number = 8 * 1024 ** 2
/** Two disks of one object seldom rot within a week of each other. */
const SCRUB_INTERVAL_MS: number = 7 * 24 * 3_600_000
/** The registry has waited before it counts a member out; by then several nodes that join or go together have done so, and nothing is
 *  computed for who is a home for a moment. */
const REPAIR_GRACE_MS = 10_000

export const UPKEEP_DEFAULT: Upkeep = {
  repairBytesPerSecond: SYNC_BYTES_PER_SECOND_MAX,
  repairGraceMs: REPAIR_GRACE_MS,
  scrubBytesPerSecond: SCRUB_BYTES_PER_SECOND,
  scrubIntervalMs: SCRUB_INTERVAL_MS,
}
