import { createFail } from '@weightless/core'
import { expect, test } from 'vitest'
import { fail } from '../errors.ts'
import { isForWantOfRoom } from './proof.ts'

const what = { retryable: true, blame: 'none', next: 'x' } as const
const failSdk = createFail({ NODES_TOO_FEW: what, DURABILITY_NOT_REACHED: what, RPC_ERROR: what })
const MIB = 1024 ** 2

test.each([
  ['NODES_TOO_FEW', 100 * MIB, true],
  ['DURABILITY_NOT_REACHED', 0, true],
  ['NODES_TOO_FEW', 10_000 * MIB, false],
  ['RPC_ERROR', 0, false],
] as const)(
  'a proof that failed with %s and %i bytes free: that is for want of room: %s',
  (code, freeBytes, expected) => {
    expect(isForWantOfRoom(fail('PROOF_FAILED', {}, { cause: failSdk(code) }), freeBytes)).toBe(expected)
  },
)

test('other bytes that came back are never forgiven', () => {
  const other = fail('PROOF_FAILED', { reason: 'other bytes came back' })
  expect(isForWantOfRoom(fail('PROOF_FAILED', {}, { cause: other }), 0)).toBe(false)
  expect(isForWantOfRoom(new Error('x'), 0)).toBe(false)
})
