import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { lossesNeededOf, presentSlots, SEGMENT_SIZE_BYTES, shardLayoutOf, type ShardLayout } from '@weightless/core'
import { runs } from '../../../../sim/runs.ts'
import { isSurplusCopy, surplusOf, type HomeAnswer, type Surplus } from './surplus.ts'

const layouts = fc
  .tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 3 }), fc.integer({ min: 2, max: 9 }))
  .map(([k, m, segmentCount]) => shardLayoutOf(segmentCount * SEGMENT_SIZE_BYTES, { k, m })!)

/** Who holds what, who is the home of what, and who lives. Homes are members 1, 2, … in slot order; the others have no slot. */
type World = {
  readonly layout: ShardLayout
  readonly memberCount: number
  /** By member, slots that are whole there and slots of which some is. */
  readonly whole: readonly (readonly number[])[]
  readonly some: readonly (readonly number[])[]
  readonly alive: readonly boolean[]
  /** Slots whose holder signs wrong fingerprints: they do not count for whoever knows the data. */
  readonly lies: readonly number[]
}
const worlds: fc.Arbitrary<World> = layouts.chain((layout) => {
  const slots = presentSlots(layout)
  const memberCount = slots.length + 3
  const perMember = <T>(one: fc.Arbitrary<T>) => fc.array(one, { minLength: memberCount, maxLength: memberCount })
  // Most networks are nearly well, or nothing would ever be given up.
  const often = fc.nat(9).map((n) => n > 0)
  return fc
    .record({
      extra: perMember(fc.subarray([...slots])),
      some: perMember(fc.subarray([...slots])),
      hasOwn: perMember(often),
      alive: perMember(often),
      lies: fc.subarray([...slots], { maxLength: 1 }),
    })
    .map(({ extra, some, hasOwn, alive, lies }) => ({
      layout,
      memberCount,
      whole: extra.map((more, i) => [...new Set([...(hasOwn[i]! && i < slots.length ? [slots[i]!] : []), ...more])]),
      some,
      alive,
      lies,
    }))
})

const homesOf = ({ layout }: World) => presentSlots(layout).map((slot, i) => ({ slot, id: i + 1 }))

/** What a member decides on truthful answers. Who is no member of the list has no duty. */
function decide(world: World, member: number): Surplus {
  const homes = homesOf(world)
  const answers = new Map<number, HomeAnswer>()
  for (const { slot, id } of homes) {
    if (id === member) continue
    answers.set(slot, !world.alive[id - 1]! ? 'silent' : world.whole[id - 1]!.includes(slot) ? 'holds' : 'lacks')
  }
  const whole = world.whole[member - 1]!
  return surplusOf({
    layout: world.layout,
    homes,
    self: member,
    held: [...new Set([...whole, ...world.some[member - 1]!])],
    whole,
    answers,
    // Of a home that is silent now there may be a receipt from before.
    certified: homes
      .filter(({ slot, id }) => answers.get(slot) !== 'lacks' && (id !== member || whole.includes(slot)))
      .map(({ slot, id }) => ({ id, slots: world.lies.includes(slot) ? [] : [slot] })),
  })
}

test('whatever all members give up at once, the object stays durable at distinct members that live, and no slot loses its last holder', () => {
  let releaseCount = 0
  fc.assert(
    fc.property(worlds, (world) => {
      const { layout, memberCount, whole, alive, lies } = world
      const members = Array.from({ length: memberCount }, (_, i) => i + 1).filter((id) => alive[id - 1]!)
      const decided = new Map(members.map((id) => [id, decide(world, id)]))
      const given = (id: number): readonly number[] => {
        const one = decided.get(id)
        return one?.kind === 'release' ? one.slots : []
      }
      const left = members.map((id) => whole[id - 1]!.filter((slot) => !given(id).includes(slot)))
      for (const id of members) {
        const slots = given(id)
        if (slots.length === 0) continue
        releaseCount += 1
        for (const slot of slots) {
          expect(lies).not.toContain(slot)
          expect(left.some((held) => held.includes(slot))).toBe(true)
        }
        // A different member for each of k + ceil(m / 2) slots: the homes themselves.
        const standing = homesOf(world).filter(
          ({ slot, id: home }) =>
            alive[home - 1]! && left[members.indexOf(home)]!.includes(slot) && !lies.includes(slot),
        )
        const data = standing.filter(({ slot }) => slot < layout.dataSlotCount)
        expect(data).toHaveLength(layout.dataSlotCount)
        expect(standing.length - data.length).toBeGreaterThanOrEqual(lossesNeededOf(layout.code))
      }
    }),
    runs(20),
  )
  expect(releaseCount).toBeGreaterThan(20)
})

test('what belongs here is never given up, nor anything while a slot of its own or of a home that answers is to be built', () => {
  fc.assert(
    fc.property(worlds, (world) => {
      for (const { slot, id } of homesOf(world)) {
        const surplus = decide(world, id)
        if (surplus.kind === 'keep') continue
        expect(surplus.slots).not.toContain(slot)
        expect(world.whole[id - 1]).toContain(slot)
        for (const other of homesOf(world))
          if (other.id !== id && world.alive[other.id - 1]!) expect(world.whole[other.id - 1]).toContain(other.slot)
      }
    }),
    runs(10),
  )
})

test('where all homes are well, all that belongs elsewhere is given up; a member without a duty keeps nothing', () => {
  fc.assert(
    fc.property(worlds, (random) => {
      const slots = presentSlots(random.layout)
      const whole = random.whole.map((held, i) => (i < slots.length ? [...new Set([...held, slots[i]!])] : held))
      const world = { ...random, whole, alive: random.alive.map(() => true), lies: [] }
      for (let id = 1; id <= world.memberCount; id++) {
        const own = id <= slots.length ? [slots[id - 1]!] : []
        const held = new Set([...whole[id - 1]!, ...world.some[id - 1]!])
        const expected = [...held].filter((slot) => !own.includes(slot))
        expect(decide(world, id)).toEqual(
          expected.length === 0 ? { kind: 'keep', why: 'nothing' } : { kind: 'release', slots: expected },
        )
      }
    }),
    runs(10),
  )
})

test('a copy goes only where every one of enough homes has signed for its own, and never at a home', () => {
  const ids = fc.uniqueArray(fc.integer({ min: 1, max: 6 }), { maxLength: 5 })
  fc.assert(
    fc.property(
      ids,
      ids,
      fc.integer({ min: 1, max: 4 }),
      fc.option(fc.integer({ min: 1, max: 6 })),
      (homes, vouch, copiesNeeded, self) => {
        const vouching = new Set(vouch)
        if (!isSurplusCopy({ homes, self: self ?? undefined, copiesNeeded, vouching })) return
        expect(homes.filter((id) => id !== self && vouching.has(id)).length).toBeGreaterThanOrEqual(copiesNeeded)
      },
    ),
    runs(4),
  )
})
