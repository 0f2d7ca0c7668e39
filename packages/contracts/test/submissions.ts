import { type Hex, bytesToHex, concat, keccak256 } from 'viem'

export type Node = { readonly root: Hex; readonly height: bigint }
export type SubmissionData = { readonly length: bigint; readonly tags: Hex; readonly nodes: readonly Node[] }

export const ZERO_HASH: Hex = `0x${'00'.repeat(32)}`
export const EMPTY_HASH: Hex = keccak256('0x')

/** A valid submission of these heights with made-up roots: the largest length the heights allow. */
export function submissionOf(heights: readonly number[], seed: number, tags: Hex = '0x'): SubmissionData {
  const nodes = heights.map((height, i) => ({ root: rootOf(seed * 4 + i), height: BigInt(height) }))
  return { length: sectorsOf(nodes) * 256n, tags, nodes }
}

export function sectorsOf(nodes: readonly Node[]): bigint {
  return nodes.reduce((sum, { height }) => sum + (1n << height), 0n)
}

export function hashPair(a: Hex, b: Hex): Hex {
  return keccak256(concat([a, b]))
}

/** The flow tree as the specification draws it (spec/storage.md 2.3), node by node: every placed node by its
 *  position, and a root computed from the top down. The oracle for the frontier in Flow. */
export function createFlowModel(): FlowModel {
  const placed = new Map<string, Hex>()
  /** Subtrees that hold a placed node somewhere below; all others are zero chunks. */
  const inhabited = new Set<string>()
  /** Roots of subtrees left of the end: nothing changes there any more. */
  const settled = new Map<string, Hex>()
  const zeros: Hex[] = [keccak256(new Uint8Array(256))]
  for (let h = 0; h < 64; h++) zeros.push(hashPair(zeros[h]!, zeros[h]!))
  let length = 1n

  const place = (root: Hex, height: number, index: bigint): void => {
    placed.set(`${height}:${index}`, root)
    for (let up = 1; height + up <= 64; up++) inhabited.add(`${height + up}:${index >> BigInt(up)}`)
  }
  place(ZERO_HASH, 0, 0n)

  const subtree = (height: number, index: bigint): Hex => {
    const key = `${height}:${index}`
    const known = placed.get(key) ?? settled.get(key)
    if (known !== undefined) return known
    if (!inhabited.has(key)) return zeros[height]!
    const root = hashPair(subtree(height - 1, index * 2n), subtree(height - 1, index * 2n + 1n))
    if ((index + 1n) << BigInt(height) <= length) settled.set(key, root)
    return root
  }
  return {
    length: () => length,
    append(nodes) {
      const before = length
      const sectors = sectorsOf(nodes)
      const start = align(length, nodes[0]!.height)
      if (start % 1024n !== 0n && start / 1024n !== (start + sectors - 1n) / 1024n)
        length = (start / 1024n + 1n) * 1024n
      const positions = nodes.map(({ root, height }) => {
        const position = align(length, height)
        place(root, Number(height), position >> height)
        length = position + (1n << height)
        return position
      })
      return { start: positions[0]!, sectors, padding: positions[0]! - before }
    },
    root() {
      let height = 0
      while (1n << BigInt(height) < length) height++
      return subtree(height, 0n)
    },
  }
}

export type FlowModel = {
  length(): bigint
  append(nodes: readonly Node[]): { readonly start: bigint; readonly sectors: bigint; readonly padding: bigint }
  root(): Hex
}

function align(value: bigint, height: bigint): bigint {
  return ((value + (1n << height) - 1n) >> height) << height
}

function rootOf(seed: number): Hex {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(seed))
  return keccak256(bytesToHex(bytes))
}
