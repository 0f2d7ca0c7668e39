import type { Entry, ProvenSegment } from '@weightless/core'

/**
 * Segments that have just been spooled, still in memory: sent on to their holders without being read back. What falls out is
 * read from the spool; nothing depends on a segment being here.
 */
export type SegmentWindow = {
  put(entry: Entry, segment: ProvenSegment): void
  /** Takes it out. */
  take(entry: Entry, index: number): ProvenSegment | undefined
}

export function createSegmentWindow(options: { readonly bytesMax: number }): SegmentWindow {
  const kept = new Map<string, ProvenSegment>()
  let usedBytes = 0
  const remove = (key: string): ProvenSegment | undefined => {
    const segment = kept.get(key)
    if (segment === undefined) return undefined
    kept.delete(key)
    usedBytes -= segment.data.length
    return segment
  }
  return {
    put(entry, segment) {
      const key = keyOf(entry, segment.index)
      remove(key)
      kept.set(key, segment)
      usedBytes += segment.data.length
      while (usedBytes > options.bytesMax) remove(kept.keys().next().value!)
    },
    take: (entry, index) => remove(keyOf(entry, index)),
  }
}

/** Entries with one root may differ in size, and then their last segments differ in length. */
function keyOf(entry: Entry, index: number): string {
  return `${entry.root} ${entry.sizeBytes} ${index}`
}
