import type { ProvenSegment } from '@weightless/core'

/** Verified segments that were read lately: official clients read a file segment by segment, so the next one is here already. */
export type SegmentCache = {
  get(key: string): ProvenSegment | undefined
  /** Whether it is here, without counting as a use. */
  has(key: string): boolean
  put(key: string, segment: ProvenSegment): void
  usage(): { readonly segmentCount: number; readonly hitCount: number; readonly missCount: number }
}

export function createSegmentCache(options: { readonly segmentsMax: number }): SegmentCache {
  const kept = new Map<string, ProvenSegment>()
  let hitCount = 0
  let missCount = 0
  return {
    get(key) {
      const segment = kept.get(key)
      if (segment === undefined) {
        missCount += 1
        return undefined
      }
      hitCount += 1
      // The oldest goes first, so a used one goes to the end.
      kept.delete(key)
      kept.set(key, segment)
      return segment
    },
    has: (key) => kept.has(key),
    put(key, segment) {
      kept.delete(key)
      kept.set(key, segment)
      if (kept.size > options.segmentsMax) kept.delete(kept.keys().next().value!)
    },
    usage: () => ({ segmentCount: kept.size, hitCount, missCount }),
  }
}
