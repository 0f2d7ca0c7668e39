import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { expect, test } from 'vitest'
import { VERSION } from './version.ts'

test('the version that is printed is the one of the package', () => {
  const manifest = readFileSync(resolve(import.meta.dirname, '../package.json'), 'utf8')
  expect(VERSION).toBe((JSON.parse(manifest) as { version: string }).version)
})
