import { describe, expect, test } from 'vitest'
import type { Root } from '@weightless/core'
import { saysMore, type Certified, type Places } from './certificates.ts'

/** One slot each, in this order. */
const heldBy = (...ids: readonly number[]): Certified['holders'] => ids.map((id, slot) => ({ id, slots: [slot] }))
const certified = (change: Partial<Certified>, m = 2, seq = 7): Certified => ({
  parity: { root: `0x${'11'.repeat(32)}` as Root, seq, code: { k: 4, m } },
  slots: [0, 1, 2, 3, 4, 5],
  proven: [4, 5],
  isDurable: true,
  lossesSurvived: 2,
  holders: heldBy(1, 2, 3, 4, 5, 6),
  ...change,
})
/** Member 1 is the home of slot 0, and so on. */
const places: Places = { isMember: (id) => id <= 6, isHome: (id, slot) => id === slot + 1 }

describe('of two certificates of one entry', () => {
  const kept = certified({})
  test.each<[string, 'yes' | 'no', Certified]>([
    ['a larger parity that is proven and durable', 'yes', certified({}, 3, 9)],
    ['a larger parity that is proven and not durable yet', 'no', certified({ isDurable: false }, 200, 9)],
    ['a larger parity that is not proven', 'no', certified({ proven: [] }, 200, 9)],
    ['the same code submitted earlier', 'yes', certified({}, 2, 6)],
    ['the same code submitted later', 'no', certified({ lossesSurvived: 9 }, 2, 8)],
    ['one that survives more', 'yes', certified({ lossesSurvived: 3 })],
    ['one that survives fewer', 'no', certified({ lossesSurvived: 1 })],
    ['the same again', 'no', certified({})],
    ['one whose holders have left', 'no', certified({ holders: heldBy(1, 2, 3, 4, 5, 7) })],
    ['copies alone', 'no', certified({ parity: null, proven: [], isDurable: true })],
  ])('%s takes the place of one that is proven and durable: %s', (_, takes, one) => {
    expect(saysMore(one, kept, places) ? 'yes' : 'no').toBe(takes)
  })

  test('one that names more members takes the place of one whose holders have left', () => {
    const left = certified({ holders: heldBy(1, 2, 3, 4, 7, 8) })
    expect([saysMore(kept, left, places), saysMore(left, kept, places)]).toEqual([true, false])
  })

  test('a member that has taken over a slot of one that has left takes the place of one that names both alike', () => {
    const before = certified({ holders: heldBy(1, 2, 3, 4, 5, 7) })
    const after = certified({ holders: [...heldBy(1, 2, 3, 4), { id: 5, slots: [4, 5] }, { id: 7, slots: [5] }] })
    expect([saysMore(after, before, places), saysMore(before, after, places)]).toEqual([true, false])
  })

  test('a home that is named for its own slot takes the place of the same member named for one that it has given up', () => {
    const before = certified({ holders: [...heldBy(1, 2, 3, 4, 6), { id: 5, slots: [5] }] })
    // All six slots are named either way: 6 for slot 4, which is not its own, and 5 for slot 5.
    const after = certified({ holders: [...heldBy(1, 2, 3, 4), { id: 5, slots: [4] }, { id: 6, slots: [5] }] })
    expect([saysMore(after, before, places), saysMore(before, after, places)]).toEqual([true, false])
  })

  test('any is more than none', () => {
    expect(saysMore(certified({ proven: [], isDurable: false }), undefined, places)).toBe(true)
  })
})
