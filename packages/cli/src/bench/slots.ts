import { slotsOf } from '@weightless/core'
import type { StoredResult } from '@weightless/sdk'
import { fail } from '../errors.ts'
import { readNetworkFile, type StorageNodeDescription } from '../networkFile.ts'
import type { LabNetwork } from './lab.ts'

/** Who holds each slot of an object that `put` has just stored, by the receipts of its certificate. */
export async function holdersBySlot(
  network: LabNetwork,
  { certificate }: Pick<StoredResult, 'certificate'>,
): Promise<ReadonlyMap<number, StorageNodeDescription>> {
  if (certificate === undefined) throw fail('BENCH_FAILED', { reason: 'the object has no certificate' })
  const { storage } = await readNetworkFile(network.dir)
  const holders = new Map<number, StorageNodeDescription>()
  for (const { signer, slots } of certificate.receipts) {
    const endpoint = certificate.members
      .flatMap(({ members }) => members)
      .find((member) => member.signer === signer)?.endpoint
    const node = storage.nodes.find(({ url }) => endpoint !== undefined && originOf(url) === originOf(endpoint))
    if (node === undefined) throw fail('BENCH_FAILED', { reason: 'a holder is none of the nodes', signer })
    for (const slot of slotsOf(slots)) holders.set(slot, node)
  }
  return holders
}

/** Nodes that run now, by their names. */
export async function pidsOf(network: LabNetwork, ids: readonly string[]): Promise<readonly number[]> {
  const { storage } = await readNetworkFile(network.dir)
  return storage.nodes.flatMap(({ id, pid }) => (ids.includes(id) && pid !== null ? [pid] : []))
}

function originOf(url: string): string {
  return new URL(url).origin
}
