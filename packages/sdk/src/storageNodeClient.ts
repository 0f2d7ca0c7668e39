import {
  BATCH_SEGMENTS_MAX,
  bitmapOf,
  certificateFromJson,
  concat,
  decodeBase64,
  decodeFrames,
  encodeFrames,
  Failure,
  invariant,
  isCode,
  isFailure,
  membershipFromJson,
  parseAddress,
  parseHex,
  PARITIES_PER_ENTRY_MAX,
  parseTxHash,
  preview,
  receiptFromJson,
  SEGMENTS_BODY_BYTES_MAX,
  SLOT_COUNT_MAX,
  slotsOf,
  toHex,
  type Abortable,
  type Address,
  type Certificate,
  type Clock,
  type ErasureCode,
  type Facts,
  type Net,
  type Membership,
  type ProvenSegment,
  type Receipt,
  type Root,
  type TxHash,
} from '@weightless/core'
import { fail } from './errors.ts'
import { readBounded } from './readBounded.ts'
import { withDeadline } from './scope.ts'

/** One storage node by its binary routes (docs/wire.md). Nothing is tried twice here: the caller knows other nodes.
 *  Throws `NODE_UNREACHABLE`, `DEADLINE_PASSED`, `NODE_ANSWER_INVALID`, `BODY_TOO_LARGE`, or the node's own code. */
export type StorageNodeClient = {
  readonly url: string
  status(options: RequestOptions): Promise<NodeStatus>
  /** Stores segments of entry `seq`. The answer means: verified, written, synced. */
  putSegments(
    root: Root,
    what: { readonly seq: number; readonly slot: number; readonly segments: readonly ProvenSegment[] },
    options: RequestOptions,
  ): Promise<PutAnswer>
  /** The same with frames that are already encoded: one body serves several holders. */
  putFrames(
    root: Root,
    what: { readonly seq: number; readonly slot: number; readonly body: Uint8Array },
    options: RequestOptions,
  ): Promise<PutAnswer>
  /** The segments of a run, not yet verified; their data are views into one body, in order, that nobody else has. `undefined`:
   *  not held here. */
  getSegments(
    root: Root,
    what: SegmentRun & { readonly seq?: number | undefined },
    options: RequestOptions & {
      /** A buffer for the body, where the machine can receive into one; else it is ignored. */
      readonly take?: ((sizeBytes: number) => Uint8Array) | undefined
    },
  ): Promise<readonly ProvenSegment[] | undefined>
  /** What this node says of entries with that root, ascending by seq; empty when it knows none. */
  entries(root: Root, options: RequestOptions): Promise<readonly HeldEntry[]>
  /** The holder's receipt, parsed and not yet verified. `undefined`: the entry is not complete here. */
  receipt(
    root: Root,
    what: { readonly seq: number; readonly slot: number },
    options: RequestOptions,
  ): Promise<Receipt | undefined>
  /** What the holder signs for shards of the slots (all that it has of them by default), parsed and not yet verified: entry
   *  `seq`, and the parity entry `parity`. */
  shards(
    root: Root,
    what: {
      readonly seq: number
      readonly parity: number
      readonly slots?: readonly number[] | undefined
      /** Of all slots that may be in the answer. */
      readonly fingerprintBytesMax: number
    },
    options: RequestOptions,
  ): Promise<ShardsAnswer>
  /** Gives the node a certificate: it verifies and keeps it. */
  putCertificate(
    root: Root,
    what: { readonly seq: number; readonly certificate: Certificate },
    options: RequestOptions,
  ): Promise<CertificateAnswer>
  /** The certificate that the node keeps, parsed and not yet verified. `undefined`: none. */
  certificate(
    root: Root,
    what: { readonly seq: number; readonly sizeBytesMax: number },
    options: RequestOptions,
  ): Promise<Certificate | undefined>
  /** The members of a version of the registry, which the registry's hash of that version has yet to bear out. `undefined`: the node does
   *  not know it. */
  members(what: { readonly version: number }, options: RequestOptions): Promise<Membership | undefined>
  /** Entries of the log in order, those with seq > after. */
  list(
    what: { readonly after?: number | undefined; readonly limit: number },
    options: RequestOptions,
  ): Promise<readonly LoggedEntry[]>
}
export type StorageNodeClientOptions = {
  /** `stream` hands bodies over without the copy that `Request` makes of bytes: for programs that send many. Browsers refuse
   *  streams over HTTP/1.1, so the default is `bytes`. */
  readonly bodies?: 'bytes' | 'stream' | undefined
}
/** Segments from, from + step, from + 2·step, …: `count` of them, at most 16. A step is 1 by default and at most 256. */
export type SegmentRun = { readonly from: number; readonly count: number; readonly step?: number | undefined }
export type RequestOptions = Abortable & { readonly timeoutMs?: number | undefined }

