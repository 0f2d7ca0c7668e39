import { keccak256 } from '@weightless/kernels'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { runs } from '../../../../sim/runs.ts'
import { fileTreeOf, type FileTree } from './fileTree.ts'
import { layoutOf } from './layout.ts'
import { partialTreeOf, type Confirmation, type PartialTree } from './partialTree.ts'

/** A tree whose leaves are made up, and which of its segments are at hand with their proofs. */
const cases = fc
  .record({ segmentCount: fc.integer({ min: 1, max: 90 }), held: fc.infiniteStream(fc.boolean()), seed: fc.nat(255) })
  .map(({ segmentCount, held, seed }) => {
    const roots = new Uint8Array(segmentCount * 32)
    for (let i = 0; i < segmentCount; i++) roots.set(keccak256(Uint8Array.of(i, seed)), 32 * i)
    const tree = fileTreeOf(layoutOf(segmentCount * 262_144), roots)
    const indices = Array.from({ length: segmentCount }, (_, i) => i)
    const isHeld = indices.map(() => held.next().value as boolean)
    return { tree, held: indices.filter((i) => isHeld[i]), lost: indices.filter((i) => !isHeld[i]) }
  })
const partialOf = (tree: FileTree): PartialTree => partialTreeOf({ root: tree.root, sizeBytes: tree.layout.sizeBytes })
const learn = (partial: PartialTree, tree: FileTree, index: number): void =>
  partial.learn(index, tree.segmentRoot(index), tree.prove(index))
const rootsOf = (tree: FileTree, indices: Iterable<number>): Map<number, Uint8Array> =>
  new Map([...indices].map((index) => [index, tree.segmentRoot(index)]))

/** As a reader does: learns one segment of a range that is needed, or claims the range whole. */
function settle(
  partial: PartialTree,
  tree: FileTree,
  claims: Map<number, Uint8Array>,
  held: readonly number[],
): { readonly last: Confirmation; readonly steps: number } {
  for (let steps = 0; ; steps++) {
    const last = partial.confirm(claims)
    if (last.kind !== 'open' || steps > 64) return { last, steps }
    for (const { from, to } of last.needs) {
      const at = held.find((index) => index >= from && index < to)
      if (at !== undefined) learn(partial, tree, at)
      else
        for (let index = from; index < to; index++) if (!claims.has(index)) claims.set(index, tree.segmentRoot(index))
    }
  }
}

test('with what it asks for, any lost segments are confirmed and proven as their own tree proves them', () => {
  fc.assert(
    fc.property(cases, fc.nat(), ({ tree, held, lost }, pick) => {
      fc.pre(lost.length > 0)
      const partial = partialOf(tree)
      const wanted = lost[pick % lost.length]!
      const { last, steps } = settle(partial, tree, rootsOf(tree, [wanted]), held)
      expect(last).toEqual({ kind: 'right' })
      // A tree has few levels, and each step settles one at least.
      expect(steps).toBeLessThanOrEqual(8)
      expect(partial.prove(wanted)).toEqual(tree.prove(wanted))
    }),
    runs(),
  )
})

test('one wrong root among any claims is never confirmed, and is among those that are named', () => {
  fc.assert(
    fc.property(cases, fc.nat(), fc.nat(31), ({ tree, held, lost }, pick, byte) => {
      fc.pre(lost.length > 0)
      const partial = partialOf(tree)
      const bad = lost[pick % lost.length]!
      const claims = rootsOf(tree, lost)
      const forged = tree.segmentRoot(bad).slice()
      forged[byte]! ^= 1
      claims.set(bad, forged)
      const { last } = settle(partial, tree, claims, held)
      expect(last.kind).toBe('wrong')
      if (last.kind === 'wrong') expect(last.segments).toContain(bad)
      expect(partial.prove(bad) ?? tree.prove(bad)).toEqual(tree.prove(bad))
    }),
    runs(),
  )
})

test('all that the proofs of the others leave open is what they do not speak of', () => {
  fc.assert(
    fc.property(cases, ({ tree, held, lost }) => {
      const partial = partialOf(tree)
      for (const index of held) learn(partial, tree, index)
      const result = partial.confirm(rootsOf(tree, lost))
      expect(result).toEqual({ kind: 'right' })
      for (const index of [...held, ...lost]) expect(partial.prove(index)).toEqual(tree.prove(index))
    }),
    runs(),
  )
})
