import { compare, invariant } from '@weightless/core'
import type { Abortable, Index, IndexChange } from '@weightless/core'
import { open } from 'lmdb'
import type { RootDatabase } from 'lmdb'
import { fail } from './errors.ts'
import { ensureDirectory } from './files.ts'

/** The Index port over lmdb, in a directory of its own; one process at a time. `written` = committed and visible, survives the
 *  death of the process; `synced` = flushed, survives the loss of power. A commit that was not flushed is undone as a whole.
 *  Throws `INDEX_OPEN_FAILED`. */
export async function openLmdbIndex(path: string, options: LmdbOptions = {}): Promise<Index> {
  options.signal?.throwIfAborted()
  await ensureDirectory(path)
  let database: RootDatabase<Buffer, Uint8Array>
  try {
    database = open<Buffer, Uint8Array>({
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
      ...(options.mapSizeBytes === undefined ? {} : { mapSize: options.mapSizeBytes }),
    } as Parameters<typeof open>[0])
  } catch (cause) {
    throw fail('INDEX_OPEN_FAILED', { path }, { cause })
  }
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
      const bounds = reverse ? { start: to, end: from, reverse, exclusiveStart: true, inclusiveEnd: true } : { start: from, end: to }
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
        throw fail('INDEX_FAILED', { path, reason: cause instanceof Error ? cause.message : String(cause) }, { cause })
      }
    },
    close: () => (closed ??= database.close()),
  }
}

export type LmdbOptions = Abortable & {
  /** Address space to begin with; it grows by itself. */
  readonly mapSizeBytes?: number | undefined
}

/** One process with one read transaction per open iteration. */
const READERS_MAX = 32
/** lmdb's own limit with pages of 4 KiB. */
const KEY_SIZE_BYTES_MAX = 1978

function checkKeys(changes: readonly IndexChange[]): void {
  for (const { key } of changes) invariant(key.length >= 1 && key.length <= KEY_SIZE_BYTES_MAX, 'a key has 1 to 1978 bytes')
}

/** A copy: lmdb reuses some of its buffers. */
function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes)
}