export type NodeStatus = {
  readonly nodeId: string
  readonly signer: Address
  readonly chainId: number
  readonly flow: Address
  readonly registry: Address | undefined
  readonly gatewayUrl: string | undefined
  /** The version of the membership that the node sees. */
  readonly registryVersion: number | undefined
  readonly nextSeq: number
  readonly readOnly: boolean
  /** It has no room for another segment. */
  readonly isFull: boolean
  readonly ready: boolean
}
/** An entry as a node tells it: what is on chain (`txHash` lets anyone check) and how much of it this node holds. */
export type LoggedEntry = {
  readonly root: Root
  readonly seq: number
  readonly sizeBytes: number
  readonly startChunk: number
  readonly blockNumber: number
  readonly txHash: TxHash
  /** It says that it is the parity of this root: anybody may say so. */
  readonly parityOf?: Root | undefined
}
export type HeldEntry = LoggedEntry & {
  readonly complete: boolean
  readonly heldSegmentCount: number
  /** Held from the first on, up to one that is missing. */
  readonly contiguousSegmentCount: number
  /** Entries of the log that say of themselves that they are its parity, ascending by seq. */
  readonly parities: readonly HeldParity[]
}
/** A parity entry, and what this node has of the object under its code. */
export type HeldParity = {
  readonly seq: number
  readonly root: Root
  readonly code: ErasureCode
  /** This node has verified a certificate for it. */
  readonly proven: boolean
  /** Slots of which it holds every shard, of data and parity. */
  readonly slots: readonly number[]
}
export type SignedShards = { readonly receipt: Receipt; readonly fingerprints: Uint8Array }
export type ShardsAnswer =
  | { readonly kind: 'signed'; readonly held: SignedShards }
  /** It lacks a shard, or knows no such entry. `heldStripeCount`: of one slot alone, its shards from the first stripe on up to one that
   *  is missing; 0 where it does not say. */
  | { readonly kind: 'incomplete'; readonly heldStripeCount: number }
export type CertificateAnswer = { readonly lossesSurvived: number }
export type PutAnswer = { readonly receipt: Receipt | undefined }

/** Small questions: a node that needs longer is as good as down. */
const NODE_TIMEOUT_MS = 10_000
/** JSON answers: 1000 entries of a list are about 350 KB. */
const JSON_BYTES_MAX: number = 1024 ** 2
export const LIST_ENTRIES_MAX = 1_000
const ENTRIES_PER_ROOT_MAX = 64
/** Beside the fingerprints of a receipt: itself, in JSON. */
const RECEIPT_JSON_BYTES_MAX = 4 * 1024
/** Facts that a peer puts into its error: enough for a person, too little to flood a log. */
const PEER_FACTS_MAX = 12
const PEER_TEXT_CHARACTERS_MAX = 200

