import {
  type Abortable,
  type Hex,
  isFailure,
  jsonRpcCodes,
  jsonRpcError,
  type JsonRpcCall,
  jsonRpcResult,
  never,
  type Logger,
  parseJsonRpc,
} from '@weightless/core'
import { createGate } from './gate.ts'
import { withMargin } from './gas.ts'
import { filterCall, type ForwardedAs } from './rpcFilter.ts'
import type { Fate } from './sequencer.ts'

/** Elements of one array: viem sends up to 1000 in one, ethers up to 100. */
export const CALL_COUNT_MAX = 1000
/** One body: a batchSubmit of 32 entries with full tags is 280 KB of hex; a contract creation 100 KB. */
export const BODY_BYTES_MAX: number = 2 * 1024 ** 2
/** All answers of one array together. One answer may be larger: it is passed on and not kept. */
const BATCH_ANSWER_CHARS_MAX: number = 32 * 1024 ** 2
/** Calls that run the EVM or walk the history hold a lock that the next block needs: a block waits for the longest of them
 *  (50 ms at 30M gas), and these compete for the cores. */
const HEAVY_COUNT_MAX = 8
const LIGHT_COUNT_MAX = 256
/** EIP-1474: limit exceeded, ask again. Wallets and our SDK repeat on it. */
const CODE_TRY_AGAIN = -32005

/** Answers the bodies of clients, over whichever transport they came: reads, decides by `filterCall`, forwards what is allowed,
 *  and puts each answer under the id it belongs to, digit for digit. */
export function createProxy(deps: ProxyDeps): Proxy {
  const heavy = createGate(HEAVY_COUNT_MAX)
  const light = createGate(LIGHT_COUNT_MAX)

  async function answer(body: Uint8Array | string, caller: Caller): Promise<string | undefined> {
    let parsed
    try {
      parsed = parseJsonRpc(body, { callCountMax: CALL_COUNT_MAX })
    } catch (error) {
      if (!isFailure(error)) throw error
      const code = error.code === 'RPC_BODY_INVALID' ? jsonRpcCodes.parse : jsonRpcCodes.invalidRequest
      return jsonRpcError('null', { code, message: error.message })
    }
    if (!parsed.isBatch) return answerCall(parsed.calls[0]!, caller)
    let chars = 0
    const bounded = async (call: JsonRpcCall): Promise<string | undefined> => {
      const text = await answerCall(call, caller)
      chars += text?.length ?? 0
      if (text === undefined || chars <= BATCH_ANSWER_CHARS_MAX) return text
      return jsonRpcError(call.id ?? 'null', {
        code: CODE_TRY_AGAIN,
        message: 'the answers of this array are too large: ask for less at once',
      })
    }
    // Transactions first: ethers asks for the block number in the array that carries its transaction and keeps the answer; an
    // old one makes its wait(1) sleep for a polling interval of four seconds although the receipt is there.
    const isFirst = (call: JsonRpcCall): boolean => call.kind === 'request' && call.method === 'eth_sendRawTransaction'
    const early = new Map(parsed.calls.filter(isFirst).map((call) => [call, bounded(call)]))
    await Promise.all(early.values())
    const answers = await Promise.all(parsed.calls.map((call) => early.get(call) ?? bounded(call)))
    const told = answers.filter((text) => text !== undefined)
    // An array of notifications has no answer.
    return told.length === 0 ? undefined : `[${told.join(',')}]`
  }

  async function answerCall(call: JsonRpcCall, caller: Caller): Promise<string | undefined> {
    if (call.kind === 'fault')
      return jsonRpcError(call.id, { code: jsonRpcCodes.invalidRequest, message: call.failure.message })
    const id = call.id ?? 'null'
    const text = await answerRequest(id, call, caller).catch((error: unknown) =>
      jsonRpcError(id, describe(error, call.method, deps.logger)),
    )
    // A notification is carried out, and its answer is nobody's.
    return call.id === undefined ? undefined : text
  }

  async function answerRequest(
    id: string,
    call: Extract<JsonRpcCall, { kind: 'request' }>,
    caller: Caller,
  ): Promise<string> {
    const verdict = filterCall(call, deps)
    switch (verdict.kind) {
      case 'refuse':
        return jsonRpcError(id, { code: verdict.code, message: verdict.message })
      case 'answer':
        return jsonRpcResult(id, verdict.result)
      case 'subscribe':
      case 'unsubscribe': {
        if (caller.subscriber === undefined)
          return jsonRpcError(id, {
            code: jsonRpcCodes.methodNotFound,
            message: `${call.method} needs a WebSocket connection`,
          })
        const told =
          verdict.kind === 'subscribe'
            ? caller.subscriber.subscribe(verdict.params)
            : caller.subscriber.unsubscribe(verdict.params)
        return 'result' in told
          ? jsonRpcResult(id, told.result)
          : jsonRpcError(id, { code: jsonRpcCodes.invalidParams, message: told.refusal })
      }
      case 'forward':
        return `{"jsonrpc":"2.0","id":${id},${await forward(verdict, caller)}`
      default:
        return never(verdict)
    }
  }

  /** The answer's text behind the id. */
  async function forward(verdict: Forwarded, caller: Caller): Promise<string> {
    const { method, params, as } = verdict
    const gate = as.kind === 'heavy' || as.kind === 'estimate' ? heavy : light
    // What the engine has begun it finishes: asking it to stop is not possible, and its answers are bounded in time.
    const tail = explained(await gate(async () => (await deps.upstream()).ask(method, params), caller), method)
    switch (as.kind) {
      case 'light':
      case 'heavy':
        return tail
      case 'estimate':
        return as.hasData ? estimateWithMargin(tail) : tail
      case 'transaction':
        return answerTransaction(tail)
      default:
        return never(as)
    }
  }

  function estimateWithMargin(tail: string): string {
    const result = resultIn(tail)
    if (typeof result !== 'string' || !/^0x[0-9a-f]+$/i.test(result)) return tail
    return `"result":"0x${withMargin(BigInt(result), deps).toString(16)}"}`
  }

  async function answerTransaction(tail: string): Promise<string> {
    const hash = resultIn(tail)
    if (typeof hash !== 'string') return tail
    deps.onAccepted?.(hash as Hex)
    if ((await deps.submitted(hash as Hex)) !== 'dropped') return tail
    const error = {
      code: jsonRpcCodes.server,
      message: 'transaction dropped: when its block was built, its nonce was used or its sender could not pay',
      data: hash,
    }
    return `"error":${JSON.stringify(error)}}`
  }

  return { answer }
}

