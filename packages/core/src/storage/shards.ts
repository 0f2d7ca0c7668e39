import { fail, preview } from '../errors.ts'
import { SHARD_COUNT_MAX } from '../limits.ts'

/** A node with (shardId, numShard) holds the global segments g with g mod numShard = shardId. */
export type ShardConfig = { readonly shardId: number; readonly numShard: number }

/** `min`: few shards first (official uploads). `max`: many first. A number: only nodes with that numShard.
 *  `shuffle`: any order, drawn by the caller (official downloads). */
export type CoverMethod = 'min' | 'max' | number | { readonly shuffle: <T>(items: readonly T[]) => readonly T[] }

/** Nodes that hold every segment at least `replica` times, chosen as the official clients choose (spec/storage.md 4.3).
 *  `undefined` when the nodes do not cover that, or `replica` is below 1. Nodes with an invalid configuration are skipped. */
export function selectCover<T extends { readonly config: ShardConfig }>(
  nodes: readonly T[],
  replica: number,
  method: CoverMethod,
): readonly T[] | undefined {
  if (!Number.isSafeInteger(replica) || replica < 1) return undefined
  const root = makeTrie(1)
  const selected: T[] = []
  for (const node of inOrder(
    nodes.filter((node) => isShardConfig(node.config)),
    method,
  )) {
    if (insert(root, node.config.numShard, node.config.shardId, replica)) selected.push(node)
    if (root.replica >= replica) return selected
  }
  return undefined
}

export function isShardConfig(config: ShardConfig): boolean {
  const { shardId, numShard } = config
  return (
    Number.isInteger(numShard) &&
    numShard >= 1 &&
    numShard <= SHARD_COUNT_MAX &&
    (numShard & (numShard - 1)) === 0 &&
    Number.isInteger(shardId) &&
    shardId >= 0 &&
    shardId < numShard
  )
}

/** Reads `{ shardId, numShard }` from outside. Throws `SHARD_CONFIG_INVALID`. */
export function parseShardConfig(value: unknown): ShardConfig {
  if (typeof value === 'object' && value !== null) {
    const { shardId, numShard } = value as { shardId?: unknown; numShard?: unknown }
    if (typeof shardId === 'number' && typeof numShard === 'number' && isShardConfig({ shardId, numShard })) {
      return { shardId, numShard }
    }
  }
  throw fail('SHARD_CONFIG_INVALID', { value: preview(value) })
}

function inOrder<T extends { readonly config: ShardConfig }>(nodes: readonly T[], method: CoverMethod): readonly T[] {
  if (typeof method === 'object') return method.shuffle(nodes)
  if (typeof method === 'number') return nodes.filter((node) => node.config.numShard === method)
  const sign = method === 'min' ? 1 : -1
  return [...nodes].sort(({ config: a }, { config: b }) => sign * (a.numShard - b.numShard) || a.shardId - b.shardId)
}

/** The node at depth d stands for the segments whose d lowest bits are its path. `lazy`: copies its children do not know of yet. */
type Trie = { readonly numShard: number; replica: number; lazy: number; children: readonly [Trie, Trie] | undefined }

function makeTrie(numShard: number): Trie {
  return { numShard, replica: 0, lazy: 0, children: undefined }
}

function insert(trie: Trie, numShard: number, shardId: number, replica: number): boolean {
  if (trie.replica >= replica) return false
  if (trie.numShard === numShard) {
    trie.replica += 1
    trie.lazy += 1
    return true
  }
  const children = (trie.children ??= [makeTrie(trie.numShard * 2), makeTrie(trie.numShard * 2)])
  for (const child of children) {
    child.replica += trie.lazy
    child.lazy += trie.lazy
  }
  trie.lazy = 0
  const isInserted = insert(children[shardId % 2 === 0 ? 0 : 1], numShard, Math.floor(shardId / 2), replica)
  trie.replica = Math.min(children[0].replica, children[1].replica)
  return isInserted
}
