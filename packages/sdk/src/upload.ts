import {
  BATCH_ENTRIES_MAX,
  equal,
  invariant,
  isFailure,
  paddedChunkCountOf,
  REPLICA_COUNT,
  SLOT_COUNT_MAX,
  type Abortable,
  type Encryption,
  type Entry,
  type Receipt,
  type Root,
  type Stage,
  type TxHash,
} from '@weightless/core'
import { encryptedSource } from './cipher.ts'
import type { Client } from './client.ts'
import { disperse } from './disperse.ts'
import { findAgain, readEntry, waitFinal } from './entryOnChain.ts'
import { fail } from './errors.ts'
import { prepareSubmission, sendSubmission, type Payment } from './flowChain.ts'
import { hashSource, type HashedSource } from './hash.ts'
import { preflight, type Preflight } from './holders.ts'
import { mapBounded } from './inOrder.ts'
import type { ProgressEvent } from './progress.ts'
import { withDeadline } from './scope.ts'
import { openSource, type OpenSource, type Source } from './source.ts'
import type { HeldEntry } from './storageNodeClient.ts'
import type { PendingTransaction } from './pendingTransaction.ts'
import type { PreparedCall } from './transactor.ts'
import { createSteps, PAY_ATTEMPTS_MAX, type Anchored, type StepOptions, type Steps } from './uploadSteps.ts'

export type UploadOptions<Until extends Stage = Stage> = UploadManyOptions<Until> & StepOptions

export type UploadManyOptions<Until extends Stage = Stage> = Abortable & {
  /** The stage to wait for; default 'durable'. 'accepted' computes the root and sends nothing. */
  readonly until?: Until | undefined
  /** For everything together. Default: ten minutes, and a second for each 128 KiB. */
  readonly timeoutMs?: number | undefined
  /** Bytes that every node keeps with the entry; the same for all sources. */
  readonly tags?: Uint8Array | undefined
  readonly encryption?: Encryption | undefined
  /** Whole copies, each on a node of its own; default 3, fewer when the network is smaller. */
  readonly replicas?: number | undefined
  /** What to do when the chain has an entry of the same root, size and tags: `reuse` (default) completes that one and pays
   *  nothing; `resubmit` always adds an entry. */
  readonly onExisting?: 'reuse' | 'resubmit' | undefined
  readonly onProgress?: ((event: ProgressEvent) => void) | undefined
}

export type AcceptedResult = { readonly stage: 'accepted'; readonly root: Root; readonly sizeBytes: number }
export type StoredResult = {
  /** The stage that was reached: at least the one asked for. */
  readonly stage: Exclude<Stage, 'accepted'>
  readonly root: Root
  /** Bytes in the log: with encryption, header and ciphertext. */
  readonly sizeBytes: number
  readonly seq: number
  readonly txHash: TxHash
  readonly blockNumber: number
  /** True when an entry that was there already serves: nothing was paid. */
  readonly reused: boolean
  /** One for each holder; empty before 'durable'. */
  readonly receipts: readonly Receipt[]
}
export type UploadResult<Until extends Stage = 'durable'> = 'accepted' extends Until
  ? Until extends 'accepted'
    ? AcceptedResult
    : AcceptedResult | StoredResult
  : StoredResult

/** Ten minutes for a chain that is slow; bytes are given a second for each 128 KiB, which is a megabit for three copies. */
const UPLOAD_TIMEOUT_MS = 600_000
const UPLOAD_BYTES_PER_MS = 128
/** Objects of one `uploadMany` that are hashed or sent at the same time. */
const OBJECTS_WINDOW = 4
/** One call holds the trees of all its sources. */
const SOURCES_MAX = 10_000

