import { beforeAll, describe, expect, test } from 'vitest'
import {
  addressOfPrivateKey,
  BATCH_SEGMENTS_MAX,
  EARLY_FILE_BYTES_MAX,
  JSON_BODY_BYTES_MAX,
  SEGMENTS_BODY_BYTES_MAX,
  signReceipt,
} from '@weightless/core'
import { connectWebSocket } from '@weightless/host'
import { downloadBytes, upload } from '@weightless/sdk'
import { streamOf, unknownRoot, useLab } from '../lab.ts'
import { call, content, rawCall } from '../network.ts'
import { until } from '../processes.ts'
import {
  framesOf,
  officialSegment,
  putFrames,
  segmentedFile,
  type OfficialSegment,
  type SegmentedFile,
} from '../segmentBodies.ts'

// Everything that a request can have wrong, on every port of a network started by `weightless up`. After each test a good
// upload must still be stored and served.

const lab = useLab()
const { gatewayUrl, nodeUrl, chainUrl, clientOf, anchored, moneyOf } = lab

describe('a segment over JSON-RPC', () => {
  let file: SegmentedFile & { readonly seq: number }
  let other: SegmentedFile & { readonly seq: number }
  beforeAll(async () => {
    file = await anchored(content(600_000, 1))
    other = await anchored(content(600_000, 2))
  })

  const send = (segment: unknown, seq: unknown = file.seq) =>
    call(gatewayUrl(), 'zgs_uploadSegmentsByTxSeq', [[segment], seq])
  const invalid = (name: string, data: string) => ({ code: -32602, message: `Invalid params: ${name}`, data })
  const wrongProof = invalid('proof', 'validation failed')

  const mistakes: readonly (readonly [string, (right: OfficialSegment) => unknown, object])[] = [
    ['a flipped bit', (right) => ({ ...right, data: flipped(right.data) }), wrongProof],
    [
      'a wrong sibling',
      (right) => ({ ...right, proof: { ...right.proof, lemma: right.proof.lemma.with(1, unknownRoot) } }),
      wrongProof,
    ],
    [
      'a wrong leaf',
      (right) => ({ ...right, proof: { ...right.proof, lemma: right.proof.lemma.with(0, unknownRoot) } }),
      wrongProof,
    ],
    [
      'the path of another position',
      (right) => ({ ...right, proof: { ...right.proof, path: right.proof.path.map((left) => !left) } }),
      wrongProof,
    ],
    ['the proof of another segment', (right) => ({ ...right, proof: officialSegment(file, 1).proof }), wrongProof],
    [
      'a proof that ends at another root',
      (right) => ({ ...right, proof: officialSegment(other, 0).proof }),
      wrongProof,
    ],
    ['no proof', (right) => ({ ...right, proof: undefined }), invalid('proof', 'invalid proof')],
    [
      'a proof with too few hashes',
      (right) => ({ ...right, proof: { ...right.proof, lemma: right.proof.lemma.slice(1) } }),
      invalid('proof', 'invalid proof'),
    ],
    ['another index', (right) => ({ ...right, index: 1 }), wrongProof],
    ['an index behind the end', (right) => ({ ...right, index: 3 }), invalid('index', 'index out of bound')],
    ['an index beyond 2^53', (right) => ({ ...right, index: 2 ** 60 }), invalid('index', 'a whole number is expected')],
    [
      'a root that is none',
      (right) => ({ ...right, root: '0x1234' }),
      invalid('root', '0x and 64 hex digits are expected'),
    ],
    [
      'a size that is not that of the entry',
      (right) => ({ ...right, fileSize: 599_000 }),
      invalid('fileSize', 'segment file size not matched with tx file size'),
    ],
    ['a size of zero', (right) => ({ ...right, fileSize: 0 }), invalid('fileSize', 'file is empty')],
    [
      'data cut off at a chunk',
      (right) => ({ ...right, data: cut(right.data, 256) }),
      invalid('data', 'invalid data length'),
    ],
    [
      'data cut off inside a chunk',
      (right) => ({ ...right, data: cut(right.data, 1) }),
      { code: -32000, message: 'invalid data length' },
    ],
    ['empty data', (right) => ({ ...right, data: '' }), { code: -32000, message: 'data is empty' }],
    [
      'data that is no base64',
      (right) => ({ ...right, data: `${right.data.slice(0, -4)}@@@@` }),
      invalid('data', 'base64 is expected'),
    ],
    [
      'base64 of another alphabet',
      (right) => ({ ...right, data: `${'-_'.repeat(4)}${right.data.slice(8)}` }),
      invalid('data', 'base64 is expected'),
    ],
    [
      'base64 cut off in the middle',
      (right) => ({ ...right, data: right.data.slice(0, -3) }),
      invalid('data', 'base64 is expected'),
    ],
    ['data that is a number', (right) => ({ ...right, data: 0 }), invalid('data', 'base64 is expected')],
    ['no data', (right) => ({ ...right, data: undefined }), invalid('data', 'missing')],
    ['null', () => null, invalid('segment', 'an object is expected')],
  ]
  test.each(mistakes)('with %s is refused in the words of the reference node', async (_, make, error) => {
    const answer = await send(make(officialSegment(file, 0)))
    expect(answer).toEqual({ jsonrpc: '2.0', id: 1, error })
    expect((await call(gatewayUrl(), 'zgs_getFileInfo', [file.root, true])).result).toMatchObject({
      finalized: false,
      uploadedSegNum: 0,
    })
  })

  test('of one root under the number of another entry is refused', async () => {
    expect((await send(officialSegment(file, 0), other.seq)).error).toEqual({
      code: -32603,
      message: 'Internal error',
      data: 'data root and tx seq not match',
    })
    expect((await send(officialSegment(file, 0), 2 ** 60)).error).toEqual(
      invalid('tx_seq', 'a whole number is expected'),
    )
    expect((await send(officialSegment(file, 0), null)).error).toEqual(invalid('tx_seq', 'a whole number is expected'))
  })

  test('that is right is stored after all of that, and one for a finalised root is told so in the exact words', async () => {
    for (let index = 0; index < file.segments.length; index++)
      expect((await send(officialSegment(file, index))).result).toBe(0)
    await until(
      'the entry is final',
      10_000,
      async () => (await call(gatewayUrl(), 'zgs_checkFileFinalized', [file.seq])).result === true,
    )
    const { text } = await rawCall(
      gatewayUrl(),
      JSON.stringify({
        jsonrpc: '2.0',
        id: 1,
        method: 'zgs_uploadSegmentsByTxSeq',
        params: [[officialSegment(file, 0)], file.seq],
      }),
    )
    expect(JSON.parse(text)).toEqual({
      jsonrpc: '2.0',
      id: 1,
      error: invalid('root', 'already uploaded and finalized'),
    })
    expect(Buffer.from(await downloadBytes(clientOf(2), file.root)).equals(Buffer.from(file.bytes))).toBe(true)
  })

  test('of a root that is not on chain waits at the gateway if the file is small, and is stored once its entry comes', async () => {
    const bytes = content(300_000, 3)
    const early = segmentedFile(bytes)
    for (let index = 0; index < 2; index++) {
      const answer = await call(gatewayUrl(), 'zgs_uploadSegments', [[officialSegment(early, index)]])
      expect(answer).toEqual({ jsonrpc: '2.0', id: 1, result: 0 })
    }
    expect((await call(gatewayUrl(), 'zgs_getFileInfo', [early.root, true])).result).toBeNull()
    const { seq } = await upload(clientOf(2), bytes, { until: 'anchored' })
    await until(
      'the entry is final',
      10_000,
      async () => (await call(gatewayUrl(), 'zgs_checkFileFinalized', [seq])).result === true,
    )

    const large = {
      ...officialSegment(early, 0),
      fileSize: EARLY_FILE_BYTES_MAX + 1,
      root: unknownRoot,
      proof: { lemma: [unknownRoot], path: [] },
    }
    const refused = await call(gatewayUrl(), 'zgs_uploadSegments', [[large]])
    expect(refused.error).toEqual(invalid('fileSize', 'caching of large file when tx is unavailable is not supported'))
  })

  test('for a storage node that is no home of it is refused at once, with the address of the gateway', async () => {
    const file = await anchored(content(256, 4))
    const answers = await Promise.all(
      lab.network.file.storage.nodes.map(({ url }) =>
        call(url, 'zgs_uploadSegmentsByTxSeq', [[officialSegment(file, 0)], file.seq]),
      ),
    )
    const refused = answers.filter((answer) => answer.error !== undefined)
    // Three of four nodes are homes.
    expect(refused).toHaveLength(1)
    expect(refused[0]).toEqual({
      jsonrpc: '2.0',
      id: 1,
      error: { code: -32000, message: `this node holds shares only; upload through ${gatewayUrl()}` },
    })
    expect(answers.filter((answer) => answer.result === 0)).toHaveLength(2 + 1)
  })
})

