import { ENTRY_WAIT_MS, isFailure, type Root } from '@weightless/core'
import type { Client } from './client.ts'
import type { Contact } from './contacts.ts'
import { PATIENCE_MS_MAX, withPatience, type Rate } from './rate.ts'
import { retry } from './retry.ts'
import type { PutAnswer } from './storageNodeClient.ts'

/** Segments of one entry, framed, on their way to one holder. */
export type Parcel = {
  readonly root: Root
  readonly seq: number
  readonly slot: number
  readonly body: Uint8Array
  /** Called when an attempt has failed: a connection may still be sending, so the body must not serve for other bytes. */
  readonly spoil: () => void
}

const ATTEMPTS_MAX = 5
const DELAY_MS_MIN = 50
const DELAY_MS_MAX = 1_000
/** A node waits this long for its follower before it answers; then it writes and syncs. */
const GRACE_MS: number = ENTRY_WAIT_MS + 5_000

/** Sends until the holder has stored it. A node that is busy is asked again, one that let a whole deadline pass is not: the caller
 *  knows others. */
export async function sendBody(
  client: Client,
  contact: Contact,
  parcel: Parcel,
  options: { readonly rate: Rate; readonly signal: AbortSignal },
): Promise<PutAnswer> {
  const { rate, signal } = options
  const { root, seq, slot, body, spoil } = parcel
  const { clock } = client.deps
  return retry(
    async () => {
      const startMs = clock.nowMs()
      const answer = await withPatience(
        { signal, graceMs: GRACE_MS, bytes: body.length, what: `segments to ${contact.url}` },
        { clock, rate },
        (scope) => contact.node.putFrames(root, { seq, slot, body }, { signal: scope, timeoutMs: PATIENCE_MS_MAX }),
      ).catch((error: unknown) => {
        spoil()
        throw error
      })
      rate.observe(body.length, clock.nowMs() - startMs)
      return answer
    },
    {
      attemptsMax: ATTEMPTS_MAX,
      delayMsMin: DELAY_MS_MIN,
      delayMsMax: DELAY_MS_MAX,
      signal,
      retryable: (error) => isFailure(error) && error.retryable && error.code !== 'DEADLINE_PASSED',
    },
    client.deps,
  )
}

/** The holder says that the bytes are not those of the entry. */
export function isRefusalOfBytes(error: unknown): boolean {
  return isFailure(error) && BYTES_REFUSED.has(error.code)
}

const BYTES_REFUSED: ReadonlySet<string> = new Set([
  'SEGMENT_PROOF_INVALID',
  'SEGMENT_SIZE_INVALID',
  'SEGMENT_INDEX_INVALID',
  'FRAME_INVALID',
])
