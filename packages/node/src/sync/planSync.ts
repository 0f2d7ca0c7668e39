import type { Entry, Layout, Member } from '@weightless/core'
import { BATCH_SEGMENTS_MAX, copyHomes } from '@weightless/core'

/** An entry whose segments this node wants and lacks. Plain values: what is to be done next follows from a list of these. */
export type Missing = {
  readonly seq: number
  /** `home`: placement says that it belongs here. `signed`: this node gave a receipt for it. `asked`: an operator wants it. */
  readonly why: 'home' | 'signed' | 'asked'
  readonly missingBytes: number
  /** Segments that were here at the last look: an upload that comes in is left alone. */
  readonly heldCount: number
  readonly dueMs: number
  /** Turns that ended without all of it. */
  readonly attempts: number
}

/** Entries fetched at once: small ones are a few milliseconds each, and a large one is read batch by batch. */
export const SYNC_JOBS_MAX = 4
/** A new entry is left to whoever uploads it for so long, and as long again whenever some of it has come. */
export const SYNC_SETTLE_MS = 30_000
const RETRY_MS_MIN = 2_000
/** Nobody may ever upload what was paid for: such an entry costs some thirty questions an hour. */
const RETRY_MS_MAX = 3_600_000

/** Which entries to fetch now, and when to look again; operators first, then whatever has waited longest. */
export function planSync(state: {
  readonly missing: Iterable<Missing>
  readonly running: ReadonlySet<number>
  readonly nowMs: number
}): { readonly start: readonly number[]; readonly wakeMs: number } {
  const { running, nowMs } = state
  const idle = [...state.missing].filter(({ seq }) => !running.has(seq))
  const due = idle
    .filter(({ dueMs }) => dueMs <= nowMs)
    .sort((a, b) => Number(b.why === 'asked') - Number(a.why === 'asked') || a.dueMs - b.dueMs || a.seq - b.seq)
  const start = due.slice(0, Math.max(0, SYNC_JOBS_MAX - running.size)).map(({ seq }) => seq)
  const wakeMs = idle.reduce((least, { dueMs }) => (dueMs > nowMs ? Math.min(least, dueMs) : least), Infinity)
  return { start, wakeMs }
}

/** When an entry is tried again after a turn that did not bring all of it. */
export function retryAtMs(attempts: number, nowMs: number): number {
  return nowMs + Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** Math.min(attempts - 1, 20))
}

/** The slot that placement gives this node for an entry; `undefined` when it is no home of it. */
export function homeSlot(
  entry: Pick<Entry, 'root'>,
  self: { readonly signer: string | undefined; readonly replicas: number },
  members: readonly Member[],
): number | undefined {
  if (self.signer === undefined) return undefined
  const homes = copyHomes({ key: entry.root, count: self.replicas }, members)
  return homes.find((home) => home.member.signer === self.signer)?.slot
}

export type Span = { readonly from: number; readonly count: number }

/** Runs of missing segments inside windows of one request, so that all nodes cut a file alike. Lazily: an entry may have 2^18. */
export function* missingSpans(
  layout: Pick<Layout, 'segmentCount'>,
  wants: (index: number) => boolean,
): Generator<Span, void, undefined> {
  for (let window = 0; window < layout.segmentCount; window += BATCH_SEGMENTS_MAX) {
    const end = Math.min(window + BATCH_SEGMENTS_MAX, layout.segmentCount)
    for (let index = window; index < end;) {
      if (!wants(index)) {
        index += 1
        continue
      }
      const from = index
      while (index < end && wants(index)) index += 1
      yield { from, count: index - from }
    }
  }
}
