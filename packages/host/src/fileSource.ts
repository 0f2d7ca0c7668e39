import { constants } from 'node:fs'
import type { BigIntStats } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import type { Abortable } from '@weightless/core'
import { fail } from './errors.ts'

/** A file that is read more than once: to learn its root, and to send it. Every read makes sure that it is still the file that
 *  was opened: size, modification time and identity. Throws `FILE_MISSING`, `FILE_NOT_REGULAR`. */
export async function openFileSource(path: string, options: Abortable = {}): Promise<FileSource> {
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
    const now = await handle.stat({ bigint: true })
    if (now.size !== opened.size || now.mtimeNs !== opened.mtimeNs) throw changed(path, opened, now)
    // Saving by rename leaves our open file alone and puts another in its place.
    const named = await stat(path, { bigint: true }).catch(() => undefined)
    if (named === undefined || named.ino !== opened.ino || named.dev !== opened.dev) throw changed(path, opened, named)
  }

  return {
    sizeBytes,
    checkUnchanged,
    read: async (start, end, { signal } = {}) => {
      signal?.throwIfAborted()
      const into = new Uint8Array(Math.max(0, Math.min(end, sizeBytes) - start))
      for (let done = 0; done < into.length;) {
        const { bytesRead } = await handle.read(into, done, into.length - done, start + done)
        if (bytesRead === 0) break
        done += bytesRead
      }
      // After the read: a change while we read is a change too.
      await checkUnchanged()
      return into
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

export type FileSource = AsyncDisposable & {
  readonly sizeBytes: number
  /** Bytes start ≤ i < end, cut at the end of the file. Throws `FILE_CHANGED`. */
  read(start: number, end: number, options?: Abortable): Promise<Uint8Array>
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
