import type { Abortable, Hex, Index, IndexChange } from '@weightless/core'
import type { BlockMark } from './cursor.ts'
import type { EntryIndex } from './entries.ts'
import { chainKey, numberKey, numberOfKey, numberRange } from './keys.ts'

/**
 * How many blocks a reorganisation may take back (docs/decisions/0011): sixteen times what Ethereum has ever left unfinalised in
 * ordinary times, and more than one page of logs, so that there is always a mark to go back to. A follower that would have to
 * go further back stops and says so.
 */
export const REORG_BLOCKS_MAX = 1024

/** Rows for one more block: its hash, and the end of hashes that no reorganisation needs any more. */
export function blockRows(index: Index, block: BlockMark): readonly IndexChange[] {
  // Two go for each one that comes, so the rows stay few however far a restart jumps.
  const old = index.range({ ...numberRange('block', 0, Math.max(0, block.number - REORG_BLOCKS_MAX)), limit: 2 })
  return [
    { key: numberKey('block', block.number), value: new TextEncoder().encode(block.hash) },
    ...[...old].map(({ key }) => ({ key: Uint8Array.from(key), value: undefined })),
  ]
}

/** The chain that the index belongs to; `undefined` before its first block was read. */
export type ChainMark = { readonly chainId: number; readonly genesis: Hex }

export function readChainMark(index: Index): ChainMark | undefined {
  const value = index.get(chainKey())
  return value && (JSON.parse(new TextDecoder().decode(value)) as ChainMark)
}

export function chainMarkChange(mark: ChainMark): IndexChange {
  return { key: chainKey(), value: new TextEncoder().encode(JSON.stringify(mark)) }
}

/** Blocks whose hash is known, from `from` up to `to`, rising: where the log was committed, and where its entries are. */
export function knownBlocks(
  index: Index,
  entries: EntryIndex,
  range: { readonly from: number; readonly to: number; readonly nextSeq: number },
): readonly BlockMark[] {
  const marks = new Map<number, Hex>()
  for (const { key, value } of index.range(numberRange('block', Math.max(0, range.from), range.to + 1)))
    marks.set(numberOfKey(key), new TextDecoder().decode(value) as Hex)
  for (let seq = range.nextSeq - 1; seq >= 0; seq--) {
    const { blockNumber, blockHash } = entries.bySeq(seq)!
    if (blockNumber < range.from) break
    if (blockNumber <= range.to) marks.set(blockNumber, blockHash)
  }
  return [...marks].map(([number, hash]) => ({ number, hash })).sort((a, b) => a.number - b.number)
}

/** The last of the rising marks that `isOnChain` holds for. One block on a chain has all its ancestors on it, so a few questions
 *  find it among many. */
export async function lastOnChain(
  marks: readonly BlockMark[],
  isOnChain: (mark: BlockMark) => Promise<boolean>,
  { signal }: Abortable,
): Promise<BlockMark | undefined> {
  let [low, high] = [0, marks.length]
  while (low < high) {
    signal?.throwIfAborted()
    const middle = (low + high) >> 1
    if (await isOnChain(marks[middle]!)) low = middle + 1
    else high = middle
  }
  return marks[low - 1]
}
