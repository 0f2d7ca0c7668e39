import {
  type Abortable,
  type Clock,
  type Failure,
  type Hex,
  isFailure,
  type Logger,
  type Net,
  parseAddress,
  type Random,
} from '@weightless/core'
import { headFeed, systemNet, systemRandom } from '@weightless/host'
import type { Block, ChainEngine } from '../engine.ts'
import { fail } from '../errors.ts'
import { createRemoteRpc } from './remoteRpc.ts'

/** Blocks after which one counts as final on a chain that does not know the tag `finalized`: two epochs of Ethereum. */
export const FINAL_DEPTH_BLOCKS = 64
/** One question a second is what public endpoints allow a guest; their blocks are a second or more apart. */
const POLL_MS = 1_000

/** A chain that others run, behind any Ethereum JSON-RPC (DESIGN D3): 0G's own networks among them. Nothing is started or
 *  stopped but our own attention; the endpoint is asked politely, and believed only while it says that it is this chain. */
export function createRemoteEngine(options: RemoteEngineOptions, deps: RemoteEngineDeps): ChainEngine {
  const { chainId, rpcUrl, wsUrl } = options
  const { clock, logger } = deps
  const net = deps.net ?? systemNet
  const random = deps.random ?? systemRandom
  const flow = parseAddress(options.flow)
  const rpc = createRemoteRpc(rpcUrl, { net, clock, random })
  const listeners = new Set<(block: Block) => void>()
  let head: Block | undefined
  let finalized: Block | undefined
  let knowsFinalized = true
  let fault: Failure | undefined
  let life: { readonly over: AbortController; readonly ended: Promise<void> } | undefined

  async function start({ signal }: Abortable = {}): Promise<void> {
    if (life !== undefined) return
    await checkChain({ signal })
    const code = await rpc.request('eth_getCode', [flow, 'latest'], { signal })
    if (typeof code !== 'string' || code === '0x') throw fail('REMOTE_FLOW_MISSING', { flow, chainId })
    await advance('latest', { signal })
    const over = new AbortController()
    life = { over, ended: follow(over.signal) }
  }

  async function stop(): Promise<void> {
    const ending = life
    life = undefined
    ending?.over.abort()
    await ending?.ended
  }

  async function checkChain(abortable: Abortable): Promise<void> {
    const said = Number(await rpc.request('eth_chainId', [], abortable))
    if (said !== chainId) throw fail('REMOTE_CHAIN_ID_DIFFERENT', { chainId: said, expectedChainId: chainId })
  }

  async function follow(signal: AbortSignal): Promise<void> {
    const feed = headFeed(
      { rpcUrl, wsUrl, pollMs: options.pollMs ?? POLL_MS },
      { clock, random, net, logger },
      { signal },
    )
    for await (const { number, hash } of feed) {
      if (hash === head?.hash) continue
      try {
        await checkChain({ signal })
        await advance(`0x${number.toString(16)}`, { signal })
        fault = undefined
      } catch (error) {
        if (isFailure(error, 'REMOTE_CHAIN_ID_DIFFERENT')) fault = error
        // The next head brings the next try; until then what is known stays.
        if (!signal.aborted) logger?.warn('remote.headFailed', { number, error })
      }
    }
  }

  async function advance(at: string, abortable: Abortable): Promise<void> {
    const block = await readBlock(at, abortable)
    if (block === undefined || block.hash === head?.hash) return
    const final = await readFinal(block, abortable)
    // What was final stays: an endpoint that lags, or lies, takes nothing back.
    if (final !== undefined && final.number >= (finalized?.number ?? 0)) finalized = final
    head = block
    for (const listener of listeners) listener(block)
  }

  async function readFinal(newest: Block, abortable: Abortable): Promise<Block | undefined> {
    if (knowsFinalized) {
      try {
        const block = await readBlock('finalized', abortable)
        if (block !== undefined) return block
      } catch (error) {
        if (!isFailure(error, 'CHAIN_CALL_FAILED')) throw error
        knowsFinalized = false
        logger?.info('remote.finalityByDepth', { blocks: options.finalDepthBlocks ?? FINAL_DEPTH_BLOCKS })
      }
    }
    const number = newest.number - (options.finalDepthBlocks ?? FINAL_DEPTH_BLOCKS)
    return number < 0 ? undefined : await readBlock(`0x${number.toString(16)}`, abortable)
  }

  async function readBlock(at: string, abortable: Abortable): Promise<Block | undefined> {
    const block = await rpc.request('eth_getBlockByNumber', [at, false], abortable)
    return block === null || block === undefined ? undefined : parseBlock(block)
  }

  return {
    chainId,
    rpcUrl,
    // Where there is no push, whoever wants it finds out by asking, and polls.
    wsUrl: wsUrl ?? rpcUrl.replace(/^http/, 'ws'),
    pid: undefined,
    restartCount: 0,
    get fault() {
      return fault
    },
    start,
    stop,
    head: () => head,
    finalized: () => finalized,
    onBlock(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    [Symbol.asyncDispose]: stop,
  }
}

export type RemoteEngineOptions = {
  readonly rpcUrl: string
  /** Without it heads are polled. */
  readonly wsUrl?: string | undefined
  readonly chainId: number
  /** The Flow contract that must be there. */
  readonly flow: string
  readonly pollMs?: number | undefined
  /** For chains without the tag `finalized`. */
  readonly finalDepthBlocks?: number | undefined
}
export type RemoteEngineDeps = {
  readonly clock: Clock
  readonly net?: Net | undefined
  readonly random?: Random | undefined
  readonly logger?: Logger | undefined
}

function parseBlock(value: unknown): Block {
  const { number, hash, timestamp, transactions } = value as { readonly [name: string]: unknown }
  if (!isQuantity(number) || !isQuantity(timestamp) || typeof hash !== 'string' || !/^0x[0-9a-fA-F]{64}$/.test(hash))
    throw fail('CHAIN_CALL_FAILED', { method: 'eth_getBlockByNumber', reason: 'that is no block' })
  const hashes = Array.isArray(transactions) ? (transactions as readonly unknown[]) : []
  return {
    number: Number(number),
    hash: hash.toLowerCase() as Hex,
    timestampS: Number(timestamp),
    transactionHashes: hashes.filter((one): one is Hex => typeof one === 'string'),
  }
}

function isQuantity(value: unknown): value is string {
  return typeof value === 'string' && /^0x[0-9a-fA-F]{1,13}$/.test(value)
}
