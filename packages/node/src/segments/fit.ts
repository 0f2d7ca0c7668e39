import type { Entry, Layout, ProvenSegment, SegmentProof } from '@weightless/core'
import { isZero, layoutOf, segmentDataSize } from '@weightless/core'

/** Segments of an entry as its own size cuts them. Throws `SIZE_INVALID` for an entry that nobody can hold. */
export function layoutOfEntry(entry: Pick<Entry, 'sizeBytes'>): Layout {
  return layoutOf(entry.sizeBytes)
}

/**
 * A root does not commit to the size: entries with one root may differ by zeros inside the same padding (spec/storage.md
 * 11.1). The bytes of such a root are kept once; this cuts or extends a stored segment to what `layout` says.
 * `undefined` when the stored bytes are not those of a file of that size.
 */
export function fitSegment(
  stored: { readonly data: Uint8Array; readonly proof: SegmentProof },
  index: number,
  layout: Layout,
): ProvenSegment | undefined {
  const sizeBytes = segmentDataSize(layout, index)
  const { data, proof } = stored
  if (data.length === sizeBytes) return { index, data, proof }
  if (data.length > sizeBytes) {
    return isZero(data.subarray(sizeBytes)) ? { index, data: data.subarray(0, sizeBytes), proof } : undefined
  }
  const extended = new Uint8Array(sizeBytes)
  extended.set(data)
  return { index, data: extended, proof }
}
