import { describe, expect, test } from 'vitest'
import { failureOf, reasonOf, turns } from '../../../sim/fakes/outcome.ts'
import { webClock } from './defaults.ts'
import { abortable, childScope, childScopes, shared, withDeadline } from './scope.ts'

const deps = { clock: webClock }

describe('withDeadline', () => {
  test('gives the result, and its signal ends with the work', async () => {
    let inner: AbortSignal | undefined
    const result = await withDeadline({ timeoutMs: 60_000, what: 'x' }, deps, async (signal) => {
      inner = signal
      return 7
    })
    expect(result).toBe(7)
    expect(inner!.aborted).toBe(true)
  })

  test('rejects at once when the caller aborts, even if the work does not listen', async () => {
    const controller = new AbortController()
    let inner: AbortSignal | undefined
    const caught = reasonOf(
      withDeadline(
        { signal: controller.signal, timeoutMs: 60_000, what: 'x' },
        deps,
        (signal) => ((inner = signal), new Promise(() => undefined)),
      ),
    )
    controller.abort('why not')
    expect(await caught).toBe('why not')
    expect(inner!.reason).toBe('why not')
  })

  test('rejects with the deadline that passed', async () => {
    const error = await failureOf(
      withDeadline({ timeoutMs: 1, what: 'a wait' }, deps, () => new Promise(() => undefined)),
    )
    expect(error).toMatchObject({ code: 'DEADLINE_PASSED', facts: { what: 'a wait', timeoutMs: 1 } })
  })

  test('does not start under an aborted signal', async () => {
    let started = false
    await reasonOf(
      withDeadline({ signal: AbortSignal.abort(), timeoutMs: 1, what: 'x' }, deps, async () => (started = true)),
    )
    expect(started).toBe(false)
  })
})

describe('childScope', () => {
  test('ends with its parent, or alone', () => {
    const controller = new AbortController()
    const [a, b] = [childScope(controller.signal), childScope(controller.signal)]
    a.end('mine')
    expect([a.signal.reason, b.signal.aborted]).toEqual(['mine', false])
    controller.abort('all')
    expect([a.signal.reason, b.signal.reason]).toEqual(['mine', 'all'])
    expect(childScope(controller.signal).signal.reason).toBe('all')
  })
})

describe('abortable', () => {
  test('lets a promise through, or gives it up', async () => {
    expect(await abortable(Promise.resolve(1), {})).toBe(1)
    expect(await reasonOf(abortable(new Promise(() => undefined), { signal: AbortSignal.abort('x') }))).toBe('x')
    const controller = new AbortController()
    const caught = reasonOf(abortable(new Promise(() => undefined), { signal: controller.signal }))
    controller.abort('y')
    expect(await caught).toBe('y')
  })
})

describe('shared', () => {
  test('one run serves all who ask at once, and the next asks anew', async () => {
    let runs = 0
    const ask = shared(async () => {
      await turns(1)
      return ++runs
    })
    expect(await Promise.all([ask({}), ask({}), ask({})])).toEqual([1, 1, 1])
    expect(await ask({})).toBe(2)
  })

  test('it goes on while one still waits, and ends when the last has left', async () => {
    const signals: AbortSignal[] = []
    const ask = shared((signal) => (signals.push(signal), new Promise(() => undefined)))
    const [a, b] = [new AbortController(), new AbortController()]
    const caught = [reasonOf(ask({ signal: a.signal })), reasonOf(ask({ signal: b.signal }))]
    a.abort('a')
    await turns(1)
    expect(signals[0]!.aborted).toBe(false)
    b.abort('b')
    expect(await Promise.all(caught)).toEqual(['a', 'b'])
    expect(signals).toHaveLength(1)
    expect(signals[0]!.aborted).toBe(true)
  })

  test('a failure is told to all, and not remembered', async () => {
    let runs = 0
    const ask = shared(async () => {
      runs += 1
      throw new Error(`run ${runs}`)
    })
    expect(await Promise.all([reasonOf(ask({})), reasonOf(ask({}))])).toMatchObject([
      { message: 'run 1' },
      { message: 'run 1' },
    ])
    expect(await reasonOf(ask({}))).toMatchObject({ message: 'run 2' })
  })
})

describe('childScopes', () => {
  test('all end with the parent and its reason, each can end alone, and the parent has one listener', () => {
    const parent = new AbortController()
    let listeners = 0
    const add = parent.signal.addEventListener.bind(parent.signal)
    parent.signal.addEventListener = (...args: Parameters<typeof add>) => (listeners++, add(...args))
    const scopes = childScopes(parent.signal)
    const children = Array.from({ length: 20 }, () => scopes.child())
    expect(listeners).toBe(1)
    children[0]!.end('alone')
    expect(children.map(({ signal }) => signal.aborted)).toEqual([true, ...children.slice(1).map(() => false)])
    parent.abort('over')
    expect(children.map(({ signal }) => signal.reason as unknown)).toEqual([
      'alone',
      ...children.slice(1).map(() => 'over'),
    ])
    expect(scopes.child().signal.aborted).toBe(true)
  })

  test('`end` ends them all', () => {
    const scopes = childScopes(undefined)
    const child = scopes.child()
    scopes.end('done')
    expect(child.signal.reason).toBe('done')
  })
})
