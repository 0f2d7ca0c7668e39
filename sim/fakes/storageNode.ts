import {
  BATCH_SEGMENTS_MAX,
  bitmapOf,
  certificateFromJson,
  checkSegment,
  concat,
  decodeFrames,
  encodeBase64,
  encodeFrames,
  fingerprintRootOf,
  fromHex,
  isFailure,
  layoutOf,
  leafCountOf,
  membershipHash,
  membersToJson,
  NO_FINGERPRINTS,
  PARITIES_PER_ENTRY_MAX,
  parityFits,
  parseParityTags,
  parseRoot,
  presentSlots,
  receiptSigner,
  segmentOfShard,
  shardCountOf,
  shardLayoutOf,
  shardsOfSlots,
  slotsOf,
  toHex,
  verifyCertificate,
  type Address,
  type Certificate,
  type Entry,
  type ErasureCode,
  type Hex,
  type Member,
  type ProvenSegment,
  type Receipt,
  type Root,
  type ShardLayout,
} from '@weightless/core'
import { defaultErasureKernel, fingerprintPoint } from '@weightless/kernels'
import { simSegmentRoot } from '../kernels.ts'

/** The binary routes of a storage node (docs/wire.md) over maps in memory: no disk, no chain, one function from Request to
 *  Response. What a node must do beyond that is not here. */
export type FakeStorageNode = {
  readonly signer: Address
  handle(request: Request): Promise<Response>
  /** The follower has seen this entry. */
  learn(entry: Entry): void
  /** Forgets what it holds of `root`, or one segment of it. */
  lose(root: Root, index?: number): void
  holds(root: Root): number
  /** Takes a segment without asking for its proof: a node that lies. */
  plant(root: Root, segment: ProvenSegment): void
  /** The certificate that it keeps for entry `seq`. */
  certified(seq: number): Certificate | undefined
}

export type FakeStorageNodeOptions = {
  readonly privateKey: Uint8Array
  readonly chainId: number
  readonly flow: Address
  readonly registry: Address
  /** How long a PUT waits for `learn`, in turns of the event loop. */
  readonly waitTurns?: number
  /** The members of a version of the registry, for certificates. */
  readonly membersAt?: (version: number) => readonly Member[] | undefined
}

type Known = {
  readonly entry: Entry
  receipt: Receipt | undefined
  certificate: { readonly certificate: Certificate; readonly proven: boolean } | undefined
}
type Coded = {
  readonly data: Entry
  readonly parity: Entry
  readonly code: ErasureCode
  readonly layout: ShardLayout
}

