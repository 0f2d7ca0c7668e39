import { afterEach, describe, expect, test } from 'vitest'
import {
  encodeParityTags,
  copyHomes,
  protectedHomes,
  type Address,
  type Entry,
  type Member,
  type Root,
} from '@weightless/core'
import { codedObjectOf } from '../../../../sim/compliance/codedObject.ts'
import { objectOf } from '../../../../sim/compliance/storageNode.ts'
import { submitCoded } from '../../test/codedUpload.ts'
import { createTestWorld, endWorlds } from '../../test/testRoles.ts'
import type { Certified } from '../erasure/certificates.ts'
import { createParityIndex } from '../flow/parities.ts'
import { createDuties, type Duties } from './duty.ts'

afterEach(endWorlds)

const SIZE_BYTES = 9 * 262_144
const code = { k: 4, m: 2 }
const object = codedObjectOf(SIZE_BYTES, 1, code)

/** A network of nine and the log of one of its nodes; what is held and signed is said here. */
async function network() {
  const world = createTestWorld()
  const nodes = await world.members(9)
  const { follower, index } = nodes[0]!
  const { entries, membership } = follower
  const parities = createParityIndex({ index, entries })
  const state = {
    held: new Map<Root, number>(),
    signed: new Set<number>(),
    whole: new Set<number>(),
    certified: undefined as Certified | undefined,
    certifiedBySeq: new Map<number, Certified>(),
  }
  const dutiesOf = (signer: Address): Duties =>
    createDuties({
      entries,
      parities,
      membership,
      signer,
      certificates: { of: ({ seq }) => state.certifiedBySeq.get(seq) ?? state.certified },
      held: { missingCount: (_, slots) => slots.length, segmentCount: (root) => state.held.get(root) ?? 0 },
      shelf: {
        isWhole: ({ seq }) => state.whole.has(seq),
        missingCount: () => 9,
        heldCount: ({ root }) => state.held.get(root) ?? 0,
      },
      hasSigned: ({ seq }) => state.signed.has(seq),
    })
  const members = membership.current().members
  const wholeHome = (entry: Entry): Member => copyHomes({ key: entry.root, count: 3 }, members)[0]!.member
  const slotHomes = protectedHomes({ dataRoot: object.data.tree.root, sizeBytes: SIZE_BYTES, code }, members)
  const outsider = members.find(({ id }) => slotHomes.every(({ member }) => member.id !== id))!
  return { world, nodes, state, dutiesOf, members, wholeHome, slotHomes, outsider }
}

const certified = (seq: number, change: Partial<Certified> = {}): Certified => ({
  parity: { root: object.parity.tree.root, seq, code },
  slots: [0, 1, 2, 3, 4, 5],
  proven: [4, 5],
  isDurable: true,
  lossesSurvived: 2,
  holders: [],
  ...change,
})

