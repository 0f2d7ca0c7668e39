import type { Address, Entry, Kernels, ProvenSegment, Root, ShardConfig } from '@weightless/core'
import type { EntryIndex } from '../flow/entries.ts'
import type { FlowView } from '../flow/flowView.ts'
import type { BlockMark } from '../flow/cursor.ts'
import type { ClaimedSegment } from '../segments/shelf.ts'

/** What a role must be able to do to speak with official clients. The storage node and the gateway each have one. */
export type ZgsBackend = {
  readonly chainId: number
  readonly flowAddress: Address
  readonly entries: EntryIndex
  readonly kernels: Kernels
  readonly flow: FlowView
  head(): BlockMark
  nextSeq(): number
  /** Others of the network: official nodes call them connected peers. */
  peerCount(): number
  shardConfig(): ShardConfig
  isFinal(entry: Entry): boolean
  /** Segments here of an entry that is not final. */
  progress(entry: Entry): number
  /** A last look elsewhere before entries that are not final here are reported as such; quick, or it gives up. */
  refresh(entries: readonly Entry[], options: { readonly signal: AbortSignal }): Promise<void>
  /** Refuses uploads of a root that this node does not take, by throwing. */
  checkUpload(root: Root): void
  /** Stores proven segments; `entry` is undefined while the root is not on chain. Resolves when all is synced. */
  store(upload: SegmentUpload, options: { readonly signal: AbortSignal }): Promise<void>
  /** A segment cut to the entry's own size; `undefined` when it cannot be had. */
  read(entry: Entry, index: number, options: { readonly signal: AbortSignal }): Promise<ProvenSegment | undefined>
}

export type SegmentUpload = {
  readonly root: Root
  readonly sizeBytes: number
  readonly entry: Entry | undefined
  readonly segments: readonly ClaimedSegment[]
}
