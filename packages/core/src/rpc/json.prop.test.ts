import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { runs } from '../../../../sim/runs.ts'
import { isFailure } from '../errors.ts'
import { parseJsonRpc } from './json.ts'

test('the echoed id means what JSON.parse reads, in any request', () => {
  const id = fc.oneof(
    fc.string({ maxLength: 20 }),
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.constant(null),
  )
  const extra = fc.dictionary(fc.string(), fc.jsonValue(), { maxKeys: 4 })
  fc.assert(
    fc.property(extra, id, fc.array(fc.jsonValue()), fc.constantFrom('', ' ', '  '), (more, id, params, indent) => {
      const value = { ...more, jsonrpc: '2.0', method: 'm', params, id }
      const { calls } = parseJsonRpc(JSON.stringify(value, null, indent))
      const [call] = calls
      expect(call!.kind).toBe('request')
      expect(JSON.parse(call!.id!)).toEqual(JSON.parse(JSON.stringify(id)))
      expect(call).toMatchObject({ params: JSON.parse(JSON.stringify(params)) })
    }),
    runs(5),
  )
})

test('no body makes the parser throw anything but its own errors', () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.json(), fc.string(), fc.string({ unit: fc.constantFrom(...Array.from('{}[]",:\\1id ')) })),
      (text) => {
        try {
          parseJsonRpc(new TextEncoder().encode(text))
        } catch (error) {
          expect(isFailure(error, 'RPC_BODY_INVALID') || isFailure(error, 'RPC_REQUEST_INVALID')).toBe(true)
        }
      },
    ),
    runs(20),
  )
})
