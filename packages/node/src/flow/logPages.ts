import type { Abortable, Address } from '@weightless/core'
import { isFailure } from '@weightless/core'
import type { Rpc } from '@weightless/sdk'

/** Public endpoints cap eth_getLogs at 1000 blocks (spec/storage.md 5.3: the reference node asks for 999). */
export const LOG_PAGE_BLOCKS_MAX = 1000
/** Pages asked for ahead of the one that is being committed: hides the round trip, holds little. */
const PAGES_AHEAD = 4

/** Logs of the blocks from … to, both included. */
export type LogPage = { readonly from: number; readonly to: number; readonly logs: readonly unknown[] }

export type LogPageOptions = Abortable & {
  readonly from: number
  readonly to: number
  readonly addresses: readonly Address[]
  readonly topics: readonly string[]
}

/** Pages of `eth_getLogs` in block order, a few asked for ahead. Throws what the endpoint states. */
export async function* logPages(rpc: Rpc, options: LogPageOptions): AsyncGenerator<LogPage> {
  const ahead: Promise<LogPage>[] = []
  let next = options.from
  try {
    while (next <= options.to || ahead.length > 0) {
      while (next <= options.to && ahead.length < PAGES_AHEAD) {
        const to = Math.min(next + LOG_PAGE_BLOCKS_MAX - 1, options.to)
        ahead.push(readPage(rpc, { ...options, from: next, to }))
        next = to + 1
      }
      yield await ahead.shift()!
    }
  } finally {
    // Whoever stops early leaves these behind; their failure is nobody's news any more.
    for (const page of ahead) page.catch(() => undefined)
  }
}

/** One page; halved when the endpoint or our own body limit refuses it as too much. */
async function readPage(rpc: Rpc, options: LogPageOptions): Promise<LogPage> {
  const { from, to, addresses, topics, signal } = options
  try {
    const filter = {
      fromBlock: `0x${from.toString(16)}`,
      toBlock: `0x${to.toString(16)}`,
      address: addresses,
      topics: [topics],
    }
    const logs = await rpc.request('eth_getLogs', [filter], { signal })
    return { from, to, logs: Array.isArray(logs) ? (logs as unknown[]) : [] }
  } catch (error) {
    if (from === to || !isTooMuch(error)) throw error
    const middle = Math.floor((from + to) / 2)
    const first = await readPage(rpc, { ...options, to: middle })
    const second = await readPage(rpc, { ...options, from: middle + 1 })
    return { from, to, logs: [...first.logs, ...second.logs] }
  }
}

/** Endpoints word "too many results" freely, so any error that one states about a range is answered with half of it. */
function isTooMuch(error: unknown): boolean {
  return isFailure(error, 'RPC_ERROR') || isFailure(error, 'BODY_TOO_LARGE')
}
