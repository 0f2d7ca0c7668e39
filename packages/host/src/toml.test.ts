import { expect, test } from 'vitest'
import { parseToml } from './toml.ts'

test('tables, arrays and all kinds of numbers are read', () => {
  expect(parseToml('[a]\nb = "x"\nc = [1, 2]\nd = 123456789012345678901\n[[e]]\nf = true\n')).toEqual({
    a: { b: 'x', c: [1, 2], d: 123456789012345678901n },
    e: [{ f: true }],
  })
})

test('an error names the file, the line and the column', () => {
  expect(() => parseToml('[a]\nb = = 1\n', { file: 'node.toml' })).toThrow(
    expect.objectContaining({
      code: 'TOML_INVALID',
      facts: expect.objectContaining({ file: 'node.toml', line: 2, column: expect.any(Number) as unknown }) as unknown,
    }) as Error,
  )
})

test.each([
  ['a key twice', 'a = 1\na = 2'],
  ['a prototype', '__proto__ = 1'],
  ['a deep nest', `a = ${'['.repeat(200)}${']'.repeat(200)}`],
])('%s is refused', (_, text) => {
  expect(() => parseToml(text)).toThrow(expect.objectContaining({ code: 'TOML_INVALID' }) as Error)
})

test('a text that is too long to be a configuration is refused unread', () => {
  expect(() => parseToml('#'.repeat(2 * 1024 ** 2))).toThrow(
    expect.objectContaining({ code: 'TOML_TOO_LARGE' }) as Error,
  )
})
