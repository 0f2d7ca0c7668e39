import { createServer, type Server } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { serveHttp, type HttpServer } from './http.ts'
import { systemNet } from './net.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

async function serve(handler: Parameters<typeof serveHttp>[0]['handler']): Promise<HttpServer> {
  const server = await serveHttp({ port: 0, handler, limits: { closeMsMax: 50 } })
  closing.push(() => server.close())
  return server
}

async function serveRaw(
  listener: Parameters<typeof createServer>[1],
): Promise<{ readonly url: string; readonly server: Server }> {
  const server = createServer(listener as never)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server }
}

const ask = (url: string, init: RequestInit & { duplex?: 'half' } = {}): Promise<Response> =>
  systemNet.fetch(new Request(url, init))

test('bytes go out with their length and come back whole', async () => {
  const server = await serve(
    async (request) =>
      new Response(await request.arrayBuffer(), {
        headers: { 'x-length': request.headers.get('content-length') ?? 'none' },
      }),
  )
  const sent = new Uint8Array(3_000_001).map((_, i) => i * 7)
  const response = await ask(server.url, { method: 'PUT', body: sent })
  expect(response.headers.get('x-length')).toBe(String(sent.length))
  expect(Buffer.from(await response.arrayBuffer()).equals(sent)).toBe(true)
})

test('a stream goes out in steps, with its length when the caller knows it', async () => {
  const server = await serve(async (request) => {
    const body = await request.arrayBuffer()
    return Response.json({ sizeBytes: body.byteLength, length: request.headers.get('content-length') })
  })
  const parts = (): ReadableStream<Uint8Array> => {
    let left = 5
    return new ReadableStream({
      pull(controller) {
        if (left-- > 0) controller.enqueue(new Uint8Array(100_000))
        else controller.close()
      },
    })
  }
  expect(await (await ask(server.url, { method: 'PUT', body: parts(), duplex: 'half' })).json()).toEqual({
    sizeBytes: 500_000,
    length: null,
  })
  const known = await ask(server.url, {
    method: 'PUT',
    body: parts(),
    duplex: 'half',
    headers: { 'content-length': '500000' },
  })
  expect(await known.json()).toEqual({ sizeBytes: 500_000, length: '500000' })
})

test('a body can be read in steps, and nothing is read ahead of the reader', async () => {
  const server = await serve(async () => new Response(new Uint8Array(1_000_000)))
  const response = await ask(server.url)
  let sizeBytes = 0
  for await (const chunk of response.body!) sizeBytes += chunk.length
  expect(sizeBytes).toBe(1_000_000)
})

test('answers without a body have none', async () => {
  const server = await serve(async (request) =>
    request.method === 'HEAD' ? new Response('x') : new Response(null, { status: 204 }),
  )
  expect((await ask(server.url)).body).toBeNull()
  expect((await ask(server.url, { method: 'HEAD' })).body).toBeNull()
})

test('connections are kept and used again', async () => {
  const ports = new Set<number>()
  const { url } = await serveRaw((request, response) => {
    ports.add(request.socket.remotePort!)
    response.end('x')
  })
  for (let i = 0; i < 5; i++) await (await ask(url)).text()
  expect(ports.size).toBe(1)
})

test('a kept connection that the server drops as we use it is replaced by a fresh one', async () => {
  const seen: number[] = []
  const { url } = await serveRaw((request, response) => {
    const earlier = seen.filter((port) => port === request.socket.remotePort).length
    seen.push(request.socket.remotePort!)
    if (earlier > 0) request.socket.destroy()
    else response.end('x')
  })
  for (let i = 0; i < 3; i++) expect(await (await ask(url)).text()).toBe('x')
})

test('nobody listening is a TypeError that says why', async () => {
  const { url, server } = await serveRaw(() => undefined)
  server.close()
  await once(server, 'close')
  const error = await ask(url).catch((failure: unknown) => failure)
  expect(error).toBeInstanceOf(TypeError)
  expect((error as Error).cause).toMatchObject({ code: 'ECONNREFUSED' })
})

test('an abort before the answer rejects with its reason and ends the request on the wire', async () => {
  const arrived = deferred<void>()
  const gone = deferred<void>()
  const { url } = await serveRaw((request) => {
    request.socket.on('close', () => gone.resolve())
    arrived.resolve()
  })
  const stop = new AbortController()
  const asked = ask(url, { signal: stop.signal })
  await arrived.promise
  const reason = new Error('enough')
  stop.abort(reason)
  await expect(asked).rejects.toBe(reason)
  await gone.promise
})

test('an abort in the middle of a body ends its reading with the reason', async () => {
  const { url } = await serveRaw(
    (_, response) => void response.writeHead(200, { 'content-length': '100' }).write('half'),
  )
  const stop = new AbortController()
  const response = await ask(url, { signal: stop.signal })
  const reader = response.body!.getReader()
  expect((await reader.read()).value?.length).toBe(4)
  const next = reader.read()
  const reason = new Error('enough')
  stop.abort(reason)
  await expect(next).rejects.toBe(reason)
})

test('an aborted signal sends nothing', async () => {
  let requestCount = 0
  const server = await serve(async () => {
    requestCount += 1
    return new Response()
  })
  const reason = new Error('never')
  await expect(ask(server.url, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  expect(requestCount).toBe(0)
})

test('a body that ends too early is an error, not a short answer', async () => {
  const { url } = await serveRaw((_, response) => {
    response.writeHead(200, { 'content-length': '100' }).write('half')
    setImmediate(() => response.destroy())
  })
  await expect(ask(url).then((response) => response.arrayBuffer())).rejects.toMatchObject({ code: 'PEER_GONE' })
  await expect(ask(url).then((response) => response.text())).rejects.toMatchObject({ code: 'PEER_GONE' })
})

test('a refusal in the middle of a long body arrives', async () => {
  const server = await serve(async () => new Response('full', { status: 507 }))
  for (let i = 0; i < 5; i++) {
    const response = await ask(server.url, { method: 'PUT', body: new Uint8Array(4 * 1024 ** 2) })
    expect([response.status, await response.text()]).toEqual([507, 'full'])
  }
})

test('a redirect of a request without a body is followed', async () => {
  const server = await serve(async (request) =>
    new URL(request.url).pathname === '/new'
      ? new Response('there')
      : new Response(null, { status: 307, headers: { location: '/new' } }),
  )
  expect(await (await ask(`${server.url}/old`)).text()).toBe('there')
})

function deferred<T>(): { readonly promise: Promise<T>; resolve(value: T): void } {
  let resolve: (value: T) => void = () => undefined
  const promise = new Promise<T>((settle) => (resolve = settle))
  return { promise, resolve }
}
