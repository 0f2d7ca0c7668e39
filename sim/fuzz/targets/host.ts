import { EventEmitter } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import { attachWebSockets, headFeed, parseToml, readPrivateKey } from '@weightless/host'
import { parsePrivateKey } from '../../../packages/host/src/files.ts'
import { parseHead } from '../../../packages/host/src/getInto.ts'
import { toRequest } from '../../../packages/host/src/httpRequest.ts'
import { insist, isSample, laterOutcomeOf, outcomeOf, type FuzzTarget } from '../engine.ts'
import { text } from './core.ts'

const tomlTexts = [
  `[chain]\nrpc_url = "http://127.0.0.1:8600/"\nws_url = "ws://127.0.0.1:8600"\nchain_id = 31337\nflow = "0x62D4144dB0F0a6fBBaeb6296c785C71B3D57C526"\nregistry = "0x00A9E9604b0538e06b268Fb297Df333337f9593b"\nstart_block = 7\n[storage]\nlisten = "127.0.0.1:8610"\ndata_dir = "/data/node-0"\nkey_file = "/keys/node-0.key"\nstake_wei = "1000000000000000000000"\n`,
  `blockchain_rpc_endpoint = "http://127.0.0.1:8545"\nlog_contract_address = "0x62D4144dB0F0a6fBBaeb6296c785C71B3D57C526"\nrpc_listen_address = "127.0.0.1:5678"\ndb_dir = "db"\nshard_position = "1/4"\nminer_key = "00"\nnetwork_boot_nodes = []\n`,
  `[chain]\nrpc_url = "http://[::1]:1/"\nchain_id = 1\nflow = "0x62D4144dB0F0a6fBBaeb6296c785C71B3D57C526"\n[gateway]\nlisten = ":8601"\ndata_dir = 'C:\\x'\npolicy = "replicate"\nreplicas = 3\nspool_bytes_max = 10_000_000_000\nstatic_members = [{ id = 1, signer = "0x00A9E9604b0538e06b268Fb297Df333337f9593b", endpoint = "http://h:1", domain = "rack", weight = "10" }]\n[log]\nlevel = "debug"\n`,
  'a = [1, [2, {b = """x\ny"""}]]\nc.d."e" = 1979-05-27T07:32:00Z\n[[t]]\nf = 0x1F\ng = inf\n[[t]]\n',
]
const toml: FuzzTarget = {
  name: 'toml',
  from: 'configuration files',
  kind: 'text',
  corpus: tomlTexts,
  words: [
    '[chain]',
    '[storage]',
    '[gateway]',
    '[[',
    ' = ',
    '"""',
    "'''",
    '\\u',
    '{',
    '}',
    '0x',
    '_',
    'inf',
    'nan',
    '1979-05-27',
    '__proto__ = 1',
    'a.b.c',
  ],
  run: (input) => outcomeOf(() => parseToml(text(input))).slice(0, 60),
}

const header = { number: '0x1f', hash: `0x${'ab'.repeat(32)}`, parentHash: `0x${'cd'.repeat(32)}` }
const heads: FuzzTarget = {
  name: 'heads',
  from: 'the RPC of a chain that is followed',
  kind: 'json',
  corpus: [
    JSON.stringify({ jsonrpc: '2.0', id: 1, result: header }),
    '{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"x"}}',
    'null',
  ],
  words: ['"number":', '"hash":', '"result":', '0x'],
  run: async (input) => {
    const stop = new AbortController()
    const clock = {
      nowMs: () => 0,
      // It rests after an answer that says nothing.
      sleep: async () => {
        await new Promise((next) => setImmediate(next))
        stop.abort()
      },
      deadline: () => stop.signal,
    }
    const net = { fetch: async () => new Response(input as Uint8Array<ArrayBuffer>) }
    const random = { bytes: (sizeBytes: number) => new Uint8Array(sizeBytes) }
    for await (const { number, hash } of headFeed(
      { rpcUrl: 'http://chain.test/' },
      { clock, net, random },
      { signal: stop.signal },
    )) {
      insist(
        Number.isSafeInteger(number) && number >= 0 && /^0x[0-9a-f]{64}$/.test(hash),
        'a head has a number and a hash',
      )
      return 'head'
    }
    return 'none'
  },
}

const httpTexts = [
  'GET / \nHost: 127.0.0.1:8601\nUser-Agent: x',
  'GET /file?root=0x12&name=a%20b \nHost: localhost\nRange: bytes=0-5\nIf-Range: "x"',
  'HEAD http://other.example/a/../b?c#d \nHost: h\nContent-Length: 0',
  'OPTIONS * \nHost: [::1]:80\nOrigin: https://app.example',
]
const http: FuzzTarget = {
  name: 'http-requests',
  from: 'anybody: target and headers as the server read them',
  kind: 'text',
  corpus: httpTexts,
  words: [
    'Host: ',
    'http://',
    'https://',
    '//',
    '/..',
    '%2f',
    '%zz',
    '@',
    '[::1]',
    ':99999',
    '?',
    '#',
    'Content-Length: 5',
    'Transfer-Encoding: chunked',
  ],
  run: (input) => {
    const [first = '', ...lines] = text(input).split('\n')
    const space = first.indexOf(' ')
    const rawHeaders = lines.flatMap((line) => {
      const colon = line.indexOf(':')
      return colon > 0 ? [line.slice(0, colon), line.slice(colon + 1).trim()] : []
    })
    const headers: Record<string, string> = {}
    for (let i = 0; i < rawHeaders.length; i += 2) headers[rawHeaders[i]!.toLowerCase()] ??= rawHeaders[i + 1]!
    const incoming = { method: first.slice(0, space), url: first.slice(space + 1).trim(), rawHeaders, headers }
    // Bodies are streams, which other tests break; here is the head.
    delete headers['transfer-encoding']
    delete headers['content-length']
    return outcomeOf(() => {
      const { request } = toRequest(incoming as unknown as IncomingMessage, {
        signal: () => new AbortController().signal,
        address: 'http://127.0.0.1:1',
        bodyIdleMsMax: 1_000,
      })
      const url = new URL(request.url)
      insist(url.protocol === 'http:' && url.pathname.startsWith('/'), 'a request is for a path')
      insist(url.username === '' && url.password === '', 'and for nothing else')
    })
  },
}

