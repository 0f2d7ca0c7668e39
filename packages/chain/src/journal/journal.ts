import { type Abortable, type Disk, type DiskFile, type Failure, isFailure, type Random } from '@weightless/core'
import { fail } from '../errors.ts'
import { readWhole } from './files.ts'
import {
  type BlockMark,
  encodeBlock,
  encodeSegmentHeader,
  type JournalBlock,
  readSegment,
  SEGMENT_HEADER_BYTES,
} from './segment.ts'

/** A segment is read as a whole; this many bytes are some hundred full blocks. */
const SEGMENT_BYTES_MAX: number = 64 * 1024 ** 2
/** Zeros are written ahead of the records in steps of this: a sync of bytes that are there already changes no file length, so it
 *  need not wait for what others write to the same file system. */
const AHEAD_BYTES: number = 1024 ** 2
/** The last record of a segment may lie across that mark: the largest block of calldata, several times over. */
const RECORD_BYTES_MAX: number = 64 * 1024 ** 2

/** The blocks of a chain in files that only grow, `journal-NUMBER.log`, each beginning after the block that its name says. A block
 *  is on disk when `append` resolves. The first write or sync that fails is the last one: what the kernel still holds of a file
 *  after a failed sync is not known (DESIGN D5). */
export function createJournal(options: JournalOptions, deps: JournalDeps): Journal {
  const { directory, chainId, aheadBytes = AHEAD_BYTES } = options
  const zerosAhead = (at: number): Uint8Array => new Uint8Array(aheadBytes - (at % aheadBytes))
  const { disk } = deps
  let current: OpenSegment | undefined
  let fault: Failure | undefined

  const pathOf = (number: number): string => `${directory}/journal-${String(number).padStart(12, '0')}.log`

  async function bases(): Promise<readonly number[]> {
    return numbersIn(await disk.list(directory), /^journal-(\d{12})\.log$/)
  }

  async function after(mark: BlockMark, { signal }: Abortable): Promise<readonly JournalBlock[]> {
    const all = await bases()
    const first = all.findLast((base) => base <= mark.number)
    const blocks: JournalBlock[] = []
    let at: BlockMark | undefined
    for (const base of all.filter((number) => number >= (first ?? 0))) {
      const file = pathOf(base)
      const damaged = (reason: string, offset?: number): Failure =>
        fail('CHAIN_JOURNAL_DAMAGED', { file, reason, offset, lastBlock: at?.number })
      const bytes = await readWhole(disk, file, { signal, sizeBytesMax: SEGMENT_BYTES_MAX + RECORD_BYTES_MAX })
      if (bytes === undefined) throw damaged('it has gone')
      const reading = readSegment(bytes)
      if (reading.kind === 'damaged') throw damaged('what is written there is no whole record', reading.offset)
      if (reading.kind === 'unborn') {
        // Only the newest file can be one that was never finished.
        if (base !== all.at(-1)) throw damaged('its header is not whole')
        continue
      }
      // A process that was killed may have left blocks that only the kernel holds: they are to be built upon now.
      await syncFile(file)
      const { header } = reading
      if (header.chainId !== chainId || header.base.number !== base) throw damaged('it belongs to another chain')
      if (at === undefined ? base > mark.number : header.base.number !== at.number || header.base.hash !== at.hash)
        throw damaged(`it begins after block ${base}, and the blocks before it are not there`)
      at = header.base
      checkMark(header.base, mark, file)
      for (const block of reading.blocks) {
        checkMark(block, mark, file)
        if (block.number > mark.number) blocks.push(block)
        at = block
      }
    }
    return blocks
  }

  async function syncFile(path: string): Promise<void> {
    const file = await disk.open(path, { create: false })
    try {
      await file.sync()
    } finally {
      await file.close()
    }
  }

  async function begin(base: BlockMark, { signal }: Abortable): Promise<void> {
    signal?.throwIfAborted()
    await guard(base.number, async () => {
      await current?.file.close()
      current = undefined
      const path = pathOf(base.number)
      // One of that name holds no block: it was begun, and perhaps torn, by a process that made none after it.
      await disk.remove(path)
      const salt = new DataView(deps.random.bytes(4).buffer).getUint32(0)
      const file = await disk.open(path, { create: true })
      await file.write([encodeSegmentHeader({ chainId, base, salt }), zerosAhead(SEGMENT_HEADER_BYTES)], 0)
      await file.sync()
      await disk.syncDirectory(directory)
      current = { file, path, salt, last: base, sizeBytes: SEGMENT_HEADER_BYTES, writtenBytes: aheadBytes }
    })
  }

  async function append(block: JournalBlock): Promise<void> {
    if (current !== undefined && current.sizeBytes >= SEGMENT_BYTES_MAX) await begin(current.last, {})
    await guard(block.number, async () => {
      const segment = current
      if (segment === undefined) throw fail('CHAIN_UNAVAILABLE', { reason: 'the journal is not open' })
      if (block.number !== segment.last.number + 1)
        throw fail('CHAIN_JOURNAL_FAILED', { block: block.number, reason: `it follows block ${segment.last.number}` })
      const bytes = encodeBlock(block, segment.salt)
      const end = segment.sizeBytes + bytes.length
      if (end > segment.writtenBytes) {
        const zeros = zerosAhead(end)
        await segment.file.write([zeros], end)
        segment.writtenBytes = end + zeros.length
      }
      // In one write: its sectors reach the disk together or show that they did not.
      await segment.file.write([bytes], segment.sizeBytes)
      const [found] = await Promise.all([disk.stat(segment.path), segment.file.sync()])
      if (found?.identity !== segment.file.identity)
        throw fail('CHAIN_DIRECTORY_GONE', {
          block: block.number,
          file: segment.path,
          reason: 'it was deleted or replaced',
        })
      segment.sizeBytes = end
      segment.last = { number: block.number, hash: block.hash }
    })
  }

  /** After the first failure nothing more is written. */
  async function guard(block: number, work: () => Promise<void>): Promise<void> {
    if (fault !== undefined) throw fault
    try {
      await work()
    } catch (cause) {
      const isKnown = isFailure(cause, 'CHAIN_JOURNAL_FAILED') || isFailure(cause, 'CHAIN_DIRECTORY_GONE')
      fault = isKnown ? cause : fail('CHAIN_JOURNAL_FAILED', { block, ...reasonOf(cause) }, { cause })
      throw fault
    }
  }

  async function prune(upTo: number): Promise<void> {
    const all = await bases()
    for (const [i, base] of all.entries()) {
      const next = all[i + 1]
      if (next !== undefined && next <= upTo) await disk.remove(pathOf(base))
    }
  }

  return {
    after,
    begin,
    append,
    prune,
    isEmpty: async () => {
      for (const base of await bases()) {
        const bytes = await readWhole(disk, pathOf(base), { sizeBytesMax: SEGMENT_BYTES_MAX + RECORD_BYTES_MAX })
        const reading = readSegment(bytes ?? new Uint8Array(0))
        if (base > 0 || reading.kind === 'damaged' || (reading.kind === 'read' && reading.blocks.length > 0))
          return false
      }
      return true
    },
    fault: () => fault,
    close: async () => {
      await current?.file.close()
      current = undefined
    },
  }
}

