import { concat, type Abortable } from '@weightless/core'
import { fail } from './errors.ts'
import { abortable } from './scope.ts'

/** Reads the body of a request or response, at most `sizeBytesMax`. Throws `BODY_TOO_LARGE` and cancels the rest. */
export async function readBounded(
  message: Request | Response,
  sizeBytesMax: number,
  options: Abortable,
): Promise<Uint8Array> {
  if (message.body === null) return new Uint8Array(0)
  const declared = message.headers.get('content-length')
  const isPlain = (message.headers.get('content-encoding') ?? 'identity') === 'identity'
  // Only an unencoded body has the length that its header says: a compressed one may grow without bound.
  if (declared !== null && isPlain && /^\d{1,15}$/.test(declared)) {
    if (Number(declared) > sizeBytesMax) {
      cancel(message.body)
      throw fail('BODY_TOO_LARGE', { sizeBytes: Number(declared), sizeBytesMax })
    }
    // HTTP implementations end a body at its declared length, so this cannot grow beyond the limit.
    const body = new Uint8Array(await abortable(message.arrayBuffer(), options))
    if (body.length > sizeBytesMax) throw fail('BODY_TOO_LARGE', { sizeBytes: body.length, sizeBytesMax })
    return body
  }
  return readSteps(message.body, sizeBytesMax, options)
}

async function readSteps(
  body: ReadableStream<Uint8Array>,
  sizeBytesMax: number,
  options: Abortable,
): Promise<Uint8Array> {
  const reader = body.getReader()
  const parts: Uint8Array[] = []
  let sizeBytes = 0
  try {
    for (;;) {
      const step = await abortable(reader.read(), options)
      if (step.done) return parts.length === 1 ? parts[0]! : concat(parts)
      sizeBytes += step.value.length
      if (sizeBytes > sizeBytesMax) throw fail('BODY_TOO_LARGE', { sizeBytesRead: sizeBytes, sizeBytesMax })
      parts.push(step.value)
    }
  } catch (error) {
    reader.cancel(error).catch(() => undefined)
    throw error
  }
}

function cancel(body: ReadableStream<Uint8Array>): void {
  body.cancel().catch(() => undefined)
}
