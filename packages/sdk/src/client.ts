import {
  isFailure,
  parseAddress,
  preview,
  type Abortable,
  type Address,
  type Clock,
  type Ctr,
  type Failure,
  type Kernels,
  type Logger,
  type Net,
  type Random,
} from '@weightless/core'
import { inlineKernels } from '@weightless/kernels'
import { createContacts, type Contacts } from './contacts.ts'
import { silentLogger, webClock, webNet, webRandom } from './defaults.ts'
import { fail } from './errors.ts'
import { readMarket, readPrice } from './flowChain.ts'
import { createRegistryMembership, createStaticMembership, type MembershipSource } from './membership.ts'
import { parseCount } from './quantity.ts'
import { isRevert } from './revert.ts'
import { createRpc, type Rpc } from './rpc.ts'
import { shared } from './scope.ts'
import type { SignerLike } from './signer.ts'
import { createMemorySpool, type Spool } from './spool.ts'
import type { StorageNodeClientOptions } from './storageNodeClient.ts'
import { createTransactor, type Transactor } from './transactor.ts'

export type ClientOptions = {
  readonly network: {
    readonly rpcUrl: string
    readonly chainId: number
    /** Address of the Flow contract. */
    readonly flow: string
    /** Address of the StorageRegistry. Without it, name the nodes in `storageNodes`. */
    readonly registry?: string | undefined
  }
  /** Pays for uploads; reading needs none. */
  readonly signer?: SignerLike | undefined
  /** URLs of storage nodes, used instead of the registry's members. */
  readonly storageNodes?: readonly string[] | undefined
  /** `stream` where the platform takes streams as bodies over HTTP/1.1 (Node, with a Net of its own): saves a copy of all that is
   *  sent. */
  readonly bodies?: StorageNodeClientOptions['bodies']
}

/** The machine; each has a default of the web platform. */
export type ClientDeps = {
  readonly net: Net
  readonly clock: Clock
  readonly random: Random
  /** Hashes inline by default; pass a worker pool to use all cores. */
  readonly kernels: Kernels
  readonly logger: Logger
  /** Where one-shot streams wait; in memory by default, at most 256 MiB each. */
  readonly spool: Spool
  /** AES-256-CTR of the machine, if it is faster than the built-in one. */
  readonly ctr: Ctr | undefined
}

/** One network as one user sees it. Pass it to `upload`, `download`, `info`, `list`; it holds no connection that must be closed. */
export type Client = {
  readonly network: {
    readonly rpcUrl: string
    readonly chainId: number
    readonly flow: Address
    readonly registry: Address | undefined
  }
  readonly deps: ClientDeps
  readonly rpc: Rpc
  readonly transactor: Transactor | undefined
  readonly membership: MembershipSource
  readonly contacts: Contacts
  /** How what is sent is given to the Net. */
  readonly bodies: 'bytes' | 'stream'
  /** Throws `NETWORK_MISMATCH` unless the endpoint is this chain and has code at the flow address; asked once. */
  checkNetwork(options: Abortable): Promise<void>
  /** Wei per sector. `renew` asks again though an answer is fresh. */
  price(options: Abortable & { readonly renew?: boolean }): Promise<bigint>
}

/** A price changes by an admin's transaction, if ever; an outdated one is refused by the contract before anything is paid. */
const PRICE_FRESH_MS = 30_000
const STATIC_NODES_MAX = 256

/** Asks nothing yet. Throws `OPTION_INVALID` for options that cannot be meant. */
export function createClient(options: ClientOptions, deps: Partial<ClientDeps> = {}): Client {
  const network = parseNetwork(options.network)
  const storageNodes = parseNodes(options.storageNodes)
  const all: ClientDeps = {
    net: deps.net ?? webNet,
    clock: deps.clock ?? webClock,
    random: deps.random ?? webRandom,
    kernels: deps.kernels ?? inlineKernels(),
    logger: deps.logger ?? silentLogger,
    spool: deps.spool ?? createMemorySpool(),
    ctr: deps.ctr,
  }
  const rpc = createRpc(network.rpcUrl, all)
  const { signer } = options
  const contacts = createContacts(network, all, { bodies: options.bodies })
  return {
    network,
    deps: all,
    rpc,
    contacts,
    bodies: options.bodies ?? 'bytes',
    transactor:
      signer === undefined ? undefined : createTransactor({ chainId: network.chainId, signer }, { ...all, rpc }),
    membership: membershipOf(network.registry, storageNodes, { contacts, rpc, clock: all.clock }),
    checkNetwork: createNetworkCheck(network, rpc),
    price: createPrice(network.flow, rpc, all.clock),
  }
}

