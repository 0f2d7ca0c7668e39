import { awaitEntry } from '../flow/awaitEntry.ts'
import type { Clock, Entry, Logger, Receipt, Root } from '@weightless/core'
import {
  BATCH_SEGMENTS_MAX,
  decodeFrames,
  encodeFrames,
  layoutOf,
  membersToJson,
  SEGMENT_SIZE_BYTES,
  SEGMENTS_BODY_BYTES_MAX,
  SLOT_COUNT_MAX,
} from '@weightless/core'
import type { Fingerprints } from '../erasure/fingerprints.ts'
import { fail } from '../errors.ts'
import { lookupByRoot } from '../flow/entries.ts'
import { parityTagsOf } from '../flow/parities.ts'
import type { Follower } from '../flow/follow.ts'
import { answer, answerJson } from '../http/answer.ts'
import { receiveBody } from '../http/body.ts'
import type { FastBytes } from '../http/fastBytes.ts'
import type { Gate } from '../http/gate.ts'
import { requiredQuery, rootOfPath, wholeQuery } from '../http/query.ts'
import type { BodySource } from '../http/service.ts'
import { watchedBody } from '../http/watchedBody.ts'
import { borrowing, type SpareBuffers } from '../http/spareBuffers.ts'
import type { Shelf } from '../segments/shelf.ts'
import type { Receipts } from './receipts.ts'
import type { ShardRoutes } from './shardRoutes.ts'

/** Entries of one answer of the list: docs/wire.md. */
const LIST_ENTRIES_MAX = 1000
const SEQ_RANGE = { least: 0, most: Number.MAX_SAFE_INTEGER } as const
const SLOT_RANGE = { least: 0, most: SLOT_COUNT_MAX - 1 } as const
const INDEX_RANGE = { least: 0, most: 2 ** 32 - 1 } as const
/** A slot's shards lie as far apart as a stripe is wide. */
const STEP_RANGE = { least: 1, most: SLOT_COUNT_MAX } as const
const COUNT_RANGE = { least: 1, most: BATCH_SEGMENTS_MAX } as const

export type StorageRoutesDeps = {
  readonly follower: Follower
  readonly shelf: Shelf
  readonly receipts: Receipts
  readonly shards: ShardRoutes
  readonly fingerprints: Pick<Fingerprints, 'note'>
  readonly bodies: Gate
  readonly reads: Gate
  readonly spares: SpareBuffers
  readonly readSpares: SpareBuffers
  readonly bytes: FastBytes
  readonly clock: Clock
  readonly logger: Logger
  /** Throws when this node does not keep these segments of the entry. */
  readonly checkWanted: (entry: Entry, indexes: readonly number[]) => void
  /** Somebody asked for a segment of this entry that is not here. */
  readonly onMissed: (entry: Entry) => void
  /** Somebody asked for the receipt of an entry that is not all here. */
  readonly onAsked: (entry: Entry) => void
  readonly status: () => Promise<object>
}

export type RouteCall = {
  readonly request: Request
  readonly url: URL
  readonly source: BodySource
  readonly signal: AbortSignal
}

