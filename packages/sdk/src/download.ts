import { parseRoot, preview, SEGMENT_SIZE_BYTES, type Abortable } from '@weightless/core'
import { createBodyBuffers, type BodyBuffers } from './batches.ts'
import { openEncrypted, type Decryption, type Opened } from './cipher.ts'
import type { Client } from './client.ts'
import { fail } from './errors.ts'
import { inOrder, mapBounded } from './inOrder.ts'
import { locate, type Located, type ObjectAddress } from './locate.ts'
import { createObjectReader, type ObjectReader } from './objectReader.ts'
import type { ProgressEvent } from './progress.ts'
import { childScope, withDeadline } from './scope.ts'
import type { ReadAt } from './source.ts'

/** What to read: a root, or a root with the sequence number or the size that makes it exact, or the fragments of one file in
 *  their order (official clients cut large files). */
export type DownloadTarget =
  | string
  | { readonly root: string; readonly seq?: number | undefined; readonly sizeBytes?: number | undefined }
  | readonly string[]

export type DownloadOptions = Abortable & {
  /** For everything together; no limit by default. A piece that does not come for three minutes ends the download anyway. */
  readonly timeoutMs?: number | undefined
  /** Bytes from `start` to `end`, exclusive (default: the end); of the decrypted object, if it is decrypted. Only the segments
   *  that hold them are asked for. */
  readonly range?: { readonly start: number; readonly end?: number | undefined } | undefined
  readonly decryption?: Decryption | undefined
  readonly onProgress?: ((event: ProgressEvent) => void) | undefined
  /** The reader is done with a piece when it asks for the next: then its buffer may serve again. For programs that write pieces
   *  away at once, it saves most of the memory traffic where the machine can receive into given buffers (Node, plain http). */
  readonly lend?: boolean | undefined
}

/** A request is bounded by itself; this bounds all its retries and hedges together. */
const PIECE_TIMEOUT_MS = 180_000
/** Fragments of 4 GiB each: 4 TiB. */
const FRAGMENTS_MAX = 1_024
const LOCATE_WINDOW = 8

/** Reads an object from its holders in parallel. Every segment is proven against its root before it is yielded; a holder that is
 *  slow or wrong is replaced on the way, and what nobody has is computed from the shards of others. Memory is a few pieces, whatever
 *  the size.
 *
 *  Throws `OBJECT_UNKNOWN`, `OBJECT_UNAVAILABLE`, `SHARDS_LOST`, `SIZE_UNPROVEN`, `RANGE_INVALID`, `CIPHER_HEADER_INVALID`,
 *  `CIPHER_KEY_INVALID`, `DEADLINE_PASSED`. Leaving the loop, or aborting the signal, ends every request. */
export async function* download(
  client: Client,
  target: DownloadTarget,
  options: DownloadOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const addresses = parseTarget(target)
  const { timeoutMs, range, decryption, onProgress, lend = false } = options
  // Ciphers make pieces of their own, and not all read shared memory.
  const buffers = lend && decryption === undefined && client.deps.net.getInto ? createBodyBuffers('shared') : undefined
  const scope = childScope(options.signal)
  if (timeoutMs !== undefined) {
    client.deps.clock.sleep(timeoutMs, { signal: scope.signal }).then(
      () => scope.end(fail('DEADLINE_PASSED', { what: 'download', timeoutMs })),
      () => undefined,
    )
  }
  const { signal } = scope
  try {
    signal.throwIfAborted()
    const located = await mapBounded(addresses, { window: LOCATE_WINDOW, signal }, (address, inner) =>
      locate(client, address, { signal: inner }),
    )
    const fragments = located.map((object) => fragmentOf(client, object, buffers))
    const opened: Opened | undefined =
      decryption === undefined
        ? undefined
        : await openEncrypted(firstOf(fragments[0]!), decryption, client.deps, { signal })
    const headerBytes = opened?.headerBytes ?? 0
    const sizeBytes = fragments.reduce((sum, fragment) => sum + fragment.located.sizeBytes, 0) - headerBytes
    const { start, end } = parseRange(range, sizeBytes)
    let at = start
    for await (const piece of pieces(
      client,
      fragments,
      { start: start + headerBytes, end: end + headerBytes },
      signal,
    )) {
      const bytes = opened === undefined ? piece : opened.decrypt(piece, at)
      at += piece.length
      yield bytes
      buffers?.give(piece)
      signal.throwIfAborted()
      onProgress?.({ phase: 'download', doneBytes: at - start, totalBytes: end - start })
    }
  } finally {
    scope.end()
  }
}

/** The bytes of one object; with `sizeBytesMax` it is not collected beyond that. */
export type CollectOptions = KeptOptions & { readonly sizeBytesMax?: number | undefined }
/** Pieces that are kept cannot be lent. */
export type KeptOptions = Omit<DownloadOptions, 'lend'>

/** What one call holds in memory unless told otherwise. */
export const COLLECT_BYTES_MAX: number = 1024 ** 3

