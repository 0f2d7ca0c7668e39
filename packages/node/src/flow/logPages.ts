import type { Abortable, Address } from '@weightless/core'
import { isFailure } from '@weightless/core'
import type { Rpc } from '@weightless/sdk'

/** Public endpoints cap eth_getLogs at 1000 blocks (spec/storage.md 5.3: the reference node asks for 999). */
export const LOG_PAGE_BLOCKS_MAX = 1000
/** Pages asked for ahead of the one that is being committed: hides the round trip, holds little. */
const PAGES_AHEAD = 4
/** Pages that must succeed before twice as many blocks are tried again: one refused call in nine at worst. */
const GROW_AFTER_PAGES = 8

/** Logs of the blocks from … to, both included. */
export type LogPage = { readonly from: number; readonly to: number; readonly logs: readonly unknown[] }

export type LogPageOptions = Abortable & {
  readonly from: number
  readonly to: number
  readonly addresses: readonly Address[]
  readonly topics: readonly string[]
}

export type LogPages = (options: LogPageOptions) => AsyncGenerator<LogPage>

/** Reads logs in pages of as many blocks as the endpoint gives: a refused page is halved, and the pages after it are as small. */
export function createLogPages(rpc: Rpc, { pageBlocksMax }: { readonly pageBlocksMax: number }): LogPages {
  let pageBlocks = pageBlocksMax
  let goodPages = 0

  /** Pages in block order, a few asked for ahead. Throws what the endpoint states. */
  async function* pages(options: LogPageOptions): AsyncGenerator<LogPage> {
    const ahead: Promise<LogPage>[] = []
    let next = options.from
    try {
      while (next <= options.to || ahead.length > 0) {
        while (next <= options.to && ahead.length < PAGES_AHEAD) {
          const to = Math.min(next + pageBlocks - 1, options.to)
          ahead.push(readPage({ ...options, from: next, to }))
          next = to + 1
        }
        yield await ahead.shift()!
      }
    } finally {
      // Whoever stops early leaves these behind; their failure is nobody's news any more.
      for (const page of ahead) page.catch(() => undefined)
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
      grow()
      return { from, to, logs: Array.isArray(logs) ? (logs as unknown[]) : [] }
    } catch (error) {
      if (from === to || !isTooMuch(error)) throw error
      pageBlocks = Math.max(1, Math.min(pageBlocks, Math.floor((to - from + 1) / 2)))
      goodPages = 0
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

  function grow(): void {
    goodPages += 1
    if (goodPages < GROW_AFTER_PAGES || pageBlocks >= pageBlocksMax) return
    goodPages = 0
    pageBlocks = Math.min(pageBlocksMax, 2 * pageBlocks)
  }

  return pages
}

/** Endpoints word "too many results" freely, so any error that one states about a range is answered with half of it. */
function isTooMuch(error: unknown): boolean {
  return isFailure(error, 'RPC_ERROR') || isFailure(error, 'BODY_TOO_LARGE')
}
