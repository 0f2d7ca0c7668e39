import { once } from 'node:events'
import { createServer as createHttpServer, type RequestListener } from 'node:http'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { createGetInto, parseHead, type GetIntoOptions } from './getInto.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

const options: GetIntoOptions = { idleMsMax: 60_000, socketsPerOriginMax: 16, freeSocketsPerOriginMax: 2 }
const fresh = (_: number, sizeBytes: number): Uint8Array => new Uint8Array(sizeBytes)

async function listening(server: Server): Promise<string> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}
const serve = (listener: RequestListener): Promise<string> => listening(createHttpServer(listener))
/** Answers each request with the next of these parts, each in a write of its own. */
const serveParts = (...parts: readonly string[]): Promise<string> =>
  listening(
    createServer({ noDelay: true }, (socket) =>
      socket.on('data', () => {
        const [first, ...rest] = parts
        socket.write(first!)
        const next = (): void => {
          const part = rest.shift()
          if (part !== undefined) socket.write(part, () => setImmediate(next))
        }
        setImmediate(next)
      }),
    ),
  )
const headOf = (sizeBytes: number): string => `HTTP/1.1 200 OK\r\nContent-Length: ${sizeBytes}\r\n\r\n`

describe('a body', () => {
  test.each([0, 1, 70_000, 3_000_001])(
    'of %i bytes lies in the buffer that was given, on a kept connection',
    async (size) => {
      const ports = new Set<number>()
      const sent = Buffer.from(new Uint8Array(size).map((_, i) => i * 7))
      const url = await serve((request, response) => {
        ports.add(request.socket.remotePort!)
        response.writeHead(206, { 'content-length': size }).end(sent)
      })
      const getInto = createGetInto(options)
      const buffer = new SharedArrayBuffer(size + 10)
      for (let i = 0; i < 4; i++) {
        new Uint8Array(buffer).fill(i)
        const told: number[] = []
        const answer = await getInto(url, {
          take: (status, sizeBytes) => (told.push(status, sizeBytes), new Uint8Array(buffer)),
        })
        expect(told).toEqual([206, size])
        expect(answer!.status).toBe(206)
        expect(answer!.body.buffer).toBe(buffer)
        expect(Buffer.from(answer!.body).equals(sent)).toBe(true)
        expect(new Uint8Array(buffer, size)).toEqual(new Uint8Array(10).fill(i))
      }
      expect(ports.size).toBe(1)
    },
  )

  test('comes whole however the network cuts it', async () => {
    const url = await serveParts('HTT', 'P/1.1 200 OK\r\nContent-Len', 'gth: 6\r\n', '\r', '\nab', 'c', 'def')
    const answer = await createGetInto(options)(url, { take: fresh })
    expect(Buffer.from(answer!.body).toString()).toBe('abcdef')
  })

  test('of many requests at once reaches the one that asked', async () => {
    const url = await serve((request, response) => {
      const body = Buffer.alloc(300_000, Number(request.url!.slice(1)))
      response.writeHead(200, { 'content-length': body.length }).end(body)
    })
    const getInto = createGetInto(options)
    for (let round = 0; round < 3; round++) {
      const answers = await Promise.all([1, 2, 3, 4].map((n) => getInto(`${url}${n}`, { take: fresh })))
      expect(answers.map((answer) => new Set(answer!.body))).toEqual([1, 2, 3, 4].map((n) => new Set([n])))
    }
  })

  test('that ends too early is an error, not a short answer', async () => {
    const url = await serve((_, response) => {
      response.writeHead(200, { 'content-length': '100' }).write('half')
      setImmediate(() => response.destroy())
    })
    await expect(createGetInto(options)(url, { take: fresh })).rejects.toMatchObject({ code: 'PEER_GONE' })
  })

  test('that stops coming is an error', async () => {
    const url = await serve((_, response) => void response.writeHead(200, { 'content-length': '100' }).write('half'))
    await expect(createGetInto({ ...options, idleMsMax: 50 })(url, { take: fresh })).rejects.toMatchObject({
      code: 'BODY_STALLED',
    })
  })

  test('that nobody has room for is refused with the reason, and its connection ends', async () => {
    const gone = deferred<void>()
    const url = await serve((request, response) => {
      request.socket.on('close', () => gone.resolve())
      response.writeHead(200, { 'content-length': '1000000' }).write('x')
    })
    const reason = new Error('too large')
    const take = (): never => {
      throw reason
    }
    await expect(createGetInto(options)(url, { take })).rejects.toBe(reason)
    await gone.promise
  })
})

