import type { Certificate, Entry, Logger, Member } from '@weightless/core'
import { isFailure, placementOrder, presentSlots, protectedHomes, shardCountOf } from '@weightless/core'
import { FINGERPRINT_SIZE_BYTES } from '@weightless/kernels'
import { mapBounded } from '@weightless/sdk'
import { betterParity } from '../erasure/betterParity.ts'
import { codedEntryOf } from '../erasure/codedEntry.ts'
import type { Certificates } from '../erasure/certificates.ts'
import type { ParityIndex } from '../flow/parities.ts'
import type { Peers } from '../peers/peers.ts'
import { isKeptByShards } from './duty.ts'

/** Members asked for one certificate. Who holds shards of an object was given it. */
const ASKED_MAX = 32
const ASK_WINDOW = 4
/** Codes whose homes are asked first. */
const CODES_MAX = 4
/** Looked at in order to know how large a certificate may be. */
const PARITIES_LOOKED_MAX = 256
/** Megabytes at most, and a home waits for the answer before it begins to copy. */
const ASK_TIMEOUT_MS = 5_000
/** Receipts and member lists of a certificate: 256 receipts are 200 KB, ten lists of 256 members 1 MiB. */
const CERTIFICATE_REST_BYTES_MAX = 2 * 1024 ** 2

export type FindCertificateDeps = {
  readonly certificates: Pick<Certificates, 'take' | 'of'>
  readonly parities: ParityIndex
  readonly peers: Peers
  readonly logger: Logger
}

/** Asks other members, a few at a time, until one has a certificate that is verified here and says that the object is kept by
 *  shards, of the parity that counts before all that the log has of it: who has another one may know no better. Every certificate that
 *  is verified is kept, whatever it says. `members` and `draining` without this node. */
export async function findCertificate(
  entry: Entry,
  options: {
    readonly members: readonly Member[]
    readonly draining?: readonly Member[] | undefined
    readonly signal: AbortSignal
  },
  { certificates, parities, peers, logger }: FindCertificateDeps,
): Promise<'found' | 'none'> {
  const { signal } = options
  const { asked, sizeBytesMax } = whomToAsk(entry, options, parities)
  const able = asked.filter((member) => !peers.isAvoided(member) && peers.of(member) !== undefined)
  const ask = async (member: Member, scope: AbortSignal): Promise<Certificate | undefined> => {
    try {
      const what = { seq: entry.seq, sizeBytesMax }
      const found = await peers.of(member)!.certificate(entry.root, what, { signal: scope, timeoutMs: ASK_TIMEOUT_MS })
      peers.succeeded(member)
      return found
    } catch (error) {
      signal.throwIfAborted()
      peers.failed(member, error)
      return undefined
    }
  }
  let isFound = false
  for (let from = 0; from < able.length; from += ASK_WINDOW) {
    const some = able.slice(from, from + ASK_WINDOW)
    const told = await mapBounded(some, { window: ASK_WINDOW, signal }, ask)
    for (const certificate of told) {
      if (certificate === undefined) continue
      try {
        if (isKeptByShards(await certificates.take(entry, certificate, { signal }))) isFound = true
      } catch (error) {
        signal.throwIfAborted()
        if (!isFailure(error)) throw error
        // What does not hold together here may be of a block that one of the two has not seen: no reason to call it a lie.
        logger.info('certificate.refused', { seq: entry.seq, error })
      }
    }
    if (isFound && !mayBeBetter(entry, { certificates, parities })) break
  }
  return isFound ? 'found' : 'none'
}

function mayBeBetter(
  entry: Entry,
  { certificates, parities }: Pick<FindCertificateDeps, 'certificates' | 'parities'>,
): boolean {
  const kept = certificates.of(entry)
  const parity = kept?.parity == null ? undefined : parities.named(entry, kept.parity.seq)
  return parity !== undefined && betterParity(codedEntryOf(entry, parity), parities) !== undefined
}

function whomToAsk(
  entry: Entry,
  {
    members,
    draining = [],
  }: { readonly members: readonly Member[]; readonly draining?: readonly Member[] | undefined },
  parities: ParityIndex,
): { readonly asked: readonly Member[]; readonly sizeBytesMax: number } {
  const homes: Member[] = []
  let shardCount = 0
  let codeCount = 0
  for (const parity of parities.of(entry)) {
    const { code, layout } = codedEntryOf(entry, parity)
    const object = { dataRoot: entry.root, sizeBytes: entry.sizeBytes, code }
    if (codeCount++ < CODES_MAX) homes.push(...protectedHomes(object, members).map(({ member }) => member))
    const count = presentSlots(layout).reduce((sum, slot) => sum + shardCountOf(layout, slot), 0)
    shardCount = Math.max(shardCount, count)
    if (codeCount === PARITIES_LOOKED_MAX) break
  }
  const order = [...homes, ...draining, ...placementOrder({ key: entry.root, slot: 0 }, members)]
  return {
    asked: order.filter((member, i) => order.findIndex(({ id }) => id === member.id) === i).slice(0, ASKED_MAX),
    // Each slot held twice, in base64.
    sizeBytesMax: CERTIFICATE_REST_BYTES_MAX + 3 * shardCount * FINGERPRINT_SIZE_BYTES,
  }
}
