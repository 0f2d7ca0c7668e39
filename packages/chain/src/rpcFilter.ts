import { jsonRpcCodes, preview, type JsonRpcCall } from '@weightless/core'

/** Nesting of parameters: a call with an access list has four levels; more is an attempt on the parser behind us. */
const PARAMS_DEPTH_MAX = 16
/** Filters, addresses and topics: no method of ours has more than four parameters. */
const PARAMS_COUNT_MAX = 8

/** What becomes of one call on the public port. Decided by an allow-list, so a method that a new engine brings is closed until
 *  somebody opens it. What is forwarded is built anew from parsed values: the text of the client never reaches the engine, so
 *  equal keys, escapes and other differences between parsers cannot carry anything past. */
export function filterCall(call: RpcRequest, limits: FilterLimits): Verdict {
  const rule = RULES.get(call.method)
  if (rule === undefined)
    return refuse(
      jsonRpcCodes.methodNotFound,
      `the method ${preview(call.method)} is not available on this port. ${NOT_HERE}`,
    )
  if (rule.kind === 'answer') return { kind: 'answer', result: rule.result }
  if (!Array.isArray(call.params)) return refuse(jsonRpcCodes.invalidParams, 'params must be an array')
  const params: readonly unknown[] = call.params
  if (params.length > (rule.paramCountMax ?? PARAMS_COUNT_MAX)) {
    return refuse(
      jsonRpcCodes.invalidParams,
      `${call.method} takes at most ${rule.paramCountMax ?? PARAMS_COUNT_MAX} parameters here`,
    )
  }
  if (!isShallow(params, PARAMS_DEPTH_MAX)) {
    return refuse(jsonRpcCodes.invalidParams, `params are nested deeper than ${PARAMS_DEPTH_MAX} levels`)
  }
  switch (rule.kind) {
    case 'subscribe':
    case 'unsubscribe':
      return { kind: rule.kind, params }
    default:
      return forward(call.method, rule, params, limits)
  }
}

/** For those who try to send from an account of the node: the only thing that official tools of Ethereum do and we do not. */
const NOT_HERE = 'Next: sign with your own key and use eth_sendRawTransaction.'

export type RpcRequest = Pick<Extract<JsonRpcCall, { kind: 'request' }>, 'method' | 'params'>

export type FilterLimits = { readonly blockGasLimit: bigint }

export type Verdict =
  | { readonly kind: 'forward'; readonly method: string; readonly params: readonly unknown[]; readonly as: ForwardedAs }
  | { readonly kind: 'answer'; readonly result: unknown }
  | { readonly kind: 'subscribe'; readonly params: readonly unknown[] }
  | { readonly kind: 'unsubscribe'; readonly params: readonly unknown[] }
  | { readonly kind: 'refuse'; readonly code: number; readonly message: string }

/** `heavy`: runs the EVM or walks the history, so few run at once. `transaction`: answered when it is in a block.
 *  `estimate`: heavy, and its result gets a margin (`hasData`: a call, not a plain transfer). */
export type ForwardedAs =
  | { readonly kind: 'light' | 'heavy' | 'transaction' }
  | { readonly kind: 'estimate'; readonly hasData: boolean }

type Rule = ForwardRule | AnswerRule | SubscribeRule
type ForwardRule = {
  readonly kind: 'light' | 'heavy' | 'transaction' | 'estimate'
  readonly paramCountMax?: number
  /** Which parameter names a block. */
  readonly blockAt?: number
  /** What the first parameter is: a call object, or a filter over a range of blocks. */
  readonly first?: 'call' | 'range'
}
type AnswerRule = { readonly kind: 'answer'; readonly result: unknown }
type SubscribeRule = { readonly kind: 'subscribe' | 'unsubscribe'; readonly paramCountMax: number }

const light = (blockAt?: number): Rule => (blockAt === undefined ? { kind: 'light' } : { kind: 'light', blockAt })

