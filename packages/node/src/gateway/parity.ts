import type { Address, Clock, Entry, ErasureCode, Index, Logger, Root } from '@weightless/core'
import {
  concat,
  fromHex,
  isFailure,
  layoutOf,
  lossesNeededOf,
  parseAddress,
  SEGMENT_SIZE_BYTES,
  shardLayoutOf,
  SLOT_COUNT_MAX,
  toHex,
  type ShardLayout,
} from '@weightless/core'
import { keccak256 } from '@weightless/kernels'
import {
  certifyCopies,
  mapBounded,
  parseUploadStep,
  upload,
  type Client,
  type ReadAt,
  type UploadStep,
} from '@weightless/sdk'
import { createAlarm } from '../alarm.ts'
import type { Certificates } from '../erasure/certificates.ts'
import { fail } from '../errors.ts'
import type { EntryIndex } from '../flow/entries.ts'
import { kindRange, objectKey, objectOfKey } from '../flow/keys.ts'
import { parityTagsOf } from '../flow/parities.ts'
import { createGate } from '../http/gate.ts'
import { createTurns } from '../turns.ts'
import type { Budget } from './budget.ts'
import type { Ledger } from './ledger.ts'
import type { SegmentReader } from './reader.ts'

/** Gives what official clients upload the protection of an erasure code (DESIGN D8): parity that the operator pays for, shards at their
 *  homes, a certificate. As any user would do it for an object whose data entry is there. */
export type ParityGiver = {
  /** Entries that get parity: more than one segment, and no parity of others. */
  covers(entry: Entry): boolean
  /** `certified`: done. `later`: not now, try again soon. `copies`: it takes too long, or is not to be had: whole copies are to be made
   *  now; the parity is owed, and given when it can be. */
  give(entry: Entry, options: { readonly signal: AbortSignal }): Promise<'certified' | 'later' | 'copies'>
  /** It is final by copies that its homes have fetched from each other, before its parity was there: that is owed. */
  owe(entry: Entry): Promise<void>
  /** Gives an entry of one segment, whose copies are signed for, a certificate that says how many of them there are to be: those who
   *  repair it go by that. One that cannot be had now is not tried again: the copies are there without it. */
  certify(entry: Entry, options: { readonly signal: AbortSignal }): Promise<void>
  /** The membership changed: what is owed is tried at once. */
  retry(): void
  owedCount(): number
  /** Gives what is owed. Resolves when `signal` aborts. */
  run(options: { readonly signal: AbortSignal }): Promise<void>
}

export type ParityGiverOptions = {
  readonly code: ErasureCode
  /** Operators of the gateways that do the same on this network, this one among them or none: each waits for its turn, so that as a
   *  rule one pays. */
  readonly gateways: readonly Address[]
}
export type ParityGiverDeps = {
  readonly client: Client
  readonly entries: Pick<EntryIndex, 'bySeq' | 'byRoot'>
  readonly certificates: Pick<Certificates, 'take'>
  readonly ledger: Pick<Ledger, 'isCertified' | 'counted'>
  readonly reader: Pick<SegmentReader, 'read'>
  readonly budget: Budget
  readonly index: Index
  readonly clock: Clock
  readonly logger: Logger
}

/** An official client waits for `finalized` as long as its caller likes, most of them some minutes: after this, and what its bytes need
 *  over a slow line, it has copies. */
export const COPIES_AFTER_MS = 30_000
export const PARITY_BYTES_PER_MS = 4_096
/** Parity that is owed is tried again after so long, and each try that fails doubles the time to the next one of its entry. */
export const OWED_MS_MIN = 30_000
const OWED_MS_MAX = 86_400_000
const TURN_MS = 2_000
/** Data and parity of all that is coded at once; one large object alone takes as much. */
const CODING_BYTES_MAX = 64 * 1024 ** 2
const WAITING_MAX = 4096
const WAIT_MS_MAX = 600_000
/** Holders that do not take a certificate in this time do without it. */
const CERTIFY_MS_MAX = 30_000
/** Segments read at once from where they are. */
const READ_WINDOW = 4

