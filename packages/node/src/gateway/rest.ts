import type { Clock, DirectoryNode, Entry, Logger, ProvenSegment, Root } from '@weightless/core'
import {
  concat,
  decodeBase64,
  entriesOf,
  forStrangers,
  isFailure,
  JSON_BODY_BYTES_MAX,
  JSON_TEXT_BYTES_MAX,
  locateIn,
  parseDirectory,
  parseRoot,
  preview,
  scanUploadBody,
  SEGMENT_SIZE_BYTES,
} from '@weightless/core'
import { fail } from '../errors.ts'
import { answer, answerJson, statusOf } from '../http/answer.ts'
import { receiveBody } from '../http/body.ts'
import type { FastBytes } from '../http/fastBytes.ts'
import type { Gate } from '../http/gate.ts'
import type { ServiceCall } from '../http/service.ts'
import type { SpareBuffers } from '../http/spareBuffers.ts'
import type { ZgsBackend } from '../zgs/backend.ts'
import { faultOf, RpcFault } from '../zgs/fault.ts'
import { fileInfoOf, statusOf as nodeStatusOf } from '../zgs/shapes.ts'
import { takeSegments, type DataOf } from '../zgs/upload.ts'
import { mediaHeaders } from './mediaType.ts'
import { parseRange } from './range.ts'

/** Codes of the official gateway (spec/storage.md 4.4), each with the HTTP status that says the same. */
const CODES = {
  success: { code: 0, message: 'Success', status: 200 },
  invalidParameter: { code: 1, message: 'Invalid parameter', status: 400 },
  internal: { code: 2, message: 'Internal server error', status: 500 },
  unavailable: { code: 2, message: 'Internal server error', status: 503 },
  tooLarge: { code: 1, message: 'Invalid parameter', status: 413 },
  notFound: { code: 101, message: 'File not found', status: 404 },
  notFinal: { code: 103, message: 'File not finalized yet', status: 409 },
  pathNotFound: { code: 104, message: 'File path not found', status: 404 },
} as const
type CodeName = keyof typeof CODES

/** A file being sent: a segment in the socket and the next one read ahead. */
const STREAM_BYTES = 2 * SEGMENT_SIZE_BYTES

/** A directory of some 25 000 files: its text is read as a whole, and takes some times its size while it is. */
const DIRECTORY_BYTES_MAX = 4 * 1024 ** 2
const DIRECTORY_PARSED_TIMES = 8
/** Fragments of one file in a directory: 4 TiB in the pieces that official clients cut by default. */
const FRAGMENTS_MAX = 1024

/** Files asked about in one request: the official gateway's limit. */
const CIDS_MAX = 100

export type RestDeps = {
  readonly backend: ZgsBackend
  /** Whether all bytes can be had, although not all copies have signed yet. */
  readonly isReadable: (entry: Entry) => boolean
  readonly lookup: (root: Root, options: { readonly signal: AbortSignal }) => Promise<Entry | undefined>
  readonly bodies: Gate
  readonly spares: SpareBuffers
  /** `STREAM_BYTES` for each file that is being sent. */
  readonly streams: Gate
  readonly bytes: FastBytes
  readonly clock: Clock
  readonly logger: Logger
}

