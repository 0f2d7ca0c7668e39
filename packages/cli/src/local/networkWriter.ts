import type { Logger } from '@weightless/core'
import { removeNetworkFile, writeNetworkFile, type NetworkDescription } from '../networkFile.ts'
import { TEST_ACCOUNTS } from './accounts.ts'
import type { ChainFacts } from './roleConfig.ts'
import type { CodeName } from './state.ts'
import type { StorageNode } from './storageNodes.ts'

/** Keeps network.json true while the network is ready: there, it is right; not there, nothing is ready. */
export type NetworkWriter = {
  publish(): Promise<void>
  /** After publishing: writes anew what has changed, one write after the other. */
  rewrite(): void
  withdraw(): Promise<void>
}

export function createNetworkWriter(
  directory: string,
  deps: { readonly describe: () => NetworkDescription; readonly logger: Logger },
): NetworkWriter {
  let isPublished = false
  let writing: Promise<void> = Promise.resolve()
  const write = (): Promise<void> => (isPublished ? writeNetworkFile(directory, deps.describe()) : Promise.resolve())
  return {
    publish() {
      isPublished = true
      return write()
    },
    rewrite() {
      writing = writing.then(write).catch((error: unknown) => deps.logger.error('networkFile.unwritten', { error }))
    },
    async withdraw() {
      isPublished = false
      await writing
      await removeNetworkFile(directory)
    },
  }
}

export function describeNetwork(network: {
  readonly chain: ChainFacts
  readonly contracts: NetworkDescription['contracts']
  readonly gatewayUrl: string
  readonly code: CodeName
  readonly nodes: readonly StorageNode[]
  readonly unproved?: string | undefined
}): NetworkDescription {
  const { rpcUrl, wsUrl, chainId } = network.chain
  // Named one by one: the deployment has contracts that are no business of a user yet.
  const { flow, market, reward, storageRegistry } = network.contracts
  return {
    version: 1,
    pid: process.pid,
    chain: { rpcUrl, wsUrl, chainId },
    accounts: TEST_ACCOUNTS,
    contracts: { flow, market, reward, storageRegistry },
    storage: {
      indexerUrl: network.gatewayUrl,
      gatewayUrl: network.gatewayUrl,
      ...(network.code === 'none' ? {} : { code: network.code }),
      nodes: network.nodes.map((node) => ({
        id: node.id,
        url: node.url,
        pid: node.process.pid ?? null,
        dataDir: node.dataDir,
        ...(node.adminSocket === undefined ? {} : { adminSocket: node.adminSocket }),
      })),
    },
    ...(network.unproved === undefined ? {} : { unproved: network.unproved }),
  }
}
