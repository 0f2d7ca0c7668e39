import type { Entry, ProvenSegment } from '@weightless/core'
import { proofToJson, SEGMENT_SIZE_BYTES, toHex } from '@weightless/core'
import type { ZgsBackend } from './backend.ts'

/** Answers in the shapes of spec/storage.md 3.2, field for field. */

/** The version of the reference node's p2p protocol that clients of 2026 know. */
const P2P_VERSION = { major: 0, minor: 4, build: 0 } as const

export function statusOf(backend: ZgsBackend): object {
  const head = backend.head()
  return {
    connectedPeers: backend.peerCount(),
    logSyncHeight: Math.max(0, head.number),
    logSyncBlock: head.hash,
    nextTxSeq: backend.nextSeq(),
    networkIdentity: { chainId: backend.chainId, flowAddress: backend.flowAddress, p2pProtocolVersion: P2P_VERSION },
  }
}

export function fileInfoOf(backend: ZgsBackend, entry: Entry): object {
  const finalized = backend.isFinal(entry)
  return {
    tx: transactionOf(entry),
    finalized,
    // Early segments lie in the store like all others: nothing is ever only in a cache here.
    isCached: false,
    uploadedSegNum: finalized ? segmentCountOf(entry) : backend.progress(entry),
    pruned: false,
  }
}

function transactionOf(entry: Entry): object {
  return {
    // Tags and inline data mean nothing to a storage node.
    streamIds: [],
    data: [],
    dataMerkleRoot: entry.root,
    merkleNodes: entry.nodes.map((node) => [node.height + 1, toHex(node.root)]),
    startEntryIndex: entry.startChunk,
    size: entry.sizeBytes,
    seq: entry.seq,
  }
}

export function segmentWithProofOf(
  entry: Entry,
  segment: ProvenSegment,
  encoded: { readonly data: string; readonly segmentRoot: Uint8Array },
): object {
  return {
    root: entry.root,
    data: encoded.data,
    index: segment.index,
    proof: proofToJson(encoded.segmentRoot, segment.proof, entry.root),
    fileSize: entry.sizeBytes,
  }
}

export function segmentCountOf(entry: Entry): number {
  return Math.ceil(entry.sizeBytes / SEGMENT_SIZE_BYTES)
}