/** Throws `OPTION_INVALID` when `url` is no http(s) URL. */
export function createStorageNodeClient(
  url: string,
  deps: { readonly net: Net; readonly clock: Clock },
  { bodies = 'bytes' }: StorageNodeClientOptions = {},
): StorageNodeClient {
  const base = baseUrl(url)
  const send = <T>(question: Question, options: RequestOptions, read: (answer: Answer) => T): Promise<T> => {
    const { signal, timeoutMs = NODE_TIMEOUT_MS } = options
    const what = `${question.method} ${question.path.split('?')[0]!}`
    return withDeadline({ signal, timeoutMs, what }, deps, async (scope) => {
      try {
        return read(await ask(base, question, { net: deps.net, bodies }, scope))
      } catch (error) {
        if (scope.aborted) throw scope.reason
        throw isFailure(error) ? error : fail('NODE_UNREACHABLE', { node: base }, { cause: error })
      }
    })
  }
  const putFrames: StorageNodeClient['putFrames'] = (root, { seq, slot, body }, options) =>
    send(
      { method: 'PUT', path: `v1/entries/${root}/segments?seq=${seq}&slot=${slot}`, body, bytesMax: JSON_BYTES_MAX },
      options,
      (answer) => {
        const { receipt } = jsonObject(answer)
        return { receipt: receipt === undefined || receipt === null ? undefined : receiptFromJson(receipt) }
      },
    )
  return {
    url: base,
    putFrames,
    putSegments: (root, { seq, slot, segments }, options) =>
      putFrames(root, { seq, slot, body: concat(encodeFrames(segments)) }, options),
    status: (options) =>
      send({ method: 'GET', path: 'v1/status', bytesMax: JSON_BYTES_MAX }, options, (answer) =>
        parseStatus(jsonObject(answer)),
      ),
    getSegments: (root, { from, count, step = 1, seq }, options) => {
      invariant(count >= 1 && count <= BATCH_SEGMENTS_MAX, 'a request names 1 to 16 segments')
      invariant(step >= 1 && step <= SLOT_COUNT_MAX, 'a step is at most the slots of a code')
      const stepPart = step === 1 ? '' : `&step=${step}`
      const seqPart = seq === undefined ? '' : `&seq=${seq}`
      const path = `v1/entries/${root}/segments?from=${from}&count=${count}${stepPart}${seqPart}`
      return orUndefined(
        send({ method: 'GET', path, bytesMax: SEGMENTS_BODY_BYTES_MAX, take: options.take }, options, ({ body }) => {
          const segments = decodeFrames(body, { segmentsMax: count })
          if (segments.length === count && segments.every(({ index }, at) => index === from + at * step))
            return segments
          throw fail('NODE_ANSWER_INVALID', { node: base, reason: 'other segments than asked for', from, count, step })
        }),
      )
    },
    entries: async (root, options) => {
      const path = `v1/entries/${root}`
      const found = await orUndefined(
        send({ method: 'GET', path, bytesMax: JSON_BYTES_MAX }, options, (answer) =>
          list(jsonObject(answer)['entries'], ENTRIES_PER_ROOT_MAX).map((value) => parseHeld(value, root)),
        ),
      )
      return found ?? []
    },
    receipt: (root, { seq, slot }, options) =>
      orUndefined(
        send(
          { method: 'GET', path: `v1/entries/${root}/receipt?seq=${seq}&slot=${slot}`, bytesMax: JSON_BYTES_MAX },
          options,
          (answer) => receiptFromJson(jsonObject(answer)),
        ),
      ),
    shards: async (root, { seq, parity, slots, fingerprintBytesMax }, options) => {
      const slotsPart = slots === undefined ? '' : `&slots=${bitmapOf(slots)}`
      const path = `v1/entries/${root}/shards?seq=${seq}&parity=${parity}${slotsPart}`
      const bytesMax = RECEIPT_JSON_BYTES_MAX + Math.ceil(fingerprintBytesMax / 3) * 4
      try {
        return await send({ method: 'GET', path, bytesMax }, options, (answer) => {
          const { receipt, fingerprints } = jsonObject(answer)
          const bytes = typeof fingerprints === 'string' ? decodeBase64(fingerprints) : undefined
          if (bytes === undefined) throw wrong('fingerprints', fingerprints)
          return { kind: 'signed', held: { receipt: receiptFromJson(receipt), fingerprints: bytes } }
        })
      } catch (error) {
        if (!isAbsent(error)) throw error
        const { heldStripeCount } = error.facts
        return {
          kind: 'incomplete',
          heldStripeCount: Number.isSafeInteger(heldStripeCount) ? Number(heldStripeCount) : 0,
        }
      }
    },
    putCertificate: (root, { seq, certificate }, options) => {
      const body = new TextEncoder().encode(JSON.stringify(certificate))
      const path = `v1/entries/${root}/certificate?seq=${seq}`
      return send(
        { method: 'PUT', path, body, type: 'application/json', bytesMax: JSON_BYTES_MAX },
        options,
        (answer) => ({
          lossesSurvived: whole(jsonObject(answer)['lossesSurvived'], 'lossesSurvived'),
        }),
      )
    },
    certificate: (root, { seq, sizeBytesMax }, options) =>
      orUndefined(
        send(
          { method: 'GET', path: `v1/entries/${root}/certificate?seq=${seq}`, bytesMax: sizeBytesMax },
          options,
          (answer) => certificateFromJson(jsonObject(answer)),
        ),
      ),
    members: ({ version }, options) =>
      orUndefined(
        send({ method: 'GET', path: `v1/members?version=${version}`, bytesMax: JSON_BYTES_MAX }, options, (answer) =>
          membershipFromJson(jsonObject(answer)),
        ),
      ),
    list: ({ after, limit }, options) => {
      const count = Math.max(1, Math.min(LIST_ENTRIES_MAX, limit))
      const path = `v1/entries?limit=${count}${after === undefined ? '' : `&after=${after}`}`
      return send({ method: 'GET', path, bytesMax: JSON_BYTES_MAX }, options, (answer) =>
        list(jsonObject(answer)['entries'], count).map((value) => parseLogged(value)),
      )
    },
  }

  function list(value: unknown, countMax: number, field = 'entries'): readonly unknown[] {
    if (Array.isArray(value) && value.length <= countMax) return value as unknown[]
    throw wrong(field, value)
  }
  function parseHeld(value: unknown, root: Root): HeldEntry {
    const { complete, heldSegmentCount, contiguousSegmentCount = 0, parities = [] } = fieldsOf(value)
    const logged = parseLogged({ ...fieldsOf(value), root })
    if (typeof complete !== 'boolean') throw wrong('complete', complete)
    return {
      ...logged,
      complete,
      heldSegmentCount: whole(heldSegmentCount, 'heldSegmentCount'),
      contiguousSegmentCount: whole(contiguousSegmentCount, 'contiguousSegmentCount'),
      parities: list(parities, PARITIES_PER_ENTRY_MAX, 'parities').map(parseParity),
    }
  }
  function parseParity(value: unknown): HeldParity {
    const { seq, root, k, m, proven, slots } = fieldsOf(value)
    return guarded(value, () => {
      const code = { k: whole(k, 'k'), m: whole(m, 'm') }
      if (!isCode(code)) throw wrong('k, m', [k, m])
      if (typeof proven !== 'boolean') throw wrong('proven', proven)
      const bitmap = toHex(parseHex(slots, { name: 'slots', sizeBytesMax: SLOT_COUNT_MAX / 8 }))
      return {
        seq: whole(seq, 'seq'),
        root: parseTxHash(root) as string as Root,
        code,
        proven,
        slots: slotsOf(bitmap).filter((slot) => slot < code.k + code.m),
      }
    })
  }
  function parseLogged(value: unknown): LoggedEntry {
    const entry = fieldsOf(value)
    return guarded(entry, () => ({
      root: parseTxHash(entry['root']) as string as Root,
      seq: whole(entry['seq'], 'seq'),
      sizeBytes: whole(entry['sizeBytes'], 'sizeBytes'),
      startChunk: whole(entry['startChunk'], 'startChunk'),
      blockNumber: whole(entry['blockNumber'], 'blockNumber'),
      txHash: parseTxHash(entry['txHash']),
      ...(entry['parityOf'] === undefined ? {} : { parityOf: parseTxHash(entry['parityOf']) as string as Root }),
    }))
  }
  function parseStatus(status: Fields): NodeStatus {
    return guarded(status, () => {
      const store = fieldsOf(status['store'])
      const { registry, registryVersion, gatewayUrl, nodeId, ready } = status
      return {
        nodeId: String(nodeId).slice(0, PEER_TEXT_CHARACTERS_MAX),
        signer: parseAddress(status['signer']),
        chainId: whole(status['chainId'], 'chainId'),
        flow: parseAddress(status['flow']),
        registry: registry === undefined || registry === null ? undefined : parseAddress(registry),
        gatewayUrl: typeof gatewayUrl === 'string' ? gatewayUrl.slice(0, PEER_TEXT_CHARACTERS_MAX) : undefined,
        registryVersion: Number.isSafeInteger(registryVersion) ? (registryVersion as number) : undefined,
        nextSeq: whole(status['nextSeq'], 'nextSeq'),
        readOnly: store['readOnly'] === true,
        isFull: store['full'] === true,
        ready: ready === true,
      }
    })
  }
  function jsonObject({ body }: Answer): Fields {
    try {
      return fieldsOf(JSON.parse(new TextDecoder().decode(body)))
    } catch (cause) {
      throw fail('NODE_ANSWER_INVALID', { node: base, reason: 'no JSON object' }, { cause })
    }
  }
  function whole(value: unknown, field: string): number {
    if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number
    throw wrong(field, value)
  }
  function guarded<T>(value: unknown, read: () => T): T {
    try {
      return read()
    } catch (cause) {
      if (isFailure(cause, 'NODE_ANSWER_INVALID')) throw cause
      throw fail('NODE_ANSWER_INVALID', { node: base, value: preview(value) }, { cause })
    }
  }
  function wrong(field: string, value: unknown): Failure {
    return fail('NODE_ANSWER_INVALID', { node: base, field, value: preview(value) })
  }
}

