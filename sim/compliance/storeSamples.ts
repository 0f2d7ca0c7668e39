import { rootOf, type Root } from '@weightless/core'
import type { NewSegment } from '../../packages/node/src/store/store.ts'
import { createChance } from '../chance.ts'

export function rootNumber(n: number): Root {
  return rootOf(createChance(n * 7919).bytes(32))
}

/** Same root, index and shape: same segment. */
export function segmentOf(
  rootNumber: number,
  index: number,
  shape: { readonly sizeBytes?: number; readonly depth?: number } = {},
): NewSegment {
  const { sizeBytes = 512, depth = 2 } = shape
  const chance = createChance(rootNumber * 1_000_003 + index * 31 + sizeBytes)
  const data = new Uint8Array(sizeBytes).map((_, i) => i * 13)
  data.set(chance.bytes(Math.min(64, sizeBytes)))
  const siblings = Array.from({ length: depth }, () => chance.bytes(32))
  return { index, data, proof: { siblings, lefts: siblings.map(() => chance.below(2) === 1) } }
}
