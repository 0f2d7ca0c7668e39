import type { Address, Clock, Index, Logger, Root } from '@weightless/core'
import { fromHex, isFailure, SEGMENT_SIZE_BYTES } from '@weightless/core'
import { keccak256 } from '@weightless/kernels'
import { scrubKey } from '../flow/keys.ts'
import type { SegmentStore } from '../store/store.ts'
import type { Pace } from './pace.ts'
import type { Upkeep } from './upkeep.ts'

/**
 * Reads all that a node holds once in an interval, slowly, and behind its users. The store checks each segment that is read, gives up
 * one whose checksum does not fit, and says so: what belongs here is then built again (`Sync.lost`). Where a pass stands is in the
 * index, so a restart goes on with it. Between two passes nothing runs.
 */
export type Scrub = {
  /** Resolves when `signal` aborts. */
  run(options: { readonly signal: AbortSignal }): Promise<void>
  status(): ScrubStatus
}

export type ScrubStatus = {
  readonly state: 'waiting' | 'reading'
  /** Of the pass that runs, and of what is held. */
  readonly readBytes: number
  readonly heldBytes: number
  /** Segments that were found bad since this process started, and those that could not be read at first. */
  readonly badCount: number
  readonly unreadableCount: number
  /** When the last pass over everything ended; `null` before the first. */
  readonly lastFullPassMs: number | null
  readonly nextPassMs: number
  /** Of the pass that runs, at the pace that is allowed; `null` while none does. */
  readonly etaSeconds: number | null
}

export type ScrubDeps = {
  readonly store: Pick<SegmentStore, 'get' | 'disown' | 'presence' | 'roots' | 'usage'>
  readonly index: Index
  readonly clock: Clock
  readonly logger: Logger
  readonly pace: Pace
  /** Nodes start at different times: by this. */
  readonly signer: Address | undefined
  /** All of a root has been read. */
  readonly onRoot: (root: Root, options: { readonly signal: AbortSignal }) => Promise<void>
}

/** Where the work stands: a pass that waits for its time, or the next segment to be read. */
type Progress = {
  readonly nextPassMs: number
  readonly lastFullPassMs: number | null
  readonly at: { readonly root: Root; readonly index: number; readonly readBytes: number } | null
}

/** How often the place is written down: read again after a crash. */
const SAVE_BYTES: number = 64 * 1024 ** 2
/** While users send or read, a segment waits so long at most: under any load some of what rots is found. */
export const SCRUB_YIELD_MS_MAX = 5_000
/** So many bad places in a row are a bad disk. */
const SUSPECTS_MAX = 64
/** After a pass that could not go on. */
const RETRY_MS = 60_000
/** Timers of the platform end at 24 days. */
const SLEEP_MS_MAX: number = 24 * 3_600_000

