import { ENTRY_SIZE_BYTES_MAX, fail as failCore, isFailure, preview, type Abortable } from '@weightless/core'
import { fail } from './errors.ts'
import { abortable } from './scope.ts'
import type { Spool } from './spool.ts'

/** What can be stored. A Blob (Node: `fs.openAsBlob(path)`), bytes and `ReadAt` are read in place, twice; streams and iterables
 *  can be read once, so they are spooled first. */
export type Source = Blob | Uint8Array | ReadableStream<Uint8Array> | AsyncIterable<Uint8Array> | ReadAt
/** Random access: a file handle, for example. `read` gives exactly the bytes from `start` to `end`, exclusive, unless the source
 *  has become shorter. */
export type ReadAt = {
  readonly sizeBytes: number
  read(start: number, end: number, options: Abortable): Promise<Uint8Array>
}

/** A source ready to be read as often as needed. */
export type OpenSource = ReadAt & { dispose(): Promise<void> }

/** Up to here a Blob is read once and kept: both readings see the same bytes, and a small object costs one read. Small enough
 *  for thousands in one call. */
const KEPT_BYTES_MAX: number = 64 * 1024

/** Throws `FILE_EMPTY`, `SIZE_INVALID`, `SOURCE_INVALID`, `SOURCE_UNREADABLE`, `SPOOL_FULL`. */
export async function openSource(
  source: Source,
  deps: { readonly spool: Spool },
  options: Abortable,
): Promise<OpenSource> {
  const open = await openAny(source, deps, options)
  try {
    if (open.sizeBytes === 0) throw fail('FILE_EMPTY')
    checkSize(open.sizeBytes)
    return open
  } catch (error) {
    await open.dispose()
    throw error
  }
}

async function openAny(source: Source, deps: { readonly spool: Spool }, options: Abortable): Promise<OpenSource> {
  if (source instanceof Uint8Array) return inPlace(source)
  if (typeof source !== 'object' || source === null) throw fail('SOURCE_INVALID', { value: preview(source) })
  if (isBlob(source)) {
    checkSize(source.size)
    const blob = ofBlob(source)
    if (source.size > KEPT_BYTES_MAX) return blob
    return inPlace(await blob.read(0, source.size, options))
  }
  if ('getReader' in source) return spooled(ofStream(source), deps, options)
  if (Symbol.asyncIterator in source) return spooled(source, deps, options)
  if ('read' in source && Number.isSafeInteger(source.sizeBytes)) {
    return { sizeBytes: source.sizeBytes, read: exactly(source), dispose: async () => undefined }
  }
  throw fail('SOURCE_INVALID', { keys: Object.keys(source).slice(0, 8).join(',') })
}

function inPlace(bytes: Uint8Array): OpenSource {
  return {
    sizeBytes: bytes.length,
    read: async (start, end) => bytes.subarray(start, end),
    dispose: async () => undefined,
  }
}

function ofBlob(blob: Blob): OpenSource {
  const read = async (start: number, end: number, options: Abortable): Promise<Uint8Array> =>
    new Uint8Array(await abortable(blob.slice(start, end).arrayBuffer(), options))
  return { sizeBytes: blob.size, read: exactly({ sizeBytes: blob.size, read }), dispose: async () => undefined }
}

/** A reading that comes out shorter, or a file-backed Blob that refuses, means that somebody changed the source. */
function exactly(source: ReadAt): ReadAt['read'] {
  return async (start, end, options) => {
    let bytes: Uint8Array
    try {
      bytes = await source.read(start, end, options)
    } catch (cause) {
      if (options.signal?.aborted) throw options.signal.reason
      if (isFailure(cause)) throw cause
      // Blobs backed by files: browsers and Node refuse with this name once size or time of the file differ.
      if ((cause as { readonly name?: unknown } | null)?.name === 'NotReadableError') {
        throw fail('SOURCE_CHANGED', { start, end, sizeBytes: source.sizeBytes }, { cause })
      }
      throw fail('SOURCE_UNREADABLE', { start, end, sizeBytes: source.sizeBytes }, { cause })
    }
    if (bytes.length === end - start) return bytes
    throw fail('SOURCE_CHANGED', { start, end, sizeBytes: source.sizeBytes, sizeBytesRead: bytes.length })
  }
}

async function spooled(
  parts: AsyncIterable<Uint8Array>,
  deps: { readonly spool: Spool },
  options: Abortable,
): Promise<OpenSource> {
  const { signal } = options
  const file = await deps.spool.create(options)
  const iterator = parts[Symbol.asyncIterator]()
  let isDone = false
  try {
    for (;;) {
      const step = await abortable(iterator.next(), options)
      if (step.done) break
      if (!(step.value instanceof Uint8Array)) throw fail('SOURCE_INVALID', { part: preview(step.value) })
      await file.append(step.value, options)
      if (file.sizeBytes > ENTRY_SIZE_BYTES_MAX) checkSize(file.sizeBytes)
    }
    isDone = true
    return { sizeBytes: file.sizeBytes, read: exactly(file), dispose: () => file.dispose() }
  } catch (cause) {
    if (signal?.aborted) throw signal.reason
    throw isFailure(cause) ? cause : fail('SOURCE_UNREADABLE', { sizeBytesRead: file.sizeBytes }, { cause })
  } finally {
    if (!isDone) {
      // Not awaited: a producer that hangs in next() hangs in return() too.
      iterator.return?.()?.catch(() => undefined)
      await file.dispose()
    }
  }
}

/** Not every browser iterates streams; and `return` must cancel at once, also while a read hangs. */
function ofStream(stream: ReadableStream<Uint8Array>): AsyncIterable<Uint8Array> {
  const reader = stream.getReader()
  return {
    [Symbol.asyncIterator]: () => ({
      next: async () => {
        const step = await reader.read()
        return step.done ? { done: true, value: undefined } : { done: false, value: step.value }
      },
      return: async () => {
        await reader.cancel()
        return { done: true, value: undefined }
      },
    }),
  }
}

function checkSize(sizeBytes: number): void {
  if (sizeBytes > ENTRY_SIZE_BYTES_MAX)
    throw failCore('SIZE_INVALID', { sizeBytes, sizeBytesMax: ENTRY_SIZE_BYTES_MAX })
}

/** By shape: a Blob of another realm is none by instanceof. */
function isBlob(source: object): source is Blob {
  const shape = source as { readonly size?: unknown; readonly slice?: unknown; readonly arrayBuffer?: unknown }
  return typeof shape.size === 'number' && typeof shape.slice === 'function' && typeof shape.arrayBuffer === 'function'
}
