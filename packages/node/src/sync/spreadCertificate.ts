import type { Certificate, Entry, Logger, Member } from '@weightless/core'
import { protectedHomes } from '@weightless/core'
import { mapBounded } from '@weightless/sdk'
import type { Peers } from '../peers/peers.ts'

const WINDOW = 4
const PUT_TIMEOUT_MS = 10_000

/** Tells the homes of an object, and who holds some of it, what its holders have signed by now. Best effort: who is not reached asks
 *  when it needs to know. `members` without this node. */
export async function spreadCertificate(
  entry: Entry,
  certificate: Certificate,
  { members, signal }: { readonly members: readonly Member[]; readonly signal: AbortSignal },
  { peers, logger }: { readonly peers: Peers; readonly logger: Logger },
): Promise<void> {
  const { code, dataRoot, sizeBytes, receipts } = certificate
  if (code === null) return
  const homes = new Set(protectedHomes({ dataRoot, sizeBytes, code }, members).map(({ member }) => member.id))
  const signers = new Set(receipts.map(({ signer }) => signer))
  const told = members.filter((member) => homes.has(member.id) || signers.has(member.signer))
  await mapBounded(told, { window: WINDOW, signal }, async (member, scope) => {
    try {
      const what = { seq: entry.seq, certificate }
      await peers.of(member)?.putCertificate(entry.root, what, { signal: scope, timeoutMs: PUT_TIMEOUT_MS })
    } catch (error) {
      signal.throwIfAborted()
      logger.info('certificate.notTold', { seq: entry.seq, holder: member.id, error })
    }
  })
}
