import { describe, expect, test } from 'vitest'
import { encodeBase64 } from '../base64.ts'
import { equal } from '../bytes.ts'
import { JSON_TEXT_BYTES_MAX } from '../limits.ts'
import { openUploadBody, scanUploadBody } from './uploadBody.ts'

const bytesOf = (text: string) => new TextEncoder().encode(text)
const segment = new Uint8Array(262_144).map((_, i) => (i * 7 + 3) & 0xff)
const base64 = encodeBase64(segment)
const upload = (data: string) =>
  `{"jsonrpc":"2.0","method":"zgs_uploadSegmentsByTxSeq","params":[[{"root":"0x00","data":${data},"index":0,"proof":{"lemma":["0x01"],"path":[]},"fileSize":600000}],3],"id":17690000000001234}`

test('the payload of an official client is cut out and the rest parses as before', () => {
  const scan = scanUploadBody(bytesOf(upload(`"${base64}"`)))!
  expect(scan.payloads).toHaveLength(1)
  expect(equal(scan.payloads[0]!, segment)).toBe(true)
  expect(scan.rest).toBe(upload(' 0 '))
})

test('several payloads keep their order and their places', () => {
  const text = `{"params":[[{"data":"Zg==","index":1},{"index":2,"data" : "Zm9v"}],{"data":""}]}`
  const scan = scanUploadBody(bytesOf(text))!
  expect(scan.payloads.map((payload) => new TextDecoder().decode(payload))).toEqual(['f', 'foo', ''])
  expect(JSON.parse(scan.rest)).toEqual({
    params: [
      [
        { data: 0, index: 1 },
        { index: 2, data: 1 },
      ],
      { data: 2 },
    ],
  })
})

test('a body without payloads is left alone', () => {
  expect(scanUploadBody(bytesOf('{"method":"zgs_getStatus"}'))).toEqual({
    rest: '{"method":"zgs_getStatus"}',
    payloads: [],
  })
})

test('the text "data": inside another string is no payload', () => {
  const text = JSON.stringify({ note: '"data":"Zm9v"', list: ['data', 'Zm9v', '\\"data\\":"'], data: 'Zg==' })
  const scan = scanUploadBody(bytesOf(text))!
  expect(scan.payloads).toEqual([bytesOf('f')])
  expect(JSON.parse(scan.rest)).toEqual({ ...(JSON.parse(text) as object), data: 0 })
})

describe('the scanner gives up', () => {
  test.each([
    ['on an escape in the payload', upload('"Zm9v\\/"')],
    ['on bytes that are no base64', upload('"Zm9é"')],
    ['on a payload of broken length', upload('"Zm9"')],
    ['on control characters in the payload', upload('"Zm9v\n\n\n\n"')],
    ['on data that is a number', upload('5')],
    ['on data that is an object', upload('{"a":1}')],
    ['on data that is an array', upload('["Zm9v"]')],
    ['on a payload without end', '{"data":"Zm9v'],
    ['on a string without end', '{"a":"Zm9v'],
    ['on a string that ends in an escaped quote', '{"a":"Zm9v\\"'],
    ['on a key with an escape', '{"d\\u0061ta":"Zm9v"}'],
    ['on a key without a colon', '{"data" "Zm9v"}'],
    ['on a key without a value', '{"data"'],
    ['on nesting that no client sends', `${'['.repeat(33)}${']'.repeat(33)}`],
  ])('%s', (_, text) => {
    expect(scanUploadBody(bytesOf(text))).toBeUndefined()
  })

  test('on bytes that are no UTF-8', () => {
    expect(scanUploadBody(Uint8Array.of(0x22, 0xff, 0x22))).toBeUndefined()
  })
})

test('stray characters behind a payload cannot join its placeholder', () => {
  for (const stray of ['5', '.5', 'e5', '-']) {
    const { rest } = scanUploadBody(bytesOf(`{"data":"Zm9v"${stray}}`))!
    expect(() => JSON.parse(rest)).toThrow(SyntaxError)
  }
})

describe('an upload body', () => {
  const dataIn = (body: ReturnType<typeof openUploadBody>): unknown => {
    const [call] = body.request.calls
    if (call?.kind !== 'request') throw new Error('no request')
    return ((call.params as unknown[])[0] as { data: unknown }[])[0]!.data
  }

  test('gives the same bytes on the fast path and on the slow one', () => {
    const fast = openUploadBody(bytesOf(upload(`"${base64}"`)))
    const slow = openUploadBody(bytesOf(upload(`"${base64.replaceAll('/', '\\/')}"`)))
    expect(typeof dataIn(fast)).toBe('number')
    expect(typeof dataIn(slow)).toBe('string')
    expect(equal(fast.dataOf(dataIn(fast))!, segment)).toBe(true)
    expect(equal(slow.dataOf(dataIn(slow))!, segment)).toBe(true)
    for (const body of [fast, slow]) expect(body.request.calls[0]).toMatchObject({ id: '17690000000001234' })
  })

  test('has no bytes for what is no base64 string', () => {
    for (const data of ['5', 'null', '[1]', '"Zm9"', '"?"', '{}']) {
      const body = openUploadBody(bytesOf(upload(data)))
      expect(body.dataOf(dataIn(body))).toBeUndefined()
    }
    const fast = openUploadBody(bytesOf(upload('"Zm9v"')))
    for (const other of ['Zm9v', undefined, null, 1, -1, 0.5]) expect(fast.dataOf(other)).toBeUndefined()
  })

  test('is parsed as long as little is left beside its payloads, and refused unparsed otherwise', () => {
    const many = Array.from({ length: 40 }, () => ({ data: base64, index: 0 }))
    const large = openUploadBody(bytesOf(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'm', params: [many] })))
    expect(large.request.calls[0]).toMatchObject({ kind: 'request', id: '1' })
    for (const text of [
      '['.repeat(JSON_TEXT_BYTES_MAX + 1),
      `[${'{},'.repeat(JSON_TEXT_BYTES_MAX / 3)}{}]`,
      `{"a":"${'x'.repeat(JSON_TEXT_BYTES_MAX)}"}`,
      `"${'x'.repeat(JSON_TEXT_BYTES_MAX)}"`,
      JSON.stringify({ params: [...many, { data: `${base64}?` }] }),
    ]) {
      expect(() => openUploadBody(bytesOf(text))).toThrow(expect.objectContaining({ code: 'RPC_TEXT_TOO_LARGE' }))
      expect(scanUploadBody(bytesOf(text))).toBeUndefined()
    }
  })

  test('is refused as any other body', () => {
    for (const text of ['{"data":"Zm9v"', '{"data":"Zm9v"}}', 'x']) {
      expect(() => openUploadBody(bytesOf(text))).toThrow(expect.objectContaining({ code: 'RPC_BODY_INVALID' }))
    }
  })
})
