import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import { buffer as wholeOf } from 'node:stream/consumers'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { isFailure, type LogFields, type Logger } from '@weightless/core'
import { serveHttp, type HttpHandler, type HttpServer, type ServeHttpOptions } from './http.ts'

const running: HttpServer[] = []
afterEach(async () => {
  await Promise.all(running.splice(0).map((server) => server.close()))
})

async function serve(handler: HttpHandler, options: Partial<ServeHttpOptions> = {}): Promise<HttpServer> {
  const server = await serveHttp({ port: 0, handler, ...options })
  running.push(server)
  return server
}

/** Everything that the server says until it ends the connection. */
async function rawAnswer(server: HttpServer, text: string): Promise<string> {
  const socket = connect(server.port, '127.0.0.1')
  let said = ''
  socket.on('data', (chunk: Buffer) => (said += chunk.toString('latin1')))
  socket.on('error', () => undefined)
  socket.write(text)
  await once(socket, 'close')
  return said
}

function recorder(): { readonly logger: Logger; readonly events: { event: string; fields: LogFields | undefined }[] } {
  const events: { event: string; fields: LogFields | undefined }[] = []
  const log = (event: string, fields?: LogFields): void => void events.push({ event, fields })
  const logger: Logger = { debug: log, info: log, warn: log, error: log, child: () => logger }
  return { logger, events }
}

describe('a server', () => {
  test('hands a handler the method, url, headers and body, and the client its status, headers and body', async () => {
    const server = await serve(async (request, info) => {
      const text = await request.text()
      const { pathname, search } = new URL(request.url)
      return Response.json(
        {
          method: request.method,
          pathname,
          search,
          text,
          header: request.headers.get('x-a'),
          from: info.remoteAddress,
        },
        { status: 201 },
      )
    })
    const response = await fetch(`${server.url}/a/b?c=1`, { method: 'POST', body: 'hello', headers: { 'x-a': 'b' } })
    expect(response.status).toBe(201)
    expect(response.headers.get('content-length')).not.toBeNull()
    expect(await response.json()).toEqual({
      method: 'POST',
      pathname: '/a/b',
      search: '?c=1',
      text: 'hello',
      header: 'b',
      from: '127.0.0.1',
    })
  })

  test('binds this machine only, unless told otherwise', async () => {
    const server = await serve(async () => new Response())
    expect(server.url).toBe(`http://127.0.0.1:${server.port}`)
    expect((server.server.address() as { address: string }).address).toBe('127.0.0.1')
  })

  test('a port that is taken is PORT_TAKEN, with the port and the next step', async () => {
    const server = await serve(async () => new Response())
    const error = await serveHttp({ port: server.port, handler: async () => new Response() }).catch(
      (failure: unknown) => failure,
    )
    expect(isFailure(error, 'PORT_TAKEN')).toBe(true)
    expect(error).toMatchObject({ facts: { port: server.port } })
  })

  test('an address of another machine is LISTEN_FAILED', async () => {
    await expect(serveHttp({ host: '192.0.2.1', port: 0, handler: async () => new Response() })).rejects.toMatchObject({
      code: 'LISTEN_FAILED',
    })
  })

  test('a handler that throws is answered by 500 without its words, which go to the log', async () => {
    const { logger, events } = recorder()
    const server = await serve(
      async () => {
        throw new Error('cannot open /home/somebody/secret.key')
      },
      { logger },
    )
    const response = await fetch(server.url)
    expect(response.status).toBe(500)
    const text = await response.text()
    expect(JSON.parse(text)).toMatchObject({ error: { code: 'INTERNAL', retryable: true } })
    expect(text).not.toContain('secret')
    expect(events.map(({ event }) => event)).toEqual(['http.handlerFailed'])
  })

  test('HEAD gets the headers only, 204 no length', async () => {
    const server = await serve(async (request) =>
      request.method === 'HEAD'
        ? new Response('body', { headers: { 'x-a': '1' } })
        : new Response(null, { status: 204 }),
    )
    const head = await fetch(server.url, { method: 'HEAD' })
    expect(head.headers.get('x-a')).toBe('1')
    expect(await head.text()).toBe('')
    const empty = await fetch(server.url)
    expect(empty.status).toBe(204)
    expect(empty.headers.get('content-length')).toBeNull()
  })

  test('several cookies stay several', async () => {
    const server = await serve(
      async () =>
        new Response('', {
          headers: [
            ['set-cookie', 'a=1'],
            ['set-cookie', 'b=2'],
          ],
        }),
    )
    expect((await fetch(server.url)).headers.getSetCookie()).toEqual(['a=1', 'b=2'])
  })

  test('a target in absolute form keeps its path and asks no other host', async () => {
    const server = await serve(async (request) => new Response(request.url))
    const said = await rawAnswer(
      server,
      'GET http://elsewhere.example/x?y=1 HTTP/1.1\r\nhost: me.example\r\nconnection: close\r\n\r\n',
    )
    expect(said).toContain('http://me.example/x?y=1')
  })
})

