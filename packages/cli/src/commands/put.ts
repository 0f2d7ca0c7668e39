import { constants } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { isFailure, parseCode, receiptKindOf, slotsOf, type Stage } from '@weightless/core'
import { openFileSource, readPrivateKey, type KernelPool } from '@weightless/host'
import {
  announce,
  announceCertificate,
  privateKeySigner,
  reachableCount,
  upload,
  type Client,
  type Source,
  type UploadResult,
} from '@weightless/sdk'
import type { Context } from '../context.ts'
import { fail } from '../errors.ts'
import { openClient } from '../networkClient.ts'
import { layoutOfDirectory } from '../local/directory.ts'
import { affordableCode, holdersNeeded } from '../local/networkCode.ts'
import { readNetworkFile } from '../networkFile.ts'
import { formatBytes, table } from '../print.ts'
import type { PutOptions } from '../program.ts'
import { createProgress } from '../progress.ts'
import { createSavedUploads } from '../savedUploads.ts'

/** Which of the ten accounts signs: the second, as DESIGN 3 says; the first one's nonces belong to the compute contracts. */
const SIGNING_ACCOUNT = 1

export async function putCommand(file: string, options: PutOptions, context: Context): Promise<void> {
  const { dir, printer, signal, io } = context
  const startedMs = performance.now()
  const network = await readNetworkFile(dir)
  const key =
    options.keyFile === undefined
      ? network.accounts[SIGNING_ACCOUNT]!.privateKey
      : await readPrivateKey(options.keyFile, { signal })
  const signer = privateKeySigner(key)
  await using session = openClient(network, { signer })
  await using opened = await openInput(file, session.pool, context)
  const progress = createProgress(io.stderr)
  const { chain, contracts } = network
  const saved = createSavedUploads(layoutOfDirectory(dir).uploads, {
    chainId: chain.chainId,
    flow: contracts.flow,
    wallet: signer.address,
  })
  const code = await chooseCode(session.client, options, network.storage.code, context)
  let result: Result
  let resumed = false
  let isSaved = false
  try {
    result = await upload<Stage>(session.client, opened.source, {
      until: options.until,
      code,
      lossesNeeded: options.losses,
      timeoutMs: options.timeout * 1000,
      signal,
      findStep: async ({ root }) => {
        const found = await saved.find(root, { signal })
        // Begun under the network's code, and its nodes have become too few: what was paid is found on chain.
        const step = found?.parity !== undefined && code === undefined ? undefined : found
        resumed = step !== undefined
        isSaved = resumed
        return step
      },
      onStep: async (step) => {
        // From here on money may be spent. What comes later is found again: the entry by its transaction, copies by asking.
        if (step.step === 'signed' || step.step === 'asked') {
          await saved.save(step, { signal })
          isSaved = true
        } else if (step.step === 'rooted' && isSaved) {
          await saved.forget(step.root)
          resumed = false
        }
      },
      onProgress: (event) => progress.update(event.doneBytes, event.totalBytes, event.phase),
    })
  } catch (error) {
    throw signal.aborted ? signal.reason : error
  } finally {
    progress.stop()
  }
  if (isSaved) await saved.forget(result.root)
  if (result.stage !== 'accepted' && result.receipts.length > 0) {
    const { root, seq, receipts, certificate } = result
    const { gatewayUrl } = network.storage
    if (certificate === undefined) await announce(session.client, { gatewayUrl, root, seq, receipts }, { signal })
    else await announceCertificate(session.client, { gatewayUrl, certificate }, { signal })
  }
  const ms = Math.round(performance.now() - startedMs)
  printer.result({ ...result, resumed, ms }, () => describe(result, resumed))
}

/** Throws `USAGE`. */
function checkLosses(losses: number | undefined, code: string): void {
  if (losses === undefined) return
  if (code === 'none') throw fail('USAGE', { reason: '--losses goes with a code: --code k+m' })
  const { m } = parseCode(code)
  if (losses > m) throw fail('USAGE', { reason: `--losses is 0 to ${m} under the code ${code}`, value: losses })
}

/** The code that was asked for; else that of the network, as long as nodes enough for it answer. */
async function chooseCode(
  client: Client,
  { code, losses, until }: PutOptions,
  ofNetwork: string | undefined,
  { printer, signal }: Context,
): Promise<string | undefined> {
  const name = code ?? ofNetwork ?? 'none'
  checkLosses(losses, name)
  if (name === 'none') return undefined
  if (code !== undefined || losses !== undefined || until === 'accepted') return name
  const { members } = await client.membership.read({ signal })
  const reachable = await reachableCount(client, { members, needed: holdersNeeded(name) }, { signal })
  if (affordableCode(name, reachable) === name) return name
  printer.note(`${reachable} storage nodes answer, too few for ${name}: three copies instead`)
  return undefined
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

function describe(result: Result, resumed: boolean): string {
  const size = ['size', `${formatBytes(result.sizeBytes)} (${result.sizeBytes} bytes)`]
  if (result.stage === 'accepted') return table([['root', result.root], size, ['stage', 'accepted: nothing was sent']])
  return table([
    ['root', result.root],
    size,
    ['entry', `${result.seq}${describePayment(result, resumed)}`],
    ['transaction', result.txHash],
    ['block', String(result.blockNumber)],
    ['stage', result.stage],
    ...(result.parity === undefined ? [] : [['parity', `entry ${result.parity.seq}, ${result.parity.root}`]]),
    ...(result.lossesSurvived === undefined ? [] : [['survives', `the loss of any ${result.lossesSurvived} holders`]]),
    ...result.receipts.map((receipt, index) => [
      index === 0 ? 'receipts' : '',
      `signed by ${receipt.signer}${receiptKindOf(receipt) === 'shards' ? ` for slot ${slotsOf(receipt.slots).join(', ')}` : ''}`,
    ]),
  ])
}

function describePayment({ reused }: { readonly reused: boolean }, resumed: boolean): string {
  if (reused) return ', was there already: nothing paid'
  return resumed ? ', paid by an earlier run: nothing paid again' : ''
}
