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
  /** For sources that can read into memory of the caller's: fills `parts`, one after the other, with the bytes from `start` on.
   *  Answers how many bytes it had: fewer than fit when the source has become shorter. */
  readInto?: ((parts: readonly Uint8Array[], start: number, options: Abortable) => Promise<number>) | undefined
  /** For sources whose bytes can be hashed where they are: what `Kernels.segmentRoots` answers for the bytes from `start`, the
   *  beginning of a segment, to `end`, exclusive. */
  segmentRoots?: ((range: HashRange, options: Abortable) => Promise<Uint8Array>) | undefined
}
export type HashRange = { readonly start: number; readonly end: number; readonly lastLeafCount: number }

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
    return { ...inSteps(source), dispose: async () => undefined }
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

/** All that the source can do, each reading checked. */
function inSteps(source: ReadAt): ReadAt {
  return {
    sizeBytes: source.sizeBytes,
    read: exactly(source),
    readInto:
      source.readInto &&
      (async (parts, start, options) => {
        const wantedBytes = parts.reduce((sum, part) => sum + part.length, 0)
        return checked(source, start, start + wantedBytes, options, async () => {
          const sizeBytes = await source.readInto!(parts, start, options)
          return { result: sizeBytes, sizeBytes }
        })
      }),
    segmentRoots:
      source.segmentRoots &&
      (async (range, options) =>
        checked(source, range.start, range.end, options, async () => ({
          result: await source.segmentRoots!(range, options),
          sizeBytes: range.end - range.start,
        }))),
  }
}

function exactly(source: ReadAt): ReadAt['read'] {
  return (start, end, options) =>
    checked(source, start, end, options, async () => {
      const bytes = await source.read(start, end, options)
      return { result: bytes, sizeBytes: bytes.length }
    })
}

/** A reading that comes out shorter, or a file-backed Blob that refuses, means that somebody changed the source. */
async function checked<T>(
  source: ReadAt,
  start: number,
  end: number,
  options: Abortable,
  work: () => Promise<{ readonly result: T; readonly sizeBytes: number }>,
): Promise<T> {
  let done: Awaited<ReturnType<typeof work>>
  try {
    done = await work()
  } catch (cause) {
    if (options.signal?.aborted) throw options.signal.reason
    if (isFailure(cause)) throw cause
    // Blobs backed by files: browsers and Node refuse with this name once size or time of the file differ.
    if ((cause as { readonly name?: unknown } | null)?.name === 'NotReadableError') {
      throw fail('SOURCE_CHANGED', { start, end, sizeBytes: source.sizeBytes }, { cause })
    }
    throw fail('SOURCE_UNREADABLE', { start, end, sizeBytes: source.sizeBytes }, { cause })
  }
  if (done.sizeBytes === end - start) return done.result
  throw fail('SOURCE_CHANGED', { start, end, sizeBytes: source.sizeBytes, sizeBytesRead: done.sizeBytes })
}

/** Fills `parts`, one after the other, with the bytes of an opened source from `start` on. */
export async function fillFrom(
  source: ReadAt,
  parts: readonly Uint8Array[],
  start: number,
  options: Abortable,
): Promise<void> {
  if (source.readInto !== undefined) {
    await source.readInto(parts, start, options)
    return
  }
  const sizeBytes = parts.reduce((sum, part) => sum + part.length, 0)
  const bytes = await source.read(start, start + sizeBytes, options)
  let at = 0
  for (const part of parts) {
    part.set(bytes.subarray(at, at + part.length))
    at += part.length
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
    return { ...inSteps(file), dispose: () => file.dispose() }
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
