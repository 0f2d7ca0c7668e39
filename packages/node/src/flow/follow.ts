import type { Abortable, Address, Clock, Entry, Hex, Index, IndexChange, Logger, Membership } from '@weightless/core'
import { invariant, isFailure } from '@weightless/core'
import type { Rpc } from '@weightless/sdk'
import { fail } from '../errors.ts'
import type { ChainReader } from './chainReader.ts'
import type { BlockMark, Cursor } from './cursor.ts'
import { cursorBefore, cursorChange, NO_BLOCK, readCursor } from './cursor.ts'
import { createEntryIndex, type EntryIndex } from './entries.ts'
import { checkFlowRoot, extendFlow, type Gap } from './extend.ts'
import { createFlowView, type FlowView } from './flowView.ts'
import { numberKey, numberRange } from './keys.ts'
import { logPages, type LogPage } from './logPages.ts'
import {
  createMembershipLog,
  encodeMemberChange,
  readMemberChanges,
  type MemberChange,
  type MembershipView,
} from './membership.ts'

/** Follows the flow and the registry of one chain without a gap; both roles read the log through it. */
export type Follower = {
  readonly entries: EntryIndex
  readonly flow: FlowView
  readonly membership: MembershipView
  /** Runs until `signal` aborts. Throws only what no waiting can mend: another chain, a gap, a flow that differs. */
  run(options: { readonly signal: AbortSignal }): Promise<void>
  /** The last block whose logs are in the index. */
  head(): BlockMark
  nextSeq(): number
  /** True once the log was followed up to the newest block known, and as long as it stays so. */
  isCaughtUp(): boolean
  /** Resolves when entry `seq` is in the index. Rejects with the signal's reason. */
  waitForSeq(seq: number, options: Abortable): Promise<void>
  /** Called after each commit, in order. Returns the function that ends it. */
  onCommit(listener: (commit: Commit) => void): () => void
}

export type Commit = {
  readonly entries: readonly Entry[]
  readonly head: BlockMark
  readonly membership: Membership | undefined
}

export type FollowerOptions = {
  readonly chainId: number
  readonly flow: Address
  readonly registry: Address | undefined
  readonly startBlock: number
}

/** The newest block, and where the endpoint tells them the logs of all blocks from `from` up to it (host `headFeed`). */
export type ChainHead = BlockMark & {
  readonly told?: { readonly from: number; readonly parentHash: Hex; readonly logs: readonly unknown[] } | undefined
}

export type FollowerDeps = {
  readonly rpc: Rpc
  /** Newest heads, pushed; it reconnects by itself (host `headFeed`). */
  readonly heads: (options: { readonly signal: AbortSignal }) => AsyncIterable<ChainHead>
  readonly reader: ChainReader
  readonly index: Index
  readonly clock: Clock
  readonly logger: Logger
}

/** Re-reads from the last entry that is known, this often, before a missing submission is called a gap (spec/storage.md 5.3). */
const GAP_ATTEMPTS_MAX = 3
const RETRY_MS_MIN = 200
/** A chain that is away is asked again at this pace; the role stays up and says that it is not ready. */
const RETRY_MS_MAX = 5_000
/** Silent blocks that a restart may read again. */
const SILENT_BLOCKS_MAX = 64
/** Hashes of followed blocks that are kept, so that a later reader can find where two chains part. */
const BLOCKS_KEPT = 1024