/** Stores one source as one entry of the log, on three nodes. Nothing is signed before the network is checked; a source whose
 *  bytes are on chain already is not paid for again.
 *
 *  Throws, among others: `NETWORK_MISMATCH`, `FUNDS_INSUFFICIENT`, `NODES_TOO_FEW` and `FILE_EMPTY` before anything is paid;
 *  `TX_REVERTED`, `TX_NOT_MINED`, `SOURCE_CHANGED`, `DURABILITY_NOT_REACHED`, `DEADLINE_PASSED` after. Uploading the same bytes
 *  again continues where such an error left off. When the signal aborts, everything stops and its reason is thrown.
 *
 *  A process that may be killed passes `onStep` and saves what it is told; `resume` goes on in the next one, and all of them
 *  together send one transaction. Throws `STEP_INVALID`, `STEP_MISMATCH`, `STEP_NOT_SAVED`.
 *
 *  ```ts
 *  const saved = localStorage.getItem('photo')
 *  await upload(client, photo, {
 *    resume: saved === null ? undefined : parseUploadStep(JSON.parse(saved)),
 *    onStep: (step) => localStorage.setItem('photo', JSON.stringify(step)),
 *  })
 *  ``` */
export async function upload<Until extends Stage = 'durable'>(
  client: Client,
  source: Source,
  options: UploadOptions<Until> = {},
): Promise<UploadResult<Until>> {
  const [result] = await uploadAll(client, [source], options, createSteps(client, options))
  return result!
}

/** The same for several sources, paid for with one transaction for each 32 of them. Results are in the order of `sources`. All
 *  are given their chance before the first error is thrown. */
export async function uploadMany<Until extends Stage = 'durable'>(
  client: Client,
  sources: readonly Source[],
  options: UploadManyOptions<Until> = {},
): Promise<UploadResult<Until>[]> {
  return uploadAll(client, sources, options, undefined)
}

/** `steps` only with one source. */
async function uploadAll<Until extends Stage>(
  client: Client,
  sources: readonly Source[],
  options: UploadManyOptions<Until>,
  steps: Steps | undefined,
): Promise<UploadResult<Until>[]> {
  const settings = parseSettings(options, steps)
  if (sources.length > SOURCES_MAX)
    throw fail('OPTION_INVALID', { name: 'sources', count: sources.length, countMax: SOURCES_MAX })
  const opened: OpenSource[] = []
  try {
    const timeoutMs = options.timeoutMs ?? UPLOAD_TIMEOUT_MS + knownBytes(sources) / UPLOAD_BYTES_PER_MS
    const results = await withDeadline({ signal: options.signal, timeoutMs, what: 'upload' }, client.deps, (signal) =>
      run(client, sources, settings, opened, signal),
    )
    return results as UploadResult<Until>[]
  } finally {
    await Promise.all(opened.map((source) => source.dispose()))
  }
}

type Settings = {
  readonly until: Stage
  readonly tags: Uint8Array
  readonly encryption: Encryption | undefined
  readonly replicas: number
  readonly onExisting: 'reuse' | 'resubmit'
  readonly tell: (event: ProgressEvent) => void
  readonly steps: Steps | undefined
}

async function run(
  client: Client,
  sources: readonly Source[],
  settings: Settings,
  opened: OpenSource[],
  signal: AbortSignal,
): Promise<(AcceptedResult | StoredResult)[]> {
  const { until } = settings
  if (until !== 'accepted' && client.transactor === undefined) throw fail('SIGNER_MISSING')
  // Asked while the source is hashed: a wrong network is found out before the first byte is read twice.
  const ready = until === 'accepted' ? Promise.resolve() : readyToPay(client, signal)
  const [objects] = await Promise.all([
    mapBounded(sources, { window: OBJECTS_WINDOW, signal }, (source, scope) =>
      accept(client, source, settings, opened, scope),
    ),
    ready,
  ])
  if (until === 'accepted') return objects.map(({ root, sizeBytes }) => ({ stage: 'accepted', root, sizeBytes }))
  const entries = await (settings.steps === undefined
    ? anchorAll(client, objects, settings, signal)
    : anchorInSteps(client, objects, settings, settings.steps, signal))
  const results = await mapBounded(objects, { window: OBJECTS_WINDOW, signal }, async (object, scope, i) => {
    try {
      return await store(client, object, entries[i]!, settings, scope)
    } catch (error) {
      scope.throwIfAborted()
      return { error }
    }
  })
  for (const result of results) if ('error' in result) throw result.error
  return results as StoredResult[]
}

async function readyToPay(client: Client, signal: AbortSignal): Promise<void> {
  await Promise.all([client.checkNetwork({ signal }), client.price({ signal }), client.membership.read({ signal })])
}

