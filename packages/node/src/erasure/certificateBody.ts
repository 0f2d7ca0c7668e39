import type { Certificate } from '@weightless/core'
import { certificateFromJson, CERTIFICATE_FINGERPRINT_BYTES_MAX, fail } from '@weightless/core'

/** The largest fingerprints in base64, and 4 MiB for receipts and member lists: 256 receipts and ten lists of 256 members are 2 MiB. */
export const CERTIFICATE_BODY_BYTES_MAX: number = (CERTIFICATE_FINGERPRINT_BYTES_MAX / 3) * 4 + 4 * 1024 ** 2
/** Values in a body before it is parsed: thirty lists of 256 members are 40 000. A value may take a hundred bytes of memory, so what is
 *  larger than any certificate costs no more than 26 MB. */
const CERTIFICATE_VALUES_MAX = 262_144

/** Reads a body from outside: size and number of values bounded before it is parsed. Throws `CERTIFICATE_INVALID`, and
 *  `RECEIPT_INVALID` for one of its receipts. */
export function certificateFromBytes(body: Uint8Array): Certificate {
  if (body.length > CERTIFICATE_BODY_BYTES_MAX)
    throw fail('CERTIFICATE_INVALID', { reason: 'it is too large', sizeBytes: body.length })
  if (valueCountOf(body) > CERTIFICATE_VALUES_MAX) throw fail('CERTIFICATE_INVALID', { reason: 'too many values' })
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder().decode(body))
  } catch (cause) {
    throw fail('CERTIFICATE_INVALID', { reason: 'no JSON' }, { cause })
  }
  return certificateFromJson(value)
}

/** No fewer than there are: each value but the first follows one of these. */
function valueCountOf(body: Uint8Array): number {
  let count = 1
  for (let i = 0; i < body.length; i++) {
    const byte = body[i]
    if (byte === COMMA || byte === COLON || byte === BRACKET || byte === BRACE) count++
  }
  return count
}

const [COMMA, COLON, BRACKET, BRACE] = [0x2c, 0x3a, 0x5b, 0x7b]
