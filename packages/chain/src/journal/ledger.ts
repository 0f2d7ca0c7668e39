import {
  type Abortable,
  type Clock,
  type Disk,
  type Failure,
  isFailure,
  type Logger,
  type Random,
} from '@weightless/core'
import { fail } from '../errors.ts'
import { readWhole, writeWhole } from './files.ts'
import { createJournal, type JournalOptions, numbersIn } from './journal.ts'
import type { BlockMark, JournalBlock } from './segment.ts'

/** 1: one saved state, without a journal. 2: snapshots and a journal. 3: chain.json tells the time of the first block. */
const FORMAT_VERSION = 3
const WITH_JOURNAL_VERSION = 2
/** V8 holds no longer string: the hex of 256 MiB, packed, is a history of millions of transactions. */
const STATE_BYTES_MAX: number = 256 * 1024 ** 2
const META_BYTES_MAX = 4096
/** The newest one, and one more in case its bits change. */
const SNAPSHOTS_KEPT = 2

/** What a chain keeps in its directory, so that no block that anybody has seen is ever lost:
 *  - `chain.json`: format version, engine, chain id, time of the first block; written once the first snapshot is there;
 *  - `snapshot-NUMBER.state`: the engine's state after that block, replaced as a whole;
 *  - `journal-NUMBER.log`: the blocks after that one (journal.ts).
 *  The chain is the newest snapshot that the engine takes, and the blocks of the journal made again on top of it. */
