import type { Certificate } from '@weightless/core'
import { receiveBody } from '../http/body.ts'
import type { FastBytes } from '../http/fastBytes.ts'
import type { Gate } from '../http/gate.ts'
import type { ServiceCall } from '../http/service.ts'
import type { SpareBuffers } from '../http/spareBuffers.ts'
import { CERTIFICATE_BODY_BYTES_MAX, certificateFromBytes } from './certificateBody.ts'

/** A certificate that somebody sends, parsed and not yet verified. Throws `BODY_TOO_LARGE`, `CERTIFICATE_INVALID`, `RECEIPT_INVALID`. */
export async function receiveCertificate(
  { request, source, signal }: Omit<ServiceCall, 'url'>,
  deps: { readonly bodies: Gate; readonly spares: SpareBuffers; readonly bytes: FastBytes },
): Promise<Certificate> {
  const { bodies: gate, spares, bytes } = deps
  const options = { gate, sizeBytesMax: CERTIFICATE_BODY_BYTES_MAX, source, spares, bytes, signal }
  const { body, reuse, leave } = await receiveBody(request, options)
  try {
    return certificateFromBytes(body)
  } finally {
    reuse()
    leave()
  }
}
