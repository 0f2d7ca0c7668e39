import {
  addressOfPrivateKey,
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
  PARITIES_PER_ENTRY_MAX,
  parityFits,
  parseParityTags,
  parseRoot,
  presentSlots,
  segmentOfShard,
  shardLayoutOf,
  shardsOfSlots,
  signReceipt,
  slotsOf,
  toHex,
  type Address,
  type Certificate,
  type Entry,
  type Hex,
  type ProvenSegment,
  type Receipt,
  type Root,
  type ShardLayout,
} from '@weightless/core'
import { defaultErasureKernel, fingerprintPoint, segmentRoot } from '@weightless/kernels'

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
  /** The certificate that it was given for entry `seq`. */
  certified(seq: number): Certificate | undefined
}

export type FakeStorageNodeOptions = {
  readonly privateKey: Uint8Array
  readonly chainId: number
  readonly flow: Address
  readonly registry: Address
  /** How long a PUT waits for `learn`, in turns of the event loop. */
  readonly waitTurns?: number
}

type Known = { readonly entry: Entry; receipt: Receipt | undefined }

export function createFakeStorageNode(options: FakeStorageNodeOptions): FakeStorageNode {
  const { privateKey, chainId, flow, registry, waitTurns = 20 } = options
  const signer = addressOfPrivateKey(privateKey)
  const entries = new Map<Root, Known[]>()
  const segments = new Map<Root, Map<number, ProvenSegment>>()
  const certificates = new Map<number, Certificate>()
  const shardReceipts = new Map<string, { readonly receipt: Receipt; readonly fingerprints: string }>()

  const known = (root: Root): readonly Known[] => entries.get(root) ?? []
  const heldOf = (root: Root): Map<number, ProvenSegment> => segments.get(root) ?? new Map<number, ProvenSegment>()
  const contiguousOf = (root: Root): number => {
    let count = 0
    while (heldOf(root).has(count)) count += 1
    return count
  }
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
      checkSegment({ root, sizeBytes }, segment, segmentRoot(segment.data, leafCountOf(layout, segment.index)))
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
    if (count < 1 || count > BATCH_SEGMENTS_MAX) throw refuse(400, 'PARAMETER_INVALID', { count }, false)
    if (step < 1 || step > 256) throw refuse(400, 'PARAMETER_INVALID', { step }, false)
    if (known(root).length === 0) throw refuse(404, 'ENTRY_UNKNOWN', { root }, true)
    const seq = query.has('seq') ? whole(query, 'seq') : undefined
    if (seq !== undefined && known(root).every(({ entry }) => entry.seq !== seq))
      throw refuse(404, 'ENTRY_UNKNOWN', { root, seq }, true)
    const wanted = Array.from({ length: count }, (_, i) => heldOf(root).get(from + i * step))
    const missing = wanted.findIndex((segment) => segment === undefined)
    if (missing >= 0) throw refuse(404, 'SEGMENT_MISSING', { root, index: from + missing * step }, true)
    const body = concat(encodeFrames(wanted as ProvenSegment[]))
    return new Response(body as Uint8Array<ArrayBuffer>, {
      headers: { 'content-type': 'application/x-weightless-segments', 'content-length': String(body.length) },
    })
  }

  function receiptOf(one: Known, slot: number): Receipt {
    one.receipt ??= signReceipt(
      {
        chainId,
        registry,
        registryVersion: 1,
        dataRoot: one.entry.root,
        entrySeq: one.entry.seq,
        slots: bitmapOf([slot]),
        fingerprintRoot: toHex(new Uint8Array(32)),
        blockNumber: one.entry.blockNumber,
      },
      privateKey,
    )
    return one.receipt
  }

  function receipt(root: Root, query: URLSearchParams): Response {
    const seq = whole(query, 'seq')
    const slot = whole(query, 'slot')
    const one = known(root).find(({ entry }) => entry.seq === seq)
    if (one === undefined || !isComplete(one)) throw refuse(404, 'ENTRY_INCOMPLETE', { root, seq }, true)
    return Response.json(receiptOf(one, slot))
  }

  /** Entries that say they are parity of this one. */
  function paritiesOf(data: Entry): readonly { readonly entry: Entry; readonly layout: ShardLayout }[] {
    return all()
      .flatMap(({ entry }) => {
        const tags = parseParityTags(entry.tags)
        const isOf = tags?.dataRoot === data.root && tags.sizeBytes === data.sizeBytes && parityFits(entry, tags)
        return isOf ? [{ entry, layout: shardLayoutOf(data.sizeBytes, tags.code)! }] : []
      })
      .sort((a, b) => a.entry.seq - b.entry.seq)
  }
  function shardAt(
    data: Entry,
    parity: { readonly entry: Entry; readonly layout: ShardLayout },
    stripe: number,
    slot: number,
  ) {
    const { entry, segmentIndex } = segmentOfShard(parity.layout, { stripe, slot })!
    return heldOf(entry === 'data' ? data.root : parity.entry.root).get(segmentIndex)
  }
  function wholeSlots(data: Entry, parity: { readonly entry: Entry; readonly layout: ShardLayout }): readonly number[] {
    return presentSlots(parity.layout).filter((slot) =>
      [...shardsOfSlots(parity.layout, [slot])].every(
        ({ stripe }) => shardAt(data, parity, stripe, slot) !== undefined,
      ),
    )
  }

  async function shards(root: Root, query: URLSearchParams): Promise<Response> {
    const seq = whole(query, 'seq')
    const data = (await entryOf(root, seq)).entry
    const paritySeq = whole(query, 'parity')
    for (let turn = 0; turn < waitTurns && all().every(({ entry }) => entry.seq !== paritySeq); turn++)
      await new Promise((next) => setImmediate(next))
    if (all().every(({ entry }) => entry.seq !== paritySeq))
      throw refuse(404, 'ENTRY_UNKNOWN', { root, seq: paritySeq }, true)
    const parity = paritiesOf(data).find(({ entry }) => entry.seq === paritySeq)
    if (parity === undefined) throw refuse(400, 'PARITY_MISMATCH', { root, seq, parity: paritySeq }, false)
    const have = wholeSlots(data, parity)
    const slots = query.has('slots') ? slotsOf(query.get('slots') as Hex) : have
    if (slots.length === 0 || slots.some((slot) => !have.includes(slot)))
      throw refuse(404, 'ENTRY_INCOMPLETE', { root, seq, missingShardCount: 1 }, true)
    const name = `${seq} ${paritySeq} ${slots.join()}`
    const answer = shardReceipts.get(name) ?? signShards(data, parity, slots)
    shardReceipts.set(name, answer)
    return Response.json(answer)
  }

  function signShards(
    data: Entry,
    parity: { readonly entry: Entry; readonly layout: ShardLayout },
    slots: readonly number[],
  ) {
    const { layout } = parity
    const point = fingerprintPoint(fromHex(data.root), fromHex(parity.entry.root))
    const fingerprints = concat(
      [...shardsOfSlots(layout, slots)].map(({ stripe, slot }) =>
        defaultErasureKernel().fingerprint(point, shardAt(data, parity, stripe, slot)!.data),
      ),
    )
    const receipt = signReceipt(
      {
        chainId,
        registry,
        registryVersion: 1,
        dataRoot: data.root,
        entrySeq: data.seq,
        slots: bitmapOf(slots),
        fingerprintRoot: fingerprintRootOf({ layout, parityRoot: parity.entry.root, slots }, fingerprints),
        blockNumber: data.blockNumber,
      },
      privateKey,
    )
    return { receipt, fingerprints: encodeBase64(fingerprints) }
  }

  async function putCertificate(root: Root, query: URLSearchParams, request: Request): Promise<Response> {
    const seq = whole(query, 'seq')
    await entryOf(root, seq)
    let certificate: Certificate
    try {
      certificate = certificateFromJson(await request.json())
    } catch {
      throw refuse(400, 'CERTIFICATE_INVALID', { root, seq }, false)
    }
    if (certificate.dataRoot !== root || certificate.entrySeq !== seq)
      throw refuse(400, 'CERTIFICATE_INVALID', { root, seq }, false)
    certificates.set(seq, certificate)
    return Response.json({ proven: true, slots: '0x', lossesSurvived: 0 })
  }

  function certificate(root: Root, query: URLSearchParams): Response {
    const seq = whole(query, 'seq')
    const kept = certificates.get(seq)
    if (kept === undefined) throw refuse(404, 'CERTIFICATE_UNKNOWN', { root, seq }, true)
    return Response.json(kept)
  }

  const logged = ({ root, seq, sizeBytes, startChunk, blockNumber, txHash }: Entry) => ({
    root,
    seq,
    sizeBytes,
    startChunk,
    blockNumber,
    txHash,
  })

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
          parities: paritiesOf(one.entry)
            .slice(0, PARITIES_PER_ENTRY_MAX)
            .map((parity) => ({
              seq: parity.entry.seq,
              root: parity.entry.root,
              ...parity.layout.code,
              proven: certificates.get(one.entry.seq)?.parity?.seq === parity.entry.seq,
              slots: bitmapOf(wholeSlots(one.entry, parity)),
            })),
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

  const all = (): readonly Known[] => [...entries.values()].flat()
  const status = (): Response =>
    Response.json({
      version: '0.1.0',
      nodeId: signer,
      signer,
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
    if (path === 'GET /health') return Response.json({ ready: true })
    if (path === 'GET /metrics') return new Response('# HELP fake 0\n', { headers: { 'content-type': 'text/plain' } })
    const match = /^\/v1\/entries\/([^/]+)(\/segments|\/receipt|\/shards|\/certificate)?$/.exec(pathname)
    if (match !== null) {
      const root = parseRoot(match[1])
      if (request.method === 'PUT' && match[2] === '/segments') return put(root, searchParams, request)
      if (request.method === 'GET' && match[2] === '/segments') return get(root, searchParams)
      if (request.method === 'GET' && match[2] === '/receipt') return receipt(root, searchParams)
      if (request.method === 'GET' && match[2] === '/shards') return shards(root, searchParams)
      if (request.method === 'PUT' && match[2] === '/certificate') return putCertificate(root, searchParams, request)
      if (request.method === 'GET' && match[2] === '/certificate') return certificate(root, searchParams)
      if (request.method === 'GET' && match[2] === undefined) return about(root)
    }
    throw refuse(404, 'ROUTE_UNKNOWN', { path }, false)
  }

  return {
    signer,
    handle: async (request) => {
      try {
        return withCors(await route(request))
      } catch (error) {
        if (error instanceof Refusal) return withCors(Response.json({ error: error.body }, { status: error.status }))
        if (isFailure(error)) return withCors(Response.json({ error: error.toJSON() }, { status: 400 }))
        throw error
      }
    },
    learn: (entry) => entries.set(entry.root, [...known(entry.root), { entry, receipt: undefined }]),
    lose: (root, index) => void (index === undefined ? segments.delete(root) : segments.get(root)?.delete(index)),
    holds: (root) => heldOf(root).size,
    plant: (root, segment) => void segments.set(root, new Map(heldOf(root)).set(segment.index, segment)),
    certified: (seq) => certificates.get(seq),
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