describe('the body of a request', () => {
  test.each([
    ['whole', 'content-length'],
    ['whole', 'chunked'],
    ['in steps', 'content-length'],
    ['in steps', 'chunked'],
  ])('is read %s when it came with %s', async (reading, framing) => {
    const server = await serve(async (request) => {
      if (reading === 'whole') return new Response(await request.arrayBuffer())
      const parts: Uint8Array[] = []
      for await (const part of request.body!) parts.push(part)
      return new Response(Buffer.concat(parts))
    })
    const sent = Buffer.alloc(1_000_003, 7).map((_, i) => (i * 31) & 255)
    const body = framing === 'chunked' ? new Blob([sent]).stream() : sent
    const response = await fetch(server.url, { method: 'PUT', body, duplex: 'half' } as RequestInit)
    expect(Buffer.from(await response.arrayBuffer()).equals(sent)).toBe(true)
  })

  test('tells how much of it has come before and while it is read', async () => {
    let gate: () => void = () => undefined
    const counts: number[] = []
    const server = await serve(async (request, { receivedBytes }) => {
      await settled(receivedBytes)
      counts.push(receivedBytes())
      const body = request.arrayBuffer()
      await settled(receivedBytes)
      counts.push(receivedBytes())
      gate()
      await body
      counts.push(receivedBytes())
      return new Response()
    })
    const client = httpRequest(server.url, { method: 'PUT', headers: { 'content-length': 1_000_000 } })
    const answered = once(client, 'response')
    const halfWay = new Promise<void>((resolve) => (gate = resolve))
    client.write(new Uint8Array(500_000))
    await halfWay
    client.end(new Uint8Array(500_000))
    await answered
    expect(counts[0]).toBeGreaterThan(8 * 1024)
    expect(counts[0]).toBeLessThan(500_000)
    expect(counts.slice(1)).toEqual([500_000, 1_000_000])
  })

  test.each(['POST', 'PUT', 'PATCH'])('of a %s comes with all that a Request of the platform has', async (method) => {
    const seen: unknown[] = []
    const server = await serve(async (request) => {
      const copy = request.clone()
      seen.push(request instanceof Request, request.bodyUsed, request.redirect, request.signal.aborted)
      seen.push(await request.json(), request.bodyUsed, await copy.text())
      seen.push(await request.arrayBuffer().catch((error: unknown) => (error as Error).name))
      return new Response()
    })
    await fetch(server.url, { method, body: '{"a":1}' })
    expect(seen).toEqual([true, false, 'follow', false, { a: 1 }, true, '{"a":1}', 'TypeError'])
  })

  test('cannot be read twice', async () => {
    const server = await serve(async (request) => {
      await request.arrayBuffer()
      return new Response(
        await request.arrayBuffer().then(
          () => 'twice',
          () => 'once',
        ),
      )
    })
    expect(await (await fetch(server.url, { method: 'PUT', body: 'x' })).text()).toBe('once')
  })

  test('that is not read is not taken from the client: what it can send stays bounded', async () => {
    let finish: (response: Response) => void = () => undefined
    const server = await serve(() => new Promise((resolve) => (finish = resolve)), { limits: { closeMsMax: 100 } })
    const total = 256 * 1024 ** 2
    const client = httpRequest(server.url, { method: 'PUT', headers: { 'content-length': total } })
    client.on('error', () => undefined)
    const chunk = Buffer.alloc(1024 ** 2)
    let written = 0
    // Node says false when a chunk waits in memory; once the kernel takes no more, no drain follows.
    while (client.write(chunk) || (await drainsSoon(client))) written += chunk.length
    expect(written).toBeLessThan(64 * 1024 ** 2)
    finish(new Response())
    client.destroy()
  })

  test('that stops in the middle while it is read is BODY_STALLED, and the server goes on', async () => {
    const server = await serve(async (request) => new Response(await request.arrayBuffer()), {
      limits: { bodyIdleMsMax: 50 },
    })
    const said = await rawAnswer(
      server,
      'PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\nconnection: close\r\n\r\n12345',
    )
    expect(said).toMatch(/^HTTP\/1.1 408 /)
    expect(said).toContain('BODY_STALLED')
    expect((await fetch(server.url, { method: 'PUT', body: 'x' })).status).toBe(200)
  })

  test('a refusal before the body was read reaches a client that is still sending', async () => {
    const server = await serve(async () => new Response('too much', { status: 413 }))
    for (let i = 0; i < 5; i++) {
      const response = await fetch(server.url, { method: 'PUT', body: new Uint8Array(4 * 1024 ** 2) })
      expect(response.status).toBe(413)
      expect(await response.text()).toBe('too much')
    }
  })

  test('more than the linger limit of an unread body cuts the connection', async () => {
    const server = await serve(async () => new Response('no', { status: 413 }), {
      limits: { lingerBytesMax: 1024 ** 2 },
    })
    const client = httpRequest(server.url, { method: 'PUT', headers: { 'content-length': 512 * 1024 ** 2 } })
    client.on('error', () => undefined)
    const closed = new Promise((resolve) => client.once('close', resolve))
    const pump = (): void => {
      while (!client.destroyed && client.write(Buffer.alloc(1024 ** 2)));
      client.once('drain', pump)
    }
    pump()
    await closed
    expect(client.destroyed).toBe(true)
  })

  test('is read into a buffer of the handler, once, and only when it fits', async () => {
    const target = new Uint8Array(1_000_100)
    const server = await serve(async (request, { readInto }): Promise<Response> => {
      if (new URL(request.url).pathname === '/small')
        return new Response(
          String(await readInto!(new Uint8Array(10)).catch((error: unknown) => (error as Error).message)),
        )
      const sizeBytes = await readInto!(target)
      const again = await readInto!(target).catch(() => 'once')
      const viaStream = await request.arrayBuffer().catch(() => 'once')
      return new Response(target.slice(0, sizeBytes), { headers: { 'x-again': `${again} ${viaStream as string}` } })
    })
    const sent = Buffer.alloc(1_000_003, 7).map((_, i) => (i * 31) & 255)
    const response = await fetch(server.url, { method: 'PUT', body: sent })
    expect(response.headers.get('x-again')).toBe('once once')
    expect(Buffer.from(await response.arrayBuffer()).equals(sent)).toBe(true)
    const small = await fetch(`${server.url}/small`, { method: 'PUT', body: sent })
    expect(await small.text()).toBe('the buffer does not fit the body')
  })
})

