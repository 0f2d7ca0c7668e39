import {
  checkSegment,
  ENTRY_WAIT_MS,
  fail as failCore,
  invariant,
  isFailure,
  layoutOf,
  leafCountOf,
  SEGMENT_CHUNKS,
  SEGMENT_SIZE_BYTES,
  segmentDataSize,
  type ProvenSegment,
  type Root,
  type SegmentProof,
} from '@weightless/core'
import type { BodyBuffers } from './batches.ts'
import type { Client } from './client.ts'
import type { Contact } from './contacts.ts'
import { fail } from './errors.ts'
import { PATIENCE_MS_MAX, withPatience, type Rate } from './rate.ts'
import type { SegmentRun } from './storageNodeClient.ts'

/** Segments of one entry that are proven against its root. */
export type ProvenRun = {
  /** All of them in one piece: whole segments, the last one of the file shorter. */
  readonly data: Uint8Array
  readonly segments: readonly RootedSegment[]
}
export type RootedSegment = ProvenSegment & { readonly root: Uint8Array }
export type ReadFile = { readonly root: Root; readonly sizeBytes: number; readonly seq: number | undefined }

const GET_GRACE_MS: number = ENTRY_WAIT_MS

/** Reads a run from one holder, as long as it is not given up, and proves each segment. `take` gives the buffer that the answer is
 *  received into, where the machine can; what is returned lies in it. Throws `SEGMENTS_NOT_HELD`, and what the client throws. */
export async function fetchRun(
  client: Client,
  contact: Contact,
  what: { readonly file: ReadFile; readonly run: SegmentRun },
  options: {
    readonly signal: AbortSignal
    readonly rate: Rate
    readonly take?: BodyBuffers['take'] | undefined
  },
): Promise<ProvenRun> {
  const { file, run } = what
  const { signal, rate, take } = options
  const { clock } = client.deps
  const expectedBytes = run.count * SEGMENT_SIZE_BYTES
  const startMs = clock.nowMs()
  const segments = await withPatience(
    { signal, graceMs: GET_GRACE_MS, bytes: expectedBytes, what: `segments from ${contact.url}` },
    { clock, rate },
    (scope) =>
      contact.node.getSegments(
        file.root,
        { ...run, seq: file.seq },
        { signal: scope, timeoutMs: PATIENCE_MS_MAX, take },
      ),
  )
  if (segments === undefined)
    throw fail('SEGMENTS_NOT_HELD', { node: contact.url, root: file.root, from: run.from, count: run.count })
  rate.observe(expectedBytes, clock.nowMs() - startMs)
  return proveRun(client, file, run, segments, signal)
}

/** One kernel call for all segments of the answer, then each proof. */
async function proveRun(
  client: Client,
  { root, sizeBytes }: ReadFile,
  { from, count, step = 1 }: SegmentRun,
  segments: readonly ProvenSegment[],
  signal: AbortSignal,
): Promise<ProvenRun> {
  const layout = layoutOf(sizeBytes)
  // A proof ties a segment to the index it names: that this is the one asked for is for us to see, here as in the client.
  if (segments.length !== count || segments.some(({ index }, i) => index !== from + i * step)) {
    throw fail('NODE_ANSWER_INVALID', { root, reason: 'other segments than asked for', from, count, step })
  }
  for (const { index, data } of segments) {
    const expectedBytes = segmentDataSize(layout, index)
    if (data.length !== expectedBytes)
      throw failCore('SEGMENT_SIZE_INVALID', { root, index, dataBytes: data.length, expectedBytes })
  }
  const { data, proofs } = joined(segments)
  const last = from + (count - 1) * step
  const lastLeafCount = last === layout.segmentCount - 1 ? leafCountOf(layout, last) : SEGMENT_CHUNKS
  const roots = await client.deps.kernels.segmentRoots(data, { lastLeafCount, signal })
  invariant(roots.length === 32 * segments.length, 'one root for each segment')
  let at = 0
  const proven = proofs.map((proof, i): RootedSegment => {
    const { index, data: own } = segments[i]!
    const segment = { index, data: data.subarray(at, at + own.length), proof }
    const segmentRoot = roots.subarray(32 * i, 32 * (i + 1))
    checkSegment({ root, sizeBytes }, segment, segmentRoot)
    at += own.length
    return { ...segment, root: segmentRoot }
  })
  return { data, segments: proven }
}

/** Answers that only a faulty node gives: it is not asked again. */
export function isLie(error: unknown): boolean {
  return isFailure(error) && LIES.has(error.code)
}

const LIES: ReadonlySet<string> = new Set([
  'SEGMENT_PROOF_INVALID',
  'SEGMENT_SIZE_INVALID',
  'SEGMENT_INDEX_INVALID',
  'FRAME_INVALID',
  'NODE_ANSWER_INVALID',
])

/** A header is at least as long. */
const COPY_ALIGNMENT_BYTES = 8

/** The data of one answer in one piece. They are views into its body, with headers between them: moved together there, they cost
 *  neither a second buffer nor the garbage collection that follows. The headers are overwritten, so proofs are copied first. */
function joined(segments: readonly ProvenSegment[]): { readonly data: Uint8Array; readonly proofs: SegmentProof[] } {
  const proofs = segments.map(({ proof }) => ({ ...proof, siblings: proof.siblings.map((sibling) => sibling.slice()) }))
  const first = segments[0]!.data
  const body = new Uint8Array(first.buffer)
  // Still inside the first header. Shared memory is copied eight times as fast from there by those who hash and write it.
  const start = first.byteOffset - (first.byteOffset % COPY_ALIGNMENT_BYTES)
  let end = start
  for (const { data } of segments) {
    invariant(data.buffer === first.buffer && data.byteOffset >= end, 'an answer is one body, in order')
    body.copyWithin(end, data.byteOffset, data.byteOffset + data.length)
    end += data.length
  }
  return { data: body.subarray(start, end), proofs }
}
