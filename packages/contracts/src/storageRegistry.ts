export { storageRegistryAbi, storageRegistryBytecode } from './generated/storageRegistry.ts'

/** `status` of a member, as the registry counts it: active ⇄ stale, both → draining → left. */
export const memberStatuses = ['none', 'active', 'stale', 'draining', 'left'] as const
