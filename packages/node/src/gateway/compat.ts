import type { Entry } from '@weightless/core'
import type { RpcMethod, RpcMethods } from '../zgs/compat.ts'
import { rootParam } from '../zgs/params.ts'

/** What the indexer says of the one node that it knows: the gateway itself (DESIGN D8, spec/storage.md 4.1). */
export type IndexerBackend = {
  /** What clients are told to dial. */
  publicUrl(): string
  /** Unix seconds since when it is known. */
  readonly sinceSeconds: number
  /** The entry that a root stands for, after a last look elsewhere; `undefined` while it is unknown or not final. */
  finalByRoot(root: ReturnType<typeof rootParam>, options: { readonly signal: AbortSignal }): Promise<Entry | undefined>
}

/** Milliseconds: nobody measures the way to oneself. */
const OWN_LATENCY_MS = 1

/** The method names of official indexers. `trusted` must be an array: official clients spread it. */
export function indexerMethods(backend: IndexerBackend): RpcMethods {
  const self = (): object => ({
    url: backend.publicUrl(),
    config: { shardId: 0, numShard: 1 },
    latency: OWN_LATENCY_MS,
    since: backend.sinceSeconds,
  })
  const nodes: RpcMethod = async () => ({ trusted: [self()], discovered: [] })
  return new Map<string, RpcMethod>([
    ['indexer_getShardedNodes', nodes],
    ['indexer_getSelectedNodes', nodes],
    ['indexer_getNodeLocations', async () => ({})],
    [
      'indexer_getFileLocations',
      // Nothing found is an empty list: null breaks SDK 0.3.3, an error ends the download (spec/storage.md 11.1).
      async ([root], { signal }) =>
        (await backend.finalByRoot(rootParam(root), { signal })) === undefined ? [] : [self()],
    ],
  ])
}
