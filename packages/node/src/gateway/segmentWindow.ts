import type { Entry, ProvenSegment } from '@weightless/core'
import { SEGMENT_SIZE_BYTES } from '@weightless/core'

/**
 * Segments that have just been spooled, still in memory: sent on to their holders without being read back. What falls out is
 * read from the spool; nothing depends on a segment being here. Their bytes are copies in buffers that are used again.
 */
export type SegmentWindow = {
  put(entry: Entry, segment: ProvenSegment): void
  /** Takes it out. `release` gives its buffer back: the data is not to be used after that. */
  take(entry: Entry, index: number): WindowSegment | undefined
  /** Lets go of the buffers that nobody needs. */
  trim(): void
}
export type WindowSegment = { readonly segment: ProvenSegment; release(): void }

export function createSegmentWindow(options: { readonly bytesMax: number }): SegmentWindow {
  const kept = new Map<string, ProvenSegment>()
  const spare: ArrayBufferLike[] = []
  const segmentsMax = Math.floor(options.bytesMax / SEGMENT_SIZE_BYTES)
  const remove = (key: string): ProvenSegment | undefined => {
    const segment = kept.get(key)
    kept.delete(key)
    return segment
  }
  const recycle = (segment: ProvenSegment | undefined): void => {
    if (segment !== undefined && spare.length < segmentsMax) spare.push(segment.data.buffer)
  }
  return {
    put(entry, { index, data, proof }) {
      const key = keyOf(entry, index)
      recycle(remove(key))
      if (kept.size >= segmentsMax) recycle(remove(kept.keys().next().value!))
      const copy = new Uint8Array(spare.pop() ?? new ArrayBuffer(SEGMENT_SIZE_BYTES), 0, data.length)
      copy.set(data)
      kept.set(key, { index, data: copy, proof })
    },
    take(entry, index) {
      const segment = remove(keyOf(entry, index))
      if (segment === undefined) return undefined
      let isOurs = true
      return {
        segment,
        release() {
          if (isOurs) recycle(segment)
          isOurs = false
        },
      }
    },
    trim: () => void (spare.length = 0),
  }
}

/** Entries with one root may differ in size, and then their last segments differ in length. */
function keyOf(entry: Entry, index: number): string {
  return `${entry.root} ${entry.sizeBytes} ${index}`
}
