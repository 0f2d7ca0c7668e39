import { fail, invariant } from '../errors.ts'
import { CHUNK_SIZE_BYTES, HASH_SIZE_BYTES, PROOF_DEPTH_MAX, SEGMENT_SIZE_BYTES } from '../limits.ts'
import type { ProvenSegment, SegmentProof } from '../types.ts'

/** Index, data length, depth, sides: docs/wire.md. */
const HEAD_SIZE_BYTES = 4 + 4 + 1 + 8

/** Everything of a frame that comes before its data. */
export function encodeFrameHeader({ index, data, proof }: ProvenSegment): Uint8Array {
  const header = new Uint8Array(headerSize(proof))
  writeHeader(header, { index, dataSizeBytes: data.length, proof })
  return header
}

/** A segment whose data are still to be read. */
export type FrameHead = {
  readonly index: number
  readonly dataSizeBytes: number
  readonly proof: SegmentProof
}

/** A body with its headers written and its data missing: `places` are where they belong, in order. `take` gives a buffer of at
 *  least that size; what was in it before does not matter once the places are filled. */
export function layFrames(
  heads: readonly FrameHead[],
  take: (sizeBytes: number) => Uint8Array,
): { readonly body: Uint8Array; readonly places: readonly Uint8Array[] } {
  const sizeBytes = heads.reduce((sum, { dataSizeBytes, proof }) => sum + headerSize(proof) + dataSizeBytes, 0)
  const body = take(sizeBytes).subarray(0, sizeBytes)
  const places: Uint8Array[] = []
  let at = 0
  for (const head of heads) {
    const dataAt = at + headerSize(head.proof)
    writeHeader(body.subarray(at, dataAt), head)
    at = dataAt + head.dataSizeBytes
    places.push(body.subarray(dataAt, at))
  }
  return { body, places }
}

function headerSize(proof: SegmentProof): number {
  return HEAD_SIZE_BYTES + proof.siblings.length * HASH_SIZE_BYTES
}

function writeHeader(header: Uint8Array, { index, dataSizeBytes, proof }: FrameHead): void {
  const depth = proof.siblings.length
  invariant(Number.isInteger(index) && index >= 0 && index < 2 ** 32, 'an index has four bytes')
  invariant(isDataSize(dataSizeBytes), 'data is whole chunks of one segment')
  invariant(depth === proof.lefts.length && depth <= PROOF_DEPTH_MAX, 'one side for each sibling')
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength)
  view.setUint32(0, index)
  view.setUint32(4, dataSizeBytes)
  view.setUint8(8, depth)
  view.setBigUint64(
    9,
    proof.lefts.reduce((bits, isLeft, level) => (isLeft ? bits | (1n << BigInt(level)) : bits), 0n),
  )
  proof.siblings.forEach((sibling, level) => {
    invariant(sibling.length === HASH_SIZE_BYTES, 'a sibling is a hash')
    header.set(sibling, HEAD_SIZE_BYTES + level * HASH_SIZE_BYTES)
  })
}

/** The body as parts, header and data by turns; data is not copied. */
export function encodeFrames(segments: readonly ProvenSegment[]): Uint8Array[] {
  return segments.flatMap((segment) => [encodeFrameHeader(segment), segment.data])
}

/** Reads a body of at least one frame and at most `segmentsMax`. Data and siblings are views into `body`. The form is checked
 *  here, the proof by `checkSegment`. Throws `FRAME_INVALID` with the frame's number and the reason, and nothing else. */
export function decodeFrames(body: Uint8Array, options: { readonly segmentsMax: number }): ProvenSegment[] {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
  const segments: ProvenSegment[] = []
  const seen = new Set<number>()
  const refuse = (reason: string) => fail('FRAME_INVALID', { frame: segments.length, reason })
  if (body.length === 0) throw refuse('the body is empty')
  for (let at = 0; at < body.length;) {
    if (segments.length === options.segmentsMax) throw refuse(`more than ${options.segmentsMax} frames`)
    if (body.length - at < HEAD_SIZE_BYTES) throw refuse('the header is cut off')
    const index = view.getUint32(at)
    const dataSize = view.getUint32(at + 4)
    const depth = view.getUint8(at + 8)
    const bits = view.getBigUint64(at + 9)
    if (seen.has(index)) throw refuse('the segment comes twice')
    if (!isDataSize(dataSize)) throw refuse('the data length is not whole chunks of one segment')
    if (depth > PROOF_DEPTH_MAX) throw refuse('the proof is too deep')
    if (bits >> BigInt(depth) !== 0n) throw refuse('bits above the depth are set')
    const dataAt = at + HEAD_SIZE_BYTES + depth * HASH_SIZE_BYTES
    if (body.length - dataAt < dataSize) throw refuse('the frame is cut off')
    const siblings = Array.from({ length: depth }, (_, level) => {
      const from = at + HEAD_SIZE_BYTES + level * HASH_SIZE_BYTES
      return body.subarray(from, from + HASH_SIZE_BYTES)
    })
    const lefts = Array.from({ length: depth }, (_, level) => ((bits >> BigInt(level)) & 1n) === 1n)
    seen.add(index)
    segments.push({ index, data: body.subarray(dataAt, dataAt + dataSize), proof: { siblings, lefts } })
    at = dataAt + dataSize
  }
  return segments
}

function isDataSize(sizeBytes: number): boolean {
  return sizeBytes > 0 && sizeBytes <= SEGMENT_SIZE_BYTES && sizeBytes % CHUNK_SIZE_BYTES === 0
}
