import type { Abortable, Disk } from '@weightless/core'
import { fail } from '../errors.ts'

/** The whole content; `undefined` when nothing is there. Throws `CHAIN_STATE_BROKEN` for more than `sizeBytesMax`. */
export async function readWhole(
  disk: Disk,
  path: string,
  { signal, sizeBytesMax }: Abortable & { readonly sizeBytesMax: number },
): Promise<Uint8Array | undefined> {
  signal?.throwIfAborted()
  const found = await disk.stat(path)
  if (found === undefined) return undefined
  const { sizeBytes } = found
  if (sizeBytes > sizeBytesMax) throw fail('CHAIN_STATE_BROKEN', { file: path, sizeBytes, sizeBytesMax })
  const bytes = new Uint8Array(sizeBytes)
  const file = await disk.open(path, { create: false })
  try {
    return bytes.subarray(0, await file.read(bytes, 0))
  } finally {
    await file.close()
  }
}

/** Replaces a file as a whole, durably: after any crash it has the old or the new content. */
export async function writeWhole(disk: Disk, path: string, content: Uint8Array, { signal }: Abortable): Promise<void> {
  signal?.throwIfAborted()
  const temporary = `${path}.tmp`
  await disk.remove(temporary)
  const file = await disk.open(temporary, { create: true })
  try {
    await file.write([content], 0)
    await file.sync()
  } finally {
    await file.close()
  }
  await disk.rename(temporary, path)
  await disk.syncDirectory(path.slice(0, path.lastIndexOf('/')))
}
