import { bitmapOf, parseRoot, type Clock } from '@weightless/core'
import type { Certificates } from '../erasure/certificates.ts'
import { receiveCertificate } from '../erasure/receiveCertificate.ts'
import { awaitEntry, awaitSeq } from '../flow/awaitEntry.ts'
import type { Follower } from '../flow/follow.ts'
import { answerFailure, answerJson } from '../http/answer.ts'
import type { FastBytes } from '../http/fastBytes.ts'
import type { Gate } from '../http/gate.ts'
import { requiredQuery } from '../http/query.ts'
import type { ServiceCall } from '../http/service.ts'
import type { SpareBuffers } from '../http/spareBuffers.ts'

const SEQ_RANGE = { least: 0, most: Number.MAX_SAFE_INTEGER } as const

/** `PUT /v1/entries/{root}/certificate?seq=N` (docs/wire.md): who has stored an object by shards tells the gateway at once, and
 *  official clients find it final. It is verified as at a storage node. */
export function createCertificateRoute(
  deps: CertificateRouteDeps,
): (call: ServiceCall) => Promise<Response> | undefined {
  const { certificates } = deps
  return (call) => {
    const found = /^\/v1\/entries\/([^/]{1,80})\/certificate$/.exec(call.url.pathname)
    if (found === null || call.request.method !== 'PUT') return undefined
    return take(call, found[1]!).catch(answerFailure)
  }

  async function take(call: ServiceCall, name: string): Promise<Response> {
    const { url, signal } = call
    const root = parseRoot(name)
    const seq = requiredQuery(url.searchParams, 'seq', SEQ_RANGE)
    const entry = await awaitEntry({ root, seq }, deps, { signal })
    const certificate = await receiveCertificate(call, deps)
    if (certificate.parity !== null) await awaitSeq({ root, seq: certificate.parity.seq }, deps, { signal })
    const { proven, slots, lossesSurvived } = await certificates.take(entry, certificate, { signal })
    return answerJson({ proven: proven.length > 0, slots: bitmapOf(slots), lossesSurvived })
  }
}

export type CertificateRouteDeps = {
  readonly certificates: Pick<Certificates, 'take'>
  readonly follower: Follower
  readonly clock: Clock
  readonly bodies: Gate
  readonly spares: SpareBuffers
  readonly bytes: FastBytes
}
