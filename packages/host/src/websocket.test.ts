import { connect } from 'node:net'
import { once } from 'node:events'
import { afterEach, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { serveHttp } from './http.ts'
import { attachWebSockets, connectWebSocket, type Socket, type WebSocketLimits } from './websocket.ts'

const cleanups: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

/** An echo server that answers each text with the same text, `big` with 1 MiB. */
async function serveEcho(
  limits: Partial<WebSocketLimits> = {},
): Promise<{ url: string; count: () => number; close: () => Promise<void>; sockets: Socket[] }> {
  const http = await serveHttp({ port: 0, handler: async () => new Response('plain') })
  const open: Socket[] = []
  const sockets = attachWebSockets({
    server: http.server,
    limits,
    onSocket: (socket) => {
      open.push(socket)
      return { onText: (text) => socket.send(text === 'big' ? 'x'.repeat(1024 ** 2) : text), onClose: () => undefined }
    },
  })
  cleanups.push(http.close, sockets.close)
  return {
    url: http.url.replace('http', 'ws'),
    count: () => sockets.connectionCount,
    close: sockets.close,
    sockets: open,
  }
}

/** A client of ours whose messages can be awaited one by one. */
async function open(url: string): Promise<{ socket: Socket; next: () => Promise<string>; closed: Promise<void> }> {
  const waiting: ((text: string) => void)[] = []
  const arrived: string[] = []
  let onClosed: () => void = () => undefined
  const closed = new Promise<void>((resolve) => (onClosed = resolve))
  const socket = await connectWebSocket({ url }, () => ({
    onText: (text) => (waiting.shift() ?? ((late) => arrived.push(late)))(text),
    onClose: () => onClosed(),
  }))
  cleanups.push(() => socket.close())
  return {
    socket,
    closed,
    next: () =>
      arrived.length > 0 ? Promise.resolve(arrived.shift()!) : new Promise((resolve) => waiting.push(resolve)),
  }
}

test('text goes both ways, in order', async () => {
  const server = await serveEcho()
  const client = await open(server.url)
  for (const text of ['one', '', 'drei ✓', 'x'.repeat(100_000)]) {
    client.socket.send(text)
    expect(await client.next()).toBe(text)
  }
})

test('a message over the limit closes the connection, the others live on', async () => {
  const server = await serveEcho({ messageBytesMax: 1000 })
  const good = await open(server.url)
  const bad = await open(server.url)
  bad.socket.send('x'.repeat(1001))
  await bad.closed
  good.socket.send('still here')
  expect(await good.next()).toBe('still here')
})

test('a client that sends bytes is sent away with 1003', async () => {
  const server = await serveEcho()
  const client = new WebSocket(server.url)
  await once(client, 'open')
  client.send(Buffer.from([1, 2, 3]))
  const [code] = (await once(client, 'close')) as [number]
  expect(code).toBe(1003)
})

test.each([
  ['a key that is none', 'upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: x\r\n'],
  ['another protocol', 'upgrade: h2c\r\n'],
])('a broken handshake with %s is refused in JSON', async (_, headers) => {
  const server = await serveEcho()
  const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
  let said = ''
  socket.on('data', (chunk: Buffer) => (said += chunk.toString()))
  socket.write(`GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n${headers}\r\n`)
  await once(socket, 'close')
  expect(said).toMatch(/^HTTP\/1\.1 400 [\s\S]*content-type: application\/json/)
  expect(JSON.parse(said.split('\r\n\r\n')[1]!)).toMatchObject({ error: { code: 'REQUEST_INVALID' } })
})

test('a connection over the limit is refused with 503 and frees nothing of the others', async () => {
  const server = await serveEcho({ connectionCountMax: 1 })
  const first = await open(server.url)
  await expect(open(server.url)).rejects.toMatchObject({ code: 'SOCKET_CONNECT_FAILED' })
  first.socket.send('mine')
  expect(await first.next()).toBe('mine')
  first.socket.close()
  await first.closed
  const second = await openAgain(server.url)
  second.socket.send('next')
  expect(await second.next()).toBe('next')
})

/** The server notices a close a moment after the client. */
async function openAgain(url: string): ReturnType<typeof open> {
  for (;;) {
    try {
      return await open(url)
    } catch {
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
}

test('a peer that never reads is cut off when too much waits for it', async () => {
  const server = await serveEcho({ bufferedBytesMax: 4 * 1024 ** 2 })
  const { hostname, port } = new URL(server.url)
  const raw = connect(Number(port), hostname)
  raw.write(
    'GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n',
  )
  await once(raw, 'data')
  raw.pause()
  const gone = once(raw, 'close')
  raw.on('error', () => undefined)
  // `big` in masked frames with a zero mask: 64 answers of 1 MiB that nobody reads.
  for (let i = 0; i < 64; i++) raw.write(Buffer.from([0x81, 0x83, 0, 0, 0, 0, 0x62, 0x69, 0x67]))
  await noneLeft(server)
  raw.resume()
  await gone
})

test('a peer that no longer answers pings is dropped', async () => {
  const server = await serveEcho({ pingIntervalMs: 20 })
  const { hostname, port } = new URL(server.url)
  const raw = connect(Number(port), hostname)
  raw.on('error', () => undefined)
  raw.write(
    'GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n',
  )
  raw.resume()
  await once(raw, 'close')
  await noneLeft(server)
})

/** The two ends notice a close one after the other. */
async function noneLeft(server: { count: () => number }): Promise<void> {
  while (server.count() > 0) await new Promise((resolve) => setImmediate(resolve))
}

test('closing the server tells every client, and none is left', async () => {
  const server = await serveEcho()
  const clients = await Promise.all([open(server.url), open(server.url)])
  await server.close()
  await Promise.all(clients.map(({ closed }) => closed))
  expect(server.count()).toBe(0)
  await expect(open(server.url)).rejects.toMatchObject({ code: 'SOCKET_CONNECT_FAILED' })
})

test('connecting where nobody listens names the address, and an abort ends the attempt', async () => {
  const server = await serveEcho()
  await expect(connectWebSocket({ url: 'ws://127.0.0.1:1/' }, idle)).rejects.toMatchObject({
    code: 'SOCKET_CONNECT_FAILED',
    facts: { url: 'ws://127.0.0.1:1/' },
  })
  await expect(connectWebSocket({ url: server.url }, idle, { signal: AbortSignal.abort() })).rejects.toThrow('abort')
})

const idle = (): { onText: () => void; onClose: () => void } => ({ onText: () => undefined, onClose: () => undefined })

test('plain HTTP still works on the same port', async () => {
  const server = await serveEcho()
  const answer = await fetch(server.url.replace('ws', 'http'))
  expect(await answer.text()).toBe('plain')
})
