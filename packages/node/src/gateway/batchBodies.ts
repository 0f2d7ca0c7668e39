import type { Entry, ProvenSegment } from '@weightless/core'
import { encodeFrames, SEGMENTS_BODY_BYTES_MAX } from '@weightless/core'
import { fail } from '../errors.ts'
import type { Shelf } from '../segments/shelf.ts'
import type { SegmentWindow, WindowSegment } from './segmentWindow.ts'

/** Framed batches of segments (docs/wire.md): one body serves all holders. */
export type BatchBodies = {
  /** `release` gives the buffer back; the body is not to be used after that. Throws `SEGMENT_MISSING`,
   *  `HOLDERS_UNREACHABLE`, or what the spool throws. */
  make(entry: Entry, indexes: readonly number[], options: { readonly signal: AbortSignal }): Promise<BatchBody>
}
export type BatchBodiesDeps = {
  readonly shelf: Shelf
  readonly window: SegmentWindow
  /** From whoever holds it, for entries whose bytes are not in the spool. */
  readonly fetch: (
    entry: Entry,
    index: number,
    options: { readonly signal: AbortSignal },
  ) => Promise<ProvenSegment | undefined>
}
export type BatchBody = { readonly body: Uint8Array; release(): void }

/** Buffers kept for the next batches: new ones of 4 MiB cost more in page faults than the copying into them. */
const SPARE_MAX = 4

export function createBatchBodies(deps: BatchBodiesDeps): BatchBodies {
  const spare: Uint8Array[] = []

  async function find(entry: Entry, index: number, signal: AbortSignal): Promise<WindowSegment> {
    const windowed = deps.window.take(entry, index)
    if (windowed !== undefined) return windowed
    const segment = (await deps.shelf.read(entry, index, { signal })) ?? (await deps.fetch(entry, index, { signal }))
    if (segment === undefined) throw fail('SEGMENT_MISSING', { root: entry.root, seq: entry.seq, index })
    return { segment, release: () => undefined }
  }

  return {
    async make(entry, indexes, { signal }) {
      const found = await Promise.all(indexes.map((index) => find(entry, index, signal)))
      const buffer = spare.pop() ?? new Uint8Array(SEGMENTS_BODY_BYTES_MAX)
      let sizeBytes = 0
      for (const { segment, release } of found) {
        for (const part of encodeFrames([segment])) {
          buffer.set(part, sizeBytes)
          sizeBytes += part.length
        }
        release()
      }
      let released = false
      return {
        body: buffer.subarray(0, sizeBytes),
        release() {
          if (released) return
          released = true
          if (spare.length < SPARE_MAX) spare.push(buffer)
        },
      }
    },
  }
}
