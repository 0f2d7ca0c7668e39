import type { Clock, Logger, Root } from '@weightless/core'
import { EARLY_EXPIRY_MS, EARLY_TOTAL_BYTES_MAX, UNREFERENCED_EXPIRY_MS } from '@weightless/core'
import { fail } from '../errors.ts'
import type { EntryIndex } from '../flow/entries.ts'
import type { ClaimedSegment, Shelf } from './shelf.ts'

/**
 * Segments whose root is not on chain yet (spec/storage.md 3.3). They lie in the store like all others, so that an
 * acknowledged one survives a crash; this keeps the account: how many bytes, and until when.
 */
export type Early = {
  /** Room for `sizeBytes` more of this root, for another while; gives the function that hands it back when the bytes turn out
   *  to be no good. Throws `EARLY_SPACE_FULL`. */
  admit(root: Root, sizeBytes: number): () => void
  /** Roots that came on chain: they are on nobody's account any more. */
  settle(roots: Iterable<Root>): void
  /** A root that was on chain and is no more, after a reorganisation: its bytes are nobody's early ones, and stay for a while
   *  longer, because as a rule the same transaction comes again. */
  abandon(root: Root): void
  /** Forgets what nobody submitted in time; resolves when its bytes are gone. */
  expire(options: { readonly signal: AbortSignal }): Promise<void>
  /** `expiredCount`: roots given up since the start. */
  usage(): { readonly rootCount: number; readonly usedBytes: number; readonly expiredCount: number }
}

export type EarlyDeps = {
  readonly clock: Clock
  readonly logger: Logger
  readonly entries: EntryIndex
  readonly drop: (root: Root, options: { readonly signal: AbortSignal }) => Promise<void>
}

export function createEarly(
  found: Iterable<{ readonly root: Root; readonly sizeBytes: number }>,
  deps: EarlyDeps,
): Early {
  const { clock, logger, entries } = deps
  const accounts = new Map<Root, { sizeBytes: number; expiresMs: number; isAbandoned: boolean }>()
  let usedBytes = 0
  let expiredCount = 0

  const forget = (root: Root): void => {
    usedBytes -= accounts.get(root)?.sizeBytes ?? 0
    accounts.delete(root)
  }
  const charge = (root: Root, sizeBytes: number): void => {
    const account = accounts.get(root) ?? { sizeBytes: 0, expiresMs: 0, isAbandoned: false }
    account.sizeBytes += sizeBytes
    account.expiresMs = Math.max(account.expiresMs, clock.nowMs() + EARLY_EXPIRY_MS)
    accounts.set(root, account)
    usedBytes += sizeBytes
  }
  // After a restart the time starts again: better a few minutes too long than a segment that was acknowledged and lost.
  for (const { root, sizeBytes } of found) if (entries.byRoot(root).length === 0) charge(root, sizeBytes)

  return {
    admit(root, sizeBytes) {
      if (usedBytes + sizeBytes > EARLY_TOTAL_BYTES_MAX)
        throw fail('EARLY_SPACE_FULL', { usedBytes, limitBytes: EARLY_TOTAL_BYTES_MAX })
      charge(root, sizeBytes)
      return () => {
        const account = accounts.get(root)
        if (account === undefined) return
        account.sizeBytes -= sizeBytes
        usedBytes -= sizeBytes
        if (account.sizeBytes === 0 && !account.isAbandoned) accounts.delete(root)
      }
    },
    abandon(root) {
      const sizeBytes = accounts.get(root)?.sizeBytes ?? 0
      accounts.set(root, { sizeBytes, expiresMs: clock.nowMs() + UNREFERENCED_EXPIRY_MS, isAbandoned: true })
    },
    settle(roots) {
      for (const root of roots) forget(root)
    },
    async expire({ signal }) {
      const now = clock.nowMs()
      for (const [root, account] of Array.from(accounts)) {
        if (account.expiresMs > now) continue
        forget(root)
        if (entries.byRoot(root).length > 0) continue
        expiredCount += 1
        logger.info('early.expired', { root, sizeBytes: account.sizeBytes })
        await deps.drop(root, { signal })
      }
    },
    usage: () => ({ rootCount: accounts.size, usedBytes, expiredCount }),
  }
}

/** Proves and stores segments of a root that is not on chain yet, on account. */
export async function putEarly(
  upload: { readonly root: Root; readonly sizeBytes: number; readonly segments: readonly ClaimedSegment[] },
  deps: { readonly early: Early; readonly shelf: Shelf },
  options: { readonly signal: AbortSignal },
): Promise<void> {
  const { root, sizeBytes, segments } = upload
  const handBack = deps.early.admit(
    root,
    segments.reduce((sum, segment) => sum + segment.data.length, 0),
  )
  try {
    await deps.shelf.put({ root, sizeBytes }, segments, options)
  } catch (error) {
    handBack()
    throw error
  }
}
