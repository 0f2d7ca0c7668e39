import { open, statfs } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { compare, invariant } from '@weightless/core'
import type { Abortable, Failure, Index, IndexChange } from '@weightless/core'
import { open as openDatabase } from 'lmdb'
import type { RootDatabase } from 'lmdb'
import { fail } from './errors.ts'
import { ensureDirectory } from './files.ts'
import { syncDirectory } from './syncDirectory.ts'

/** The Index port over lmdb, in a directory of its own; one process at a time. `written` = committed and visible, survives the
 *  death of the process; `synced` = flushed, survives the loss of power. A commit that was not flushed is undone as a whole.
 *  Throws `INDEX_OPEN_FAILED`. A transaction that fails changes nothing: `DISK_FULL` while there is no room, else `INDEX_FAILED`. */
export async function openLmdbIndex(path: string, options: LmdbOptions = {}): Promise<Index> {
  options.signal?.throwIfAborted()
  await ensureDirectory(path)
  await checkDataFile(path)
  let database: RootDatabase<Buffer, Uint8Array>
  try {
    database = openDatabase<Buffer, Uint8Array>({
      path,
      // Said outright: a path with a dot would else be taken for a file.
      noSubdir: false,
      keyEncoding: 'binary',
      encoding: 'binary',
      cache: false,
      compression: false,
      maxDbs: 1,
      maxReaders: READERS_MAX,
      // Random reads by hash gain nothing from read-ahead and lose memory to it.
      noReadAhead: true,
      // Its batches of a turn reject a promise of their own that nobody can listen to: on a full disk that ends the process.
      // Our transactions are whole without them.
      eventTurnBatching: false,
      ...(options.mapSizeBytes === undefined ? {} : { mapSize: options.mapSizeBytes }),
    } as Parameters<typeof openDatabase>[0])
  } catch (cause) {
    throw fail('INDEX_OPEN_FAILED', { path }, { cause })
  }
  // lmdb flushes what it writes into its files, not their names.
  await syncDirectory(path)
  let closed: Promise<void> | undefined
  const alive = (): RootDatabase<Buffer, Uint8Array> => {
    invariant(closed === undefined, 'an index is not used after it was closed')
    return database
  }

  return {
    get: (key) => {
      const found = alive().getBinary(key)
      return found === undefined ? undefined : plain(found)
    },
    *range({ from, to, limit, reverse = false }) {
      if (compare(from, to) >= 0) return
      const bounds = reverse
        ? { start: to, end: from, reverse, exclusiveStart: true, inclusiveEnd: true }
        : { start: from, end: to }
      const rows = alive().getRange({ ...bounds, ...(limit === undefined ? {} : { limit }), snapshot: true })
      for (const { key, value } of rows) yield { key: plain(key), value: plain(value) }
    },
    transaction: async (changes, { durability }) => {
      checkKeys(changes)
      const target = alive()
      try {
        await target.batch(() => {
          for (const { key, value } of changes) {
            if (value === undefined) void target.remove(key)
            else void target.put(key, value as Buffer)
          }
        })
        if (durability === 'synced') await target.flushed
      } catch (cause) {
        throw await failureOf(cause, path)
      }
    },
    close: () => (closed ??= database.close()),
  }
}

export type LmdbOptions = Abortable & {
  /** Address space to begin with; it grows by itself. */
  readonly mapSizeBytes?: number | undefined
}

/** Room below this is what a full disk looks like: lmdb calls a write that was cut short an input/output error, and file systems
 *  keep a little back. A commit of ours writes less. */
const FULL_BYTES = 1024 ** 2

async function failureOf(cause: unknown, path: string): Promise<Failure> {
  // The reason comes in a promise of its own, which ends the process if nobody listens.
  let reason = messageOf(cause)
  void (cause as { readonly commitError?: Promise<unknown> }).commitError?.catch(
    (error: unknown) => (reason = messageOf(error)),
  )
  const { bavail, bsize } = await statfs(path).catch(() => ({ bavail: Infinity, bsize: 1 }))
  const facts = { path, reason }
  if (bavail * bsize < FULL_BYTES) return fail('DISK_FULL', facts, { cause })
  return fail('INDEX_FAILED', facts, { cause })
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** lmdb ends the process when it opens a file that is not its own, so its meta pages are looked at first (layout of lmdb 0.9.9x:
 *  magic at byte 24 of each of the first two pages, page size at 48, last page at 144). */
async function checkDataFile(path: string): Promise<void> {
  let handle: FileHandle
  try {
    handle = await open(join(path, 'data.mdb'), 'r')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return
    throw fail('INDEX_OPEN_FAILED', { path, reason: (cause as NodeJS.ErrnoException).code ?? 'unknown' }, { cause })
  }
  try {
    const { size } = await handle.stat()
    if (size === 0) return
    const first = Buffer.alloc(META_BYTES)
    const second = Buffer.alloc(META_BYTES)
    await handle.read(first, 0, META_BYTES, 0)
    const pageBytes = isMeta(first) ? first.readUInt32LE(48) : 0
    await handle.read(second, 0, META_BYTES, pageBytes)
    if (pageBytes === 0 || !isMeta(second)) throw fail('INDEX_OPEN_FAILED', { path, reason: 'no index' })
    // Newer commits may never have been flushed; the oldest that a page names must be whole.
    const lastPages = [first, second].flatMap((page) => [
      page.readBigUInt64LE(144),
      page.readBigUInt64LE(FLUSHED_AT + 144),
    ])
    const lastPage = lastPages.filter((number) => number > 0n).reduce((a, b) => (a < b ? a : b), 1n << 62n)
    if (BigInt(size) < (lastPage + 1n) * BigInt(pageBytes))
      throw fail('INDEX_OPEN_FAILED', { path, reason: 'cut short' })
  } finally {
    await handle.close()
  }
}

/** Behind the meta of the last commit a page keeps that of the last flush. */
const FLUSHED_AT = 2048
const META_BYTES: number = FLUSHED_AT + 160
const META_MAGIC = 0xbeefc0de
const PAGE_BYTES_MIN = 256
const PAGE_BYTES_MAX = 65_536

function isMeta(page: Buffer): boolean {
  const pageBytes = page.readUInt32LE(48)
  return page.readUInt32LE(24) === META_MAGIC && pageBytes >= PAGE_BYTES_MIN && pageBytes <= PAGE_BYTES_MAX
}

/** One process with one read transaction per open iteration. */
const READERS_MAX = 32
/** lmdb's own limit with pages of 4 KiB. */
const KEY_SIZE_BYTES_MAX = 1978

function checkKeys(changes: readonly IndexChange[]): void {
  for (const { key } of changes)
    invariant(key.length >= 1 && key.length <= KEY_SIZE_BYTES_MAX, 'a key has 1 to 1978 bytes')
}

/** A copy: lmdb reuses some of its buffers. */
function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes)
}
