import { constants } from 'node:fs'
import type { BigIntStats } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import type { Abortable } from '@weightless/core'
import { fail } from './errors.ts'
import { readParts } from './readParts.ts'
import type { FileRange, KernelPool } from './workers.ts'

/** A file that is read more than once: to learn its root, and to send it. Every read makes sure that it is still the file that
 *  was opened: size, modification time and identity. With a pool its workers read what they hash. Throws `FILE_MISSING`,
 *  `FILE_NOT_REGULAR`. */
export async function openFileSource(
  path: string,
  options: Abortable & { readonly pool?: Pick<KernelPool, 'fileSegmentRoots'> | undefined } = {},
): Promise<FileSource> {
  const { pool } = options
  options.signal?.throwIfAborted()
  const handle = await open(path, constants.O_RDONLY).catch((cause: unknown) => {
    throw fail('FILE_MISSING', { path, reason: codeOf(cause) }, { cause })
  })
  const opened = await handle.stat({ bigint: true })
  if (!opened.isFile()) {
    await handle.close()
    throw fail('FILE_NOT_REGULAR', { path })
  }
  const sizeBytes = Number(opened.size)
  let closed: Promise<void> | undefined
  const close = (): Promise<void> => (closed ??= handle.close())

  async function checkUnchanged(): Promise<void> {
    const [now, named] = await Promise.all([
      handle.stat({ bigint: true }),
      // Saving by rename leaves our open file alone and puts another in its place.
      stat(path, { bigint: true }).catch(() => undefined),
    ])
    if (now.size !== opened.size || now.mtimeNs !== opened.mtimeNs) throw changed(path, opened, now)
    if (named === undefined || named.ino !== opened.ino || named.dev !== opened.dev) throw changed(path, opened, named)
  }

  /** Checked after the reading: a change while we read is a change too, and the likelier reason of a failure. */
  async function unchanged<T>(signal: AbortSignal | undefined, read: () => Promise<T>): Promise<T> {
    signal?.throwIfAborted()
    const reading = read()
    await reading.catch(() => undefined)
    signal?.throwIfAborted()
    await checkUnchanged()
    return reading
  }

  return {
    sizeBytes,
    checkUnchanged,
    read: (start, end, { signal } = {}) =>
      unchanged(signal, async () => {
        const into = new Uint8Array(Math.max(0, Math.min(end, sizeBytes) - start))
        await readParts(handle, [into], start, { signal })
        return into
      }),
    readInto: (parts, start, { signal } = {}) => unchanged(signal, () => readParts(handle, parts, start, { signal })),
    segmentRoots:
      pool &&
      (({ start, end, lastLeafCount }, { signal } = {}) =>
        unchanged(signal, () => pool.fileSegmentRoots({ fd: handle.fd, start, end }, { lastLeafCount, signal }))),
    close,
    [Symbol.asyncDispose]: close,
  }
}

type HashRange = Omit<FileRange, 'fd'> & { readonly lastLeafCount: number }
export type FileSource = AsyncDisposable & {
  readonly sizeBytes: number
  /** Bytes start ≤ i < end, cut at the end of the file. Throws `FILE_CHANGED`. */
  read(start: number, end: number, options?: Abortable): Promise<Uint8Array>
  /** Fills `parts`, one after the other, from `start` on; answers how many bytes that were. Throws `FILE_CHANGED`. */
  readInto(parts: readonly Uint8Array[], start: number, options?: Abortable): Promise<number>
  /** The roots of the segments from `start` to `end`, as the pool's `segmentRoots` gives them for the same bytes. Throws
   *  `FILE_CHANGED`. */
  readonly segmentRoots: ((range: HashRange, options?: Abortable) => Promise<Uint8Array>) | undefined
  /** Throws `FILE_CHANGED`. */
  checkUnchanged(): Promise<void>
  close(): Promise<void>
}

function changed(path: string, opened: BigIntStats, now: BigIntStats | undefined): Error {
  return fail('FILE_CHANGED', { path, sizeBytes: opened.size, sizeBytesNow: now?.size })
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'unknown'
}