// Block overrides (a fourth parameter of eth_call) can lift the gas limit of a call: the parameter counts keep them out.
const RULES: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  ['eth_blockNumber', light()],
  ['eth_chainId', light()],
  ['eth_gasPrice', light()],
  ['eth_maxPriorityFeePerGas', light()],
  ['eth_blobBaseFee', light()],
  ['eth_feeHistory', light(1)],
  ['eth_syncing', light()],
  ['eth_protocolVersion', light()],
  ['eth_getBalance', light(1)],
  ['eth_getCode', light(1)],
  ['eth_getStorageAt', light(2)],
  ['eth_getTransactionCount', light(1)],
  ['eth_getProof', { kind: 'heavy', blockAt: 2 }],
  ['eth_getBlockByHash', light()],
  ['eth_getBlockByNumber', light(0)],
  ['eth_getBlockReceipts', { kind: 'heavy', blockAt: 0 }],
  ['eth_getBlockTransactionCountByHash', light()],
  ['eth_getBlockTransactionCountByNumber', light(0)],
  ['eth_getUncleCountByBlockHash', light()],
  ['eth_getUncleCountByBlockNumber', light(0)],
  ['eth_getUncleByBlockHashAndIndex', light()],
  ['eth_getUncleByBlockNumberAndIndex', light(0)],
  ['eth_getTransactionByHash', light()],
  ['eth_getTransactionByBlockHashAndIndex', light()],
  ['eth_getTransactionByBlockNumberAndIndex', light(0)],
  ['eth_getRawTransactionByHash', light()],
  ['eth_getTransactionReceipt', light()],
  ['eth_call', { kind: 'heavy', first: 'call', blockAt: 1, paramCountMax: 3 }],
  ['eth_estimateGas', { kind: 'estimate', first: 'call', blockAt: 1, paramCountMax: 3 }],
  ['eth_createAccessList', { kind: 'heavy', first: 'call', blockAt: 1, paramCountMax: 2 }],
  ['eth_getLogs', { kind: 'heavy', first: 'range' }],
  ['eth_newFilter', { kind: 'heavy', first: 'range' }],
  ['eth_newBlockFilter', light()],
  ['eth_newPendingTransactionFilter', light()],
  ['eth_getFilterChanges', { kind: 'heavy' }],
  ['eth_getFilterLogs', { kind: 'heavy' }],
  ['eth_uninstallFilter', light()],
  ['eth_sendRawTransaction', { kind: 'transaction', paramCountMax: 1 }],
  ['eth_subscribe', { kind: 'subscribe', paramCountMax: 2 }],
  ['eth_unsubscribe', { kind: 'unsubscribe', paramCountMax: 1 }],
  // Nobody's keys are here, and no other node.
  ['eth_accounts', { kind: 'answer', result: [] }],
  ['net_peerCount', { kind: 'answer', result: '0x0' }],
  ['net_version', light()],
  ['net_listening', light()],
  ['web3_clientVersion', light()],
  ['web3_sha3', light()],
])

/** Every method that this port answers; for tests and documentation. */
export const allowedMethods: readonly string[] = [...RULES.keys()]

function forward(method: string, rule: ForwardRule, given: readonly unknown[], limits: FilterLimits): Verdict {
  const params = [...given]
  if (rule.blockAt !== undefined && rule.blockAt < params.length) params[rule.blockAt] = blockTag(params[rule.blockAt])
  if (rule.first === 'range' && isObject(params[0])) params[0] = rangeOf(params[0])
  let hasData = false
  if (rule.first === 'call') {
    if (!isObject(params[0])) return refuse(jsonRpcCodes.invalidParams, 'the first parameter must be a call object')
    const call = callOf(params[0], limits)
    if (call === undefined) return refuse(jsonRpcCodes.invalidParams, 'gas must be a hex quantity')
    params[0] = call
    hasData = isData(call['data']) || isData(call['input'])
  }
  return {
    kind: 'forward',
    method,
    params,
    as: rule.kind === 'estimate' ? { kind: 'estimate', hasData } : { kind: rule.kind },
  }
}

/** One sequencer: what is in a block stays (spec/chain.md 2.8.1), so the newest block is the final one. The engine itself
 *  would answer these names by counting epochs of a protocol that it does not run. */
function blockTag(value: unknown): unknown {
  return value === 'safe' || value === 'finalized' ? 'latest' : value
}

function rangeOf(filter: Fields): Fields {
  const range: Record<string, unknown> = { ...filter }
  for (const name of ['fromBlock', 'toBlock']) if (name in range) range[name] = blockTag(range[name])
  return range
}

const CALL_FIELDS = [
  'from', 'to', 'gas', 'gasPrice', 'maxFeePerGas', 'maxPriorityFeePerGas', 'maxFeePerBlobGas', 'value', 'data', 'input',
  'nonce', 'chainId', 'type', 'accessList', 'authorizationList', 'blobVersionedHashes',
] // prettier-ignore

/** The known fields only, and gas no more than a block has: anvil 1.7 runs a call with any gas it is given, and one of 10^12
 *  keeps every block waiting for half an hour. `undefined` for gas that is no quantity. */
function callOf(given: Fields, limits: FilterLimits): Fields | undefined {
  const call: Record<string, unknown> = {}
  for (const name of CALL_FIELDS) if (Object.hasOwn(given, name)) call[name] = given[name]
  const { gas } = call
  if (gas === undefined || gas === null) {
    delete call['gas']
    return call
  }
  if (typeof gas !== 'string' || !/^0x[0-9a-fA-F]{1,64}$/.test(gas)) return undefined
  if (BigInt(gas) > limits.blockGasLimit) call['gas'] = `0x${limits.blockGasLimit.toString(16)}`
  return call
}

function isData(value: unknown): boolean {
  return typeof value === 'string' && value.length > 2
}

type Fields = { readonly [name: string]: unknown }

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Walks with a list of its own: the depth of an outside value must not become the depth of our stack. */
function isShallow(value: unknown, depthMax: number): boolean {
  let level: unknown[] = [value]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > depthMax) return false
    const next: unknown[] = []
    for (const item of level) {
      if (typeof item === 'object' && item !== null) for (const inner of Object.values(item)) next.push(inner)
    }
    level = next
  }
  return true
}

function refuse(code: number, message: string): Verdict {
  return { kind: 'refuse', code, message }
}
