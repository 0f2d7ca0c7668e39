import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  createTestWorld,
  endWorlds,
  officialSegment,
  putBinary,
  type TestRole,
  type TestWorld,
} from '../../test/testRoles.ts'
import { objectOf } from '../../../../sim/compliance/storageNode.ts'

afterEach(endWorlds)

describe('JSON-RPC as official clients speak it', () => {
  let world: TestWorld
  let node: TestRole
  beforeEach(async () => {
    world = createTestWorld()
    node = (await world.members(1))[0]!
  })
  const post = (body: string | Uint8Array, headers: Record<string, string> = {}): Promise<Response> =>
    node.fetch('/', {
      method: 'POST',
      body: body as string,
      headers: { 'content-type': 'application/json', ...headers },
    })

  test.each(['17690000000001234', '9007199254740993', '-1', '1.5e3', '"a\\"b"', '"x"', 'null', '0'])(
    'the id %s goes back as it came',
    async (id) => {
      const text = await node.rpcText(`{"id":${id},"jsonrpc":"2.0","method":"zgs_getShardConfig"}`)
      expect(text).toBe(`{"jsonrpc":"2.0","result":{"shardId":0,"numShard":1},"id":${id}}`)
    },
  )

  test.each([
    [
      '{"jsonrpc":"2.0","id":5,"method":"zgs_nothing"}',
      '{"jsonrpc":"2.0","error":{"code":-32601,"message":"Method not found"},"id":5}',
    ],
    [
      '{"jsonrpc":"2.0","id":5,"method":"toString"}',
      '{"jsonrpc":"2.0","error":{"code":-32601,"message":"Method not found"},"id":5}',
    ],
    [
      '{"jsonrpc":"2.0","id":5,"method":"zgs_getFileInfo"}',
      '{"jsonrpc":"2.0","error":{"code":-32602,"message":"Invalid params: root","data":"missing"},"id":5}',
    ],
    [
      '{"jsonrpc":"2.0","id":5,"method":"zgs_getFileInfo","params":[]}',
      '{"jsonrpc":"2.0","error":{"code":-32602,"message":"Invalid params: root","data":"missing"},"id":5}',
    ],
    [
      '{"jsonrpc":"2.0","id":5,"method":"zgs_getFileInfo","params":null}',
      '{"jsonrpc":"2.0","error":{"code":-32602,"message":"Invalid params: root","data":"missing"},"id":5}',
    ],
    [
      '{"jsonrpc":"2.0","id":5,"method":"zgs_uploadSegments"}',
      '{"jsonrpc":"2.0","error":{"code":-32602,"message":"Invalid params: segments","data":"missing"},"id":5}',
    ],
    [
      '{"jsonrpc":"2.0","id":5,"method":"zgs_uploadSegment"}',
      '{"jsonrpc":"2.0","error":{"code":-32602,"message":"Invalid params: segment","data":"missing"},"id":5}',
    ],
    [
      '{"jsonrpc":"2.0","id":5,"method":"zgs_uploadSegmentsByTxSeq","params":[[]]}',
      '{"jsonrpc":"2.0","error":{"code":-32602,"message":"Invalid params: tx_seq","data":"missing"},"id":5}',
    ],
    [
      '{"jsonrpc":"2.0","id":5,"method":"zgs_getFileInfoByTxSeq","params":[1e300]}',
      '{"jsonrpc":"2.0","error":{"code":-32602,"message":"Invalid params: tx_seq","data":"a whole number is expected"},"id":5}',
    ],
    [
      '{"jsonrpc":"2.0","id":5,"method":"zgs_getStatus","params":{"a":1}}',
      '{"jsonrpc":"2.0","error":{"code":-32602,"message":"Invalid params: params","data":"positional parameters in an array are expected"},"id":5}',
    ],
  ])('%s', async (request, answer) => {
    const response = await post(request)
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('application/json')
    expect(await response.text()).toBe(answer)
  })

  test.each([
    ['a truncated body', '{"jsonrpc":"2.0","id":5,"method":"zgs_getSta', -32700],
    ['no JSON', '<html>', -32700],
    ['an empty body', '', -32700],
    ['bytes that are no text', new Uint8Array([0xff, 0xfe, 0x00]), -32700],
    ['a number', '5', -32600],
    ['an empty array', '[]', -32600],
    ['an object without a method', '{"jsonrpc":"2.0","id":5}', -32600],
    ['another protocol', '{"id":5,"method":"zgs_getStatus"}', -32600],
  ])('%s is answered with an error and HTTP 200', async (_, body, code) => {
    const response = await post(body)
    expect(response.status).toBe(200)
    expect(((await response.json()) as { error: { code: number } }).error.code).toBe(code)
  })

  test('several requests in an array get their answers in order, notifications none', async () => {
    const response = await post(
      '[{"jsonrpc":"2.0","id":1,"method":"zgs_getShardConfig"},{"jsonrpc":"2.0","method":"zgs_getStatus"},{"jsonrpc":"2.0","id":"b","method":"zgs_nothing"},7]',
    )
    expect(
      ((await response.json()) as { id: unknown; error?: { code: number } }[]).map(({ id, error }) => [
        id,
        error?.code,
      ]),
    ).toEqual([
      [1, undefined],
      ['b', -32601],
      [null, -32600],
    ])
    expect((await post('{"jsonrpc":"2.0","method":"zgs_getStatus"}')).status).toBe(204)
  })

  test('a body above the limit is a JSON-RPC error before any of it is read', async () => {
    let isRead = false
    const body = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          isRead = true
          controller.enqueue(new Uint8Array(1024))
        },
      },
      { highWaterMark: 0 },
    )
    const init = { method: 'POST', body, duplex: 'half', headers: { 'content-length': String(17 * 1024 ** 2) } }
    const response = await node.fetch('/', init as RequestInit)
    expect(response.status).toBe(200)
    expect(((await response.json()) as { error: { code: number; message: string } }).error).toMatchObject({
      code: -32701,
      message: 'Request is too big',
    })
    expect(isRead).toBe(false)
  })

  test('a body that does not say its length is read up to the limit and no further', async () => {
    let sizeBytes = 0
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        sizeBytes += 1024 ** 2
        controller.enqueue(new Uint8Array(1024 ** 2).fill(32))
      },
    })
    const response = await node.fetch('/', { method: 'POST', body, duplex: 'half' } as RequestInit)
    expect(((await response.json()) as { error: { code: number } }).error.code).toBe(-32701)
    expect(sizeBytes).toBeLessThan(20 * 1024 ** 2)
  })

  test('browsers of any origin may ask, and no path ever answers with a page', async () => {
    const preflight = await node.fetch('/', {
      method: 'OPTIONS',
      headers: { origin: 'https://app.example', 'access-control-request-method': 'POST' },
    })
    expect(preflight.status).toBe(204)
    expect(preflight.headers.get('access-control-allow-origin')).toBe('*')
    expect(preflight.headers.get('access-control-allow-headers')).toBe('*')
    const answered = await post('{"jsonrpc":"2.0","id":1,"method":"zgs_getShardConfig"}')
    expect(answered.headers.get('access-control-allow-origin')).toBe('*')
    for (const [path, method, status] of [
      ['/', 'GET', 200],
      ['/nothing', 'GET', 404],
      ['/', 'DELETE', 404],
      ['/v1/entries', 'POST', 405],
    ] as const) {
      const response = await node.fetch(path, { method })
      expect([path, method, response.status]).toEqual([path, method, status])
      expect(response.headers.get('content-type')).toBe('application/json')
      await response.json()
    }
  })

  test('an array of downloads is carried out up to a limit, and the rest is told to ask for less, each under its id', async () => {
    const object = objectOf(300_000, 2)
    const [entry] = world.chain.submit(object.submission)
    await node.caughtUp()
    expect((await putBinary(node, entry!, object.segments)).status).toBe(200)
    const calls = Array.from({ length: 64 }, (_, id) => ({
      jsonrpc: '2.0',
      id,
      method: 'zgs_downloadSegment',
      params: [entry!.root, 0, 1024],
    }))
    const text = await node.rpcText(JSON.stringify(calls))
    expect(text.length).toBeLessThan(5 * 1024 ** 2)
    const answers = JSON.parse(text) as { id: number; result?: string; error?: object }[]
    expect(answers.map(({ id }) => id)).toEqual(calls.map(({ id }) => id))
    const served = answers.filter(({ result }) => result !== undefined)
    expect(served.length).toBeGreaterThan(10)
    for (const { result } of served) expect(result).toHaveLength(349_528)
    for (const { error } of answers.slice(served.length)) {
      expect(error).toEqual({ code: -32000, message: 'the answers of this array are too large: ask for less at once' })
    }
  })

  test('hundreds of downloads at once take turns and are all answered', async () => {
    const object = objectOf(300_000, 3)
    const [entry] = world.chain.submit(object.submission)
    await node.caughtUp()
    await putBinary(node, entry!, object.segments)
    const download = (id: number): string =>
      JSON.stringify({ jsonrpc: '2.0', id, method: 'zgs_downloadSegment', params: [entry!.root, 0, 1024] })
    const answers = await Promise.all(Array.from({ length: 200 }, (_, id) => node.rpcText(download(id))))
    for (const [id, text] of answers.entries()) {
      expect(JSON.parse(text)).toMatchObject({ id, result: expect.stringMatching(/^.{349528}$/) })
    }
  })

  test('a client that goes away does not stop the others', async () => {
    const object = objectOf(300_000, 1)
    world.chain.submit(object.submission)
    await node.caughtUp()
    const over = new AbortController()
    const text = JSON.stringify({
      jsonrpc: '2.0',
      id: 1,
      method: 'zgs_uploadSegments',
      params: [[officialSegment(object, 0)]],
    })
    const gone = node.fetch('/', { method: 'POST', body: text, signal: over.signal })
    over.abort(new Error('gone'))
    await gone
    expect((await node.rpc('zgs_uploadSegments', [[officialSegment(object, 0)]])).result).toBe(0)
  })
})