export function createLedger(options: LedgerOptions, deps: LedgerDeps): Ledger {
  const { directory, chainId } = options
  const { disk, logger } = deps
  const metaFile = `${directory}/chain.json`
  const legacyFiles = [`${directory}/exit.json`, `${directory}/state.json.gz`]
  const journal = createJournal(options, deps)
  let found: 'new' | 'legacy' | 'known' = 'new'
  let isBegun = false
  let firstBlockS = 0

  const snapshotFile = (number: number): string => `${directory}/snapshot-${String(number).padStart(12, '0')}.state`
  const snapshots = async (): Promise<readonly number[]> =>
    numbersIn(await disk.list(directory), /^snapshot-(\d{12})\.state$/)

  async function open({ signal }: Abortable): Promise<void> {
    await disk.makeDirectory(directory)
    const bytes = await readWhole(disk, metaFile, { signal, sizeBytesMax: META_BYTES_MAX })
    if (bytes === undefined) {
      // Without this file nothing was ever shown to anybody, or somebody has taken it away.
      if ((await snapshots()).some((number) => number > 0) || !(await journal.isEmpty()))
        throw fail('CHAIN_DIRECTORY_INVALID', { file: metaFile, reason: 'it is missing, and there are blocks' })
      found = 'new'
      firstBlockS = Math.floor(deps.clock.nowMs() / 1000)
      return
    }
    const meta = parseMeta(bytes)
    if (meta === undefined) throw fail('CHAIN_DIRECTORY_INVALID', { file: metaFile })
    if (meta.version > FORMAT_VERSION)
      throw fail('CHAIN_DIRECTORY_NEWER', { directory, version: meta.version, supported: FORMAT_VERSION })
    if (meta.chainId !== chainId) throw fail('CHAIN_ID_DIFFERENT', { directory, found: meta.chainId, wanted: chainId })
    found = meta.version >= WITH_JOURNAL_VERSION ? 'known' : 'legacy'
    if (meta.version === FORMAT_VERSION) firstBlockS = meta.firstBlockS
    else await mendOlder({ signal })
  }

  /** States of older versions may have a first block from each start. */
  async function mendOlder({ signal }: Abortable): Promise<void> {
    const files = found === 'legacy' ? legacyFiles : (await snapshots()).map(snapshotFile)
    for (const file of files) {
      const state = await readWhole(disk, file, { signal, sizeBytesMax: STATE_BYTES_MAX })
      const mended = state && (await options.mend(state, { signal }))
      if (mended === undefined) continue
      firstBlockS = mended.timestampS
      if (mended.state !== state) await writeWhole(disk, file, mended.state, { signal })
    }
    // Without it the directory stays one of before: what could not be read is for `restore` to judge.
    if (found === 'known' && firstBlockS > 0) await writeMeta({ signal })
  }

  async function writeMeta({ signal }: Abortable): Promise<void> {
    const meta = `${JSON.stringify({ version: FORMAT_VERSION, engine: 'anvil', chainId, firstBlockS })}\n`
    await writeWhole(disk, metaFile, new TextEncoder().encode(meta), { signal })
  }

  async function restore(engine: LedgerEngine, { signal }: Abortable): Promise<Restored> {
    const startMs = deps.clock.nowMs()
    if (found !== 'known') return { ...(await establish(engine, { signal })), replayedCount: 0 }
    const loaded = await loadNewest(engine, { signal })
    const blocks = await journal.after(loaded, { signal })
    let head: BlockMark = loaded
    for (const block of blocks) {
      signal?.throwIfAborted()
      const hash = await engine.replay(block, { signal }).catch((cause: unknown) => {
        if (!isFailure(cause, 'CHAIN_CALL_FAILED')) throw cause
        const reason = String(cause.facts['message'])
        throw fail('CHAIN_REPLAY_DIFFERENT', { block: block.number, reason, directory }, { cause })
      })
      if (hash !== block.hash)
        throw fail('CHAIN_REPLAY_DIFFERENT', { block: block.number, hash, expectedHash: block.hash, directory })
      head = { number: block.number, hash }
    }
    if (!isBegun) await journal.begin(head, { signal })
    isBegun = true
    logger?.info('chain.restored', {
      snapshot: loaded.number,
      head: head.number,
      ms: deps.clock.nowMs() - startMs,
    })
    return { head, replayedCount: blocks.length }
  }

  /** A new chain, or one that an older version has saved. */
  async function establish(engine: LedgerEngine, { signal }: Abortable): Promise<{ readonly head: BlockMark }> {
    if (found === 'legacy') await loadLegacy(engine, { signal })
    else await engine.found({ signal })
    const head = await engine.head({ signal })
    await snapshot(engine, head, { signal })
    await writeMeta({ signal })
    for (const file of legacyFiles) await disk.remove(file)
    found = 'known'
    return { head }
  }

  async function loadNewest(engine: LedgerEngine, { signal }: Abortable): Promise<BlockMark> {
    const files = (await snapshots()).toReversed().map((number) => ({ number, file: snapshotFile(number) }))
    for (const { number, file } of files) {
      if (!(await loadFile(engine, file, { signal }))) continue
      const head = await engine.head({ signal })
      if (head.number === number) return head
      throw fail('CHAIN_STATE_BROKEN', { file, reason: `its newest block is ${head.number}` })
    }
    throw fail('CHAIN_STATE_BROKEN', {
      file: files[0]?.file ?? snapshotFile(0),
      reason: files.length === 0 ? 'it is missing' : 'the engine does not take it, nor an older one',
    })
  }

  async function loadLegacy(engine: LedgerEngine, { signal }: Abortable): Promise<void> {
    let broken: string | undefined
    for (const file of legacyFiles) {
      if ((await disk.stat(file)) === undefined) continue
      if (await loadFile(engine, file, { signal })) return
      broken ??= file
    }
    if (broken !== undefined) throw fail('CHAIN_STATE_BROKEN', { file: broken })
    await engine.found({ signal })
  }

  async function loadFile(engine: LedgerEngine, file: string, { signal }: Abortable): Promise<boolean> {
    const bytes = await readWhole(disk, file, { signal, sizeBytesMax: STATE_BYTES_MAX })
    if (bytes === undefined) return false
    try {
      await engine.load(bytes, { signal })
      return true
    } catch (error) {
      if (!isFailure(error, 'CHAIN_CALL_FAILED')) throw error
      logger?.warn('chain.snapshotRefused', { file, error })
      return false
    }
  }

  async function snapshot(engine: LedgerEngine, head: BlockMark, { signal }: Abortable): Promise<void> {
    await writeWhole(disk, snapshotFile(head.number), await engine.dump({ signal }), { signal })
    await journal.begin(head, { signal })
    isBegun = true
    const kept = (await snapshots()).slice(-SNAPSHOTS_KEPT)
    for (const number of await snapshots()) if (!kept.includes(number)) await disk.remove(snapshotFile(number))
    await journal.prune(kept[0]!)
  }

  return {
    open,
    firstBlockS: () => firstBlockS,
    restore,
    append: journal.append,
    snapshot,
    fault: journal.fault,
    close: journal.close,
  }
}

