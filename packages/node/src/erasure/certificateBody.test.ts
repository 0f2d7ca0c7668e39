import { expect, test } from 'vitest'
import { isFailure } from '@weightless/core'
import vectors from '../../../../sim/vectors/shards.json' with { type: 'json' }
import { certificateFromBytes } from './certificateBody.ts'

const read = (text: string): object => {
  try {
    return certificateFromBytes(new TextEncoder().encode(text))
  } catch (error) {
    if (isFailure(error)) return { code: error.code, reason: error.facts['reason'] }
    throw error
  }
}

test('a certificate is read as it was written', () => {
  for (const certificate of vectors.certificates) expect(read(JSON.stringify(certificate))).toEqual(certificate)
})

test('what would be large in memory and small on the wire is not parsed', () => {
  const refused = { code: 'CERTIFICATE_INVALID', reason: 'too many values' }
  for (const many of ['{},', '[],', '0,', '"":0,']) expect(read(`[${many.repeat(300_000)}0]`)).toEqual(refused)
  expect(read('['.repeat(300_000))).toEqual(refused)
  // One below the limit is read, and is no certificate.
  expect(read(`[${'0,'.repeat(262_141)}0]`)).toMatchObject({ code: 'CERTIFICATE_INVALID', reason: expect.any(String) })
  expect(read(`[${'0,'.repeat(262_141)}0]`)).not.toEqual(refused)
})

test('what is no JSON is no certificate', () => {
  for (const text of ['', '{', 'null', '7']) expect(read(text)).toMatchObject({ code: 'CERTIFICATE_INVALID' })
})
