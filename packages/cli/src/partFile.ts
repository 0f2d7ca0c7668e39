import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { open, realpath, rename, rm, stat, type FileHandle } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { isFailure, type Abortable } from '@weightless/core'
import { lockDirectory, openPastCache, type DirectoryLock, type PastCache } from '@weightless/host'
import { fail } from './errors.ts'

/** Where the bytes of a download wait until they are whole. */
export type PartFile = {
  /** What an interrupted run has left, to be verified; empty where nothing can be gone on with. */
  readonly left: {
    readonly sizeBytes: number
    read(start: number, end: number, options: Abortable): Promise<Uint8Array>
  }
  readonly replaced: boolean
  /** Keeps the first `sizeBytes` of what was left. */
  keep(sizeBytes: number): Promise<void>
  append(bytes: Uint8Array): Promise<void>
  /** Takes its place under the final name. */
  complete(): Promise<void>
  /** Closes it; what was written stays for the next run, unless nobody could go on with it. */
  close(): Promise<void>
}

/** `resumable`: beside its place as `FILE.part`, for the next run to go on with; else under a name of its own, removed at the
 *  end. Devices and pipes are written as they are. Throws `FILE_UNWRITABLE`. */
export async function openPartFile(path: string, kind: 'resumable' | 'fresh', options: Abortable): Promise<PartFile> {
  const there = await stat(path).catch(() => undefined)
  if (there?.isDirectory()) throw fail('FILE_UNWRITABLE', { file: path, reason: 'a directory' })
  const isSpecial = there !== undefined && !there.isFile()
  // Through a link: the file it names is replaced, not the link.
  const target = there === undefined ? path : await realpath(path)
  const mode = there === undefined ? 0o666 : there.mode & 0o777
  try {
    if (isSpecial) return await special(target)
    const resumable = kind === 'resumable' ? await openResumable(target, mode, options) : undefined
    const opened = resumable ?? (await openFresh(target, mode))
    // Gigabytes that are written once would push out of memory what the user works with, and cost the more for it.
    const pastCache = await openPastCache(opened.name, opened.handle)
    return toPart(opened, pastCache, { target, replaced: there !== undefined })
  } catch (cause) {
    if (isFailure(cause)) throw cause
    throw fail('FILE_UNWRITABLE', { file: path, reason: (cause as NodeJS.ErrnoException).code }, { cause })
  }
}

/** The disk works while the next bytes are fetched: at the end there is little left to wait for. */
const FLUSH_STEP_BYTES: number = 32 * 1024 ** 2

type Opened = {
  readonly handle: FileHandle
  readonly name: string
  readonly leftBytes: number
  /** Held while `name` is that of a file which others may go on with. */
  readonly lock: DirectoryLock | undefined
}

/** `undefined` when another process writes the same file now, or when something that is no file has the name. */
async function openResumable(target: string, mode: number, options: Abortable): Promise<Opened | undefined> {
  const name = `${target}.part`
  const directory = dirname(target)
  // The lock would make a directory that is missing.
  if (!(await stat(directory).catch(() => undefined))?.isDirectory()) return undefined
  let lock: DirectoryLock
  try {
    lock = await lockDirectory(directory, { ...options, name: `.${basename(target)}.part.lock` })
  } catch (error) {
    options.signal?.throwIfAborted()
    if (isFailure(error)) return undefined
    throw error
  }
  try {
    // No link is followed: in a directory of others it could lead anywhere.
    const handle = await open(name, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, mode)
    const found = await handle.stat()
    if (found.isFile()) return { handle, name, leftBytes: found.size, lock }
    await handle.close()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ELOOP') {
      await lock.release()
      throw error
    }
  }
  await lock.release()
  return undefined
}

async function openFresh(target: string, mode: number): Promise<Opened> {
  const name = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString('hex')}.part`)
  return { handle: await open(name, 'wx', mode), name, leftBytes: 0, lock: undefined }
}

function toPart(
  { handle, name, leftBytes, lock }: Opened,
  pastCache: PastCache | undefined,
  { target, replaced }: { readonly target: string; readonly replaced: boolean },
): PartFile {
  // Until it is known what counts, all of it may.
  let at = leftBytes
  let flushedAt = leftBytes
  let isComplete = false
  /** One after the other; the first that fails is the end, as a later one would not tell of it again. */
  let flush: Promise<void> = Promise.resolve()
  const written = writer(handle)
  const put = async (bytes: Uint8Array): Promise<void> => {
    if (!(await pastCache?.write([bytes], at, bytes.length))) await written(bytes, at)
  }
  return {
    replaced,
    left: { sizeBytes: leftBytes, read: (start, end, { signal }) => readFully(handle, start, end, signal) },
    keep: async (sizeBytes) => {
      await told(name, () => handle.truncate(sizeBytes))
      at = sizeBytes
      flushedAt = sizeBytes
    },
    append: async (bytes) => {
      await told(name, () => put(bytes))
      at += bytes.length
      if (at - flushedAt < FLUSH_STEP_BYTES) return
      flushedAt = at
      flush = flush.then(() => handle.datasync())
      flush.catch(() => undefined)
    },
    complete: async () => {
      await told(name, async () => {
        await flush
        await handle.sync()
        await rename(name, target)
      })
      isComplete = true
    },
    close: async () => {
      await pastCache?.close()
      await handle.close()
      if (!isComplete && (lock === undefined || at === 0)) await rm(name, { force: true })
      await lock?.release()
    },
  }
}

async function special(target: string): Promise<PartFile> {
  const handle = await open(target, 'w')
  const written = writer(handle)
  return {
    replaced: false,
    left: { sizeBytes: 0, read: async () => new Uint8Array(0) },
    keep: async () => undefined,
    append: (bytes) => told(target, () => written(bytes, null)),
    complete: async () => undefined,
    close: () => handle.close(),
  }
}

function writer(handle: FileHandle): (bytes: Uint8Array, position: number | null) => Promise<void> {
  return async (bytes, position) => {
    for (let done = 0; done < bytes.length;) {
      const place = position === null ? null : position + done
      done += (await handle.write(bytes, done, bytes.length - done, place)).bytesWritten
    }
  }
}

async function readFully(
  handle: FileHandle,
  start: number,
  end: number,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  signal?.throwIfAborted()
  const into = new Uint8Array(end - start)
  for (let done = 0; done < into.length;) {
    const { bytesRead } = await handle.read(into, done, into.length - done, start + done)
    if (bytesRead === 0) break
    done += bytesRead
  }
  return into
}

/** A full disk and the like are told with the name of the file. */
async function told(file: string, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (cause) {
    const { code, syscall } = cause as NodeJS.ErrnoException
    if (syscall === undefined) throw cause
    throw fail('FILE_UNWRITABLE', { file, reason: code }, { cause })
  }
}