export type LedgerOptions = JournalOptions & {
  /** Of a state that an older version has saved: the same with one first block, and the time of that. */
  readonly mend: (
    state: Uint8Array,
    options: Abortable,
  ) => Promise<{ readonly state: Uint8Array; readonly timestampS: number } | undefined>
}
export type LedgerDeps = {
  readonly disk: Disk
  readonly random: Random
  readonly clock: Clock
  readonly logger?: Logger | undefined
}

export type Ledger = {
  /** Makes the directory, or checks that it is ours. Throws `CHAIN_DIRECTORY_NEWER`, `CHAIN_DIRECTORY_INVALID`, `CHAIN_ID_DIFFERENT`. */
  open(options: Abortable): Promise<void>
  /** Unix seconds, the same at every start: an engine makes its first block with this time, and so always the same one. */
  firstBlockS(): number
  /** Brings a freshly started engine to the newest block that was journalled. Throws `CHAIN_STATE_BROKEN`,
   *  `CHAIN_JOURNAL_DAMAGED`, `CHAIN_REPLAY_DIFFERENT`: never another chain in silence. */
  restore(engine: LedgerEngine, options: Abortable): Promise<Restored>
  /** Resolves when the block is on disk. After the first failure it always fails (`CHAIN_JOURNAL_FAILED`). */
  append(block: JournalBlock): Promise<void>
  /** Keeps the engine's state, which is that after `head`, so that the next start need not make the blocks before it again. */
  snapshot(engine: LedgerEngine, head: BlockMark, options: Abortable): Promise<void>
  /** Why nothing can be appended any more. */
  fault(): Failure | undefined
  close(): Promise<void>
}
export type Restored = { readonly head: BlockMark; readonly replayedCount: number }

/** What the ledger asks of an engine; answers of one that died are its own errors. */
export type LedgerEngine = {
  /** Gives a new chain its first balances. */
  found(options: Abortable): Promise<void>
  /** Throws `CHAIN_CALL_FAILED` for bytes that are no state, and is then as fresh as before. */
  load(state: Uint8Array, options: Abortable): Promise<void>
  dump(options: Abortable): Promise<Uint8Array>
  head(options: Abortable): Promise<BlockMark>
  /** Makes the block again on top of its parent; answers its hash. */
  replay(block: JournalBlock, options: Abortable): Promise<JournalBlock['hash']>
}

function parseMeta(
  bytes: Uint8Array,
): { readonly version: number; readonly chainId: number; readonly firstBlockS: number } | undefined {
  try {
    const meta = JSON.parse(new TextDecoder().decode(bytes)) as { [name: string]: unknown }
    const { version, engine, chainId, firstBlockS = 0 } = meta
    if (typeof version !== 'number' || typeof chainId !== 'number' || typeof firstBlockS !== 'number') return undefined
    if (version === FORMAT_VERSION && !(Number.isSafeInteger(firstBlockS) && firstBlockS > 0)) return undefined
    // A newer version may name its engine otherwise; its number says what to do.
    return version > FORMAT_VERSION || engine === 'anvil' ? { version, chainId, firstBlockS } : undefined
  } catch {
    return undefined
  }
}