export type Proxy = {
  /** The answer's text; `undefined` when there is nothing to answer (notifications). Never rejects for what a client sent. */
  answer(body: Uint8Array | string, caller: Caller): Promise<string | undefined>
}

export type Caller = Abortable & {
  /** Where a transport can push, it subscribes here. */
  readonly subscriber?: Subscriber | undefined
}
export type Subscriber = {
  subscribe(params: readonly unknown[]): { readonly result: string } | { readonly refusal: string }
  unsubscribe(params: readonly unknown[]): { readonly result: boolean } | { readonly refusal: string }
}

export type ProxyDeps = {
  readonly blockGasLimit: bigint
  /** The engine, as soon as it answers. Throws `CHAIN_UNAVAILABLE` when that takes too long, `CHAIN_STOPPED` when it never will. */
  upstream(): Promise<Upstream>
  submitted(hash: Hex): Promise<Fate>
  onAccepted?(hash: Hex): void
  readonly logger?: Logger | undefined
}
export type Upstream = { ask(method: string, params: readonly unknown[]): Promise<string> }

type Forwarded = { readonly method: string; readonly params: readonly unknown[]; readonly as: ForwardedAs }

/** What anvil 1.7 says when parameters are missing or of the wrong kind names a type of its source. */
const UNEXPLAINED = /^"error":\{"code":-32602,"message":"data did not match any variant of untagged enum [A-Za-z]+"/

function explained(tail: string, method: string): string {
  if (!UNEXPLAINED.test(tail)) return tail
  const message = `the parameters of ${method} are missing or of the wrong kind. Next: pass them as the Ethereum JSON-RPC specification says.`
  return `"error":${JSON.stringify({ code: jsonRpcCodes.invalidParams, message })}}`
}

function resultIn(tail: string): unknown {
  return (JSON.parse(`{${tail}`) as { readonly result?: unknown }).result
}

/** Never the text of an unknown error: it may hold a path. */
function describe(error: unknown, method: string, logger: Logger | undefined): { code: number; message: string } {
  if (isFailure(error, 'CHAIN_STOPPED')) return { code: jsonRpcCodes.server, message: error.message }
  if (isFailure(error, 'CHAIN_UNAVAILABLE')) return { code: CODE_TRY_AGAIN, message: error.message }
  if (error instanceof Error && (error.name === 'AbortError' || isFailure(error, 'CLIENT_GONE')))
    return { code: CODE_TRY_AGAIN, message: 'the request was given up' }
  logger?.error('proxy.callFailed', { method, error })
  return { code: jsonRpcCodes.internal, message: 'internal error' }
}
