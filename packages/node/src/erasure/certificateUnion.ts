import type { Certificate, HeldReceipt, Membership } from '@weightless/core'
import { assembleCertificate, CERTIFICATE_RECEIPTS_MAX, decodeBase64, slotsOf } from '@weightless/core'

/** Certificates of one entry and one parity, verified each, that name other holders: repair adds one here and one there. */

export function isOfSameParity(a: Certificate, b: Certificate): boolean {
  return a.parity?.root === b.parity?.root && a.parity?.seq === b.parity?.seq && sameCode(a, b)
}

/** Whether `one` names a member, or slots of a member, that `kept` does not. */
export function bringsNews(one: Certificate, kept: Certificate, isMember: (id: number) => boolean): boolean {
  const known = new Map(holdersOf(kept).map(({ id, held }) => [id, slotCountOf(held)]))
  return holdersOf(one).some(({ id, held }) => isMember(id) && slotCountOf(held) > (known.get(id) ?? 0))
}

/** The receipts of both, one of each holder: the one for more slots. `undefined` when they are none or too many. */
export function unionOf(
  kept: Certificate,
  other: Certificate,
  isMember: (id: number) => boolean,
): Certificate | undefined {
  const byId = new Map<number, HeldReceipt>()
  for (const { id, held } of [...holdersOf(kept), ...holdersOf(other)]) {
    const before = byId.get(id)
    if (isMember(id) && (before === undefined || slotCountOf(held) > slotCountOf(before))) byId.set(id, held)
  }
  if (byId.size === 0 || byId.size > CERTIFICATE_RECEIPTS_MAX) return undefined
  return assembleCertificate(kept, [...byId.values()], [...membershipsOf(kept), ...membershipsOf(other)])
}

function sameCode({ code: a }: Certificate, { code: b }: Certificate): boolean {
  return a?.k === b?.k && a?.m === b?.m
}

function slotCountOf({ receipt }: HeldReceipt): number {
  return slotsOf(receipt.slots).length
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
