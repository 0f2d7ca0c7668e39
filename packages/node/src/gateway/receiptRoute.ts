import { parseRoot, receiptFromJson, type Clock } from '@weightless/core'
import { readBounded } from '@weightless/sdk'
import { fail } from '../errors.ts'
import { awaitEntry } from '../flow/awaitEntry.ts'
import type { Follower } from '../flow/follow.ts'
import { answerFailure, answerJson } from '../http/answer.ts'
import type { ServiceCall } from '../http/service.ts'
import type { Ledger } from './ledger.ts'

/** Receipts of one entry: a certificate of 256 holders is 150 KB. */
const BODY_BYTES_MAX = 262_144
const RECEIPTS_MAX = 256

/**
 * `PUT /v1/entries/{root}/receipts?seq=N` (docs/wire.md): who has stored an entry at its homes tells the gateway at once, and
 * official clients find it final even if a home is gone a moment later. Each receipt is verified like any other.
 */
export function createReceiptRoute(deps: ReceiptRouteDeps): (call: ServiceCall) => Promise<Response> | undefined {
  return (call) => {
    const found = /^\/v1\/entries\/([^/]{1,80})\/receipts$/.exec(call.url.pathname)
    if (found === null || call.request.method !== 'PUT') return undefined
    return take(call, found[1]!).catch(answerFailure)
  }

  async function take({ request, url, signal }: ServiceCall, name: string): Promise<Response> {
    const root = parseRoot(name)
    const seq = /^\d{1,15}$/.exec(url.searchParams.get('seq') ?? '')
    if (seq === null) throw fail('PARAMETER_INVALID', { name: 'seq' })
    const body = await readBounded(request, BODY_BYTES_MAX, { signal })
    const receipts = parseReceipts(new TextDecoder().decode(body))
    const entry = await awaitEntry({ root, seq: Number(seq[0]) }, deps, { signal })
    for (const receipt of receipts) await deps.ledger.add(entry, receiptFromJson(receipt))
    return answerJson({ final: deps.ledger.isFinal(entry) })
  }
}

export type ReceiptRouteDeps = { readonly ledger: Ledger; readonly follower: Follower; readonly clock: Clock }

function parseReceipts(text: string): readonly unknown[] {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw fail('PARAMETER_INVALID', { name: 'body', reason: 'no JSON' }, { cause })
  }
  if (Array.isArray(value) && value.length <= RECEIPTS_MAX) return value as unknown[]
  throw fail('PARAMETER_INVALID', { name: 'body', reason: `an array of at most ${RECEIPTS_MAX} receipts is expected` })
}
