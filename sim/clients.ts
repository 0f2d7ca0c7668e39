import {
  checkSegment,
  isFailure,
  layoutOf,
  leafCountOf,
  proofFromJson,
  REPLICA_COUNT,
  type Clock,
  type Entry,
  type ErasureCode,
  type Kernels,
  type Net,
  type Root,
} from '@weightless/core'
import { simKernels, simSegmentRoot } from './kernels.ts'
import {
  announce,
  announceCertificate,
  createClient,
  downloadBytes,
  entriesOf,
  hashSource,
  privateKeySigner,
  submitEntries,
  upload,
  type Client,
  type DownloadTarget,
  type MinedTransaction,
  type StoredResult,
} from '@weightless/sdk'
import { officialSegment, segmentedFile } from './interop/segmentBodies.ts'
import { gatedKernels, processLogger, type Process } from './process.ts'
import type { Trace } from './trace.ts'

/** What a user of our SDK has on a machine of the world. */
export type UserDeps = {
  readonly rpcUrl: string
  readonly chainId: number
  readonly flow: string
  readonly registry: string
  readonly gatewayUrl: string
  readonly net: Net
  readonly trace: Trace
  readonly privateKey: Uint8Array
  onBug(event: string, error: unknown): void
  readonly clock?: Clock | undefined
  /** What this machine computes instead. */
  readonly wrap?: ((kernels: Kernels) => Kernels) | undefined
}

export function userOf(process: Process, deps: UserDeps): Client {
  const kernels = gatedKernels(simKernels(), process)
  return createClient(
    {
      network: { rpcUrl: deps.rpcUrl, chainId: deps.chainId, flow: deps.flow, registry: deps.registry },
      signer: privateKeySigner(deps.privateKey),
    },
    {
      net: deps.net,
      clock: deps.clock ?? process.clock,
      random: process.random,
      kernels: deps.wrap?.(kernels) ?? kernels,
      logger: processLogger(process, deps.trace, deps.onBug),
    },
  )
}

/** Longer than any fault lasts; every operation of a user must end within it. */
export const OWN_TIMEOUT_MS = 120_000
const POLL_MS = 1_000
/** How long an upload that has not been paid for is tried. */
const EARLY_MS = 5_000
const RPC_TIMEOUT_MS = 30_000
/** How long somebody asks a gateway that lies. */
const LIAR_MS = 10_000

/** An upload as our command line does it: to the holders, then a word to the gateway. */
export async function ownUpload(
  client: Client,
  what: {
    readonly bytes: Uint8Array
    readonly until: 'durable' | 'final'
    readonly code: ErasureCode | undefined
    readonly gatewayUrl: string
    /** Then what it answers to the word counts for nothing. */
    readonly gatewayLies: boolean
  },
): Promise<StoredResult> {
  const { until, code, gatewayUrl, gatewayLies } = what
  const stored = await upload(client, what.bytes, { until, code, timeoutMs: OWN_TIMEOUT_MS })
  const { root, seq, receipts, certificate } = stored
  const said =
    certificate === undefined
      ? announce(client, { gatewayUrl, root, seq, receipts })
      : announceCertificate(client, { gatewayUrl, certificate })
  await said.catch((error: unknown) => {
    if (!gatewayLies || !isFailure(error)) throw error
  })
  return stored
}

export function ownDownload(
  client: Client,
  target: DownloadTarget,
  range?: { readonly start: number; readonly end: number },
): Promise<Uint8Array> {
  return downloadBytes(client, target, { timeoutMs: OWN_TIMEOUT_MS, range })
}

export type OfficialUpload = {
  readonly bytes: Uint8Array
  readonly how: { readonly batch: boolean; readonly early: boolean; readonly bySeq: boolean }
  /** An entry that an earlier try has paid for. */
  readonly entry: Entry | undefined
  onEntry(entry: Entry): void
  /** The gateway has taken every segment. */
  onSpooled(): void
}

/** An upload as official clients do it: their traffic, not their code (sim/interop has that). Resolves when the gateway calls the
 *  file finalized. */
export async function officialUpload(client: Client, gatewayUrl: string, what: OfficialUpload): Promise<Entry> {
  const { bytes, how } = what
  const { clock } = client.deps
  const file = segmentedFile(bytes)
  const until = clock.nowMs() + OWN_TIMEOUT_MS
  const indexes = file.segments.map((_, index) => index)
  const send = async (seq: number | undefined, until: number): Promise<void> => {
    const groups = how.batch ? [indexes] : indexes.map((index) => [index])
    for (const group of groups) {
      const segments = group.map((index) => officialSegment(file, index))
      const method = `zgs_uploadSegment${how.batch ? 's' : ''}${seq === undefined ? '' : 'ByTxSeq'}`
      const params = [how.batch ? segments : segments[0], ...(seq === undefined ? [] : [seq])]
      await untilTaken(() => rpc(client, gatewayUrl, method, params), clock, until)
    }
  }
  let { entry } = what
  const isEarly = how.early && entry === undefined
  // The gateway may know this root with another size; then it wants the entry first.
  const isTaken =
    isEarly &&
    (await send(undefined, clock.nowMs() + EARLY_MS).then(
      () => true,
      () => false,
    ))
  if (entry === undefined) {
    entry = await pay(client, bytes)
    what.onEntry(entry)
  }
  if (!isTaken) await send(how.bySeq ? entry.seq : undefined, until)
  what.onSpooled()
  for (;;) {
    const info = (await rpc(client, gatewayUrl, 'zgs_getFileInfoByTxSeq', [entry.seq]).catch(() => null)) as {
      readonly finalized?: unknown
    } | null
    if (info?.finalized === true) return entry
    if (clock.nowMs() > until) throw new Error('not finalized in time')
    await clock.sleep(POLL_MS, {})
  }
}

