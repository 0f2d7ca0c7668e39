import { storageRegistryAbi } from '@weightless/contracts'
import type { Address, Hex, Member } from '@weightless/core'
import { decodeFunctionData, encodeFunctionResult } from 'viem'
import { expect, test } from 'vitest'
import { failureOf } from '../../../sim/fakes/outcome.ts'
import { fail } from './errors.ts'
import { readDraining, readMembers, readOwnMember } from './registry.ts'
import type { Rpc } from './rpc.ts'

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

test.each([
  [{ rpcCode: -32000, message: 'CHAIN_STOPPED: reason=DISK_FULL' }, 'RPC_ERROR'],
  [{ rpcCode: 3, message: 'execution reverted' }, 'REGISTRY_INVALID'],
])('an endpoint that answers %j is told as %s', async (facts, code) => {
  const request = () => Promise.reject(fail('RPC_ERROR', { method: 'eth_call', ...facts }))
  expect(await failureOf(readMembers({ url: 'http://chain.test/', request }, registry, {}))).toMatchObject({ code })
})

/** A registry in which these numbers drain, and all others were never given. */
function drainingRpc(draining: ReadonlySet<number>) {
  const asked: number[] = []
  const functionName = 'memberOf'
  const request: Rpc['request'] = async (_, [call]) => {
    const { args } = decodeFunctionData({ abi: storageRegistryAbi, data: (call as { readonly data: Hex }).data })
    const id = Number(args![0])
    asked.push(id)
    const nobody: Hex = `0x${'00'.repeat(20)}`
    const domain: Hex = `0x${'00'.repeat(32)}`
    const described = { id, owner: nobody, signer: nobody, endpoint: `http://${id}`, domain }
    const status = draining.has(id) ? 3 : 4
    const result = { ...described, weight: 1n, capacitySegments: 1n, stake: 1n, lastHeartbeat: 0n, status }
    return encodeFunctionResult({ abi: storageRegistryAbi, functionName, result })
  }
  return { asked, rpc: { url: 'http://chain.test/', request } }
}

const membersOf = (...ids: readonly number[]): readonly Member[] =>
  ids.map((id) => ({ id, signer: registry, endpoint: '', domain: '0x', weight: 1n }))

test('who drains is looked up among the numbers that are not listed, the newest first, and a few above them', async () => {
  const { rpc, asked } = drainingRpc(new Set([1, 3, 7, 40]))
  const found = await readDraining(rpc, registry, { active: membersOf(2, 5, 6) }, {})
  expect(found.map(({ id }) => id)).toEqual([7, 3, 1])
  expect(found[0]).toEqual({
    ...membersOf(7)[0],
    signer: `0x${'00'.repeat(20)}`,
    endpoint: 'http://7',
    domain: `0x${'00'.repeat(32)}`,
  })
  expect(asked).toEqual(expect.not.arrayContaining([2]))
  expect(asked).toHaveLength(22 - 3)
})

test('no more than eight of them are taken, and no more than 256 numbers looked up', async () => {
  const all = drainingRpc(new Set(Array.from({ length: 100 }, (_, i) => i)))
  const found = await readDraining(all.rpc, registry, { active: membersOf(99) }, {})
  expect(found.map(({ id }) => id)).toEqual([98, 97, 96, 95, 94, 93, 92, 91])
  const none = drainingRpc(new Set())
  expect(await readDraining(none.rpc, registry, { active: membersOf(4_000) }, {})).toEqual([])
  expect(none.asked).toHaveLength(256)
})
