import type { Entry, FlowPosition, Hex } from '@weightless/core'
import { CHUNK_SIZE_BYTES, HASH_SIZE_BYTES, layoutOf, SEGMENT_CHUNKS, SEGMENT_HEIGHT, toHex } from '@weightless/core'
import { foldProof, keccak256, merkleLevels, zeroSubtree } from '@weightless/kernels'
import type { ZgsBackend } from './backend.ts'
import { serverFault } from './fault.ts'

type Path = { readonly leaf: Uint8Array; readonly siblings: readonly Uint8Array[]; readonly lefts: readonly boolean[] }

/**
 * Proof of one chunk in the flow (spec/storage.md 1.6): from the chunk to the submission node it lies in by the bytes that are
 * here, from there to the flow root by the flow tree.
 */
export async function proveSector(
  sector: number,
  atLength: number | undefined,
  backend: ZgsBackend,
  options: { readonly signal: AbortSignal },
): Promise<{ lemma: Hex[]; path: boolean[] }> {
  const lengthChunks = atLength ?? backend.flow.context().lengthChunks
  if (sector >= lengthChunks) throw serverFault('sector index out of bound')
  const entry = backend.entries.atChunk(sector)
  const inside =
    entry === undefined || entry.startChunk >= lengthChunks
      ? undefined
      : await pathInEntry(entry, sector, backend, options)
  const low = inside ?? {
    at: { height: 0, index: sector },
    leaf: sector === 0 ? new Uint8Array(HASH_SIZE_BYTES) : zeroSubtree(0),
    siblings: [],
    lefts: [],
  }
  const high = backend.flow.prove(low.at, lengthChunks)
  const siblings = [...low.siblings, ...high.siblings]
  const path = [...low.lefts, ...high.lefts]
  const root = foldProof(low.leaf, siblings, path)
  return { lemma: [low.leaf, ...siblings, root].map(toHex), path }
}

/** From a chunk of an entry up to the submission node it lies in. */
async function pathInEntry(
  entry: Entry,
  sector: number,
  backend: ZgsBackend,
  options: { readonly signal: AbortSignal },
): Promise<Path & { readonly at: FlowPosition }> {
  const layout = layoutOf(entry.sizeBytes)
  const chunk = sector - entry.startChunk
  const index = Math.floor(chunk / SEGMENT_CHUNKS)
  const node = nodeAt(entry, sector)
  if (index >= layout.segmentCount) throw serverFault('data of the padding is not provable here')
  const segment = await backend.read(entry, index, options)
  if (segment === undefined) throw serverFault('data not available')
  const firstChunk = entry.startChunk + index * SEGMENT_CHUNKS
  const low = Math.max(node.start, firstChunk)
  const count = Math.min(2 ** node.height, SEGMENT_CHUNKS)
  const inSegment = pathInChunks(segment.data.subarray((low - firstChunk) * CHUNK_SIZE_BYTES), count, sector - low)
  // Inside a perfect subtree of segments the file proof and the flow proof are the same nodes.
  const segmentLevels = Math.max(0, node.height - SEGMENT_HEIGHT)
  return {
    at: { height: node.height, index: node.start / 2 ** node.height },
    leaf: inSegment.leaf,
    siblings: [...inSegment.siblings, ...segment.proof.siblings.slice(0, segmentLevels)],
    lefts: [...inSegment.lefts, ...segment.proof.lefts.slice(0, segmentLevels)],
  }
}

function nodeAt(entry: Entry, sector: number): { readonly start: number; readonly height: number } {
  let start = entry.startChunk
  for (const { height } of entry.nodes) {
    if (sector < start + 2 ** height) return { start, height }
    start += 2 ** height
  }
  throw serverFault('sector index out of bound')
}

/** The tree over `count` chunks (a power of two) of `data`, zero-extended. */
function pathInChunks(data: Uint8Array, count: number, at: number): Path {
  const zero = zeroSubtree(0)
  const leaves = new Uint8Array(count * HASH_SIZE_BYTES)
  for (let i = 0; i < count; i++) {
    const chunk = data.subarray(i * CHUNK_SIZE_BYTES, (i + 1) * CHUNK_SIZE_BYTES)
    leaves.set(chunk.length === 0 ? zero : keccak256(chunk), i * HASH_SIZE_BYTES)
  }
  const hashAt = (level: Uint8Array, i: number): Uint8Array =>
    level.slice(i * HASH_SIZE_BYTES, (i + 1) * HASH_SIZE_BYTES)
  const siblings: Uint8Array[] = []
  const lefts: boolean[] = []
  const levels = merkleLevels(leaves)
  let position = at
  for (const level of levels.slice(0, -1)) {
    siblings.push(hashAt(level, position ^ 1))
    lefts.push(position % 2 === 0)
    position >>= 1
  }
  return { leaf: hashAt(levels[0]!, at), siblings, lefts }
}

/**
 * The leaf of the segment-level flow tree (spec/storage.md 3.2): inside a submission node of more than one segment the bytes say
 * it; `undefined` when they are not here.
 */
export async function hashOfSegment(
  segmentIndex: number,
  backend: ZgsBackend,
  options: { readonly signal: AbortSignal },
): Promise<Uint8Array | undefined> {
  checkSegmentIndex(segmentIndex, backend)
  const chunk = segmentIndex * SEGMENT_CHUNKS
  const entry = backend.entries.atChunk(chunk)
  if (entry === undefined || nodeAt(entry, chunk).height <= SEGMENT_HEIGHT)
    return backend.flow.segmentHash(segmentIndex)
  const index = (chunk - entry.startChunk) / SEGMENT_CHUNKS
  if (index >= layoutOf(entry.sizeBytes).segmentCount) return zeroSubtree(SEGMENT_HEIGHT)
  const segment = await backend.read(entry, index, options)
  return (
    segment &&
    (await backend.kernels.segmentRoots(segment.data, { lastLeafCount: SEGMENT_CHUNKS, signal: options.signal }))
  )
}

function checkSegmentIndex(segmentIndex: number, backend: ZgsBackend): void {
  if (segmentIndex * SEGMENT_CHUNKS >= backend.flow.context().lengthChunks) throw serverFault('index out of bound')
}

/** Entries in one segment of the flow: at most 1024, one per chunk. */
export async function dataInSegment(
  segmentIndex: number,
  backend: ZgsBackend,
  options: { readonly signal: AbortSignal },
): Promise<readonly { readonly entry: Entry; readonly index: number; readonly data: Uint8Array }[]> {
  checkSegmentIndex(segmentIndex, backend)
  const pieces: { entry: Entry; index: number; data: Uint8Array }[] = []
  const end = (segmentIndex + 1) * SEGMENT_CHUNKS
  let position = segmentIndex * SEGMENT_CHUNKS
  while (position < end) {
    const entry = backend.entries.atChunk(position)
    if (entry === undefined) {
      position += 1
      continue
    }
    const index = Math.floor((position - entry.startChunk) / SEGMENT_CHUNKS)
    const segment =
      index < layoutOf(entry.sizeBytes).segmentCount ? await backend.read(entry, index, options) : undefined
    if (segment !== undefined) pieces.push({ entry, index, data: segment.data })
    position = Math.max(position + 1, entry.startChunk + entry.paddedChunkCount)
  }
  return pieces
}
