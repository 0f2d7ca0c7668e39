import type { Clock, Disk } from '@weightless/core'
import { fail } from './errors.ts'
import type { SlotFile } from './slotFiles.ts'

/** Raised when a directory of an older store can no longer be read as it is. */
const FORMAT_VERSION = 1
/** Older ones are not migrated: none was ever released. */
const FORMAT_VERSION_MIN = 1
const FORMAT_NAME = 'weightless segment store'
const FORMAT_FILE = 'store.json'
const FORMAT_BYTES_MAX = 4096

/** Opens a store directory, or makes one. The format file stays open: its identity tells whether the directory is still the one
 *  that was opened. A few small reads that cannot be cancelled. Throws `STORE_FORMAT_*`. */
export async function openFormat(
  directory: string,
  deps: { readonly disk: Disk; readonly clock: Clock },
): Promise<{ readonly storeId: string; readonly formatFile: SlotFile }> {
  const { disk } = deps
  await disk.makeDirectory(directory)
  const path = `${directory}/${FORMAT_FILE}`
  if ((await disk.stat(path)) === undefined) {
    // The format file comes before the first slot, so slots without it are not ours to interpret.
    const names = await disk.list(directory)
    if (names.some((name) => name.startsWith('slots-')))
      throw fail('STORE_FORMAT_INVALID', { reason: `slots without ${FORMAT_FILE}` })
    await makeFormat(path, deps)
  }
  // Also for names that are there already: the process that made them may have died before it made them durable.
  await disk.syncDirectory(directory)
  const file = await disk.open(path, { create: false })
  try {
    const into = new Uint8Array(FORMAT_BYTES_MAX)
    const text = new TextDecoder().decode(into.subarray(0, await file.read(into, 0)))
    return { storeId: parseFormat(text), formatFile: { path, file } }
  } catch (error) {
    await file.close()
    throw error
  }
}

async function makeFormat(
  path: string,
  { disk, clock }: { readonly disk: Disk; readonly clock: Clock },
): Promise<void> {
  const temporary = `${path}.new`
  await disk.remove(temporary)
  const file = await disk.open(temporary, { create: true })
  // Time and inode: no other store that an index may be mixed up with has both.
  const storeId = `${clock.nowMs().toString(36)}-${file.identity}`
  const text = JSON.stringify({ format: FORMAT_NAME, version: FORMAT_VERSION, storeId })
  await file.write([new TextEncoder().encode(`${text}\n`)], 0)
  await file.sync()
  await file.close()
  await disk.rename(temporary, path)
}

function parseFormat(text: string): string {
  let parsed: { readonly format?: unknown; readonly version?: unknown; readonly storeId?: unknown }
  try {
    parsed = JSON.parse(text) as typeof parsed
  } catch {
    parsed = {}
  }
  const { format, version, storeId } = parsed ?? {}
  if (format !== FORMAT_NAME || !Number.isSafeInteger(version))
    throw fail('STORE_FORMAT_INVALID', { reason: `no store in ${FORMAT_FILE}` })
  if ((version as number) > FORMAT_VERSION)
    throw fail('STORE_FORMAT_NEWER', { version: version as number, supported: FORMAT_VERSION })
  if ((version as number) < FORMAT_VERSION_MIN)
    throw fail('STORE_FORMAT_OLDER', { version: version as number, supported: FORMAT_VERSION_MIN })
  if (typeof storeId !== 'string' || storeId === '') throw fail('STORE_FORMAT_INVALID', { reason: 'no storeId' })
  return storeId
}
