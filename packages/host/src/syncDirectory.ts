import { constants } from 'node:fs'
import { mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Makes new, changed and removed names in a directory durable. A sync cannot be cancelled. */
export async function syncDirectory(path: string): Promise<void> {
  // Windows cannot open a directory for syncing; NTFS journals names by itself.
  if (process.platform === 'win32') return
  const handle = await open(path, constants.O_RDONLY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Makes a directory and those above it, for good: their names survive a loss of power. Resolves to the first one made.
 *  A sync cannot be cancelled. */
export async function makeDirectoryDurable(path: string, mode: number): Promise<string | undefined> {
  const made = await mkdir(path, { recursive: true, mode })
  // A process that died after mkdir left a name that is there and not yet durable, so the parent is synced in any case.
  for (let at = path; ; at = dirname(at)) {
    await syncDirectory(dirname(at)).catch((error: NodeJS.ErrnoException) => {
      // A parent that is not ours to read is not ours to sync.
      if (error.code !== 'EACCES' && error.code !== 'EPERM') throw error
    })
    if (made === undefined || at === made || dirname(at) === at) return made
  }
}
