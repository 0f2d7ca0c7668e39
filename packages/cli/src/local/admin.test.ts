import { describe, expect, test } from 'vitest'
import { fail } from '../errors.ts'
import { createAdminHandler, type NetworkControl } from './admin.ts'

const token = 'a-secret-of-this-start'

function door(): {
  calls: string[]
  ask: (method: string, path: string, options?: { token?: string | null; body?: string }) => Promise<Response>
} {
  const calls: string[] = []
  const change = { id: 'node-0', url: 'http://127.0.0.1:1', pid: 5, state: 'running' }
  const control: NetworkControl = {
    stop: () => calls.push('stop'),
    status: async () => {
      calls.push('status')
      return { ready: true } as Awaited<ReturnType<NetworkControl['status']>>
    },
    addNode: async ({ replace }) => {
      calls.push(`add ${String(replace)}`)
      return change
    },
    changeNode: async (id, verb, { force }) => {
      if (id === 'node-9') throw fail('NODE_UNKNOWN', { id })
      calls.push(`${verb} ${id}${force ? ' by force' : ''}`)
      return change
    },
  }
  const handler = createAdminHandler(control, { token })
  return {
    calls,
    ask: (method, path, options = {}) =>
      handler(
        new Request(`http://127.0.0.1${path}`, {
          method,
          headers: options.token === null ? {} : { authorization: `Bearer ${options.token ?? token}` },
          ...(options.body === undefined ? {} : { body: options.body }),
        }),
      ),
  }
}

describe('the admin door', () => {
  test.each([
    ['GET', '/v1/status', undefined, 'status'],
    ['POST', '/v1/stop', undefined, 'stop'],
    ['POST', '/v1/nodes', undefined, 'add undefined'],
    ['POST', '/v1/nodes', '{"replace":"node-1"}', 'add node-1'],
    ['POST', '/v1/nodes/node-0/start', undefined, 'start node-0'],
    ['POST', '/v1/nodes/node-0/drain', undefined, 'drain node-0'],
    ['POST', '/v1/nodes/node-0/rm', undefined, 'rm node-0'],
    ['POST', '/v1/nodes/node-0/rm', '{"force":false}', 'rm node-0'],
    ['POST', '/v1/nodes/node-0/rm', '{"force":true}', 'rm node-0 by force'],
  ])('%s %s %s reaches the network', async (method, path, body, call) => {
    const { calls, ask } = door()
    const response = await ask(method, path, body === undefined ? {} : { body })
    expect(response.status).toBe(200)
    expect(calls).toEqual([call])
  })

  test.each([[null], [''], ['a'], [`${token}x`], [token.slice(0, -1)], [token.toUpperCase()]])(
    'the token %j opens nothing',
    async (wrong) => {
      const { calls, ask } = door()
      for (const [method, path] of [
        ['GET', '/v1/status'],
        ['POST', '/v1/stop'],
        ['POST', '/v1/nodes'],
      ] as const) {
        const response = await ask(method, path, { token: wrong })
        expect(response.status).toBe(401)
        expect(await response.json()).toMatchObject({ error: { code: 'ADMIN_REFUSED' } })
      }
      expect(calls).toEqual([])
    },
  )

  test.each([
    ['GET', '/', undefined],
    ['GET', '/v1/stop', undefined],
    ['POST', '/v1/nodes/node-0/explode', undefined],
    ['POST', '/v1/nodes/..%2f..%2fx/rm', undefined],
    ['POST', '/v1/nodes', 'not json'],
    ['POST', '/v1/nodes', '{"replace":7}'],
    ['POST', '/v1/nodes/node-0/rm', '{"force":"yes"}'],
    ['POST', '/v1/nodes', '"node-1"x'],
  ])('%s %s %j is refused and changes nothing', async (method, path, body) => {
    const { calls, ask } = door()
    const response = await ask(method, path, body === undefined ? {} : { body })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ error: { code: 'ADMIN_REQUEST_INVALID', next: expect.any(String) } })
    expect(calls).toEqual([])
  })

  test('the error of a command travels with its code and facts', async () => {
    const { ask } = door()
    const response = await ask('POST', '/v1/nodes/node-9/start')
    expect(response.status).toBe(404)
    expect(await response.json()).toMatchObject({ error: { code: 'NODE_UNKNOWN', facts: { id: 'node-9' } } })
  })
})