describe('what is left to fetch', () => {
  const answers: [string, string][] = [
    ['chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n'],
    ['chunks and a length', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['a body to the end of the connection', 'HTTP/1.1 200 OK\r\n\r\nx'],
    ['a compressed body', 'HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx'],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx'],
    ['more bytes than announced', `${headOf(1)}xy`],
    ['another protocol', 'SSH-2.0-OpenSSH\r\n\r\n'],
    ['a head without an end', `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(20_000)}`],
  ]
  test.each(answers)('%s: nothing is taken, and the next call does not even ask', async (_, answer) => {
    let connectionCount = 0
    const url = await listening(
      createServer((socket) => {
        connectionCount += 1
        socket.on('data', () => socket.write(answer))
      }),
    )
    const getInto = createGetInto(options)
    let takenCount = 0
    const take = (_status: number, sizeBytes: number): Uint8Array => ((takenCount += 1), new Uint8Array(sizeBytes))
    expect(await getInto(url, { take })).toBeUndefined()
    expect(await getInto(url, { take })).toBeUndefined()
    expect([takenCount, connectionCount]).toEqual([0, 1])
  })

  test('other schemes, and addresses with a password', async () => {
    const getInto = createGetInto(options)
    expect(await getInto('https://127.0.0.1:1/', { take: fresh })).toBeUndefined()
    expect(await getInto('http://a:b@127.0.0.1:1/', { take: fresh })).toBeUndefined()
  })

  test('more requests at once than there may be connections', async () => {
    const url = await serve(() => undefined)
    const getInto = createGetInto({ ...options, socketsPerOriginMax: 1 })
    const stop = new AbortController()
    const first = getInto(url, { take: fresh, signal: stop.signal })
    expect(await getInto(url, { take: fresh })).toBeUndefined()
    stop.abort(new Error('enough'))
    await expect(first).rejects.toThrow('enough')
  })
})

describe('connections', () => {
  test('one that the server drops as we use it is replaced by a fresh one', async () => {
    const seen = new Set<number>()
    const url = await serve((request, response) => {
      const port = request.socket.remotePort!
      if (seen.has(port)) request.socket.destroy()
      else response.writeHead(200, { 'content-length': 1 }).end('x')
      seen.add(port)
    })
    const getInto = createGetInto(options)
    for (let i = 0; i < 3; i++) expect((await getInto(url, { take: fresh }))!.body).toEqual(Uint8Array.of(120))
    expect(seen.size).toBe(3)
  })

  test('one that speaks unasked is ended', async () => {
    const gone = deferred<void>()
    const sockets: Socket[] = []
    const url = await listening(
      createServer((socket) => {
        sockets.push(socket)
        socket.on('data', () => socket.write(`${headOf(1)}x`))
        socket.on('close', () => gone.resolve())
      }),
    )
    const getInto = createGetInto(options)
    await getInto(url, { take: fresh })
    sockets[0]!.write(`${headOf(1)}y`)
    await gone.promise
    expect((await getInto(url, { take: fresh }))!.body).toEqual(Uint8Array.of(120))
  })

  test('one that the server wants closed is closed', async () => {
    const ports = new Set<number>()
    const url = await serve((request, response) => {
      ports.add(request.socket.remotePort!)
      response.writeHead(200, { 'content-length': 1, connection: 'close' }).end('x')
    })
    const getInto = createGetInto(options)
    for (let i = 0; i < 2; i++) await getInto(url, { take: fresh })
    expect(ports.size).toBe(2)
  })

  test('nobody listening is a TypeError that says why', async () => {
    const server = createServer()
    const url = await listening(server)
    server.close()
    await once(server, 'close')
    const error = await createGetInto(options)(url, { take: fresh }).catch((failure: unknown) => failure)
    expect(error).toBeInstanceOf(TypeError)
    expect((error as Error).cause).toMatchObject({ code: 'ECONNREFUSED' })
  })

  test.each([
    ['before the answer', ''],
    ['in the middle of a body', `${headOf(100)}half`],
  ])('an abort %s rejects with its reason and ends the request on the wire', async (_, sent) => {
    const arrived = deferred<void>()
    const gone = deferred<void>()
    const url = await listening(
      createServer((socket) => {
        socket.on('close', () => gone.resolve())
        socket.on('data', () => (sent === '' ? arrived.resolve() : socket.write(sent)))
      }),
    )
    const stop = new AbortController()
    const take = (_status: number, sizeBytes: number): Uint8Array => {
      arrived.resolve()
      return new Uint8Array(sizeBytes)
    }
    const asked = createGetInto(options)(url, { signal: stop.signal, take })
    await arrived.promise
    const reason = new Error('enough')
    stop.abort(reason)
    await expect(asked).rejects.toBe(reason)
    await gone.promise
  })

  test('an aborted signal sends nothing', async () => {
    let requestCount = 0
    const url = await serve(() => void (requestCount += 1))
    const reason = new Error('never')
    await expect(createGetInto(options)(url, { signal: AbortSignal.abort(reason), take: fresh })).rejects.toBe(reason)
    expect(requestCount).toBe(0)
  })
})

test.each<[string, ReturnType<typeof parseHead>]>([
  ['HTTP/1.1 200 OK\r\ncontent-length:5', { status: 200, sizeBytes: 5, keepsAlive: true }],
  ['HTTP/1.1 404\r\nContent-Length: 0 \r\nConnection: Keep-Alive', { status: 404, sizeBytes: 0, keepsAlive: true }],
  ['HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close', { status: 200, sizeBytes: 1, keepsAlive: false }],
  [
    'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Encoding: identity',
    { status: 200, sizeBytes: 1, keepsAlive: true },
  ],
  ['HTTP/1.0 200 OK\r\nContent-Length: 1', undefined],
  ['HTTP/1.1 100 Continue\r\nContent-Length: 1', undefined],
  ['HTTP/1.1 204 None\r\nContent-Length: 1', undefined],
  ['HTTP/1.1 200 OK\r\nContent-Length: -1', undefined],
  ['HTTP/1.1 200 OK\r\nContent-Length: 1, 1', undefined],
  ['HTTP/1.1 200 OK\r\nContent-Length : 1', undefined],
  ['HTTP/1.1 200 OK\r\nContent-Length: 1\r\n folded', undefined],
  ['HTTP/1.1 200 OK\r\nContent-Length: 1\nx', undefined],
  ['', undefined],
])('a head: %j', (head, expected) => {
  expect(parseHead(head)).toEqual(expected)
})

function deferred<T>(): { readonly promise: Promise<T>; resolve(value: T): void } {
  let resolve: (value: T) => void = () => undefined
  const promise = new Promise<T>((settle) => (resolve = settle))
  return { promise, resolve }
}
