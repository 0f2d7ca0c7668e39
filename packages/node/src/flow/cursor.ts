import type { FlowState, Hex, Index, IndexChange } from '@weightless/core'
import { emptyFlow, flowStateFromBytes, flowStateToBytes, fromHex, toHex } from '@weightless/core'
import { cursorKey } from './keys.ts'

/** How far the log is followed: everything up to and including this block is in the index, and nothing above it. */
export type Cursor = {
  readonly block: BlockMark
  readonly nextSeq: number
  readonly flow: FlowState
}
export type BlockMark = { readonly number: number; readonly hash: Hex }

/** Before the first block: the block above the cursor is the first one read. */
export function cursorBefore(startBlock: number): Cursor {
  return { block: { number: startBlock - 1, hash: NO_BLOCK }, nextSeq: 0, flow: emptyFlow() }
}
/** The hash of a cursor that has not read a block yet. */
export const NO_BLOCK: Hex = `0x${'00'.repeat(32)}`

export function readCursor(index: Index): Cursor | undefined {
  const value = index.get(cursorKey())
  if (value === undefined) return undefined
  const stored = JSON.parse(new TextDecoder().decode(value)) as { block: BlockMark; nextSeq: number; flow: string }
  return { block: stored.block, nextSeq: stored.nextSeq, flow: flowStateFromBytes(fromHex(stored.flow)) }
}

export function cursorChange(cursor: Cursor): IndexChange {
  const stored = { block: cursor.block, nextSeq: cursor.nextSeq, flow: toHex(flowStateToBytes(cursor.flow)) }
  return { key: cursorKey(), value: new TextEncoder().encode(JSON.stringify(stored)) }
}
