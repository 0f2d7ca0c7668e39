import type {
  Abortable,
  Address,
  Clock,
  Entry,
  Failure,
  Hex,
  Index,
  IndexChange,
  Logger,
  Membership,
} from '@weightless/core'
import { invariant, isFailure } from '@weightless/core'
import type { Rpc } from '@weightless/sdk'
import { fail } from '../errors.ts'
import { blockRows, chainMarkChange, knownBlocks, lastOnChain, readChainMark, REORG_BLOCKS_MAX } from './blockLog.ts'
import type { ChainReader } from './chainReader.ts'
import type { BlockMark, Cursor } from './cursor.ts'
import { cursorBefore, cursorChange, NO_BLOCK, readCursor } from './cursor.ts'
import { createEntryIndex, type EntryIndex } from './entries.ts'
import { checkFlowRoot, extendFlow, type Conflict, type Extension, type Gap } from './extend.ts'
import { createFlowView, type FlowView } from './flowView.ts'
import { numberKey } from './keys.ts'
import { createLogPages, LOG_PAGE_BLOCKS_MAX, type LogPage } from './logPages.ts'
import {
  createMembershipLog,
  encodeMemberChange,
  readMemberChanges,
  type MemberChange,
  type MembershipView,
} from './membership.ts'
import { planRollBack } from './rollBack.ts'

/** Follows the flow and the registry of one chain without a gap; both roles read the log through it. */
export type Follower = {
  readonly entries: EntryIndex
  readonly flow: FlowView
  readonly membership: MembershipView
  /** Runs until `signal` aborts. Throws only what no waiting can mend while nothing was followed yet, or what says that the log
   *  itself is broken: a gap, a flow that differs. */
  run(options: { readonly signal: AbortSignal }): Promise<void>
  /** The last block whose logs are in the index. */
  head(): BlockMark
  nextSeq(): number
  /** True once the log was followed up to the newest block known, and as long as it stays so. */
  isCaughtUp(): boolean
  /** What the follower is doing, for status and health. */
  state(): FollowerState
  /** Resolves when entry `seq` is in the index. Rejects with the signal's reason. */
  waitForSeq(seq: number, options: Abortable): Promise<void>
  /** Called after each commit, in order. Returns the function that ends it. */
  onCommit(listener: (commit: Commit) => void): () => void
  /** Called when the log has been followed up to the newest block: with that one. Not for each block while there are newer ones. */
  onHead(listener: (head: TimedHead) => void): () => void
}

/** The newest block of the chain, and what its clock said then. */
export type TimedHead = { readonly number: number; readonly timeS: number }

/** `behind`: reads the log. `following`: has read it up to the newest block. `delayed`: the endpoint fails, asked again soon.
 *  `halted`: goes on only when the endpoint serves the chain of this directory again; what is stored is served meanwhile. */
export type FollowerState =
  | { readonly kind: 'behind' | 'following' }
  | { readonly kind: 'delayed' | 'halted'; readonly failure: Failure }

export type Commit = {
  /** Entries that are on no block any more, ascending; then those that are new. */
  readonly removed: readonly Entry[]
  readonly entries: readonly Entry[]
  readonly head: BlockMark
  readonly membership: Membership | undefined
}

export type FollowerOptions = {
  readonly chainId: number
  readonly flow: Address
  readonly registry: Address | undefined
  readonly startBlock: number
  /** Blocks that must follow one before it is read: 0 unless the configuration says otherwise. */
  readonly confirmations?: number | undefined
  readonly logPageBlocks?: number | undefined
}

