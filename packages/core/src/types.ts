import type { Address, Hex, Root, TxHash } from './hex.ts'

/** One node of a submission: the Merkle root of 2^height chunks (spec/storage.md 1.4). */
export type SubmissionNode = { readonly root: Uint8Array; readonly height: number }

/** What a client submits for one file. `sizeBytes` is the real size; the nodes cover the padded chunks. */
export type Submission = {
  readonly sizeBytes: number
  readonly tags: Uint8Array
  readonly nodes: readonly SubmissionNode[]
}

/** One log entry as the chain ordered it: a decoded Submit event (spec/storage.md 2.1). */
export type Entry = {
  readonly seq: number
  readonly root: Root
  readonly sizeBytes: number
  /** First chunk in the flow. */
  readonly startChunk: number
  /** Chunks charged = padded chunks. */
  readonly paddedChunkCount: number
  readonly nodes: readonly SubmissionNode[]
  readonly tags: Uint8Array
  readonly sender: Address
  readonly identity: Hex
  readonly blockNumber: number
  readonly blockHash: Hex
  readonly txHash: TxHash
  readonly logIndex: number
}

/** Proof that a segment belongs to a file root: siblings bottom to top; `lefts[i]` is true when the path's node is the LEFT child.
 *  The JSON form of official clients (lemma/path) adds the segment root in front and the file root behind (spec/storage.md 1.5). */
export type SegmentProof = { readonly siblings: readonly Uint8Array[]; readonly lefts: readonly boolean[] }

/** A segment on its way between machines: the real chunks only, padded to 256 bytes and not to the flow padding. */
export type ProvenSegment = { readonly index: number; readonly data: Uint8Array; readonly proof: SegmentProof }

/** A storage node as the registry (or a static list) knows it. */
export type Member = {
  readonly id: number
  /** Signs receipts. */
  readonly signer: Address
  readonly endpoint: string
  /** Failure domain as the registry stores it: 32 bytes, `domainOf(name)`. */
  readonly domain: Hex
  /** Weight in rendezvous hashing: min(capacity, stake / stakePerSegment). */
  readonly weight: bigint
}

/** The active set at one registry version. */
export type Membership = { readonly version: number; readonly members: readonly Member[] }

/** A holder's word that it has synced its part of an entry (DESIGN D9): signed once per entry as EIP-712. */
export type Receipt = {
  readonly chainId: number
  readonly registry: Address
  readonly registryVersion: number
  readonly dataRoot: Root
  readonly entrySeq: number
  /** Bit i of byte floor(i / 8), least significant first: slot i is held. For replicas a slot is the rank of the copy. */
  readonly slots: Hex
  /** Root of the shard fingerprints; 32 zero bytes where no parity is involved. */
  readonly fingerprintRoot: Hex
  readonly blockNumber: number
  readonly signer: Address
  /** 65 bytes r ‖ s ‖ v. */
  readonly signature: Hex
}

/** Facts about an upload, in this order (DESIGN D9). */
export type Stage = 'accepted' | 'anchored' | 'durable' | 'final'
