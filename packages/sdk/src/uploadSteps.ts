import {
  ENTRY_SIZE_BYTES_MAX,
  ENCRYPTION_RANDOM_BYTES,
  fromHex,
  isCode,
  isFailure,
  parseAddress,
  parseHex,
  parseRoot,
  parseTxHash,
  preview,
  TAGS_BYTES_MAX,
  toHex,
  type Abortable,
  type Address,
  type Encryption,
  type Entry,
  type ErasureCode,
  type Hex,
  type Random,
  type Root,
  type Submission,
  type TxHash,
} from '@weightless/core'
import type { Client } from './client.ts'
import { fail } from './errors.ts'
import { entriesOf, submitCalldata } from './flowChain.ts'
import {
  callOf,
  parsePendingTransaction,
  type PendingTransaction,
  type SignedTransaction,
} from './pendingTransaction.ts'
import { abortable } from './scope.ts'
import { parseReceipt } from './settle.ts'
import { findSubmitted, isEntryOf, readHead } from './submitLogs.ts'

/** How far an upload is, as plain JSON: whoever has the source, the wallet and the last step goes on in another process, and
 *  pays once. It holds no private key. With `encryption` to a recipient it holds what opens the object (`seal`): keep it as you
 *  would keep the plain bytes. */
export type UploadStep = {
  readonly version: 1
  readonly chainId: number
  readonly flow: Address
  readonly root: Root
  /** Bytes in the log: with encryption, header and ciphertext. */
  readonly sizeBytes: number
  readonly tags: Hex
  /** The newest block when the upload began: a payment of it can only be in a later one. */
  readonly sinceBlock: number
  /** With encryption: the random bytes that make source and key this ciphertext again. */
  readonly seal?: Hex
  /** With a code, and more than one segment: the parity that belongs to it. */
  readonly parity?: { readonly code: ErasureCode; readonly root: Root }
  /** The entry of the data, where it was there already and the transaction pays for the parity alone. */
  readonly dataEntry?: EntryName
} & (
  | { readonly step: 'rooted' }
  /** Told before the transaction is sent: it may be out or not, and is sent again byte for byte. */
  | { readonly step: 'signed'; readonly transaction: SignedTransaction }
  /** Told before a wallet is asked that sends by itself, and again with the hash. */
  | { readonly step: 'asked'; readonly transaction: Exclude<PendingTransaction, SignedTransaction> }
  | {
      readonly step: 'anchored' | 'durable' | 'final'
      readonly entry: EntryName
      readonly parityEntry?: EntryName
      /** Absent when an entry that was there already serves. */
      readonly transaction?: PendingTransaction
    }
)
export type EntryName = { readonly seq: number; readonly txHash: TxHash; readonly blockNumber: number }

export type StepOptions = {
  /** The last step that `onStep` told for this upload: goes on from there. Source, tags, network and wallet must be the same. */
  readonly resume?: UploadStep | undefined
  /** The same for steps that are kept by root: asked once the root is known, unless `resume` is given. */
  readonly findStep?:
    | ((object: {
        readonly root: Root
        readonly sizeBytes: number
      }) => UploadStep | undefined | Promise<UploadStep | undefined>)
    | undefined
  /** Told each step and awaited before the next one begins: save it, the latest replaces the ones before. If it fails, so does
   *  the upload, and nothing that could not be saved is sent. */
  readonly onStep?: ((step: UploadStep) => void | Promise<void>) | undefined
}

/** An entry of the log, ours or one that was there. */
export type Anchored = {
  readonly entry: Entry
  /** With a code, and more than one segment. */
  readonly parity: Entry | undefined
  readonly reused: boolean
  /** Its block was replaced on the way: holders may have its bytes. */
  readonly isAgain?: boolean
}

/** What an upload is about, once its source is hashed. */
export type StepObject = {
  readonly root: Root
  readonly sizeBytes: number
  readonly submission: Submission
  readonly parity: StepParity | undefined
}
export type StepParity = { readonly code: ErasureCode; readonly root: Root; readonly submission: Submission }

