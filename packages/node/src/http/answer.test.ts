import { describe, expect, test } from 'vitest'
import { createFail, type Catalogue } from '@weightless/core'
import { hostErrors } from '@weightless/host'
import { nodeErrors } from '../errors.ts'
import { faultOf } from '../zgs/fault.ts'
import { answerFailure } from './answer.ts'

const SECRET = '/home/somebody/.weightless/keys/node-0.key'
const catalogue: Catalogue = { ...hostErrors, ...nodeErrors }
/** Codes of host and store whose facts name files, or may carry the words of the system about them. */
const ofTheMachine = Object.keys(catalogue).filter((code) =>
  /^(DISK|DIRECTORY|INDEX|KEY|FILE|TOML|STORE|LISTEN|PORT|CONFIG)_/.test(code),
)

describe('a failure on its way to a stranger', () => {
  test('the codes in question are all there', () => {
    for (const code of [
      'DISK_FULL',
      'DISK_FAILED',
      'FILE_CHANGED',
      'DIRECTORY_IN_USE',
      'INDEX_FAILED',
      'KEY_FILE_OPEN',
    ])
      expect(ofTheMachine).toContain(code)
    expect(ofTheMachine.length).toBeGreaterThan(25)
  })

  test.each(ofTheMachine)(
    '%s names no path of this machine, in facts nor in words, by HTTP nor by JSON-RPC',
    async (code) => {
      const facts = { path: SECRET, reason: `ENOENT: no such file, open '${SECRET}'`, sizeBytes: 7, root: '0xab' }
      const failure = createFail(catalogue)(code, facts, { cause: new Error(SECRET) })
      const text = await answerFailure(failure).text()
      expect(text).not.toContain('somebody')
      expect(JSON.parse(text)).toMatchObject({
        error: { code, next: catalogue[code]!.next, facts: { sizeBytes: 7, root: '0xab' } },
      })
      const { message, data } = faultOf(failure)
      expect(`${message} ${data}`).not.toContain('somebody')
      expect(message).toContain(code)
      // Whoever runs the node still reads all of it in the log.
      expect(failure.message).toContain(SECRET)
    },
  )

  test('one that is about the request keeps its facts', async () => {
    const failure = createFail(nodeErrors)('ROUTE_UNKNOWN', { method: 'GET', path: '/nothing' })
    expect(await answerFailure(failure).json()).toMatchObject({ error: { facts: { method: 'GET', path: '/nothing' } } })
  })
})