type Question = {
  readonly method: 'GET' | 'PUT'
  readonly path: string
  readonly body?: Uint8Array
  /** Of the body; segments by default. */
  readonly type?: string
  readonly bytesMax: number
  readonly take?: ((sizeBytes: number) => Uint8Array) | undefined
}
type Answer = { readonly body: Uint8Array }
type Fields = { readonly [name: string]: unknown }

type AskDeps = { readonly net: Net; readonly bodies: 'bytes' | 'stream' }

async function ask(base: string, question: Question, deps: AskDeps, signal: AbortSignal): Promise<Answer> {
  const { method, path, body, type = 'application/x-weightless-segments', bytesMax, take } = question
  if (take !== undefined && deps.net.getInto !== undefined) {
    const answer = await deps.net.getInto(base + path, {
      signal,
      take: (status, sizeBytes) => {
        const sizeBytesMax = isOk(status) ? bytesMax : JSON_BYTES_MAX
        if (sizeBytes > sizeBytesMax) throw fail('BODY_TOO_LARGE', { sizeBytes, sizeBytesMax })
        return isOk(status) ? take(sizeBytes) : new Uint8Array(sizeBytes)
      },
    })
    if (answer !== undefined) {
      if (isOk(answer.status)) return { body: answer.body }
      throw peerFailure(base, answer.status, answer.body)
    }
  }
  const response = await deps.net.fetch(
    new Request(base + path, {
      method,
      signal,
      // A node answers for itself; cookies and caches of a browser have no part in it.
      redirect: 'error',
      credentials: 'omit',
      cache: 'no-store',
      ...(body === undefined ? {} : bodyOf(body, type, deps.bodies)),
    }),
  )
  if (response.ok) return { body: await readBounded(response, bytesMax, { signal }) }
  throw peerFailure(base, response.status, await readBounded(response, JSON_BYTES_MAX, { signal }))
}

