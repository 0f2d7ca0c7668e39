import type { Certificate, HeldReceipt, Membership } from '@weightless/core'
import { assembleCertificate, CERTIFICATE_RECEIPTS_MAX, decodeBase64, slotsOf } from '@weightless/core'

/** Certificates of one entry and one parity, verified each, that name other holders: repair adds one here and one there. */

export function isOfSameParity(a: Certificate, b: Certificate): boolean {
  return a.parity?.root === b.parity?.root && a.parity?.seq === b.parity?.seq && sameCode(a, b)
}

/** Whether `one` names a member, or a slot of a member, that `kept` does not. */
export function bringsNews(one: Certificate, kept: Certificate, isMember: (id: number) => boolean): boolean {
  const known = new Map(holdersOf(kept).map(({ id, held }) => [id, held]))
  return holdersOf(one).some(({ id, held }) => isMember(id) && !includesSlots(known.get(id), held))
}

/** The receipts of both, one of each holder: the one for more slots. Where each names a slot that the other does not, the holder has
 *  given one of them up since: `prefer` says whose counts. `undefined` when they are none or too many. */
export function unionOf(
  kept: Certificate,
  other: Certificate,
  options: { readonly isMember: (id: number) => boolean; readonly prefer: 'kept' | 'other' },
): Certificate | undefined {
  const { isMember, prefer } = options
  const byId = new Map<number, HeldReceipt>()
  for (const { id, held } of holdersOf(kept)) if (isMember(id)) byId.set(id, held)
  for (const { id, held } of holdersOf(other)) {
    const before = byId.get(id)
    if (!isMember(id) || includesSlots(before, held)) continue
    if (before === undefined || includesSlots(held, before) || prefer === 'other') byId.set(id, held)
  }
  if (byId.size === 0 || byId.size > CERTIFICATE_RECEIPTS_MAX) return undefined
  return assembleCertificate(kept, [...byId.values()], [...membershipsOf(kept), ...membershipsOf(other)])
}

export function hasSameReceipts(a: Certificate, b: Certificate): boolean {
  return (
    a.receipts.length === b.receipts.length && a.receipts.every((one, i) => one.signature === b.receipts[i]!.signature)
  )
}

function sameCode({ code: a }: Certificate, { code: b }: Certificate): boolean {
  return a?.k === b?.k && a?.m === b?.m
}

function includesSlots(all: HeldReceipt | undefined, some: HeldReceipt): boolean {
  const slots = all === undefined ? [] : slotsOf(all.receipt.slots)
  return slotsOf(some.receipt.slots).every((slot) => slots.includes(slot))
}

function holdersOf({ receipts, fingerprints, members }: Certificate): readonly { id: number; held: HeldReceipt }[] {
  return receipts.flatMap((receipt, i) => {
    const list = members.find(({ version }) => version === receipt.registryVersion)
    const member = list?.members.find(({ signer }) => signer === receipt.signer)
    return member === undefined
      ? []
      : [{ id: member.id, held: { receipt, fingerprints: decodeBase64(fingerprints[i]!) } }]
  })
}

function membershipsOf({ members }: Certificate): readonly Membership[] {
  return members.map((list) => ({
    version: list.version,
    members: list.members.map((member) => ({ ...member, weight: BigInt(member.weight) })),
  }))
}
