import { Writable } from 'node:stream'
import { expect, test } from 'vitest'
import { createProgress } from './progress.ts'

function sink(isTTY: boolean): { text: () => string; stream: Writable & { isTTY: boolean; columns: number } } {
  let text = ''
  const stream = Object.assign(
    new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        text += chunk.toString()
        done()
      },
    }),
    // What cli-progress asks of a terminal.
    { isTTY, columns: 80, cursorTo: () => true, moveCursor: () => true, clearLine: () => true },
  )
  return { text: () => text, stream }
}

test('a terminal sees a bar and gets its line back', () => {
  const { text, stream } = sink(true)
  const progress = createProgress(stream)
  progress.update(0, 1_048_576, 'hash')
  progress.update(1_048_576, 1_048_576, 'store')
  progress.stop()
  expect(text()).toContain('hash')
  expect(text()).toContain('1.00 MiB')
})

test('a pipe sees nothing', () => {
  const { text, stream } = sink(false)
  const progress = createProgress(stream)
  progress.update(1, 2, 'hash')
  progress.stop()
  expect(text()).toBe('')
})
