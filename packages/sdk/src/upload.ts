import {
  BATCH_ENTRIES_MAX,
  equal,
  invariant,
  isCode,
  isFailure,
  lossesNeededOf,
  paddedChunkCountOf,
  parseCode,
  preview,
  REPLICA_COUNT,
  SLOT_COUNT_MAX,
  type Abortable,
  type Certificate,
  type Encryption,
  type Entry,
  type ErasureCode,
  type Membership,
  type Receipt,
  type Root,
  type Stage,
  type Submission,
  type TxHash,
} from '@weightless/core'
import { certifyCopies } from './certify.ts'
import { encryptedSource } from './cipher.ts'
import type { Client } from './client.ts'
import { codeSource, type CodedParity } from './codeSource.ts'
import { disperse } from './disperse.ts'
import { disperseShards } from './disperseShards.ts'
import { findAgain, readEntry, waitFinal } from './entryOnChain.ts'
import { fail } from './errors.ts'
import { prepareSubmission, sendSubmission, type Payment } from './flowChain.ts'
import { hashSource, type HashedSource } from './hash.ts'
import { codedPlacementOf, placementOf, preflight, type Placement } from './holders.ts'
import { mapBounded } from './inOrder.ts'
import type { ProgressEvent } from './progress.ts'
import { withDeadline } from './scope.ts'
import { openSource, type OpenSource, type Source } from './source.ts'
import type { HeldEntry } from './storageNodeClient.ts'
import type { PendingTransaction } from './pendingTransaction.ts'
import type { PreparedCall } from './transactor.ts'
import {
  createSteps,
  PAY_ATTEMPTS_MAX,
  unpaidOf,
  type Anchored,
  type StepObject,
  type StepOptions,
  type Steps,
} from './uploadSteps.ts'

export type UploadOptions<Until extends Stage = Stage> = UploadManyOptions<Until> &
  StepOptions & {
    /** For whoever follows the log himself: the entry that stands for these bytes. It is not looked for and never paid for again,
     *  however many others have the same bytes; with a code its parity is, unless that is there too. */
    readonly entry?: Entry | undefined
  }