/** A source with its root: the stage `accepted`. */
type Accepted = HashedSource & { readonly source: OpenSource; readonly root: Root; readonly sizeBytes: number }

async function accept(
  client: Client,
  source: Source,
  settings: Settings,
  opened: OpenSource[],
  signal: AbortSignal,
): Promise<Accepted> {
  const plain = await openSource(source, client.deps, { signal })
  opened.push(plain)
  if (signal.aborted) {
    // The call may be over already, and with it the loop that disposes.
    await plain.dispose()
    throw signal.reason
  }
  const { encryption, tags, tell, steps } = settings
  const { ctr, random } = client.deps
  const seal = steps?.seal
  const chance = seal === undefined ? random : { bytes: () => seal.slice() }
  const bytes = encryption === undefined ? plain : encryptedSource(plain, encryption, { ctr, random: chance })
  const { sizeBytes } = bytes
  const hashed = await hashSource(bytes, client.deps, {
    signal,
    tags,
    onHashed: (doneBytes) => tell({ phase: 'hash', doneBytes, totalBytes: sizeBytes }),
  })
  return { ...hashed, source: bytes, root: hashed.tree.root, sizeBytes }
}

/** The same with the step of one object: goes on with what was saved, and tells when the entry is there. */
async function anchorInSteps(
  client: Client,
  objects: readonly Accepted[],
  settings: Settings,
  steps: Steps,
  signal: AbortSignal,
): Promise<readonly Anchored[]> {
  await steps.open(objects[0]!, { signal })
  const resumed = await steps.resumed({ signal })
  const [anchored] = resumed === undefined ? await anchorAll(client, objects, settings, signal) : [resumed]
  await steps.reached('anchored', anchored!, { signal })
  return [anchored!]
}

/** The stage `anchored` for all objects: finds entries that exist, and pays for the others. */
async function anchorAll(
  client: Client,
  objects: readonly Accepted[],
  settings: Settings,
  signal: AbortSignal,
): Promise<readonly Anchored[]> {
  const { until, replicas, onExisting, tell, steps } = settings
  const needs = until === 'anchored' ? 'nothing' : 'holders'
  // Most uploads are new: what their transaction needs is read while the nodes are asked.
  const guess = objects.length <= BATCH_ENTRIES_MAX ? prepareAll(client, objects, signal) : undefined
  guess?.catch(() => undefined)
  const found = await mapBounded(objects, { window: OBJECTS_WINDOW, signal }, async (object, scope) => {
    const seen = await preflight(client, object.root, { replicas, needs }, { signal: scope })
    return onExisting === 'reuse' ? findExisting(client, object, seen, scope) : undefined
  })
  const anchored = new Map<number, Anchored>()
  const unpaid: number[] = []
  const firstOf = new Map<string, number>()
  const twins = new Map<number, number>()
  found.forEach((entry, i) => {
    const { root, sizeBytes } = objects[i]!
    const twin = firstOf.get(`${root} ${sizeBytes}`)
    if (entry !== undefined) anchored.set(i, { entry, reused: true })
    else if (twin !== undefined && onExisting === 'reuse') twins.set(i, twin)
    else {
      unpaid.push(i)
      firstOf.set(`${root} ${sizeBytes}`, i)
    }
  })
  for (let at = 0; at < unpaid.length; at += BATCH_ENTRIES_MAX) {
    const group = unpaid.slice(at, at + BATCH_ENTRIES_MAX)
    const totalBytes = group.reduce((sum, i) => sum + objects[i]!.sizeBytes, 0)
    tell({ phase: 'submit', doneBytes: 0, totalBytes })
    const onSent = (txHash: TxHash): void => tell({ phase: 'submit', doneBytes: totalBytes, totalBytes, txHash })
    const unpaidObjects = group.map((i) => objects[i]!)
    let prepared = group.length === objects.length ? guess : undefined
    const attempt = async (onPending?: Submitting['onPending']): Promise<readonly Entry[]> => {
      const how = { onSent, prepared, onPending }
      // Good for the first attempt only: gas, fees and nonce are of that moment.
      prepared = undefined
      return submit(client, unpaidObjects, how, signal)
    }
    const entries =
      steps === undefined
        ? await attempt()
        : [await steps.pay(async (onPending) => (await attempt(onPending))[0]!, { signal })]
    group.forEach((i, k) => anchored.set(i, { entry: entries[k]!, reused: false }))
    tell({ phase: 'anchor', doneBytes: totalBytes, totalBytes, txHash: entries[0]!.txHash })
  }
  for (const [i, twin] of twins) anchored.set(i, { ...anchored.get(twin)!, reused: true })
  return objects.map((_, i) => {
    const one = anchored.get(i)
    invariant(one !== undefined, 'every object has its entry')
    return one
  })
}