/** The REST routes of the gateway. `undefined` for a path that is none of them. */
export function createRestRoutes(deps: RestDeps): (call: ServiceCall) => Promise<Response> | undefined {
  const { backend, logger } = deps

  return (call) => {
    const { pathname, searchParams } = call.url
    const isRead = call.request.method === 'GET' || call.request.method === 'HEAD'
    const [, head, ...rest] = pathname.split('/')
    if (pathname === '/node/status' && isRead) return guarded(call, async () => success(nodeStatusOf(backend)))
    if (pathname === '/files/info' && isRead)
      return guarded(call, async () => filesInfo(searchParams.getAll('cid'), call))
    if (head !== 'file') return undefined
    if (pathname === '/file/segment' && call.request.method === 'POST')
      return guarded(call, async () => takeSegment(call))
    if (!isRead)
      return guarded(call, async () =>
        refuse('invalidParameter', `use GET or HEAD, not ${call.request.method.slice(0, 16)}`),
      )
    if (rest.length === 0) return guarded(call, async () => sendFile(nameOf(searchParams), call))
    const [cid, ...path] = rest as [string, ...string[]]
    if (cid === 'info' && path.length === 1) return guarded(call, async () => fileInfo(path[0]!, call))
    if (path.length === 0) return guarded(call, async () => sendFile(cid, call))
    return guarded(call, async () => sendInDirectory(cid, path, call))
  }

  async function guarded({ request }: ServiceCall, work: () => Promise<Response>): Promise<Response> {
    try {
      return await work()
    } catch (error) {
      if (error instanceof RestFault) return refuse(error.kind, error.message)
      if (
        error instanceof RpcFault ||
        (isFailure(error) && error.code.startsWith('SEGMENT_') && error.code !== 'SEGMENT_MISSING')
      ) {
        const { message, data } = faultOf(error)
        return refuse('invalidParameter', data === undefined ? message : `${message}: ${data}`)
      }
      if (!isFailure(error)) {
        if (!request.signal.aborted)
          logger.error('rest.failed', { path: new URL(request.url).pathname.slice(0, 80), error })
        return refuse('internal', 'look into the log of the gateway')
      }
      const status = statusOf(error.code, error.retryable)
      return refuse(
        status === 413 ? 'tooLarge' : status >= 500 || status === 408 ? 'unavailable' : 'invalidParameter',
        forStrangers(error).message,
      )
    }
  }

  /** A root, or a sequence number in decimal digits. */
  async function entryOf(cid: string, signal: AbortSignal): Promise<Entry | undefined> {
    if (/^[0-9]{1,15}$/.test(cid)) {
      const entry = backend.entries.bySeq(Number(cid))
      if (entry !== undefined && !backend.isFinal(entry)) await backend.refresh([entry], { signal })
      return entry
    }
    return await deps.lookup(rootOfCid(cid), { signal })
  }

  async function fileInfo(cid: string, { signal }: ServiceCall): Promise<Response> {
    const entry = await entryOf(cid, signal)
    return entry === undefined ? refuse('notFound', cid) : success(fileInfoOf(backend, entry))
  }

  async function filesInfo(cids: readonly string[], { signal }: ServiceCall): Promise<Response> {
    if (cids.length === 0 || cids.length > CIDS_MAX)
      throw new RestFault('invalidParameter', `cid: 1 to ${CIDS_MAX} are expected`)
    const infos = await Promise.all(
      cids.map(async (cid) => {
        try {
          const entry = await entryOf(cid, signal)
          return entry === undefined ? null : fileInfoOf(backend, entry)
        } catch (error) {
          signal.throwIfAborted()
          if (error instanceof RestFault) return error.message
          return isFailure(error) ? forStrangers(error).message : 'Internal server error'
        }
      }),
    )
    return success(infos)
  }

  /** Throws what refuses a file that is unknown or cannot be read yet. */
  async function readableOf(cid: string, signal: AbortSignal): Promise<Entry> {
    const entry = await entryOf(cid, signal)
    if (entry === undefined) throw new RestFault('notFound', cid)
    if (!backend.isFinal(entry) && !deps.isReadable(entry)) throw new RestFault('notFinal', cid)
    return entry
  }

  async function sendFile(cid: string, call: ServiceCall): Promise<Response> {
    const entry = await readableOf(cid, call.signal)
    const { root } = entry
    return send([entry], { tag: root, name: call.url.searchParams.get('name'), fallbackName: root }, call)
  }

  /** What a path leads to in a directory that an official client stored: a list, a link as it is, or a file. */
  async function sendInDirectory(cid: string, path: readonly string[], call: ServiceCall): Promise<Response> {
    const names = path.map(nameInPath).filter((name) => name !== '')
    const directory = await readableOf(cid, call.signal)
    const found = locateIn(await readDirectory(directory, call.signal), names)
    if (found === undefined) throw new RestFault('pathNotFound', names.join('/'))
    if (found.type === 'directory') return success(entriesOf(found).map(listed))
    if (found.type === 'symbolic') return success(found)
    if (found.roots.length > FRAGMENTS_MAX)
      throw new RestFault('pathNotFound', `a file of more than ${FRAGMENTS_MAX} fragments`)
    const fragments: Entry[] = []
    for (const root of found.roots) fragments.push(await readableOf(root, call.signal))
    return send(
      fragments,
      {
        tag: fragments.length === 1 ? fragments[0]!.root : `${directory.root}/${encodeURIComponent(names.join('/'))}`,
        name: call.url.searchParams.get('name') ?? found.name,
        fallbackName: directory.root,
      },
      call,
    )
  }

  async function readDirectory(entry: Entry, signal: AbortSignal): Promise<DirectoryNode> {
    if (entry.sizeBytes > DIRECTORY_BYTES_MAX)
      throw new RestFault('pathNotFound', `${entry.root} is no directory of at most ${DIRECTORY_BYTES_MAX} bytes`)
    const leave = await deps.streams.enter(DIRECTORY_PARSED_TIMES * entry.sizeBytes, { signal })
    try {
      const pieces: Uint8Array[] = []
      for (const piece of piecesOf([entry], { first: 0, last: entry.sizeBytes - 1 }))
        pieces.push(await readPiece(piece, signal))
      const directory = parseDirectory(concat(pieces))
      if (directory === undefined) throw new RestFault('pathNotFound', `${entry.root} is no directory`)
      return directory
    } finally {
      leave()
    }
  }

  /** The bytes of some files end to end, or the part that is asked for. */
  async function send(
    files: readonly Entry[],
    { tag, ...names }: { readonly tag: string; readonly name: string | null; readonly fallbackName: string },
    { request, url, signal }: ServiceCall,
  ): Promise<Response> {
    const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0)
    const etag = `"${tag}-${sizeBytes}"`
    const headers: Record<string, string> = {
      ...mediaHeaders({ type: url.searchParams.get('type'), ...names }),
      'accept-ranges': 'bytes',
      'cache-control': 'public, max-age=3600',
      etag,
    }
    if (listsTag(request.headers.get('if-none-match'), etag))
      return answer(null, { status: 304, headers: { etag, 'cache-control': headers['cache-control']! } })
    const ifRange = request.headers.get('if-range')
    const range = parseRange(ifRange === null || ifRange === etag ? request.headers.get('range') : null, sizeBytes)
    if (range.kind === 'unsatisfiable') {
      return answerJson({ ...shown('invalidParameter'), data: 'range' }, 416, {
        'content-range': `bytes */${sizeBytes}`,
        'accept-ranges': 'bytes',
      })
    }
    const [first, last] = range.kind === 'part' ? [range.first, range.last] : [0, sizeBytes - 1]
    if (range.kind === 'part') headers['content-range'] = `bytes ${first}-${last}/${sizeBytes}`
    headers['content-length'] = String(last - first + 1)
    const status = range.kind === 'part' ? 206 : 200
    if (request.method === 'HEAD' || sizeBytes === 0) return answer(null, { status, headers })
    return answer(await openBody(piecesOf(files, { first, last }), signal), { status, headers })
  }

  async function readPiece({ file, index, from, to }: FilePiece, signal: AbortSignal): Promise<Uint8Array> {
    const segment: ProvenSegment | undefined = await backend.read(file, index, { signal })
    if (segment === undefined) throw fail('HOLDERS_UNREACHABLE', { root: file.root, seq: file.seq, index })
    // A copy of its own: a slow reader must not keep a whole batch alive.
    return segment.data.slice(from, to)
  }

  /** Opens the stream with its first segment in hand, so that bytes nobody has are an error and not a broken answer. */
  async function openBody(pieces: Iterator<FilePiece>, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const place = await deps.streams.enterWatched(STREAM_BYTES, { signal, movedBytes: () => 0 })
    const { lost, leave } = place
    // Until there is something to read, it is not the client who is slow.
    place.keep()
    const next = async (): Promise<Uint8Array | undefined> => {
      const { done, value } = pieces.next()
      return done === true ? undefined : await readPiece(value, signal)
    }
    let ready: Uint8Array | undefined
    try {
      ready = await next()
    } catch (error) {
      leave()
      throw error
    }
    return new ReadableStream<Uint8Array>(
      {
        start: (controller) => lost.addEventListener('abort', () => controller.error(lost.reason), { once: true }),
        async pull(controller) {
          place.keep()
          try {
            const chunk = ready ?? (await next())
            ready = undefined
            if (chunk === undefined) {
              leave()
              controller.close()
              return
            }
            lost.throwIfAborted()
            place.expect()
            controller.enqueue(chunk)
          } catch (error) {
            leave()
            throw error
          }
        },
        cancel: leave,
      },
      { highWaterMark: 0 },
    )
  }

  async function takeSegment({ request, source, signal }: ServiceCall): Promise<Response> {
    const { bodies: gate, spares, bytes } = deps
    const { body, reuse, leave } = await receiveBody(request, {
      gate,
      sizeBytesMax: JSON_BODY_BYTES_MAX,
      source,
      spares,
      bytes,
      signal,
    })
    try {
      const { fields, dataOf } = parseSegmentBody(body)
      reuse()
      const seq = fields['txSeq']
      if (seq === undefined && fields['root'] === undefined)
        throw new RestFault('invalidParameter', 'root or txSeq is missing')
      const cid = typeof seq === 'number' ? String(seq) : String(fields['root'])
      const entry = await entryOf(cid, signal)
      if (entry === undefined) return refuse('notFound', cid)
      if (backend.isFinal(entry)) return success(null)
      const segment = { ...fields, fileSize: entry.sizeBytes }
      await takeSegments([segment], entry.seq, { backend, dataOf }, { signal })
      return success(null)
    } finally {
      leave()
    }
  }
}

