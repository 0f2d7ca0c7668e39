import { copyFile, readdir, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'

/** The size at which a log is moved aside: two of them per role is what logs may take. Roles write some lines per upload. */
export const LOG_BYTES_MAX: number = 16 * 1024 * 1024

/** Moves every log over its cap to `ROLE.log.1`, replacing the last one there. Copied and cut, not renamed: the roles append
 *  to open files, and go on in the same one. Lines written between the copy and the cut are lost. */
export async function capLogs(folder: string, options: { readonly bytesMax: number }): Promise<readonly string[]> {
  const capped: string[] = []
  for (const name of await readdir(folder).catch(() => [])) {
    if (!name.endsWith('.log')) continue
    const path = join(folder, name)
    const { size } = await stat(path).catch(() => ({ size: 0 }))
    if (size <= options.bytesMax) continue
    await copyFile(path, `${path}.1`)
    await truncate(path)
    capped.push(name)
  }
  return capped
}
