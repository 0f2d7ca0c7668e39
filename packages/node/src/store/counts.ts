import { toHex } from '@weightless/core'
import type { Index, IndexChange } from '@weightless/core'
import { encodeRootCount, readRootCount, rootKey } from './rows.ts'

/** The rows that count the segments of each root, after a set of changes: what the index says, and the difference. */
export function createCounts(index: Index): Counts {
  const touched = new Map<string, { readonly root: Uint8Array; heldCount: number; usedBytes: number }>()
  const change = (root: Uint8Array, by: 1 | -1, dataBytes: number): void => {
    const name = toHex(root)
    let count = touched.get(name)
    if (count === undefined) touched.set(name, (count = { root, ...readRootCount(index, root) }))
    count.heldCount += by
    count.usedBytes += by * dataBytes
  }
  return {
    add: ({ root, dataBytes }) => change(root, 1, dataBytes),
    subtract: ({ root, dataBytes }) => change(root, -1, dataBytes),
    changes: () =>
      Array.from(touched.values(), ({ root, heldCount, usedBytes }) => ({
        key: rootKey(root),
        value: heldCount > 0 ? encodeRootCount({ heldCount, usedBytes }) : undefined,
      })),
  }
}

export type CountedSegment = { readonly root: Uint8Array; readonly dataBytes: number }
export type Counts = {
  add(segment: CountedSegment): void
  subtract(segment: CountedSegment): void
  changes(): IndexChange[]
}
