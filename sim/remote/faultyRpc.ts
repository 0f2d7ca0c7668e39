import { serveHttp, type HttpServer } from '@weightless/host'
import type { Chance } from '../chance.ts'

/** What a public endpoint does to its guests. */
export type Faults = {
  /** Share of calls that end in a 502, a broken connection's answer, or an error of the endpoint. */
  failShare: number
  /** Blocks of one eth_getLogs. */
  logBlocksMax: number
  /** Calls of this many in a row are answered before one is told to wait. */
  callsPerTurn: number
  /** Machines behind the balancer: each answers as of so many blocks ago. */
  lags: readonly number[]
  /** What it says its chain is, instead of what the chain says. */
  chainId: number | undefined
  isDown: boolean
}

export type FaultyRpc = AsyncDisposable & {
  readonly url: string
  readonly faults: Faults
  /** How often each misbehaviour happened, so that a test can say that it was there. */
  readonly counts: { failed: number; capped: number; limited: number; lagged: number; calls: number }
}

const block = (value: number): string => `0x${value.toString(16)}`

/** A JSON-RPC endpoint in front of another one that does all that endpoints of strangers do, from a seed. */
export async function createFaultyRpc(
  upstream: (method: string, params: readonly unknown[]) => Promise<unknown>,
  chance: Chance,
  given: Partial<Faults> = {},
): Promise<FaultyRpc> {
  const faults: Faults = {
    failShare: 0.05,
    logBlocksMax: 1_000,
    callsPerTurn: 40,
    lags: [0, 0, 1, 3],
    chainId: undefined,
    isDown: false,
    ...given,
  }
  const counts = { failed: 0, capped: 0, limited: 0, lagged: 0, calls: 0 }

  async function answer(method: string, params: readonly unknown[]): Promise<unknown> {
    if (method === 'eth_chainId' && faults.chainId !== undefined) return block(faults.chainId)
    const lag = faults.lags[chance.below(faults.lags.length)]!
    if (lag === 0) return upstream(method, params)
    const head = Math.max(0, Number(await upstream('eth_blockNumber', [])) - lag)
    counts.lagged += 1
    if (method === 'eth_blockNumber') return block(head)
    if (method === 'eth_getBlockByNumber') {
      const [at, full] = params
      if (at === 'latest') return upstream(method, [block(head), full])
      return Number(at) > head ? null : upstream(method, params)
    }
    if (method === 'eth_getLogs') {
      // A machine that is behind gives what it has, and does not say so.
      const [filter] = params as [{ readonly fromBlock: string; readonly toBlock: string }]
      if (Number(filter.fromBlock) > head) return []
      return upstream(method, [{ ...filter, toBlock: block(Math.min(Number(filter.toBlock), head)) }])
    }
    return upstream(method, params)
  }

  const server: HttpServer = await serveHttp({
    port: 0,
    limits: { closeMsMax: 50 },
    handler: async (request) => {
      const {
        id,
        method,
        params = [],
      } = (await request.json()) as {
        readonly id: number
        readonly method: string
        readonly params?: readonly unknown[]
      }
      counts.calls += 1
      const refuse = (code: number, message: string): Response =>
        Response.json({ jsonrpc: '2.0', id, error: { code, message } })
      if (faults.isDown) return new Response('<html>502</html>', { status: 502 })
      if (counts.calls % faults.callsPerTurn === 0) {
        counts.limited += 1
        return new Response('slow down', { status: 429, headers: { 'retry-after': '1' } })
      }
      if (chance.next() < faults.failShare) {
        counts.failed += 1
        const kind = chance.below(3)
        if (kind === 0) return new Response('<html>502</html>', { status: 502 })
        if (kind === 1) return refuse(-32005, 'limit exceeded')
        return new Response('{"jsonrpc":"2.0","id', { status: 503 })
      }
      if (method === 'eth_getLogs') {
        const [{ fromBlock, toBlock }] = params as [{ readonly fromBlock: string; readonly toBlock: string }]
        if (Number(toBlock) - Number(fromBlock) + 1 > faults.logBlocksMax) {
          counts.capped += 1
          return refuse(-32602, `eth_getLogs is limited to a ${faults.logBlocksMax} range`)
        }
      }
      try {
        return Response.json({ jsonrpc: '2.0', id, result: await answer(method, params) })
      } catch (error) {
        return refuse(-32000, error instanceof Error ? error.message : String(error))
      }
    },
  })
  return { url: server.url, faults, counts, [Symbol.asyncDispose]: () => server.close() }
}
