import { download, verifyPrefix, type Client } from '@weightless/sdk'
import type { Context, Io } from '../context.ts'
import { fail } from '../errors.ts'
import { openClient } from '../networkClient.ts'
import { readNetworkFile } from '../networkFile.ts'
import { openPartFile } from '../partFile.ts'
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
  const startedMs = performance.now()
  const network = await readNetworkFile(dir)
  await using session = openClient(network)
  const progress = createProgress(io.stderr)
  const read = (range: GetOptions['range']): AsyncIterable<Uint8Array> =>
    download(session.client, roots.length === 1 ? roots[0]! : [...roots], {
      signal,
      timeoutMs: options.timeout * 1000,
      range,
      lend: true,
      onProgress: (event) => progress.update(event.doneBytes, event.totalBytes, event.phase),
    })
  try {
    if (output === '-') {
      await toStream(read(options.range), io.stdout, signal)
      return
    }
    const saved = await toFile({ roots, range: options.range, read, client: session.client }, output, signal)
    progress.stop()
    const result = { roots, file: output, ...saved, ms: Math.round(performance.now() - startedMs) }
    printer.result(result, () => describe(result))
  } catch (error) {
    throw signal.aborted ? signal.reason : error
  } finally {
    progress.stop()
  }
}

/** Each piece is with the reader before the next is asked for, so its buffer may serve again. */
async function toStream(parts: AsyncIterable<Uint8Array>, stream: Io['stdout'], signal: AbortSignal): Promise<void> {
  for await (const part of parts) {
    signal.throwIfAborted()
    await written(stream, part, signal)
  }
}

/** A reader that has gone ends the command by its signal: what `write` says of it is not asked. */
function written(stream: Io['stdout'], part: Uint8Array, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason)
    signal.addEventListener('abort', stop, { once: true })
    stream.write(part, () => {
      signal.removeEventListener('abort', stop)
      resolve()
    })
  })
}

type Wanted = {
  readonly roots: GetRoots
  readonly range: GetOptions['range']
  readonly client: Client
  read(range: GetOptions['range']): AsyncIterable<Uint8Array>
}
type Saved = {
  readonly sizeBytes: number
  readonly replaced: boolean
  /** Bytes that an interrupted run had left, verified again. */
  readonly resumedBytes: number
}

/** One whole object goes on from what an interrupted run has left: hashed, compared with the root, never believed. */
async function toFile({ roots, range, client, read }: Wanted, path: string, signal: AbortSignal): Promise<Saved> {
  const isWhole = roots.length === 1 && range === undefined
  const part = await openPartFile(path, isWhole ? 'resumable' : 'fresh', { signal })
  try {
    const resumedBytes = part.left.sizeBytes === 0 ? 0 : await verifyPrefix(client, roots[0]!, part.left, { signal })
    await part.keep(resumedBytes)
    let sizeBytes = resumedBytes
    // Each piece is in the file before the next is asked for, so its buffer may serve again.
    for await (const bytes of read(resumedBytes === 0 ? range : { start: resumedBytes, end: undefined })) {
      await part.append(bytes)
      sizeBytes += bytes.length
    }
    await part.complete()
    return { sizeBytes, replaced: part.replaced, resumedBytes }
  } finally {
    await part.close()
  }
}

function describe({ file, sizeBytes, resumedBytes }: Saved & { readonly file: string }): string {
  const resumed = resumedBytes > 0 ? `, ${formatBytes(resumedBytes)} of them from ${file}.part` : ''
  return `${file}: ${formatBytes(sizeBytes)} (${sizeBytes} bytes), verified${resumed}`
}
