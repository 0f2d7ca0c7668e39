import { copyHomes, protectedHomes, SEGMENT_SIZE_BYTES, type ErasureCode, type Member } from '@weightless/core'
import { expect, test } from 'vitest'
import { impatientClock } from '../../../sim/fakes/impatientClock.ts'
import {
  content,
  createFakeNetwork,
  hangs,
  isDown,
  type FakeNetwork,
  type Fault,
  type NetworkNode,
} from '../../../sim/fakes/network.ts'
import { failureOf } from '../../../sim/fakes/outcome.ts'
import { downloadBytes, upload, type Client } from './index.ts'

// What only a node that drains has: its homes of now have not fetched it.

const S = SEGMENT_SIZE_BYTES
const code: ErasureCode = { k: 4, m: 2 }
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.from(a).equals(Buffer.from(b))
const membersOf = ({ nodes }: FakeNetwork): readonly Member[] => nodes.map(({ member }) => member)
const readerOf = (network: FakeNetwork): Client => network.client({ signer: undefined }, { clock: impatientClock() })

function drain({ chain, nodes }: FakeNetwork, leaver: NetworkNode): void {
  const left = nodes.filter((node) => node !== leaver)
  chain.setMembers(
    left.map(({ member }) => member),
    [leaver.member],
  )
}

/** An object of 4+2, and who has which slot. */
async function sharded() {
  const network = createFakeNetwork({ nodeCount: 7 })
  const bytes = content(21 * S + 9, 3)
  const { root } = await upload(network.client(), bytes, { code })
  const homes = protectedHomes({ dataRoot: root, sizeBytes: bytes.length, code }, membersOf(network))
  const at = (slot: number): NetworkNode =>
    network.nodes.find(({ member }) => member.id === homes.find((home) => home.slot === slot)!.member.id)!
  return { network, bytes, root, at }
}

/** An object in copies, of which this node alone has one. */
async function copied() {
  const network = createFakeNetwork({ nodeCount: 6 })
  const bytes = content(19 * S + 9, 4)
  const { root } = await upload(network.client(), bytes)
  const [first, ...others] = copyHomes({ key: root, count: 3 }, membersOf(network)).map(({ member }) =>
    network.nodes.find((node) => node.member.id === member.id)!,
  )
  for (const node of others) node.lose(root)
  return { network, bytes, root, leaver: first!, others }
}

const lookups = ({ chain }: FakeNetwork): number => chain.calls.get('eth_call') ?? 0
const askedOf = ({ log }: FakeNetwork, { url }: NetworkNode): readonly string[] =>
  log.filter((line) => line.includes(url))
/** Says what it has, and does not give it. */
const stalls: Fault = (request, node) =>
  request.method === 'GET' && request.url.includes('/segments') ? hangs(request, node) : node.handle(request)
/** Answers reads of segments with wrong bytes. */
const lies: Fault = async (request, node) => {
  const response = await node.handle(request)
  if (request.method !== 'GET' || !request.url.includes('/segments') || !response.ok) return response
  const body = new Uint8Array(await response.arrayBuffer())
  body[body.length - 100]! ^= 1
  return new Response(body, { headers: response.headers })
}

test.each([
  ['two others away', [2, 5], isDown],
  ['two others that stall', [2, 5], stalls],
  ['two others that lie', [1, 4], lies],
] as const)('an object of shards is read with a slot at a node that drains and %s', async (_, slots, fault) => {
  const { network, bytes, root, at } = await sharded()
  drain(network, at(0))
  for (const slot of slots) at(slot).fault = fault
  for (const target of [root, { root, sizeBytes: bytes.length }])
    expect(same(await downloadBytes(readerOf(network), target), bytes)).toBe(true)
  const range = { start: 4 * S - 7, end: 9 * S + 1 }
  expect(same(await downloadBytes(readerOf(network), root, { range }), bytes.subarray(range.start, range.end))).toBe(
    true,
  )
})

test.each([
  ['others that are well', undefined],
  ['others away', isDown],
  ['others that stall', stalls],
] as const)('a copy is read that only a node that drains has, beside %s', async (_, fault) => {
  const { network, bytes, root, leaver, others } = await copied()
  drain(network, leaver)
  for (const node of others) node.fault = fault
  for (const target of [root, { root, sizeBytes: bytes.length }])
    expect(same(await downloadBytes(readerOf(network), target), bytes)).toBe(true)
})

test('a node that drains and fails at first is asked again before a stripe counts as lost', async () => {
  const { network, bytes, root, at } = await sharded()
  drain(network, at(0))
  for (const slot of [2, 5]) at(slot).fault = isDown
  let refusals = 0
  at(0).fault = async (request, node) => {
    if (request.url.includes('/segments') && ++refusals < 3) throw new TypeError('fetch failed')
    return node.handle(request)
  }
  const range = { start: 0, end: 9 }
  expect(same(await downloadBytes(readerOf(network), root, { range }), bytes.subarray(0, 9))).toBe(true)
})

test('nobody who drains is looked for or asked while members suffice', async () => {
  const { network, bytes, root, at } = await sharded()
  drain(network, at(0))
  const client = readerOf(network)
  await client.membership.read({})
  const before = lookups(network)
  const asked = askedOf(network, at(0)).length
  expect(same(await downloadBytes(client, root), bytes)).toBe(true)
  // The version and the hash of the list, where it is read anew.
  expect(lookups(network) - before).toBeLessThanOrEqual(2)
  expect(askedOf(network, at(0)).slice(asked)).toEqual([])
})

test('where the chain does not say who drains, the error is that of the read', async () => {
  const { network, root, leaver } = await copied()
  drain(network, leaver)
  const { handle } = network.chain
  network.chain.handle = async (request) => {
    // `memberOf` by its selector.
    const asksForMember = (await request.clone().text()).includes('"data":"0xa59934a5')
    return asksForMember ? new Response('gone', { status: 503 }) : handle(request)
  }
  expect(await failureOf(downloadBytes(readerOf(network), root))).toMatchObject({ code: 'OBJECT_UNAVAILABLE' })
})

test('one that has gone is no reason to wait: what is lost is told as before', async () => {
  const { network, root, at } = await sharded()
  drain(network, at(0))
  for (const slot of [0, 2, 5]) at(slot).fault = isDown
  expect(await failureOf(downloadBytes(readerOf(network), root))).toMatchObject({
    code: 'SHARDS_LOST',
    facts: { missingSlots: '0,2' },
  })
})