describe('the body of a response', () => {
  test('is taken from its source as the client reads it', async () => {
    let pulled = 0
    let cancelled: () => void = () => undefined
    const gone = new Promise<void>((resolve) => (cancelled = resolve))
    const server = await serve(
      async () =>
        new Response(
          new ReadableStream(
            {
              pull: (controller) => {
                pulled += 1
                controller.enqueue(new Uint8Array(1024 ** 2))
              },
              cancel: () => cancelled(),
            },
            { highWaterMark: 0 },
          ),
        ),
    )
    const socket = connect(server.port, '127.0.0.1')
    socket.pause()
    socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    await settled(() => pulled)
    expect(pulled).toBeLessThan(64)
    // And a client that goes away ends the source.
    socket.destroy()
    await gone
  })

  test.each(['stream', 'whole'] as const)('that nobody reads is cut off, its source ended (%s)', async (kind) => {
    let isCancelled = kind === 'whole'
    const whole = new Uint8Array(64 * 1024 ** 2)
    const stream = (): ReadableStream =>
      new ReadableStream(
        { pull: (controller) => controller.enqueue(whole), cancel: () => void (isCancelled = true) },
        { highWaterMark: 0 },
      )
    const server = await serve(async () => new Response(kind === 'whole' ? whole : stream()), {
      limits: { answerIdleMsMax: 100 },
    })
    const connectionCount = async (): Promise<number> =>
      new Promise((resolve) => server.server.getConnections((_, count) => resolve(count)))
    const socket = connect(server.port, '127.0.0.1')
    socket.on('error', () => undefined)
    socket.pause()
    socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    while ((await connectionCount()) === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    while ((await connectionCount()) > 0 || !isCancelled) await new Promise((resolve) => setTimeout(resolve, 5))
    socket.destroy()
  })

  test('whose source is slower than the client arrives whole', async () => {
    let step = 0
    const server = await serve(
      async () =>
        new Response(
          new ReadableStream(
            {
              async pull(controller) {
                // Long enough for the client to have taken all of a large chunk.
                await new Promise((resolve) => setTimeout(resolve, 30))
                if (++step > 5) controller.close()
                else controller.enqueue(new Uint8Array(256 * 1024))
              },
            },
            { highWaterMark: 0 },
          ),
        ),
    )
    expect((await (await fetch(server.url)).arrayBuffer()).byteLength).toBe(5 * 256 * 1024)
  })

  test('whose source uses its memory again arrives as it was, however late the client reads', async () => {
    const chunkBytes = 1024
    const buffers = [0, 1, 2].map(() => new Uint8Array(chunkBytes))
    let step = 0
    const server = await serve(
      async () =>
        new Response(
          new ReadableStream(
            {
              pull(controller) {
                // Two are asked for before the first is written: the third finds that the kernel has that one.
                const buffer = buffers[step % buffers.length]!
                if (step === 16 * 1024) return controller.close()
                controller.enqueue(buffer.fill(step++ % 251))
              },
            },
            { highWaterMark: 0 },
          ),
        ),
    )
    const response = await new Promise<IncomingMessage>((resolve) => httpRequest(server.url, resolve).end())
    await settled(() => step)
    expect(step).toBeLessThan(16 * 1024)
    const whole = await wholeOf(response)
    const wrong = Array.from({ length: 16 * 1024 }, (_, i) => i).filter(
      (i) => !whole.subarray(i * chunkBytes, (i + 1) * chunkBytes).every((byte) => byte === i % 251),
    )
    expect(whole.length).toBe(16 * 1024 * chunkBytes)
    expect(wrong).toEqual([])
  })

  test('whose source is slow is not cut off for that', async () => {
    let step = 0
    const server = await serve(
      async () =>
        new Response(
          new ReadableStream(
            {
              async pull(controller) {
                await new Promise((resolve) => setTimeout(resolve, 120))
                if (++step > 3) controller.close()
                else controller.enqueue(new Uint8Array(10))
              },
            },
            { highWaterMark: 0 },
          ),
        ),
      { limits: { answerIdleMsMax: 40 } },
    )
    expect((await (await fetch(server.url)).arrayBuffer()).byteLength).toBe(30)
  })

  test('whose source breaks off while the client does not read ends at once', async () => {
    let breakOff: (error: unknown) => void = () => undefined
    let isStalled: () => void = () => undefined
    const stalled = new Promise<void>((resolve) => (isStalled = resolve))
    const server = await serve(
      async () =>
        new Response(
          new ReadableStream(
            {
              start: (controller) => void (breakOff = (error) => controller.error(error)),
              pull(controller) {
                controller.enqueue(new Uint8Array(64 * 1024 ** 2))
                isStalled()
              },
            },
            { highWaterMark: 0 },
          ),
        ),
    )
    const socket = connect(server.port, '127.0.0.1')
    socket.on('error', () => undefined)
    socket.pause()
    socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    await stalled
    // Far below the time after which an idle answer is cut.
    breakOff(new Error('others wait'))
    socket.resume()
    await once(socket, 'close')
  })

  test('that fails on the way cuts the connection: a truncated answer never looks whole', async () => {
    const { logger, events } = recorder()
    const server = await serve(
      async () => {
        let first = true
        return new Response(
          new ReadableStream(
            {
              pull(controller) {
                if (!first) throw new Error('disk on fire at /secret')
                first = false
                controller.enqueue(new Uint8Array(10))
              },
            },
            { highWaterMark: 0 },
          ),
        )
      },
      { logger },
    )
    await expect(fetch(server.url).then((response) => response.arrayBuffer())).rejects.toThrow()
    expect(events.map(({ event }) => event)).toEqual(['http.responseFailed'])
  })

  test('that was read already, or is none, cuts the connection and not the server', async () => {
    const used = new Response('x')
    await used.text()
    const server = await serve(async (request) =>
      request.url.endsWith('/used') ? used : (undefined as unknown as Response),
    )
    await expect(fetch(`${server.url}/used`)).rejects.toThrow()
    await expect(fetch(`${server.url}/none`)).rejects.toThrow()
    await expect(fetch(`${server.url}/none`)).rejects.toThrow()
  })

  test('a client that goes away aborts request.signal', async () => {
    let aborted: (reason: unknown) => void = () => undefined
    const reason = new Promise((resolve) => (aborted = resolve))
    let entered: () => void = () => undefined
    const inside = new Promise<void>((resolve) => (entered = resolve))
    const server = await serve(
      (request) =>
        new Promise((resolve) => {
          entered()
          request.signal.addEventListener('abort', () => {
            aborted(request.signal.reason)
            resolve(new Response())
          })
        }),
    )
    const client = new AbortController()
    const asked = fetch(server.url, { signal: client.signal }).catch(() => undefined)
    await inside
    client.abort()
    expect(await reason).toMatchObject({ code: 'PEER_GONE' })
    await asked
  })
})

describe('bad requests', () => {
  test.each([
    ['no HTTP at all', 'hello\r\n\r\n', 400, 'REQUEST_INVALID'],
    ['a bad host', 'GET / HTTP/1.1\r\nhost: a b\r\nconnection: close\r\n\r\n', 400, 'REQUEST_INVALID'],
    ['a host that carries a path', 'GET /x HTTP/1.1\r\nhost: a/b\r\nconnection: close\r\n\r\n', 400, 'REQUEST_INVALID'],
    [
      'a target that is no path',
      'GET nowhere HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n',
      400,
      'REQUEST_INVALID',
    ],
    ['a method that fetch forbids', 'TRACE / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n', 400, 'REQUEST_INVALID'],
    [
      'headers beyond the limit',
      `GET / HTTP/1.1\r\nhost: a\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`,
      431,
      'REQUEST_HEADERS_TOO_LARGE',
    ],
  ])('%s is refused with a code', async (_, text, status, code) => {
    const server = await serve(async () => new Response('reached'))
    const said = await rawAnswer(server, text)
    expect(said).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
    expect(said).toContain(code)
  })

  test('a client that dribbles its headers is sent away', async () => {
    const server = await serve(async () => new Response(), { limits: { headersMsMax: 150 } })
    const said = await rawAnswer(server, 'GET / HTTP/1.1\r\nhost: a\r\n')
    expect(said).toContain('REQUEST_TIMEOUT')
  })

  test('a connection that has said nothing is ended without a word', async () => {
    const server = await serve(async () => new Response(), { limits: { headersMsMax: 150 } })
    expect(await rawAnswer(server, '')).toBe('')
  })

  test('connections beyond the limit are not accepted', async () => {
    const server = await serve(async () => new Response('in'), { limits: { connectionCountMax: 2 } })
    const held = [await opened(server), await opened(server)]
    const third = connect(server.port, '127.0.0.1')
    third.on('error', () => undefined)
    third.resume()
    await once(third, 'close')
    for (const socket of held) socket.destroy()
  })
})

describe('closing', () => {
  test('lets a running answer finish', async () => {
    let finish: (response: Response) => void = () => undefined
    let entered: () => void = () => undefined
    const inside = new Promise<void>((resolve) => (entered = resolve))
    const server = await serve(
      () =>
        new Promise((resolve) => {
          finish = resolve
          entered()
        }),
    )
    const asked = fetch(server.url)
    await inside
    const closed = server.close()
    finish(new Response('done'))
    expect(await (await asked).text()).toBe('done')
    await closed
  })

  test('ends what does not finish, upgraded sockets too, within its limit', async () => {
    const server = await serve(() => new Promise(() => undefined), { limits: { closeMsMax: 50 } })
    server.server.on(
      'upgrade',
      (_, socket) => void socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n'),
    )
    const upgraded = connect(server.port, '127.0.0.1')
    upgraded.on('error', () => undefined)
    upgraded.write('GET / HTTP/1.1\r\nhost: a\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n')
    await once(upgraded, 'data')
    const hanging = fetch(server.url).catch(() => 'cut')
    await server.close()
    expect(await hanging).toBe('cut')
    upgraded.destroy()
  })

  test('follows the signal, and frees the port', async () => {
    const stop = new AbortController()
    const server = await serveHttp({ port: 0, handler: async () => new Response(), signal: stop.signal })
    stop.abort()
    await server.close()
    const again = await serve(async () => new Response(), { port: server.port })
    expect(again.port).toBe(server.port)
  })
})

async function opened(server: HttpServer): Promise<Socket> {
  const socket = connect(server.port, '127.0.0.1')
  socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  await once(socket, 'data')
  return socket
}

/** True when the writer is asked for more before the machine has been idle for a while. */
async function drainsSoon(writer: NodeJS.WritableStream): Promise<boolean> {
  return Promise.race([
    once(writer, 'drain').then(() => true),
    new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 300)),
  ])
}

