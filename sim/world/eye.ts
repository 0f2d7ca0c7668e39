import { BATCH_SEGMENTS_MAX, concat, type Net, type Root } from '@weightless/core'
import { createStorageNodeClient, type Client, type SegmentRun, type StorageNodeClient } from '@weightless/sdk'
import { createChance, type Chance } from '../chance.ts'
import { untilFollowed, userOf } from '../clients.ts'
import { addressOf, keyOf } from '../machine.ts'
import { createProcess, type Process } from '../process.ts'
import { chainFor } from './chain.ts'
import { GATEWAY_URL, machinesOf, nodeUrl, type World } from './state.ts'

/** Somebody who looks at the world from a machine of his own, which never fails; he has not met any of its nodes before. */
export type Eye = {
  readonly process: Process
  readonly client: Client
  readonly chance: Chance
  node(at: number): StorageNodeClient
  /** Carries out work of its own, and reports what ends badly; resolves to false when it takes longer than `limitMs`. */
  during(limitMs: number, work: () => Promise<void>): Promise<boolean>
  close(): void
}

/** A process that has just started reads the chain first, and may wait for an answer that a fault took, for as long as it waits for
 *  any (30 s). */
const FOLLOW_MS_MAX = 60_000
const EYE = 120

export function openEye(world: World): Eye {
  const { time, trace, chain, net, checker, seed } = world
  const process = createProcess('auditor', {
    time,
    trace,
    onStart: (started) => void world.processes.push(started),
    chance: createChance(seed * 11),
  })
  const inner: Net = net.from(process)
  const client = userOf(process, {
    rpcUrl: chainFor(world, process, addressOf(EYE)),
    chainId: chain.chainId,
    flow: chain.flow,
    registry: chain.registry,
    gatewayUrl: GATEWAY_URL,
    net: inner,
    trace,
    privateKey: keyOf(EYE),
    onBug: checker.bug,
  })
  return {
    process,
    client,
    chance: createChance(seed * 13),
    node: (at) => createStorageNodeClient(nodeUrl(at), { net: inner, clock: process.clock }),
    async during(limitMs, work) {
      let isDone = false
      work()
        .catch((error: unknown) => checker.violation('bug', `the auditor ends: ${String(error)}`))
        .finally(() => (isDone = true))
      return await time.run(() => isDone || checker.isBroken(), limitMs)
    },
    close: () => process.die(),
  }
}

/** Segments from, from + step, …, one behind the other; `undefined` where the node lacks one. */
export async function bytesAt(
  node: StorageNodeClient,
  what: SegmentRun & { readonly root: Root; readonly seq: number; readonly step: number },
): Promise<Uint8Array | undefined> {
  const { root, seq, step } = what
  const parts: Uint8Array[] = []
  for (let done = 0; done < what.count; done += BATCH_SEGMENTS_MAX) {
    const count = Math.min(BATCH_SEGMENTS_MAX, what.count - done)
    const segments = await node.getSegments(root, { from: what.from + done * step, count, step, seq }, {})
    if (segments === undefined) return undefined
    parts.push(...segments.map(({ data }) => data))
  }
  return concat(parts)
}

/** Every process that runs has read the chain up to now, or it is a violation. */
export async function untilAllFollow(world: World, { client }: Eye): Promise<void> {
  const { time, chain, checker } = world
  // Of a gateway that lies nobody can tell.
  const machines = machinesOf(world).filter(({ url }) => url !== GATEWAY_URL || !world.plan.gatewayLies)
  let followingCount = 0
  for (const machine of machines)
    untilFollowed(client, machine.url, chain.head).then(
      () => void (followingCount += 1),
      (error: unknown) => checker.bug(`${machine.name} follows`, error),
    )
  if (!(await time.run(() => followingCount === machines.length, FOLLOW_MS_MAX)))
    checker.violation('liveness', `a machine does not follow the chain within ${FOLLOW_MS_MAX / 1000} s`)
}
