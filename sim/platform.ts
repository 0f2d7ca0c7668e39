import { concat } from '@weightless/core'

/**
 * What a world uses of the platform's `Request`, `Response`, `Headers` and abort signals, in place of them: the platform's own take
 * longer to make than all that the code between them does, and a world makes many thousands of each. What is not here throws when
 * it is called, or is refused by the type of a caller. Streams stay those of the platform.
 */
export function useLightPlatform(): void {
  Object.assign(globalThis, {
    AbortController: LightAbortController,
    AbortSignal: LightAbortSignal,
    Headers: LightHeaders,
    Request: LightRequest,
    Response: LightResponse,
  })
}

const utf8 = new TextEncoder()
const fromUtf8 = new TextDecoder()

type Listener = ((event: unknown) => void) | { handleEvent(event: unknown): void }
type Given = string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array> | null | undefined
type HeadersGiven = LightHeaders | Readonly<Record<string, string>> | undefined

class LightAbortSignal {
  aborted = false
  onabort: ((event: unknown) => void) | null = null
  #reason: unknown
  #listeners: Set<Listener> | undefined

  static abort(reason?: unknown): LightAbortSignal {
    const signal = new LightAbortSignal()
    signal.end(reason)
    return signal
  }

  static any(signals: readonly LightAbortSignal[]): LightAbortSignal {
    const joined = new LightAbortSignal()
    const ended = signals.find(({ aborted }) => aborted)
    if (ended !== undefined) joined.end(ended.reason)
    else
      for (const signal of signals)
        signal.addEventListener('abort', () => {
          if (!joined.aborted) joined.end(signal.reason)
        })
    return joined
  }

  get reason(): unknown {
    if (this.aborted) this.#reason ??= new DOMException('This operation was aborted', 'AbortError')
    return this.#reason
  }

  throwIfAborted(): void {
    if (this.aborted) throw this.reason
  }

  /** Nobody hears more than one abort, so `once` changes nothing. */
  addEventListener(type: string, listener: Listener): void {
    if (type !== 'abort') throw new TypeError(`a signal has no event ${type}`)
    if (this.aborted) return
    this.#listeners ??= new Set()
    this.#listeners.add(listener)
  }

  removeEventListener(_type: string, listener: Listener): void {
    this.#listeners?.delete(listener)
  }

  end(reason: unknown): void {
    if (this.aborted) return
    this.aborted = true
    this.#reason = reason
    const listeners = this.#listeners
    this.#listeners = undefined
    const event = { type: 'abort', target: this }
    this.onabort?.(event)
    if (listeners === undefined) return
    // One that is taken away by another before its turn is not called.
    for (const listener of listeners) {
      try {
        if (typeof listener === 'function') listener.call(this, event)
        else listener.handleEvent(event)
      } catch (error) {
        queueMicrotask(() => {
          throw error
        })
      }
    }
  }
}

class LightAbortController {
  readonly signal = new LightAbortSignal()
  abort(reason?: unknown): void {
    this.signal.end(reason)
  }
}

class LightHeaders {
  readonly #values = new Map<string, string>()

  constructor(given?: HeadersGiven) {
    if (given === undefined) return
    if (given instanceof LightHeaders) for (const [name, value] of given.#values) this.#values.set(name, value)
    else for (const name in given) this.set(name, given[name]!)
  }
  get(name: string): string | null {
    return this.#values.get(name.toLowerCase()) ?? null
  }
  has(name: string): boolean {
    return this.#values.has(name.toLowerCase())
  }
  set(name: string, value: string): void {
    this.#values.set(name.toLowerCase(), String(value))
  }
  delete(name: string): void {
    this.#values.delete(name.toLowerCase())
  }
  [Symbol.iterator](): IterableIterator<[string, string]> {
    return this.#values.entries()
  }
}

/** A body that is read once, whole or as a stream of one part. */
class LightBody {
  readonly headers: LightHeaders
  #given: Given
  #stream: unknown
  bodyUsed = false

  constructor(given: Given, headers: LightHeaders) {
    this.#given = given === null ? undefined : given
    this.headers = headers
    if (typeof given === 'string' && !headers.has('content-type'))
      headers.set('content-type', 'text/plain;charset=UTF-8')
  }

  /** The part of a stream that readers use. */
  get body(): unknown {
    const given = this.#given
    if (given === undefined) return null
    if (given instanceof ReadableStream) return given
    this.#stream ??= {
      getReader: () => ({
        read: async () =>
          this.bodyUsed ? { done: true, value: undefined } : { done: false, value: await this.#take() },
        cancel: async () => void (this.bodyUsed = true),
        releaseLock: () => undefined,
      }),
      cancel: async () => void (this.bodyUsed = true),
      [Symbol.asyncIterator]: async function* (this: LightBody) {
        yield await this.#take()
      }.bind(this),
    }
    return this.#stream
  }

  async #take(): Promise<Uint8Array<ArrayBuffer>> {
    if (this.bodyUsed) throw new TypeError('Body is unusable: Body has already been read')
    this.bodyUsed = true
    const given = this.#given
    if (given === undefined || given === null) return new Uint8Array(0)
    if (typeof given === 'string') return utf8.encode(given)
    return given instanceof ReadableStream ? await wholeOf(given) : given
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    const all = await this.#take()
    return all.byteLength === all.buffer.byteLength ? all.buffer : new Uint8Array(all).buffer
  }
  async text(): Promise<string> {
    return fromUtf8.decode(await this.#take())
  }
  async json(): Promise<unknown> {
    return JSON.parse(await this.text())
  }
}

class LightRequest extends LightBody {
  readonly url: string
  readonly method: string
  readonly signal: LightAbortSignal

  constructor(
    url: string | URL,
    init: {
      readonly method?: string
      readonly headers?: HeadersGiven
      readonly body?: Given
      readonly signal?: LightAbortSignal
    } = {},
  ) {
    super(init.body, new LightHeaders(init.headers))
    this.url = new URL(url).href
    this.method = init.method ?? 'GET'
    this.signal = init.signal ?? new LightAbortSignal()
  }
}

class LightResponse extends LightBody {
  readonly status: number
  constructor(given?: Given, init: { readonly status?: number; readonly headers?: HeadersGiven } = {}) {
    super(given, new LightHeaders(init.headers))
    this.status = init.status ?? 200
  }
  get ok(): boolean {
    return this.status >= 200 && this.status < 300
  }
  static json(value: unknown, init: { readonly status?: number } = {}): LightResponse {
    return new LightResponse(JSON.stringify(value), { ...init, headers: { 'content-type': 'application/json' } })
  }
}

async function wholeOf(stream: ReadableStream<Uint8Array>): Promise<Uint8Array<ArrayBuffer>> {
  const reader = stream.getReader()
  const parts: Uint8Array[] = []
  for (;;) {
    const { done, value } = await reader.read()
    // `concat` gives the whole of a buffer of its own.
    if (done) return concat(parts) as Uint8Array<ArrayBuffer>
    // As on any connection: the sender may use its memory again.
    parts.push(value.slice())
  }
}