export function createScrub(
  { scrubBytesPerSecond, scrubIntervalMs }: Pick<Upkeep, 'scrubBytesPerSecond' | 'scrubIntervalMs'>,
  deps: ScrubDeps,
): Scrub {
  const { store, index, clock, logger, pace } = deps
  let progress = readProgress() ?? { nextPassMs: clock.nowMs() + firstDelayMs(), lastFullPassMs: null, at: null }
  let isReading = false
  let readBytes = 0
  let badCount = 0
  let unreadableCount = 0
  /** Segments that could not be read, and were not tried again yet. */
  const suspects: { readonly root: Root; readonly at: number }[] = []

  function readProgress(): Progress | undefined {
    const value = index.get(scrubKey())
    return value && (JSON.parse(new TextDecoder().decode(value)) as Progress)
  }

  async function save(next: Progress): Promise<void> {
    progress = next
    const value = new TextEncoder().encode(JSON.stringify(next))
    // A place that is lost is a place that is read again.
    await index
      .transaction([{ key: scrubKey(), value }], { durability: 'written' })
      .catch((error: unknown) => logger.warn('scrub.unsaved', { error }))
  }

  /** Some part of the interval that is the same for this node ever after, so that a network does not read all at once. */
  function firstDelayMs(): number {
    const [a = 0, b = 0, c = 0, d = 0] = keccak256(fromHex(deps.signer ?? '0x'))
    return Math.floor((scrubIntervalMs * (((a << 24) | (b << 16) | (c << 8) | d) >>> 0)) / 2 ** 32)
  }

  async function run({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    try {
      await save(progress)
      for (;;) {
        const waitMs = progress.nextPassMs - clock.nowMs()
        if (progress.at === null && waitMs > 0) await clock.sleep(Math.min(waitMs, SLEEP_MS_MAX), { signal })
        else if ((await passOrFail(signal)) === 'failed') await clock.sleep(RETRY_MS, { signal })
      }
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }

  /** What cannot be read now may be read later: no reason to end the node. */
  async function passOrFail(signal: AbortSignal): Promise<'ended' | 'failed'> {
    try {
      await pass(signal)
      return 'ended'
    } catch (error) {
      signal.throwIfAborted()
      logger.error('scrub.failed', { error })
      return 'failed'
    } finally {
      isReading = false
    }
  }

  async function pass(signal: AbortSignal): Promise<void> {
    isReading = true
    const startedMs = clock.nowMs()
    logger.info('scrub.started', { from: progress.at?.root, heldBytes: store.usage().usedBytes })
    readBytes = progress.at?.readBytes ?? 0
    let savedBytes = readBytes
    // In byte order: what comes in behind the place is met by the next pass.
    for (const root of store.roots()) {
      const from =
        progress.at === null || root > progress.at.root ? 0 : root === progress.at.root ? progress.at.index : undefined
      if (from === undefined) continue
      for (const at of store.presence(root).indexes()) {
        if (at < from) continue
        await pace.turn(SEGMENT_SIZE_BYTES, { signal })
        await check(root, at, signal)
        readBytes += SEGMENT_SIZE_BYTES
        if (readBytes - savedBytes < SAVE_BYTES) continue
        savedBytes = readBytes
        await save({ ...progress, at: { root, index: at + 1, readBytes } })
      }
      progress = { ...progress, at: { root, index: 2 ** 32, readBytes } }
      await deps.onRoot(root, { signal })
    }
    const nowMs = clock.nowMs()
    // By the plan, unless a pass took longer than the interval.
    const nextPassMs = Math.max(progress.nextPassMs + scrubIntervalMs, nowMs)
    await save({ nextPassMs, lastFullPassMs: nowMs, at: null })
    logger.info('scrub.ended', { readBytes, badCount, unreadableCount, ms: nowMs - startedMs })
  }

  async function check(root: Root, at: number, signal: AbortSignal): Promise<void> {
    if ((await read(root, at, signal)) === 'unreadable') {
      unreadableCount += 1
      if (suspects.length < SUSPECTS_MAX) suspects.push({ root, at })
      return
    }
    // The disk reads: what it did not read before and does not read now is gone. A disk that reads nothing loses nothing here.
    for (const suspect of suspects.splice(0)) {
      if ((await read(suspect.root, suspect.at, signal)) !== 'unreadable') continue
      badCount += 1
      logger.warn('scrub.disowned', { root: suspect.root, index: suspect.at })
      await store.disown(suspect.root, suspect.at)
    }
  }

  async function read(root: Root, at: number, signal: AbortSignal): Promise<'read' | 'bad' | 'unreadable'> {
    try {
      await store.get(root, at, { signal })
      return 'read'
    } catch (error) {
      signal.throwIfAborted()
      if (isFailure(error, 'STORE_CORRUPT')) {
        badCount += 1
        return 'bad'
      }
      if (!isFailure(error, 'STORE_READ_FAILED')) throw error
      logger.warn('scrub.unreadable', { root, index: at, error })
      return 'unreadable'
    }
  }

  return {
    run,
    status() {
      const heldBytes = store.usage().segmentCount * SEGMENT_SIZE_BYTES
      return {
        state: isReading ? 'reading' : 'waiting',
        readBytes: isReading ? readBytes : 0,
        heldBytes,
        badCount,
        unreadableCount,
        lastFullPassMs: progress.lastFullPassMs,
        nextPassMs: progress.nextPassMs,
        etaSeconds: isReading ? Math.ceil(Math.max(0, heldBytes - readBytes) / scrubBytesPerSecond) : null,
      }
    },
  }
}
