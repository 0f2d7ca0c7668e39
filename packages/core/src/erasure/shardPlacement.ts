import { spreadSlots, type Home } from '../storage/placement.ts'
import type { Hex } from '../hex.ts'
import type { Member } from '../types.ts'
import type { ErasureCode } from './code.ts'
import { presentSlots, shardLayoutOf } from './shardLayout.ts'

/** Homes of an object (DESIGN D7, docs/erasure.md 5): the home of a slot keeps its shard of every stripe; an object of one segment
 *  has 1 + m homes that keep a copy each. No failure domain gets more than m of them while the domains suffice; slots that would
 *  stay without a home then are placed without regard to domains. When members are fewer than slots, the last parity slots have
 *  no home. In slot order. Throws like `shardLayoutOf`. */
export function protectedHomes(
  object: { readonly dataRoot: Hex; readonly sizeBytes: number; readonly code: ErasureCode },
  members: readonly Member[],
): readonly Home[] {
  const known = remembered.get(members) ?? new Map<string, readonly Home[]>()
  remembered.set(members, known)
  const { dataRoot, sizeBytes, code } = object
  const name = `${dataRoot} ${sizeBytes} ${code.k} ${code.m}`
  const found = known.get(name)
  if (found !== undefined) return found
  const homes = findHomes(object, members)
  if (known.size >= HOMES_MAX) known.delete(known.keys().next().value!)
  known.set(name, homes)
  return homes
}

/** Objects whose homes among one list of members are remembered: a node asks for those of each of its objects on every turn, while the
 *  list stays the same. */
const HOMES_MAX = 1024
const remembered = new WeakMap<readonly Member[], Map<string, readonly Home[]>>()

function findHomes(
  object: { readonly dataRoot: Hex; readonly sizeBytes: number; readonly code: ErasureCode },
  members: readonly Member[],
): readonly Home[] {
  const { dataRoot: key, code } = object
  const layout = shardLayoutOf(object.sizeBytes, code)
  const willing = members.filter(({ weight }) => weight > 0n)
  const all = layout ? presentSlots(layout) : Array.from({ length: 1 + code.m }, (_, rank) => rank)
  const slots = all.slice(0, willing.length)
  return spreadSlots({ key, slots, domainMax: code.m }, willing)
}
