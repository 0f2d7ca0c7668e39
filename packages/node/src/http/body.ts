import { fail } from '../errors.ts'
import type { FastBytes } from './fastBytes.ts'
import type { Gate } from './gate.ts'
import type { BodySource } from './service.ts'
import type { SpareBuffers } from './spareBuffers.ts'

/**
 * The whole body, read once there is room for it; `leave` gives the room back when the body is done with. `reuse` says that
 * nothing reads the body any more: its buffer may serve the next one. A body whose work failed is left to the garbage
 * collection instead, because a write that began may still read it. Throws what
 * `readBody` throws, `SERVER_BUSY` when there is no room in time, and `CLIENT_TOO_SLOW` when others wait and nothing comes.
 */
export async function receiveBody(request: Request, options: ReceiveBodyOptions): Promise<ReceivedBody> {
  const { gate, sizeBytesMax, source, spares, signal } = options
  const { receivedBytes, readInto } = source
  const declared = declaredSize(request)
  const sizeBytes = declared ?? sizeBytesMax
  if (sizeBytes > sizeBytesMax) throw fail('REQUEST_TOO_LARGE', { sizeBytes, sizeBytesMax })
  let lose: (reason: unknown) => void = () => undefined
  const place = await gate.enterWatched(sizeBytes, {
    signal,
    movedBytes: receivedBytes,
    onLost: (failure) => lose(failure),
  })
  const unlessLost = <T>(work: Promise<T>): Promise<T> => unless(work, signal, (stop) => (lose = stop))
  try {
    if (readInto === undefined || declared === undefined) {
      const body = await unlessLost(readBody(request, options))
      place.keep()
      return { body, reuse: () => undefined, leave: place.leave }
    }
    const buffer = spares.take(declared)
    const readBytes = await unlessLost(readInto(buffer))
    if (readBytes !== declared) throw fail('REQUEST_INCOMPLETE', { sizeBytes: readBytes, declaredBytes: declared })
    place.keep()
    let isOurs = true
    return {
      body: options.bytes.view(buffer.buffer, declared),
      reuse() {
        if (isOurs) spares.give(buffer)
        isOurs = false
      },
      leave: place.leave,
    }
  } catch (error) {
    place.leave()
    throw error
  }
}

export type ReceiveBodyOptions = ReadBodyOptions & {
  readonly gate: Gate
  readonly spares: SpareBuffers
  readonly source: BodySource
}
export type ReceivedBody = { readonly body: Uint8Array; reuse(): void; leave(): void }

/**
 * The whole body, or `REQUEST_TOO_LARGE` before a byte of it is read when its length is declared. The server behind `request`
 * enforces its own time limits, so a stalled client cannot hold a reader for ever.
 */
export async function readBody(request: Request, options: ReadBodyOptions): Promise<Uint8Array> {
  options.signal.throwIfAborted()
  const declared = declaredSize(request)
  if (declared !== undefined) {
    if (declared > options.sizeBytesMax)
      throw fail('REQUEST_TOO_LARGE', { sizeBytes: declared, sizeBytesMax: options.sizeBytesMax })
    // One buffer, no web stream: the stream of a 350 KB body costs more CPU than its base64 (spec/performance.md 5).
    const body = options.bytes.view(await request.arrayBuffer())
    if (body.length !== declared) throw fail('REQUEST_INCOMPLETE', { sizeBytes: body.length, declaredBytes: declared })
    return body
  }
  if (request.body === null) return new Uint8Array(0)
  const parts: Uint8Array[] = []
  let sizeBytes = 0
  const reader = request.body.getReader()
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      sizeBytes += value.length
      if (sizeBytes > options.sizeBytesMax) throw fail('REQUEST_TOO_LARGE', { sizeBytesMax: options.sizeBytesMax })
      parts.push(value)
    }
  } catch (error) {
    await reader.cancel(error).catch(() => undefined)
    throw error
  }
  const body = new Uint8Array(sizeBytes)
  let offset = 0
  for (const part of parts) {
    body.set(part, offset)
    offset += part.length
  }
  return body
}

export type ReadBodyOptions = { readonly sizeBytesMax: number; readonly bytes: FastBytes; readonly signal: AbortSignal }

/** The result of `work`, or the reason as soon as the signal aborts or `stop` is called; the server behind the request ends `work`
 *  itself. */
function unless<T>(
  work: Promise<T>,
  signal: AbortSignal,
  listen: (stop: (reason: unknown) => void) => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error)
    if (signal.aborted) onAbort()
    listen(reject)
    signal.addEventListener('abort', onAbort, { once: true })
    const settle = (): void => signal.removeEventListener('abort', onAbort)
    work.then(
      (value) => {
        settle()
        resolve(value)
      },
      (error: unknown) => {
        settle()
        reject(error)
      },
    )
  })
}

/** `content-length`, when the sender gave one that is a plain number. */
export function declaredSize(request: Request): number | undefined {
  const header = request.headers.get('content-length')
  return header !== null && /^[0-9]{1,15}$/.test(header) ? Number(header) : undefined
}
