import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { runs } from '../../../sim/runs.ts'
import { decodeBase64, encodeBase64 } from './base64.ts'

test('any bytes encode as Node encodes them and come back', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 1000 }), (bytes) => {
      const text = encodeBase64(bytes)
      expect(text).toBe(Buffer.from(bytes).toString('base64'))
      expect(decodeBase64(text)).toEqual(bytes)
    }),
    runs(),
  )
})

test('a text decodes only if it is the encoding of what it decodes to', () => {
  const alphabet = fc.constantFrom(...Array.from('ABab01+/=-_ \n"\\é'))
  fc.assert(
    fc.property(fc.string({ unit: alphabet, maxLength: 12 }), (text) => {
      const bytes = decodeBase64(text)
      const canonical = Buffer.from(text, 'base64')
      if (canonical.toString('base64') === text) expect(bytes).toEqual(new Uint8Array(canonical))
      else expect(bytes).toBeUndefined()
    }),
    runs(10),
  )
})
