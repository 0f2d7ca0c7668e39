import { defaultKernel } from './kernel.ts'
import type { Kernel } from './kernel.ts'

export { createKernel, defaultKernel, segmentCountOf } from './kernel.ts'
export type { Kernel, Tier } from './kernel.ts'
export { createBase64Decoder, decodeBase64Groups } from './base64.ts'
export type { DecodeBase64Groups } from './base64.ts'
export { createErasureKernel, defaultErasureKernel } from './erasure.ts'
export type { ErasureKernel, ErasureTier } from './erasure.ts'
export { encodingCombination, isCodeword, recoveryCombination } from './erasureCode.ts'
export type { Encoding, ErasureCode, KnownShard, Recovery, WantedShard } from './erasureCode.ts'
export { columnsOf, productCountOf } from './combination.ts'
export type { Combination } from './combination.ts'
export { compileErasure, strideBytesOf } from './erasureSimd.ts'
export {
  checkShards,
  fingerprintCoefficients,
  fingerprintOfSums,
  fingerprintPoint,
  FINGERPRINT_SIZE_BYTES,
  SHARD_SIZE_BYTES_MAX,
  SUMS_SIZE_BYTES,
} from './fingerprint.ts'
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
