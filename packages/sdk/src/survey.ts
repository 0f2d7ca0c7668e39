import {
  isFailure,
  placementOrder,
  shardLayoutOf,
  type Abortable,
  type Membership,
  type Root,
  type ShardLayout,
} from '@weightless/core'
import type { Client } from './client.ts'
import { contactsOf, type Contact } from './contacts.ts'
import { drainingContacts } from './draining.ts'
import { mapBounded } from './inOrder.ts'
import { childScope } from './scope.ts'
import type { HeldEntry, HeldParity } from './storageNodeClient.ts'

/** What nodes say they have of an object. Nothing of it is believed: what they serve is checked against the data root. */
export type Survey = {
  /** Ways to read the object by shards, the best first: proven parity, then the largest m, then the first in the log. */
  readonly parities: readonly KnownParity[]
  /** Everybody was asked: otherwise others may have more. */
  readonly isComplete: boolean
}
export type KnownParity = {
  readonly seq: number
  readonly root: Root
  readonly layout: ShardLayout
  readonly isProven: boolean
  /** Who has the shards of a slot, whoever has the whole entry included. */
  readonly holders: ReadonlyMap<number, readonly Contact[]>
}
/** One node's answer about a root. */
export type Answer = { readonly contact: Contact; readonly known: readonly HeldEntry[] }

/** Each costs a reader a stripe at most, if it is bogus. */
const PARITIES_TRIED_MAX = 16

export function surveyOf(
  sizeBytes: number,
  answers: readonly Answer[],
  { isComplete }: Pick<Survey, 'isComplete'>,
): Survey {
  const byName = new Map<string, Draft>()
  const wholeHolders: Contact[] = []
  for (const { contact, known } of answers) {
    const own = known.filter((entry) => entry.sizeBytes === sizeBytes)
    if (own.some(({ complete }) => complete)) wholeHolders.push(contact)
    for (const parity of own.flatMap(({ parities }) => parities)) {
      const name = `${parity.seq} ${parity.root} ${parity.code.k} ${parity.code.m}`
      const draft = byName.get(name) ?? draftOf(sizeBytes, parity)
      if (draft === undefined) continue
      byName.set(name, draft)
      draft.isProven ||= parity.proven
      for (const slot of parity.slots) addHolder(draft, slot, contact)
    }
  }
  for (const draft of byName.values())
    for (const contact of wholeHolders)
      for (let slot = 0; slot < draft.layout.dataSlotCount; slot++) addHolder(draft, slot, contact)
  const parities = [...byName.values()].sort(
    (a, b) => Number(b.isProven) - Number(a.isProven) || b.layout.code.m - a.layout.code.m || a.seq - b.seq,
  )
  return { parities: parities.slice(0, PARITIES_TRIED_MAX), isComplete }
}

/** Whether every stripe can be read: `directly` where every data slot has a holder. */
export function readableBy({ parities }: Pick<Survey, 'parities'>): 'directly' | 'decoded' | 'not' {
  const covers = parities.map(({ holders, layout }) => {
    const slots = [...holders.keys()]
    if (slots.filter((slot) => slot < layout.code.k).length === layout.dataSlotCount) return 'directly'
    return slots.length >= layout.dataSlotCount ? 'decoded' : 'not'
  })
  return covers.includes('directly') ? 'directly' : covers.includes('decoded') ? 'decoded' : 'not'
}

const ASK_WINDOW = 8
/** A small answer from memory; whoever needs longer is not waited for. */
const ASK_TIMEOUT_MS = 4_000
/** When enough to read from have answered, one that hangs is not waited for. */
const REST_GRACE_MS = 500

/** Asks members what they have, and those that drain: `readable` only where members do not suffice, `complete` in any case, since what
 *  members say may not be so. */
export async function survey(
  client: Client,
  object: { readonly root: Root; readonly seq: number | undefined; readonly sizeBytes: number },
  options: Abortable & { readonly until: 'readable' | 'complete' },
): Promise<Survey> {
  const { root, seq, sizeBytes } = object
  const { signal: outer, until } = options
  const good: Answer[] = []
  const isReadable = (): boolean => readableBy(surveyOf(sizeBytes, good, { isComplete: false })) !== 'not'

  async function ask(contacts: readonly Contact[]): Promise<void> {
    const scope = childScope(outer)
    let isWaiting = false
    await mapBounded(contacts, { window: ASK_WINDOW, signal: outer }, async (contact, signal) => {
      try {
        const known = await contact.node.entries(root, { signal: scope.signal, timeoutMs: ASK_TIMEOUT_MS })
        good.push({ contact, known: known.filter((entry) => seq === undefined || entry.seq === seq) })
        if (isWaiting || !isReadable()) return
        isWaiting = true
        client.deps.clock.sleep(REST_GRACE_MS, { signal: scope.signal }).then(scope.end, () => undefined)
      } catch (error) {
        signal.throwIfAborted()
        if (scope.signal.aborted) return
        if (!isFailure(error)) throw error
        contact.failed(error)
      }
    }).finally(scope.end)
  }

  const members = contactsOf(client.contacts, ordered(root, await client.membership.read(options)))
  if (until === 'readable') {
    await ask(members)
    if (isReadable()) return surveyOf(sizeBytes, good, { isComplete: false })
    // Who failed a moment ago has left, as a rule.
    await ask((await drainingContacts(client, options)).filter((contact) => !contact.isAvoided()))
  } else await ask([...(await drainingContacts(client, options)), ...members])
  return surveyOf(sizeBytes, good, { isComplete: true })
}

/** Whoever is likely to have something comes first. */
function ordered(root: Root, { members }: Membership): Membership['members'] {
  const willing = placementOrder({ key: root, slot: 0 }, members)
  const ids = new Set(willing.map(({ id }) => id))
  return [...willing, ...members.filter(({ id }) => !ids.has(id))]
}

type Draft = {
  readonly seq: number
  readonly root: Root
  readonly layout: ShardLayout
  isProven: boolean
  readonly holders: Map<number, Contact[]>
}

/** `undefined`: there can be no such parity of this object. */
function draftOf(sizeBytes: number, { seq, root, code }: HeldParity): Draft | undefined {
  try {
    const layout = shardLayoutOf(sizeBytes, code)
    return layout && { seq, root, layout, isProven: false, holders: new Map() }
  } catch (error) {
    if (isFailure(error, 'CODE_INVALID')) return undefined
    throw error
  }
}

function addHolder({ holders, layout }: Draft, slot: number, contact: Contact): void {
  const isPresent = slot < layout.dataSlotCount || (slot >= layout.code.k && slot < layout.code.k + layout.code.m)
  if (!isPresent) return
  const known = holders.get(slot) ?? []
  if (!known.includes(contact)) holders.set(slot, [...known, contact])
}
