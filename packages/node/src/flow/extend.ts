import type { Entry, FlowNode, FlowState, IndexChange } from '@weightless/core'
import { appendSubmission, equal, flowRoot, toHex } from '@weightless/core'
import { fail } from '../errors.ts'
import type { Cursor } from './cursor.ts'
import { entryChanges } from './entries.ts'
import { flowNodeKey } from './keys.ts'

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

/**
 * Appends the entries of a page to the flow. `known` answers for entries that a repeated page brings again. A sequence number
 * that is ahead of the next one is a gap, and nothing is decided. Throws `FLOW_MISMATCH` when the chain's own positions or an
 * entry seen before contradict the log.
 */
export function extendFlow(
  cursor: Pick<Cursor, 'nextSeq' | 'flow'>,
  entries: readonly Entry[],
  known: (seq: number) => Entry | undefined,
): Extension | Gap {
  let { nextSeq, flow } = cursor
  const added: Entry[] = []
  const changes: IndexChange[] = []
  const checks: { seq: number; root: Uint8Array }[] = []
  for (const entry of entries) {
    if (entry.seq > nextSeq) return { expectedSeq: nextSeq, foundSeq: entry.seq, blockNumber: entry.blockNumber }
    if (entry.seq < nextSeq) {
      const before = known(entry.seq) ?? added.find((one) => one.seq === entry.seq)
      if (before !== undefined && before.root === entry.root && before.txHash === entry.txHash) continue
      throw fail('FLOW_MISMATCH', {
        seq: entry.seq,
        root: entry.root,
        before: before?.root,
        reason: 'another entry had this number',
      })
    }
    const appended = appendSubmission(flow, entry.nodes)
    if (appended.startChunk !== entry.startChunk) {
      throw fail('FLOW_MISMATCH', { seq: entry.seq, startChunk: entry.startChunk, expectedChunk: appended.startChunk })
    }
    flow = appended.state
    nextSeq += 1
    added.push(entry)
    for (const change of entryChanges(entry)) changes.push(change)
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
