import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { runs } from '../../../../sim/runs.ts'
import { handOffStateOf, verdictOfCopies, verdictOfShards, type HandOffVerdict } from './handOffVerdict.ts'

const slots = fc.subarray([0, 1, 2, 3, 4, 5])

describe('shards are handed off', () => {
  test('only when each slot that is here is released to a home that signed for the same bytes, and no slot is without a home', () => {
    fc.assert(
      fc.property(slots, slots, slots, fc.integer({ min: 3, max: 6 }), (held, released, agreed, homeCount) => {
        const surplus = { kind: 'release', slots: released } as const
        const verdict = verdictOfShards({ slotCount: 6, homeCount, held, surplus, agreed: new Set(agreed) })
        const isKept = held.every((slot) => released.includes(slot) && agreed.includes(slot))
        expect(verdict).toBe(
          held.length === 0 ? 'vouched' : homeCount < 6 ? 'homeless' : isKept ? 'vouched' : 'waiting',
        )
      }),
      runs(),
    )
  })

  test.each(['nothing', 'ownMissing', 'homeLacks', 'notDurable', 'homesSilent'] as const)(
    'not while the release keeps them: %s',
    (why) => {
      const agreed = new Set([2])
      expect(verdictOfShards({ slotCount: 6, homeCount: 6, held: [2], surplus: { kind: 'keep', why }, agreed })).toBe(
        'waiting',
      )
    },
  )
})

describe('copies', () => {
  test('are handed off only when each of enough homes signs; an upload that is not whole is left for a while, and holds nothing up then', () => {
    fc.assert(
      fc.property(
        fc.subarray([1, 2, 3, 4]),
        fc.subarray([1, 2, 3, 4]),
        fc.integer({ min: 1, max: 4 }),
        fc.boolean(),
        fc.boolean(),
        (homes, vouching, copiesNeeded, isWhole, hasSettled) => {
          const state = { homes, vouching: new Set(vouching), copiesNeeded, isWhole, hasSettled }
          const verdict = verdictOfCopies(state)
          const isEnough = homes.length >= copiesNeeded
          expect(verdict === 'vouched').toBe(isEnough && homes.every((id) => vouching.includes(id)))
          if (verdict === 'unfinished') expect(!isWhole && hasSettled).toBe(true)
          if (verdict === 'homeless') expect(isWhole && !isEnough).toBe(true)
        },
      ),
      runs(),
    )
  })
})

test('a node is stuck only when nothing that is left has homes enough, and done only when nothing is left', () => {
  const verdicts = fc.array(fc.constantFrom<HandOffVerdict>('waiting', 'homeless', 'unfinished'), { maxLength: 5 })
  fc.assert(
    fc.property(verdicts, fc.boolean(), fc.boolean(), (left, isDraining, hasLooked) => {
      const state = handOffStateOf({ isDraining, hasLooked, verdicts: left })
      const expected = !isDraining
        ? 'none'
        : !hasLooked || left.includes('waiting')
          ? 'moving'
          : left.includes('homeless')
            ? 'stuck'
            : 'done'
      expect(state).toBe(expected)
    }),
    runs(),
  )
})