function isOk(status: number): boolean {
  return status >= 200 && status < 300
}

function bodyOf(body: Uint8Array, type: string, kind: AskDeps['bodies']): RequestInit {
  const headers = { 'content-type': type, 'content-length': String(body.length) }
  if (kind === 'bytes') return { body: body as Uint8Array<ArrayBuffer>, headers }
  const stream = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        controller.enqueue(body)
        controller.close()
      },
    },
    { highWaterMark: 0 },
  )
  return { body: stream, duplex: 'half', headers } as RequestInit
}

/** The node's own error, its words made safe to print. */
function peerFailure(node: string, status: number, body: Uint8Array): Failure {
  let error: Fields
  try {
    error = fieldsOf(fieldsOf(JSON.parse(new TextDecoder().decode(body)))['error'])
  } catch {
    error = {}
  }
  const { code, next, retryable, facts } = error
  if (typeof code !== 'string' || !/^[A-Z][A-Z0-9_]{2,63}$/.test(code)) {
    const isBusy = status === 429 || status >= 500
    return isBusy ? fail('NODE_UNREACHABLE', { node, status }) : fail('NODE_REFUSED', { node, status })
  }
  const kind = {
    retryable: retryable === true,
    blame: 'peer' as const,
    next: typeof next === 'string' ? printable(next) : 'Ask another node.',
  }
  return new Failure(code, kind, { ...safeFacts(facts), node, status })
}

function safeFacts(value: unknown): Facts {
  if (typeof value !== 'object' || value === null) return {}
  const safe: [string, string | number | boolean][] = []
  for (const [name, fact] of Object.entries(value).slice(0, PEER_FACTS_MAX)) {
    if (typeof fact === 'string') safe.push([printable(name), printable(fact)])
    else if (typeof fact === 'number' || typeof fact === 'boolean') safe.push([printable(name), fact])
  }
  return Object.fromEntries(safe)
}

function printable(text: string): string {
  return text.slice(0, PEER_TEXT_CHARACTERS_MAX).replace(/[^\x20-\x7e]/g, '?')
}

/** Expected absence is no error. */
async function orUndefined<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer
  } catch (error) {
    if (isAbsent(error)) return undefined
    throw error
  }
}

function isAbsent(error: unknown): error is Failure {
  return isFailure(error) && error.facts['status'] === 404 && ABSENT.has(error.code)
}

const ABSENT: ReadonlySet<string> = new Set([
  'ENTRY_UNKNOWN',
  'ENTRY_INCOMPLETE',
  'SEGMENT_MISSING',
  'CERTIFICATE_UNKNOWN',
  'MEMBERSHIP_UNKNOWN',
])

function fieldsOf(value: unknown): Fields {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Fields
  throw fail('NODE_ANSWER_INVALID', { value: preview(value) })
}

function baseUrl(url: string): string {
  try {
    const parsed = new URL(url)
    if (parsed.protocol === 'http:' || parsed.protocol === 'https:') {
      parsed.search = ''
      parsed.hash = ''
      return parsed.href.endsWith('/') ? parsed.href : `${parsed.href}/`
    }
  } catch {
    // Told below.
  }
  throw fail('OPTION_INVALID', { name: 'url of a storage node', value: preview(url) })
}