/** What a transaction pays for: parity alone where the entry of the data is there. */
export function unpaidOf(
  object: Pick<StepObject, 'submission' | 'parity'>,
  data: Entry | undefined,
): readonly Submission[] {
  const parity = object.parity === undefined ? [] : [object.parity.submission]
  return data === undefined ? [object.submission, ...parity] : parity
}

/** The steps of one upload. */
export type Steps = {
  /** Fixes the ciphertext of this upload, and of its continuation. `undefined` without encryption. */
  readonly seal: Uint8Array | undefined
  /** A process before this one may have stored bytes at the holders. */
  isResumed(): boolean
  /** Finds the step to go on from and checks it. Throws `STEP_MISMATCH`, `STEP_INVALID`. */
  open(object: StepObject, options: Abortable): Promise<void>
  /** The entries that the saved step has paid for, as the chain says now. `undefined`: nothing of it can be mined any more. */
  resumed(options: Abortable): Promise<Anchored | undefined>
  /** Pays for what `unpaidOf` says: `attempt` sends and reads the entries back. Done again when another program took the nonce.
   *  `data` is the entry of the data, if it is there. */
  pay(
    data: Entry | undefined,
    attempt: (onPending: (pending: PendingTransaction) => Promise<void>) => Promise<readonly Entry[]>,
    options: Abortable,
  ): Promise<Anchored>
  /** Tells that a stage is reached. */
  reached(step: 'anchored' | 'durable' | 'final', anchored: Anchored, options: Abortable): Promise<void>
}

/** Another program that takes the nonce so often sends all the time. */
export const PAY_ATTEMPTS_MAX = 3

