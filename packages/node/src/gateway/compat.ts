import type { Entry } from '@weightless/core'
import type { RpcMethod, RpcMethods } from '../zgs/compat.ts'
import { serverFault } from '../zgs/fault.ts'
import { countParam, rootParam } from '../zgs/params.ts'

/** What the indexer says of the one node that it knows: the gateway itself (DESIGN D8, spec/storage.md 4.1). */
export type IndexerBackend = {
  /** What clients are told to dial. */
  publicUrl(): string
  /** Unix seconds since when it is known. */
  readonly sinceSeconds: number
  /** How many whole copies what is uploaded here is worth: the losses of nodes that it outlives, and one. */
  replicaCount(): number
  /** The entry that a root stands for, after a last look elsewhere; `undefined` while it is unknown or its bytes are not to be had. */
  servedByRoot(
    root: ReturnType<typeof rootParam>,
    options: { readonly signal: AbortSignal },
  ): Promise<Entry | undefined>
}

/** Milliseconds: nobody measures the way to oneself. */
const OWN_LATENCY_MS = 1
/** In the words of the official indexer. The Go client pays first and counts then, so it must hear this before. */
const NO_SELECTION = 'cannot select a subset from the returned nodes that meets the replication requirement'

/** The method names of official indexers. `trusted` must be an array: official clients spread it.
 *
 *  Who wants R replicas takes nodes until they cover everything R times (spec/storage.md 4.3). The one node stands there as often as
 *  it is worth copies, so that they find as many: whoever asks for one takes one, as by default. */
export function indexerMethods(backend: IndexerBackend): RpcMethods {
  const self = (): object => ({
    url: backend.publicUrl(),
    config: { shardId: 0, numShard: 1 },
    latency: OWN_LATENCY_MS,
    since: backend.sinceSeconds,
  })
  const listed = (count: number): object => ({ trusted: Array.from({ length: count }, self), discovered: [] })
  const selected: RpcMethod = async ([wanted = 1, method]) => {
    const count = countParam(wanted, 'expectedReplica')
    // A number as the method asks for nodes with so many shards.
    const isNumbered = typeof method === 'string' && /^[0-9]+$/.test(method)
    const most = backend.replicaCount()
    if (count > most || (isNumbered && Number(method) !== 1))
      throw serverFault(NO_SELECTION, `next: ask for at most ${most}, of nodes with one shard`)
    return listed(count)
  }
  return new Map<string, RpcMethod>([
    ['indexer_getShardedNodes', async () => listed(backend.replicaCount())],
    ['indexer_getSelectedNodes', selected],
    ['indexer_getNodeLocations', async () => ({})],
    [
      'indexer_getFileLocations',
      // Nothing found is an empty list: null breaks SDK 0.3.3, an error ends the download (spec/storage.md 11.1).
      async ([root], { signal }) =>
        (await backend.servedByRoot(rootParam(root), { signal })) === undefined ? [] : [self()],
    ],
  ])
}
