import type { Entry, FlowNode, FlowState, IndexChange } from '@weightless/core'
import { appendSubmission, equal, flowRoot, toHex } from '@weightless/core'
import { fail } from '../errors.ts'
import type { Cursor } from './cursor.ts'
import { entryChanges, isSameEntry } from './entries.ts'
import { flowNodeKey } from './keys.ts'
import { parityChanges } from './parities.ts'

/** The reference node compares its own flow root with the contract's this often (spec/storage.md 2.3). */
export const ROOT_CHECK_INTERVAL = 500

/** What a page of Submit events does to the log: a decision, no side effect. */
export type Extension = {
  readonly nextSeq: number
  readonly flow: FlowState
  readonly entries: readonly Entry[]
  readonly changes: readonly IndexChange[]
  /** Roots to compare with getFlowRootByTxSeq before anything is committed. */
  readonly checks: readonly { readonly seq: number; readonly root: Uint8Array }[]
}

export type Gap = { readonly expectedSeq: number; readonly foundSeq: number; readonly blockNumber: number }
/** Another submission has the number of one that is known: one of the two is not on the chain. */
export type Conflict = { readonly conflictSeq: number; readonly blockNumber: number }

/**
 * Appends the entries of a page to the flow. `known` answers for entries that a repeated page brings again. A sequence number
 * that is ahead of the next one is a gap, one that another entry has is a conflict, and nothing is decided. Throws
 * `FLOW_MISMATCH` when the chain's own positions contradict the log.
 */
export function extendFlow(
  cursor: Pick<Cursor, 'nextSeq' | 'flow'>,
  entries: readonly Entry[],
  known: (seq: number) => Entry | undefined,
): Extension | Gap | Conflict {
  let { nextSeq, flow } = cursor
  const added: Entry[] = []
  const changes: IndexChange[] = []
  const checks: { seq: number; root: Uint8Array }[] = []
  for (const entry of entries) {
    if (entry.seq > nextSeq) return { expectedSeq: nextSeq, foundSeq: entry.seq, blockNumber: entry.blockNumber }
    if (entry.seq < nextSeq) {
      const before = entry.seq < cursor.nextSeq ? known(entry.seq) : added[entry.seq - cursor.nextSeq]
      if (before !== undefined && isSameEntry(before, entry)) continue
      const blockNumber = Math.min(entry.blockNumber, before?.blockNumber ?? entry.blockNumber)
      return { conflictSeq: entry.seq, blockNumber }
    }
    const appended = appendSubmission(flow, entry.nodes)
    if (appended.startChunk !== entry.startChunk) {
      throw fail('FLOW_MISMATCH', { seq: entry.seq, startChunk: entry.startChunk, expectedChunk: appended.startChunk })
    }
    flow = appended.state
    nextSeq += 1
    added.push(entry)
    for (const change of [...entryChanges(entry), ...parityChanges(entry)]) changes.push(change)
    for (const node of appended.placed) changes.push(nodeChange(node))
    if (nextSeq % ROOT_CHECK_INTERVAL === 0) checks.push({ seq: entry.seq, root: flowRoot(flow) })
  }
  return { nextSeq, flow, entries: added, changes, checks }
}

/** Throws `FLOW_MISMATCH` when the contract computed another root. A zero root means that it kept none for this number. */
export function checkFlowRoot(check: { readonly seq: number; readonly root: Uint8Array }, onChain: Uint8Array): void {
  if (onChain.every((byte) => byte === 0) || equal(onChain, check.root)) return
  throw fail('FLOW_MISMATCH', {
    seq: check.seq,
    flowRoot: toHex(check.root),
    expectedRoot: toHex(onChain),
    reason: 'the roots differ',
  })
}

function nodeChange(node: FlowNode): IndexChange {
  return { key: flowNodeKey(node.height, node.index), value: node.hash }
}
