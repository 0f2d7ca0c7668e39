import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { runs } from '../../../../sim/runs.ts'
import { encodeBase64 } from '../base64.ts'
import { scanUploadBody } from './uploadBody.ts'

type Parsed = { readonly value: unknown } | 'not JSON'

function parse(text: string): Parsed {
  try {
    return { value: JSON.parse(text) as unknown }
  } catch {
    return 'not JSON'
  }
}

/** Puts the payloads back: a number under "data" in the parsed rest is always a placeholder, or the scanner would have given up. */
function restore(value: unknown, payloads: readonly Uint8Array[]): unknown {
  if (Array.isArray(value)) return value.map((item) => restore(item, payloads))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) =>
      name === 'data' ? [name, encodeBase64(payloads[item as number]!)] : [name, restore(item, payloads)],
    ),
  )
}

/** Returns whether the fast path was taken. */
function checkBody(body: Uint8Array): boolean {
  let text: string | undefined
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body)
  } catch {
    text = undefined
  }
  const scan = scanUploadBody(body)
  if (scan === undefined) return false
  expect(text).toBeDefined()
  const rest = parse(scan.rest)
  const whole = parse(text!)
  if (rest === 'not JSON' || whole === 'not JSON') expect(rest).toEqual(whole)
  else expect(JSON.stringify(restore(rest.value, scan.payloads))).toBe(JSON.stringify(whole.value))
  return true
}

// Pieces that meet: the words of the format, their look-alikes inside strings, escapes, and broken structure.
const piece = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('{', '}', '[', ']', ',', ':', '"', '\\', ' ', '\n') },
  {
    weight: 3,
    arbitrary: fc.constantFrom('"data"', '"data":', '"data":"', 'data', '"d\\u0061ta"', '"index":1', '{"data":"Zm9v"}'),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      'Zm9v',
      '"Zm9v"',
      '"Zg=="',
      'Zm9',
      '""',
      '\\"',
      '\\\\',
      '\\u0022',
      'é',
      '\u0000',
      '1',
      '-',
      'e5',
      '.5',
      'null',
      'true',
    ),
  },
)

test('pieces of JSON in any order: either the scanner gives up or nothing but the payloads differs', () => {
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 25 }), (pieces) => {
      checkBody(new TextEncoder().encode(pieces.join('')))
    }),
    runs(100),
  )
})

test('any bytes: either the scanner gives up or nothing but the payloads differs', () => {
  const byte = fc.oneof(fc.nat(255), fc.constantFrom(...new TextEncoder().encode('{}[]":,\\daatZm9v')))
  fc.assert(
    fc.property(fc.array(byte, { maxLength: 40 }), (bytes) => {
      checkBody(Uint8Array.from(bytes))
    }),
    runs(50),
  )
})

test('valid JSON with keys and strings that look like payloads: the same', () => {
  const text = fc.oneof(
    fc.uint8Array({ maxLength: 9 }).map(encodeBase64),
    fc.constantFrom('data', '"data":"', '{"data":"Zm9v"}', '\\', '"', 'Zm9v"', 'é'),
    fc.string(),
  )
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof({ depthSize: 'small' }, text, fc.constantFrom(null, true, 0, 1.5, -1), tie('list'), tie('object')),
    list: fc.array(tie('value'), { maxLength: 4 }),
    object: fc.dictionary(
      fc.oneof(fc.constantFrom('data', 'Data', 'da', 'data\\', '"data"'), fc.string()),
      tie('value'),
      { maxKeys: 4 },
    ),
  }))
  let fastCount = 0
  fc.assert(
    fc.property(value, fc.constantFrom('', ' ', '\t'), (value, indent) => {
      if (checkBody(new TextEncoder().encode(JSON.stringify(value, null, indent)))) fastCount++
    }),
    runs(20),
  )
  expect(fastCount).toBeGreaterThan(0)
})

test('one damaged byte in an upload: the same', () => {
  const body = new TextEncoder().encode(
    '{"jsonrpc":"2.0","method":"m","params":[[{"root":"0x00","data":"Zm9vYmFy","index":0},{"data":"Zg==","note":"a\\"data\\":"}],3],"id":1}',
  )
  expect(checkBody(body)).toBe(true)
  fc.assert(
    fc.property(
      fc.nat(body.length - 1),
      fc.oneof(fc.nat(255), fc.constantFrom(...new TextEncoder().encode('"\\{}[],:0'))),
      (at, byte) => {
        const damaged = body.slice()
        damaged[at] = byte
        checkBody(damaged)
      },
    ),
    runs(50),
  )
})
