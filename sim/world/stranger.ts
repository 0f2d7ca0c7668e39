import { addressOfPrivateKey, SEGMENT_SIZE_BYTES, type Kernels } from '@weightless/core'
import { upload } from '@weightless/sdk'
import { createChance } from '../chance.ts'
import { codeOf, userOf } from '../clients.ts'
import type { PlannedAttack } from '../faults.ts'
import { keyOf } from '../machine.ts'
import { createProcess } from '../process.ts'
import { chainFor } from './chain.ts'
import { FUNDS_WEI, GATEWAY_URL, type World } from './state.ts'
import { bytesOf } from './users.ts'

const STRANGER = 140
const ATTACK_MS_MAX = 60_000

/** Before its owner comes, somebody else submits the data, with parity of other bytes under honest tags, and stores both on the homes:
 *  by the very upload of the SDK, on a machine that computes parity wrongly. */
export async function attack(world: World, { object, code }: PlannedAttack): Promise<void> {
  const { time, trace, chain, net, checker, seed, plan } = world
  trace.add('stranger', 'attacks', object)
  const process = createProcess('stranger', {
    time,
    trace,
    onStart: (started) => void world.processes.push(started),
    chance: createChance(seed * 17 + object),
  })
  const address = addressOfPrivateKey(keyOf(STRANGER))
  chain.fund(address, FUNDS_WEI)
  const client = userOf(process, {
    rpcUrl: chainFor(world, process, address),
    chainId: chain.chainId,
    flow: chain.flow,
    registry: chain.registry,
    gatewayUrl: GATEWAY_URL,
    net: net.from(process),
    trace,
    privateKey: keyOf(STRANGER),
    onBug: checker.bug,
    wrap: bogusParity,
  })
  let outcome: string | undefined
  upload(client, bytesOf(seed, plan.objects, object), { code, timeoutMs: ATTACK_MS_MAX }).then(
    () => (outcome = 'is believed'),
    (error: unknown) => (outcome = codeOf(error)),
  )
  await time.run(() => outcome !== undefined, ATTACK_MS_MAX + 1_000)
  // Whoever has the bytes finds out that his own parity is none: he does not mind.
  trace.add('stranger', outcome ?? 'does not end')
  process.die()
}

/** Parity that is wrong by a bit in every shard; rows of fingerprints are shorter, and right. */
function bogusParity(kernels: Kernels): Kernels {
  const spoil = (row: Uint8Array): void => {
    if (row.length === SEGMENT_SIZE_BYTES) row[0]! ^= 1
  }
  return {
    ...kernels,
    async encodeParity(encoding, options) {
      await kernels.encodeParity(encoding, options)
      encoding.parity.forEach(spoil)
    },
    async recover(recovery, options) {
      await kernels.recover(recovery, options)
      for (const { slot, into } of recovery.wanted) if (slot >= recovery.code.k) spoil(into)
    },
  }
}
