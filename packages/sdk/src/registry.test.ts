import { expect, test } from 'vitest'
import type { Address } from '@weightless/core'
import { failureOf } from '../../../sim/fakes/outcome.ts'
import { readMembers, readOwnMember } from './registry.ts'

const registry = `0x${'12'.repeat(20)}` as Address
const word = (value: number): string => value.toString(16).padStart(64, '0')

test.each([
  ['a word where a list is expected', word(1)],
  ['a list that begins behind the end', word(2 ** 31)],
  ['a part of a word', '12'],
])('a contract that answers with %s is no registry, and that is told with a code', async (_, hex) => {
  const rpc = { url: 'http://chain.test/', request: async () => `0x${hex}` }
  for (const read of [readMembers(rpc, registry, {}), readOwnMember(rpc, registry, registry, {})])
    expect(await failureOf(read)).toMatchObject({ code: 'REGISTRY_INVALID' })
})
