import { createFail } from '@weightless/core'
import { storeErrors } from './store/errors.ts'

/** Codes of the long-running roles, in the order in which a role meets them: configuration, chain, requests, holders. */
export const roleErrors = {
  CONFIG_KEY_UNKNOWN: {
    retryable: false,
    blame: 'caller',
    next: 'Correct the key: the nearest known one is named here.',
  },
  CONFIG_KEY_MISSING: { retryable: false, blame: 'caller', next: 'Add the key to the configuration file.' },
  CONFIG_VALUE_INVALID: { retryable: false, blame: 'caller', next: 'Give the key a value of the form named here.' },
  CONFIG_ROLE_MISSING: { retryable: false, blame: 'caller', next: 'Add a [storage] or a [gateway] section.' },

  CHAIN_ID_MISMATCH: {
    retryable: false,
    blame: 'caller',
    next: 'Point rpc_url at the chain whose id the configuration names.',
  },
  CHAIN_CHANGED: {
    retryable: false,
    blame: 'caller',
    next: 'This data directory followed another chain: point rpc_url at that chain, or start with an empty directory.',
  },
  CHAIN_LAGGING: {
    retryable: true,
    blame: 'peer',
    next: 'Wait: the RPC announced a block that it does not serve yet.',
  },
  CHAIN_UNSTEADY: {
    retryable: true,
    blame: 'peer',
    next: 'Wait: the RPC changed its mind between two answers; it is asked again.',
  },
  REORG_TOO_DEEP: {
    retryable: false,
    blame: 'peer',
    next: 'The chain took back more blocks than a node goes back by itself. What is stored is served meanwhile; if the RPC is right, start with an empty data directory, else point rpc_url at another one.',
  },
  FLOW_GAP: {
    retryable: false,
    blame: 'peer',
    next: 'The RPC does not return every submission: set start_block to the block of the flow deployment and use an RPC that keeps all logs.',
  },
  FLOW_MISMATCH: {
    retryable: false,
    blame: 'peer',
    next: 'The log that was read does not build the flow that the contract built: check the flow address and the RPC, then start with an empty directory.',
  },
  MEMBERSHIP_MISMATCH: {
    retryable: false,
    blame: 'peer',
    next: 'The membership events do not add up to what the registry stored: check the registry address and start_block.',
  },
  REGISTRATION_FAILED: {
    retryable: true,
    blame: 'caller',
    next: 'Give the account of this node enough coins for its stake and gas, then start it again.',
  },
  REGISTRATION_UNSETTLED: {
    retryable: true,
    blame: 'peer',
    next: 'Wait: the registry did not come to say what this node says of itself; somebody else may use its key.',
  },
  KEY_MISSING: { retryable: false, blame: 'caller', next: 'Set key_file: a node of this membership signs receipts.' },

  ROUTE_UNKNOWN: { retryable: false, blame: 'caller', next: 'See docs/wire.md for the routes of this service.' },
  METHOD_NOT_ALLOWED: {
    retryable: false,
    blame: 'caller',
    next: 'Use the HTTP method that docs/wire.md names for this route.',
  },
  PARAMETER_INVALID: { retryable: false, blame: 'caller', next: 'Correct the parameter named here.' },
  REQUEST_TOO_LARGE: { retryable: false, blame: 'caller', next: 'Send less at once: the limit is named here.' },
  REQUEST_INCOMPLETE: { retryable: true, blame: 'caller', next: 'Send the whole body again.' },
  SERVER_BUSY: { retryable: true, blame: 'self', next: 'Wait a second and send the request again.' },
  CLIENT_TOO_SLOW: {
    retryable: true,
    blame: 'caller',
    next: 'Send the request again without pauses: others waited for the memory that it held.',
  },
  SERVICE_FAILED: {
    retryable: true,
    blame: 'self',
    next: 'Look into the log of this service, then send the request again.',
  },
  SERVICE_STOPPING: { retryable: true, blame: 'self', next: 'Wait until the service is up again.' },

  ENTRY_UNKNOWN: {
    retryable: true,
    blame: 'none',
    next: 'Wait one block: this node has not seen the entry yet. If it never appears, the transaction failed.',
  },
  ENTRY_MISMATCH: {
    retryable: false,
    blame: 'caller',
    next: 'Name the root and the sequence number of the same entry.',
  },
  ENTRY_INCOMPLETE: { retryable: true, blame: 'none', next: 'Send the missing segments first.' },
  PARITY_MISMATCH: {
    retryable: false,
    blame: 'caller',
    next: 'Name an entry whose tags and size are those of parity of this entry: GET /v1/entries/{root} lists them.',
  },
  CERTIFICATE_UNKNOWN: {
    retryable: true,
    blame: 'none',
    next: 'Ask another node, or ask the holders for their receipts and assemble one.',
  },
  MEMBERSHIP_UNKNOWN: {
    retryable: true,
    blame: 'none',
    next: 'Ask another node, or this one again once it has read the chain.',
  },
  ENTRY_NOT_FINAL: { retryable: true, blame: 'none', next: 'Wait until enough holders have signed, then ask again.' },
  SEGMENT_MISSING: { retryable: true, blame: 'none', next: 'Ask another holder for the segment.' },
  RECEIPT_UNAVAILABLE: {
    retryable: false,
    blame: 'caller',
    next: 'Ask a node that signs receipts: this one has no key.',
  },
  NOT_A_HOME: { retryable: false, blame: 'caller', next: 'Upload through the gateway named here.' },
  EARLY_SPACE_FULL: {
    retryable: true,
    blame: 'self',
    next: 'Wait until the entry is on chain, then send the segment again.',
  },

  RECEIPT_REFUSED: {
    retryable: false,
    blame: 'peer',
    next: 'Ask another holder: this receipt is not for this entry, or not of a member.',
  },
  HOLDERS_UNREACHABLE: {
    retryable: true,
    blame: 'peer',
    next: 'Wait for one of the holders to come back, then read again.',
  },
  PARITY_BUDGET_SPENT: {
    retryable: true,
    blame: 'self',
    next: 'Wait for the next day, or raise parity_bytes_per_day or parity_bytes_per_address_day of the gateway. Meanwhile there are whole copies.',
  },
  PARITY_NODES_TOO_FEW: {
    retryable: true,
    blame: 'none',
    next: 'Add storage nodes, or give the gateway a smaller code. Meanwhile there are whole copies.',
  },
  ENTRY_UNSEEN: {
    retryable: true,
    blame: 'none',
    next: 'Wait a block: a reorganisation has moved the entry, and this gateway has not followed it there yet.',
  },
  SPOOL_DAMAGED: {
    retryable: true,
    blame: 'self',
    next: 'Look at the disk of the gateway: the bytes that it read are not those of the root. Nothing was paid.',
  },
  GATEWAY_FULL: {
    retryable: true,
    blame: 'self',
    next: 'Wait until stored uploads have reached their holders, or give the gateway more spool_bytes_max.',
  },
} as const

/** All codes of this room. */
export const nodeErrors: typeof storeErrors & typeof roleErrors = { ...storeErrors, ...roleErrors }

export const fail: ReturnType<typeof createFail<typeof roleErrors>> = createFail(roleErrors)
