import { open, readdir, rename, rm, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'

/** The size at which a log is moved aside: two of them per role is what logs may take. Roles write some lines per upload. */
export const LOG_BYTES_MAX: number = 16 * 1024 * 1024
/** Bytes copied at a time. */
const PIECE_BYTES = 1024 * 1024

/** Moves the end of every log over its cap to `ROLE.log.1`, replacing the last one there, and empties the log. Copied and cut,
 *  not renamed: the roles append to open files, and go on in the same one. Lines written between the copy and the cut are lost;
 *  when there is no room for the copy the log is cut all the same, because a full disk is worse than a lost log. */
export async function capLogs(folder: string, options: { readonly bytesMax: number }): Promise<readonly string[]> {
  const capped: string[] = []
  for (const name of await readdir(folder).catch(() => [])) {
    if (!name.endsWith('.log')) continue
    const path = join(folder, name)
    const { size } = await stat(path).catch(() => ({ size: 0 }))
    if (size <= options.bytesMax) continue
    await keepEnd(path, { sizeBytes: size, keptBytes: options.bytesMax }).catch(() => undefined)
    // It may have gone meanwhile; then there is nothing to cut.
    await truncate(path).then(
      () => capped.push(name),
      () => undefined,
    )
  }
  return capped
}

/** However fast a log has grown, its copy has at most three times `keptBytes`. */
async function keepEnd(
  path: string,
  { sizeBytes, keptBytes }: { readonly sizeBytes: number; readonly keptBytes: number },
): Promise<void> {
  const part = `${path}.part`
  try {
    await using from = await open(path, 'r')
    await using to = await open(part, 'w', 0o600)
    const piece = new Uint8Array(PIECE_BYTES)
    // Most logs are a little over their cap and kept whole; what came since the size was taken is kept too.
    let position = Math.max(0, sizeBytes - 2 * keptBytes)
    for (const end = position + 3 * keptBytes; position < end;) {
      const { bytesRead } = await from.read(piece, 0, Math.min(PIECE_BYTES, end - position), position)
      if (bytesRead === 0) break
      await to.write(piece, 0, bytesRead)
      position += bytesRead
    }
    await rename(part, `${path}.1`)
  } finally {
    await rm(part, { force: true })
  }
}