export function createFollower(options: FollowerOptions, deps: FollowerDeps): Follower {
  const { rpc, reader, index, clock, logger } = deps
  const entries = createEntryIndex(index)
  const membership = createMembershipLog(readMemberChanges(index))
  let cursor: Cursor = readCursor(index) ?? cursorBefore(options.startBlock)
  let committedBlock = cursor.block.number
  let newest: ChainHead | undefined
  let started = false
  const listeners = new Set<(commit: Commit) => void>()
  const waiters = new Set<{ readonly seq: number; readonly done: () => void }>()
  const addresses = options.registry === undefined ? [options.flow] : [options.flow, options.registry]

  async function run({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    invariant(!started, 'a follower runs once')
    started = true
    await persist(() => checkChain(signal), signal)
    for (;;) {
      for await (const head of deps.heads({ signal })) {
        newest = head
        await persist(() => catchUp(signal), signal)
      }
      signal.throwIfAborted()
      // A feed ends only when its endpoint is gone for good; asking again costs nothing.
      await clock.sleep(RETRY_MS_MAX, { signal })
    }
  }

  /** Tries again whatever waiting can mend, for as long as the role lives; anything else ends the role. */
  async function persist(work: () => Promise<void>, signal: AbortSignal): Promise<void> {
    for (let delayMs = RETRY_MS_MIN; ; delayMs = Math.min(2 * delayMs, RETRY_MS_MAX)) {
      try {
        await work()
        return
      } catch (error) {
        signal.throwIfAborted()
        if (isFailure(error) && !error.retryable && !isEndpointFault(error.code)) throw error
        logger.warn('follower.delayed', { block: cursor.block.number, delayMs, error })
      }
      await clock.sleep(delayMs, { signal })
    }
  }

  async function checkChain(signal: AbortSignal): Promise<void> {
    const chainId = await reader.chainId({ signal })
    if (chainId !== options.chainId) throw fail('CHAIN_ID_MISMATCH', { chainId, expectedChainId: options.chainId })
    if (cursor.block.hash === NO_BLOCK) return
    const hash = await reader.blockHash(cursor.block.number, { signal })
    if (hash !== cursor.block.hash) {
      throw fail('CHAIN_CHANGED', { block: cursor.block.number, hash, expectedHash: cursor.block.hash })
    }
  }

  async function catchUp(signal: AbortSignal): Promise<void> {
    let gaps = 0
    while (newest !== undefined && cursor.block.number < newest.number) {
      const target = newest
      const from = gaps === 0 ? cursor.block.number + 1 : lastGoodBlock()
      let gap: Gap | undefined
      const told = toldPage(target)
      if (told !== undefined) {
        // What is missing in a push is asked for.
        gap = await takePage(told, target.hash, signal)
        if (gap === undefined) continue
      }
      for await (const page of logPages(rpc, { from, to: target.number, addresses, topics: reader.topics, signal })) {
        gap = await takePage(page, page.to === target.number ? target.hash : undefined, signal)
        if (gap !== undefined) break
      }
      if (gap === undefined) continue
      gaps += 1
      logger.warn('follower.gapFound', { ...gap, attempt: gaps, rereadFrom: lastGoodBlock() })
      if (gaps > GAP_ATTEMPTS_MAX) throw fail('FLOW_GAP', { ...gap, startBlock: options.startBlock })
      await clock.sleep(RETRY_MS_MIN * 2 ** gaps, { signal })
    }
  }

  /** The page that came with a head, if it goes on exactly where the cursor is: such a block costs no question. */
  function toldPage({ number, told }: ChainHead): LogPage | undefined {
    if (told === undefined || told.from !== cursor.block.number + 1 || told.parentHash !== cursor.block.hash)
      return undefined
    return { from: told.from, to: number, logs: told.logs }
  }

  /** The block of the last entry: an endpoint may have hidden logs of any block after it. */
  function lastGoodBlock(): number {
    return entries.bySeq(cursor.nextSeq - 1)?.blockNumber ?? options.startBlock
  }

  async function takePage(page: LogPage, hash: Hex | undefined, signal: AbortSignal): Promise<Gap | undefined> {
    const events = page.logs.map(reader.decode).filter((event) => event !== undefined)
    const extension = extendFlow(
      cursor,
      events.filter((event) => event.kind === 'entry').map((event) => event.entry),
      entries.bySeq,
    )
    if ('foundSeq' in extension) return extension
    const members = events
      .filter((event) => event.kind === 'member')
      .map((event) => event.change)
      .filter((change) => change.version > membership.current().version)
    for (const check of extension.checks) checkFlowRoot(check, await reader.flowRootBySeq(check.seq, { signal }))
    await checkMembership(members, signal)

    // A page read again after a gap ends below the cursor as often as not: the cursor only ever moves forward.
    const block: BlockMark =
      page.to <= cursor.block.number ? cursor.block : { number: page.to, hash: hash ?? (await hashOf(page.to, signal)) }
    const next: Cursor = { block, nextSeq: extension.nextSeq, flow: extension.flow }
    // Blocks without a word for us only move the cursor: committed now and then, so that an idle chain costs no disk.
    const isSilent = extension.changes.length === 0 && members.length === 0
    if (!isSilent || block.number - committedBlock >= SILENT_BLOCKS_MAX) {
      await index.transaction([...extension.changes, ...memberRows(members), ...blockRows(block), cursorChange(next)], {
        durability: 'written',
      })
      committedBlock = block.number
      signal.throwIfAborted()
    }
    cursor = next
    if (members.length > 0) membership.append(members)
    announce({
      entries: extension.entries,
      head: block,
      membership: members.length > 0 ? membership.current() : undefined,
    })
    return undefined
  }

  async function hashOf(number: number, signal: AbortSignal): Promise<Hex> {
    const hash = await reader.blockHash(number, { signal })
    if (hash === undefined) throw fail('CHAIN_LAGGING', { block: number })
    return hash
  }

  /** The registry's own hash of the member list is the judge of what its events add up to. */
  async function checkMembership(changes: readonly MemberChange[], signal: AbortSignal): Promise<void> {
    const last = changes.at(-1)
    if (last === undefined) return
    const expected = membership.current().version + changes.length
    if (last.version !== expected)
      throw fail('MEMBERSHIP_MISMATCH', { version: last.version, expectedVersion: expected })
    const after = membership.after(changes)
    if (!(await reader.isMembership(after, { signal })))
      throw fail('MEMBERSHIP_MISMATCH', { version: last.version, reason: 'the hashes differ' })
  }

  function blockRows(block: BlockMark): readonly IndexChange[] {
    if (block === cursor.block) return []
    // Two go for each one that comes, so the rows stay few however far a restart jumps.
    const old = index.range({ ...numberRange('block', 0, Math.max(0, block.number - BLOCKS_KEPT)), limit: 2 })
    return [
      { key: numberKey('block', block.number), value: new TextEncoder().encode(block.hash) },
      ...[...old].map(({ key }) => ({ key: Uint8Array.from(key), value: undefined })),
    ]
  }

  function announce(commit: Commit): void {
    for (const waiter of waiters) {
      if (waiter.seq < cursor.nextSeq) waiter.done()
    }
    for (const listener of listeners) listener(commit)
    if (commit.entries.length > 0 || commit.membership !== undefined) {
      logger.debug('follower.committed', {
        block: commit.head.number,
        entryCount: commit.entries.length,
        nextSeq: cursor.nextSeq,
        registryVersion: commit.membership?.version,
      })
    }
  }

  return {
    entries,
    flow: createFlowView({ index, entries, state: () => cursor.flow, nextSeq: () => cursor.nextSeq }),
    membership,
    run,
    head: () => cursor.block,
    nextSeq: () => cursor.nextSeq,
    isCaughtUp: () => newest !== undefined && cursor.block.number >= newest.number,
    waitForSeq: (seq, { signal }) =>
      new Promise((resolve, reject) => {
        if (seq < cursor.nextSeq) {
          resolve()
          return
        }
        if (signal?.aborted) {
          reject(signal.reason)
          return
        }
        const stop = (): void => {
          waiters.delete(waiter)
          reject(signal?.reason)
        }
        const waiter = {
          seq,
          done: () => {
            waiters.delete(waiter)
            signal?.removeEventListener('abort', stop)
            resolve()
          },
        }
        waiters.add(waiter)
        signal?.addEventListener('abort', stop, { once: true })
      }),
    onCommit(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}

/** Errors that the endpoint states about itself may pass (a node that restarts, a missing state): they are not about the flow. */
function isEndpointFault(code: string): boolean {
  return code === 'RPC_ERROR' || code === 'RPC_ANSWER_INVALID' || code === 'BODY_TOO_LARGE'
}

function memberRows(changes: readonly MemberChange[]): readonly IndexChange[] {
  return changes.map((change) => ({ key: numberKey('member', change.version), value: encodeMemberChange(change) }))
}
