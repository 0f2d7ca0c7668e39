import { afterEach, describe, expect, test } from 'vitest'
import { encodeParityTags, type Submission } from '@weightless/core'
import { codedObjectOf } from '../../../../sim/compliance/codedObject.ts'
import { createTestWorld, endWorlds, type TestWorld } from '../../test/testRoles.ts'
import { objectRange } from './keys.ts'
import { createParityIndex, type ObjectName } from './parities.ts'

afterEach(endWorlds)

const coded = codedObjectOf(700_000, 1, { k: 2, m: 1 })
const object: ObjectName = { root: coded.data.tree.root, sizeBytes: 700_000 }
const tagged = (tags: Uint8Array): Submission => ({ ...coded.parity.submission, tags })
const tagsOf = (change: Partial<Parameters<typeof encodeParityTags>[0]>): Uint8Array =>
  encodeParityTags({ code: { k: 2, m: 1 }, dataRoot: object.root, sizeBytes: object.sizeBytes, ...change })

async function nodeOf(world: TestWorld) {
  const [node] = await world.members(1)
  const { index, follower } = node!
  return { node: node!, parities: createParityIndex({ index, entries: follower.entries }) }
}

describe('parity entries of the log', () => {
  test('are found by their object, in the order of the log, whoever submitted them and whether the data came before', async () => {
    const world = createTestWorld()
    const { node, parities } = await nodeOf(world)
    const [early] = world.chain.submit(coded.parity.submission)
    world.chain.submit(coded.data.submission)
    const [late] = world.chain.submit(coded.parity.submission)
    await node.caughtUp()
    const found = [...parities.of(object)]
    expect(found.map(({ entry }) => entry.seq)).toEqual([early!.seq, late!.seq])
    expect(found[0]!.tags).toEqual({ code: { k: 2, m: 1 }, dataRoot: object.root, sizeBytes: object.sizeBytes })
  })

  test.each<[string, Uint8Array]>([
    ['no tags', new Uint8Array(0)],
    ["other people's tags", new Uint8Array(75).fill(7)],
    ['a size that its code does not demand', tagsOf({ code: { k: 2, m: 2 } })],
    ['an object of another size', tagsOf({ sizeBytes: 700_001 })],
    ['another object', tagsOf({ dataRoot: coded.parity.tree.root })],
  ])('are not those with %s', async (_, tags) => {
    const world = createTestWorld()
    const { node, parities } = await nodeOf(world)
    const [entry] = world.chain.submit(tagged(tags))
    await node.caughtUp()
    expect([...parities.of(object)]).toEqual([])
    expect(parities.named(object, entry!.seq)).toBeUndefined()
  })

  test('are found by their number behind any number of others', async () => {
    const world = createTestWorld()
    const { node, parities } = await nodeOf(world)
    for (let i = 0; i < 4; i++) world.chain.submit(...Array.from({ length: 20 }, () => coded.parity.submission))
    await node.caughtUp()
    expect(parities.named(object, 79)?.entry.seq).toBe(79)
    expect([...parities.of(object)]).toHaveLength(80)
  })

  test('are taken back with their blocks', async () => {
    const world = createTestWorld()
    const { node, parities } = await nodeOf(world)
    const [stays] = world.chain.submit(coded.parity.submission)
    const block = world.chain.head
    world.chain.submit(coded.parity.submission)
    await node.caughtUp()
    world.chain.rewind(block)
    world.chain.submit(coded.data.submission)
    await node.caughtUp()
    expect([...parities.of(object)].map(({ entry }) => entry.seq)).toEqual([stays!.seq])
    expect(parities.named(object, stays!.seq + 1)).toBeUndefined()
    expect([...node.index.range(objectRange('parity', object))]).toHaveLength(1)
  })
})
