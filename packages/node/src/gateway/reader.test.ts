import { copyHomes, SEGMENT_SIZE_BYTES, type ErasureCode } from '@weightless/core'
import { afterEach, describe, expect, test } from 'vitest'
import { codedObjectOf } from '../../../../sim/compliance/codedObject.ts'
import { objectOf } from '../../../../sim/compliance/storageNode.ts'
import { homesOf, membersOf, putSlots, submitCoded, tellAll, type Holder } from '../../test/codedUpload.ts'
import type { MembershipView } from '../flow/membership.ts'
import { until } from '../../test/testClock.ts'
import { createTestWorld, endWorlds, officialSegment, putBinary } from '../../test/testRoles.ts'

afterEach(endWorlds)

const S = SEGMENT_SIZE_BYTES
const code: ErasureCode = { k: 4, m: 2 }
const isDown = (): Promise<Response> => Promise.reject(new TypeError('fetch failed'))

/** A gateway that sees nodes drain of which the others know nothing yet: so nobody fetches what they have. Time passes slowly, for
 *  homes that leave what they lack to its writer. */
async function network(nodeCount: number) {
  const world = createTestWorld({ msPerTurn: 1 })
  const nodes = await world.members(nodeCount)
  const drained = new Set<string>()
  const view = (followed: MembershipView): MembershipView => ({
    ...followed,
    current: () => {
      const { version, members } = followed.current()
      return { version, members: members.filter(({ endpoint }) => !drained.has(endpoint)) }
    },
    draining: () => followed.current().members.filter(({ endpoint }) => drained.has(endpoint)),
  })
  const gateway = await world.gateway('gateway', { view })
  await gateway.caughtUp()
  return { world, nodes, gateway, drain: ({ url }: Holder) => void drained.add(url) }
}

/** Each slot at its home, that of slot `drained` drains; `told`: the gateway knows the certificate. */
async function sharded(drained: number, told: 'told' | 'untold') {
  const { world, nodes, gateway, drain } = await network(7)
  const upload = await submitCoded(world, codedObjectOf(9 * S + 300, 31 + drained, code), [gateway, ...nodes])
  const homes = homesOf(upload.object, nodes)
  for (const [slot, node] of homes) await putSlots(upload, node, [slot])
  if (told === 'told') await tellAll(upload, [...homes.values()], [gateway as Holder])
  drain(homes.get(drained)!)
  return { world, gateway, homes, ...upload }
}

/** A copy at the first home, which drains, and nowhere else; `final`: first it was at all three, and the gateway knows that. */
async function copied(stage: 'submitted' | 'final') {
  const { world, nodes, gateway, drain } = await network(5)
  const object = objectOf(5 * S + 7, 33)
  const [entry] = world.chain.submit(object.submission)
  for (const role of [gateway, ...nodes]) await role.caughtUp()
  const homes = copyHomes({ key: entry!.root, count: 3 }, membersOf(nodes)).map(({ member }) =>
    nodes.find(({ signer }) => signer === member.signer)!,
  )
  const [leaver, ...others] = homes
  for (const [slot, node] of (stage === 'final' ? homes : [leaver!]).entries())
    await putBinary(node, entry!, object.segments, slot)
  if (stage === 'final') {
    const isFinal = async (): Promise<boolean> =>
      (await gateway.rpc('zgs_checkFileFinalized', [entry!.seq])).result === true
    await until(isFinal, 'it is final')
    for (const { store } of others) await store.removeSegments(entry!.root, [...store.presence(entry!.root).indexes()])
  }
  drain(leaver!)
  return { world, gateway, leaver: leaver!, object, entry: entry! }
}

describe('what only a node that drains has', () => {
  test.each(['told', 'untold'] as const)(
    'is read where it is a slot of an object, its certificate %s',
    async (told) => {
      const { world, gateway, homes, object, data } = await sharded(0, told)
      for (const slot of [2, 5]) world.faults.set(homes.get(slot)!.url, isDown)
      for (const index of [0, 4, 8, 9]) {
        const answer = await gateway.rpc('zgs_downloadSegmentWithProofByTxSeq', [data.seq, index])
        expect(answer.result).toEqual(officialSegment(object.data, index))
      }
    },
  )

  test('is read where it is a slot of parity', async () => {
    const { gateway, object, parity } = await sharded(5, 'told')
    const file = await gateway.fetch(`/file?root=${parity.root}`)
    const expected = Buffer.concat(object.parity.segments.map(({ data }) => data))
    expect(Buffer.from(await file.arrayBuffer()).equals(expected)).toBe(true)
  })

  test.each(['submitted', 'final'] as const)('is read where it is a copy of an entry that is %s', async (stage) => {
    const { gateway, object, entry } = await copied(stage)
    for (const index of [0, 5]) {
      const answer = await gateway.rpc('zgs_downloadSegmentWithProofByTxSeq', [entry.seq, index])
      expect(answer.result).toEqual(officialSegment(object, index))
    }
  })
})

test('one that drained and has gone makes nobody unreachable: what the members do not have is not there', async () => {
  const { world, gateway, leaver, entry } = await copied('final')
  world.faults.set(leaver.url, isDown)
  const answer = await gateway.rpc('zgs_downloadSegmentWithProofByTxSeq', [entry.seq, 0])
  expect(answer).toMatchObject({ result: null })
})
