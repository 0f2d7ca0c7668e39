import { isFailure } from '@weightless/core'
import { DOWNLOAD_BATCH_SEGMENTS, planBatches, type BatchSpan, type BodyBuffers } from './batches.ts'
import type { Client } from './client.ts'
import type { Located } from './locate.ts'
import { createSegmentReader, type SegmentReader } from './segmentReader.ts'
import { planPieces } from './stripePieces.ts'
import { createStripeReader } from './stripeReader.ts'
import { survey } from './survey.ts'

/** Reads verified segments of one object however it is held: from whole copies where there are some, else by its shards. */
export type ObjectReader = SegmentReader & {
  /** How to read the segments first … last: spans, and how many may be under way. */
  plan(range: { readonly first: number; readonly last: number }): {
    readonly plan: readonly BatchSpan[]
    readonly window: number
  }
}

/** Pieces of 2 MiB on their way or waiting for the reader. */
const WINDOW = 6

/** `take` gives the buffers that pieces lie in. `read` throws `OBJECT_UNAVAILABLE` and `SHARDS_LOST`. */
export function createObjectReader(
  client: Client,
  located: Located,
  options: { readonly take?: BodyBuffers['take'] | undefined } = {},
): ObjectReader {
  const copies = createSegmentReader(client, located, options)
  const [known] = located.survey?.parities ?? []
  let shards = known && createStripeReader(client, located, located.survey!, options)
  return {
    plan: (range) =>
      known === undefined
        ? { plan: planBatches({ ...range, max: DOWNLOAD_BATCH_SEGMENTS }), window: WINDOW }
        : planPieces(known.layout, range),
    read: async (span, { signal }) => {
      if (shards !== undefined) return shards.read(span, { signal })
      try {
        return await copies.read(span, { signal })
      } catch (error) {
        signal.throwIfAborted()
        if (!isFailure(error, 'OBJECT_UNAVAILABLE')) throw error
        // Copies were given up for shards since they were found, or the caller knew the size and nobody was asked.
        const found = await survey(client, located, { signal, until: 'readable' })
        if (found.parities.length === 0) throw error
        shards ??= createStripeReader(client, located, found, options)
        return shards.read(span, { signal })
      }
    },
  }
}
