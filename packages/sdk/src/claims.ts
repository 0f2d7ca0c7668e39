import type { Member } from '@weightless/core'
import type { Client } from './client.ts'
import type { SlotOrder } from './holders.ts'

/** Who is to hold what in one upload: gives each member to one slot at most. */
export type Claims = {
  /** The next candidate of a slot: its home first, then who is free in its order; those that failed lately come last. `undefined`:
   *  nobody is left. */
  next(slot: number): Member | undefined
}

export function createClaims(client: Client, slots: readonly SlotOrder[]): Claims {
  const taken = new Set<number>()
  const orders = new Map(slots.map(({ slot, order }) => [slot, order]))
  // A home that is well belongs to its slot, whoever else looks for a replacement.
  const reserved = new Map(slots.map(({ slot, order }) => [slot, order[0]!.id]))
  return {
    next: (slot) => {
      const others = new Set([...reserved].flatMap(([other, id]) => (other === slot ? [] : [id])))
      const free = (orders.get(slot) ?? []).filter(({ id }) => !taken.has(id) && !others.has(id))
      const chosen = free.find((member) => !isAvoided(client, member)) ?? free[0]
      reserved.delete(slot)
      if (chosen !== undefined) taken.add(chosen.id)
      return chosen
    },
  }
}

function isAvoided(client: Client, member: Member): boolean {
  try {
    return client.contacts.of(member.endpoint).isAvoided()
  } catch {
    return true
  }
}