export function createFakeStorageNode(options: FakeStorageNodeOptions): FakeStorageNode {
  const { privateKey, chainId, flow, registry, waitTurns = 20, membersAt = () => undefined } = options
  const membershipHashOf = (version: number): Uint8Array | undefined => {
    const members = membersAt(version)
    return members && membershipHash(members)
  }
  const signer = receiptSigner(privateKey)
  const entries = new Map<Root, Known[]>()
  const segments = new Map<Root, Map<number, ProvenSegment>>()

  const all = (): readonly Known[] => [...entries.values()].flat()
  const known = (root: Root): readonly Known[] => entries.get(root) ?? []
  const heldOf = (root: Root): Map<number, ProvenSegment> => segments.get(root) ?? new Map<number, ProvenSegment>()
  const contiguousOf = (root: Root): number => {
    let count = 0
    while (heldOf(root).has(count)) count += 1
    return count
  }
  /** The parity entry with this number, if it is one of that entry. */
  const codedBy = ({ entry: data }: Known, seq: number): Coded | undefined => {
    const parity = all().find(({ entry }) => entry.seq === seq)?.entry
    const tags = parity && parseParityTags(parity.tags)
    if (parity === undefined || tags === undefined || !parityFits(parity, tags)) return undefined
    if (tags.dataRoot !== data.root || tags.sizeBytes !== data.sizeBytes) return undefined
    return { data, parity, code: tags.code, layout: shardLayoutOf(tags.sizeBytes, tags.code)! }
  }
  const shardOf = ({ data, parity, layout }: Coded, slot: number, stripe: number): ProvenSegment | undefined => {
    const { entry, segmentIndex } = segmentOfShard(layout, { slot, stripe })!
    return heldOf(entry === 'data' ? data.root : parity.root).get(segmentIndex)
  }
  const missingShards = (coded: Coded, slots: readonly number[]): number =>
    [...shardsOfSlots(coded.layout, slots)].filter(({ slot, stripe }) => !shardOf(coded, slot, stripe)).length
  const contiguousStripes = (coded: Coded, slot: number): number => {
    const count = shardCountOf(coded.layout, slot)
    for (let stripe = 0; stripe < count; stripe++) if (shardOf(coded, slot, stripe) === undefined) return stripe
    return count
  }
  const wholeSlots = (coded: Coded): readonly number[] =>
    presentSlots(coded.layout).filter((slot) => missingShards(coded, [slot]) === 0)
  const isComplete = ({ entry }: Known): boolean => heldOf(entry.root).size === layoutOf(entry.sizeBytes).segmentCount

  async function entryOf(root: Root, seq: number): Promise<Known> {
    for (let turn = 0; turn <= waitTurns; turn++) {
      const found = known(root).find(({ entry }) => entry.seq === seq)
      if (found !== undefined) return found
      await new Promise((next) => setImmediate(next))
    }
    throw refuse(404, 'ENTRY_UNKNOWN', { root, seq }, true)
  }

  // Frames are checked whole before anything is kept: what is refused leaves no trace.
  async function put(root: Root, query: URLSearchParams, request: Request): Promise<Response> {
    const seq = whole(query, 'seq')
    const slot = whole(query, 'slot')
    const one = await entryOf(root, seq)
    const { sizeBytes } = one.entry
    const body = new Uint8Array(await request.arrayBuffer())
    const frames = decodeFrames(body, { segmentsMax: BATCH_SEGMENTS_MAX })
    const layout = layoutOf(sizeBytes)
    for (const segment of frames) {
      if (segment.index >= layout.segmentCount)
        throw refuse(400, 'SEGMENT_INDEX_INVALID', { index: segment.index }, false)
      checkSegment({ root, sizeBytes }, segment, simSegmentRoot(segment.data, leafCountOf(layout, segment.index)))
    }
    const held = heldOf(root)
    segments.set(root, held)
    for (const { index, data, proof } of frames) {
      held.set(index, {
        index,
        data: data.slice(),
        proof: { siblings: proof.siblings.map((hash) => hash.slice()), lefts: [...proof.lefts] },
      })
    }
    const receipt = isComplete(one) ? receiptOf(one, slot) : undefined
    return Response.json({
      stored: frames.length,
      missing: layout.segmentCount - held.size,
      ...(receipt && { receipt }),
    })
  }

  function get(root: Root, query: URLSearchParams): Response {
    const from = whole(query, 'from')
    const count = whole(query, 'count')
    const step = query.has('step') ? whole(query, 'step') : 1
    if (count < 1 || count > BATCH_SEGMENTS_MAX || step < 1 || step > 256)
      throw refuse(400, 'PARAMETER_INVALID', { count, step }, false)
    if (known(root).length === 0) throw refuse(404, 'ENTRY_UNKNOWN', { root }, true)
    const seq = query.has('seq') ? whole(query, 'seq') : undefined
    if (seq !== undefined && known(root).every(({ entry }) => entry.seq !== seq))
      throw refuse(404, 'ENTRY_UNKNOWN', { root, seq }, true)
    const segmentCount = Math.max(...known(root).map(({ entry }) => layoutOf(entry.sizeBytes).segmentCount))
    if (from + (count - 1) * step >= segmentCount)
      throw refuse(400, 'PARAMETER_INVALID', { from, count, step, segmentCount }, false)
    const wanted = Array.from({ length: count }, (_, i) => heldOf(root).get(from + i * step))
    const missing = wanted.findIndex((segment) => segment === undefined)
    if (missing >= 0) throw refuse(404, 'SEGMENT_MISSING', { root, index: from + missing * step }, true)
    const body = concat(encodeFrames(wanted as ProvenSegment[]))
    return new Response(body as Uint8Array<ArrayBuffer>, {
      headers: { 'content-type': 'application/x-weightless-segments', 'content-length': String(body.length) },
    })
  }

  function sign({ root, seq, blockNumber }: Entry, slots: readonly number[], fingerprintRoot: Hex): Receipt {
    const what = { chainId, registry, registryVersion: 1, dataRoot: root, entrySeq: seq, blockNumber }
    return signer.sign({ ...what, slots: bitmapOf(slots), fingerprintRoot })
  }

  function receiptOf(one: Known, slot: number): Receipt {
    one.receipt ??= sign(one.entry, [slot], NO_FINGERPRINTS)
    return one.receipt
  }

  async function shards(root: Root, query: URLSearchParams): Promise<Response> {
    const one = await entryOf(root, whole(query, 'seq'))
    const seq = whole(query, 'parity')
    for (let turn = 0; turn < waitTurns && !all().some(({ entry }) => entry.seq === seq); turn++)
      await new Promise((next) => setImmediate(next))
    if (!all().some(({ entry }) => entry.seq === seq)) throw refuse(404, 'ENTRY_UNKNOWN', { root, seq }, true)
    const coded = codedBy(one, seq)
    if (coded === undefined) throw refuse(400, 'PARITY_MISMATCH', { root, parity: seq }, false)
    const text = query.get('slots')
    const asked = text === null ? undefined : /^0x([0-9a-f]{2})+$/.test(text) ? slotsOf(text as Hex) : []
    if (asked?.length === 0 || asked?.some((slot) => shardCountOf(coded.layout, slot) === 0))
      throw refuse(400, 'PARAMETER_INVALID', { slots: text }, false)
    const slots = asked ?? wholeSlots(coded)
    const missingShardCount = missingShards(coded, slots)
    if (slots.length === 0 || missingShardCount > 0) {
      const heldStripeCount = slots.length === 1 ? contiguousStripes(coded, slots[0]!) : undefined
      throw refuse(404, 'ENTRY_INCOMPLETE', { root, seq: one.entry.seq, missingShardCount, heldStripeCount }, true)
    }
    const fingerprints = fingerprintsOf(coded, slots)
    const { layout, parity } = coded
    const fingerprintRoot = fingerprintRootOf({ layout, parityRoot: parity.root, slots }, fingerprints)
    return Response.json({ receipt: sign(one.entry, slots, fingerprintRoot), fingerprints: encodeBase64(fingerprints) })
  }

  function fingerprintsOf(coded: Coded, slots: readonly number[]): Uint8Array {
    const point = fingerprintPoint(fromHex(coded.data.root), fromHex(coded.parity.root))
    return concat(
      [...shardsOfSlots(coded.layout, slots)].map(({ slot, stripe }) =>
        defaultErasureKernel().fingerprint(point, shardOf(coded, slot, stripe)!.data),
      ),
    )
  }

  async function putCertificate(root: Root, query: URLSearchParams, request: Request): Promise<Response> {
    const one = await entryOf(root, whole(query, 'seq'))
    const certificate = certificateFromJson(await request.json().catch(() => undefined))
    const { seq, sizeBytes, blockNumber } = one.entry
    if (certificate.dataRoot !== root || certificate.entrySeq !== seq || certificate.sizeBytes !== sizeBytes)
      throw refuse(400, 'CERTIFICATE_INVALID', { root, seq }, false)
    const coded = certificate.parity === null ? undefined : codedBy(one, certificate.parity.seq)
    if (certificate.parity !== null && coded?.parity.root !== certificate.parity.root)
      throw refuse(400, 'CERTIFICATE_INVALID', { root, seq, reason: 'parity' }, false)
    const own = coded === undefined ? [] : wholeSlots(coded).filter((slot) => slot < coded.code.k)
    const known = new Map(own.map((slot) => [slot, fingerprintsOf(coded!, [slot])]))
    const facts = verifyCertificate(certificate, { chainId, registry, membershipHashOf, known })
    if (facts.blockNumber !== blockNumber) throw refuse(400, 'CERTIFICATE_INVALID', { root, seq }, false)
    const proven = facts.proven.length > 0
    if (proven || one.certificate === undefined) one.certificate = { certificate, proven }
    const slots = bitmapOf(facts.holders.flatMap((holder) => (holder.kind === 'shards' ? holder.slots : [])))
    return Response.json({ proven, slots, lossesSurvived: facts.lossesSurvived })
  }

  function listMembers(query: URLSearchParams): Response {
    const version = whole(query, 'version')
    const members = membersAt(version)
    if (members === undefined) throw refuse(404, 'MEMBERSHIP_UNKNOWN', { version }, true)
    return Response.json(membersToJson({ version, members }))
  }

  async function getCertificate(root: Root, query: URLSearchParams): Promise<Response> {
    const { entry, certificate } = await entryOf(root, whole(query, 'seq'))
    if (certificate === undefined) throw refuse(404, 'CERTIFICATE_UNKNOWN', { root, seq: entry.seq }, true)
    return Response.json(certificate.certificate)
  }

  const paritiesOf = (one: Known): readonly object[] =>
    all()
      .map(({ entry }) => codedBy(one, entry.seq))
      .filter((coded) => coded !== undefined)
      .sort((a, b) => wholeSlots(b).length - wholeSlots(a).length || a.parity.seq - b.parity.seq)
      .slice(0, PARITIES_PER_ENTRY_MAX)
      .sort((a, b) => a.parity.seq - b.parity.seq)
      .map((coded) => ({
        seq: coded.parity.seq,
        root: coded.parity.root,
        ...coded.code,
        proven: one.certificate?.proven === true && one.certificate.certificate.parity?.seq === coded.parity.seq,
        slots: bitmapOf(wholeSlots(coded)),
      }))

  function receipt(root: Root, query: URLSearchParams): Response {
    const seq = whole(query, 'seq')
    const slot = whole(query, 'slot')
    const one = known(root).find(({ entry }) => entry.seq === seq)
    if (one === undefined || !isComplete(one)) throw refuse(404, 'ENTRY_INCOMPLETE', { root, seq }, true)
    return Response.json(receiptOf(one, slot))
  }

  const logged = ({ root, seq, sizeBytes, startChunk, blockNumber, txHash, tags }: Entry) => {
    const parityOf = parseParityTags(tags)?.dataRoot
    const fields = { root, seq, sizeBytes, startChunk, blockNumber, txHash }
    return parityOf === undefined ? fields : { ...fields, parityOf }
  }

  function about(root: Root): Response {
    const list = known(root)
    if (list.length === 0) throw refuse(404, 'ENTRY_UNKNOWN', { root }, true)
    return Response.json({
      root,
      entries: [...list]
        .sort((a, b) => a.entry.seq - b.entry.seq)
        .slice(0, 64)
        .map((one) => ({
          ...logged(one.entry),
          complete: isComplete(one),
          heldSegmentCount: heldOf(root).size,
          contiguousSegmentCount: contiguousOf(root),
          parities: paritiesOf(one),
        })),
    })
  }

  function list(query: URLSearchParams): Response {
    const after = query.has('after') ? whole(query, 'after') : -1
    const limit = query.has('limit') ? whole(query, 'limit') : 100
    const all = [...entries.values()].flat().map(({ entry }) => entry)
    const page = all.filter(({ seq }) => seq > after).sort((a, b) => a.seq - b.seq)
    return Response.json({ entries: page.slice(0, Math.min(limit, 1000)).map(logged) })
  }

  const status = (): Response =>
    Response.json({
      version: '0.1.0',
      nodeId: signer.address,
      signer: signer.address,
      chainId,
      flow,
      registry,
      registryVersion: 1,
      membership: 'registry',
      gatewayUrl: null,
      head: { number: Math.max(0, ...all().map(({ entry }) => entry.blockNumber)), hash: toHex(new Uint8Array(32)) },
      nextSeq: all().length,
      store: {
        segmentCount: [...segments.values()].reduce((sum, held) => sum + held.size, 0),
        usedBytes: 0,
        capacityBytes: 2 ** 40,
        readOnly: false,
      },
      ready: true,
    })

  async function route(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url)
    const path = `${request.method} ${pathname}`
    if (request.method === 'OPTIONS') {
      const headers = { 'access-control-allow-methods': 'GET, PUT, POST, OPTIONS', 'access-control-allow-headers': '*' }
      return new Response(null, { status: 204, headers })
    }
    if (path === 'GET /v1/status') return status()
    if (path === 'GET /v1/entries') return list(searchParams)
    if (path === 'GET /v1/members') return listMembers(searchParams)
    if (path === 'GET /health') return Response.json({ ready: true })
    if (path === 'GET /metrics') return new Response('# HELP fake 0\n', { headers: { 'content-type': 'text/plain' } })
    const match = /^\/v1\/entries\/([^/]+)(\/segments|\/receipt|\/shards|\/certificate)?$/.exec(pathname)
    if (match !== null) {
      const root = parseRoot(match[1])
      if (request.method === 'PUT' && match[2] === '/segments') return put(root, searchParams, request)
      if (request.method === 'GET' && match[2] === '/segments') return get(root, searchParams)
      if (request.method === 'GET' && match[2] === '/receipt') return receipt(root, searchParams)
      if (request.method === 'GET' && match[2] === '/shards') return shards(root, searchParams)
      if (request.method === 'GET' && match[2] === '/certificate') return getCertificate(root, searchParams)
      if (request.method === 'PUT' && match[2] === '/certificate') return putCertificate(root, searchParams, request)
      if (request.method === 'GET' && match[2] === undefined) return about(root)
    }
    throw refuse(404, 'ROUTE_UNKNOWN', { path }, false)
  }

  return {
    signer: signer.address,
    handle: async (request) => {
      try {
        return withCors(await route(request))
      } catch (error) {
        if (error instanceof Refusal) return withCors(Response.json({ error: error.body }, { status: error.status }))
        if (isFailure(error)) return withCors(Response.json({ error: error.toJSON() }, { status: 400 }))
        throw error
      }
    },
    learn: (entry) =>
      entries.set(entry.root, [...known(entry.root), { entry, receipt: undefined, certificate: undefined }]),
    lose: (root, index) => void (index === undefined ? segments.delete(root) : segments.get(root)?.delete(index)),
    holds: (root) => heldOf(root).size,
    plant: (root, segment) => void segments.set(root, new Map(heldOf(root)).set(segment.index, segment)),
    certified: (seq) => all().find(({ entry }) => entry.seq === seq)?.certificate?.certificate,
  }
}

class Refusal extends Error {
  readonly status: number
  readonly body: unknown
  constructor(status: number, body: unknown) {
    super(`refused with ${status}`)
    this.status = status
    this.body = body
  }
}

function refuse(status: number, code: string, facts: object, retryable: boolean): Refusal {
  return new Refusal(status, { code, message: code, facts, next: 'Read docs/wire.md.', retryable })
}

function whole(query: URLSearchParams, name: string): number {
  const text = query.get(name)
  if (text !== null && /^\d{1,15}$/.test(text)) return Number(text)
  throw refuse(400, 'PARAMETER_INVALID', { name, value: text }, false)
}

function withCors(response: Response): Response {
  response.headers.set('access-control-allow-origin', '*')
  return response
}
