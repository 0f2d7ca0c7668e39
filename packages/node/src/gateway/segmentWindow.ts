import type { Clock, Entry, ProvenSegment } from '@weightless/core'
import { SEGMENT_SIZE_BYTES } from '@weightless/core'

/**
 * Segments that have just been spooled, still in memory: sent on to their holders without being read back. What is not here is
 * read from the spool; nothing depends on a segment being here. Their bytes are copies in buffers that are used again.
 */
export type SegmentWindow = {
  /** A full window lets it go: those that came first are sent first. One that has stood here for long makes room. */
  put(entry: Entry, segment: ProvenSegment): void
  isFull(): boolean
  /** Takes it out. `release` gives its buffer back: the data is not to be used after that. */
  take(entry: Entry, index: number): WindowSegment | undefined
  /** Lets go of the buffers that nobody needs. */
  trim(): void
}
export type WindowSegment = { readonly segment: ProvenSegment; release(): void }

/** Batches of a running upload leave every 100 ms: what stands here for so long belongs to one that stopped. */
const STALE_MS = 2_000

type Kept = ProvenSegment & { readonly sinceMs: number }

export function createSegmentWindow(
  options: { readonly bytesMax: number },
  deps: { readonly clock: Clock },
): SegmentWindow {
  const kept = new Map<string, Kept>()
  const spare: ArrayBufferLike[] = []
  const segmentsMax = Math.floor(options.bytesMax / SEGMENT_SIZE_BYTES)
  const remove = (key: string): Kept | undefined => {
    const segment = kept.get(key)
    kept.delete(key)
    return segment
  }
  const recycle = (segment: ProvenSegment | undefined): void => {
    if (segment !== undefined && spare.length < segmentsMax) spare.push(segment.data.buffer)
  }
  const isFull = (): boolean => {
    if (kept.size < segmentsMax) return false
    const oldest = kept.values().next().value
    return oldest === undefined || deps.clock.nowMs() - oldest.sinceMs < STALE_MS
  }
  return {
    isFull,
    put(entry, { index, data, proof }) {
      const key = keyOf(entry, index)
      recycle(remove(key))
      if (isFull()) return
      if (kept.size >= segmentsMax) recycle(remove(kept.keys().next().value!))
      const copy = new Uint8Array(spare.pop() ?? new ArrayBuffer(SEGMENT_SIZE_BYTES), 0, data.length)
      copy.set(data)
      kept.set(key, { index, data: copy, proof, sinceMs: deps.clock.nowMs() })
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
