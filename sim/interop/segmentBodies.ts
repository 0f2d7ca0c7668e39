import {
  concat,
  encodeFrames,
  fileTreeOf,
  layoutOf,
  leafCountOf,
  proofToJson,
  segmentDataSize,
  SEGMENT_SIZE_BYTES,
  type ProvenSegment,
  type Root,
} from '@weightless/core'
import { segmentRoot, segmentRoots } from '@weightless/kernels'

/** A file as clients send it: by segments, each with its proof. */
export type SegmentedFile = {
  readonly bytes: Uint8Array
  readonly root: Root
  readonly segments: readonly ProvenSegment[]
}

export function segmentedFile(bytes: Uint8Array): SegmentedFile {
  const layout = layoutOf(bytes.length)
  const padded = new Uint8Array(layout.chunkCount * 256)
  padded.set(bytes)
  const tree = fileTreeOf(layout, segmentRoots(padded, leafCountOf(layout, layout.segmentCount - 1)))
  const segments = Array.from({ length: layout.segmentCount }, (_, index): ProvenSegment => {
    const from = index * SEGMENT_SIZE_BYTES
    return { index, data: padded.subarray(from, from + segmentDataSize(layout, index)), proof: tree.prove(index) }
  })
  return { bytes, root: tree.root, segments }
}

/** A segment as official clients send it (spec/storage.md 3.3). */
export type OfficialSegment = {
  readonly root: string
  readonly data: string
  readonly index: number
  readonly proof: { readonly lemma: readonly string[]; readonly path: readonly boolean[] }
  readonly fileSize: number
}

export function officialSegment(file: SegmentedFile, index: number): OfficialSegment {
  const { data, proof } = file.segments[index]!
  const leaf = segmentRoot(data, leafCountOf(layoutOf(file.bytes.length), index))
  return {
    root: file.root,
    data: Buffer.from(data).toString('base64'),
    index,
    proof: proofToJson(leaf, proof, file.root),
    fileSize: file.bytes.length,
  }
}

/** Segments as our clients send them (docs/wire.md). */
export async function putFrames(
  nodeUrl: string,
  at: { readonly root: string; readonly seq: number; readonly slot?: number },
  body: Uint8Array,
): Promise<Response> {
  return fetch(`${nodeUrl}/v1/entries/${at.root}/segments?seq=${at.seq}&slot=${at.slot ?? 0}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/x-weightless-segments' },
    body: body as Uint8Array<ArrayBuffer>,
  })
}

export function framesOf(segments: readonly ProvenSegment[]): Uint8Array {
  return concat(encodeFrames(segments))
}
