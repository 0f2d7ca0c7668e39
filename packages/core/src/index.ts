export * from './base64.ts'
export * from './bytes.ts'
export * from './crypto/encryption.ts'
export * from './erasure/code.ts'
export * from './erasure/parityTags.ts'
export * from './erasure/protection.ts'
export * from './erasure/provenParity.ts'
export * from './erasure/shardFingerprints.ts'
export * from './erasure/shardLayout.ts'
export * from './erasure/shardPlacement.ts'
export * from './errors.ts'
export * from './flow/fileTree.ts'
export * from './flow/flowTree.ts'
export { hashPair } from './flow/hashPair.ts'
export * from './flow/layout.ts'
export * from './flow/segmentProof.ts'
export {
  checkSubmission,
  identityOf,
  nodeHeights,
  paddedChunkCountOf,
  rootOfNodes,
  submissionOf,
} from './flow/submission.ts'
export * from './hex.ts'
export * from './limits.ts'
export * from './ports.ts'
export * from './rpc/json.ts'
export * from './rpc/uploadBody.ts'
export * from './storage/durability.ts'
export * from './storage/membership.ts'
export { placeHomes, placementOrder } from './storage/placement.ts'
export type { Home } from './storage/placement.ts'
export * from './storage/receipt.ts'
export * from './storage/shards.ts'
export * from './types.ts'
export * from './wire/frames.ts'
