import {
  encodeParityTags,
  fileTreeOf,
  HASH_SIZE_BYTES,
  layoutOf,
  leafCountOf,
  SEGMENT_CHUNKS,
  SEGMENT_SIZE_BYTES,
  shardLayoutOf,
  submissionOf,
  type Abortable,
  type ErasureCode,
  type FileTree,
  type Kernels,
  type ShardLayout,
  type Submission,
} from '@weightless/core'
import { hashSource, type HashedSource } from './hash.ts'
import { inOrder } from './inOrder.ts'
import { sharedBuffer } from './sharedBuffer.ts'
import { fillFrom, type ReadAt } from './source.ts'

/** The first reading of a source that is to be protected by a code: its tree, that of its parity, and what to submit of both. */
export type CodedSource = HashedSource & {
  /** `undefined` for an object of one segment: it has copies. */
  readonly parity: CodedParity | undefined
}
export type CodedParity = { readonly layout: ShardLayout; readonly tree: FileTree; readonly submission: Submission }

/** Data and parity of the stripes that are worked on together. */
const BATCH_BYTES: number = 8 * 1024 ** 2
/** While one batch is coded and hashed the next is read. */
const WINDOW = 3
/** Batches held at once have no more than this, or are one stripe: 20 MiB for 29+51, at most 64 MiB for any code. */
const WINDOW_BYTES: number = 48 * 1024 ** 2

/** Reads the source once. Memory: a few batches of stripes, and 64 bytes per segment of data and parity. Throws `CODE_INVALID`,
 *  and what `hashSource` throws. */
export async function codeSource(
  source: ReadAt,
  code: ErasureCode,
  deps: { readonly kernels: Pick<Kernels, 'segmentRoots' | 'encodeParity'> },
  options: Abortable & {
    /** Of the data entry. */
    readonly tags?: Uint8Array | undefined
    readonly onHashed?: ((bytes: number) => void) | undefined
  },
): Promise<CodedSource> {
  const shards = shardLayoutOf(source.sizeBytes, code)
  if (shards === undefined) return { ...(await hashSource(source, deps, options)), parity: undefined }
  const { signal, tags, onHashed } = options
  const { k, m } = shards.code
  const { kernels } = deps
  const layout = layoutOf(source.sizeBytes)
  const parityLayout = layoutOf(shards.paritySizeBytes)
  const stripesPerBatch = Math.max(1, Math.floor(BATCH_BYTES / ((k + m) * SEGMENT_SIZE_BYTES)))
  const batchBytes = stripesPerBatch * (k + m) * SEGMENT_SIZE_BYTES
  const window = Math.max(1, Math.min(WINDOW, Math.floor(WINDOW_BYTES / batchBytes)))
  const count = Math.ceil(shards.stripeCount / stripesPerBatch)
  const dataRoots = new Uint8Array(layout.segmentCount * HASH_SIZE_BYTES)
  const parityRoots = new Uint8Array(parityLayout.segmentCount * HASH_SIZE_BYTES)
  const lastSegments = { data: new Uint8Array(0), parity: new Uint8Array(0) }
  const spare: ArrayBufferLike[] = []

  const codeBatch = async (index: number, scope: AbortSignal) => {
    const firstStripe = index * stripesPerBatch
    const stripeCount = Math.min(stripesPerBatch, shards.stripeCount - firstStripe)
    const buffer = spare.pop() ?? sharedBuffer(batchBytes)
    const start = firstStripe * k * SEGMENT_SIZE_BYTES
    const sizeBytes = Math.min(stripeCount * k * SEGMENT_SIZE_BYTES, source.sizeBytes - start)
    const segmentCount = Math.ceil(sizeBytes / SEGMENT_SIZE_BYTES)
    const data = new Uint8Array(buffer, 0, segmentCount * SEGMENT_SIZE_BYTES)
    const parity = new Uint8Array(
      buffer,
      stripesPerBatch * k * SEGMENT_SIZE_BYTES,
      stripeCount * m * SEGMENT_SIZE_BYTES,
    )
    await fillFrom(source, [data.subarray(0, sizeBytes)], start, { signal: scope })
    data.fill(0, sizeBytes)
    await Promise.all(
      Array.from({ length: stripeCount }, async (_, stripe) => {
        const rows = Array.from({ length: k }, (_, i) => segmentAt(data, stripe * k + i))
        const into = Array.from({ length: m }, (_, j) => segmentAt(parity, stripe * m + j)!)
        await kernels.encodeParity({ code: shards.code, data: rows, parity: into }, { signal: scope })
      }),
    )
    const isLast = index === count - 1
    if (isLast) {
      // Kept before hashing: a pool may take the buffer away with it.
      lastSegments.data = data.slice((segmentCount - 1) * SEGMENT_SIZE_BYTES, sizeBytes)
      lastSegments.parity = parity.slice(-SEGMENT_SIZE_BYTES)
    }
    const leaves = (of: typeof layout): number => (isLast ? leafCountOf(of, of.segmentCount - 1) : SEGMENT_CHUNKS)
    const hash = (bytes: Uint8Array, of: typeof layout): Promise<Uint8Array> =>
      kernels.segmentRoots(bytes, { lastLeafCount: leaves(of), signal: scope })
    // One buffer: what a pool takes away it takes once.
    const isShared = !(buffer instanceof ArrayBuffer)
    const parts = isShared ? [data.subarray(0, sizeBytes), parity] : [data.slice(0, sizeBytes), parity.slice()]
    const [own, ofParity] = await Promise.all([hash(parts[0]!, layout), hash(parts[1]!, parityLayout)])
    spare.push(buffer)
    return { firstStripe, sizeBytes, own, ofParity }
  }
  let hashedBytes = 0
  for await (const batch of inOrder({ count, window, signal }, codeBatch)) {
    dataRoots.set(batch.own, batch.firstStripe * k * HASH_SIZE_BYTES)
    parityRoots.set(batch.ofParity, batch.firstStripe * m * HASH_SIZE_BYTES)
    hashedBytes += batch.sizeBytes
    onHashed?.(hashedBytes)
  }
  const tree = fileTreeOf(layout, dataRoots)
  const parityTree = fileTreeOf(parityLayout, parityRoots)
  const parityTags = encodeParityTags({ code: shards.code, dataRoot: tree.root, sizeBytes: source.sizeBytes })
  return {
    tree,
    submission: submissionOf(tree, { lastSegment: lastSegments.data, tags }),
    parity: {
      layout: shards,
      tree: parityTree,
      submission: submissionOf(parityTree, { lastSegment: lastSegments.parity, tags: parityTags }),
    },
  }
}

/** `undefined`: the last stripe lacks it. */
function segmentAt(segments: Uint8Array, index: number): Uint8Array | undefined {
  const start = index * SEGMENT_SIZE_BYTES
  return start < segments.length ? segments.subarray(start, start + SEGMENT_SIZE_BYTES) : undefined
}
