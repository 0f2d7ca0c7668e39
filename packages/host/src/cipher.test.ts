import { expect, test } from 'vitest'
import fc from 'fast-check'
import { createEncryptor, ENCRYPTION_RANDOM_BYTES } from '@weightless/core'
import { aesCtr } from './cipher.ts'

test("the machine's AES-CTR and core's own give the same bytes at every offset", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.uint8Array({ minLength: ENCRYPTION_RANDOM_BYTES, maxLength: ENCRYPTION_RANDOM_BYTES }),
      fc.uint8Array({ maxLength: 100 }),
      fc.nat(10_000),
      (key, random, data, offset) => {
        const own = createEncryptor({ type: 'aes256', key }, random)
        const fast = createEncryptor({ type: 'aes256', key }, random, { ctr: aesCtr })
        expect([...fast.apply(data, offset)]).toEqual([...own.apply(data, offset)])
      },
    ),
  )
})
