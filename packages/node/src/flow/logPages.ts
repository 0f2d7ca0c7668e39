import type { Abortable, Address } from '@weightless/core'
import { isFailure } from '@weightless/core'
import type { Rpc } from '@weightless/sdk'

/** Public endpoints cap eth_getLogs at 1000 blocks (spec/storage.md 5.3: the reference node asks for 999). */
export const LOG_PAGE_BLOCKS_MAX = 1000
/** Pages asked for ahead of the one that is being committed: hides the round trip, holds little. */
const PAGES_AHEAD = 4
/** The first page: nobody knows yet how full the blocks are. */
const PAGE_BLOCKS_FIRST = 16
/** A page is so many blocks as hold about this many logs: parsed, they take some 10 MB, and a few pages are held at once. */
const PAGE_LOGS_WANTED = 1000
/** Pages that must succeed after a refused one before twice as many blocks are tried again; twice as many after each further
 *  refusal, so that an endpoint with a limit is seldom asked for more. */
const GROW_AFTER_PAGES = 8
const GROW_AFTER_PAGES_MAX = 512

/** Logs of the blocks from … to, both included. */
export type LogPage = { readonly from: number; readonly to: number; readonly logs: readonly unknown[] }

export type LogPageOptions = Abortable & {
  readonly from: number
  readonly to: number
  readonly addresses: readonly Address[]
  readonly topics: readonly string[]
}

export type LogPages = (options: LogPageOptions) => AsyncGenerator<LogPage>

/** Reads logs in pages of as many blocks as the endpoint gives and memory should hold: a refused page is halved, and the pages after
 *  it are as small; so are those after a full one. */
export function createLogPages(rpc: Rpc, { pageBlocksMax }: { readonly pageBlocksMax: number }): LogPages {
  let pageBlocks = Math.min(PAGE_BLOCKS_FIRST, pageBlocksMax)
  let goodPages = 0
  let growAfter = 1

  /** Pages in block order, a few asked for ahead. Throws what the endpoint states. */
  async function* pages(options: LogPageOptions): AsyncGenerator<LogPage> {
    const ahead: Promise<LogPage>[] = []
    let next = options.from
    while (next <= options.to || ahead.length > 0) {
      while (next <= options.to && ahead.length < PAGES_AHEAD) {
        const to = Math.min(next + pageBlocks - 1, options.to)
        const page = readPage({ ...options, from: next, to })
        // One that fails before its turn has come is not unhandled: its turn comes, or nobody reads on.
        page.catch(() => undefined)
        ahead.push(page)
        next = to + 1
      }
      yield await ahead.shift()!
    }
  }

  async function readPage(options: LogPageOptions): Promise<LogPage> {
    const { from, to, addresses, topics, signal } = options
    try {
      const filter = {
        fromBlock: `0x${from.toString(16)}`,
        toBlock: `0x${to.toString(16)}`,
        address: addresses,
        topics: [topics],
      }
      const logs = await rpc.request('eth_getLogs', [filter], { signal })
      const page = { from, to, logs: Array.isArray(logs) ? (logs as unknown[]) : [] }
      adapt(page)
      return page
    } catch (error) {
      if (from === to || !isTooMuch(error)) throw error
      pageBlocks = Math.max(1, Math.min(pageBlocks, Math.floor((to - from + 1) / 2)))
      goodPages = 0
      growAfter = Math.min(Math.max(GROW_AFTER_PAGES, 2 * growAfter), GROW_AFTER_PAGES_MAX)
      const logs: unknown[] = []
      for (let at = from; at <= to;) {
        // What its first part has taught counts for the rest.
        const part = await readPage({ ...options, from: at, to: Math.min(at + pageBlocks - 1, to) })
        logs.push(...part.logs)
        at = part.to + 1
      }
      return { from, to, logs }
    }
  }

  function adapt(page: LogPage): void {
    const blocks = page.to - page.from + 1
    if (page.logs.length > PAGE_LOGS_WANTED)
      pageBlocks = Math.max(1, Math.min(pageBlocks, Math.floor((blocks * PAGE_LOGS_WANTED) / page.logs.length)))
    goodPages += 1
    if (goodPages < growAfter || pageBlocks >= pageBlocksMax || 2 * page.logs.length > PAGE_LOGS_WANTED) return
    goodPages = 0
    pageBlocks = Math.min(pageBlocksMax, 2 * pageBlocks)
  }

  return pages
}

/** "Limit exceeded" (EIP-1474): some endpoints mean too many calls by it, some too many results. */
const LIMIT_EXCEEDED = -32005

/** Endpoints word "too many results" freely, so any error that one states about a range is answered with half of it. */
function isTooMuch(error: unknown): boolean {
  if (isFailure(error, 'RPC_UNREACHABLE')) return error.facts['rpcCode'] === LIMIT_EXCEEDED
  return isFailure(error, 'RPC_ERROR') || isFailure(error, 'BODY_TOO_LARGE')
}
