import { defaultKernel } from './kernel.ts'
import type { Kernel } from './kernel.ts'

export { createKernel, defaultKernel, segmentCountOf } from './kernel.ts'
export type { Kernel, Tier } from './kernel.ts'
export { createBase64Decoder, decodeBase64Groups } from './base64.ts'
export type { DecodeBase64Groups } from './base64.ts'
export { inlineKernels } from './inline.ts'
export type { InlineKernels, InlineOptions } from './inline.ts'
export { compileSimd } from './simd.ts'
export type { SimdExports } from './simd.ts'

// The default kernel's functions by name; `Kernel` documents them.
export const keccak256: Kernel['keccak256'] = (data) => defaultKernel().keccak256(data)
export const segmentRoot: Kernel['segmentRoot'] = (data, leafCount) => defaultKernel().segmentRoot(data, leafCount)
export const segmentRoots: Kernel['segmentRoots'] = (data, lastLeafCount) =>
  defaultKernel().segmentRoots(data, lastLeafCount)
export const merkleRoot: Kernel['merkleRoot'] = (hashes) => defaultKernel().merkleRoot(hashes)
export const merkleLevels: Kernel['merkleLevels'] = (hashes) => defaultKernel().merkleLevels(hashes)
export const foldProof: Kernel['foldProof'] = (leaf, siblings, lefts) =>
  defaultKernel().foldProof(leaf, siblings, lefts)
export const zeroSubtree: Kernel['zeroSubtree'] = (height) => defaultKernel().zeroSubtree(height)