/** `undefined` when the caller wants no steps. */
export function createSteps(
  client: Client,
  options: StepOptions & { readonly encryption?: Encryption | undefined },
): Steps | undefined {
  const { findStep, onStep, encryption } = options
  if (options.resume === undefined && findStep === undefined && onStep === undefined) return undefined
  const resume = options.resume === undefined ? undefined : parseUploadStep(options.resume)
  const seal = sealFor(encryption, resume, client.deps)
  const { network, rpc } = client
  let object: StepObject
  let saved: UploadStep | undefined
  let about: Omit<Extract<UploadStep, { readonly step: 'rooted' }>, 'step'>
  let transaction: PendingTransaction | undefined
  let dataEntry: EntryName | undefined

  const tell = async (step: UploadStep, { signal }: Abortable): Promise<void> => {
    if (onStep === undefined) return
    try {
      await abortable(Promise.resolve(onStep(step)), { signal })
    } catch (cause) {
      signal?.throwIfAborted()
      throw isFailure(cause)
        ? cause
        : fail('STEP_NOT_SAVED', { step: step.step, reason: preview((cause as Error | undefined)?.message) }, { cause })
    }
  }
  const rooted = async (abort: Abortable): Promise<void> => {
    transaction = undefined
    dataEntry = undefined
    await tell({ ...about, step: 'rooted' }, abort)
  }
  /** A payment that another hash may have made: a raised fee in a wallet, or one whose hash was never told. */
  const findPaid = async (from: Address, abort: Abortable): Promise<Anchored | undefined> => {
    const { submission, parity } = object
    const found = await findSubmitted(
      rpc,
      // Every transaction of an object with parity pays for that.
      {
        flow: network.flow,
        sender: from,
        submission: parity?.submission ?? submission,
        sinceBlock: about.sinceBlock,
      },
      abort,
    )
    if (found === undefined) return undefined
    if (parity === undefined) return { entry: found, parity: undefined, reused: false }
    const entry = await readPaid(client, dataEntry?.txHash ?? found.txHash, submission, abort)
    return entry && { entry, parity: found, reused: false }
  }
  const readSaved = async (step: UploadStep, abort: Abortable): Promise<Anchored | undefined> => {
    if (!('entry' in step)) return undefined
    const [entry, parity] = await Promise.all([
      readPaid(client, step.entry.txHash, object.submission, abort),
      object.parity && step.parityEntry && readPaid(client, step.parityEntry.txHash, object.parity.submission, abort),
    ])
    if (entry === undefined || (object.parity !== undefined && parity === undefined)) return undefined
    return { entry, parity, reused: step.transaction === undefined }
  }

  return {
    seal,
    isResumed: () => saved !== undefined,
    open: async (opened, abort) => {
      object = opened
      const { root, sizeBytes } = opened
      saved = resume ?? (await found(findStep, { root, sizeBytes }, abort))
      if (saved !== undefined) checkStep(saved, opened, client, await client.transactor!.address(abort))
      about = {
        version: 1,
        chainId: network.chainId,
        flow: network.flow,
        root,
        sizeBytes,
        tags: toHex(opened.submission.tags),
        sinceBlock: saved?.sinceBlock ?? (await readHead(rpc, abort)),
        ...(seal === undefined ? {} : { seal: toHex(seal) }),
        ...(opened.parity === undefined ? {} : { parity: { code: opened.parity.code, root: opened.parity.root } }),
      }
      if (saved !== undefined && 'transaction' in saved) transaction = saved.transaction
      dataEntry = saved?.dataEntry
      if (saved === undefined) await rooted(abort)
    },
    resumed: async (abort) => {
      if (saved === undefined || saved.step === 'rooted') return undefined
      const anchored = await readSaved(saved, abort)
      if (anchored !== undefined) return anchored
      const { transaction: pending } = saved
      if (pending === undefined) return undefined
      try {
        const mined = await client.transactor!.settle(pending, {
          ...abort,
          onPending: async (raised) => onPending(raised, abort),
        })
        const entries = entriesOf(mined, network.flow)
        const find = (submission: Submission | undefined): Entry | undefined =>
          submission && entries.find((one) => isEntryOf(one, submission))
        const entry =
          dataEntry === undefined
            ? find(object.submission)
            : await readPaid(client, dataEntry.txHash, object.submission, abort)
        const parity = find(object.parity?.submission)
        // The data entry of somebody else's transaction may be gone with its block: then all is paid for anew.
        if (entry === undefined && dataEntry !== undefined && parity !== undefined) return undefined
        if (entry === undefined || (object.parity !== undefined && parity === undefined))
          throw fail('TX_LOG_MISSING', { flow: network.flow, txHash: mined.txHash })
        return { entry, parity, reused: false }
      } catch (error) {
        return await afterLoss(error, pending, abort)
      }
    },
    pay: async (data, attempt, abort) => {
      for (let left = PAY_ATTEMPTS_MAX - 1; ; left--) {
        dataEntry = data && nameOf(data)
        try {
          const entries = await attempt((pending) => onPending(pending, abort))
          const [entry, parity] = data === undefined ? entries : [data, ...entries]
          return { entry: entry!, parity, reused: false }
        } catch (error) {
          if (transaction === undefined) throw error
          const anchored = await afterLoss(error, transaction, abort)
          if (anchored !== undefined) return anchored
          if (left === 0) throw error
        }
      }
    },
    reached: async (step, { entry, parity }, abort) =>
      tell(
        {
          ...aboutPayment(),
          step,
          entry: nameOf(entry),
          ...(parity === undefined ? {} : { parityEntry: nameOf(parity) }),
          ...(transaction === undefined ? {} : { transaction }),
        },
        abort,
      ),
  }

  async function onPending(pending: PendingTransaction, abort: Abortable): Promise<void> {
    transaction = pending
    await tell(
      pending.by === 'key'
        ? { ...aboutPayment(), step: 'signed', transaction: pending }
        : { ...aboutPayment(), step: 'asked', transaction: pending },
      abort,
    )
  }

  function aboutPayment(): typeof about {
    return { ...about, ...(dataEntry === undefined ? {} : { dataEntry }) }
  }

  /** A payment has failed: finds one that was made in its place. `undefined`: surely none, pay anew. Throws `error` for all that
   *  must be looked at, or waited for, before anything is paid again. */
  async function afterLoss(
    error: unknown,
    pending: PendingTransaction,
    abort: Abortable,
  ): Promise<Anchored | undefined> {
    abort.signal?.throwIfAborted()
    if (isFailure(error, 'TX_REVERTED') && error.facts['when'] === 'mined') {
      await rooted(abort)
      throw error
    }
    const isReplaced = isFailure(error, 'TX_REPLACED')
    const isNeverSeen = isFailure(error, 'TX_DROPPED') && pending.by === 'wallet' && pending.txHash === undefined
    if (!isReplaced && !isFailure(error, 'TX_DROPPED')) throw error
    const anchored = await findPaid(pending.from, abort)
    if (anchored !== undefined) return anchored
    if (!isReplaced && !isNeverSeen) throw error
    await rooted(abort)
    return undefined
  }
}

