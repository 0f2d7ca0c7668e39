import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Catalogue } from '@weightless/core'
import * as core from '@weightless/core'
import { chainErrors } from '@weightless/chain'
import { hostErrors } from '@weightless/host'
import { nodeErrors } from '@weightless/node'
import { sdkErrors } from '@weightless/sdk'
import { cliErrors } from '../packages/cli/src/errors.ts'

// ERRORS.md and LIMITS.md are generated from the code and committed; WEIGHTLESS_WRITE_PAGES=1 writes them anew.

const top = resolve(import.meta.dirname, '..')

const rooms: readonly [string, Catalogue][] = [
  ['core', core.coreErrors],
  ['sdk', sdkErrors],
  ['host', hostErrors],
  ['chain', chainErrors],
  ['node', nodeErrors],
  ['cli', cliErrors],
]

function errorsPage(): string {
  const lines = [
    '# Errors',
    '',
    'Generated from the catalogues of the rooms by `sim/pages.test.ts`. Every error is a code, the facts and the next step; `retry` says whether the same call may succeed later.',
  ]
  for (const [room, catalogue] of rooms) {
    lines.push('', `## ${room}`, '', '| code | blame | retry | next step |', '|---|---|---|---|')
    for (const code of Object.keys(catalogue).sort()) {
      const { blame, retryable, next } = catalogue[code]!
      lines.push(`| \`${code}\` | ${blame} | ${retryable ? 'yes' : 'no'} | ${next.replaceAll('|', '\\|')} |`)
    }
  }
  return `${lines.join('\n')}\n`
}

function limitsPage(): string {
  const source = readFileSync(join(top, 'packages/core/src/limits.ts'), 'utf8')
  const values = core as unknown as Record<string, unknown>
  const lines = [
    '# Limits',
    '',
    'Generated from `packages/core/src/limits.ts` by `sim/pages.test.ts`: the limits of the protocol. A limit of one part stands, with its reason, at the top of the file that enforces it.',
    '',
    '| name | value | why |',
    '|---|---|---|',
  ]
  let why = ''
  for (const line of source.split('\n')) {
    const comment = /^\s*(?:\/\*\*|\*|\/\/)\s?(.*?)\s*(?:\*\/)?$/.exec(line)
    const constant = /^export const (\w+)/.exec(line)
    if (constant) {
      lines.push(`| \`${constant[1]}\` | ${String(values[constant[1]!])} | ${why} |`)
      why = ''
    } else if (comment) why = `${why} ${comment[1]}`.trim()
    else if (line.trim() === '') why = ''
  }
  return `${lines.join('\n')}\n`
}

describe('generated pages', () => {
  test.each([
    ['ERRORS.md', errorsPage],
    ['LIMITS.md', limitsPage],
  ])('%s says what the code says', (name, page) => {
    const path = join(top, name)
    if (process.env['WEIGHTLESS_WRITE_PAGES']) writeFileSync(path, page())
    expect(readFileSync(path, 'utf8')).toBe(page())
  })

  test('no two rooms use one error code for different things', () => {
    const seen = new Map<string, string>()
    const clashes: string[] = []
    for (const [room, catalogue] of rooms) {
      for (const code of Object.keys(catalogue)) {
        const other = seen.get(code)
        if (other !== undefined) clashes.push(`${code}: ${other} and ${room}`)
        seen.set(code, room)
      }
    }
    expect(clashes).toEqual([])
  })
})
