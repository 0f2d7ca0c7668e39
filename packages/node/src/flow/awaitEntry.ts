import { ENTRY_WAIT_MS, type Abortable, type Clock, type Entry, type Root } from '@weightless/core'
import { fail } from '../errors.ts'
import type { Follower } from './follow.ts'

/** The entry that a client says is on chain: the follower may be a block behind it. Throws `ENTRY_UNKNOWN` after 10 s,
 *  `ENTRY_MISMATCH` for a number of another root. */
export async function awaitEntry(
  named: { readonly root: Root; readonly seq: number },
  deps: { readonly follower: Pick<Follower, 'entries' | 'nextSeq' | 'waitForSeq'>; readonly clock: Clock },
  { signal }: Abortable,
): Promise<Entry> {
  const { root, seq } = named
  const entry = await awaitSeq(named, deps, { signal })
  if (entry.root !== root) throw fail('ENTRY_MISMATCH', { seq, root, rootOfSeq: entry.root })
  return entry
}

/** The same for whoever knows its number alone; `root` is that of the object which the number was named for. */
export async function awaitSeq(
  named: { readonly root: Root; readonly seq: number },
  deps: { readonly follower: Pick<Follower, 'entries' | 'nextSeq' | 'waitForSeq'>; readonly clock: Clock },
  { signal }: Abortable,
): Promise<Entry> {
  const { root, seq } = named
  const { follower, clock } = deps
  if (seq >= follower.nextSeq()) {
    const late = clock.deadline(ENTRY_WAIT_MS)
    await follower
      .waitForSeq(seq, { signal: signal === undefined ? late : AbortSignal.any([signal, late]) })
      .catch(() => {
        signal?.throwIfAborted()
        throw fail('ENTRY_UNKNOWN', { root, seq, nextSeq: follower.nextSeq(), waitedMs: ENTRY_WAIT_MS })
      })
  }
  const entry = follower.entries.bySeq(seq)
  if (entry === undefined) throw fail('ENTRY_UNKNOWN', { root, seq, nextSeq: follower.nextSeq() })
  return entry
}
