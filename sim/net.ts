import type { Net } from '@weightless/core'
import type { Chance } from './chance.ts'
import type { VirtualTime } from './clock.ts'
import type { Process } from './process.ts'
import type { Trace } from './trace.ts'

/** Servers and clients joined by functions from Request to Response, with a network between them that is as bad as `faults` say. */
export type SimNet = {
  /** A server of this process listens at `origin` until the process dies or the result is called. */
  listen(origin: string, handle: (request: Request) => Promise<Response>, process?: Process): () => void
  /** The network as this process reaches it. */
  from(process: Process): Net
  readonly faults: NetFaults
  /** Requests without an end. */
  readonly openCount: number
}
/** The same network, whose servers answer as `answer` says; `honestly` is what their software says to a request. */
export function answering(
  net: SimNet,
  answer: (at: string, request: Request, honestly: (request: Request) => Promise<Response>) => Promise<Response>,
): SimNet {
  return {
    faults: net.faults,
    get openCount() {
      return net.openCount
    },
    from: net.from,
    listen: (at, handle, process) => net.listen(at, (request) => answer(at, request, handle), process),
  }
}

/** Chances of 0 to 1, for each request. */
export type NetFaults = {
  /** The request, or its answer, goes nowhere: half of those are told at once, the others never. */
  loss: number
  /** The request arrives twice; the first answer counts. */
  duplication: number
  /** It takes seconds. */
  delay: number
  /** The connection ends in the middle of the answer. */
  cut: number
  /** A bit of a body of segments changes on the way. */
  corruption: number
  /** Who hears whom: names of processes, or origins. */
  isParted: (from: string, to: string) => boolean
}

const LATENCY_MS_MAX = 4
const DELAY_MS_MAX = 8_000
const SEGMENTS_TYPE = 'application/x-weightless-segments'

type Sent = {
  readonly request: Request
  readonly origin: string
  readonly body: Uint8Array<ArrayBuffer> | undefined
}
type Host = { readonly handle: (request: Request) => Promise<Response>; readonly process: Process | undefined }

