import { describe, expect, test } from 'vitest'
import {
  domainOf,
  membershipHash,
  membersToJson,
  verifyCertificate,
  type ErasureCode,
  type Member,
} from '@weightless/core'
import { content, createFakeNetwork, type FakeNetwork, type NetworkNode } from '../../../sim/fakes/network.ts'
import { upload } from './upload.ts'

/** Five copies, or five slots: each member is a holder. */
const code: ErasureCode = { k: 1, m: 4 }

/** Holders sign by the version that was in force with the entry; the registry lists the members of the one after it. */
function changed(): { readonly network: FakeNetwork; readonly before: readonly Member[] } {
  const network = createFakeNetwork()
  const before = network.nodes.map(({ member }) => member)
  network.chain.setMembers(before.slice(0, 5))
  return { network, before }
}
/** A list that is not that of its version. */
const tellsWrong =
  (members: readonly Member[]) =>
  async (request: Request, node: Pick<NetworkNode, 'handle'>): Promise<Response> => {
    if (new URL(request.url).pathname !== '/v1/members') return await node.handle(request)
    const [first, ...rest] = members
    return Response.json(
      membersToJson({ version: 1, members: [{ ...first!, domain: domainOf('elsewhere') }, ...rest] }),
    )
  }

describe('receipts of a version of the registry that is over', () => {
  test.each([1_000, 5 * 262_144])(
    'make a certificate of %i bytes with the list that a holder tells',
    async (sizeBytes) => {
      const { network, before } = changed()
      for (const node of network.nodes.slice(0, 4)) node.fault = tellsWrong(before)
      const { certificate } = await upload(network.client(), content(sizeBytes, 1), { code })
      expect(certificate!.members).toEqual([membersToJson({ version: 1, members: before })])
      const { chainId, registry } = network.chain
      const membershipHashOf = (version: number) => (version === 1 ? membershipHash(before) : undefined)
      expect(verifyCertificate(certificate!, { chainId, registry, membershipHashOf }).isDurable).toBe(true)
    },
  )

  test('make none with a list that the registry does not bear out', async () => {
    const { network, before } = changed()
    for (const node of network.nodes) node.fault = tellsWrong(before)
    await expect(upload(network.client(), content(1_000, 2), { code })).rejects.toMatchObject({
      code: 'CERTIFICATE_INVALID',
    })
  })
})
