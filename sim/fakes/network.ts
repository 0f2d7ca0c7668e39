import { domainOf, type Logger, type Member, type Net } from '@weightless/core'
import { inlineKernels } from '@weightless/kernels'
import { createClient, privateKeySigner, type Client, type ClientDeps, type ClientOptions } from '@weightless/sdk'
import { createFakeChain, type FakeChain, type FakeChainOptions } from './chain.ts'
import { createFakeStorageNode, type FakeStorageNode } from './storageNode.ts'
import { rememberingKernel } from '../kernels.ts'

/** A whole network in one process, without a socket: a chain and storage nodes that follow it. */
export type FakeNetwork = {
  readonly chain: FakeChain
  readonly nodes: readonly NetworkNode[]
  readonly net: Net
  readonly rpcUrl: string
  /** Requests that were sent and not yet answered or aborted. */
  readonly open: ReadonlySet<Request>
  /** All requests, oldest first. */
  readonly log: readonly string[]
  /** A client of this network with a funded wallet (number `account`). */
  client(options?: Partial<ClientOptions>, deps?: Partial<ClientDeps>, account?: number): Client
}
export type NetworkNode = FakeStorageNode & {
  readonly url: string
  readonly member: Member
  /** Stands between the network and the node: answer instead of it, change its answer, throw, or never answer. */
  fault: Fault | undefined
}
export type Fault = (request: Request, node: FakeStorageNode) => Promise<Response>
export type FakeNetworkOptions = FakeChainOptions & { readonly nodeCount?: number }

/** Wallets of these tests; the chain knows no others. */
export function keyOf(account: number): `0x${string}` {
  return `0x${(0x1000 + account).toString(16).padStart(64, '0')}`
}

export function createFakeNetwork(options: FakeNetworkOptions = {}): FakeNetwork {
  const { nodeCount = 6 } = options
  const chain = createFakeChain(options)
  const open = new Set<Request>()
  const log: string[] = []
  const nodes: NetworkNode[] = Array.from({ length: nodeCount }, (_, i) => {
    const privateKey = new Uint8Array(32).fill(i + 1)
    const node = createFakeStorageNode({
      privateKey,
      chainId: chain.chainId,
      flow: chain.flow,
      registry: chain.registry,
      membersAt: (version) => (version === 1 ? nodes.map(({ member }) => member) : undefined),
    })
    const url = `http://node-${i}.test/`
    const member: Member = {
      id: i + 1,
      signer: node.signer,
      endpoint: url,
      domain: domainOf(`rack ${i}`),
      weight: 1_000n,
    }
    return { ...node, url, member, fault: undefined }
  })
  chain.setMembers(nodes.map(({ member }) => member))
  chain.onEntry((entry) => {
    for (const node of nodes) node.learn(entry)
  })

  async function answer(request: Request): Promise<Response> {
    const origin = `${new URL(request.url).origin}/`
    if (origin === RPC_URL) return chain.handle(request)
    const node = nodes.find(({ url }) => url === origin)
    if (node === undefined) throw new TypeError('fetch failed')
    return node.fault === undefined ? node.handle(request) : node.fault(request, node)
  }
  const net: Net = {
    fetch: async (request) => {
      open.add(request)
      log.push(`${request.method} ${request.url}`)
      let onAbort = (): void => undefined
      const aborted = new Promise<never>((_, reject) => {
        onAbort = () => reject(request.signal.reason)
        if (request.signal.aborted) onAbort()
        else request.signal.addEventListener('abort', onAbort, { once: true })
      })
      aborted.catch(() => undefined)
      try {
        // A turn of the event loop each way, as any network takes.
        await Promise.race([new Promise((next) => setImmediate(next)), aborted])
        return await Promise.race([answer(request), aborted])
      } finally {
        request.signal.removeEventListener('abort', onAbort)
        open.delete(request)
      }
    },
  }
  return {
    chain,
    nodes,
    net,
    open,
    log,
    rpcUrl: RPC_URL,
    client: (clientOptions = {}, deps = {}, account = 0) => {
      const signer = privateKeySigner(keyOf(account))
      chain.setBalance(signer.address, 10n ** 24n)
      return createClient(
        {
          network: { rpcUrl: RPC_URL, chainId: chain.chainId, flow: chain.flow, registry: chain.registry },
          signer,
          ...clientOptions,
        },
        { net, kernels: inlineKernels({ kernel: rememberingKernel }), ...deps },
      )
    },
  }
}

const RPC_URL = 'http://chain.test/'

/** Content that no generator of zeros or ramps could stand in for: xorshift32 from a seed. */
export function content(sizeBytes: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes)
  let x = Math.imul(seed + 1, 0x9e3779b1) >>> 0 || 1
  for (let i = 0; i < sizeBytes; i++) {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    bytes[i] = x & 0xff
  }
  return bytes
}

/** Faults by name. */
export const isDown: Fault = async () => {
  throw new TypeError('fetch failed')
}
export const hangs: Fault = () => new Promise(() => undefined)

/** Its disk has no room for another segment. */
export const isFull: Fault = async (request, node) => {
  const response = await node.handle(request)
  if (!new URL(request.url).pathname.endsWith('/v1/status')) return response
  const status = (await response.json()) as { readonly store: object }
  return Response.json({ ...status, store: { ...status.store, full: true } })
}

/** Collects what a library says. */
export function recordingLogger(): Logger & { readonly events: readonly string[] } {
  const events: string[] = []
  const logger: Logger & { readonly events: readonly string[] } = {
    events,
    debug: (event) => events.push(event),
    info: (event) => events.push(event),
    warn: (event) => events.push(event),
    error: (event) => events.push(event),
    child: () => logger,
  }
  return logger
}
