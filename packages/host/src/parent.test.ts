import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { transform } from 'esbuild'
import { expect, test } from 'vitest'
import { exitWithParent } from './parent.ts'

test('the end of the pipe is told once, whatever came through it before', async () => {
  const input = new PassThrough()
  let count = 0
  const ended = new Promise<void>((resolve) =>
    exitWithParent(() => {
      count += 1
      resolve()
    }, input),
  )
  input.write('noise')
  input.end()
  await ended
  input.destroy()
  await new Promise((resolve) => setImmediate(resolve))
  expect(count).toBe(1)
})

test('a broken pipe is an end too', async () => {
  const input = new PassThrough()
  const ended = new Promise<void>((resolve) => exitWithParent(resolve, input))
  input.destroy(new Error('broken'))
  await ended
})

test('who stopped watching is told nothing', async () => {
  const input = new PassThrough()
  let count = 0
  exitWithParent(() => (count += 1), input)()
  input.end()
  input.destroy()
  await new Promise((resolve) => setImmediate(resolve))
  expect(count).toBe(0)
})

test('a process that watches ends when its parent is killed with SIGKILL', async () => {
  const source = await readFile(join(import.meta.dirname, 'parent.ts'), 'utf8')
  const { code } = await transform(source, { loader: 'ts', format: 'cjs' })
  const child = `${code}; module.exports.exitWithParent(() => process.exit(0)); setInterval(() => {}, 1000); process.stdout.write('up')`
  const parent = `require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(child)}], { stdio: ['pipe', 'inherit', 'inherit'] }); setInterval(() => {}, 1000)`
  const running = spawn(process.execPath, ['-e', parent], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(running.stdout, 'data')
  running.kill('SIGKILL')
  // Both had this pipe: it ends with the last of them.
  running.stdout.resume()
  await once(running.stdout, 'end')
})
