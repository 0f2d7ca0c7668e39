import type { Address } from '@weightless/core'
import type { MembershipSource } from '@weightless/sdk'
import type { MembershipView } from '../flow/membership.ts'

/** The members for the SDK as the log that this role follows tells them: without a request, and while the chain is away too. */
export function followedMembers(view: MembershipView, registry: Address): MembershipSource {
  return {
    registry,
    async read({ signal }) {
      signal?.throwIfAborted()
      return view.current()
    },
    draining: async () => view.draining(),
    at: view.at,
  }
}
