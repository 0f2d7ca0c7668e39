import { type Abortable, type Clock, fromHex, type Net, preview, toHex } from '@weightless/core'
import { fail } from '../errors.ts'

/** One second per 25 000 transactions on a slow machine; a start or a save that takes minutes is broken. */
const STATE_MS_MAX = 300_000

/** Puts a whole state, blocks and receipts included, into an anvil. Throws `CHAIN_CALL_FAILED` for bytes that are none. */
export async function loadState(url: string, state: Uint8Array, deps: StateDeps, options: Abortable): Promise<void> {
  await callAnvil(url, 'anvil_loadState', [toHex(state)], deps, options)
}

export async function dumpState(url: string, deps: StateDeps, options: Abortable): Promise<Uint8Array> {
  const dump = await callAnvil(url, 'anvil_dumpState', [], deps, options)
  if (typeof dump !== 'string' || dump.length < 4)
    throw fail('CHAIN_CALL_FAILED', { method: 'anvil_dumpState', message: preview(dump) })
  return fromHex(dump)
}

export type StateDeps = { readonly net: Net; readonly clock: Clock }

/** Over HTTP: a WebSocket frame of anvil holds 16 MiB, a state may be larger. */
async function callAnvil(
  url: string,
  method: string,
  params: readonly unknown[],
  deps: StateDeps,
  { signal: given }: Abortable,
): Promise<unknown> {
  const deadline = deps.clock.deadline(STATE_MS_MAX)
  const signal = given === undefined ? deadline : AbortSignal.any([given, deadline])
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
  let answer: { readonly result?: unknown; readonly error?: { readonly code?: unknown; readonly message?: unknown } }
  try {
    const response = await deps.net.fetch(
      new Request(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body, signal }),
    )
    // Our own child answers: what it holds in memory fits ours.
    answer = JSON.parse(await response.text()) as typeof answer
  } catch (cause) {
    if (given?.aborted) throw given.reason
    throw fail('CHAIN_UNAVAILABLE', { reason: `no answer to ${method}` }, { cause })
  }
  if (answer.error === undefined) return answer.result
  throw fail('CHAIN_CALL_FAILED', {
    method,
    rpcCode: Number(answer.error.code),
    message: preview(answer.error.message),
  })
}
