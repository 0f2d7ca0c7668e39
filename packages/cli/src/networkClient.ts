import { availableParallelism, tmpdir } from 'node:os'
import {
  aesCtr,
  createKernelPool,
  createSpoolFile,
  systemClock,
  systemNet,
  systemRandom,
  type KernelPool,
} from '@weightless/host'
import { createClient, type Client, type SignerLike, type Spool } from '@weightless/sdk'
import type { NetworkDescription } from './networkFile.ts'

/** The SDK on this machine: all cores hash, streams are spooled to disk. Disposing ends its threads. */
export type NetworkClient = AsyncDisposable & { readonly client: Client; readonly pool: KernelPool }

export function openClient(
  network: NetworkDescription,
  options: { readonly signer?: SignerLike | undefined } = {},
): NetworkClient {
  const kernels: KernelPool = createKernelPool({ threads: availableParallelism() })
  const spool = createDiskSpool(kernels)
  const client = createClient(
    {
      network: {
        rpcUrl: network.chain.rpcUrl,
        chainId: network.chain.chainId,
        flow: network.contracts.flow,
        registry: network.contracts.storageRegistry,
      },
      bodies: 'stream',
      ...(options.signer === undefined ? {} : { signer: options.signer }),
    },
    { net: systemNet, clock: systemClock, random: systemRandom, kernels, spool, ctr: aesCtr },
  )
  return {
    client,
    pool: kernels,
    [Symbol.asyncDispose]: async () => {
      await spool.settled()
      await kernels[Symbol.asyncDispose]()
    },
  }
}

type DiskSpool = Spool & {
  /** Resolves when every file has lost its name. */
  settled(): Promise<void>
}

/** A source that can be read only once waits in a file of mode 600 that has no name: it is gone at every end of the process.
 *  Between its making and the loss of its name there is a moment; a command that is aborted waits that long. */
function createDiskSpool(pool: KernelPool): DiskSpool {
  const making = new Set<Promise<unknown>>()
  return {
    async create(options) {
      const created = createSpoolFile(tmpdir(), { ...options, pool })
      making.add(created)
      const file = await created.finally(() => making.delete(created))
      return {
        get sizeBytes() {
          return file.sizeBytes
        },
        append: (bytes) => file.append(bytes),
        read: (start, end, abortable) => file.read(start, end, abortable),
        readInto: (parts, start, abortable) => file.readInto(parts, start, abortable),
        segmentRoots: file.segmentRoots,
        dispose: () => file.close(),
      }
    },
    async settled() {
      await Promise.allSettled(making)
    },
  }
}
