import { expect, test } from 'vitest'
import { leaveTimeOf } from './leaving.ts'

test('the registry says when a member may leave, and nothing else does', () => {
  expect(leaveTimeOf('LeavesLater(3, 1790000000)')).toBe(1_790_000_000)
  for (const reason of ['NotMember(0x12)', 'LeavesLater(3)', 'LeavesLater(3, 17900000001234567)', undefined])
    expect(leaveTimeOf(reason)).toBeUndefined()
})