/** The newest block, and where the endpoint tells them the logs of all blocks from `from` up to it (host `headFeed`). */
export type ChainHead = BlockMark & {
  /** Unix seconds. */
  readonly timeS?: number | undefined
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
/** A halted follower asks this rarely: a person has to act, or an endpoint to come back from another chain. */
const HALTED_RETRY_MS = 30_000
/** Silent blocks that a restart may read again. */
const SILENT_BLOCKS_MAX = 64
/** Blocks that are read once more with the next ones where logs are not pushed: machines behind a balancer lag by a few blocks,
 *  and one that does gives fewer logs without saying so. */
const SECOND_LOOK_BLOCKS = 16
/** A chain that ends below what was read is an endpoint that lags; after this long it is a chain that went back. */
const SHRUNK_AFTER_MS = 15_000
/** How often an endpoint is asked whether it still serves this chain. */
const CHAIN_CHECK_MS = 15_000

export function createFollower(options: FollowerOptions, deps: FollowerDeps): Follower {
  const { rpc, reader, index, clock, logger } = deps
  const { startBlock, confirmations = 0 } = options
  const entries = createEntryIndex(index)
  const membership = createMembershipLog(readMemberChanges(index))
  const logPages = createLogPages(rpc, { pageBlocksMax: options.logPageBlocks ?? LOG_PAGE_BLOCKS_MAX })
  let cursor: Cursor = readCursor(index) ?? cursorBefore(startBlock)
  let committedBlock = cursor.block.number
  let newest: ChainHead | undefined
  let isAtNewest = false
  let failure: Failure | undefined
  let shrunkSinceMs: number | undefined
  let checkedMs = -Infinity
  let era = 0
  let started = false
  const listeners = new Set<(commit: Commit) => void>()
  const headListeners = new Set<(head: TimedHead) => void>()
  let toldHead: Hex | undefined
  const waiters = new Set<{ readonly seq: number; readonly done: () => void }>()
  const addresses = options.registry === undefined ? [options.flow] : [options.flow, options.registry]

  async function run({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    invariant(!started, 'a follower runs once')
    started = true
    const over = new AbortController()
    const feed = deps.heads({ signal: AbortSignal.any([signal, over.signal]) })[Symbol.asyncIterator]()
    let coming = feed.next()
    try {
      // Before the first head: an endpoint that is away, or another chain, is known at once.
      for (let delayMs = await attempt(0, signal); ; delayMs = await attempt(delayMs, signal)) {
        const head = await within(coming, { delayMs, signal })
        signal.throwIfAborted()
        if (head === undefined) continue
        coming = feed.next()
        // A feed ends only when its endpoint is gone for good; asking again costs nothing.
        if (head.done === true) await clock.sleep(RETRY_MS_MAX, { signal })
        else if (head.value.hash !== newest?.hash) {
          newest = head.value
          isAtNewest = false
        }
      }
    } finally {
      coming.catch(() => undefined)
      over.abort()
    }
  }

  /** The next head. While the endpoint fails, a newer one is news but no reason to ask it more often; while it is silent, it is
   *  asked now and then whether it is still there. */
  async function within<T>(
    coming: Promise<T>,
    { delayMs, signal }: { readonly delayMs: number; readonly signal: AbortSignal },
  ): Promise<T | undefined> {
    const come = new AbortController()
    const pause = clock
      .sleep(delayMs > 0 ? delayMs : CHAIN_CHECK_MS, { signal: AbortSignal.any([signal, come.signal]) })
      .catch(() => undefined)
    if (delayMs > 0) await pause
    const first = await Promise.race([coming, pause])
    come.abort()
    return first as T | undefined
  }

  /** Follows up to the newest head; answers how long to wait before that is tried again, 0 when it was done. */
  async function attempt(lastDelayMs: number, signal: AbortSignal): Promise<number> {
    try {
      await checkChain(signal)
      await catchUp(signal)
      if (failure !== undefined) logger.info('follower.recovered', { block: cursor.block.number })
      failure = undefined
      return 0
    } catch (error) {
      signal.throwIfAborted()
      isAtNewest = false
      if (!isFailure(error)) throw error
      const isHalted = isOtherChain(error) && cursor.block.hash !== NO_BLOCK
      if (!isHalted && !error.retryable && !isEndpointFault(error.code)) throw error
      // Asked anew whether it is the right chain before anything it says is believed again.
      checkedMs = -Infinity
      const delayMs = isHalted
        ? HALTED_RETRY_MS
        : Math.min(Math.max(2 * Math.min(lastDelayMs, RETRY_MS_MAX), RETRY_MS_MIN), RETRY_MS_MAX)
      if (isHalted && failure?.code !== error.code)
        logger.error('follower.halted', { block: cursor.block.number, error })
      else logger.warn('follower.delayed', { block: cursor.block.number, delayMs, error })
      failure = error
      return delayMs
    }
  }

  /** Throws `CHAIN_ID_MISMATCH` or `CHAIN_CHANGED` when the endpoint serves another chain than the one followed so far. */
  async function checkChain(signal: AbortSignal): Promise<void> {
    if (clock.nowMs() - checkedMs < CHAIN_CHECK_MS) return
    const chainId = await reader.chainId({ signal })
    if (chainId !== options.chainId) throw fail('CHAIN_ID_MISMATCH', { chainId, expectedChainId: options.chainId })
    const genesis = await reader.blockHash(0, { signal })
    const expected = readChainMark(index)
    // An endpoint that has pruned its first block cannot be told apart by it.
    if (genesis !== undefined && expected === undefined)
      await index.transaction([chainMarkChange({ chainId, genesis })], { durability: 'written' })
    if (genesis !== undefined && expected !== undefined && genesis !== expected.genesis)
      throw fail('CHAIN_CHANGED', { block: 0, hash: genesis, expectedHash: expected.genesis })
    checkedMs = clock.nowMs()
  }

  async function catchUp(signal: AbortSignal): Promise<void> {
    let gaps = 0
    const target = await confirmed(newest, signal)
    while (target !== undefined && target.hash !== cursor.block.hash) {
      const told = toldPage(target)
      if (told !== undefined && gaps === 0) {
        // What is missing in a push is asked for.
        if ((await takePage(told, target.hash, signal)) === undefined) break
      }
      if (await leftChain(target, signal)) continue
      if (target.number <= cursor.block.number) break
      let problem: Gap | Conflict | undefined
      const from = gaps === 0 ? secondLook() : lastGoodBlock()
      const range = { from: Math.min(from, cursor.block.number + 1), to: target.number }
      for await (const page of logPages({ ...range, addresses, topics: reader.topics, signal })) {
        problem = await takeAskedPage(page, target, signal)
        if (problem !== undefined) break
      }
      if (problem === undefined) break
      if ('conflictSeq' in problem) {
        await resolveConflict(problem, signal)
        continue
      }
      gaps += 1
      logger.warn('follower.gapFound', { ...problem, attempt: gaps, rereadFrom: lastGoodBlock() })
      if (gaps > GAP_ATTEMPTS_MAX) throw fail('FLOW_GAP', { ...problem, startBlock })
      await clock.sleep(RETRY_MS_MIN * 2 ** gaps, { signal })
    }
    isAtNewest = newest !== undefined && cursor.block.number >= newest.number - confirmations
    if (isAtNewest) announceHead(newest!)
  }

  /** By the clock of the chain as it is, however many blocks are waited for before one is read. */
  function announceHead({ number, hash, timeS }: ChainHead): void {
    if (hash === toldHead) return
    toldHead = hash
    if (timeS === undefined) return
    for (const listener of headListeners) listener({ number, timeS })
  }

  /** The newest block that enough others follow. */
  async function confirmed(head: ChainHead | undefined, signal: AbortSignal): Promise<ChainHead | undefined> {
    if (head === undefined || confirmations === 0) return head
    const number = head.number - confirmations
    return number < startBlock ? undefined : { number, hash: await hashOf(number, signal) }
  }

  /** The page that came with a head, if it goes on exactly where the cursor is: such a block costs no question. */
  function toldPage({ number, told }: ChainHead): LogPage | undefined {
    if (told === undefined || told.from !== cursor.block.number + 1 || told.parentHash !== cursor.block.hash)
      return undefined
    return { from: told.from, to: number, logs: told.logs }
  }

  /** The block of the last entry: an endpoint may have hidden logs of any block after it. */
  function lastGoodBlock(): number {
    return entries.bySeq(cursor.nextSeq - 1)?.blockNumber ?? startBlock
  }

  function secondLook(): number {
    return Math.max(startBlock, cursor.block.number + 1 - SECOND_LOOK_BLOCKS)
  }

  /** Whether the block of the cursor is no longer on the chain; then the log was taken back to the last one that is. */
  async function leftChain(head: BlockMark, signal: AbortSignal): Promise<boolean> {
    const { block } = cursor
    if (block.hash === NO_BLOCK) return false
    const hash = await reader.blockHash(block.number, { signal })
    if (hash === block.hash) {
      shrunkSinceMs = undefined
      return false
    }
    if (hash === undefined) {
      if (head.number >= block.number) throw fail('CHAIN_LAGGING', { block: block.number })
      shrunkSinceMs ??= clock.nowMs()
      if (clock.nowMs() - shrunkSinceMs < SHRUNK_AFTER_MS)
        throw fail('CHAIN_LAGGING', { block: block.number, newestBlock: head.number })
    }
    await rollBack(Math.min(block.number - 1, head.number), signal)
    shrunkSinceMs = undefined
    return true
  }

  /** Two logs of one number, or a log that does not fit: whichever of the known blocks is not on the chain goes. */
  async function resolveConflict(conflict: Conflict, signal: AbortSignal): Promise<void> {
    const from = cursor.block.number - REORG_BLOCKS_MAX
    const marks = knownBlocks(index, entries, { from, to: cursor.block.number, nextSeq: cursor.nextSeq })
    for (const mark of marks.filter(({ number }) => number >= conflict.blockNumber)) {
      const hash = await reader.blockHash(mark.number, { signal })
      if (hash === mark.hash) continue
      if (hash === undefined) throw fail('CHAIN_LAGGING', { block: mark.number })
      await rollBack(mark.number - 1, signal)
      return
    }
    // All that is known is on the chain, so the answer was not: from a machine that has not left the other branch yet.
    throw fail('CHAIN_UNSTEADY', { seq: conflict.conflictSeq, block: conflict.blockNumber })
  }

  /** Back to the last known block at or below `ceiling` that is on the chain. Throws `REORG_TOO_DEEP`. */
  async function rollBack(ceiling: number, signal: AbortSignal): Promise<void> {
    // An endpoint that changed chains says so; a reorganisation does not change the first block.
    checkedMs = -Infinity
    await checkChain(signal)
    const from = cursor.block.number - REORG_BLOCKS_MAX
    const marks = knownBlocks(index, entries, { from, to: ceiling, nextSeq: cursor.nextSeq })
    const found = await lastOnChain(
      marks,
      async (mark) => (await reader.blockHash(mark.number, { signal })) === mark.hash,
      { signal },
    )
    const start = cursorBefore(startBlock).block
    const ancestor = found ?? (start.number >= from ? start : undefined)
    if (ancestor === undefined)
      throw fail('REORG_TOO_DEEP', { block: cursor.block.number, blocksMax: REORG_BLOCKS_MAX })
    const depth = cursor.block.number - ancestor.number
    const plan = planRollBack(cursor, ancestor, { index, entries, members: membership.changes() })
    await index.transaction(plan.changes, { durability: 'written' })
    signal.throwIfAborted()
    cursor = plan.cursor
    committedBlock = ancestor.number
    era += 1
    entries.forget(cursor.nextSeq)
    const isMembershipChanged = membership.rollBack(ancestor.number)
    logger.warn('follower.reorganised', {
      block: ancestor.number,
      depth,
      removedCount: plan.removed.length,
      nextSeq: cursor.nextSeq,
    })
    announce({
      removed: plan.removed,
      entries: [],
      head: ancestor,
      membership: isMembershipChanged ? membership.current() : undefined,
    })
  }

  /** A page that was asked for, and the block that it ends in: both of one chain, or neither is taken. */
  async function takeAskedPage(
    page: LogPage,
    target: BlockMark,
    signal: AbortSignal,
  ): Promise<Gap | Conflict | undefined> {
    const hash = page.to <= cursor.block.number ? cursor.block.hash : await hashOf(page.to, signal)
    if (page.to === target.number && page.to > cursor.block.number && hash !== target.hash)
      throw fail('CHAIN_UNSTEADY', { block: page.to, hash, expectedHash: target.hash })
    try {
      return await takePage(page, hash, signal)
    } catch (error) {
      // Before the log is called broken: it may be that of a chain that is no more.
      if (!isFailure(error, 'FLOW_MISMATCH') && !isFailure(error, 'MEMBERSHIP_MISMATCH')) throw error
      const known = { conflictSeq: cursor.nextSeq, blockNumber: cursor.block.number - REORG_BLOCKS_MAX }
      await resolveConflict(known, signal).catch((other: unknown) => {
        throw isFailure(other, 'CHAIN_UNSTEADY') ? error : other
      })
      throw fail('CHAIN_UNSTEADY', { block: page.to, reason: error.code })
    }
  }

  async function takePage(page: LogPage, hash: Hex, signal: AbortSignal): Promise<Gap | Conflict | undefined> {
    const events = page.logs.map(reader.decode).filter((event) => event !== undefined)
    const extension = extendFlow(
      cursor,
      events.filter((event) => event.kind === 'entry').map((event) => event.entry),
      entries.bySeq,
    )
    if (!isExtension(extension)) return extension
    const members = events
      .filter((event) => event.kind === 'member')
      .map((event) => event.change)
      .filter((change) => change.version > membership.current().version)
    for (const check of extension.checks) checkFlowRoot(check, await reader.flowRootBySeq(check.seq, { signal }))
    await checkMembership(members, signal)

    // A page read again ends below the cursor as often as not: the cursor only ever moves forward.
    const block: BlockMark = page.to <= cursor.block.number ? cursor.block : { number: page.to, hash }
    const next: Cursor = { block, nextSeq: extension.nextSeq, flow: extension.flow }
    // Blocks without a word for us only move the cursor: committed now and then, so that an idle chain costs no disk.
    const isSilent = extension.changes.length === 0 && members.length === 0
    if (!isSilent || block.number - committedBlock >= SILENT_BLOCKS_MAX) {
      const marks = block === cursor.block ? [] : blockRows(index, block)
      await index.transaction([...extension.changes, ...memberRows(members), ...marks, cursorChange(next)], {
        durability: 'written',
      })
      committedBlock = block.number
      signal.throwIfAborted()
    }
    cursor = next
    if (members.length > 0) membership.append(members)
    announce({
      removed: [],
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

  const isCaughtUp = (): boolean =>
    isAtNewest && newest !== undefined && cursor.block.number >= newest.number - confirmations

  return {
    entries,
    flow: createFlowView({ index, entries, state: () => cursor.flow, nextSeq: () => cursor.nextSeq, era: () => era }),
    membership,
    run,
    head: () => cursor.block,
    nextSeq: () => cursor.nextSeq,
    isCaughtUp,
    state() {
      if (failure !== undefined) return { kind: isOtherChain(failure) ? 'halted' : 'delayed', failure }
      return { kind: isCaughtUp() ? 'following' : 'behind' }
    },
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
    onHead(listener) {
      headListeners.add(listener)
      return () => headListeners.delete(listener)
    },
  }
}

/** Errors that the endpoint states about itself may pass (a node that restarts, a missing state): they are not about the flow. */
function isEndpointFault(code: string): boolean {
  return code === 'RPC_ERROR' || code === 'RPC_ANSWER_INVALID' || code === 'BODY_TOO_LARGE'
}

/** What says that the endpoint does not serve the chain that was followed so far. */
function isOtherChain({ code }: Failure): boolean {
  return code === 'CHAIN_ID_MISMATCH' || code === 'CHAIN_CHANGED' || code === 'REORG_TOO_DEEP'
}

function isExtension(found: Extension | Gap | Conflict): found is Extension {
  return 'changes' in found
}

function memberRows(changes: readonly MemberChange[]): readonly IndexChange[] {
  return changes.map((change) => ({ key: numberKey('member', change.version), value: encodeMemberChange(change) }))
}
