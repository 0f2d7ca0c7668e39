import type { HandOffStatus, NetworkStatus, NodeStatus } from './status.ts'

/** Whether a storage node may go without anything going with it, as far as a status tells.
 *  `moving`: not yet, or not known yet. `stuck`: it will not be before another node joins. `needed`: it is down, and others lack what
 *  none of them has. */
export type Removal =
  | { readonly kind: 'safe' | 'moving' | 'stuck'; readonly handOff: HandOffStatus | null }
  | { readonly kind: 'needed'; readonly lostBytes: number; readonly unavailableEntryCount: number }

/** Of a node that has been drained. One that runs says itself what is left; of one that is down the others know what they lack. */
export function removalOf(status: NetworkStatus, id: string): Removal {
  const { nodes, registryVersion, bytesByLosses } = status.storage
  const node = nodes.find((one) => one.id === id)
  const moving: Removal = { kind: 'moving', handOff: node?.handOff ?? null }
  if (node === undefined || registryVersion === null) return moving
  const seesNow = (one: NodeStatus): boolean => one.registryVersion === registryVersion
  if (node.pid !== null) {
    if (!seesNow(node) || node.handOff === null) return moving
    const { state } = node.handOff
    return { kind: state === 'done' ? 'safe' : state === 'stuck' ? 'stuck' : 'moving', handOff: node.handOff }
  }
  const others = nodes.filter((one) => one.id !== id && one.pid !== null)
  if (others.length === 0) return { kind: 'stuck', handOff: null }
  const haveLooked = others.every(
    (one) => seesNow(one) && one.isRedundancyKnown && (one.syncState === 'complete' || one.syncState === 'waiting'),
  )
  if (!haveLooked) return moving
  const lostBytes = bytesByLosses['lost'] ?? 0
  const unavailableEntryCount = others.reduce((sum, one) => sum + (one.unavailableEntryCount ?? 0), 0)
  if (lostBytes > 0 || unavailableEntryCount > 0) return { kind: 'needed', lostBytes, unavailableEntryCount }
  // What can be computed from others is computed first: until then what lies there dead is one loss more that is survived.
  if (others.some(({ missingBytes }) => missingBytes !== 0)) return moving
  return { kind: 'safe', handOff: null }
}