function membershipOf(
  registry: Address | undefined,
  storageNodes: readonly string[] | undefined,
  deps: { readonly contacts: Contacts; readonly rpc: Rpc; readonly clock: Clock },
): MembershipSource {
  if (storageNodes !== undefined) return createStaticMembership(storageNodes, deps)
  if (registry !== undefined) return createRegistryMembership(registry, deps)
  return {
    registry: undefined,
    draining: async () => [],
    read: async () => {
      throw fail('OPTION_INVALID', {
        name: 'network.registry',
        reason: 'neither a registry nor storageNodes are named',
      })
    },
  }
}

function createNetworkCheck(network: Client['network'], rpc: Rpc): Client['checkNetwork'] {
  let isChecked = false
  const check = shared(async (signal) => {
    const [id, code] = await Promise.all([
      rpc.request('eth_chainId', [], { signal }),
      rpc.request('eth_getCode', [network.flow, 'latest'], { signal }),
    ])
    const mismatch = (what: string, expected: string | number, actual: string | number): Failure =>
      fail('NETWORK_MISMATCH', { what, expected, actual })
    const chainId = parseCount(id, 'chainId')
    if (chainId !== network.chainId) throw mismatch('chain id', network.chainId, chainId)
    if (typeof code !== 'string' || code.length <= 2)
      throw mismatch('contract at the flow address', network.flow, 'no code')
    isChecked = true
  })
  return async (options) => {
    if (!isChecked) await check(options)
  }
}

function createPrice(flow: Address, rpc: Rpc, clock: Clock): Client['price'] {
  let market: Address | undefined
  let cached: { readonly priceWei: bigint; readonly untilMs: number } | undefined
  const ask = shared(async (signal) => {
    market ??= await readMarket(rpc, flow, { signal }).catch((cause: unknown) => {
      if (!isRevert(cause) && !isFailure(cause, 'RPC_ANSWER_INVALID')) throw cause
      throw fail(
        'NETWORK_MISMATCH',
        { what: 'contract at the flow address', expected: flow, actual: 'no flow contract' },
        { cause },
      )
    })
    const priceWei = await readPrice(rpc, market, { signal })
    cached = { priceWei, untilMs: clock.nowMs() + PRICE_FRESH_MS }
    return priceWei
  })
  return async ({ signal, renew = false }) => {
    if (!renew && cached !== undefined && clock.nowMs() < cached.untilMs) return cached.priceWei
    return ask({ signal })
  }
}

function parseNetwork(value: ClientOptions['network']): Client['network'] {
  const { rpcUrl, chainId, flow, registry } = value ?? {}
  if (typeof rpcUrl !== 'string' || !/^https?:\/\//.test(rpcUrl)) {
    throw fail('OPTION_INVALID', { name: 'network.rpcUrl', value: preview(rpcUrl) })
  }
  if (!Number.isSafeInteger(chainId) || chainId < 1)
    throw fail('OPTION_INVALID', { name: 'network.chainId', value: preview(chainId) })
  return {
    rpcUrl,
    chainId,
    flow: address('network.flow', flow),
    registry: registry === undefined ? undefined : address('network.registry', registry),
  }
}

function address(name: string, value: unknown): Address {
  try {
    return parseAddress(value)
  } catch (cause) {
    throw fail('OPTION_INVALID', { name, value: preview(value) }, { cause })
  }
}

function parseNodes(nodes: readonly string[] | undefined): readonly string[] | undefined {
  if (nodes === undefined) return undefined
  const isRight = nodes.length > 0 && nodes.length <= STATIC_NODES_MAX && nodes.every((url) => /^https?:\/\//.test(url))
  if (!isRight)
    throw fail('OPTION_INVALID', { name: 'storageNodes', value: preview(nodes), countMax: STATIC_NODES_MAX })
  return nodes
}
