import { describe, expect, test } from 'vitest'
import { measureChurn, type ChurnEvent, type Policy } from './churn.ts'

const policies: readonly (readonly [string, Policy])[] = [
  ['three copies', { copies: 3 }],
  ['4+2', { k: 4, m: 2 }],
  ['10+4', { k: 10, m: 4 }],
]
const at = { memberCount: 20, domainCount: 20, objectCount: 300 }

describe('a change of the membership', () => {
  test.each(policies)('moves at most half as much again as it must: %s', (_, policy) => {
    // Where 14 slots meet 20 members a weight changes hardly any load: see docs/bench/churn.md.
    const isCrowded = 'k' in policy && policy.k === 10
    const events: readonly ChurnEvent[] = [
      'join',
      'leave',
      ...(isCrowded ? [] : (['weight doubled', 'weight halved'] as const)),
    ]
    for (const event of events) {
      const { moved, ideal } = measureChurn({ ...at, policy, event, placing: 'ours' })
      expect(ideal, event).toBeGreaterThan(20)
      expect(moved, event).toBeGreaterThanOrEqual(ideal)
      expect(moved / ideal, event).toBeLessThan(1.5)
    }
  })

  test('gives a member that joins its share by weight, and takes from one that leaves all that it had', () => {
    // Weights 1 to 4 over 20 members are 50; the newcomer has 2 of 52, the leaver 3 of 50.
    const join = measureChurn({ ...at, objectCount: 1500, policy: { copies: 3 }, event: 'join', placing: 'ours' })
    expect(join.ideal / join.stored).toBeCloseTo(2 / 52, 2)
    const leave = measureChurn({ ...at, objectCount: 1500, policy: { copies: 3 }, event: 'leave', placing: 'ours' })
    expect(leave.ideal / leave.stored).toBeCloseTo(3 / 50, 2)
    expect(leave.stored).toBe(4500)
  })

  test('moves more where slots are placed one after the other', () => {
    for (const event of ['leave', 'weight doubled'] as const) {
      const naive = measureChurn({ ...at, policy: { k: 10, m: 4 }, event, placing: 'slot after slot' })
      const ours = measureChurn({ ...at, policy: { k: 10, m: 4 }, event, placing: 'ours' })
      expect(naive.moved / naive.stored, event).toBeGreaterThan((1.2 * ours.moved) / ours.stored)
    }
  })
})
