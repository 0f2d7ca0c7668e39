import { assembleCertificate, parseParityTags, SEGMENT_SIZE_BYTES, type Kernels, type Net } from '@weightless/core'
import { createStorageNodeClient, decodeSubmitLog, upload } from '@weightless/sdk'
import { isSubmit } from '../chain.ts'
import { createChance } from '../chance.ts'
import { codeOf, userOf } from '../clients.ts'
import type { PlannedAttack } from '../faults.ts'
import { addressOf, keyOf } from '../machine.ts'
import { createProcess, type Process } from '../process.ts'
import { chainFor } from './chain.ts'
import { FUNDS_WEI, GATEWAY_URL, type World } from './state.ts'
import { bytesOf } from './users.ts'

const STRANGER = 140
const ATTACK_MS_MAX = 60_000
const FINGERPRINT_BYTES_MAX = 1024 ** 2

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
  const address = addressOf(STRANGER)
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
  upload(client, bytesOf(seed, plan.objects, object), { code, timeoutMs: ATTACK_MS_MAX })
    // Whoever has the bytes finds out that his own parity is none: he does not mind.
    .catch((error: unknown) => trace.add('stranger', codeOf(error)))
    .then(() => certifyAnyway(world, process, net.from(process)))
    .then(
      () => (outcome = 'has certified'),
      (error: unknown) => (outcome = codeOf(error)),
    )
  await time.run(() => outcome !== undefined, 2 * ATTACK_MS_MAX)
  trace.add('stranger', outcome ?? 'does not end')
  process.die()
}

/** Every receipt is true, and they do not fit together: a certificate that proves nothing, at every node. */
async function certifyAnyway({ chain, machines, plan }: World, { clock }: Process, net: Net): Promise<void> {
  const entries = chain.logs().filter(isSubmit).map(decodeSubmitLog)
  const parity = entries.at(-1)
  const tags = parity && parseParityTags(parity.tags)
  const data = entries.find(({ root }) => root === tags?.dataRoot)
  if (parity === undefined || tags === undefined || data === undefined) return
  const nodes = machines.slice(0, plan.nodeCount).map(({ url }) => createStorageNodeClient(url, { net, clock }))
  const what = { seq: data.seq, parity: parity.seq, fingerprintBytesMax: FINGERPRINT_BYTES_MAX }
  const answers = await Promise.all(nodes.map((node) => node.shards(data.root, what, {})))
  const receipts = answers.flatMap((answer) => (answer.kind === 'signed' ? [answer.held] : []))
  const versions = new Set(receipts.map(({ receipt }) => receipt.registryVersion))
  const certificate = assembleCertificate(
    {
      chainId: chain.chainId,
      registry: chain.registry,
      code: tags.code,
      dataRoot: data.root,
      sizeBytes: data.sizeBytes,
      entrySeq: data.seq,
      parity: { root: parity.root, seq: parity.seq },
    },
    receipts,
    [...versions].map((version) => ({ version, members: chain.membersAt(version) })),
  )
  await Promise.all(nodes.map((node) => node.putCertificate(data.root, { seq: data.seq, certificate }, {})))
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