/** Resolves when a number has stopped changing. */
async function settled(read: () => number): Promise<void> {
  for (let last = -1; last !== read();) {
    last = read()
    await new Promise((resolve) => setTimeout(resolve, 150))
  }
}

describe('a socket file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'weightless-socket-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  function ask(socketPath: string): Promise<string> {
    return new Promise((resolve, reject) => {
      httpRequest({ socketPath, path: '/x' }, (incoming) => {
        let text = ''
        incoming.on('data', (part: Buffer) => (text += part.toString()))
        incoming.on('end', () => resolve(text))
      })
        .on('error', reject)
        .end()
    })
  }

  test('is this user’s alone, takes the place of one that a dead process left, and is gone when the server is', async () => {
    const path = join(folder, 'a.sock')
    writeFileSync(path, 'left by a dead process')
    const server = await serveHttp({ port: 0, socketPath: path, handler: async ({ url }) => new Response(url) })
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(await ask(path)).toBe('http://localhost/x')
    await expect(serveHttp({ port: 0, socketPath: path, handler: async () => new Response() })).rejects.toMatchObject({
      code: 'PORT_TAKEN',
    })
    expect(await ask(path)).toBe('http://localhost/x')
    await server.close()
    expect(existsSync(path)).toBe(false)
  })
})
