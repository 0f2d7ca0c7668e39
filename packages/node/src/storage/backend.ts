import type { Address, Kernels } from '@weightless/core'
import type { Follower } from '../flow/follow.ts'
import { putEarly, type Early } from '../segments/early.ts'
import type { Shelf } from '../segments/shelf.ts'
import type { ZgsBackend } from '../zgs/backend.ts'
import type { StorageRules } from './rules.ts'

export type StorageBackendDeps = {
  readonly follower: Follower
  readonly shelf: Shelf
  readonly early: Early
  readonly kernels: Kernels
  readonly rules: StorageRules
  readonly chainId: number
  readonly flow: Address
}

/** What official clients see of a storage node. */
export function createStorageBackend(deps: StorageBackendDeps): ZgsBackend {
  const { follower, shelf, early, kernels, rules } = deps
  return {
    chainId: deps.chainId,
    flowAddress: deps.flow,
    entries: follower.entries,
    kernels,
    flow: follower.flow,
    head: follower.head,
    nextSeq: follower.nextSeq,
    peerCount: rules.peerCount,
    shardConfig: () => rules.shard,
    isFinal: shelf.isWhole,
    progress: shelf.contiguousCount,
    async refresh(entries, { signal }) {
      for (const entry of entries) await shelf.finish(entry, { signal })
    },
    checkUpload: rules.checkUpload,
    async store({ root, sizeBytes, entry, segments }, { signal }) {
      if (entry === undefined) {
        await putEarly({ root, sizeBytes, segments }, { early, shelf }, { signal })
      } else {
        rules.checkWanted(
          entry,
          segments.map((segment) => segment.index),
        )
        await shelf.put(entry, segments, { signal })
      }
      // The entry may have come on chain meanwhile, and a root may stand for several entries.
      for (const sharing of follower.entries.byRoot(root)) await shelf.finish(sharing, { signal })
    },
    read: shelf.read,
  }
}