describe('a JSON-RPC body', () => {
  const servers = () => [gatewayUrl(), nodeUrl()]

  test('above the limit is refused without being kept, whether its length is told or not', async () => {
    const body = Buffer.alloc(JSON_BODY_BYTES_MAX + 1, 0x20)
    for (const url of servers()) {
      for (const sent of [body, streamOf(body)]) {
        const response = await fetch(url, { method: 'POST', body: sent, duplex: 'half' } as RequestInit)
        expect(response.status).toBe(200)
        const { error, id } = (await response.json()) as {
          error: { code: number; message: string; data: string }
          id: null
        }
        expect({ code: error.code, message: error.message, id }).toEqual({
          code: -32701,
          message: 'Request is too big',
          id: null,
        })
        expect(error.data).toMatch(/^REQUEST_TOO_LARGE: .*Next: /)
      }
    }
  })

  test('that is all structure and no payload is refused before it is parsed', async () => {
    for (const url of servers()) {
      for (const text of [
        `[${'{},'.repeat(5_000_000)}{}]`,
        '['.repeat(JSON_BODY_BYTES_MAX),
        `{"jsonrpc":"2.0","id":1,"method":"zgs_getFileInfo","params":[${'[],'.repeat(5_000_000)}[]]}`,
      ]) {
        const { error } = JSON.parse((await rawCall(url, text)).text)
        expect(error).toMatchObject({ code: -32701, data: expect.stringMatching(/^RPC_TEXT_TOO_LARGE: .*Next: /) })
      }
    }
  })

  test('that is broken gets a JSON-RPC error with HTTP 200 and the next step', async () => {
    for (const [what, body, code] of [
      ['cut off', '{"jsonrpc":"2.0","id":1,"meth', -32700],
      ['empty', '', -32700],
      ['not UTF-8', Buffer.from([0x22, 0xff, 0x22]), -32700],
      ['an empty array', '[]', -32600],
      ['a number', '7', -32600],
      ['without a method', '{"jsonrpc":"2.0","id":1}', -32600],
      ['of JSON-RPC 1.0', '{"id":1,"method":"zgs_getStatus","params":[]}', -32600],
      [
        'an array of too many',
        JSON.stringify(Array.from({ length: 65 }, (_, id) => ({ jsonrpc: '2.0', id, method: 'zgs_getStatus' }))),
        -32600,
        /Next: /,
      ],
    ] as const) {
      for (const url of servers()) {
        const response = await fetch(url, { method: 'POST', body })
        expect(response.status, what).toBe(200)
        expect(response.headers.get('content-type'), what).toContain('application/json')
        const { error } = (await response.json()) as { error: { code: number; message: string; data: string } }
        expect(error, what).toMatchObject({ code, data: expect.stringContaining('Next: ') })
      }
    }
  })

  test('with an unknown method, or with params missing, is told which, under its own id beyond 2^53', async () => {
    const id = '17690000000001234567'
    for (const url of servers()) {
      const unknown = await rawCall(url, `{"jsonrpc":"2.0","id":${id},"method":"zgs_nothing","params":[]}`)
      expect(unknown.text).toMatch(/"code":-32601,"message":"Method not found"/)
      expect(unknown.text).toContain(`"id":${id}`)
      for (const [method, name] of [
        ['zgs_getFileInfo', 'root'],
        ['zgs_getFileInfoByTxSeq', 'tx_seq'],
        ['zgs_uploadSegmentsByTxSeq', 'segments'],
        ['zgs_uploadSegment', 'segment'],
        ['zgs_downloadSegment', 'root'],
        ['zgs_downloadSegmentByTxSeq', 'tx_seq'],
      ]) {
        for (const params of ['', ',"params":[]', ',"params":null']) {
          const { status, text } = await rawCall(url, `{"jsonrpc":"2.0","id":${id},"method":"${method}"${params}}`)
          expect(status).toBe(200)
          expect(text).toContain(`"error":{"code":-32602,"message":"Invalid params: ${name}","data":"missing"}`)
          expect(text).toContain(`"id":${id}`)
        }
        const named = await rawCall(
          url,
          `{"jsonrpc":"2.0","id":${id},"method":"${method}","params":{"root":"${unknownRoot}"}}`,
        )
        expect(JSON.parse(named.text).error).toMatchObject({ code: -32602, message: 'Invalid params: params' })
      }
    }
  })

  test('to the indexer with a root that is missing or wrong is told so', async () => {
    const locations = async (params: readonly unknown[]) => call(gatewayUrl(), 'indexer_getFileLocations', params)
    expect((await locations([])).error).toEqual({ code: -32602, message: 'Invalid params: root', data: 'missing' })
    expect((await locations(['0x12'])).error).toMatchObject({ code: -32602, message: 'Invalid params: root' })
    expect((await locations([unknownRoot])).result).toEqual([])
  })

  test('to the chain is bounded and refused in JSON too', async () => {
    const body = Buffer.alloc(2 * 1024 ** 2 + 1, 0x20)
    for (const sent of [body, streamOf(body)]) {
      const response = await fetch(chainUrl(), { method: 'POST', body: sent, duplex: 'half' } as RequestInit)
      expect(response.status).toBe(413)
      expect(await response.json()).toMatchObject({ error: { code: -32600 }, id: null })
    }
    for (const [sent, code] of [
      ['{"jsonrpc":"2.0","id":1,"meth', -32700],
      ['[]', -32600],
      ['{"jsonrpc":"2.0","id":1}', -32600],
      ['{"jsonrpc":"2.0","id":1,"method":"eth_nothing","params":[]}', -32601],
      ['{"jsonrpc":"2.0","id":1,"method":"eth_getBalance"}', -32602],
      ['{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":{"a":1}}', -32602],
    ] as const) {
      const { status, text } = await rawCall(chainUrl(), sent)
      expect(status).toBe(200)
      expect(JSON.parse(text).error).toMatchObject({ code, message: expect.stringMatching(/Next: |must be/) })
    }
    const far = await rawCall(
      chainUrl(),
      '{"jsonrpc":"2.0","id":17690000000001234567,"method":"eth_chainId","params":[]}',
    )
    expect(far.text).toContain('"id":17690000000001234567')
  })
})

