import { expect, test } from 'vitest'
import { coreErrors, createFail, fail, Failure, invariant, isFailure, never, preview } from './errors.ts'

test('a failure says its code, its facts and the next step', () => {
  const failure = fail('SEGMENT_SIZE_INVALID', { index: 3, dataBytes: 257n, missing: undefined })
  expect(failure.message).toBe(
    'SEGMENT_SIZE_INVALID: index=3 dataBytes=257. Next: Send the real chunks of the segment, padded to 256 bytes and no further.',
  )
  expect(failure).toMatchObject({ name: 'Failure', code: 'SEGMENT_SIZE_INVALID', retryable: false, blame: 'peer' })
})

test('a failure without facts still reads well', () => {
  expect(createFail({ X: { retryable: true, blame: 'none', next: 'Wait.' } })('X').message).toBe('X: Next: Wait.')
})

test('as JSON a failure keeps what a client needs, bigints as text', () => {
  const failure = fail('SIZE_INVALID', { sizeBytes: 10n, name: 'a' })
  expect(JSON.parse(JSON.stringify(failure))).toEqual({
    code: 'SIZE_INVALID',
    message: failure.message,
    facts: { sizeBytes: '10', name: 'a' },
    next: coreErrors.SIZE_INVALID.next,
    retryable: false,
  })
})

test('the cause is kept', () => {
  const cause = new Error('inner')
  expect(fail('SIZE_INVALID', {}, { cause }).cause).toBe(cause)
})

test('a failure is known by its marker and not by its class', () => {
  const failure = fail('SIZE_INVALID')
  expect(isFailure(failure)).toBe(true)
  expect(isFailure(failure, 'SIZE_INVALID')).toBe(true)
  expect(isFailure(failure, 'ROOT_INVALID')).toBe(false)
  const foreign = { [Symbol.for('weightless.failure')]: true, code: 'SIZE_INVALID' }
  expect(isFailure(foreign, 'SIZE_INVALID')).toBe(true)
  for (const other of [new Error('x'), null, undefined, 'SIZE_INVALID', { code: 'SIZE_INVALID' }]) {
    expect(isFailure(other)).toBe(false)
  }
  expect(failure).toBeInstanceOf(Failure)
})

test('an invariant that holds is silent and one that is broken says which', () => {
  expect(() => invariant(true, 'x')).not.toThrow()
  expect(() => invariant(false, 'one holds')).toThrow('invariant broken: one holds')
  expect(() => never('x' as never)).toThrow('unreachable: "x"')
})

test('a preview is short whatever comes in', () => {
  expect(preview('abc')).toBe('abc')
  expect(preview({ a: 1 })).toBe('{"a":1}')
  expect(preview(undefined)).toBe('undefined')
  expect(preview('x'.repeat(100))).toBe(`${'x'.repeat(77)}...`)
  let deep: unknown = 0
  for (let depth = 0; depth < 50_000; depth++) deep = [deep]
  expect(preview(deep)).toBe('a value that cannot be shown')
})

test('every code names a next step', () => {
  for (const kind of Object.values(coreErrors)) expect(kind.next).toMatch(/^[A-Z].*\.$/)
})
