import { isFailure, protectedHomes, slotsOf, type Abortable, type StripePlan } from '@weightless/core'
import { certificateBytesMax } from './certify.ts'
import type { Client } from './client.ts'
import { fail } from './errors.ts'
import { listFailures, type NodeFailure } from './holders.ts'
import type { Located } from './locate.ts'
import type { KnownParity } from './survey.ts'

/** Certificates are asked for only to name nodes. */
const CERTIFICATES_ASKED_MAX = 3
/** A person reads a few. */
const HELPERS_LISTED_MAX = 16

/** `SHARDS_LOST` for a stripe that cannot be read: which slots are missing, and whose return would help. */
export async function shardsLost(
  client: Client,
  { root, seq, sizeBytes }: Pick<Located, 'root' | 'seq' | 'sizeBytes'>,
  what: {
    readonly parity: KnownParity
    readonly plan: Extract<StripePlan, { kind: 'lost' }>
    readonly failures: readonly NodeFailure[]
  },
  options: Abortable,
): Promise<Error> {
  const { parity, plan, failures } = what
  const { members } = await client.membership.read(options)
  const signed = await signedHolders({ root, seq, sizeBytes }, parity, options)
  const homes = protectedHomes({ dataRoot: root, sizeBytes, code: parity.layout.code }, members)
  const helpers = plan.wouldHelp.map((slot) => {
    const known = parity.holders.get(slot)?.map(({ url }) => url)
    const home = homes.find((one) => one.slot === slot)?.member.endpoint
    return `slot ${slot} at ${known?.join(' or ') ?? signed.get(slot) ?? home ?? 'nobody'}`
  })
  const latest = failures.filter(({ node }, i) => failures.findLastIndex((other) => other.node === node) === i)
  return fail('SHARDS_LOST', {
    root,
    seq,
    stripe: plan.stripe,
    missingSlots: plan.missing.join(),
    shortBy: plan.shortBy,
    wouldHelp: helpers.slice(0, HELPERS_LISTED_MAX).join('; '),
    failures: listFailures(latest),
  })
}

/** Who signed for which slot, as a certificate says that some holder keeps: for a person to look after these nodes, so nothing of
 *  it is verified. */
async function signedHolders(
  { root, seq, sizeBytes }: Pick<Located, 'root' | 'seq' | 'sizeBytes'>,
  parity: KnownParity,
  { signal }: Abortable,
): Promise<ReadonlyMap<number, string>> {
  const contacts = new Set([...parity.holders.values()].flat())
  for (const { node } of [...contacts].slice(0, CERTIFICATES_ASKED_MAX)) {
    try {
      if (seq === undefined) break
      const what = { seq, sizeBytesMax: certificateBytesMax({ sizeBytes, code: parity.layout.code }) }
      const certificate = await node.certificate(root, what, { signal })
      if (certificate?.parity?.root !== parity.root) continue
      const members = certificate.members.flatMap((list) => list.members)
      return new Map(
        certificate.receipts.flatMap(({ signer, slots }) => {
          const endpoint = members.find((member) => member.signer === signer)?.endpoint
          return endpoint === undefined ? [] : slotsOf(slots).map((slot) => [slot, endpoint] as const)
        }),
      )
    } catch (error) {
      signal?.throwIfAborted()
      if (!isFailure(error)) throw error
    }
  }
  return new Map()
}