/** Collects an object in memory. Throws `RESULT_TOO_LARGE` above `sizeBytesMax` (1 GiB by default). */
export async function downloadBytes(
  client: Client,
  target: DownloadTarget,
  options: CollectOptions = {},
): Promise<Uint8Array> {
  const parts = await collect(client, target, options)
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

/** Collects an object as a Blob, which browsers keep on disk when it is large. */
export async function downloadBlob(
  client: Client,
  target: DownloadTarget,
  options: CollectOptions & { readonly type?: string } = {},
): Promise<Blob> {
  const parts: Blob[] = []
  let sizeBytes = 0
  const { sizeBytesMax = COLLECT_BYTES_MAX, type = 'application/octet-stream' } = options
  for await (const part of download(client, target, { ...options, lend: false })) {
    sizeBytes += part.length
    if (sizeBytes > sizeBytesMax) throw fail('RESULT_TOO_LARGE', { sizeBytesMax })
    // One Blob per piece: the bytes leave our memory as they come.
    parts.push(new Blob([part as Uint8Array<ArrayBuffer>]))
  }
  return new Blob(parts, { type })
}

/** The same as a stream of bytes: read on demand, and cancelling it ends every request. */
export function downloadStream(
  client: Client,
  target: DownloadTarget,
  options: KeptOptions = {},
): ReadableStream<Uint8Array> {
  const scope = childScope(options.signal)
  const parts = download(client, target, { ...options, lend: false, signal: scope.signal })
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const step = await parts.next()
        if (!step.done) return controller.enqueue(step.value)
        scope.end()
        controller.close()
      },
      cancel: async (reason) => {
        scope.end(reason)
        await parts.return().catch(() => undefined)
      },
    },
    { highWaterMark: 0 },
  )
}

async function collect(
  client: Client,
  target: DownloadTarget,
  options: CollectOptions,
): Promise<readonly Uint8Array[]> {
  const { sizeBytesMax = COLLECT_BYTES_MAX } = options
  const parts: Uint8Array[] = []
  let sizeBytes = 0
  for await (const part of download(client, target, { ...options, lend: false })) {
    sizeBytes += part.length
    if (sizeBytes > sizeBytesMax) throw fail('RESULT_TOO_LARGE', { sizeBytesMax })
    parts.push(part)
  }
  return parts
}

type Fragment = { readonly located: Located; readonly reader: ObjectReader }

function fragmentOf(client: Client, located: Located, buffers: BodyBuffers | undefined): Fragment {
  return { located, reader: createObjectReader(client, located, { take: buffers?.take }) }
}

/** Stored bytes `start` … `end` of the fragments laid end to end. */
async function* pieces(
  client: Client,
  fragments: readonly Fragment[],
  range: { readonly start: number; readonly end: number },
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  let base = 0
  for (const { located, reader } of fragments) {
    const { sizeBytes } = located
    const start = Math.max(0, range.start - base)
    const end = Math.min(sizeBytes, range.end - base)
    base += sizeBytes
    if (start >= end) continue
    const { plan, window } = reader.plan({
      first: Math.floor(start / SEGMENT_SIZE_BYTES),
      last: Math.floor((end - 1) / SEGMENT_SIZE_BYTES),
    })
    const batches = inOrder({ count: plan.length, window, signal }, async (index, scope) => {
      const span = plan[index]!
      const data = await withDeadline(
        { signal: scope, timeoutMs: PIECE_TIMEOUT_MS, what: 'segments' },
        client.deps,
        (inner) => reader.read(span, { signal: inner }),
      )
      const from = span.from * SEGMENT_SIZE_BYTES
      return data.subarray(Math.max(0, start - from), Math.min(data.length, end - from))
    })
    yield* batches
  }
}

/** The first segment of an object, where an encryption header stands. */
function firstOf({ located, reader }: Fragment): ReadAt {
  return {
    sizeBytes: located.sizeBytes,
    read: async (start, end, { signal = new AbortController().signal }) =>
      (await reader.read({ from: 0, count: 1 }, { signal })).subarray(start, end),
  }
}

/** Border: user's strings become roots here. Throws `ROOT_INVALID`, `OPTION_INVALID`. */
export function parseTarget(target: DownloadTarget): readonly ObjectAddress[] {
  if (typeof target === 'string') return [{ root: parseRoot(target), seq: undefined, sizeBytes: undefined }]
  if (isList(target)) {
    if (target.length === 0 || target.length > FRAGMENTS_MAX) {
      throw fail('OPTION_INVALID', { name: 'target', count: target.length, countMax: FRAGMENTS_MAX })
    }
    return target.map((root) => ({ root: parseRoot(root), seq: undefined, sizeBytes: undefined }))
  }
  const { root, seq, sizeBytes } = target
  return [{ root: parseRoot(root), seq: whole(seq, 'seq', 0), sizeBytes: whole(sizeBytes, 'sizeBytes', 1) }]
}

function isList(target: Exclude<DownloadTarget, string>): target is readonly string[] {
  return Array.isArray(target)
}

function whole(value: number | undefined, name: string, min: number): number | undefined {
  if (value === undefined || (Number.isSafeInteger(value) && value >= min)) return value
  throw fail('OPTION_INVALID', { name, value: preview(value) })
}

function parseRange(
  range: DownloadOptions['range'],
  sizeBytes: number,
): { readonly start: number; readonly end: number } {
  if (range === undefined) return { start: 0, end: sizeBytes }
  const { start, end = sizeBytes } = range
  if (Number.isSafeInteger(start) && Number.isSafeInteger(end) && start >= 0 && start < end && start < sizeBytes) {
    return { start, end: Math.min(end, sizeBytes) }
  }
  throw fail('RANGE_INVALID', { start, end, sizeBytes })
}
