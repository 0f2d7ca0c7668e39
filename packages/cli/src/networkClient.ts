import { availableParallelism, tmpdir } from 'node:os'
import { aesCtr, createKernelPool, createSpoolFile, systemClock, systemNet, systemRandom, type KernelPool } from '@weightless/host'
import { createClient, type Client, type SignerLike, type Spool } from '@weightless/sdk'
import type { NetworkDescription } from './networkFile.ts'

/** The SDK on this machine: all cores hash, streams are spooled to disk. Disposing ends its threads. */
export type NetworkClient = AsyncDisposable & { readonly client: Client }

export function openClient(network: NetworkDescription, options: { readonly signer?: SignerLike | undefined } = {}): NetworkClient {
  const kernels: KernelPool = createKernelPool({ threads: availableParallelism() })
  const client = createClient(
    {
      network: {
        rpcUrl: network.chain.rpcUrl,
        chainId: network.chain.chainId,
        flow: network.contracts.flow,
        registry: network.contracts.storageRegistry,
      },
      ...(options.signer === undefined ? {} : { signer: options.signer }),
    },
    { net: systemNet, clock: systemClock, random: systemRandom, kernels, spool: diskSpool, ctr: aesCtr },
  )
  return { client, [Symbol.asyncDispose]: () => kernels[Symbol.asyncDispose]() }
}

/** A source that can be read only once waits in a file of mode 600 that has no name: it is gone at every end of the process. */
const diskSpool: Spool = {
  async create(options) {
    const file = await createSpoolFile(tmpdir(), options)
    return {
      get sizeBytes() {
        return file.sizeBytes
      },
      append: (bytes) => file.append(bytes),
      read: (start, end, abortable) => file.read(start, end, abortable),
      dispose: () => file.close(),
    }
  },
}