/** Bytes `from` to `to` (exclusive) of a segment of a file. */
type FilePiece = { readonly file: Entry; readonly index: number; readonly from: number; readonly to: number }

/** The segments of a part of some files end to end. */
function* piecesOf(
  files: readonly Entry[],
  part: { readonly first: number; readonly last: number },
): Generator<FilePiece, undefined> {
  let start = 0
  for (const file of files) {
    const from = Math.max(part.first - start, 0)
    const to = Math.min(part.last + 1 - start, file.sizeBytes)
    for (let at = from; at < to;) {
      const index = Math.floor(at / SEGMENT_SIZE_BYTES)
      const next = Math.min((index + 1) * SEGMENT_SIZE_BYTES, to)
      yield { file, index, from: at - index * SEGMENT_SIZE_BYTES, to: next - index * SEGMENT_SIZE_BYTES }
      at = next
    }
    start += file.sizeBytes
  }
}

/** As the official gateway lists it; a size of 0 is left out. */
function listed(node: DirectoryNode): object {
  const size = node.type === 'file' && node.sizeBytes > 0 ? { size: node.sizeBytes } : {}
  return { name: node.name, type: node.type, ...size }
}

function nameInPath(encoded: string): string {
  try {
    return decodeURIComponent(encoded)
  } catch {
    throw new RestFault('invalidParameter', `${preview(encoded)} is no part of a path`)
  }
}

