import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { chmod, link, open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import type { Abortable } from '@weightless/core'
import { fail } from './errors.ts'
import { makeDirectoryDurable, syncDirectory } from './syncDirectory.ts'

/** Replaces a file as a whole: readers see the old or the new content, also after a crash. */
export async function writeFileAtomic(
  path: string,
  content: string | Uint8Array,
  options: WriteFileOptions = {},
): Promise<void> {
  options.signal?.throwIfAborted()
  const temporary = temporaryName(path)
  try {
    await writeNew(temporary, content, options.mode ?? 0o600)
    await rename(temporary, path)
    await syncDirectory(dirname(path))
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}
export type WriteFileOptions = Abortable & { /** Default 600. */ readonly mode?: number | undefined }

/** A directory and those above it, for this user only: mode 700. Throws `DIRECTORY_FAILED`. */
export async function ensureDirectory(
  path: string,
  options: Abortable & { readonly mode?: number | undefined } = {},
): Promise<void> {
  options.signal?.throwIfAborted()
  try {
    const made = await makeDirectoryDurable(resolve(path), options.mode ?? 0o700)
    // What others made keeps its mode: it may be a mount with a reason.
    if (made !== undefined) await chmod(path, options.mode ?? 0o700)
  } catch (cause) {
    throw fail('DIRECTORY_FAILED', { path, reason: codeOf(cause) }, { cause })
  }
}

/** The 32 bytes of a secp256k1 private key, from a file of one line of hex. Throws `KEY_FILE_MISSING`, `KEY_FILE_OPEN` when
 *  others may read it, `KEY_FILE_INVALID`. No error carries any of the content. */
export async function readPrivateKey(file: string, options: Abortable = {}): Promise<Uint8Array> {
  options.signal?.throwIfAborted()
  const handle = await open(file, constants.O_RDONLY).catch((cause: unknown) => {
    throw codeOf(cause) === 'ENOENT'
      ? fail('KEY_FILE_MISSING', { file })
      : fail('KEY_FILE_INVALID', { file, reason: codeOf(cause) })
  })
  try {
    const found = await handle.stat()
    if (!found.isFile()) throw fail('KEY_FILE_INVALID', { file, reason: 'not a file' })
    // Windows has no such bits.
    if (process.platform !== 'win32' && (found.mode & 0o077) !== 0) {
      throw fail('KEY_FILE_OPEN', { file, mode: (found.mode & 0o777).toString(8) })
    }
    if (found.size > KEY_FILE_BYTES_MAX) throw fail('KEY_FILE_INVALID', { file, reason: 'too long' })
    return parsePrivateKey(await handle.readFile(), { file })
  } finally {
    await handle.close()
  }
}

/** What a key file says, `file` being its name for the error. Throws `KEY_FILE_INVALID`. */
export function parsePrivateKey(content: Uint8Array, { file }: { readonly file: string }): Uint8Array {
  if (content.length > KEY_FILE_BYTES_MAX) throw fail('KEY_FILE_INVALID', { file, reason: 'too long' })
  const match = /^(?:0x)?([0-9a-fA-F]{64})$/.exec(Buffer.from(content).toString('utf8').trim())
  if (match === null) throw fail('KEY_FILE_INVALID', { file, reason: 'not 64 hex digits' })
  const key = new Uint8Array(Buffer.from(match[1]!, 'hex'))
  if (!isScalar(key)) throw fail('KEY_FILE_INVALID', { file, reason: 'not a key of secp256k1' })
  return key
}

/** Makes a new private key and its file (mode 600, with its directory of mode 700). Throws `KEY_FILE_EXISTS`. */
export async function createPrivateKey(file: string, options: Abortable = {}): Promise<Uint8Array> {
  options.signal?.throwIfAborted()
  await ensureDirectory(dirname(file))
  let key = new Uint8Array(randomBytes(32))
  while (!isScalar(key)) key = new Uint8Array(randomBytes(32))
  const temporary = temporaryName(file)
  try {
    await writeNew(temporary, `0x${Buffer.from(key).toString('hex')}\n`, 0o600)
    // A link refuses an existing name, a rename would replace it.
    await link(temporary, file)
    await syncDirectory(dirname(file))
    return key
  } catch (cause) {
    if (codeOf(cause) === 'EEXIST') throw fail('KEY_FILE_EXISTS', { file })
    throw cause
  } finally {
    await rm(temporary, { force: true })
  }
}

/** Hex, 0x, line end, and a little air. */
const KEY_FILE_BYTES_MAX = 256
/** Order of the group of secp256k1 (SEC 2, 2.4.1): a private key is at least 1 and below it. */
const SECP256K1_ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n

function isScalar(key: Uint8Array): boolean {
  const value = BigInt(`0x${Buffer.from(key).toString('hex')}`)
  return value > 0n && value < SECP256K1_ORDER
}

function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}.${process.pid}.${randomBytes(6).toString('hex')}.tmp`)
}

async function writeNew(path: string, content: string | Uint8Array, mode: number): Promise<void> {
  const handle = await open(path, 'wx', mode)
  try {
    await handle.writeFile(content)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'unknown'
}
