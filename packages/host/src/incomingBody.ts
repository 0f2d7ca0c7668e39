import type { IncomingMessage } from 'node:http'
import { countPiece } from './bodyPieces.ts'
import { copyInto } from './copyInto.ts'
import { fail } from './errors.ts'

/** The body of an incoming message as a web stream that reads the socket only when it is read itself. Reading throws
 *  `BODY_STALLED` when nothing comes for `idleMsMax`, `PEER_GONE` when the connection ends before the body. */
export function incomingBody(incoming: IncomingMessage, options: IncomingBodyOptions): IncomingBody {
  let reading: 'not yet' | 'in steps' | 'whole' = 'not yet'
  let takenBytes = 0
  const take = (chunk: Uint8Array): void => {
    takenBytes += chunk.length
    countPiece(chunk.length)
  }
  let stream: ReadableStream<Uint8Array> | undefined
  const makeStream = (): ReadableStream<Uint8Array> =>
    new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          if (reading === 'whole') throw new TypeError('Body is unusable: it has been read already')
          reading = 'in steps'
          const chunk = await nextChunk(incoming, options.idleMsMax)
          if (chunk === undefined) {
            controller.close()
            return
          }
          take(chunk)
          controller.enqueue(chunk)
        },
        cancel: () => options.onCancel?.(),
      },
      // Zero: not one chunk ahead of the reader.
      { highWaterMark: 0 },
    )
  const isUnread = (): boolean => reading === 'not yet' && stream?.locked !== true
  const arrayBuffer = (): Promise<ArrayBuffer> | undefined => {
    if (!isUnread()) return undefined
    reading = 'whole'
    return readAll(incoming, { idleMsMax: options.idleMsMax, onChunk: take }).then(({ buffer }) => buffer)
  }
  return {
    get stream() {
      return (stream ??= makeStream())
    },
    arrayBuffer,
    receivedBytes: () => takenBytes + incoming.readableLength,
    readInto: async (target) => {
      if (!isUnread()) throw new TypeError('Body is unusable: it has been read already')
      reading = 'whole'
      const whole = await readAll(incoming, { idleMsMax: options.idleMsMax, onChunk: take, target })
      return whole.byteLength
    },
    withFastArrayBuffer: (message) => {
      const viaStream = message.arrayBuffer.bind(message)
      return Object.defineProperty(message, 'arrayBuffer', {
        value: () => arrayBuffer() ?? viaStream(),
      })
    },
  }
}

export type IncomingBodyOptions = { readonly idleMsMax: number; readonly onCancel?: (() => void) | undefined }
export type IncomingBody = {
  /** Made when it is first asked for: most bodies are read whole. */
  readonly stream: ReadableStream<Uint8Array>
  /** The whole body in one allocation and one copy; `undefined` when it is being read already. */
  arrayBuffer(): Promise<ArrayBuffer> | undefined
  /** How much of the body has come so far, whether it was read or not: a server stops at some 16 KiB that nobody reads. */
  receivedBytes(): number
  /** The whole body into a buffer of the caller's, at least as long as the declared length; resolves to the body's size. When it
   *  rejects, the buffer is not written to any more. Throws `TypeError` for a body that was read already, or has no length. */
  readInto(target: Uint8Array): Promise<number>
  /** Gives a message that carries `stream` this `arrayBuffer`, as long as nothing has been read in steps. */
  withFastArrayBuffer<T extends Request | Response>(message: T): T
}

function nextChunk(incoming: IncomingMessage, idleMsMax: number): Promise<Uint8Array | undefined> {
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      clearTimeout(timer)
      incoming.off('readable', onReadable)
      incoming.off('end', onReadable)
      incoming.off('close', onClose)
    }
    const onReadable = (): void => {
      const chunk = incoming.read() as Buffer | null
      if (chunk === null && !incoming.readableEnded) return
      settle()
      resolve(chunk === null ? undefined : bytesOf(chunk))
    }
    const onClose = (): void => {
      settle()
      if (incoming.complete && incoming.readableLength === 0) resolve(undefined)
      else reject(failed(incoming))
    }
    const timer = setTimeout(() => {
      settle()
      reject(fail('BODY_STALLED', { idleMsMax }))
    }, idleMsMax)
    incoming.on('readable', onReadable)
    incoming.on('end', onReadable)
    incoming.on('close', onClose)
    if (incoming.destroyed) onClose()
    else onReadable()
  })
}

/** The parser ends a body at its declared length, so `out` is never overrun; without a length the parts are joined at the end. */
function readAll(
  incoming: IncomingMessage,
  options: {
    readonly idleMsMax: number
    readonly onChunk: (chunk: Uint8Array) => void
    readonly target?: Uint8Array | undefined
  },
): Promise<Uint8Array<ArrayBuffer>> {
  const { idleMsMax, onChunk } = options
  const declared = incoming.headers['content-length']
  const target = options.target?.subarray(0, Number(declared)) as Uint8Array<ArrayBuffer> | undefined
  if (target !== undefined && target.length !== Number(declared))
    return Promise.reject(new TypeError('the buffer does not fit the body'))
  const out = declared === undefined ? undefined : (target ?? new Uint8Array(Number(declared)))
  const parts: Uint8Array[] = []
  let sizeBytes = 0
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      clearTimeout(timer)
      incoming.off('data', onData)
      incoming.off('end', onEnd)
      incoming.off('close', onClose)
    }
    const onData = (chunk: Buffer): void => {
      if (out === undefined) parts.push(chunk)
      else copyInto(out, chunk, sizeBytes)
      sizeBytes += chunk.length
      onChunk(chunk)
      timer.refresh()
    }
    const onEnd = (): void => {
      settle()
      resolve(out === undefined ? joined(parts, sizeBytes) : out.subarray(0, sizeBytes))
    }
    const onClose = (): void => {
      settle()
      if (incoming.readableEnded) onEnd()
      else reject(failed(incoming))
    }
    const timer = setTimeout(() => {
      settle()
      incoming.pause()
      reject(fail('BODY_STALLED', { idleMsMax }))
    }, idleMsMax)
    incoming.on('data', onData)
    incoming.on('end', onEnd)
    incoming.on('close', onClose)
    if (incoming.destroyed) onClose()
  })
}

/** An abort by our own side carries its reason. */
function failed(incoming: IncomingMessage): unknown {
  const { errored } = incoming
  if (errored !== null && (errored as NodeJS.ErrnoException).code !== 'ECONNRESET') return errored
  return fail('PEER_GONE', {}, { cause: errored })
}

function joined(parts: readonly Uint8Array[], sizeBytes: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(sizeBytes)
  let offset = 0
  for (const part of parts) {
    out.set(part, offset)
    offset += part.length
  }
  return out
}

function bytesOf(chunk: Buffer): Uint8Array {
  return new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length)
}
