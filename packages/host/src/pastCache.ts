import { constants } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { copyInto } from './copyInto.ts'
import { writeAll } from './writeAll.ts'

/** Writes whole pages past the page cache. A large write through it copies every byte into pages that the kernel has to find and
 *  clear first, and then only waits for its flush; of a machine that stores more than it reads that is most of the CPU time. */
export type PastCache = {
  /** True when `sizeBytes` at `position` went this way; false where the file system does not have it, or not for this place. */
  write(parts: readonly Uint8Array[], position: number, sizeBytes: number): Promise<boolean>
  close(): Promise<void>
}

/** What any disk wants of addresses, positions and sizes; those with larger blocks say no, and are written through the cache. */
const ALIGNMENT_BYTES = 4096
/** Smaller ones are soon read again and cost little. */
const WRITE_BYTES_MIN = 256 * 1024
const STAGE_BYTES = 1024 * 1024

/** One writer at a time has it: it is made once, for all files. */
const stage = { bytes: undefined as Uint8Array | undefined, free: Promise.resolve() as Promise<unknown> }

/** For a file that is open already; `undefined` where this system or the file system has no such writes. Cannot be cancelled. */
export async function openPastCache(path: string, opened: FileHandle): Promise<PastCache | undefined> {
  if (constants.O_DIRECT === undefined) return undefined
  const handle = await open(path, constants.O_RDWR | constants.O_DIRECT).catch(() => undefined)
  if (handle === undefined) return undefined
  const [mine, other] = await Promise.all([handle.stat({ bigint: true }), opened.stat({ bigint: true })])
  // Replaced in between: what is written must go where it is synced.
  if (mine.ino !== other.ino || mine.dev !== other.dev) {
    await handle.close()
    return undefined
  }
  let isRefused = false
  return {
    async write(parts, position, sizeBytes) {
      if (isRefused || sizeBytes < WRITE_BYTES_MIN || sizeBytes % ALIGNMENT_BYTES > 0 || position % ALIGNMENT_BYTES > 0)
        return false
      const written = stage.free.then(() => writeStaged(handle, parts, position))
      stage.free = written.catch(() => undefined)
      try {
        await written
        return true
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error
        isRefused = true
        return false
      }
    },
    close: () => handle.close(),
  }
}

async function writeStaged(handle: FileHandle, parts: readonly Uint8Array[], position: number): Promise<void> {
  // Nothing else in JavaScript begins on a page.
  const bytes = (stage.bytes ??= new Uint8Array(
    new WebAssembly.Memory({ initial: STAGE_BYTES / 65_536, maximum: STAGE_BYTES / 65_536 }).buffer,
  ))
  let at = position
  let filled = 0
  for (const part of parts) {
    for (let from = 0; from < part.length;) {
      const taken = Math.min(part.length - from, STAGE_BYTES - filled)
      copyInto(bytes, part.subarray(from, from + taken), filled)
      from += taken
      filled += taken
      if (filled < STAGE_BYTES) continue
      await writeAll(handle, [bytes], at)
      at += filled
      filled = 0
    }
  }
  if (filled > 0) await writeAll(handle, [bytes.subarray(0, filled)], at)
}
