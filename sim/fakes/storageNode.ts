import {
  addressOfPrivateKey,
  BATCH_SEGMENTS_MAX,
  bitmapOf,
  checkSegment,
  concat,
  decodeFrames,
  encodeFrames,
  isFailure,
  layoutOf,
  leafCountOf,
  parseRoot,
  signReceipt,
  toHex,
  type Address,
  type Entry,
  type ProvenSegment,
  type Receipt,
  type Root,
} from '@weightless/core'
import { segmentRoot } from '@weightless/kernels'

/** The binary routes of a storage node (docs/wire.md) over maps in memory: no disk, no chain, one function from Request to
 *  Response. What a node must do beyond that is not here. */
export type FakeStorageNode = {
  readonly signer: Address
  handle(request: Request): Promise<Response>
  /** The follower has seen this entry. */
  learn(entry: Entry): void
  /** Forgets what it holds of `root`. */
  lose(root: Root): void
  holds(root: Root): number
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
    if (count < 1 || count > BATCH_SEGMENTS_MAX) throw refuse(400, 'PARAMETER_INVALID', { count }, false)
    if (known(root).length === 0) throw refuse(404, 'ENTRY_UNKNOWN', { root }, true)
    const seq = query.has('seq') ? whole(query, 'seq') : undefined
    if (seq !== undefined && known(root).every(({ entry }) => entry.seq !== seq))
      throw refuse(404, 'ENTRY_UNKNOWN', { root, seq }, true)
    const wanted = Array.from({ length: count }, (_, i) => heldOf(root).get(from + i))
    const missing = wanted.findIndex((segment) => segment === undefined)
    if (missing >= 0) throw refuse(404, 'SEGMENT_MISSING', { root, index: from + missing }, true)
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
    const match = /^\/v1\/entries\/([^/]+)(\/segments|\/receipt)?$/.exec(pathname)
    if (match !== null) {
      const root = parseRoot(match[1])
      if (request.method === 'PUT' && match[2] === '/segments') return put(root, searchParams, request)
      if (request.method === 'GET' && match[2] === '/segments') return get(root, searchParams)
      if (request.method === 'GET' && match[2] === '/receipt') return receipt(root, searchParams)
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
    lose: (root) => segments.delete(root),
    holds: (root) => heldOf(root).size,
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
