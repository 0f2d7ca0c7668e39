import { createFail } from '@weightless/core'

/** Codes of the client library (`createFail` below checks the form). Errors of a storage node keep the node's own code (docs/wire.md) and blame the peer. */
export const sdkErrors = {
  OPTION_INVALID: { retryable: false, blame: 'caller', next: 'Pass the option as its documentation says.' },
  NETWORK_MISMATCH: {
    retryable: false,
    blame: 'caller',
    next: 'Take chain id, addresses and node URLs from one and the same network; nothing was signed.',
  },
  DEADLINE_PASSED: {
    retryable: true,
    blame: 'none',
    next: 'Call again, with a larger timeoutMs if the network is slow.',
  },
  BODY_TOO_LARGE: { retryable: false, blame: 'peer', next: 'Send less at once, or ask another node.' },

  RPC_UNREACHABLE: {
    retryable: true,
    blame: 'none',
    next: 'Check that the chain answers at this URL, then call again.',
  },
  RPC_ANSWER_INVALID: { retryable: false, blame: 'peer', next: 'Use an Ethereum JSON-RPC endpoint of the network.' },
  RPC_ERROR: {
    retryable: false,
    blame: 'caller',
    next: 'Read the message of the endpoint; the same call gives the same error.',
  },
  LOG_INVALID: {
    retryable: false,
    blame: 'peer',
    next: 'Use an endpoint of the network: its flow contract never emits such a log.',
  },
  REGISTRY_INVALID: {
    retryable: false,
    blame: 'caller',
    next: 'Check that this is the address of the StorageRegistry on this chain.',
  },

  SIGNER_MISSING: { retryable: false, blame: 'caller', next: 'Pass a signer to createClient(): uploads are paid for.' },
  SIGNER_INVALID: {
    retryable: false,
    blame: 'caller',
    next: 'Pass a viem account or wallet client, an ethers signer, { address, provider } of a wallet, or privateKeySigner(key).',
  },
  SIGNER_REFUSED: {
    retryable: false,
    blame: 'caller',
    next: 'Approve the transaction in the wallet, or unlock it, and call again.',
  },
  FUNDS_INSUFFICIENT: {
    retryable: false,
    blame: 'caller',
    next: 'Send the missing funds to this address; nothing was sent.',
  },
  FEE_ABOVE_CAP: { retryable: true, blame: 'none', next: 'Wait until gas is cheaper: nothing was signed.' },
  NONCE_CONFLICT: {
    retryable: true,
    blame: 'caller',
    next: 'Another program sends from this address at the same time: give each program an account of its own.',
  },
  TX_REVERTED: {
    retryable: false,
    blame: 'caller',
    next: 'Read the reason; the contract will refuse the same call again.',
  },
  TX_NOT_MINED: {
    retryable: false,
    blame: 'none',
    next: 'Look the transaction up before paying again: uploading the same bytes later finds it and does not pay twice.',
  },
  TX_REPLACED: {
    retryable: true,
    blame: 'caller',
    next: 'Upload again: another transaction of this wallet took the nonce, this one can never be mined and paid nothing. Give each program an account of its own.',
  },
  TX_DROPPED: {
    retryable: false,
    blame: 'none',
    next: 'Look the transaction up in the wallet. If it is gone for good, upload again without the saved step.',
  },
  TX_LOG_MISSING: {
    retryable: false,
    blame: 'peer',
    next: 'Check the flow address: this transaction succeeded and emitted no entry.',
  },
  ENTRY_REORGED: { retryable: true, blame: 'none', next: 'Upload again: the chain replaced the block of this entry.' },

  STEP_INVALID: {
    retryable: false,
    blame: 'caller',
    next: 'Pass a step as onStep gave it, from JSON. If it is damaged, look at the wallet before you upload without it.',
  },
  STEP_MISMATCH: {
    retryable: false,
    blame: 'caller',
    next: 'Resume with the same source, tags, code, network and wallet, or upload without the saved step.',
  },
  STEP_NOT_SAVED: {
    retryable: true,
    blame: 'caller',
    next: 'Make room for the step and upload again: what could not be saved was not sent.',
  },

  FILE_EMPTY: { retryable: false, blame: 'caller', next: 'Store at least one byte: the log has no empty entries.' },
  SOURCE_INVALID: {
    retryable: false,
    blame: 'caller',
    next: 'Pass a Blob, bytes, a ReadableStream or an AsyncIterable of bytes.',
  },
  SOURCE_CHANGED: {
    retryable: true,
    blame: 'caller',
    next: 'Upload when nobody writes to the source, or upload a copy.',
  },
  SOURCE_UNREADABLE: { retryable: false, blame: 'caller', next: 'Check that the source can be read to its end.' },
  SPOOL_FULL: {
    retryable: false,
    blame: 'caller',
    next: 'Pass a Blob or a file instead of a stream, or hand createClient() a `spool` that writes to disk.',
  },

  MEMBERS_NONE: {
    retryable: true,
    blame: 'none',
    next: 'Start storage nodes, or name some with the option storageNodes.',
  },
  NODE_UNREACHABLE: { retryable: true, blame: 'peer', next: 'Ask another node; this one does not answer.' },
  NODE_ANSWER_INVALID: {
    retryable: false,
    blame: 'peer',
    next: 'Ask another node; this one does not speak docs/wire.md.',
  },
  NODE_REFUSED: { retryable: false, blame: 'peer', next: 'Ask another node; this one refuses.' },
  NODE_FULL: {
    retryable: true,
    blame: 'peer',
    next: 'Free space on its disk or give it more capacity; other nodes are asked meanwhile.',
  },
  NODES_TOO_FEW: {
    retryable: true,
    blame: 'none',
    next: 'Start storage nodes, or free space where they are full, until enough can store; or ask for less: a smaller code, fewer losses. Nothing was paid.',
  },
  DURABILITY_NOT_REACHED: {
    retryable: true,
    blame: 'none',
    next: 'Start the nodes that failed, or free space where they are full, and upload the same bytes again: the entry is on chain and is not paid twice.',
  },
  SEGMENTS_NOT_HELD: {
    retryable: true,
    blame: 'none',
    next: 'Ask another node: this one does not hold these segments.',
  },
  OBJECT_UNKNOWN: {
    retryable: true,
    blame: 'none',
    next: 'Check the root; a node learns of a new entry within a block.',
  },
  OBJECT_UNAVAILABLE: {
    retryable: true,
    blame: 'none',
    next: 'Start the nodes that hold this object and download again.',
  },
  SHARDS_LOST: {
    retryable: true,
    blame: 'none',
    next: 'Start as many of the nodes that wouldHelp names as shortBy says, and download again.',
  },
  SIZE_UNPROVEN: {
    retryable: true,
    blame: 'peer',
    next: 'Pass sizeBytes if you know it, or ask other nodes: what these say is not on chain.',
  },
  RANGE_INVALID: {
    retryable: false,
    blame: 'caller',
    next: 'Use 0 <= start < end, with start below the size of the object.',
  },
  RESULT_TOO_LARGE: {
    retryable: false,
    blame: 'caller',
    next: 'Use download(), which streams, instead of collecting all bytes.',
  },
} as const

export const fail: ReturnType<typeof createFail<typeof sdkErrors>> = createFail(sdkErrors)