describe('the binary routes of a storage node', () => {
  let file: SegmentedFile & { readonly seq: number }
  beforeAll(async () => {
    file = await anchored(content(600_000, 21))
  })

  async function errorOf(
    response: Response,
  ): Promise<{ status: number; code: string; next: string; facts: Record<string, unknown> }> {
    expect(response.headers.get('content-type')).toContain('application/json')
    const { error } = (await response.json()) as {
      error: { code: string; next: string; facts: Record<string, unknown> }
    }
    expect(error.next).not.toBe('')
    return { status: response.status, ...error }
  }
  const put = async (body: Uint8Array, at: { root?: string; seq?: number } = {}) =>
    errorOf(await putFrames(nodeUrl(), { ...file, ...at }, body))

  test('refuse a wrong proof, a wrong root and damaged frames, and store nothing of them', async () => {
    const [first, second] = file.segments
    const wrongData = { ...first!, data: first!.data.with(7, first!.data[7]! ^ 1) }
    const wrongSibling = { ...first!, proof: { ...first!.proof, siblings: second!.proof.siblings } }
    expect(await put(framesOf([wrongData]))).toMatchObject({ status: 400, code: 'SEGMENT_PROOF_INVALID' })
    expect(await put(framesOf([wrongSibling]))).toMatchObject({ status: 400, code: 'SEGMENT_PROOF_INVALID' })
    expect(await put(framesOf([{ ...first!, index: 3 }]))).toMatchObject({ status: 400, code: 'SEGMENT_INDEX_INVALID' })
    expect(await put(framesOf([{ ...first!, data: first!.data.subarray(256) }]))).toMatchObject({
      status: 400,
      code: 'SEGMENT_SIZE_INVALID',
    })
    // One bad segment, and none of its request is taken.
    expect(await put(framesOf([second!, wrongData]))).toMatchObject({ status: 400, code: 'SEGMENT_PROOF_INVALID' })
    expect(await put(framesOf([first!]).subarray(0, -1))).toMatchObject({ status: 400, code: 'FRAME_INVALID' })
    expect(await put(new Uint8Array(0))).toMatchObject({ status: 400, code: 'FRAME_INVALID' })
    expect(await put(framesOf([first!]), { root: unknownRoot })).toMatchObject({ status: 409, code: 'ENTRY_MISMATCH' })
    expect(await put(framesOf([first!]), { root: '0x12' })).toMatchObject({ status: 400, code: 'PARAMETER_INVALID' })
    const { entries } = (await (await fetch(`${nodeUrl()}/v1/entries/${file.root}`)).json()) as { entries: unknown[] }
    expect(entries).toMatchObject([{ seq: file.seq, complete: false, heldSegmentCount: 0 }])
  })

  test('refuse a body above the limit before they read it', async () => {
    const body = new Uint8Array(SEGMENTS_BODY_BYTES_MAX + 1)
    expect(await put(body)).toMatchObject({
      status: 413,
      code: 'REQUEST_TOO_LARGE',
      facts: { sizeBytesMax: SEGMENTS_BODY_BYTES_MAX },
    })
    const streamed = await fetch(`${nodeUrl()}/v1/entries/${file.root}/segments?seq=${file.seq}&slot=0`, {
      method: 'PUT',
      body: streamOf(body),
      duplex: 'half',
    } as RequestInit)
    expect(await errorOf(streamed)).toMatchObject({ status: 413, code: 'REQUEST_TOO_LARGE' })
  })

  test('refuse what they do not know or cannot mean, each with its status and code', async () => {
    for (const [method, path, status, code] of [
      ['PUT', `/v1/entries/${unknownRoot}/segments`, 400, 'PARAMETER_INVALID'],
      ['PUT', `/v1/entries/${unknownRoot}/segments?seq=9007199254740993&slot=0`, 400, 'PARAMETER_INVALID'],
      ['PUT', `/v1/entries/${unknownRoot}/segments?seq=0&slot=256`, 400, 'PARAMETER_INVALID'],
      ['GET', `/v1/entries/${unknownRoot}/segments?from=0&count=${BATCH_SEGMENTS_MAX + 1}`, 400, 'PARAMETER_INVALID'],
      ['GET', `/v1/entries/${unknownRoot}/segments?from=0&count=1`, 404, 'ENTRY_UNKNOWN'],
      ['GET', `/v1/entries/${unknownRoot}/receipt?seq=0&slot=0`, 409, 'ENTRY_MISMATCH'],
      ['GET', `/v1/entries/${unknownRoot}`, 404, 'ENTRY_UNKNOWN'],
      ['DELETE', `/v1/entries/${unknownRoot}`, 405, 'METHOD_NOT_ALLOWED'],
      ['GET', '/v1/entries?limit=1001', 400, 'PARAMETER_INVALID'],
      ['GET', '/v1/nothing', 404, 'ROUTE_UNKNOWN'],
      ['GET', '/../../etc/passwd', 404, 'ROUTE_UNKNOWN'],
    ] as const) {
      const response = await fetch(nodeUrl() + path, { method })
      expect(await errorOf(response), `${method} ${path}`).toMatchObject({ status, code })
    }
  })
})

