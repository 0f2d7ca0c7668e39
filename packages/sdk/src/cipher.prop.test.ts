import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { runs } from '../../../sim/runs.ts'
import { content } from '../../../sim/fakes/network.ts'
import { encryptedSource, openEncrypted } from './cipher.ts'
import { webRandom } from './defaults.ts'

test('any part of an encrypted source is that part of header and ciphertext, at every reading, and opens to the plain bytes', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 3_000 }),
      fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 6 }),
      async (sizeBytes, cuts) => {
        const plain = content(sizeBytes, sizeBytes)
        const key = content(32, 9)
        const source = encryptedSource(
          { sizeBytes, read: async (start, end) => plain.subarray(start, end), dispose: async () => undefined },
          { type: 'aes256', key },
          { random: webRandom },
        )
        const whole = await source.read(0, source.sizeBytes, {})
        expect(whole.length).toBe(source.sizeBytes)
        for (const [a, b] of cuts) {
          const [start, end] = [a % source.sizeBytes, b % (source.sizeBytes + 1)].sort((x, y) => x - y) as [
            number,
            number,
          ]
          expect(Buffer.from(await source.read(start, end, {})).equals(Buffer.from(whole.subarray(start, end)))).toBe(
            true,
          )
        }
        const opened = await openEncrypted(source, { symmetricKey: key }, {}, {})
        expect(Buffer.from(opened.decrypt(whole.subarray(opened.headerBytes), 0)).equals(Buffer.from(plain))).toBe(true)
      },
    ),
    runs(),
  )
})