/** The entry of a transaction that was sent earlier, by the number that it has now. */
export async function entryAgain(client: Client, known: Entry): Promise<Entry> {
  const receipt = (await client.rpc.request('eth_getTransactionReceipt', [known.txHash])) as MinedTransaction | null
  if (receipt === null) return known
  return entriesOf(receipt, client.network.flow).find(({ identity }) => identity === known.identity) ?? known
}

async function pay(client: Client, bytes: Uint8Array): Promise<Entry> {
  const source = { sizeBytes: bytes.length, read: async (start: number, end: number) => bytes.subarray(start, end) }
  const { submission } = await hashSource(source, client.deps, {})
  await client.checkNetwork({})
  const priceWeiPerSector = await client.price({ renew: true })
  const payment = { flow: client.network.flow, submissions: [submission], priceWeiPerSector }
  const [entry] = await submitEntries(payment, client.transactor!, { timeoutMs: OWN_TIMEOUT_MS })
  return entry!
}

/** As official clients: again a while later, until the time is over. */
async function untilTaken(work: () => Promise<unknown>, clock: Clock, until: number): Promise<void> {
  for (;;) {
    try {
      await work()
      return
    } catch (error) {
      if (error instanceof Error && /already uploaded and finalized/.test(error.message)) return
      if (clock.nowMs() > until) throw error
    }
    await clock.sleep(POLL_MS, {})
  }
}

/** A read as official clients do it, segment by segment with proofs. Of a gateway that lies it expects nothing for long. */
export async function officialDownload(
  client: Client,
  gatewayUrl: string,
  what: {
    readonly seq: number
    readonly root: Root
    readonly sizeBytes: number
    readonly gatewayLies: boolean
  },
): Promise<Uint8Array> {
  const layout = layoutOf(what.sizeBytes)
  const { clock } = client.deps
  const until = clock.nowMs() + (what.gatewayLies ? LIAR_MS : OWN_TIMEOUT_MS)
  const bytes = new Uint8Array(layout.chunkCount * 256)
  let at = 0
  for (let index = 0; index < layout.segmentCount;) {
    try {
      const answer = await rpc(client, gatewayUrl, 'zgs_downloadSegmentWithProofByTxSeq', [what.seq, index])
      if (answer === null) throw new Error('no such segment here')
      const segment = answer as { readonly root: string; readonly data: string; readonly proof: unknown }
      // A reorganisation between two requests may give the number to another file, and say so: no wrong byte, but not this read's.
      if (segment.root !== what.root) throw new Error('a segment of another file')
      const data = dataOf(segment, { ...what, index })
      bytes.set(data, at)
      at += data.length
      index += 1
    } catch (error) {
      if (error instanceof WrongAnswer || clock.nowMs() > until) throw error
      await clock.sleep(POLL_MS, {})
    }
  }
  return bytes.subarray(0, what.sizeBytes)
}

/** The bytes of a segment, proven against the root that was asked for. */
function dataOf(
  segment: { readonly data: string; readonly proof: unknown },
  of: { readonly root: Root; readonly sizeBytes: number; readonly index: number; readonly gatewayLies: boolean },
): Uint8Array {
  const { root, sizeBytes, index } = of
  try {
    const data = Buffer.from(segment.data, 'base64')
    const { proof } = proofFromJson(segment.proof)
    checkSegment(
      { root, sizeBytes },
      { index, data, proof },
      simSegmentRoot(data, leafCountOf(layoutOf(sizeBytes), index)),
    )
    return data
  } catch (error) {
    if (of.gatewayLies) throw error
    throw new WrongAnswer(`segment ${index} is not what it should be: ${String(error)}`)
  }
}

/** Resolves when a node, or the gateway, has read the chain up to this block. */
export async function untilFollowed(client: Client, url: string, block: number): Promise<void> {
  for (;;) {
    const status = (await rpc(client, url, 'zgs_getStatus', []).catch(() => null)) as {
      readonly logSyncHeight?: unknown
    } | null
    if (Number(status?.logSyncHeight) >= block) return
    await client.deps.clock.sleep(POLL_MS, {})
  }
}

export class WrongAnswer extends Error {}

async function rpc(client: Client, url: string, method: string, params: readonly unknown[]): Promise<unknown> {
  const { net, clock } = client.deps
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
  const headers = { 'content-type': 'application/json' }
  const response = await net.fetch(
    new Request(url, { method: 'POST', body, headers, signal: clock.deadline(RPC_TIMEOUT_MS) }),
  )
  const answer = (await response.json()) as {
    readonly result?: unknown
    readonly error?: { readonly message: string; readonly data?: unknown }
  }
  if (answer.error !== undefined) throw new Error(`${answer.error.message} ${String(answer.error.data ?? '')}`)
  return answer.result ?? null
}

export const neededCopies = (nodeCount: number): number => Math.min(nodeCount, REPLICA_COUNT)
export const codeOf = (error: unknown): string => (isFailure(error) ? error.code : String(error).slice(0, 80))
