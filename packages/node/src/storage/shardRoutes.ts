import type { Clock, Entry, Root } from '@weightless/core'
import {
  bitmapOf,
  encodeBase64,
  PARITIES_PER_ENTRY_MAX,
  preview,
  shardCountOf,
  SLOT_COUNT_MAX,
  slotsOf,
  type Hex,
} from '@weightless/core'
import type { Certificates } from '../erasure/certificates.ts'
import { codedEntryOf, namedCodedEntry, type CodedEntry } from '../erasure/codedEntry.ts'
import type { Fingerprints } from '../erasure/fingerprints.ts'
import type { HeldShards } from '../erasure/heldShards.ts'
import { receiveCertificate } from '../erasure/receiveCertificate.ts'
import { fail } from '../errors.ts'
import { awaitEntry, awaitSeq } from '../flow/awaitEntry.ts'
import type { Follower } from '../flow/follow.ts'
import type { ParityEntry, ParityIndex } from '../flow/parities.ts'
import { answer, answerJson } from '../http/answer.ts'
import type { FastBytes } from '../http/fastBytes.ts'
import type { Gate } from '../http/gate.ts'
import { requiredQuery } from '../http/query.ts'
import type { SpareBuffers } from '../http/spareBuffers.ts'
import { watchedBody } from '../http/watchedBody.ts'
import type { Receipts } from './receipts.ts'
import type { RouteCall } from './routes.ts'

export type ShardRoutesDeps = {
  readonly follower: Follower
  readonly parities: ParityIndex
  readonly held: HeldShards
  readonly fingerprints: Fingerprints
  readonly receipts: Receipts
  readonly reads: Gate
  readonly clock: Clock
  /** A certificate of this entry was taken in. */
  readonly onCertificate: (entry: Entry) => void
  /** Somebody asked for shards of this entry that are not all here. */
  readonly onAsked: (entry: Entry) => void
  readonly certificates: Certificates
  readonly bodies: Gate
  readonly spares: SpareBuffers
  readonly bytes: FastBytes
}

/** What docs/wire.md says of shards: which parity an entry has, and receipts of shards. Throws what the routes answer as errors. */
export type ShardRoutes = {
  /** `GET /v1/entries/{root}/shards`. */
  getShards(root: Root, call: RouteCall): Promise<Response>
  /** `PUT /v1/entries/{root}/certificate`. */
  putCertificate(root: Root, call: RouteCall): Promise<Response>
  /** `GET /v1/entries/{root}/certificate`. */
  getCertificate(root: Root, call: RouteCall): Promise<Response>
  /** `parities` of an entry in `GET /v1/entries/{root}`. */
  describe(entry: Entry): readonly object[]
}

/** Entries looked at in order to choose those that are told. */
const PARITIES_LOOKED_MAX = 256
const SEQ_RANGE = { least: 0, most: Number.MAX_SAFE_INTEGER } as const