describe('receipts told to the gateway', () => {
  const tell = async (at: { root: string; seq: number | string }, body: unknown) => {
    const response = await fetch(`${gatewayUrl()}/v1/entries/${at.root}/receipts?seq=${at.seq}`, {
      method: 'PUT',
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
    const { error, ...rest } = (await response.json()) as { error?: { code: string; next: string } }
    if (error !== undefined) expect(error.next).not.toBe('')
    return { status: response.status, code: error?.code, ...rest }
  }

  test('are believed only from members, and only for the entry that they sign', async () => {
    const entry = await anchored(content(1000, 27))
    const { receipts } = await upload(clientOf(3), content(1000, 28))
    const forged = content(32, 29)
    const signer = addressOfPrivateKey(forged)
    const mine = { ...receipts[0]!, dataRoot: entry.root, entrySeq: entry.seq, signer }
    const wrong: readonly (readonly [string, unknown])[] = [
      ['receipts of another entry', receipts],
      [
        'receipts of another entry under the name of this one',
        receipts.map((one) => ({ ...one, dataRoot: entry.root, entrySeq: entry.seq })),
      ],
      ['a receipt of somebody who is no member', [signReceipt(mine, forged)]],
      ['a receipt with the name of a member on it', [{ ...signReceipt(mine, forged), signer: receipts[0]!.signer }]],
      ['half a receipt', [{ dataRoot: entry.root }]],
      ['a number', 7],
      ['no JSON', '[{'],
      ['too many', Array.from({ length: 257 }, () => receipts[0])],
      ['too much', 'x'.repeat(262_145)],
    ]
    for (const [what, body] of wrong) {
      const { status, code } = await tell(entry, body)
      expect([400, 413], what).toContain(status)
      expect(code, what).toMatch(/^[A-Z_]+$/)
    }
    expect(await tell({ ...entry, seq: 'x' }, receipts)).toMatchObject({ status: 400, code: 'PARAMETER_INVALID' })
    expect(await tell({ ...entry, root: '0x12' }, receipts)).toMatchObject({ status: 400 })
    expect((await call(gatewayUrl(), 'zgs_checkFileFinalized', [entry.seq])).result).toBe(false)
  })
})

describe('the REST routes of the gateway', () => {
  const size = 600_001
  let root: string
  let bytes: Buffer
  beforeAll(async () => {
    bytes = Buffer.from(content(size, 31))
    root = (await upload(clientOf(3), bytes)).root
  })
  const get = (range?: string, method = 'GET') =>
    fetch(`${gatewayUrl()}/file?root=${root}`, { method, headers: range === undefined ? {} : { range } })

  test('serve a range as 206 with its length and its place, to GET and to HEAD', async () => {
    for (const [range, start, end] of [
      ['bytes=0-0', 0, 1],
      ['bytes=262143-262144', 262_143, 262_145],
      ['bytes=600000-', 600_000, size],
      ['bytes=-1000', size - 1000, size],
      ['bytes=1-99999999', 1, size],
      ['bytes=-99999999', 0, size],
    ] as const) {
      const place = [206, `bytes ${start}-${end - 1}/${size}`, String(end - start)]
      for (const method of ['GET', 'HEAD']) {
        const { status, headers } = await get(range, method)
        expect([status, headers.get('content-range'), headers.get('content-length')], range).toEqual(place)
      }
      const read = Buffer.from(await (await get(range)).arrayBuffer())
      expect(read.equals(bytes.subarray(start, end)), range).toBe(true)
    }
  })

  test('serve what is no byte range as a whole, and refuse a range behind the end with 416', async () => {
    for (const range of [undefined, 'bytes=5-4', 'bytes=0-1,3-4', 'lines=1-2', 'bytes=-', 'bytes=a-b']) {
      const response = await get(range)
      expect([response.status, response.headers.get('content-length'), response.headers.get('accept-ranges')]).toEqual([
        200,
        String(size),
        'bytes',
      ])
      expect(Buffer.from(await response.arrayBuffer()).equals(bytes)).toBe(true)
    }
    for (const range of [`bytes=${size}-`, 'bytes=-0', `bytes=${size + 5}-${size + 9}`]) {
      const response = await get(range)
      expect([response.status, response.headers.get('content-range')]).toEqual([416, `bytes */${size}`])
      expect(await response.json()).toMatchObject({ code: 1 })
    }
    const head = await get(undefined, 'HEAD')
    expect([head.status, head.headers.get('content-length'), await head.text()]).toEqual([200, String(size), ''])
  })

  test('answer what is wrong or unknown with its status and in JSON', async () => {
    for (const [method, path, status, code] of [
      ['GET', '/file?root=0x12', 400, 1],
      ['GET', '/file?root=', 400, 1],
      ['GET', '/file', 400, 1],
      ['GET', `/file?root=${'f'.repeat(64)}`, 400, 1],
      ['GET', '/file?txSeq=-1', 400, 1],
      ['GET', `/file?root=${unknownRoot}`, 404, 101],
      ['GET', '/file?txSeq=999999999', 404, 101],
      ['GET', `/file/${unknownRoot}`, 404, 101],
      ['GET', `/file/${unknownRoot}/in/side`, 404, 101],
      ['GET', `/file/info/${unknownRoot}`, 404, 101],
      ['GET', '/file/info/nothing', 400, 1],
      ['GET', '/files/info', 400, 1],
      ['POST', '/file?root=0x12', 400, 1],
      ['POST', '/file/segment', 400, 1],
    ] as const) {
      const response = await fetch(gatewayUrl() + path, { method })
      expect(response.status, path).toBe(status)
      expect(response.headers.get('content-type'), path).toContain('application/json')
      expect(await response.json(), path).toMatchObject({
        code,
        message: expect.stringMatching(/./),
        data: expect.stringMatching(/./),
      })
    }
  })

  test('never answer with a page, and show no path of this machine', async () => {
    for (const url of [gatewayUrl(), nodeUrl(), chainUrl()]) {
      for (const path of [
        '/',
        '/index.html',
        '/favicon.ico',
        '/file/segment',
        '/%00',
        '/%ff',
        '/..%2f..%2fetc',
        `/${'a'.repeat(8000)}`,
      ]) {
        const response = await fetch(url + path, { headers: { accept: 'text/html' } })
        const text = await response.text()
        expect(response.headers.get('content-type')).toContain('application/json')
        expect(() => JSON.parse(text) as unknown).not.toThrow()
        expect(text).not.toContain(lab.network.dir)
      }
    }
  })

  test('refuse segments that are too large, broken or wrong, with what to do next', async () => {
    const file = await anchored(content(600_000, 32))
    const post = async (body: BodyInit): Promise<{ status: number; code: number; data: string }> => {
      const response = await fetch(`${gatewayUrl()}/file/segment`, {
        method: 'POST',
        body,
        duplex: 'half',
      } as RequestInit)
      return { status: response.status, ...((await response.json()) as { code: number; data: string }) }
    }
    const right = officialSegment(file, 0)
    const large = Buffer.alloc(JSON_BODY_BYTES_MAX + 1, 0x20)
    for (const body of [large, streamOf(large)]) {
      expect(await post(body)).toMatchObject({
        status: 413,
        code: 1,
        data: expect.stringMatching(/^REQUEST_TOO_LARGE: .*Next: /),
      })
    }
    expect(await post('{"root":')).toMatchObject({ status: 400, code: 1 })
    expect(await post(JSON.stringify({ ...right, root: undefined }))).toMatchObject({
      status: 400,
      code: 1,
      data: expect.stringMatching(/root.*missing/),
    })
    expect(await post(JSON.stringify({ ...right, data: flipped(right.data) }))).toMatchObject({
      status: 400,
      code: 1,
      data: 'Invalid params: proof: validation failed',
    })
    expect(await post(JSON.stringify({ ...right, data: '@@@@' }))).toMatchObject({
      status: 400,
      code: 1,
      data: 'Invalid params: data: base64 is expected',
    })
    expect(await post(JSON.stringify({ ...right, root: unknownRoot }))).toMatchObject({ status: 404, code: 101 })
    expect(await post(JSON.stringify({ ...right, txSeq: 999_999_999 }))).toMatchObject({ status: 404, code: 101 })
    for (let index = 0; index < file.segments.length; index++)
      expect(await post(JSON.stringify(officialSegment(file, index)))).toMatchObject({ status: 200, code: 0 })
    await until(
      'the file is served',
      10_000,
      async () => (await fetch(`${gatewayUrl()}/file?root=${file.root}`, { method: 'HEAD' })).status === 200,
    )
  })

  test('have health and metrics, and so has every service', async () => {
    for (const url of [gatewayUrl(), ...lab.network.file.storage.nodes.map((node) => node.url), chainUrl()]) {
      const response = await fetch(`${url}/health`)
      expect([response.status, await response.json()]).toEqual([200, { ready: true }])
    }
    for (const url of [gatewayUrl(), nodeUrl()]) {
      const response = await fetch(`${url}/metrics`)
      expect(response.status).toBe(200)
      expect(response.headers.get('content-type')).toContain('text/plain')
      const text = await response.text()
      expect(text).toMatch(/^# TYPE weightless_follower_block gauge$/m)
      expect(text).toMatch(/^weightless_bodies_waiting 0$/m)
    }
  })
})

describe('the public port of the chain', () => {
  const victim = `0x${'cd'.repeat(20)}`
  const first = (): string => lab.network.file.accounts[0]!.address
  /** One call of each forbidden family, with parameters that would do harm. */
  const forbidden = (): readonly (readonly [string, readonly unknown[]])[] => [
    ['anvil_setBalance', [victim, '0xffff']],
    ['hardhat_setBalance', [victim, '0xffff']],
    ['tenderly_setBalance', [victim, '0xffff']],
    ['anvil_setCode', [victim, '0x00']],
    ['hardhat_setCode', [victim, '0x00']],
    ['anvil_setNonce', [victim, '0x7']],
    ['anvil_setStorageAt', [lab.network.file.contracts.flow, '0x0', unknownRoot]],
    ['anvil_impersonateAccount', [first()]],
    ['hardhat_impersonateAccount', [first()]],
    ['anvil_autoImpersonateAccount', [true]],
    ['anvil_reset', []],
    ['hardhat_reset', []],
    ['anvil_mine', ['0x10']],
    ['evm_mine', []],
    ['evm_increaseTime', [86_400]],
    ['evm_setNextBlockTimestamp', [4_000_000_000]],
    ['evm_setAutomine', [true]],
    ['evm_snapshot', []],
    ['evm_revert', ['0x0']],
    ['anvil_dropAllTransactions', []],
    ['anvil_dumpState', []],
    ['anvil_loadState', ['0x']],
    ['anvil_nodeInfo', []],
    ['debug_traceTransaction', [unknownRoot]],
    ['debug_traceCall', [{ to: victim }, 'latest']],
    ['trace_block', ['0x1']],
    ['personal_sign', ['0x00', first()]],
    ['personal_sendTransaction', [{ from: first(), to: victim, value: '0x1' }, '']],
    ['personal_unlockAccount', [first(), '']],
    ['eth_sendTransaction', [{ from: first(), to: victim, value: '0x1' }]],
    ['eth_sendUnsignedTransaction', [{ from: first(), to: victim, value: '0x1' }]],
    ['eth_sign', [first(), '0x00']],
    ['eth_signTransaction', [{ from: first(), to: victim, value: '0x1' }]],
    ['eth_signTypedData_v4', [first(), '{}']],
    ['wallet_sendTransaction', [{ from: first(), to: victim, value: '0x1' }]],
    ['txpool_content', []],
    ['miner_start', []],
    ['admin_peers', []],
  ]
  const requests = () => forbidden().map(([method, params], id) => ({ jsonrpc: '2.0', id, method, params }))

  async function state(): Promise<unknown> {
    const read = async (method: string, params: readonly unknown[]) => (await call(chainUrl(), method, params)).result
    return {
      balance: await read('eth_getBalance', [victim, 'latest']),
      code: await read('eth_getCode', [victim, 'latest']),
      nonce: await read('eth_getTransactionCount', [victim, 'latest']),
      flow: await read('eth_getStorageAt', [lab.network.file.contracts.flow, '0x0', 'latest']),
      first: await moneyOf(first()),
      genesis: (await read('eth_getBlockByNumber', ['0x0', false])).hash,
      accounts: await read('eth_accounts', []),
    }
  }
  const now = async (): Promise<number> =>
    Number((await call(chainUrl(), 'eth_getBlockByNumber', ['latest', false])).result.timestamp)
  const isRefused = (answer: { error?: { code: number }; result?: unknown }) =>
    answer.error?.code === -32601 && answer.result === undefined

  test('refuses every private method, alone, in arrays and over WebSocket, and the chain stays as it was', async () => {
    const before = await state()
    const answers = await Promise.all(
      requests().map(async (request) => JSON.parse((await rawCall(chainUrl(), JSON.stringify(request))).text)),
    )
    expect(answers.filter((answer) => !isRefused(answer))).toEqual([])
    const batch = JSON.parse(
      (await rawCall(chainUrl(), JSON.stringify([...requests(), { jsonrpc: '2.0', id: 'ok', method: 'eth_chainId' }])))
        .text,
    )
    expect(batch.filter((answer: { id: unknown }) => answer.id !== 'ok').every(isRefused)).toBe(true)
    expect(batch.at(-1)).toEqual({ jsonrpc: '2.0', id: 'ok', result: '0x7a69' })

    const said = await overWebSocket([
      ...requests().map((request) => JSON.stringify(request)),
      JSON.stringify(requests()),
    ])
    for (const text of said) {
      const answer = JSON.parse(text)
      expect(Array.isArray(answer) ? answer.every(isRefused) : isRefused(answer)).toBe(true)
    }
    expect(await state()).toEqual(before)
    // Nobody has moved the clock.
    expect(Math.abs((await now()) - Date.now() / 1000)).toBeLessThan(120)
  })

  test('is not fooled by spelling, equal keys, escapes or nesting', async () => {
    const before = await state()
    const balance = `"params":["${victim}","0xffff"]`
    for (const body of [
      `{"jsonrpc":"2.0","id":1,"method":"ANVIL_SETBALANCE",${balance}}`,
      `{"jsonrpc":"2.0","id":1,"method":" anvil_setBalance",${balance}}`,
      `{"jsonrpc":"2.0","id":1,"method":"anvil_setBalance\\u0000",${balance}}`,
      `{"jsonrpc":"2.0","id":1,"method":"\\u0061nvil_setBalance",${balance}}`,
      `{"jsonrpc":"2.0","id":1,"method":"eth_chainId","method":"anvil_setBalance",${balance}}`,
      `{"jsonrpc":"2.0","id":1,"method":"anvil_setBalance","method":"eth_chainId",${balance}}`,
      `{"jsonrpc":"2.0","id":1,"method":["anvil_setBalance"],${balance}}`,
      `[[{"jsonrpc":"2.0","id":1,"method":"anvil_setBalance",${balance}}]]`,
      `{"jsonrpc":"2.0","method":"anvil_setBalance",${balance}}`,
      `{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{"to":"${victim}"},"latest",{},{"gasLimit":"0xffffffff"}]}`,
      `{"jsonrpc":"2.0","id":"\\"},{\\"method\\":\\"anvil_setBalance","method":"eth_getBalance","params":["${victim}"]}`,
    ]) {
      const { status } = await rawCall(chainUrl(), body)
      expect([200, 204]).toContain(status)
    }
    expect(await state()).toEqual(before)
  })

  async function overWebSocket(messages: readonly string[]): Promise<readonly string[]> {
    const said: string[] = []
    let tell: () => void = () => undefined
    const enough = new Promise<void>((done) => (tell = done))
    const socket = await connectWebSocket({ url: chainUrl().replace('http', 'ws') }, () => ({
      onText(text) {
        said.push(text)
        if (said.length === messages.length) tell()
      },
      onClose: tell,
    }))
    for (const message of messages) socket.send(message)
    await enough
    socket.close()
    expect(said).toHaveLength(messages.length)
    return said
  }
})

test('after all of this the network is healthy', () => lab.expectHealthy())

function flipped(base64: string): string {
  const bytes = Buffer.from(base64, 'base64')
  bytes[7]! ^= 1
  return bytes.toString('base64')
}

function cut(base64: string, count: number): string {
  return Buffer.from(base64, 'base64').subarray(0, -count).toString('base64')
}
