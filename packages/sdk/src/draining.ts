import { isFailure, type Abortable, type Member } from '@weightless/core'
import type { Client } from './client.ts'
import { withDeadline } from './scope.ts'

/** A read has failed so far, and may succeed without those that drain by the next round. */
const LOOKUP_TIMEOUT_MS = 4_000

/** Members that drain and are worth asking for what the members do not have: who failed a moment ago has left, as a rule. Nobody, where
 *  the chain does not say. */
export async function drainingMembers(client: Client, { signal }: Abortable): Promise<readonly Member[]> {
  const { clock, logger } = client.deps
  try {
    const read = client.membership.draining
    const limit = { signal, timeoutMs: LOOKUP_TIMEOUT_MS, what: 'members that drain' }
    const members = await withDeadline(limit, { clock }, (scope) => read({ signal: scope }))
    return members.filter(({ endpoint }) => isWorthAsking(client, endpoint))
  } catch (error) {
    signal?.throwIfAborted()
    if (!isFailure(error)) throw error
    logger.debug('draining.notRead', { error })
    return []
  }
}

function isWorthAsking({ contacts }: Client, endpoint: string): boolean {
  try {
    return !contacts.of(endpoint).isAvoided()
  } catch {
    // No URL: nobody can be asked there.
    return false
  }
}
