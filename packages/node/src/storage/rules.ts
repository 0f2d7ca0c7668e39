import type { Address, Entry, Root, ShardConfig } from '@weightless/core'
import { copyHomes, REPLICA_COUNT, SEGMENT_CHUNKS } from '@weightless/core'
import type { StorageMembership } from '../config.ts'
import { fail } from '../errors.ts'
import type { MembershipView } from '../flow/membership.ts'
import type { Stride } from '../segments/shelf.ts'
import { serverFault } from '../zgs/fault.ts'

/** What this node keeps, and what it tells official clients about it (DESIGN D7). */
export type StorageRules = {
  readonly shard: ShardConfig
  peerCount(): number
  /** Which segments of an entry this node wants. */
  wanted(entry: Entry): Stride
  /** Refuses our own clients' segments that this node never keeps. Throws `NOT_A_HOME`. */
  checkWanted(entry: Entry, indexes: readonly number[]): void
  /** Refuses official uploads of a root that is not this node's. Throws an `RpcFault`. */
  checkUpload(root: Root): void
}

export type StorageRulesDeps = {
  readonly membership: MembershipView
  readonly signer: Address | undefined
  readonly gatewayUrl: string | undefined
}

export function createStorageRules(source: StorageMembership, deps: StorageRulesDeps): StorageRules {
  return source.source === 'solo' ? soloRules(source) : shareRules(deps)
}

/** As the reference node: every global segment g with g mod numShard = shardId, for whoever uploads it. */
function soloRules(shard: ShardConfig): StorageRules {
  const { shardId, numShard } = shard
  const wanted = (entry: Entry): Stride => {
    const firstGlobal = Math.floor(entry.startChunk / SEGMENT_CHUNKS)
    return { first: (((shardId - firstGlobal) % numShard) + numShard) % numShard, step: numShard }
  }
  return {
    shard: { shardId, numShard },
    peerCount: () => 0,
    wanted,
    checkWanted(entry, indexes) {
      const { first, step } = wanted(entry)
      const foreign = indexes.find((index) => index % step !== first)
      if (foreign !== undefined) throw fail('NOT_A_HOME', { seq: entry.seq, index: foreign, shardId, numShard })
    },
    checkUpload: () => undefined,
  }
}

/** Whole entries, for those of whose homes this node is one; a writer that found a home away may bring any entry. */
function shareRules({ membership, signer, gatewayUrl }: StorageRulesDeps): StorageRules {
  return {
    shard: { shardId: 0, numShard: 1 },
    peerCount: () => membership.current().members.filter((member) => member.signer !== signer).length,
    wanted: () => ({ first: 0, step: 1 }),
    checkWanted: () => undefined,
    checkUpload(root) {
      const homes = copyHomes({ key: root, count: REPLICA_COUNT }, membership.current().members)
      if (homes.some((home) => home.member.signer === signer)) return
      throw serverFault(`this node holds shares only; upload through ${gatewayUrl ?? 'the gateway of this network'}`)
    },
  }
}
