import { randomBytes } from 'node:crypto'
import { open, realpath, rename, rm, stat, type FileHandle } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { download } from '@weightless/sdk'
import type { Context, Io } from '../context.ts'
import { fail } from '../errors.ts'
import { openClient } from '../networkClient.ts'
import { readNetworkFile } from '../networkFile.ts'
import { formatBytes } from '../print.ts'
import type { GetOptions, GetRoots } from '../program.ts'
import { createProgress } from '../progress.ts'

export async function getCommand(roots: GetRoots, options: GetOptions, context: Context): Promise<void> {
  const { dir, printer, signal, io } = context
  const output = options.output ?? '-'
  if (output === '-' && printer.json)
    throw fail('USAGE', { reason: '--json and the file itself cannot both be on stdout: name a file with -o' })
  if (output === '-' && options.output === undefined && io.stdout.isTTY === true) {
    throw fail('USAGE', { reason: 'a terminal is no place for bytes: name a file with -o, or insist with -o -' })
  }
  const network = await readNetworkFile(dir)
  await using session = openClient(network)
  const progress = createProgress(io.stderr)
  const parts = download(session.client, roots.length === 1 ? roots[0]! : [...roots], {
    signal,
    timeoutMs: options.timeout * 1000,
    range: options.range,
    onProgress: (event) => progress.update(event.doneBytes, event.totalBytes, event.phase),
  })
  try {
    if (output === '-') {
      await toStream(parts, io.stdout, signal)
      return
    }
    const saved = await toFile(parts, output)
    progress.stop()
    const result = { roots, file: output, ...saved }
    printer.result(result, () => `${output}: ${formatBytes(saved.sizeBytes)} (${saved.sizeBytes} bytes), verified`)
  } catch (error) {
    throw signal.aborted ? signal.reason : error
  } finally {
    progress.stop()
  }
}

/** Written as fast as the reader reads: `write` answers false when it is behind. */
async function toStream(parts: AsyncIterable<Uint8Array>, stream: Io['stdout'], signal: AbortSignal): Promise<void> {
  for await (const part of parts) {
    signal.throwIfAborted()
    if (!stream.write(part)) await drained(stream, signal)
  }
}

function drained(stream: Io['stdout'], signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (): void => {
      stream.off('drain', done)
      signal.removeEventListener('abort', stop)
      resolve()
    }
    const stop = (): void => {
      stream.off('drain', done)
      reject(signal.reason)
    }
    stream.once('drain', done)
    signal.addEventListener('abort', stop, { once: true })
  })
}

/** The disk works while the next bytes are fetched: at the end there is little left to wait for. */
const FLUSH_STEP_BYTES: number = 32 * 1024 ** 2

/** Beside its place and renamed when complete; devices and pipes are written as they are. */
async function toFile(
  parts: AsyncIterable<Uint8Array>,
  path: string,
): Promise<{ readonly sizeBytes: number; readonly replaced: boolean }> {
  const there = await stat(path).catch(() => undefined)
  if (there?.isDirectory()) throw fail('FILE_UNWRITABLE', { file: path, reason: 'a directory' })
  const isSpecial = there !== undefined && !there.isFile()
  // Through a link: the file it names is replaced, not the link.
  const target = there === undefined ? path : await realpath(path)
  const temporary = isSpecial
    ? target
    : join(dirname(target), `.${basename(target)}.${randomBytes(6).toString('hex')}.part`)
  let handle: FileHandle
  try {
    handle = isSpecial
      ? await open(target, 'w')
      : await open(temporary, 'wx', there === undefined ? 0o666 : there.mode & 0o777)
  } catch (cause) {
    throw fail('FILE_UNWRITABLE', { file: path, reason: (cause as NodeJS.ErrnoException).code }, { cause })
  }
  let sizeBytes = 0
  let flushedBytes = 0
  /** One after the other; the first that fails is the end, as a later one would not tell of it again. */
  let flush: Promise<void> = Promise.resolve()
  try {
    for await (const part of parts) {
      for (let at = 0; at < part.length;) at += (await handle.write(part, at, part.length - at)).bytesWritten
      sizeBytes += part.length
      if (isSpecial || sizeBytes - flushedBytes < FLUSH_STEP_BYTES) continue
      flushedBytes = sizeBytes
      flush = flush.then(() => handle.datasync())
      flush.catch(() => undefined)
    }
    if (!isSpecial) {
      await flush
      await handle.sync()
      await rename(temporary, target)
    }
    return { sizeBytes, replaced: there !== undefined && !isSpecial }
  } catch (error) {
    if (!isSpecial) await rm(temporary, { force: true })
    const { code, syscall } = error as NodeJS.ErrnoException
    if (syscall !== undefined) throw fail('FILE_UNWRITABLE', { file: path, reason: code }, { cause: error })
    throw error
  } finally {
    await handle.close()
  }
}