/** The binary routes of docs/wire.md. `undefined` for a path that is none of them. Throws what the routes answer as errors. */
export function createStorageRoutes(deps: StorageRoutesDeps): (call: RouteCall) => Promise<Response> | undefined {
  const { follower, shelf, receipts, shards, fingerprints, bodies, reads, spares, readSpares, bytes, clock } = deps
  const { entries } = follower

  async function putSegments(root: Root, { request, url, source, signal }: RouteCall): Promise<Response> {
    const seq = requiredQuery(url.searchParams, 'seq', SEQ_RANGE)
    const slot = requiredQuery(url.searchParams, 'slot', SLOT_RANGE)
    const entry = await awaitEntry({ root, seq }, { follower, clock }, { signal })
    const { body, reuse, leave } = await receiveBody(request, {
      gate: bodies,
      sizeBytesMax: SEGMENTS_BODY_BYTES_MAX,
      source,
      spares,
      bytes,
      signal,
    })
    let segments
    try {
      segments = decodeFrames(body, { segmentsMax: BATCH_SEGMENTS_MAX })
      deps.checkWanted(
        entry,
        segments.map((segment) => segment.index),
      )
      await shelf.put(entry, segments, { signal })
      await fingerprints.note(entry, segments, { signal })
      reuse()
    } finally {
      leave()
    }
    const receipt = (await shelf.finish(entry, { signal })) ? await receipts.sign(entry, slot) : undefined
    return answerJson({
      stored: segments.length,
      missing: shelf.missingCount(entry),
      ...(receipt === undefined ? {} : { receipt }),
    })
  }

  function entryOf(root: Root, seq: number | undefined): Entry {
    const named = seq === undefined ? lookupByRoot(entries.byRoot(root), shelf.isWhole) : entries.bySeq(seq)
    if (named === undefined) throw fail('ENTRY_UNKNOWN', { root, seq, nextSeq: follower.nextSeq() })
    if (named.root !== root) throw fail('ENTRY_MISMATCH', { seq, root, rootOfSeq: named.root })
    return named
  }

  async function getSegments(root: Root, { url, signal }: RouteCall): Promise<Response> {
    const from = requiredQuery(url.searchParams, 'from', INDEX_RANGE)
    const count = requiredQuery(url.searchParams, 'count', COUNT_RANGE)
    const step = wholeQuery(url.searchParams, 'step', STEP_RANGE) ?? 1
    const entry = entryOf(root, wholeQuery(url.searchParams, 'seq', SEQ_RANGE))
    const { segmentCount } = layoutOf(entry.sizeBytes)
    if (from + (count - 1) * step >= segmentCount)
      throw fail('PARAMETER_INVALID', { name: 'from, count and step', value: `${from}+${count}*${step}`, segmentCount })
    const place = await reads.enterWatched(count * SEGMENT_SIZE_BYTES, { signal, movedBytes: () => 0 })
    // While the disk is read, no client is to blame.
    place.keep()
    const { take, giveBack } = borrowing(readSpares)
    try {
      const segments = await Promise.all(
        Array.from({ length: count }, async (_, i) => {
          const index = from + i * step
          const segment = await shelf.read(entry, index, { signal, take })
          if (segment !== undefined) return segment
          deps.onMissed(entry)
          throw fail('SEGMENT_MISSING', { root, index })
        }),
      )
      const frames = encodeFrames(segments)
      const sizeBytes = frames.reduce((sum, part) => sum + part.length, 0)
      return answer(watchedBody(frames, place, giveBack), {
        headers: { 'content-type': 'application/x-weightless-segments', 'content-length': String(sizeBytes) },
      })
    } catch (error) {
      // What was taken is not given back: others of these reads may still be on their way into it.
      place.leave()
      throw error
    }
  }

  async function getReceipt(root: Root, { url, signal }: RouteCall): Promise<Response> {
    const entry = entryOf(root, requiredQuery(url.searchParams, 'seq', SEQ_RANGE))
    const slot = requiredQuery(url.searchParams, 'slot', SLOT_RANGE)
    if (!(await shelf.finish(entry, { signal }))) {
      deps.onAsked(entry)
      throw fail('ENTRY_INCOMPLETE', { root, seq: entry.seq, missingSegmentCount: finite(shelf.missingCount(entry)) })
    }
    const receipt: Receipt | undefined = await receipts.sign(entry, slot)
    if (receipt === undefined) throw fail('RECEIPT_UNAVAILABLE', { root, seq: entry.seq })
    return answerJson(receipt)
  }

  function describe(root: Root): Response {
    const found = entries.byRoot(root)
    if (found.length === 0) throw fail('ENTRY_UNKNOWN', { root, nextSeq: follower.nextSeq() })
    return answerJson({
      root,
      entries: found.map((entry) => ({
        ...logged(entry),
        complete: shelf.isWhole(entry),
        heldSegmentCount: shelf.heldCount(entry),
        contiguousSegmentCount: shelf.contiguousCount(entry),
        parities: shards.describe(entry),
      })),
    })
  }

  function list(url: URL): Response {
    const after = wholeQuery(url.searchParams, 'after', SEQ_RANGE) ?? -1
    const limit = wholeQuery(url.searchParams, 'limit', { least: 1, most: LIST_ENTRIES_MAX }) ?? LIST_ENTRIES_MAX
    return answerJson({
      entries: entries.list({ after, limit }).map((entry) => ({ root: entry.root, ...logged(entry) })),
    })
  }

  /** Whoever has receipts of an earlier version cannot have its list from the registry, which tells its hash alone. */
  function listMembers(url: URL): Response {
    const version = requiredQuery(url.searchParams, 'version', SEQ_RANGE)
    const found = follower.membership.at(version)
    if (found === undefined) throw fail('MEMBERSHIP_UNKNOWN', { version })
    return answerJson(membersToJson(found))
  }

  return (call) => {
    const { pathname } = call.url
    if (!pathname.startsWith('/v1/')) return undefined
    const method = call.request.method
    const parts = pathname.slice('/v1/'.length).split('/')
    const [kind, name, part] = parts
    if (kind === 'status' && parts.length === 1) return only(method, 'GET', async () => answerJson(await deps.status()))
    if (kind === 'members' && parts.length === 1) return only(method, 'GET', async () => listMembers(call.url))
    if (kind !== 'entries' || parts.length > 3) return undefined
    if (name === undefined) return only(method, 'GET', async () => list(call.url))
    if (part === undefined) return only(method, 'GET', async () => describe(rootOfPath(name)))
    if (part === 'receipt') return only(method, 'GET', async () => getReceipt(rootOfPath(name), call))
    if (part === 'shards') return only(method, 'GET', async () => shards.getShards(rootOfPath(name), call))
    if (part === 'certificate' && method === 'PUT') return shards.putCertificate(rootOfPath(name), call)
    if (part === 'certificate') return only(method, 'GET', async () => shards.getCertificate(rootOfPath(name), call))
    if (part !== 'segments') return undefined
    if (method === 'PUT') return putSegments(rootOfPath(name), call)
    return only(method, 'GET', async () => getSegments(rootOfPath(name), call))
  }
}

function logged(entry: Entry): object {
  const tags = parityTagsOf(entry)
  return {
    seq: entry.seq,
    sizeBytes: entry.sizeBytes,
    startChunk: entry.startChunk,
    blockNumber: entry.blockNumber,
    txHash: entry.txHash,
    ...(tags === undefined ? {} : { parityOf: tags.dataRoot }),
  }
}

async function only(method: string, allowed: string, work: () => Promise<Response>): Promise<Response> {
  if (method === allowed || (allowed === 'GET' && method === 'HEAD')) return await work()
  throw fail('METHOD_NOT_ALLOWED', { method, allowed })
}

/** An entry that nobody can hold misses without number. */
function finite(count: number): number | undefined {
  return Number.isFinite(count) ? count : undefined
}
