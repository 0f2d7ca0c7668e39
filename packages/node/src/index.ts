export { parseRolesConfig } from './config.ts'
export type {
  ChainConfig,
  GatewayConfig,
  Listen,
  PrivateListen,
  LogLevel,
  RolesConfig,
  StorageConfig,
  StorageMembership,
} from './config.ts'
export { nodeErrors } from './errors.ts'
export { startRoles } from './node.ts'
export type { Machine, RolesDeps, RunningRoles } from './node.ts'
export { createSegmentStore } from './store/store.ts'
export type { SegmentStore, SegmentStoreDeps, SegmentStoreOptions } from './store/store.ts'

// The roles as functions from Request to Response, for whoever joins them without sockets.
export { createStorageRole } from './storage/storage.ts'
export type { StorageRole, StorageRoleDeps, StorageRoleOptions } from './storage/storage.ts'
export { createGatewayRole } from './gateway/gateway.ts'
export type { GatewayRole, GatewayRoleDeps, GatewayRoleOptions } from './gateway/gateway.ts'
export { createFollower } from './flow/follow.ts'
export type { Follower, FollowerDeps, FollowerOptions } from './flow/follow.ts'
export { createChainReader } from './flow/chainReader.ts'
export type { ChainReader } from './flow/chainReader.ts'
export { fixedMembership } from './flow/membership.ts'
export type { MembershipView } from './flow/membership.ts'
export { plainBytes } from './http/fastBytes.ts'
export type { FastBytes } from './http/fastBytes.ts'
export type { RoleMetrics, Service } from './http/service.ts'
