import { constants } from 'node:fs'
import { open, readdir, rename, rm, stat, statfs } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { Disk, DiskFile } from '@weightless/core'
import { fail } from './errors.ts'
import { openPastCache, type PastCache } from './pastCache.ts'
import { makeDirectoryDurable, syncDirectory } from './syncDirectory.ts'
import { writeAll } from './writeAll.ts'

/** Data directories hold keys and other people's bytes: nobody else reads them (DESIGN D14). */
const DIRECTORY_MODE = 0o700
const FILE_MODE = 0o600

/** The Disk port over the file system. Failures are `DISK_FULL` (no space, quota) or `DISK_FAILED`. */
export function nodeDisk(): Disk {
  return {
    open: (path, options) =>
      guarded('open', path, async () => {
        const flags = options.create ? constants.O_RDWR | constants.O_CREAT : constants.O_RDWR
        const handle = await open(path, flags, FILE_MODE)
        try {
          const found = await handle.stat({ bigint: true })
          const pastCache = options.pastCache ? await openPastCache(path, handle) : undefined
          const file = diskFile(handle, pastCache, path, `${found.dev}:${found.ino}`)
          if (options.sizeBytes !== undefined) await file.allocate(options.sizeBytes)
          return file
        } catch (error) {
          await handle.close()
          throw error
        }
      }),
    makeDirectory: (path) =>
      guarded('makeDirectory', path, async () => {
        await makeDirectoryDurable(resolve(path), DIRECTORY_MODE)
      }),
    list: (path) => guarded('list', path, () => absentAs([], () => readdir(path))),
    stat: (path) =>
      guarded('stat', path, () =>
        absentAs(undefined, async () => {
          const found = await stat(path, { bigint: true })
          return { sizeBytes: Number(found.size), identity: `${found.dev}:${found.ino}` }
        }),
      ),
    rename: (from, to) => guarded('rename', from, () => rename(from, to)),
    remove: (path) => guarded('remove', path, () => rm(path, { recursive: true, force: true })),
    syncDirectory: (path) => guarded('syncDirectory', path, () => syncDirectory(path)),
    free: (path) =>
      guarded('free', path, async () => {
        const found = await statfs(path)
        return found.bavail * found.bsize
      }),
  }
}

function diskFile(handle: FileHandle, pastCache: PastCache | undefined, path: string, identity: string): DiskFile {
  return {
    identity,
    read: (into, position) =>
      guarded('read', path, async () => {
        let filled = 0
        while (filled < into.length) {
          const { bytesRead } = await handle.read(into, filled, into.length - filled, position + filled)
          if (bytesRead === 0) break
          filled += bytesRead
        }
        return filled
      }),
    write: (parts, position) =>
      guarded('write', path, async () => {
        if (pastCache !== undefined) {
          const sizeBytes = parts.reduce((sum, part) => sum + part.length, 0)
          if (await pastCache.write(parts, position, sizeBytes)) return
        }
        await writeAll(handle, parts, position)
      }),
    sync: () => guarded('sync', path, () => handle.datasync()),
    allocate: (sizeBytes) =>
      guarded('allocate', path, async () => {
        const { size } = await handle.stat()
        if (size < sizeBytes) await handle.truncate(sizeBytes)
      }),
    close: () =>
      guarded('close', path, async () => {
        await pastCache?.close()
        await handle.close()
      }),
  }
}

async function absentAs<T, A>(absent: A, action: () => Promise<T>): Promise<T | A> {
  try {
    return await action()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return absent
    throw error
  }
}

async function guarded<T>(operation: string, path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown'
    const code = reason === 'ENOSPC' || reason === 'EDQUOT' ? 'DISK_FULL' : 'DISK_FAILED'
    throw fail(code, { operation, path, reason }, { cause })
  }
}