export type UploadManyOptions<Until extends Stage = Stage> = Abortable & {
  /** The stage to wait for; default 'durable'. 'accepted' computes the root and sends nothing. */
  readonly until?: Until | undefined
  /** For everything together. Default: ten minutes, and a second for each 128 KiB. */
  readonly timeoutMs?: number | undefined
  /** Bytes that every node keeps with the entry; the same for all sources. */
  readonly tags?: Uint8Array | undefined
  readonly encryption?: Encryption | undefined
  /** Whole copies, each on a node of its own; default 3, fewer when the network is smaller. Not with a code. */
  readonly replicas?: number | undefined
  /** Protects the object by an erasure code instead of copies, as '4+2' or `{ k, m }`: any m of its holders may be lost. Its
   *  parity is a second entry of the log, paid for in the same transaction. An object of one segment gets 1 + m copies. */
  readonly code?: ErasureCode | string | undefined
  /** With a code: losses that an object must survive to be called durable, 0 to m; ceil(m / 2) by default. With fewer reachable nodes
   *  `DURABILITY_NOT_REACHED` is thrown; the repair completes what more there could be. */
  readonly lossesNeeded?: number | undefined
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
  /** With a code: the entry of the parity, unless the object has one segment. */
  readonly parity?: { readonly root: Root; readonly seq: number; readonly txHash: TxHash } | undefined
  /** With a code, from 'durable' on: what the holders have signed, for anyone to check. */
  readonly certificate?: Certificate | undefined
  /** The same: so many of the holders may vanish at once. */
  readonly lossesSurvived?: number | undefined
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

/** Stores one source as one entry of the log, on three nodes, or protected by a code (`code`). Nothing is signed before the network is checked; a source whose
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
  const [result] = await uploadAll(client, [source], options, createSteps(client, options), options.entry)
  return result!
}

/** The same for several sources, paid for with one transaction for each 32 of them. Results are in the order of `sources`. All
 *  are given their chance before the first error is thrown. */
export async function uploadMany<Until extends Stage = 'durable'>(
  client: Client,
  sources: readonly Source[],
  options: UploadManyOptions<Until> = {},
): Promise<UploadResult<Until>[]> {
  return uploadAll(client, sources, options, undefined, undefined)
}

/** `steps` and `entry` only with one source. */
async function uploadAll<Until extends Stage>(
  client: Client,
  sources: readonly Source[],
  options: UploadManyOptions<Until>,
  steps: Steps | undefined,
  entry: Entry | undefined,
): Promise<UploadResult<Until>[]> {
  const settings = { ...parseSettings(options, steps), entry }
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
  readonly code: ErasureCode | undefined
  readonly lossesNeeded: number | undefined
  readonly onExisting: 'reuse' | 'resubmit'
  readonly tell: (event: ProgressEvent) => void
  readonly steps: Steps | undefined
  readonly entry: Entry | undefined
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
type Accepted = HashedSource &
  StepObject & {
    readonly source: OpenSource
    readonly parity: (StepObject['parity'] & CodedParity) | undefined
  }

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
  const { encryption, tags, code, tell, steps } = settings
  const { ctr, random } = client.deps
  const seal = steps?.seal
  const chance = seal === undefined ? random : { bytes: () => seal.slice() }
  const bytes = encryption === undefined ? plain : encryptedSource(plain, encryption, { ctr, random: chance })
  const { sizeBytes } = bytes
  const onHashed = (doneBytes: number): void => tell({ phase: 'hash', doneBytes, totalBytes: sizeBytes })
  const options = { signal, tags, onHashed }
  if (code === undefined) {
    const hashed = await hashSource(bytes, client.deps, options)
    return { ...hashed, source: bytes, root: hashed.tree.root, sizeBytes, parity: undefined }
  }
  const { tree, submission, parity } = await codeSource(bytes, code, client.deps, options)
  return {
    tree,
    submission,
    source: bytes,
    root: tree.root,
    sizeBytes,
    parity: parity && { ...parity, code, root: parity.tree.root },
  }
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
  const { until, onExisting, tell, steps, entry: given } = settings
  const needs = until === 'anchored' ? 'nothing' : 'holders'
  if (given !== undefined) checkGiven(given, objects[0]!)
  const everything = objects.flatMap((object) => unpaidOf(object, given))
  // Most uploads are new: what their transaction needs is read while the nodes are asked.
  const isOneBatch = everything.length > 0 && everything.length <= BATCH_ENTRIES_MAX
  const guess = isOneBatch ? prepareAll(client, everything, signal) : undefined
  guess?.catch(() => undefined)
  const found = await mapBounded(objects, { window: OBJECTS_WINDOW, signal }, async (object, scope) => {
    const { root, parity } = object
    const placement = placementFor(object, settings, await client.membership.read({ signal: scope }))
    const roots = parity === undefined ? ([root] as const) : ([root, parity.root] as const)
    const { known } = await preflight(client, { roots: [...roots], placement, needs }, { signal: scope })
    if (given !== undefined) return { entry: given, parity: await findParity(client, object, known, scope) }
    return onExisting === 'reuse' ? findExisting(client, object, known, scope) : undefined
  })
  const anchored = new Map<number, Anchored>()
  const unpaid: Unpaid[] = []
  const firstOf = new Map<string, number>()
  const twins = new Map<number, number>()
  found.forEach((existing, i) => {
    const object = objects[i]!
    const { root, sizeBytes } = object
    const twin = firstOf.get(`${root} ${sizeBytes}`)
    const parts = unpaidOf(object, existing?.entry)
    const isThere = existing !== undefined && (object.parity === undefined || existing.parity !== undefined)
    if (isThere) anchored.set(i, { ...existing, reused: true })
    else if (twin !== undefined && onExisting === 'reuse') twins.set(i, twin)
    else {
      unpaid.push({ i, object, data: existing?.entry, parts })
      firstOf.set(`${root} ${sizeBytes}`, i)
    }
  })
  for (const group of inTransactions(unpaid)) {
    const totalBytes = group.reduce((sum, { object }) => sum + object.sizeBytes, 0)
    tell({ phase: 'submit', doneBytes: 0, totalBytes })
    const onSent = (txHash: TxHash): void => tell({ phase: 'submit', doneBytes: totalBytes, totalBytes, txHash })
    const submissions = group.flatMap(({ parts }) => parts)
    let prepared = submissions.length === everything.length ? guess : undefined
    const attempt = async (onPending?: Submitting['onPending']): Promise<readonly Entry[]> => {
      const how = { onSent, prepared, onPending }
      // Good for the first attempt only: gas, fees and nonce are of that moment.
      prepared = undefined
      return submit(client, submissions, how, signal)
    }
    const paid =
      steps === undefined
        ? anchoredOf(group, await attempt())
        : [await steps.pay(group[0]!.data, (onPending) => attempt(onPending), { signal })]
    group.forEach(({ i }, k) => anchored.set(i, paid[k]!))
    const { txHash } = paid[0]!.parity ?? paid[0]!.entry
    tell({ phase: 'anchor', doneBytes: totalBytes, totalBytes, txHash })
  }
  for (const [i, twin] of twins) anchored.set(i, { ...anchored.get(twin)!, reused: true })
  return objects.map((_, i) => {
    const one = anchored.get(i)
    invariant(one !== undefined, 'every object has its entry')
    return one
  })
}

/** Throws `OPTION_INVALID`. */
function checkGiven(entry: Entry, { root, sizeBytes, submission }: Accepted): void {
  if (entry.root === root && entry.sizeBytes === sizeBytes && equal(entry.tags, submission.tags)) return
  throw fail('OPTION_INVALID', {
    name: 'entry',
    reason: 'not of these bytes and tags',
    seq: entry.seq,
    root: entry.root,
    rootOfBytes: root,
  })
}

/** Homes of an object, and how many holders it needs. */
function placementFor(object: Accepted, { replicas, code, lossesNeeded }: Settings, membership: Membership): Placement {
  return code === undefined
    ? placementOf(object.root, membership, replicas)
    : codedPlacementOf({ ...object, code, lossesNeeded }, membership)
}

/** What is still to be paid of an object: `parts`, and the entry of its data if that is there. */
type Unpaid = {
  readonly i: number
  readonly object: Accepted
  readonly data: Entry | undefined
  readonly parts: readonly Submission[]
}

/** As many objects in each as fit; the parts of one object never part. */
function inTransactions(unpaid: readonly Unpaid[]): readonly (readonly Unpaid[])[] {
  const groups: Unpaid[][] = []
  let entryCount = BATCH_ENTRIES_MAX
  for (const one of unpaid) {
    entryCount += one.parts.length
    if (entryCount > BATCH_ENTRIES_MAX) {
      groups.push([])
      entryCount = one.parts.length
    }
    groups[groups.length - 1]!.push(one)
  }
  return groups
}

function anchoredOf(group: readonly Unpaid[], entries: readonly Entry[]): readonly Anchored[] {
  let at = 0
  return group.map(({ data, parts }) => {
    const own = entries.slice(at, at + parts.length)
    at += parts.length
    const [entry, parity] = data === undefined ? own : [data, ...own]
    return { entry: entry!, parity, reused: false }
  })
}

async function prepareAll(
  client: Client,
  submissions: readonly Submission[],
  signal: AbortSignal,
): Promise<PreparedCall> {
  return prepareSubmission(paymentOf(client, submissions, await client.price({ signal })), client.transactor!, {
    signal,
  })
}

function paymentOf(client: Client, submissions: readonly Submission[], priceWeiPerSector: bigint): Payment {
  return { flow: client.network.flow, submissions, priceWeiPerSector }
}

type Submitting = {
  readonly onSent: (txHash: TxHash) => void
  readonly prepared: Promise<PreparedCall> | undefined
  readonly onPending: ((pending: PendingTransaction) => Promise<void>) | undefined
}

/** One transaction. When another program took its nonce, ours can never be mined and has paid nothing: it is made anew. */
async function submit(
  client: Client,
  submissions: readonly Submission[],
  how: Submitting,
  signal: AbortSignal,
): Promise<readonly Entry[]> {
  const { onSent, onPending } = how
  for (let attempt = 1; ; attempt++) {
    const prepared = await preparedFor(client, submissions, attempt === 1 ? how.prepared : undefined, signal)
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
  submissions: readonly Submission[],
  guess: Promise<PreparedCall> | undefined,
  signal: AbortSignal,
): Promise<PreparedCall> {
  return (guess ?? prepareAll(client, submissions, signal)).catch(async (error: unknown) => {
    if (!isFailure(error, 'TX_REVERTED') || !String(error.facts['reason']).startsWith('NotEnoughFee')) throw error
    const price = await client.price({ signal, renew: true })
    return prepareSubmission(paymentOf(client, submissions, price), client.transactor!, { signal })
  })
}

/** Checks made on chain for one upload: nodes may name many entries of a root, and each check is a request. */
const EXISTING_CHECKS_MAX = 4

/** Entries of this object, and of its parity, that the chain confirms. A node's word alone is not enough to skip a payment. */
async function findExisting(
  client: Client,
  object: Accepted,
  known: readonly HeldEntry[],
  signal: AbortSignal,
): Promise<Pick<Anchored, 'entry' | 'parity'> | undefined> {
  const { root, submission } = object
  const [entry, parity] = await Promise.all([
    findEntry(client, { root, submission }, known, signal),
    findParity(client, object, known, signal),
  ])
  return entry && { entry, parity }
}

async function findParity(
  client: Client,
  { parity }: Accepted,
  known: readonly HeldEntry[],
  signal: AbortSignal,
): Promise<Entry | undefined> {
  return parity && findEntry(client, parity, known, signal)
}

/** An entry with this root, size and tags that the chain confirms: the furthest one first. */
async function findEntry(
  client: Client,
  what: { readonly root: Root; readonly submission: Submission },
  known: readonly HeldEntry[],
  signal: AbortSignal,
): Promise<Entry | undefined> {
  const { root, submission } = what
  const { sizeBytes, tags } = submission
  const bySeq = new Map<number, HeldEntry>()
  for (const held of known) {
    const other = bySeq.get(held.seq)
    const isSame = held.root === root && held.sizeBytes === sizeBytes
    if (isSame && (other === undefined || (held.complete && !other.complete))) bySeq.set(held.seq, held)
  }
  const candidates = [...bySeq.values()].sort((a, b) => Number(b.complete) - Number(a.complete) || a.seq - b.seq)
  for (const { seq, txHash } of candidates.slice(0, EXISTING_CHECKS_MAX)) {
    const entry = await readEntry(client.rpc, { flow: client.network.flow, txHash, seq }, { signal })
    if (entry?.root === root && entry.sizeBytes === sizeBytes && equal(entry.tags, tags)) return entry
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
      const { parity } = at
      const entry = await anchorAgain(client, at.entry, error, signal)
      const isTogether = parity?.txHash === at.entry.txHash
      at = {
        entry,
        parity: parity && isTogether ? await anchorAgain(client, parity, error, signal) : parity,
        reused: at.reused,
        isAgain: true,
      }
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
  anchored: Anchored,
  settings: Settings,
  signal: AbortSignal,
): Promise<StoredResult> {
  const { until, tell, steps } = settings
  const { entry, parity, reused } = anchored
  const { root, sizeBytes } = object
  invariant(entry.paddedChunkCount === paddedChunkCountOf(object.submission.nodes), 'the entry is that of this object')
  const { seq, txHash, blockNumber } = entry
  const base = {
    root,
    sizeBytes,
    seq,
    txHash,
    blockNumber,
    reused,
    ...(parity === undefined ? {} : { parity: { root: parity.root, seq: parity.seq, txHash: parity.txHash } }),
  }
  if (until === 'anchored') return { ...base, stage: 'anchored', receipts: [] }
  const held = await protect(client, object, anchored, settings, signal)
  await steps?.reached('durable', anchored, { signal })
  tell({ phase: 'durable', doneBytes: sizeBytes, totalBytes: sizeBytes, root })
  if (until === 'durable') return { ...base, ...held, stage: 'durable' }
  await waitFinal(client.rpc, entry, client.deps, { signal })
  if (parity !== undefined && parity.txHash !== txHash) await waitFinal(client.rpc, parity, client.deps, { signal })
  await steps?.reached('final', anchored, { signal })
  tell({ phase: 'final', doneBytes: sizeBytes, totalBytes: sizeBytes, root })
  return { ...base, ...held, stage: 'final' }
}

type Protected = Pick<StoredResult, 'receipts' | 'certificate' | 'lossesSurvived'>

/** Brings the bytes to their holders: shards of a coded object, or copies. */
async function protect(
  client: Client,
  object: Accepted,
  { entry, parity, reused, isAgain = false }: Anchored,
  { replicas, code, lossesNeeded, tell, steps }: Settings,
  signal: AbortSignal,
): Promise<Protected> {
  const { root, sizeBytes, source, tree } = object
  const { seq, blockNumber } = entry
  const mayBeHeld = reused || isAgain || steps?.isResumed() === true
  const onStored = (doneBytes: number): void => tell({ phase: 'store', doneBytes, totalBytes: sizeBytes, root })
  const what = { seq, blockNumber, root, tree, source, mayBeHeld }
  if (object.parity !== undefined) {
    const { layout } = object.parity
    const of = { seq: parity!.seq, root: object.parity.root, tree: object.parity.tree }
    return disperseShards(client, { ...what, layout, parity: of, lossesNeeded }, { signal, onStored })
  }
  if (code === undefined) return { receipts: await disperse(client, { ...what, replicas }, { signal, onStored }) }
  const copies = { ...what, replicas: 1 + code.m, needed: 1 + (lossesNeeded ?? lossesNeededOf(code)) }
  const receipts = await disperse(client, copies, { signal, onStored })
  return certifyCopies(client, { ...what, sizeBytes, code, receipts, lossesNeeded }, { signal })
}

const STAGES: readonly Stage[] = ['accepted', 'anchored', 'durable', 'final']

function parseSettings(options: UploadManyOptions, steps: Steps | undefined): Omit<Settings, 'entry'> {
  const {
    until = 'durable',
    tags = new Uint8Array(0),
    encryption,
    replicas = REPLICA_COUNT,
    onExisting = 'reuse',
    lossesNeeded,
  } = options
  const code = typeof options.code === 'string' ? parseCode(options.code) : options.code
  const wrong = (name: string, value: unknown): Error => fail('OPTION_INVALID', { name, value: String(value) })
  if (!STAGES.includes(until)) throw wrong('until', until)
  if (!(tags instanceof Uint8Array)) throw wrong('tags', typeof tags)
  if (!Number.isInteger(replicas) || replicas < 1 || replicas > SLOT_COUNT_MAX) throw wrong('replicas', replicas)
  if (code !== undefined && !isCode(code)) throw wrong('code', preview(code))
  if (code !== undefined && options.replicas !== undefined) throw wrong('replicas', 'not with a code')
  if (
    lossesNeeded !== undefined &&
    !(code && Number.isInteger(lossesNeeded) && 0 <= lossesNeeded && lossesNeeded <= code.m)
  )
    throw wrong('lossesNeeded', code === undefined ? 'only with a code' : lossesNeeded)
  if (onExisting !== 'reuse' && onExisting !== 'resubmit') throw wrong('onExisting', onExisting)
  const tell = options.onProgress ?? (() => undefined)
  return { until, tags, encryption, replicas, code, lossesNeeded, onExisting, tell, steps }
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