async function prepareAll(client: Client, objects: readonly Accepted[], signal: AbortSignal): Promise<PreparedCall> {
  return prepareSubmission(paymentOf(client, objects, await client.price({ signal })), client.transactor!, { signal })
}

function paymentOf(client: Client, objects: readonly Accepted[], priceWeiPerSector: bigint): Payment {
  return { flow: client.network.flow, submissions: objects.map(({ submission }) => submission), priceWeiPerSector }
}

type Submitting = {
  readonly onSent: (txHash: TxHash) => void
  readonly prepared: Promise<PreparedCall> | undefined
  readonly onPending: ((pending: PendingTransaction) => Promise<void>) | undefined
}

/** One transaction. When another program took its nonce, ours can never be mined and has paid nothing: it is made anew. */
async function submit(
  client: Client,
  objects: readonly Accepted[],
  how: Submitting,
  signal: AbortSignal,
): Promise<readonly Entry[]> {
  const { onSent, onPending } = how
  const submissions = objects.map(({ submission }) => submission)
  for (let attempt = 1; ; attempt++) {
    const prepared = await preparedFor(client, objects, attempt === 1 ? how.prepared : undefined, signal)
    try {
      return await sendSubmission({ flow: client.network.flow, submissions }, prepared, client.transactor!, {
        signal,
        onSent,
        onPending,
      })
    } catch (error) {
      // With steps it is for `pay` to decide: it looks for the entry first.
      if (!isFailure(error, 'TX_REPLACED') || onPending !== undefined || attempt >= PAY_ATTEMPTS_MAX) throw error
    }
  }
}

/** The price may have changed since it was read: asked once more then. */
async function preparedFor(
  client: Client,
  objects: readonly Accepted[],
  guess: Promise<PreparedCall> | undefined,
  signal: AbortSignal,
): Promise<PreparedCall> {
  return (guess ?? prepareAll(client, objects, signal)).catch(async (error: unknown) => {
    if (!isFailure(error, 'TX_REVERTED') || !String(error.facts['reason']).startsWith('NotEnoughFee')) throw error
    const price = await client.price({ signal, renew: true })
    return prepareSubmission(paymentOf(client, objects, price), client.transactor!, { signal })
  })
}

/** Checks made on chain for one upload: nodes may name many entries of a root, and each check is a request. */
const EXISTING_CHECKS_MAX = 4

/** An entry with this root, size and tags that the chain confirms: the furthest one first. A node's word alone is not enough to
 *  skip a payment. */
async function findExisting(
  client: Client,
  object: Accepted,
  seen: Preflight,
  signal: AbortSignal,
): Promise<Entry | undefined> {
  const bySeq = new Map<number, HeldEntry>()
  for (const held of seen.known) {
    const known = bySeq.get(held.seq)
    if (held.sizeBytes === object.sizeBytes && (known === undefined || (held.complete && !known.complete)))
      bySeq.set(held.seq, held)
  }
  const candidates = [...bySeq.values()].sort((a, b) => Number(b.complete) - Number(a.complete) || a.seq - b.seq)
  for (const { seq, txHash } of candidates.slice(0, EXISTING_CHECKS_MAX)) {
    const entry = await readEntry(client.rpc, { flow: client.network.flow, txHash, seq }, { signal })
    if (
      entry?.root === object.root &&
      entry.sizeBytes === object.sizeBytes &&
      equal(entry.tags, object.submission.tags)
    )
      return entry
  }
  return undefined
}