export function createSimNet(deps: {
  readonly time: VirtualTime
  readonly chance: Chance
  readonly trace: Trace
}): SimNet {
  const { time, chance, trace } = deps
  const hosts = new Map<string, Host>()
  const faults: NetFaults = { loss: 0, duplication: 0, delay: 0, cut: 0, corruption: 0, isParted: () => false }
  /** Held here: Node forgets the signal of a request that nobody holds, and then nobody hears of its end. */
  const open = new Set<Request>()

  const happens = (share: number): boolean => share > 0 && chance.next() < share
  const latencyMs = (): number =>
    0.1 + chance.next() * LATENCY_MS_MAX + (happens(faults.delay) ? chance.next() * DELAY_MS_MAX : 0)
  const pause = (ms: number): Promise<void> => new Promise((resolve) => void time.after(ms, resolve))

  async function exchange(request: Request, from: Process): Promise<Response> {
    const url = new URL(request.url)
    const what = `${request.method} ${url.pathname}${url.search}`
    // The chain has an address for each process, of which the first number is that of the world.
    const to = url.hostname.replace(/^chain-\d+-/, 'chain-')
    const { signal } = request
    signal.throwIfAborted()
    const isSegments = request.headers.get('content-type') === SEGMENTS_TYPE
    const body = request.body === null ? undefined : new Uint8Array(await request.arrayBuffer())
    trace.add(from.name, '->', to, what, methodOf(body, isSegments))
    const sent = { request, origin: url.origin, body }
    const fate = happens(faults.loss) ? (chance.below(2) === 0 ? 'lost' : 'answer lost') : 'arrives'
    const isTold = chance.below(2) === 0
    await untilAborted(pause(latencyMs()), signal)
    if (fate === 'lost' || faults.isParted(from.name, url.origin)) {
      trace.add(from.name, 'lost', what)
      return await nowhere(isTold, signal)
    }
    if (body !== undefined && isSegments && happens(faults.corruption)) flipBit(body, chance)
    if (happens(faults.duplication)) {
      trace.add(from.name, 'duplicated', what)
      pause(latencyMs())
        .then(() => deliver(sent, new AbortController().signal))
        .catch(() => undefined)
    }
    const answer = await untilAborted(deliver(sent, signal), signal)
    await untilAborted(pause(latencyMs()), signal)
    if (fate === 'answer lost' || faults.isParted(from.name, url.origin)) {
      trace.add(from.name, 'answer lost', what)
      return await nowhere(isTold, signal)
    }
    const { bytes } = answer
    if (bytes.length > 0 && answer.headers.get('content-type') === SEGMENTS_TYPE && happens(faults.corruption))
      flipBit(bytes, chance)
    trace.add(from.name, '<-', to, what, answer.status, bytes.length)
    // Whatever the server says of its length, the connection knows better.
    const headers = new Headers(answer.headers)
    if (bytes.length > 0) headers.set('content-length', String(bytes.length))
    const init = { status: answer.status, headers }
    if (bytes.length > 0 && happens(faults.cut)) {
      trace.add(from.name, 'cut', what)
      return new Response(cutShort(bytes.subarray(0, chance.below(bytes.length))), init)
    }
    return new Response(bytes.length === 0 ? null : bytes, init)
  }

  /** The whole answer of whoever listens there, unless that process dies meanwhile. */
  async function deliver(
    { request, origin, body }: Sent,
    signal: AbortSignal,
  ): Promise<{ readonly status: number; readonly headers: Headers; readonly bytes: Uint8Array<ArrayBuffer> }> {
    const host = hosts.get(origin)
    if (host === undefined) throw unreachable('refused')
    const connection = new AbortController()
    const end = (): void => connection.abort(new Error('the client is gone'))
    signal.addEventListener('abort', end, { once: true })
    const headers = new Headers(request.headers)
    if (body !== undefined) headers.set('content-length', String(body.length))
    const { method, url } = request
    const arrived = new Request(url, { method, headers, body: body?.slice() ?? null, signal: connection.signal })
    let stopWatching: (() => void) | undefined
    try {
      return await new Promise((resolve, reject) => {
        stopWatching = host.process?.onDeath(() => void time.after(LATENCY_MS_MAX, () => reject(unreachable('reset'))))
        host
          .handle(arrived)
          .then(async (response) => {
            const bytes = new Uint8Array(await response.arrayBuffer())
            if (host.process?.isAlive() ?? true) resolve({ status: response.status, headers: response.headers, bytes })
          })
          .catch((error: unknown) => {
            if (host.process?.isAlive() ?? true) reject(unreachable('broken', error))
          })
      })
    } finally {
      stopWatching?.()
      signal.removeEventListener('abort', end)
    }
  }

  function nowhere(isTold: boolean, signal: AbortSignal): Promise<never> {
    if (isTold) return Promise.reject(unreachable('reset'))
    return untilAborted(new Promise<never>(() => undefined), signal)
  }

  return {
    faults,
    get openCount() {
      return open.size
    },
    listen(origin, handle, process) {
      const host = { handle, process }
      hosts.set(origin, host)
      const end = (): void => {
        if (hosts.get(origin) === host) hosts.delete(origin)
      }
      process?.onDeath(end)
      return end
    },
    from: (process) => ({
      fetch: (request) =>
        process.gate('fetch', async () => {
          open.add(request)
          const stopWatching = process.onDeath(() => open.delete(request))
          try {
            return await exchange(request, process)
          } finally {
            stopWatching()
            open.delete(request)
          }
        }),
    }),
  }
}

/** As undici says it. */
function unreachable(reason: string, cause?: unknown): TypeError {
  return new TypeError('fetch failed', { cause: new Error(reason, { cause }) })
}

function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason as Error)
    if (signal.aborted) return stop()
    signal.addEventListener('abort', stop, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop))
  })
}

/** Bytes that end with an error, as a connection does that breaks. */
function cutShort(bytes: Uint8Array): ReadableStream<Uint8Array> {
  let isGiven = bytes.length === 0
  return new ReadableStream(
    {
      pull(controller) {
        if (isGiven) controller.error(unreachable('terminated'))
        else controller.enqueue(bytes)
        isGiven = true
      },
    },
    { highWaterMark: 0 },
  )
}

function flipBit(bytes: Uint8Array, chance: Chance): void {
  if (bytes.length === 0) return
  const at = chance.below(bytes.length)
  bytes[at] = bytes[at]! ^ (1 << chance.below(8))
}

/** The method of a JSON-RPC body, for the trace. */
function methodOf(body: Uint8Array | undefined, isSegments: boolean): string {
  if (body === undefined) return ''
  if (isSegments) return String(body.length)
  const text = new TextDecoder().decode(body.subarray(0, 200))
  return `${/"method":"(\w+)"/.exec(text)?.[1] ?? ''} ${body.length}`
}