export function createShardRoutes(deps: ShardRoutesDeps): ShardRoutes {
  const { follower, parities, held, fingerprints, certificates, receipts, reads, clock } = deps

  async function getShards(root: Root, { url, signal }: RouteCall): Promise<Response> {
    const seq = requiredQuery(url.searchParams, 'seq', SEQ_RANGE)
    const paritySeq = requiredQuery(url.searchParams, 'parity', SEQ_RANGE)
    const data = await awaitEntry({ root, seq }, { follower, clock }, { signal })
    await awaitSeq({ root, seq: paritySeq }, { follower, clock }, { signal })
    const coded = namedCodedEntry(data, paritySeq, parities)
    const slots = askedSlots(coded, url.searchParams) ?? held.wholeSlots(coded)
    const found = slots.length > 0 ? await fingerprints.of(coded, slots, { signal }) : undefined
    if (found === undefined) {
      deps.onAsked(data)
      const missingShardCount = slots.length > 0 ? held.missingCount(coded, slots) : undefined
      // What an upload that goes on does not send again.
      const heldStripeCount = slots.length === 1 ? held.contiguousCount(coded, slots[0]!) : undefined
      throw fail('ENTRY_INCOMPLETE', { root, seq, parity: paritySeq, missingShardCount, heldStripeCount })
    }
    const receipt = receipts.signShards(coded, slots, found)
    if (receipt === undefined) throw fail('RECEIPT_UNAVAILABLE', { root, seq })
    return await answerLarge({ receipt, fingerprints: encodeBase64(found) }, signal)
  }

  /** JSON with fingerprints may have megabytes. */
  async function answerLarge(value: object, signal: AbortSignal): Promise<Response> {
    const body = new TextEncoder().encode(JSON.stringify(value))
    const place = await reads.enterWatched(body.length, { signal, movedBytes: () => 0 })
    return answer(watchedBody([body], place), {
      headers: { 'content-type': 'application/json', 'content-length': String(body.length) },
    })
  }

  async function putCertificate(root: Root, call: RouteCall): Promise<Response> {
    const { signal } = call
    const seq = requiredQuery(call.url.searchParams, 'seq', SEQ_RANGE)
    const entry = await awaitEntry({ root, seq }, { follower, clock }, { signal })
    const certificate = await receiveCertificate(call, deps)
    if (certificate.parity !== null)
      await awaitSeq({ root, seq: certificate.parity.seq }, { follower, clock }, { signal })
    const { proven, slots, lossesSurvived } = await certificates.take(entry, certificate, { signal })
    deps.onCertificate(entry)
    return answerJson({ proven: proven.length > 0, slots: bitmapOf(slots), lossesSurvived })
  }

  async function getCertificate(root: Root, { url, signal }: RouteCall): Promise<Response> {
    const seq = requiredQuery(url.searchParams, 'seq', SEQ_RANGE)
    const entry = await awaitEntry({ root, seq }, { follower, clock }, { signal })
    const certificate = certificates.get(entry)
    if (certificate === undefined) throw fail('CERTIFICATE_UNKNOWN', { root, seq })
    return await answerLarge(certificate, signal)
  }

  function provenParity(entry: Entry): number | undefined {
    const certified = certificates.of(entry)
    return certified !== undefined && certified.proven.length > 0 ? certified.parity?.seq : undefined
  }

  /** The one that is proven here, those of which something is here, then those that came first: whoever submits many hides none
   *  that is of use. */
  function listed(entry: Entry, proven: number | undefined): readonly ParityEntry[] {
    const looked: ParityEntry[] = []
    for (const one of parities.of(entry)) {
      if (looked.length === PARITIES_LOOKED_MAX) break
      if (one.entry.seq !== proven) looked.push(one)
    }
    const first = proven === undefined ? undefined : parities.named(entry, proven)
    const isHeld = (one: ParityEntry): boolean => held.segmentCount(one.entry.root) > 0
    const order = [
      ...(first === undefined ? [] : [first]),
      ...looked.filter(isHeld),
      ...looked.filter((one) => !isHeld(one)),
    ]
    return order.slice(0, PARITIES_PER_ENTRY_MAX).sort((a, b) => a.entry.seq - b.entry.seq)
  }

  return {
    getShards,
    putCertificate,
    getCertificate,
    describe(entry) {
      const proven = provenParity(entry)
      return listed(entry, proven).map((one) => ({
        seq: one.entry.seq,
        root: one.entry.root,
        k: one.tags.code.k,
        m: one.tags.code.m,
        proven: one.entry.seq === proven,
        slots: bitmapOf(held.wholeSlots(codedEntryOf(entry, one))),
      }))
    },
  }
}

/** `slots` of the query, which are slots of the object; `undefined` where it has none. Throws `PARAMETER_INVALID`. */
function askedSlots({ layout }: CodedEntry, query: URLSearchParams): readonly number[] | undefined {
  const text = query.get('slots')
  if (text === null) return undefined
  if (BITMAP.test(text)) {
    const slots = slotsOf(text.toLowerCase() as Hex)
    if (slots.length > 0 && slots.every((slot) => shardCountOf(layout, slot) > 0)) return slots
  }
  throw fail('PARAMETER_INVALID', { name: 'slots', value: preview(text), reason: 'a bitmap of slots with shards' })
}

const BITMAP = new RegExp(`^0x(?:[0-9a-fA-F]{2}){1,${SLOT_COUNT_MAX / 8}}$`)