/** The stages `durable` and `final` of one object. */
async function store(
  client: Client,
  object: Accepted,
  anchored: Anchored,
  settings: Settings,
  signal: AbortSignal,
): Promise<StoredResult> {
  for (let at = anchored; ;) {
    try {
      return await storeAt(client, object, at, settings, signal)
    } catch (error) {
      if (!isFailure(error, 'ENTRY_REORGED')) throw error
      at = { entry: await anchorAgain(client, at.entry, error, signal), reused: at.reused, isAgain: true }
    }
  }
}

/** A reorganisation took the entry's block: as a rule the same transaction is mined again, and pays once. Throws `ENTRY_REORGED`
 *  when it was dropped or replaced. */
async function anchorAgain(client: Client, before: Entry, lost: Error, signal: AbortSignal): Promise<Entry> {
  for (let delayMs = AGAIN_DELAY_MS_MIN; ; delayMs = Math.min(2 * delayMs, AGAIN_DELAY_MS_MAX)) {
    const now = await findAgain(client.rpc, { flow: client.network.flow, before }, { signal })
    if (now === 'gone') throw lost
    if (now !== 'pending') {
      client.deps.logger.warn('upload.reanchored', { seq: now.seq, seqBefore: before.seq, txHash: now.txHash })
      return now
    }
    await client.deps.clock.sleep(delayMs, { signal })
  }
}

const AGAIN_DELAY_MS_MIN = 250
const AGAIN_DELAY_MS_MAX = 4_000

async function storeAt(
  client: Client,
  object: Accepted,
  { entry, reused, isAgain = false }: Anchored,
  settings: Settings,
  signal: AbortSignal,
): Promise<StoredResult> {
  const { until, replicas, tell, steps } = settings
  const { root, sizeBytes, source, tree } = object
  invariant(entry.paddedChunkCount === paddedChunkCountOf(object.submission.nodes), 'the entry is that of this object')
  const { seq, txHash, blockNumber } = entry
  const base = { root, sizeBytes, seq, txHash, blockNumber, reused }
  if (until === 'anchored') return { ...base, stage: 'anchored', receipts: [] }
  const receipts = await disperse(
    client,
    { seq, blockNumber, root, tree, source, replicas, mayBeHeld: reused || isAgain || steps?.isResumed() === true },
    { signal, onStored: (doneBytes) => tell({ phase: 'store', doneBytes, totalBytes: sizeBytes, root }) },
  )
  await steps?.reached('durable', { entry, reused }, { signal })
  tell({ phase: 'durable', doneBytes: sizeBytes, totalBytes: sizeBytes, root })
  if (until === 'durable') return { ...base, stage: 'durable', receipts }
  await waitFinal(client.rpc, entry, client.deps, { signal })
  await steps?.reached('final', { entry, reused }, { signal })
  tell({ phase: 'final', doneBytes: sizeBytes, totalBytes: sizeBytes, root })
  return { ...base, stage: 'final', receipts }
}

const STAGES: readonly Stage[] = ['accepted', 'anchored', 'durable', 'final']

function parseSettings(options: UploadManyOptions, steps: Steps | undefined): Settings {
  const {
    until = 'durable',
    tags = new Uint8Array(0),
    encryption,
    replicas = REPLICA_COUNT,
    onExisting = 'reuse',
  } = options
  const wrong = (name: string, value: unknown): Error => fail('OPTION_INVALID', { name, value: String(value) })
  if (!STAGES.includes(until)) throw wrong('until', until)
  if (!(tags instanceof Uint8Array)) throw wrong('tags', typeof tags)
  if (!Number.isInteger(replicas) || replicas < 1 || replicas > SLOT_COUNT_MAX) throw wrong('replicas', replicas)
  if (onExisting !== 'reuse' && onExisting !== 'resubmit') throw wrong('onExisting', onExisting)
  return { until, tags, encryption, replicas, onExisting, tell: options.onProgress ?? (() => undefined), steps }
}

/** Streams do not say how long they are; the caller sets timeoutMs for long ones. */
function knownBytes(sources: readonly Source[]): number {
  let sum = 0
  for (const source of sources) {
    if (source instanceof Uint8Array) sum += source.length
    else if ('size' in source) sum += source.size
    else if ('sizeBytes' in source) sum += source.sizeBytes
  }
  return sum
}