export function createParityGiver(options: ParityGiverOptions, deps: ParityGiverDeps): ParityGiver {
  const { code } = options
  const { client, entries, certificates, ledger, index, clock, logger } = deps
  const room = createGate({ bytesMax: CODING_BYTES_MAX, waitMsMax: WAIT_MS_MAX, waitingMax: WAITING_MAX }, { clock })
  // By the bytes that they are about: a reorganisation gives numbers to other entries.
  /** When the first try of an object began. */
  const triedMs = new Map<string, number>()
  /** Objects that are owed parity and were tried in vain since the membership changed. */
  const rests = new Map<string, { readonly dueMs: number; readonly restMs: number }>()
  /** Entries of the same bytes share their shards, and one parity will do. */
  const inTurn = createTurns<string>()
  const alarm = createAlarm(clock)
  let isChanged = false

  function layoutFor(entry: Entry): ShardLayout | undefined {
    if (parityTagsOf(entry) !== undefined) return undefined
    try {
      return shardLayoutOf(entry.sizeBytes, code)
    } catch {
      // Its parity would be larger than any entry may be.
      return undefined
    }
  }

  async function give(entry: Entry, { signal }: { readonly signal: AbortSignal }) {
    if (index.get(owedKey(entry)) !== undefined) return 'copies' as const
    if (!triedMs.has(nameOf(entry))) await awaitTurn(entry, signal)
    try {
      await attempt(entry, { signal, isBounded: true })
      triedMs.delete(nameOf(entry))
      return 'certified' as const
    } catch (error) {
      signal.throwIfAborted()
      const isHopeless = isFailure(error) && HOPELESS.has(error.code)
      const isLate = leftMs(entry) <= 0
      logger.warn('parity.notGiven', { seq: entry.seq, root: entry.root, isHopeless, isLate, error })
      if (!isHopeless && !isLate) return 'later' as const
      await owe(entry)
      return 'copies' as const
    }
  }

  async function owe(entry: Entry): Promise<void> {
    triedMs.delete(nameOf(entry))
    const key = owedKey(entry)
    if (index.get(key) !== undefined) return
    await index.transaction([{ key, value: new Uint8Array(0) }], { durability: 'written' })
    rest(nameOf(entry))
    alarm.ring()
  }

  /** Resolves to how long it rests. */
  function rest(name: string): number {
    const before = rests.get(name)
    const restMs = before === undefined ? OWED_MS_MIN : Math.min(OWED_MS_MAX, 2 * before.restMs)
    rests.set(name, { dueMs: clock.nowMs() + restMs, restMs })
    return restMs
  }

  function untilDueMs(): number {
    let dueMs = Infinity
    for (const one of rests.values()) dueMs = Math.min(dueMs, one.dueMs)
    return Math.max(0, dueMs - clock.nowMs())
  }

  /** Until copies are made instead. */
  function leftMs(entry: Entry): number {
    const limitMs = COPIES_AFTER_MS + Math.ceil(entry.sizeBytes / PARITY_BYTES_PER_MS)
    const startMs = triedMs.get(nameOf(entry))
    return startMs === undefined ? limitMs : startMs + limitMs - clock.nowMs()
  }

  /** Equal bytes, so a race of two gateways costs a fee and nothing else. */
  async function awaitTurn({ root }: Entry, signal: AbortSignal): Promise<void> {
    if (options.gateways.length <= 1) return
    const own = await client.transactor?.address({ signal })
    const turn = own === undefined ? 0 : turnsOf(root, options.gateways).indexOf(parseAddress(own))
    if (turn > 0) await clock.sleep(turn * TURN_MS, { signal })
  }

  /** One after the other for entries of the same bytes. `isBounded`: within the time after which there are copies. */
  async function attempt(
    entry: Entry,
    options: { readonly signal: AbortSignal; readonly isBounded: boolean },
  ): Promise<void> {
    await inTurn(nameOf(entry), () => attemptNow(entry, options))
  }

  async function attemptNow(
    entry: Entry,
    { signal, isBounded }: { readonly signal: AbortSignal; readonly isBounded: boolean },
  ): Promise<void> {
    signal.throwIfAborted()
    if (ledger.isCertified(entry)) {
      await settled(entry)
      return
    }
    await checkHope(entry, signal)
    // Who waits for others is not late.
    const leave = await room.enter(Math.min(CODING_BYTES_MAX, 2 * entry.sizeBytes), { signal })
    try {
      if (isBounded && !triedMs.has(nameOf(entry))) triedMs.set(nameOf(entry), clock.nowMs())
      const scope = isBounded
        ? AbortSignal.any([signal, clock.deadline(Math.max(0, Math.ceil(leftMs(entry))))])
        : signal
      const { seq, certificate } = await upload(client, sourceOf(entry), {
        code,
        tags: entry.tags,
        entry,
        signal: scope,
        ...stepsOf(entry),
      })
      // A reorganisation on the way may have given it another number.
      const current = entries.bySeq(seq)
      if (current === undefined || certificate === undefined) throw fail('ENTRY_UNSEEN', { seq, root: entry.root })
      await certificates.take(current, certificate, { signal })
      await settled(entry)
    } finally {
      leave()
    }
  }

  async function certify(entry: Entry, { signal }: { readonly signal: AbortSignal }): Promise<void> {
    const { root, seq, sizeBytes } = entry
    const receipts = ledger.counted(entry)
    const isCopied = parityTagsOf(entry) === undefined && sizeBytes <= SEGMENT_SIZE_BYTES
    if (!isCopied || receipts.length === 0 || ledger.isCertified(entry)) return
    const scope = AbortSignal.any([signal, clock.deadline(CERTIFY_MS_MAX)])
    try {
      const { certificate } = await certifyCopies(client, { root, seq, sizeBytes, code, receipts }, { signal: scope })
      await certificates.take(entry, certificate, { signal: scope })
    } catch (error) {
      signal.throwIfAborted()
      logger.warn('copies.notCertified', { seq, root, error })
    }
  }

  /** Whatever would be refused after all bytes were read is refused before. */
  async function checkHope(entry: Entry, signal: AbortSignal): Promise<void> {
    const { dataSlotCount, paritySizeBytes } = layoutFor(entry)!
    const isPaid = index.get(stepKey(entry)) !== undefined
    if (!isPaid) deps.budget.check(entry.sender, paritySizeBytes)
    const { members } = await client.membership.read({ signal })
    const needed = dataSlotCount + lossesNeededOf(code)
    if (members.length < needed) throw fail('PARITY_NODES_TOO_FEW', { seq: entry.seq, needed, members: members.length })
  }

  async function settled(entry: Entry): Promise<void> {
    await index.transaction(
      [
        { key: stepKey(entry), value: undefined },
        { key: owedKey(entry), value: undefined },
      ],
      { durability: 'written' },
    )
  }

  const owedKey = (object: StoredObject): Uint8Array => objectKey('parityOwed', object, 0)
  /** The payment is for the parity of these bytes: a reorganisation that gives their entry another number leaves it what it is. */
  const stepKey = (entry: Entry): Uint8Array => objectKey('parityStep', entry, code.k * SLOT_COUNT_MAX + code.m)

  /** One payment for each object, whatever ends this process; and nothing is paid for but the parity of this entry. */
  function stepsOf(entry: Entry): Pick<Parameters<typeof upload>[2] & object, 'findStep' | 'onStep'> {
    const key = stepKey(entry)
    const saved = (): UploadStep | undefined => {
      const value = index.get(key)
      return value && stepFor(entry, parseUploadStep(JSON.parse(new TextDecoder().decode(value))))
    }
    return {
      findStep: ({ root }) => {
        // The bytes that were read are not those of the root: what is computed from them is nobody's parity.
        if (root !== entry.root) throw fail('SPOOL_DAMAGED', { root: entry.root, computed: root })
        return saved()
      },
      onStep: async (step) => {
        if (step.step === 'rooted') return
        if (step.step === 'signed' || step.step === 'asked') {
          if (saved() === undefined) await deps.budget.spend(entry.sender, layoutFor(entry)!.paritySizeBytes)
        } else if (saved() === undefined) return
        const value = new TextEncoder().encode(JSON.stringify(step))
        await index.transaction([{ key, value }], { durability: 'synced' })
      },
    }
  }

  function sourceOf(entry: Entry): ReadAt {
    const { segmentCount } = layoutOf(entry.sizeBytes)
    const readInto = async (
      parts: readonly Uint8Array[],
      start: number,
      { signal }: { readonly signal?: AbortSignal | undefined },
    ): Promise<number> => {
      const end = Math.min(entry.sizeBytes, start + parts.reduce((sum, part) => sum + part.length, 0))
      const first = Math.floor(start / SEGMENT_SIZE_BYTES)
      const count = Math.min(segmentCount, Math.ceil(end / SEGMENT_SIZE_BYTES)) - first
      const indexes = Array.from({ length: Math.max(0, count) }, (_, i) => first + i)
      await mapBounded(indexes, { window: READ_WINDOW, signal }, async (at, scope) => {
        const segment = await deps.reader.read(entry, at, { signal: scope })
        if (segment === undefined) throw fail('SEGMENT_MISSING', { root: entry.root, seq: entry.seq, index: at })
        const from = at * SEGMENT_SIZE_BYTES
        scatter(parts, segment.data.subarray(Math.max(0, start - from), end - from), Math.max(0, from - start))
      })
      return Math.max(0, end - start)
    }
    return {
      sizeBytes: entry.sizeBytes,
      readInto,
      async read(start, end, abortable) {
        const bytes = new Uint8Array(end - start)
        return bytes.subarray(0, await readInto([bytes], start, abortable))
      },
    }
  }

  function owed(): readonly StoredObject[] {
    return Array.from(index.range(kindRange('parityOwed')), ({ key }) => objectOfKey(key)).filter(
      (object) => object !== undefined,
    )
  }

  /** One of the entries that stand for these bytes now. */
  function entryOf({ root, sizeBytes }: StoredObject): Entry | undefined {
    return entries.byRoot(root).find((entry) => entry.sizeBytes === sizeBytes)
  }

  /** Nothing is owed to an entry that a reorganisation took away and that has not come again for so long. */
  async function forget(object: StoredObject): Promise<void> {
    rests.delete(nameOf(object))
    await index.transaction([{ key: owedKey(object), value: undefined }], { durability: 'written' })
  }

  return {
    covers: (entry) => layoutFor(entry) !== undefined,
    give,
    owe,
    certify,
    retry() {
      rests.clear()
      isChanged = true
      alarm.ring()
    },
    owedCount: () => owed().length,
    async run({ signal }) {
      while (!signal.aborted) {
        isChanged = false
        const objects = owed()
        const names = new Set(objects.map(nameOf))
        for (const name of rests.keys()) if (!names.has(name)) rests.delete(name)
        for (const object of objects) {
          const name = nameOf(object)
          if ((rests.get(name)?.dueMs ?? 0) > clock.nowMs()) continue
          const entry = entryOf(object)
          if (entry === undefined) {
            if (rest(name) === OWED_MS_MAX) await forget(object)
            continue
          }
          await attempt(entry, { signal, isBounded: false }).then(
            () => rests.delete(name),
            (error: unknown) => {
              if (signal.aborted) return
              logger.info('parity.stillOwed', { seq: entry.seq, restMs: rest(name), error })
            },
          )
          if (signal.aborted) return
        }
        // What was tried before the membership changed is tried again.
        if (!isChanged) await alarm.sleep(untilDueMs(), { signal }).catch(() => undefined)
      }
    },
  }
}