function nameOf({ seq, txHash, blockNumber }: Entry): EntryName {
  return { seq, txHash, blockNumber }
}

async function found(
  findStep: StepOptions['findStep'],
  object: { readonly root: Root; readonly sizeBytes: number },
  options: Abortable,
): Promise<UploadStep | undefined> {
  if (findStep === undefined) return undefined
  const step = await abortable(Promise.resolve(findStep(object)), options)
  return step === undefined ? undefined : parseUploadStep(step)
}

/** For a key of the caller's, the nonce alone; for a recipient, the ephemeral key too. */
function sealFor(
  encryption: Encryption | undefined,
  resume: UploadStep | undefined,
  deps: { readonly random: Random },
): Uint8Array | undefined {
  if (resume !== undefined && (resume.seal === undefined) !== (encryption === undefined))
    throw fail('STEP_MISMATCH', { what: 'encryption', step: resume.seal !== undefined, call: encryption !== undefined })
  if (encryption === undefined) return undefined
  if (resume?.seal !== undefined) return fromHex(resume.seal)
  const seal = deps.random.bytes(ENCRYPTION_RANDOM_BYTES)
  // Unused with a key of the caller's, and nothing that is unused is written down.
  if (encryption.type === 'aes256') seal.fill(0, 0, 32)
  return seal
}

function checkStep(step: UploadStep, object: StepObject, { network }: Client, address: Address): void {
  const { submission } = object
  const same = (what: string, ofStep: string | number, ofCall: string | number): void => {
    if (ofStep !== ofCall) throw fail('STEP_MISMATCH', { what, step: preview(ofStep), call: preview(ofCall) })
  }
  same('chain id', step.chainId, network.chainId)
  same('flow', step.flow, network.flow)
  same('size', step.sizeBytes, object.sizeBytes)
  same('root', step.root, object.root)
  same('tags', step.tags, toHex(submission.tags))
  same('code', codeText(step.parity?.code), codeText(object.parity?.code))
  same('parity', step.parity?.root ?? 'none', object.parity?.root ?? 'none')
  if (!('transaction' in step) || step.transaction === undefined) return
  same('wallet', step.transaction.from, address)
  if (step.transaction.by === 'wallet') return
  const { chainId, to, data } = callOf(step.transaction)
  same('chain id of the transaction', chainId, network.chainId)
  same('contract of the transaction', to, network.flow)
  const { parity } = object
  const isParityAlone = parity !== undefined && step.dataEntry !== undefined
  const parts = isParityAlone ? [parity.submission] : unpaidOf(object, undefined)
  same('call of the transaction', data, submitCalldata(parts, address))
}

function codeText(code: ErasureCode | undefined): string {
  return code === undefined ? 'none' : `${code.k}+${code.m}`
}

/** The entry that a transaction made of this, as the chain says now; after a reorganisation it may have another number. */
export async function readPaid(
  { rpc, network }: Client,
  txHash: TxHash,
  submission: Submission,
  options: Abortable,
): Promise<Entry | undefined> {
  const raw = await rpc.request('eth_getTransactionReceipt', [txHash], options)
  if (raw === null || raw === undefined) return undefined
  const receipt = parseReceipt(raw, txHash)
  if (!receipt.isSuccess) return undefined
  return entriesOf(receipt, network.flow).find((entry) => isEntryOf(entry, submission))
}