export type JournalOptions = {
  readonly directory: string
  readonly chainId: number
  /** More than a header has. */
  readonly aheadBytes?: number | undefined
}
export type JournalDeps = { readonly disk: Disk; readonly random: Random }

export type Journal = {
  /** The blocks that were made after `mark`, in order. Throws `CHAIN_JOURNAL_DAMAGED` when one that may have been acknowledged is
   *  not whole or not there, or when block `mark` is another one here. */
  after(mark: BlockMark, options: Abortable): Promise<readonly JournalBlock[]>
  /** A new file for what follows `base`. */
  begin(base: BlockMark, options: Abortable): Promise<void>
  /** Resolves when the block is on disk; cannot be cancelled. Throws `CHAIN_JOURNAL_FAILED` or `CHAIN_DIRECTORY_GONE`, from then on
   *  always. */
  append(block: JournalBlock): Promise<void>
  /** Removes the files that hold no block after `upTo`. */
  prune(upTo: number): Promise<void>
  /** Whether no block was ever written. */
  isEmpty(): Promise<boolean>
  fault(): Failure | undefined
  close(): Promise<void>
}

type OpenSegment = {
  readonly file: DiskFile
  readonly path: string
  readonly salt: number
  last: BlockMark
  /** Where the next record goes. */
  sizeBytes: number
  /** Up to here there are records or zeros. */
  writtenBytes: number
}

/** Ascending. */
export function numbersIn(names: readonly string[], pattern: RegExp): readonly number[] {
  return names
    .flatMap((name) => pattern.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b)
}

function checkMark(block: BlockMark, mark: BlockMark, file: string): void {
  if (block.number !== mark.number || block.hash === mark.hash) return
  throw fail('CHAIN_JOURNAL_DAMAGED', {
    file,
    reason: `block ${mark.number} is another one than in the snapshot`,
    hash: block.hash,
    snapshotHash: mark.hash,
  })
}

function reasonOf(cause: unknown): { readonly reason: string; readonly file?: string } {
  if (!isFailure(cause)) return { reason: 'unknown' }
  const { path, reason } = cause.facts
  return { reason: `${cause.code} ${String(reason ?? '')}`.trim(), ...(typeof path === 'string' && { file: path }) }
}
