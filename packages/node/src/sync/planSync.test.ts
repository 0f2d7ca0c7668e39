import { describe, expect, test } from 'vitest'
import { domainOf, type Address, type Member, type Root } from '@weightless/core'
import { homeSlot, missingSpans, planSync, retryAtMs, SYNC_JOBS_MAX, type Missing } from './planSync.ts'

const nowMs = 1_000_000
const missing = (seq: number, more: Partial<Missing> = {}): Missing => ({
  seq,
  why: 'home',
  missingBytes: 1,
  heldCount: 0,
  dueMs: nowMs,
  attempts: 0,
  ...more,
})

describe('what is fetched next', () => {
  test('no more at once than the limit, those that waited longest first', () => {
    const all = Array.from({ length: 10 }, (_, i) => missing(i, { dueMs: nowMs - i }))
    expect(planSync({ missing: all, running: new Set(), nowMs }).start).toEqual([9, 8, 7, 6])
    expect(planSync({ missing: all, running: new Set([9, 8, 7]), nowMs }).start).toEqual([6])
    expect(planSync({ missing: all, running: new Set([1, 2, 3, 4]), nowMs }).start).toHaveLength(0)
    expect(SYNC_JOBS_MAX).toBe(4)
  })

  test('what an operator asked for comes first', () => {
    const all = [missing(1, { dueMs: nowMs - 9 }), missing(2, { why: 'asked' })]
    expect(planSync({ missing: all, running: new Set(), nowMs }).start).toEqual([2, 1])
  })

  test('nothing before it is due; then it says when to look again', () => {
    const all = [missing(1, { dueMs: nowMs + 1 }), missing(2, { dueMs: nowMs }), missing(3, { dueMs: nowMs + 500 })]
    expect(planSync({ missing: all, running: new Set(), nowMs })).toEqual({ start: [2], wakeMs: nowMs + 1 })
    expect(planSync({ missing: [], running: new Set(), nowMs })).toEqual({ start: [], wakeMs: Infinity })
  })

  test('what nobody has is asked for at a falling pace, hourly at last', () => {
    expect([1, 2, 3, 20, 2000].map((attempts) => retryAtMs(attempts, 0))).toEqual([
      2_000, 4_000, 8_000, 3_600_000, 3_600_000,
    ])
  })
})

describe('runs of missing segments', () => {
  const spans = (segmentCount: number, wants: (index: number) => boolean): unknown[] => [
    ...missingSpans({ segmentCount }, wants),
  ]

  test('are cut at windows of sixteen and never hold a segment that is here', () => {
    expect(spans(35, () => true)).toEqual([
      { from: 0, count: 16 },
      { from: 16, count: 16 },
      { from: 32, count: 3 },
    ])
    expect(spans(20, (index) => index !== 3 && index < 17)).toEqual([
      { from: 0, count: 3 },
      { from: 4, count: 12 },
      { from: 16, count: 1 },
    ])
    expect(spans(20, () => false)).toEqual([])
    expect(spans(8, (index) => index % 4 === 1)).toEqual([
      { from: 1, count: 1 },
      { from: 5, count: 1 },
    ])
  })
})

describe('whose entry it is', () => {
  const address = (i: number): Address => `0x${String(i).padStart(40, '0')}` as Address
  const members: Member[] = Array.from({ length: 6 }, (_, i) => ({
    id: i + 1,
    signer: address(i),
    endpoint: `http://n${i}.test`,
    domain: domainOf(`n${i}`),
    weight: 1n,
  }))
  const entry = { root: `0x${'ab'.repeat(32)}` as Root }

  test('three of six nodes are homes, each of a slot of its own; a node without a key is none', () => {
    const slots = members.map(({ signer }) => homeSlot(entry, { signer, replicas: 3 }, members))
    expect(new Set(slots.filter((slot) => slot !== undefined))).toEqual(new Set([0, 1, 2]))
    expect(slots.filter((slot) => slot === undefined)).toHaveLength(3)
    expect(homeSlot(entry, { signer: undefined, replicas: 3 }, members)).toBeUndefined()
    expect(homeSlot(entry, { signer: address(9), replicas: 3 }, members)).toBeUndefined()
  })
})
