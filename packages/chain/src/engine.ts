import type { Abortable, Failure, Hex } from '@weightless/core'

/** One face over the engines that others wrote (DESIGN D2, D3): it orders transactions into blocks and serves Ethereum
 *  JSON-RPC. Whoever wants to use the chain gets its URL; only the composition root holds the engine itself. */
export type ChainEngine = {
  readonly chainId: number
  /** Known after `start`. */
  readonly rpcUrl: string
  readonly wsUrl: string
  /** The engine's own process, while it runs. */
  readonly pid: number | undefined
  /** How often that process came back after an end that nobody asked for. */
  readonly restartCount: number
  /** Why it makes no more blocks although it was not stopped; a later start may mend it. */
  readonly fault: Failure | undefined
  /** Resolves when blocks are made and the public port answers. Throws `PORT_TAKEN` and the `CHAIN_…` codes. */
  start(options?: Abortable): Promise<void>
  /** Saves the state and ends every process and socket; bounded. `start` may follow. */
  stop(): Promise<void>
  /** The newest block; `undefined` before the first start. */
  head(): Block | undefined
  /** The newest block that never goes away. */
  finalized(): Block | undefined
  /** Called for each new block, in order. Returns the function that ends it. */
  onBlock(listener: (block: Block) => void): () => void
  [Symbol.asyncDispose](): Promise<void>
}

export type Block = {
  readonly number: number
  readonly hash: Hex
  /** Seconds since the epoch. */
  readonly timestampS: number
  readonly transactionHashes: readonly Hex[]
}
