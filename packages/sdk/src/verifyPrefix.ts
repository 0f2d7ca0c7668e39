import {
  BATCH_SEGMENTS_MAX,
  checkSegment,
  equal,
  HASH_SIZE_BYTES,
  isFailure,
  layoutOf,
  leafCountOf,
  SEGMENT_CHUNKS,
  SEGMENT_SIZE_BYTES,
  subtreesBefore,
  type Abortable,
  type ProvenSegment,
} from '@weightless/core'
import { merkleRoot } from '@weightless/kernels'
import type { Client } from './client.ts'
import { parseTarget, type DownloadTarget } from './download.ts'
import { fail } from './errors.ts'
import { listFailures, type NodeFailure } from './holders.ts'
import { inOrder } from './inOrder.ts'
import { locate, type Located } from './locate.ts'
import type { ReadAt } from './source.ts'

/** Bytes per kernel call, as for uploads. */
const BATCH_BYTES: number = BATCH_SEGMENTS_MAX * SEGMENT_SIZE_BYTES
const WINDOW = 3
/** Of as many neighbours some holder has one, unless the code is wide and most are lost. */
const NEAREST_MAX = 16

/** How many bytes at the start of `prefix` are those of the object, in whole segments: where an interrupted download goes on.
 *  Nothing that lies there is believed: it is hashed, and compared with what the proof of the next segment says about all that
 *  comes before it. Costs one segment from the network; never gives the last segment, so that something is left to read.
 *
 *  ```ts
 *  const start = await verifyPrefix(client, root, part)
 *  for await (const bytes of download(client, root, { range: { start } })) await append(bytes)
 *  ```
 *  Throws what `download` throws. */
export async function verifyPrefix(
  client: Client,
  target: Exclude<DownloadTarget, readonly string[]>,
  prefix: ReadAt,
  options: Abortable = {},
): Promise<number> {
  const [address] = parseTarget(target)
  const located = await locate(client, address!, options)
  const layout = layoutOf(located.sizeBytes)
  const count = Math.min(Math.floor(prefix.sizeBytes / SEGMENT_SIZE_BYTES), layout.segmentCount - 1)
  if (count === 0) return 0
  const roots = await rootsOf(prefix, count, client, options)
  const next = await fetchNearest(client, located, count, options)
  if (next === undefined) return 0
  let verified = 0
  for (const { from, count: width, root } of subtreesBefore(layout, next)) {
    if (!equal(merkleRoot(roots.subarray(from * HASH_SIZE_BYTES, (from + width) * HASH_SIZE_BYTES)), root)) break
    verified = from + width
  }
  return verified * SEGMENT_SIZE_BYTES
}

/** Roots of the first `count` segments of a file that is longer. */
async function rootsOf(prefix: ReadAt, count: number, { deps }: Client, { signal }: Abortable): Promise<Uint8Array> {
  const roots = new Uint8Array(count * HASH_SIZE_BYTES)
  const sizeBytes = count * SEGMENT_SIZE_BYTES
  const batches = inOrder(
    { count: Math.ceil(sizeBytes / BATCH_BYTES), window: WINDOW, signal },
    async (index, scope) => {
      const start = index * BATCH_BYTES
      const data = await prefix.read(start, Math.min(start + BATCH_BYTES, sizeBytes), { signal: scope })
      return deps.kernels.segmentRoots(data, { lastLeafCount: SEGMENT_CHUNKS, signal: scope })
    },
  )
  let at = 0
  for await (const part of batches) {
    roots.set(part, at)
    at += part.length
  }
  return roots
}

/** The next segment, or where nobody has it one a little before: what comes before that can be verified all the same. */
async function fetchNearest(
  client: Client,
  located: Located,
  count: number,
  options: Abortable,
): Promise<ProvenSegment | undefined> {
  const first = Math.max(1, count - NEAREST_MAX)
  for (let index = count; index >= first; index--) {
    try {
      return await fetchProven(client, located, index, options)
    } catch (error) {
      if (!isFailure(error, 'OBJECT_UNAVAILABLE') || located.survey === undefined) throw error
    }
  }
  return undefined
}

/** One segment with a proof that holds, from the first node that gives one. Throws `OBJECT_UNAVAILABLE`. */
async function fetchProven(
  client: Client,
  { root, seq, sizeBytes, candidates }: Located,
  index: number,
  { signal }: Abortable,
): Promise<ProvenSegment> {
  const layout = layoutOf(sizeBytes)
  const failures: NodeFailure[] = []
  for (const { contact } of candidates) {
    try {
      const segments = await contact.node.getSegments(root, { from: index, count: 1, seq }, { signal })
      const [segment] = segments ?? []
      if (segment === undefined) throw fail('SEGMENTS_NOT_HELD', { node: contact.url, root, from: index, count: 1 })
      if (segment.index !== index)
        throw fail('NODE_ANSWER_INVALID', { root, reason: 'another segment than asked for', index: segment.index })
      const lastLeafCount = index === layout.segmentCount - 1 ? leafCountOf(layout, index) : SEGMENT_CHUNKS
      // A copy: a pool may take the buffer away, and the frame's is shared.
      const [data, { proof }] = [segment.data.slice(), segment]
      const dataRoot = await client.deps.kernels.segmentRoots(data, { lastLeafCount, signal })
      checkSegment({ root, sizeBytes }, segment, dataRoot)
      return { index, data, proof }
    } catch (error) {
      signal?.throwIfAborted()
      if (!isFailure(error)) throw error
      contact.failed(error)
      failures.push({ node: contact.url, error })
    }
  }
  throw fail('OBJECT_UNAVAILABLE', {
    root,
    seq,
    segmentIndex: index,
    asked: candidates.length,
    failures: listFailures(failures),
  })
}