describe('what belongs on a node', () => {
  test('of an object that is proven and durable: the slots of which it is a home, and nothing on others', async () => {
    const { world, nodes, state, dutiesOf, members, slotHomes } = await network()
    const { data, parity } = await submitCoded(world, object, nodes)
    state.certified = certified(parity.seq)
    for (const { id, signer } of members) {
      const slots = slotHomes.filter(({ member }) => member.id === id).map(({ slot }) => slot)
      const duty = dutiesOf(signer).of(data)
      if (slots.length === 0) expect(duty).toBeUndefined()
      else expect(duty).toMatchObject({ kind: 'shards', slots, missingBytes: 262_144 })
    }
  })

  test.each([
    ['is not durable', { isDurable: false }],
    ['proves nothing', { proven: [] }],
    ['is of a parity that is on the chain no more', { parity: { root: object.parity.tree.root, seq: 99, code } }],
  ])('is a copy where the certificate %s', async (_, change) => {
    const { world, nodes, state, dutiesOf, wholeHome } = await network()
    const { data, parity } = await submitCoded(world, object, nodes)
    state.certified = certified(parity.seq, change)
    expect(dutiesOf(wholeHome(data).signer).of(data)).toMatchObject({ kind: 'whole', why: 'home' })
  })

  test('of an object whose parity is proven and not durable: its slots too, once a copy that belongs there is whole', async () => {
    const { world, nodes, state, dutiesOf, wholeHome, slotHomes } = await network()
    const { data, parity } = await submitCoded(world, object, nodes)
    state.certified = certified(parity.seq, { isDurable: false })
    for (const { slot, member } of slotHomes) {
      const duties = dutiesOf(member.signer)
      const isCopied = (): boolean => duties.of(data)?.kind === 'whole'
      if (member.id === wholeHome(data).id) expect(isCopied()).toBe(true)
      if (!isCopied()) expect(duties.of(data)).toMatchObject({ kind: 'shards', slots: [slot] })
      expect(duties.shardsOf(data)).toBeUndefined()
      expect(duties.provenShardsOf(data)).toMatchObject({ slots: [slot] })
      state.whole.add(data.seq)
      expect(duties.of(data)).toMatchObject({ kind: 'shards', slots: [slot] })
      state.whole.delete(data.seq)
    }
  })

  test('is to look for parity that counts before the one it is kept by, at homes of either', async () => {
    const { world, nodes, state, dutiesOf, members, slotHomes } = await network()
    const { data, parity } = await submitCoded(world, object, nodes)
    state.certified = certified(parity.seq)
    for (const { signer } of members) expect(dutiesOf(signer).betterOf(data)).toBeUndefined()
    const later = codedObjectOf(SIZE_BYTES, 1, code, (bytes) => bytes.fill(1)).parity.submission
    const larger = codedObjectOf(SIZE_BYTES, 1, { k: 4, m: 3 }).parity.submission
    const entries = world.chain.submit(later, larger)
    for (const node of nodes) await node.caughtUp()
    const better = { parity: { seq: entries[1]!.seq }, code: { k: 4, m: 3 } }
    for (const { member } of slotHomes) expect(dutiesOf(member.signer).betterOf(data)).toMatchObject(better)
    // Another entry of the same bytes is kept by that parity already, under another number of it.
    const [twin, same] = world.chain.submit(object.data.submission, larger)
    for (const node of nodes) await node.caughtUp()
    state.certifiedBySeq.set(
      twin!.seq,
      certified(same!.seq, { parity: { root: same!.root, seq: same!.seq, code: { k: 4, m: 3 } }, proven: [4, 5, 6] }),
    )
    for (const { signer } of members) expect(dutiesOf(signer).betterOf(data)).toBeUndefined()
    state.certifiedBySeq.clear()
    state.certified = undefined
    expect(dutiesOf(slotHomes[0]!.member.signer).betterOf(data)).toBeUndefined()
  })

  test('is never a parity entry, unless the node has signed for it or its object is not in the log', async () => {
    const { world, nodes, state, dutiesOf, wholeHome } = await network()
    const [alone] = world.chain.submit(object.parity.submission)
    for (const node of nodes) await node.caughtUp()
    const duties = dutiesOf(wholeHome(alone!).signer)
    expect(duties.of(alone!)).toMatchObject({ kind: 'whole' })
    const { parity } = await submitCoded(world, object, nodes)
    expect([duties.of(alone!), duties.of(parity)]).toEqual([undefined, undefined])
    state.signed.add(parity.seq)
    expect(duties.of(parity)).toMatchObject({ kind: 'whole', why: 'signed' })
  })

  test('is to ask for a certificate at a home of a slot, and at nobody else', async () => {
    const { world, nodes, dutiesOf, wholeHome, slotHomes, outsider } = await network()
    const { data } = await submitCoded(world, object, nodes)
    for (const { member } of slotHomes) {
      const duty = dutiesOf(member.signer).of(data)
      const isWholeHome = duty?.kind === 'whole'
      if (!isWholeHome) expect(duty).toMatchObject({ kind: 'search', missingBytes: 0 })
    }
    expect(dutiesOf(wholeHome(data).signer).mayBeProven(data)).toBe(true)
    expect(dutiesOf(outsider.signer).of(data)).toBeUndefined()
  })

  test('is to ask at everybody where so many say that they are the parity that the right one may be hidden', async () => {
    const { world, nodes, dutiesOf, slotHomes, outsider } = await network()
    // Of codes that fit: one data slot and one parity slot have two homes.
    const other = objectOf(9 * 262_144, 7)
    const tags = encodeParityTags({ code: { k: 1, m: 1 }, dataRoot: object.data.tree.root, sizeBytes: SIZE_BYTES })
    for (let i = 0; i < 4; i++) world.chain.submit({ ...other.submission, tags })
    const { data } = await submitCoded(world, object, nodes)
    for (const { member } of slotHomes) expect(dutiesOf(member.signer).of(data)).toBeDefined()
    expect(dutiesOf(outsider.signer).of(data)).toMatchObject({ kind: 'search' })
  })

  test('is left to its writer as long as data or parity comes in', async () => {
    const { world, nodes, state, dutiesOf, wholeHome } = await network()
    const { data, parity } = await submitCoded(world, object, nodes)
    const duties = dutiesOf(wholeHome(data).signer)
    const before = duties.of(data)!.heldCount
    state.held.set(parity.root, 2)
    expect(duties.of(data)!.heldCount).toBe(before + 2)
    state.held.set(data.root, 3)
    expect(duties.of(data)!.heldCount).toBe(before + 5)
  })
})