class RestFault extends Error {
  readonly kind: CodeName

  constructor(kind: CodeName, message: string) {
    super(message)
    this.name = 'RestFault'
    this.kind = kind
  }
}

function success(data: unknown): Response {
  return answerJson({ ...shown('success'), data })
}

function refuse(kind: CodeName, data: string): Response {
  const { status } = CODES[kind]
  return answerJson({ ...shown(kind), data }, status, status === 503 ? { 'retry-after': '1' } : {})
}

function shown(kind: CodeName): { code: number; message: string } {
  const { code, message } = CODES[kind]
  return { code, message }
}

function nameOf(query: URLSearchParams): string {
  const cid = query.get('root') ?? query.get('txSeq')
  if (cid === null) throw new RestFault('invalidParameter', 'root or txSeq is missing')
  return cid
}

function rootOfCid(cid: string): Root {
  try {
    return parseRoot(cid)
  } catch {
    throw new RestFault('invalidParameter', `${preview(cid)} is no root and no sequence number`)
  }
}

function parseSegmentBody(body: Uint8Array): {
  readonly fields: { readonly [name: string]: unknown }
  readonly dataOf: DataOf
} {
  try {
    const scan = scanUploadBody(body)
    if (scan === undefined && body.length > JSON_TEXT_BYTES_MAX) {
      throw new RestFault('tooLarge', 'Next: send the bytes of the segment as strict base64 under "data".')
    }
    const value: unknown = JSON.parse(scan?.rest ?? new TextDecoder('utf-8', { fatal: true }).decode(body))
    if (typeof value !== 'object' || value === null) throw new RestFault('invalidParameter', 'an object is expected')
    const dataOf: DataOf =
      scan === undefined
        ? (data) => (typeof data === 'string' ? decodeBase64(data) : undefined)
        : (data) => (typeof data === 'number' ? scan.payloads[data] : undefined)
    return { fields: value as { readonly [name: string]: unknown }, dataOf }
  } catch (error) {
    if (error instanceof RestFault) throw error
    throw new RestFault('invalidParameter', 'the body is no JSON')
  }
}

function listsTag(header: string | null, etag: string): boolean {
  if (header === null) return false
  return header.split(',').some((tag) => tag.trim() === etag || tag.trim() === `W/${etag}` || tag.trim() === '*')
}
