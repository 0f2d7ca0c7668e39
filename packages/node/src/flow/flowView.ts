import type { Entry, FlowPosition, FlowState, Index, Root, SegmentProof } from '@weightless/core'
import { equal, flowRoot, fromHex, proveInFlow, SEGMENT_HEIGHT, subtreeRoot } from '@weightless/core'
import type { EntryIndex } from './entries.ts'
import { flowNodeKey } from './keys.ts'

/** The flow tree as the log built it (spec/storage.md 2.3): roots and proofs at the current length and at recent ones. */
export type FlowView = {
  /** Chunks in the flow, and its root. */
  context(): { readonly root: Uint8Array; readonly lengthChunks: number }
  /** The length at which the flow had this root; `undefined` when that is too long ago or never was. */
  lengthOfRoot(root: Root): number | undefined
  /** Root of one segment of the flow, inside its end. Throws `FLOW_POSITION_INVALID` inside a larger submission node: there the
   *  bytes of the entry say it. */
  segmentHash(segmentIndex: number): Uint8Array
  /** From a submission node, or a hole, up to the root at `lengthChunks`. */
  prove(position: FlowPosition, lengthChunks: number): SegmentProof
}

/** Roots of the flow are looked for this many submissions back: the contract's own root history has 1000 places. */
const ROOT_HISTORY_MAX = 1000

type FlowViewDeps = {
  readonly index: Index
  readonly entries: EntryIndex
  readonly state: () => FlowState
  readonly nextSeq: () => number
  /** Changes when the log was taken back: what was found before may be wrong. */
  readonly era: () => number
}

export function createFlowView(deps: FlowViewDeps): FlowView {
  const lookup = (height: number, index: number): Uint8Array | undefined => deps.index.get(flowNodeKey(height, index))
  const known = new Map<string, number>()
  let era = deps.era()
  let context: { readonly state: FlowState; readonly root: Uint8Array } | undefined

  const lengthAfter = (entry: Entry): number => entry.startChunk + entry.paddedChunkCount
  const rootAt = (lengthChunks: number): Uint8Array =>
    subtreeRoot({ height: heightOf(lengthChunks), index: 0 }, lengthChunks, lookup)

  return {
    context() {
      const state = deps.state()
      if (context?.state !== state) context = { state, root: flowRoot(state) }
      return { root: context.root, lengthChunks: state.length }
    },
    lengthOfRoot(root) {
      if (era !== deps.era()) {
        era = deps.era()
        known.clear()
      }
      const kept = known.get(root)
      if (kept !== undefined) return kept
      const wanted = fromHex(root)
      if (equal(wanted, this.context().root)) return deps.state().length
      const newest = deps.nextSeq() - 1
      for (let seq = newest; seq >= 0 && seq > newest - ROOT_HISTORY_MAX; seq--) {
        const lengthChunks = lengthAfter(deps.entries.bySeq(seq)!)
        if (!equal(wanted, rootAt(lengthChunks))) continue
        if (known.size >= ROOT_HISTORY_MAX) known.delete(known.keys().next().value!)
        known.set(root, lengthChunks)
        return lengthChunks
      }
      return undefined
    },
    segmentHash: (segmentIndex) =>
      subtreeRoot({ height: SEGMENT_HEIGHT, index: segmentIndex }, deps.state().length, lookup),
    prove: (position, lengthChunks) => proveInFlow(position, lengthChunks, lookup),
  }
}

function heightOf(lengthChunks: number): number {
  let height = 0
  while (2 ** height < lengthChunks) height++
  return height
}
