import { createFail } from '@weightless/core'
import { expect, test } from 'vitest'
import { reasonOf } from '../../../sim/fakes/outcome.ts'
import { webClock } from './defaults.ts'
import { jittered, retry } from './retry.ts'

const fail = createFail({
  AGAIN: { retryable: true, blame: 'none', next: 'n' },
  NEVER: { retryable: false, blame: 'none', next: 'n' },
})
const random = { bytes: (sizeBytes: number) => new Uint8Array(sizeBytes).fill(255) }

function deps() {
  const slept: number[] = []
  return { slept, random, clock: { ...webClock, sleep: async (ms: number) => void slept.push(ms) } }
}
const options = { attemptsMax: 5, delayMsMin: 10, delayMsMax: 35 }

test('what may succeed later is tried again, with pauses that double up to their limit', async () => {
  const all = deps()
  expect(await retry(async (attempt) => (attempt < 5 ? Promise.reject(fail('AGAIN')) : attempt), options, all)).toBe(5)
  expect(all.slept).toEqual([10, 20, 35, 35])
})

test('the last error comes out when the attempts are used up', async () => {
  let attempts = 0
  const error = await reasonOf(retry(() => Promise.reject(fail('AGAIN', { attempt: ++attempts })), options, deps()))
  expect(error).toMatchObject({ code: 'AGAIN', facts: { attempt: 5 } })
})

test('what cannot succeed is not tried again', async () => {
  let attempts = 0
  await reasonOf(retry(() => (attempts++, Promise.reject(fail('NEVER'))), options, deps()))
  await reasonOf(retry(() => (attempts++, Promise.reject(new Error('a bug'))), options, deps()))
  expect(attempts).toBe(2)
})

test('an abort ends it with the reason, during a try or a pause', async () => {
  const controller = new AbortController()
  const inPause = reasonOf(
    retry(
      () => Promise.reject(fail('AGAIN')),
      { ...options, delayMsMin: 60_000, delayMsMax: 60_000, signal: controller.signal },
      { clock: webClock, random },
    ),
  )
  const inTry = reasonOf(
    retry(
      async () => (controller.abort('stop'), Promise.reject(fail('AGAIN'))),
      { ...options, signal: controller.signal },
      deps(),
    ),
  )
  expect(await Promise.all([inPause, inTry])).toEqual(['stop', 'stop'])
})

test('jitter takes away at most half', () => {
  expect(jittered(100, { bytes: () => Uint8Array.of(0, 0) })).toBe(50)
  expect(jittered(100, random)).toBe(100)
})

test('a peer that asks for patience gets it, within a limit', async () => {
  const all = deps()
  const asked = [7_000, 600_000, undefined]
  await reasonOf(
    retry(
      (attempt) => Promise.reject(fail('AGAIN', { retryAfterMs: asked[attempt - 1] })),
      { ...options, attemptsMax: 4 },
      all,
    ),
  )
  expect(all.slept).toEqual([7_000, 30_000, 35])
})
