import { createErasureKernel, type ErasureTier } from '@weightless/kernels'
import { expect, test } from 'vitest'
import { withRelaxedSimd } from './relaxedSimd.ts'

const tierOf = (make: () => { readonly tier: ErasureTier }): ErasureTier | 'none' => {
  try {
    return make().tier
  } catch {
    return 'none'
  }
}

test('relaxed SIMD is there while a kernel is compiled, on Node 20 not before', () => {
  const relaxed = (): { readonly tier: ErasureTier } => createErasureKernel('relaxed')
  const before = tierOf(relaxed)
  expect(tierOf(() => withRelaxedSimd(relaxed))).toBe('relaxed')
  expect(before).toBe(process.versions.node.startsWith('20.') ? 'none' : 'relaxed')
})
