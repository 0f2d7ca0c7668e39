import { describe, expect, test } from 'vitest'
import { domainOf, type Address, type Member } from '@weightless/core'
import { isHeartbeatDue, markerRank, silentMembers, watchOn, type Watch } from './liveness.ts'

const graceS = 30
const members: readonly Member[] = Array.from({ length: 6 }, (_, i) => ({
  id: i + 1,
  signer: `0x${String(i + 1).repeat(40)}` as Address,
  endpoint: `http://node-${i}.test`,
  domain: domainOf(`${i}`),
  weight: 100n,
}))

describe('a heartbeat', () => {
  test.each([
    ['is not due half a grace after the last one', 15, undefined, false],
    ['is due later than that', 16, undefined, true],
    ['is not due again at the next block of a busy chain when it failed', 40, 37, false],
    ['is due again a moment after it failed', 40, 36, true],
    ['is due when the last try was on a chain that went back', 40, 41, true],
  ])('%s', (_, headTimeS, lastTryS, isDue) => {
    expect(isHeartbeatDue({ headTimeS, lastHeartbeatS: 0, lastTryS, graceS })).toBe(isDue)
  })
})

describe('a silent member', () => {
  const heartbeats = new Map(members.map(({ id }) => [id, 1000]))
  const names = (watch: Watch, told: ReadonlyMap<number, number> = heartbeats): readonly number[] =>
    silentMembers({ watch, graceS, members, heartbeats: told }).map(({ id }) => id)

  test('has not spoken for more than two graces, by the clock of the chain', () => {
    expect(names({ sinceS: 0, lastS: 1060 })).toEqual([])
    expect(names({ sinceS: 0, lastS: 1061 })).toEqual([1, 2, 3, 4, 5, 6])
    expect(names({ sinceS: 0, lastS: 1061 }, new Map(heartbeats).set(2, 1001))).toEqual([1, 3, 4, 5, 6])
  })

  test('is none of which the registry was not asked yet', () => {
    expect(names({ sinceS: 0, lastS: 9999 }, new Map([[3, 1000]]))).toEqual([3])
  })

  test('is none for a node that has not followed for a grace itself', () => {
    expect(names({ sinceS: 5000, lastS: 5029 })).toEqual([])
    expect(names({ sinceS: 5000, lastS: 5030 })).toHaveLength(6)
  })

  test('is none after a night without blocks: everybody gets a grace to speak', () => {
    let watch = watchOn(undefined, 1000, graceS)
    for (const timeS of [1030, 1060, 1090]) watch = watchOn(watch, timeS, graceS)
    expect(watch).toEqual({ sinceS: 1000, lastS: 1090 })
    expect(watchOn(watch, 1150, graceS)).toEqual({ sinceS: 1000, lastS: 1150 })
    const woken = watchOn(watch, 30_000, graceS)
    expect(names(woken)).toEqual([])
    expect(names(watchOn(woken, 30_030, graceS))).toHaveLength(6)
  })

  test('a chain that went back makes nobody silent, and no watch longer', () => {
    const watch = watchOn(watchOn(undefined, 1000, graceS), 990, graceS)
    expect(watch).toEqual({ sinceS: 1000, lastS: 1000 })
  })
})

describe('who marks a member', () => {
  test('is decided alike by all, one after the other, and never the member itself', () => {
    for (const silent of members) {
      const at = { id: silent.id, version: 7 }
      const ranks = members.filter((one) => one !== silent).map((self) => markerRank(at, self, members))
      expect(new Set(ranks)).toEqual(new Set([0, 1, 2, 3, 4]))
      expect(markerRank(at, silent, members)).toBeUndefined()
    }
    expect(markerRank({ id: 1, version: 7 }, { id: 99 }, members)).toBeUndefined()
  })

  test('changes with the member and the version, so that no node bears it all', () => {
    const firsts = Array.from({ length: 40 }, (_, version) =>
      members.slice(1).find((self) => markerRank({ id: 1, version }, self, members) === 0),
    )
    expect(new Set(firsts).size).toBe(5)
  })

  test('a member without weight comes last, and can do it', () => {
    const light = members.map((member) => (member.id === 4 ? { ...member, weight: 0n } : member))
    for (let version = 0; version < 10; version++) expect(markerRank({ id: 1, version }, { id: 4 }, light)).toBe(4)
  })
})