const socketServer = new EventEmitter()
let heard: ((text: string | undefined) => void) | undefined
const sockets = attachWebSockets({
  server: socketServer as Server,
  limits: { messageBytesMax: 4_096 },
  onSocket: (socket) => ({
    onText: (message) => {
      insist(message.length <= 4_096, 'a message is within its limit')
      socket.send(message)
      heard?.(message)
    },
    onClose: () => heard?.(undefined),
  }),
})
const maskedText = (message: string): Uint8Array => {
  const bytes = new TextEncoder().encode(message)
  // A mask of zeros leaves the text as it is.
  return Uint8Array.of(0x81, 0x80 | bytes.length, 0, 0, 0, 0, ...bytes)
}
const webSocketFrames: FuzzTarget = {
  name: 'websocket-frames',
  from: 'WebSocket clients of the chain, after the handshake',
  kind: 'bytes',
  corpus: [
    maskedText('{"jsonrpc":"2.0"}'),
    Uint8Array.of(...maskedText('a'), ...maskedText('b')),
    Uint8Array.of(0x01, 0x81, 0, 0, 0, 0, 0x61, 0x80, 0x81, 0, 0, 0, 0, 0x62),
    Uint8Array.of(0x89, 0x80, 0, 0, 0, 0),
    Uint8Array.of(0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8),
    Uint8Array.of(0x81, 0xfe, 0x01, 0x00, 0, 0, 0, 0, ...new Uint8Array(256).fill(0x61)),
  ],
  run: async (input) => {
    let written = 0
    const stream = new Duplex({
      read: () => undefined,
      write: (chunk: Buffer, _, done) => {
        written += chunk.length
        done()
      },
    })
    Object.assign(stream, { setTimeout: () => stream, setNoDelay: () => stream, setKeepAlive: () => stream })
    const headers = {
      upgrade: 'websocket',
      connection: 'Upgrade',
      'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
      'sec-websocket-version': '13',
    }
    const words: string[] = []
    const settled = new Promise<void>((done) => {
      heard = (message) => {
        words.push(message === undefined ? 'closed' : 'text')
        if (message === undefined) done()
      }
    })
    socketServer.emit('upgrade', { method: 'GET', url: '/', headers, socket: stream }, stream, Buffer.alloc(0))
    stream.push(Buffer.from(input))
    // The end of the stream closes every connection, whatever came before.
    stream.push(null)
    await settled
    stream.destroy()
    insist(written < 200_000, 'no answer is larger than what was sent by far')
    return words.slice(0, 4).join(' ')
  },
  close: () => sockets.close(),
}

let keyFolder: string | undefined
const keyFiles: FuzzTarget = {
  name: 'key-files',
  from: 'whoever wrote the file',
  kind: 'text',
  corpus: [`0x${'1f'.repeat(32)}\n`, '1F'.repeat(32), ` ${'00'.repeat(31)}01 `, '00'.repeat(32)],
  words: ['0x', '\n', 'f', '0', '\ufeff'],
  run: async (input) => {
    const word = outcomeOf(() => insist(parsePrivateKey(input, { file: 'key' }).length === 32, 'a key has 32 bytes'))
    // A file costs twenty times as much as what reads its content.
    if (!isSample(input, 64)) return word
    keyFolder ??= mkdtempSync(join(tmpdir(), 'weightless-fuzz-'))
    const file = join(keyFolder, 'key')
    writeFileSync(file, input, { mode: 0o600 })
    insist((await laterOutcomeOf(() => readPrivateKey(file))) === word, 'a file says what its content says')
    return word
  },
  close: async () => {
    if (keyFolder !== undefined) rmSync(keyFolder, { recursive: true })
    keyFolder = undefined
  },
}

const answerHeads: FuzzTarget = {
  name: 'answer-heads',
  from: 'storage nodes that are downloaded from',
  kind: 'text',
  corpus: [
    'HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 2097152\r\nConnection: keep-alive',
    'HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked',
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Encoding: gzip',
  ],
  words: ['\r\n', '\n', 'HTTP/1.1 200 OK', 'Content-Length: ', 'Transfer-Encoding: ', 'chunked', ': ', ' ', '0'],
  run: (input) => {
    const head = text(input)
    const found = parseHead(head)
    if (found === undefined) return 'left to fetch'
    const { status, sizeBytes } = found
    insist(status >= 200 && status <= 599 && Number.isSafeInteger(sizeBytes), 'a status and a length')
    // What any other reader of HTTP would make of it.
    const lines = head.split('\r\n')
    const lengths = lines.filter((line) => /^content-length:/i.test(line))
    insist(lengths.length === 1 && Number(lengths[0]!.slice(15)) === sizeBytes, 'the one length that it declares')
    insist(!lines.some((line) => /^transfer-encoding/i.test(line)), 'a body in chunks has no length')
    return 'ok'
  },
}

export const hostTargets: readonly FuzzTarget[] = [toml, heads, http, webSocketFrames, keyFiles, answerHeads]
export { tomlTexts }
