import { randomBytes } from 'node:crypto'
import { open, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Abortable } from '@weightless/core'
import { fail } from './errors.ts'
import { ensureDirectory } from './files.ts'
import { readParts } from './readParts.ts'
import type { KernelPool } from './workers.ts'

/** A temporary file of mode 600 for a source that can be read only once. Its name is removed as soon as it is open, so the
 *  system gives the space back at every end of the process, a crash included (Windows removes it at `close`). With a pool its
 *  workers read what they hash. */
export async function createSpoolFile(
  directory: string,
  options: Abortable & { readonly pool?: Pick<KernelPool, 'fileSegmentRoots'> | undefined } = {},
): Promise<SpoolFile> {
  const { pool } = options
  options.signal?.throwIfAborted()
  await ensureDirectory(directory)
  await removeStale(directory)
  const path = join(directory, `spool-${process.pid}-${randomBytes(8).toString('hex')}`)
  const handle = await open(path, 'wx+', 0o600)
  const isUnlinked = await rm(path).then(
    () => true,
    () => false,
  )
  let sizeBytes = 0
  let closed: Promise<void> | undefined
  const close = (): Promise<void> => {
    closed ??= handle.close().then(async () => {
      if (!isUnlinked) await rm(path, { force: true })
    })
    return closed
  }
  return {
    get sizeBytes() {
      return sizeBytes
    },
    append: async (bytes) => {
      try {
        for (let done = 0; done < bytes.length;) {
          const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, sizeBytes)
          done += bytesWritten
          sizeBytes += bytesWritten
        }
      } catch (cause) {
        const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown'
        throw fail(
          reason === 'ENOSPC' || reason === 'EDQUOT' ? 'DISK_FULL' : 'DISK_FAILED',
          { operation: 'spool', reason },
          { cause },
        )
      }
    },
    read: async (start, end, { signal } = {}) => {
      const into = new Uint8Array(Math.max(0, Math.min(end, sizeBytes) - start))
      const bytesRead = await readParts(handle, [into], start, { signal })
      if (bytesRead < into.length) throw fail('DISK_FAILED', { operation: 'spool', reason: 'short read' })
      return into
    },
    readInto: (parts, start, { signal } = {}) => readParts(handle, parts, start, { signal }),
    segmentRoots:
      pool &&
      (async ({ start, end, lastLeafCount }, { signal } = {}) =>
        pool.fileSegmentRoots({ fd: handle.fd, start, end }, { lastLeafCount, signal })),
    close,
    [Symbol.asyncDispose]: close,
  }
}

/** What a process left that was killed before the name was gone. Taking the name of one that lives elsewhere does no harm: it was
 *  about to do so itself. */
async function removeStale(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    const pid = /^spool-(\d{1,10})-[0-9a-f]{16}$/.exec(name)?.[1]
    if (pid !== undefined && !isAlive(Number(pid)))
      await rm(join(directory, name), { force: true }).catch(() => undefined)
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // EPERM: it lives, and belongs to another user.
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

export type SpoolFile = AsyncDisposable & {
  readonly sizeBytes: number
  /** One at a time. Throws `DISK_FULL`. */
  append(bytes: Uint8Array): Promise<void>
  /** Bytes start ≤ i < end, cut at the end of what was appended. */
  read(start: number, end: number, options?: Abortable): Promise<Uint8Array>
  /** Fills `parts`, one after the other, from `start` on; answers how many bytes that were. */
  readInto(parts: readonly Uint8Array[], start: number, options?: Abortable): Promise<number>
  /** The roots of the segments from `start` to `end`, as the pool's `segmentRoots` gives them for the same bytes. */
  readonly segmentRoots:
    | ((
        range: { readonly start: number; readonly end: number; readonly lastLeafCount: number },
        options?: Abortable,
      ) => Promise<Uint8Array>)
    | undefined
  close(): Promise<void>
}
