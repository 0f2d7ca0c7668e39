import { keccak256 } from '@weightless/kernels'
import { concat, createFail, fromHex, type Hex, toHex } from '@weightless/core'
import type { LedgerEngine } from '../src/journal/ledger.ts'
import type { JournalBlock } from '../src/journal/segment.ts'

/** An engine in a few lines: the hash of a block is that of its parent and of what the journal says of it. Fresh when made. */
export function createToyEngine(options: { readonly birthS?: number; readonly version?: number } = {}): ToyEngine {
  const { birthS = 0, version = 1 } = options
  let chain: Hex[] = [hashOf([`genesis ${birthS}`])]
  const engine: ToyEngine = {
    found: async () => undefined,
    load: async (state) => {
      const text = new TextDecoder().decode(state)
      if (!text.startsWith('toy ')) throw fail('CHAIN_CALL_FAILED', { message: 'no state' })
      chain = JSON.parse(text.slice(4)) as Hex[]
    },
    dump: async () => new TextEncoder().encode(`toy ${JSON.stringify(chain)}`),
    head: async () => engine.newest(),
    replay: async (block) => engine.make(block.timestampS, block.transactions).hash,
    newest: () => ({ number: chain.length - 1, hash: chain.at(-1)! }),
    make(timestampS, transactions) {
      const hash = hashOf([chain.at(-1)!, `${version} ${timestampS}`, ...transactions.map(toHex)])
      chain.push(hash)
      return { number: chain.length - 1, hash, timestampS, baseFeeWei: 1n, transactions }
    },
    chain: () => chain,
  }
  return engine
}

export type ToyEngine = LedgerEngine & {
  newest(): { readonly number: number; readonly hash: Hex }
  make(timestampS: number, transactions: readonly Uint8Array[]): JournalBlock
  chain(): readonly Hex[]
}

const fail = createFail({ CHAIN_CALL_FAILED: { retryable: false, blame: 'caller', next: 'Correct the call.' } })

function hashOf(parts: readonly string[]): Hex {
  const bytes = parts.map((part) => (part.startsWith('0x') ? fromHex(part as Hex) : new TextEncoder().encode(part)))
  return toHex(keccak256(concat(bytes)))
}
