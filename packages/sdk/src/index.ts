// What a user can do.
export { upload, uploadMany } from './upload.ts'
export type { AcceptedResult, StoredResult, UploadManyOptions, UploadOptions, UploadResult } from './upload.ts'
export { parseUploadStep } from './uploadSteps.ts'
export type { StepOptions, UploadStep } from './uploadSteps.ts'
export { COLLECT_BYTES_MAX, download, downloadBlob, downloadBytes, downloadStream } from './download.ts'
export type { CollectOptions, DownloadOptions, DownloadTarget, KeptOptions } from './download.ts'
export { verifyPrefix } from './verifyPrefix.ts'
export { info, list } from './info.ts'
export type { HolderInfo, InfoOptions, ListOptions, ObjectInfo, ProtectionInfo } from './info.ts'
export type { ProgressEvent } from './progress.ts'

// One network, one user, one machine.
export { certifyCopies } from './certify.ts'
export { createClient } from './client.ts'
export type { Client, ClientDeps, ClientOptions } from './client.ts'
export { privateKeySigner } from './signer.ts'
export type {
  EthersSignerLike,
  LocalAccount,
  PrivateKeyPair,
  SignerLike,
  WalletClientLike,
  WalletProvider,
} from './signer.ts'
export { createMemorySpool, MEMORY_SPOOL_BYTES_MAX } from './spool.ts'
export type { Spool, SpoolFile } from './spool.ts'
export type { ReadAt, Source } from './source.ts'
export type { Decryption } from './cipher.ts'
export { sdkErrors } from './errors.ts'

// Parts that the roles of a node use as any user would.
export { createStorageNodeClient, LIST_ENTRIES_MAX } from './storageNodeClient.ts'
export type {
  CertificateAnswer,
  HeldEntry,
  HeldParity,
  LoggedEntry,
  NodeStatus,
  PutAnswer,
  RequestOptions,
  SegmentRun,
  StorageNodeClient,
  StorageNodeClientOptions,
} from './storageNodeClient.ts'
export { createRpc } from './rpc.ts'
export type { Rpc, RpcDeps, RpcOptions } from './rpc.ts'
export { createTransactor } from './transactor.ts'
export type { MinedTransaction } from './settle.ts'
export type { PendingTransaction } from './pendingTransaction.ts'
export type { PreparedCall, SendOptions, Transactor, TransactorDeps, TransactorOptions } from './transactor.ts'
export {
  decodeSubmitLog,
  entriesOf,
  prepareSubmission,
  readMarket,
  readPrice,
  sendSubmission,
  SUBMIT_TOPIC,
  submitCalldata,
  submitEntries,
} from './flowChain.ts'
export type { Payment } from './flowChain.ts'
export { isFinal, readEntry, waitFinal } from './entryOnChain.ts'
export {
  drainMember,
  heartbeat,
  leaveMember,
  markStale,
  readActiveMembers,
  readMembers,
  readMembershipHash,
  readOwnMember,
  readRegistryRules,
  readVersion,
  readWithdrawableStake,
  registerMember,
  updateMember,
  withdrawStake,
} from './registry.ts'
export type { MemberDescription, MemberStatus, OwnMember } from './registry.ts'
export { hashSource } from './hash.ts'
export type { HashedSource } from './hash.ts'
export { codeSource } from './codeSource.ts'
export type { CodedParity, CodedSource } from './codeSource.ts'
export { announce, announceCertificate } from './announce.ts'
export { disperse } from './disperse.ts'
export type { Dispersal } from './disperse.ts'
export { disperseShards } from './disperseShards.ts'
export type { ShardDispersal, ShardsStored } from './disperseShards.ts'
export type { CodedObject } from './stripes.ts'
export type { MembershipSource } from './membership.ts'
export { locate } from './locate.ts'
export type { Candidate, Located, ObjectAddress } from './locate.ts'
export { createObjectReader } from './objectReader.ts'
export type { ObjectReader } from './objectReader.ts'
export { openStripeReader } from './stripeReader.ts'
export type { StripeReader } from './stripeReader.ts'
export { createSegmentReader } from './segmentReader.ts'
export type { SegmentReader } from './segmentReader.ts'
export { inOrder, mapBounded } from './inOrder.ts'
export { readBounded } from './readBounded.ts'
export { retry } from './retry.ts'
export type { RetryOptions } from './retry.ts'
export { childScope, withDeadline } from './scope.ts'
export { reachableCount } from './holders.ts'
