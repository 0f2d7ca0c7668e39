import { isFailure, type Abortable } from '@weightless/core'
import type { Client } from './client.ts'
import { contactsOf, type Contact } from './contacts.ts'
import { withDeadline } from './scope.ts'

/** A read that has failed so far waits for it. */
const LOOKUP_TIMEOUT_MS = 4_000

/** Nodes that drain, for what the members do not have; nobody, where the chain does not say. */
export async function drainingContacts(client: Client, { signal }: Abortable): Promise<readonly Contact[]> {
  const { contacts, deps, membership } = client
  try {
    const limit = { signal, timeoutMs: LOOKUP_TIMEOUT_MS, what: 'members that drain' }
    return contactsOf(contacts, await withDeadline(limit, deps, (scope) => membership.draining({ signal: scope })))
  } catch (error) {
    signal?.throwIfAborted()
    if (!isFailure(error)) throw error
    deps.logger.debug('draining.notRead', { error })
    return []
  }
}
