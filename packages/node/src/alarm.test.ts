import { expect, test } from 'vitest'
import { createTestClock } from '../test/testClock.ts'
import { createAlarm } from './alarm.ts'

test('whoever sleeps is woken by the alarm, by the time, or by the end', async () => {
  const clock = createTestClock(1)
  const alarm = createAlarm(clock)
  const over = new AbortController()
  const rung = alarm.sleep(Infinity, { signal: over.signal })
  alarm.ring()
  await rung
  const timed = alarm.sleep(60_000, { signal: over.signal })
  clock.jump(60_000)
  await timed
  const ended = alarm.sleep(Infinity, { signal: over.signal })
  over.abort(new Error('over'))
  await expect(ended).rejects.toThrow('over')
  await expect(alarm.sleep(0, { signal: over.signal })).rejects.toThrow('over')
})
