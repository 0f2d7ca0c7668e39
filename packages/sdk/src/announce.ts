import { isFailure, type Abortable, type Certificate, type Receipt, type Root } from '@weightless/core'
import type { ClientDeps } from './client.ts'
import { withDeadline } from './scope.ts'

type Announcer = { readonly deps: Pick<ClientDeps, 'net' | 'clock' | 'logger'> }

/** A gateway that does not answer is not waited for: it finds out by itself, a little later. */
const ANNOUNCE_MS_MAX = 5_000

/** Tells a gateway of an upload that went past it, so that official clients find the object final at once. Resolves to whether it
 *  now does; a gateway that is away or refuses is no error of the upload. */
export async function announce(
  client: Announcer,
  what: {
    readonly gatewayUrl: string
    readonly root: Root
    readonly seq: number
    readonly receipts: readonly Receipt[]
  },
  { signal }: Abortable = {},
): Promise<boolean> {
  const { gatewayUrl, root, seq, receipts } = what
  return put(client, { gatewayUrl, path: `v1/entries/${root}/receipts?seq=${seq}`, value: receipts }, { signal })
}

/** The same with the certificate of an object under a code. */
export async function announceCertificate(
  client: Announcer,
  what: { readonly gatewayUrl: string; readonly certificate: Certificate },
  { signal }: Abortable = {},
): Promise<boolean> {
  const { gatewayUrl, certificate } = what
  const path = `v1/entries/${certificate.dataRoot}/certificate?seq=${certificate.entrySeq}`
  return put(client, { gatewayUrl, path, value: certificate }, { signal })
}

async function put(
  client: Announcer,
  what: { readonly gatewayUrl: string; readonly path: string; readonly value: unknown },
  { signal }: Abortable,
): Promise<boolean> {
  const { net, logger } = client.deps
  try {
    return await withDeadline(
      { signal, timeoutMs: ANNOUNCE_MS_MAX, what: 'announcement' },
      client.deps,
      async (scope) => {
        const url = new URL(what.path, what.gatewayUrl.replace(/\/*$/, '/'))
        const headers = { 'content-type': 'application/json' }
        const body = JSON.stringify(what.value)
        const response = await net.fetch(new Request(url, { method: 'PUT', headers, body, signal: scope }))
        await response.body?.cancel()
        return response.ok
      },
    )
  } catch (error) {
    if (signal?.aborted) throw signal.reason
    logger.warn('gateway.notTold', { gateway: what.gatewayUrl, code: isFailure(error) ? error.code : undefined })
    return false
  }
}