const STEPS = ['rooted', 'signed', 'asked', 'anchored', 'durable', 'final'] as const

/** A step as `onStep` gave it, from JSON. Strict and bounded: files and browsers' storages are outside input. Throws
 *  `STEP_INVALID`. */
export function parseUploadStep(value: unknown): UploadStep {
  const field = (typeof value === 'object' && value !== null ? value : {}) as { readonly [name: string]: unknown }
  const wrong = (name: string, cause?: unknown): Error =>
    fail('STEP_INVALID', { field: name, value: preview(field[name]) }, { cause })
  const parsed = <T>(name: string, parse: (value: unknown) => T): T => {
    try {
      return parse(field[name])
    } catch (cause) {
      throw isFailure(cause, 'STEP_INVALID') ? cause : wrong(name, cause)
    }
  }
  const count = (name: string, min: number, max: number = Number.MAX_SAFE_INTEGER): number =>
    parsed(name, (given) => countOf(given, min, max))
  if (field['version'] !== 1) throw wrong('version')
  const step = STEPS.find((name) => name === field['step'])
  if (step === undefined) throw wrong('step')
  const about = {
    version: 1,
    chainId: count('chainId', 1),
    flow: parsed('flow', parseAddress),
    root: parsed('root', parseRoot),
    sizeBytes: count('sizeBytes', 1, ENTRY_SIZE_BYTES_MAX),
    tags: parsed('tags', (given) => toHex(parseHex(given, { name: 'tags', sizeBytesMax: TAGS_BYTES_MAX }))),
    sinceBlock: count('sinceBlock', 0),
    ...(field['seal'] === undefined ? {} : { seal: parsed('seal', parseSeal) }),
    ...(field['parity'] === undefined ? {} : { parity: parsed('parity', parseParityName) }),
    ...(field['dataEntry'] === undefined ? {} : { dataEntry: parsed('dataEntry', parseEntryName) }),
  } as const
  if (step === 'rooted') return { ...about, step }
  const transaction = field['transaction'] === undefined ? undefined : parsePendingTransaction(field['transaction'])
  if (step === 'signed') {
    if (transaction?.by !== 'key') throw wrong('transaction')
    return { ...about, step, transaction }
  }
  if (step === 'asked') {
    if (transaction?.by !== 'wallet') throw wrong('transaction')
    return { ...about, step, transaction }
  }
  const entry = parsed('entry', parseEntryName)
  return {
    ...about,
    step,
    entry,
    ...(field['parityEntry'] === undefined ? {} : { parityEntry: parsed('parityEntry', parseEntryName) }),
    ...(transaction === undefined ? {} : { transaction }),
  }
}

function parseSeal(value: unknown): Hex {
  const bytes = parseHex(value, { name: 'seal', sizeBytesMax: ENCRYPTION_RANDOM_BYTES })
  if (bytes.length !== ENCRYPTION_RANDOM_BYTES) throw new Error('too short')
  return toHex(bytes)
}

function parseParityName(value: unknown): { readonly code: ErasureCode; readonly root: Root } {
  const { code, root } = (value ?? {}) as { readonly [name: string]: unknown }
  const { k, m } = (code ?? {}) as ErasureCode
  if (!isCode({ k, m })) throw new Error('no code')
  return { code: { k, m }, root: parseRoot(root) }
}

function parseEntryName(value: unknown): EntryName {
  const { seq, txHash, blockNumber } = (value ?? {}) as { readonly [name: string]: unknown }
  return { seq: countOf(seq, 0), txHash: parseTxHash(txHash), blockNumber: countOf(blockNumber, 0) }
}

function countOf(value: unknown, min: number, max: number = Number.MAX_SAFE_INTEGER): number {
  if (Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max) return value as number
  throw new Error('no whole number in its bounds')
}