type StoredObject = { readonly root: Root; readonly sizeBytes: number }
const nameOf = ({ root, sizeBytes }: StoredObject): string => `${root} ${sizeBytes}`

/** Who pays for the parity of a root, who if that one has not, and so on: rendezvous hashing, for each root another order. */
export function turnsOf(root: Root, gateways: readonly Address[]): readonly Address[] {
  const score = (address: Address): string => toHex(keccak256(concat([fromHex(root), fromHex(address)])))
  return [...gateways].sort((a, b) => (score(a) < score(b) ? -1 : 1))
}

/** A moment later it would be the same. */
const HOPELESS: ReadonlySet<string> = new Set([
  'PARITY_BUDGET_SPENT',
  'PARITY_NODES_TOO_FEW',
  'FUNDS_INSUFFICIENT',
  'NODES_TOO_FEW',
  'SIGNER_MISSING',
  'NETWORK_MISMATCH',
])

/** A payment that was made for these bytes, as one for this entry of them: a reorganisation may have given it another number, or
 *  another one of the same bytes comes first now. */
function stepFor({ seq, txHash, blockNumber, tags }: Entry, step: UploadStep): UploadStep {
  const name = { seq, txHash, blockNumber }
  return {
    ...step,
    tags: toHex(tags),
    ...(step.dataEntry === undefined ? {} : { dataEntry: name }),
    ...('entry' in step ? { entry: name } : {}),
  } as UploadStep
}

/** Puts bytes at a place of parts that follow one another. */
function scatter(parts: readonly Uint8Array[], bytes: Uint8Array, place: number): void {
  let at = place
  let rest = bytes
  for (const part of parts) {
    if (rest.length === 0) return
    if (at >= part.length) {
      at -= part.length
      continue
    }
    const taken = rest.subarray(0, part.length - at)
    part.set(taken, at)
    rest = rest.subarray(taken.length)
    at = 0
  }
}
