import { describe, expect, test } from 'vitest'
import { domainOf, type Address, type Member } from '@weightless/core'
import { createMemoryIndexStore } from '../../../../sim/memoryIndex.ts'
import { createChance } from '../../../../sim/chance.ts'
import { numberKey } from './keys.ts'
import {
  createMembershipLog,
  DRAINING_MAX,
  encodeMemberChange,
  readMemberChanges,
  type MemberChange,
} from './membership.ts'

function memberOf(id: number, endpoint = `http://node-${id}.test`): Member {
  const signer = `0x${id.toString(16).padStart(40, '0')}` as Address
  return { id, signer, endpoint, domain: domainOf(`rack ${id}`), weight: 1000n }
}

let version = 0
function change(member: Member, kind: 'joins' | 'drains' | 'isStale', blockNumber = 1): MemberChange {
  version += 1
  return {
    version,
    blockNumber,
    id: member.id,
    signer: member.signer,
    member: kind === 'joins' ? member : undefined,
    draining: kind === 'drains' ? member : undefined,
  }
}

describe('members that drain', () => {
  test('are known with their endpoint, newest first, and those that are stale are not among them', () => {
    const log = createMembershipLog([1, 2, 3].map((id) => change(memberOf(id), 'joins')))
    log.append([change(memberOf(1), 'drains'), change(memberOf(2), 'isStale'), change(memberOf(3), 'drains')])
    expect(log.draining()).toEqual([memberOf(3), memberOf(1)])
    expect(log.current().members).toEqual([])
  })

  test('drain no more when they are back, under the same key or at the same address', () => {
    const log = createMembershipLog([1, 2, 3].map((id) => change(memberOf(id), 'drains')))
    log.append([change({ ...memberOf(1), id: 7 }, 'joins'), change(memberOf(8, memberOf(2).endpoint), 'joins')])
    expect(log.draining()).toEqual([memberOf(3)])
  })

  test('do not drain on a chain that took it back', () => {
    const log = createMembershipLog([change(memberOf(1), 'joins', 3), change(memberOf(1), 'drains', 5)])
    expect(log.draining()).toEqual([memberOf(1)])
    log.rollBack(4)
    expect(log.draining()).toEqual([])
    expect(log.current().members).toEqual([memberOf(1)])
    log.append([change(memberOf(1), 'drains', 5)])
    log.rollBack(2)
    expect(log.draining()).toEqual([])
  })

  test('are at most so many, the newest', () => {
    const ids = Array.from({ length: DRAINING_MAX + 2 }, (_, i) => i + 1)
    const log = createMembershipLog(ids.map((id) => change(memberOf(id), 'drains')))
    expect(log.draining().map(({ id }) => id)).toEqual(ids.slice(2).reverse())
  })

  test('are read from the index again, also from rows that do not say who drains', async () => {
    const index = createMemoryIndexStore(createChance(1)).open()
    const changes = [change(memberOf(1), 'joins'), change(memberOf(1), 'drains'), change(memberOf(2), 'isStale')]
    const rows = changes.map((one) => ({ key: numberKey('member', one.version), value: encodeMemberChange(one) }))
    await index.transaction(rows, { durability: 'written' })
    expect(readMemberChanges(index)).toEqual(changes)
    const { draining: _, ...old } = changes[1]!
    const value = new TextEncoder().encode(JSON.stringify(old))
    await index.transaction([{ key: numberKey('member', old.version), value }], { durability: 'written' })
    expect(createMembershipLog(readMemberChanges(index)).draining()).toEqual([])
  })
})
