import { invariant } from '@weightless/core'
import { SLOT_CLASS_BYTES, type SlotAddress } from './slot.ts'
import type { ReservedSlots } from './rows.ts'

/** Which slots hold segments, and which may be written now.
 *
 *  A slot is written only while it is in a reservation that is durable in the index (a checkpoint), so after a crash exactly the
 *  reserved slots have to be looked at. A slot is given out once per reservation, in rising order, so that neighbours are
 *  written together. Pure bookkeeping: the store makes it durable. */
export type SlotMap = {
  /** Next slots of a class that may be written; `undefined` when fewer are reserved. */
  take(classId: number, count: number): number[] | undefined
  /** Slots that `take` may still give out. */
  takeable(classId: number): number
  /** The index knows the segment in this slot. */
  settle(at: SlotAddress): void
  /** The write of this slot failed: it is free again after its reservation. */
  abandon(at: SlotAddress): void
  /** Slots for the next reservation: the lowest free ones. They are no longer free. */
  choose(classId: number, count: number): number[]
  /** Reservations that must be in the next checkpoint. Those whose slots are all settled or abandoned end here. */
  liveReservations(): readonly ReservedSlots[]
  /** The checkpoint with these slots is durable. */
  reserve(classId: number, slots: readonly number[], base: number): void
  /** The checkpoint failed: the chosen slots are free again. */
  unchoose(classId: number, slots: readonly number[]): void
  /** Marks a slot as taken by a segment of the index. False when it is taken already. */
  occupy(at: SlotAddress): boolean
  isOccupied(at: SlotAddress): boolean
  release(at: SlotAddress): void
  usedSlotCount(): number
  usedBytes(): number
}

export function createSlotMap(): SlotMap {
  const classes = SLOT_CLASS_BYTES.map(() => ({
    taken: new Uint32Array(64),
    firstMaybeFree: 0,
    usedCount: 0,
    reservations: [] as Reservation[],
  }))

  function has(classId: number, slot: number): boolean {
    return (((classes[classId]!.taken[slot >>> 5] ?? 0) >>> (slot & 31)) & 1) === 1
  }

  function set(classId: number, slot: number, value: boolean): void {
    const owner = classes[classId]!
    if (slot >>> 5 >= owner.taken.length) {
      const wider = new Uint32Array(Math.max(owner.taken.length * 2, (slot >>> 5) + 1))
      wider.set(owner.taken)
      owner.taken = wider
    }
    if (value) owner.taken[slot >>> 5]! |= 1 << (slot & 31)
    else {
      owner.taken[slot >>> 5]! &= ~(1 << (slot & 31))
      owner.firstMaybeFree = Math.min(owner.firstMaybeFree, slot)
    }
  }

  function reservationOf({ classId, slot }: SlotAddress): Reservation {
    const found = classes[classId]!.reservations.find((reservation) => reservation.open.has(slot))
    invariant(found !== undefined, 'a slot that is being written is reserved')
    return found
  }

  return {
    take(classId, count) {
      if (this.takeable(classId) < count) return undefined
      const slots: number[] = []
      for (const reservation of classes[classId]!.reservations) {
        while (slots.length < count && reservation.next < reservation.slots.length) {
          const slot = reservation.slots[reservation.next++]!
          reservation.open.add(slot)
          slots.push(slot)
        }
      }
      classes[classId]!.usedCount += count
      return slots
    },
    takeable: (classId) =>
      classes[classId]!.reservations.reduce((sum, { slots, next }) => sum + slots.length - next, 0),
    settle(at) {
      reservationOf(at).open.delete(at.slot)
    },
    abandon(at) {
      const reservation = reservationOf(at)
      reservation.open.delete(at.slot)
      reservation.abandoned.push(at.slot)
      classes[at.classId]!.usedCount -= 1
    },
    choose(classId, count) {
      const owner = classes[classId]!
      const slots: number[] = []
      let slot = owner.firstMaybeFree
      for (; slots.length < count; slot++) {
        if (has(classId, slot)) continue
        set(classId, slot, true)
        slots.push(slot)
      }
      owner.firstMaybeFree = slot
      return slots
    },
    liveReservations() {
      const live: ReservedSlots[] = []
      classes.forEach((owner, classId) => {
        owner.reservations = owner.reservations.filter((reservation) => {
          if (reservation.next < reservation.slots.length || reservation.open.size > 0) return true
          for (const slot of reservation.abandoned) set(classId, slot, false)
          return false
        })
        for (const { slots, base } of owner.reservations) live.push({ classId, base, ranges: rangesOf(slots) })
      })
      return live
    },
    reserve(classId, slots, base) {
      classes[classId]!.reservations.push({ base, slots, next: 0, open: new Set(), abandoned: [] })
    },
    unchoose(classId, slots) {
      for (const slot of slots) set(classId, slot, false)
    },
    occupy(at) {
      if (has(at.classId, at.slot)) return false
      set(at.classId, at.slot, true)
      classes[at.classId]!.usedCount += 1
      return true
    },
    isOccupied: (at) => has(at.classId, at.slot),
    release(at) {
      invariant(has(at.classId, at.slot), 'only a taken slot is released')
      set(at.classId, at.slot, false)
      classes[at.classId]!.usedCount -= 1
    },
    usedSlotCount: () => classes.reduce((sum, { usedCount }) => sum + usedCount, 0),
    usedBytes: () => classes.reduce((sum, { usedCount }, classId) => sum + usedCount * SLOT_CLASS_BYTES[classId]!, 0),
  }
}

/** Consecutive slots as [from, count]. */
export function rangesOf(slots: readonly number[]): [from: number, count: number][] {
  const ranges: [number, number][] = []
  for (const slot of slots) {
    const last = ranges.at(-1)
    if (last !== undefined && last[0] + last[1] === slot) last[1] += 1
    else ranges.push([slot, 1])
  }
  return ranges
}

type Reservation = {
  readonly base: number
  readonly slots: readonly number[]
  /** Position in `slots` of the next to give out. */
  next: number
  /** Given out, and neither settled nor abandoned. */
  readonly open: Set<number>
  readonly abandoned: number[]
}
