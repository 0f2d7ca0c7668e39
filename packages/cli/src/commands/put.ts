import { constants } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { isFailure, type Stage } from '@weightless/core'
import { openFileSource, readPrivateKey, type KernelPool } from '@weightless/host'
import { announce, privateKeySigner, upload, type Source, type UploadResult } from '@weightless/sdk'
import type { Context } from '../context.ts'
import { fail } from '../errors.ts'
import { openClient } from '../networkClient.ts'
import { readNetworkFile } from '../networkFile.ts'
import { formatBytes, table } from '../print.ts'
import type { PutOptions } from '../program.ts'
import { createProgress } from '../progress.ts'

/** Which of the ten accounts signs: the second, as DESIGN 3 says; the first one's nonces belong to the compute contracts. */
const SIGNING_ACCOUNT = 1

export async function putCommand(file: string, options: PutOptions, context: Context): Promise<void> {
  const { dir, printer, signal, io } = context
  const network = await readNetworkFile(dir)
  const key =
    options.keyFile === undefined
      ? network.accounts[SIGNING_ACCOUNT]!.privateKey
      : await readPrivateKey(options.keyFile, { signal })
  await using session = openClient(network, { signer: privateKeySigner(key) })
  await using opened = await openInput(file, session.pool, context)
  const progress = createProgress(io.stderr)
  let result: Result
  try {
    result = await upload<Stage>(session.client, opened.source, {
      until: options.until,
      timeoutMs: options.timeout * 1000,
      signal,
      onProgress: (event) => progress.update(event.doneBytes, event.totalBytes, event.phase),
    })
  } catch (error) {
    throw signal.aborted ? signal.reason : error
  } finally {
    progress.stop()
  }
  if (result.stage !== 'accepted' && result.receipts.length > 0) {
    const { root, seq, receipts } = result
    await announce(session.client, { gatewayUrl: network.storage.gatewayUrl, root, seq, receipts }, { signal })
  }
  printer.result(result, () => describe(result))
}

type Result = UploadResult<Stage>
type Input = AsyncDisposable & { readonly source: Source }

/** A regular file is read in place; everything else can be read only once, so the SDK spools it. */
async function openInput(file: string, pool: KernelPool, context: Context): Promise<Input> {
  if (file === '-') return { source: chunksOf(context.io.stdin), [Symbol.asyncDispose]: async () => undefined }
  const found = await stat(file).catch((cause: unknown) => {
    throw fail('FILE_UNREADABLE', { file, reason: (cause as NodeJS.ErrnoException).code }, { cause })
  })
  if (found.isDirectory()) throw fail('FILE_UNREADABLE', { file, reason: 'a directory' })
  if (!found.isFile()) {
    const handle = await open(file, constants.O_RDONLY)
    const stream = handle.createReadStream()
    return { source: chunksOf(stream), [Symbol.asyncDispose]: async () => void stream.destroy() }
  }
  const source = await openFileSource(file, { pool, signal: context.signal }).catch((cause: unknown) => {
    throw isFailure(cause) ? cause : fail('FILE_UNREADABLE', { file }, { cause })
  })
  return { source, [Symbol.asyncDispose]: () => source.close() }
}

async function* chunksOf(stream: NodeJS.ReadableStream): AsyncIterable<Uint8Array> {
  for await (const chunk of stream) yield typeof chunk === 'string' ? Buffer.from(chunk) : chunk
}

function describe(result: Result): string {
  const size = ['size', `${formatBytes(result.sizeBytes)} (${result.sizeBytes} bytes)`]
  if (result.stage === 'accepted') return table([['root', result.root], size, ['stage', 'accepted: nothing was sent']])
  return table([
    ['root', result.root],
    size,
    ['entry', `${result.seq}${result.reused ? ', was there already: nothing paid' : ''}`],
    ['transaction', result.txHash],
    ['block', String(result.blockNumber)],
    ['stage', result.stage],
    ...result.receipts.map((receipt, index) => [index === 0 ? 'receipts' : '', `signed by ${receipt.signer}`]),
  ])
}
