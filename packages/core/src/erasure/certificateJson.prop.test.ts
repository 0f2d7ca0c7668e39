import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { runs } from '../../../../sim/runs.ts'
import vectors from '../../../../sim/vectors/shards.json' with { type: 'json' }
import { isFailure } from '../errors.ts'
import { certificateFromJson } from './certificateJson.ts'

const [coded] = vectors.certificates

test('no JSON value makes the parser throw anything but its own errors, and what it reads it reads again', () => {
  const field = fc.constantFrom(...Object.keys(coded!))
  const changed = fc.tuple(field, fc.jsonValue()).map(([name, value]) => ({ ...coded, [name]: value }))
  fc.assert(
    fc.property(fc.oneof(changed, fc.jsonValue()), (value) => {
      try {
        const read = certificateFromJson(value)
        expect(certificateFromJson(JSON.parse(JSON.stringify(read)))).toEqual(read)
      } catch (error) {
        if (!isFailure(error, 'CERTIFICATE_INVALID') && !isFailure(error, 'RECEIPT_INVALID')) throw error
      }
    }),
    runs(5),
  )
})
