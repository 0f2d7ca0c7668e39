import type { Clock, Entry, Index, Logger, Member, ParityTags, Root } from '@weightless/core'
import { PARITY_ORPHAN_MS, presentSlots, protectedHomes, shardLayoutOf } from '@weightless/core'
import { codedEntryOf, type CodedEntry } from '../erasure/codedEntry.ts'
import type { HeldShards } from '../erasure/heldShards.ts'
import { ENTRIES_PER_ROOT_MAX, type EntryIndex } from '../flow/entries.ts'
import { numberKey } from '../flow/keys.ts'
import { parityTagsOf } from '../flow/parities.ts'
import type { Peers } from '../peers/peers.ts'
import type { Duties } from './duty.ts'
import { findShardSources } from './shardSources.ts'

/**
 * Drops parity that is of no use to anybody: its object is not in the log, or what members have of it is too little to read it, and
 * that for as long as `PARITY_ORPHAN_MS` (DESIGN D6). Whatever cannot be found out keeps it.
 */
export type OrphanParity = {
  /** Looks at a root of which something is here; each pass of the scrub comes by. */
  visit(root: Root, options: { readonly signal: AbortSignal }): Promise<void>
}

export type OrphanParityDeps = {
  readonly index: Index
  readonly entries: EntryIndex
  readonly duties: Pick<Duties, 'shardsOf'>
  readonly held: Pick<HeldShards, 'wholeSlots' | 'segmentCount'>
  readonly peers: Peers
  readonly members: () => readonly Member[]
  readonly drop: (root: Root, options: { readonly signal: AbortSignal }) => Promise<void>
  readonly clock: Clock
  readonly logger: Logger
}

/** `sinceMs`: when it was first seen so. `dropped`: a home of the entry does not fetch it again. */
type Row = { readonly root: Root; readonly sinceMs: number; readonly state: 'seen' | 'dropped' }

export function createOrphanParity(deps: OrphanParityDeps): OrphanParity {
  const { index, entries, held, clock, logger } = deps

  async function save(seq: number, row: Row | undefined): Promise<void> {
    const value = row && new TextEncoder().encode(JSON.stringify(row))
    await index.transaction([{ key: numberKey('orphan', seq), value }], { durability: 'written' })
  }

  return {
    async visit(root, { signal }) {
      const sharing = entries.byRoot(root)
      const tagged = sharing.flatMap((entry) => {
        const tags = parityTagsOf(entry)
        return tags === undefined ? [] : [{ entry, tags }]
      })
      const [first] = tagged
      // Somebody's data, or so often submitted that nobody looks at all of it.
      if (first === undefined || tagged.length < sharing.length || sharing.length >= ENTRIES_PER_ROOT_MAX) return
      if (held.segmentCount(root) === 0) return
      const nowMs = clock.nowMs()
      const row = orphanRow(index, first.entry)
      let isOrphan = true
      for (const one of tagged) isOrphan &&= await isOrphaned(one, signal)
      if (!isOrphan) {
        if (row !== undefined) await save(first.entry.seq, undefined)
        return
      }
      if (row?.state !== 'seen') return await save(first.entry.seq, { root, sinceMs: nowMs, state: 'seen' })
      if (nowMs - row.sinceMs < PARITY_ORPHAN_MS) return
      logger.warn('parity.dropped', { seq: first.entry.seq, root, dataRoot: first.tags.dataRoot })
      for (const { entry } of tagged) await save(entry.seq, { ...row, state: 'dropped' })
      await deps.drop(root, { signal })
    },
  }

  /** False where it cannot be told. */
  async function isOrphaned(
    { entry, tags }: { readonly entry: Entry; readonly tags: ParityTags },
    signal: AbortSignal,
  ): Promise<boolean> {
    const data = entries.byRoot(tags.dataRoot).find(({ sizeBytes }) => sizeBytes === tags.sizeBytes)
    if (data === undefined) return true
    if (deps.duties.shardsOf(data) !== undefined || shardLayoutOf(data.sizeBytes, tags.code) === undefined) return false
    return !(await mayBeComplete(codedEntryOf(data, { entry, tags }), signal))
  }

  async function mayBeComplete(coded: CodedEntry, signal: AbortSignal): Promise<boolean> {
    const members = deps.members()
    const sources = await findShardSources(coded, { members, signal }, deps)
    const own = held.wholeSlots(coded)
    const isThere = (slot: number): boolean => own.includes(slot) || sources.certain({ slot, stripe: 0 }).length > 0
    // Any so many give all of it, data or parity: it may be needed for what is lost just now.
    if (presentSlots(coded.layout).filter(isThere).length >= coded.layout.dataSlotCount) return true
    const { data, code } = coded
    const homes = protectedHomes({ dataRoot: data.root, sizeBytes: data.sizeBytes, code }, members)
    return homes.some(({ member }) => deps.peers.standing(member).state !== 'connected')
  }
}

/** Whether this node has dropped a parity entry: none of it belongs here until its object does. */
export function isDroppedParity(index: Index, entry: Entry): boolean {
  return orphanRow(index, entry)?.state === 'dropped'
}

function orphanRow(index: Index, { seq, root }: Entry): Row | undefined {
  const value = index.get(numberKey('orphan', seq))
  const row = value && (JSON.parse(new TextDecoder().decode(value)) as Row)
  return row?.root === root ? row : undefined
}
