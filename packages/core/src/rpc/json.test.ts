import { describe, expect, test } from 'vitest'
import { fail } from '../errors.ts'
import { RPC_BATCH_MAX, RPC_ID_CHARS_MAX } from '../limits.ts'
import { decodeUtf8, jsonRpcError, jsonRpcResult, parseJsonRpc } from './json.ts'

const only = (text: string) => {
  const { isBatch, calls } = parseJsonRpc(text)
  expect(isBatch).toBe(false)
  expect(calls).toHaveLength(1)
  return calls[0]!
}
const request = (id: string, rest = '') => `{"jsonrpc":"2.0","method":"zgs_getStatus"${rest},"id":${id}}`

describe('the id is echoed digit for digit', () => {
  test.each([
    '17690000000001234',
    '90071992547409931234567890',
    '9007199254740993',
    '-1',
    '1.0',
    '1e3',
    '0',
    'null',
    '"a-b"',
    '"\\u0061 \\"quoted\\\\"',
    '""',
  ])('%s', (id) => {
    expect(only(request(id))).toMatchObject({ kind: 'request', id, method: 'zgs_getStatus' })
    const answer = jsonRpcResult(id, 1)
    expect(answer).toBe(`{"jsonrpc":"2.0","result":1,"id":${id}}`)
  })

  test('wherever it stands, with any white space around it', () => {
    expect(only(`{ "id" :\t17690000000001234\r\n, "jsonrpc":"2.0","method":"m"}`)).toMatchObject({
      id: '17690000000001234',
    })
    expect(only(`\n{"jsonrpc":"2.0","id": "x" ,"method":"m"} `)).toMatchObject({ id: '"x"' })
  })

  test('not that of a deeper object, and not a string that says "id"', () => {
    const params = ',"params":[{"id":1,"x":["id",{"id":2}]},"id","\\"id\\":3"]'
    expect(only(request('17690000000001234', params))).toMatchObject({ id: '17690000000001234' })
    expect(only('{"jsonrpc":"2.0","method":"id","params":{"id":5}}')).toMatchObject({ kind: 'request', id: undefined })
  })

  test('that of the last key when it comes twice, as JSON.parse has it', () => {
    expect(only('{"id":1,"jsonrpc":"2.0","method":"m","id":2}')).toMatchObject({ id: '2' })
    expect(only('{"id":1,"jsonrpc":"2.0","method":"m","\\u0069d":3}')).toMatchObject({ id: '3' })
  })

  test('of each request in an array', () => {
    const { isBatch, calls } = parseJsonRpc(
      `[${request('1')}, 5, [{"id":9}], ${request('17690000000001234')}, {"x":{"id":3}}]`,
    )
    expect(isBatch).toBe(true)
    expect(calls.map(({ kind, id }) => [kind, id])).toEqual([
      ['request', '1'],
      ['fault', 'null'],
      ['fault', 'null'],
      ['request', '17690000000001234'],
      ['fault', 'null'],
    ])
  })
})

describe('params', () => {
  test.each([
    ['absent', '', []],
    ['null', ',"params":null', []],
    ['an array', ',"params":[1,"a"]', [1, 'a']],
    ['an object', ',"params":{"a":1}', { a: 1 }],
  ])('%s', (_, text, params) => {
    expect(only(request('1', text))).toMatchObject({ kind: 'request', params })
  })
})

describe('a body is refused', () => {
  test.each([
    ['nothing', ''],
    ['half an object', '{"id":1'],
    ['two objects', '{}{}'],
    ['a byte order mark', '\ufeff{}'],
  ])('when it is %s', (_, text) => {
    expect(() => parseJsonRpc(new TextEncoder().encode(text))).toThrow(
      expect.objectContaining({ code: 'RPC_BODY_INVALID' }),
    )
  })

  test('when it is not UTF-8', () => {
    expect(() => parseJsonRpc(Uint8Array.of(0x22, 0xff, 0x22))).toThrow(
      expect.objectContaining({ code: 'RPC_BODY_INVALID' }),
    )
    expect(decodeUtf8(Uint8Array.of(0xc0, 0x80))).toBeUndefined()
  })

  test('when the array is empty or too long', () => {
    const many = (count: number) => `[${Array(count).fill(request('1')).join(',')}]`
    expect(parseJsonRpc(many(RPC_BATCH_MAX)).calls).toHaveLength(RPC_BATCH_MAX)
    for (const text of ['[]', many(RPC_BATCH_MAX + 1)]) {
      expect(() => parseJsonRpc(text)).toThrow(expect.objectContaining({ code: 'RPC_REQUEST_INVALID' }))
    }
  })
})

describe('a request is a fault', () => {
  test.each([
    ['when it is no object', '5', 'null'],
    ['when it is text that says "id"', '"id"', 'null'],
    ['when it is null', 'null', 'null'],
    ['without a version', '{"id":7,"method":"m"}', '7'],
    ['of another version', '{"jsonrpc":"1.0","id":7,"method":"m"}', '7'],
    ['without a method', '{"jsonrpc":"2.0","id":7}', '7'],
    ['with a method that is no string', '{"jsonrpc":"2.0","id":7,"method":1}', '7'],
    ['with params that are text', request('7', ',"params":"x"'), '7'],
    ['with an id that is an object', request('{"id":1}'), 'null'],
    ['with an id that is an array', request('[1]'), 'null'],
    ['with an id that is true', request('true'), 'null'],
    ['with an id beyond its limit', request('1'.repeat(RPC_ID_CHARS_MAX + 1)), 'null'],
    ['without version and id', '{"method":"m"}', 'null'],
  ])('%s', (_, text, id) => {
    expect(only(text)).toMatchObject({ kind: 'fault', id, failure: { code: 'RPC_REQUEST_INVALID' } })
  })
})

test('an answer always has its result key', () => {
  expect(jsonRpcResult('1', undefined)).toBe('{"jsonrpc":"2.0","result":null,"id":1}')
  expect(jsonRpcResult('1', null)).toBe('{"jsonrpc":"2.0","result":null,"id":1}')
})

test('an error answer has its code, message and data', () => {
  const error = { code: -32602, message: 'Invalid params: root', data: 'already uploaded and finalized' }
  expect(jsonRpcError('1', error)).toBe(
    '{"jsonrpc":"2.0","error":{"code":-32602,"message":"Invalid params: root","data":"already uploaded and finalized"},"id":1}',
  )
  expect(fail('RPC_REQUEST_INVALID').blame).toBe('peer')
})
