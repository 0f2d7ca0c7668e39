import type { Entry, Logger, ProvenSegment } from '@weightless/core'
import { isFailure } from '@weightless/core'
import { openStripeReader, type Client, type StripeReader } from '@weightless/sdk'

/** Segments of entries that are kept by shards, each with its proof, from any k shards of its stripe. */
export type ShardReads = {
  /** `undefined` where nobody says that he has shards of it. Throws `SHARDS_LOST`. */
  read(
    entry: Entry,
    span: { readonly from: number; readonly count: number },
    options: { readonly signal: AbortSignal },
  ): Promise<readonly ProvenSegment[] | undefined>
}

/** Objects whose readers are kept: each knows who has what, who is slow and who lies. */
const READERS_MAX = 64

/** As any user reads: with our SDK. `signal` ends what was asked for by nobody in particular. */
export function createShardReads(deps: {
  readonly client: Client
  readonly logger: Logger
  readonly signal: AbortSignal
}): ShardReads {
  const { client, logger } = deps
  const readers = new Map<string, Promise<StripeReader | undefined>>()

  function readerOf({ root, seq, sizeBytes }: Entry): Promise<StripeReader | undefined> {
    const key = `${root} ${sizeBytes}`
    const known = readers.get(key)
    readers.delete(key)
    const reader = known ?? openStripeReader(client, { root, seq, sizeBytes }, { signal: deps.signal })
    if (readers.size >= READERS_MAX) readers.delete(readers.keys().next().value!)
    readers.set(key, reader)
    const forget = (): void => {
      if (readers.get(key) === reader) readers.delete(key)
    }
    // What nobody has now may be there the next time.
    reader.then((found) => found ?? forget(), forget)
    return reader
  }

  return {
    async read(entry, span, { signal }) {
      const reader = await readerOf(entry)
      if (reader === undefined) return undefined
      try {
        return await reader.readProven(span, { signal })
      } catch (error) {
        signal.throwIfAborted()
        if (isFailure(error, 'SHARDS_LOST')) {
          logger.warn('read.shardsLost', { root: entry.root, seq: entry.seq, error })
          readers.delete(`${entry.root} ${entry.sizeBytes}`)
        }
        throw error
      }
    },
  }
}
