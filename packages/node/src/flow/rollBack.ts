import type { Entry, Index, IndexChange } from '@weightless/core'
import { appendSubmission, flowStateAt } from '@weightless/core'
import { cursorChange, type BlockMark, type Cursor } from './cursor.ts'
import { entryRowKeys, type EntryIndex } from './entries.ts'
import { flowNodeKey, numberKey, numberRange, pairRange } from './keys.ts'
import type { MemberChange } from './membership.ts'
import { parityRowKeys, parityTagsOf } from './parities.ts'

/** What going back to an earlier block does to the index: a decision, no side effect. */
export type RollBack = {
  readonly cursor: Cursor
  /** Entries that are on no block any more, ascending. */
  readonly removed: readonly Entry[]
  readonly changes: readonly IndexChange[]
}

/** Takes back everything above `to`: entries, the nodes that they placed in the flow, members, block hashes, and what this node
 *  wrote down about those entries (whole, signed, delivered), because their numbers will be those of others. What it paid for their
 *  parity is written down by their bytes, and stays. */
export function planRollBack(
  cursor: Pick<Cursor, 'nextSeq'>,
  to: BlockMark,
  log: { readonly index: Index; readonly entries: EntryIndex; readonly members: readonly MemberChange[] },
): RollBack {
  const { index, entries } = log
  const removed: Entry[] = []
  let nextSeq = cursor.nextSeq
  for (let entry = entries.bySeq(nextSeq - 1); entry !== undefined && entry.blockNumber > to.number;) {
    removed.push(entry)
    nextSeq -= 1
    entry = entries.bySeq(nextSeq - 1)
  }
  removed.reverse()
  const last = entries.bySeq(nextSeq - 1)
  const lengthChunks = last === undefined ? 1 : last.startChunk + last.paddedChunkCount
  const flow = flowStateAt(lengthChunks, (height, at) => index.get(flowNodeKey(height, at)))

  const gone: Uint8Array[] = []
  let state = flow
  for (const entry of removed) {
    const appended = appendSubmission(state, entry.nodes)
    state = appended.state
    gone.push(
      ...entryRowKeys(entry),
      ...appended.placed.map((node) => flowNodeKey(node.height, node.index)),
      ...(['whole', 'receipt', 'delivery', 'certificate', 'certified'] as const).map((kind) =>
        numberKey(kind, entry.seq),
      ),
      ...parityRowKeys(entry),
      ...shardRowKeys(entry, log),
    )
  }
  for (const change of log.members) if (change.blockNumber > to.number) gone.push(numberKey('member', change.version))
  for (const { key } of index.range(numberRange('block', to.number + 1, Number.MAX_SAFE_INTEGER)))
    gone.push(Uint8Array.from(key))

  const next: Cursor = { block: to, nextSeq, flow }
  return {
    cursor: next,
    removed,
    changes: [...gone.map((key) => ({ key, value: undefined })), cursorChange(next)],
  }
}

/** What was written down about the shards of an entry, as data or as parity. */
function shardRowKeys(
  entry: Entry,
  { index, entries }: { readonly index: Index; readonly entries: EntryIndex },
): Uint8Array[] {
  const tags = parityTagsOf(entry)
  const asParity = tags === undefined ? [] : entries.byRoot(tags.dataRoot)
  return (['fingerprints', 'shardReceipt'] as const).flatMap((kind) =>
    [pairRange(kind, entry.seq), ...asParity.map(({ seq }) => pairRange(kind, seq, entry.seq))].flatMap((range) =>
      [...index.range(range)].map(({ key }) => Uint8Array.from(key)),
    ),
  )
}
