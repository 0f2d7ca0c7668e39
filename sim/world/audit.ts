import { isFailure, copyHomes, REPLICA_COUNT, SEGMENT_SIZE_BYTES } from '@weightless/core'
import type { Client, StorageNodeClient } from '@weightless/sdk'
import type { Ack } from '../checkers.ts'
import { officialDownload, ownDownload, WrongAnswer } from '../clients.ts'
import { addressOf } from '../machine.ts'
import { acksOnChain } from './acks.ts'
import { bytesAt, openEye, untilAllFollow, type Eye } from './eye.ts'
import { GATEWAY_URL, nodesOf, nodeUrl, type World } from './state.ts'
import { keptObjects, untilFullStrength } from './strength.ts'

/** Reading back everything that was acknowledged. */
const AUDIT_MS_MAX = 300_000

/** Everything that was acknowledged is read back through every door, and from every holder that signed for it. */
export async function audit(world: World): Promise<void> {
  const { time, checker } = world
  const eye = openEye(world)
  const { client } = eye
  await untilAllFollow(world, eye)
  if (!checker.isBroken()) await untilFullStrength(world, eye)
  const nodeOf = new Map(world.machines.map((_, id) => [addressOf(id) as string, id]))
  let openCount = 0
  const check = (what: string, work: () => Promise<void>): void => {
    openCount += 1
    const callOff = time.after(AUDIT_MS_MAX, () => checker.violation('liveness', `${what} does not end`))
    work()
      .catch((error: unknown) => checker.violation('lost', `${what}: ${shownError(error)}`))
      .finally(() => {
        callOff()
        openCount -= 1
      })
  }
  const roots = new Set<string>()
  // Whoever holds a copy gives it up when shards protect the same bytes.
  const kept = new Map(keptObjects(world).map((object) => [`${object.root} ${object.bytes.length}`, object.kept]))
  for (const ack of acksOnChain(world)) {
    const about = `${ack.kind} ${ack.root.slice(0, 10)} (${ack.bytes.length} bytes, entry ${ack.seq}, by ${ack.by})`
    check(`${about} through the SDK`, async () => {
      checker.yielded('the SDK', ack, await ownDownload(client, { root: ack.root, seq: ack.seq }))
    })
    if (!roots.has(ack.root))
      check(`${about} by its root alone`, async () => {
        checker.yieldedOneOf('the SDK', ack, await ownDownload(client, ack.root))
      })
    roots.add(ack.root)
    check(`${about} through the gateway`, async () => {
      const bytes = await throughGateway(world, client, ack)
      if (bytes !== undefined) checker.yielded('the gateway', ack, bytes)
    })
    const keptOf = kept.get(`${ack.root} ${ack.bytes.length}`)
    for (const signer of ack.signers) {
      const id = nodeOf.get(signer)
      if (id === undefined) checker.violation('stranger', `${about} was signed by ${signer}`)
      // Shards move with their homes, which were looked at; and so does everything when nodes come and go.
      else if (!world.damaged.has(id) && keptOf?.how !== 'shards' && world.plan.losses.length === 0)
        check(`${about} at node ${id}, which signed for it`, async () => {
          const bytes = await wholeOf(eye.node(id), ack)
          if (bytes !== undefined) checker.yielded(`node ${id}`, ack, bytes)
          else if (!(await isAtHomes(world, eye, ack, keptOf?.count ?? REPLICA_COUNT)))
            throw new WrongAnswer('neither it nor the homes hold all of it')
        })
    }
  }
  await time.run(() => openCount === 0 || checker.isBroken(), AUDIT_MS_MAX + 1_000)
  eye.close()
}

/** The bytes; of a gateway that lies also an error, which is what `undefined` means. */
export async function throughGateway(
  { plan }: World,
  client: Client,
  { seq, root, bytes }: Ack,
): Promise<Uint8Array | undefined> {
  const { gatewayLies } = plan
  const read = officialDownload(client, GATEWAY_URL, { seq, root, sizeBytes: bytes.length, gatewayLies })
  return await read.catch((error: unknown) => {
    if (!gatewayLies || error instanceof WrongAnswer) throw error
    return undefined
  })
}

/** Who stood in for a home gives its copy up once every home has one; a member that lies says that it has one, and gives none away. */
async function isAtHomes(world: World, eye: Eye, ack: Ack, count: number): Promise<boolean> {
  const homes = copyHomes({ key: ack.root, count }, world.chain.members())
  const own = nodesOf(world).filter(
    (at) => at !== world.plan.liar && homes.some(({ member }) => member.endpoint === nodeUrl(at)),
  )
  const held = await Promise.all(own.map((at) => wholeOf(eye.node(at), ack)))
  return held.every((bytes) => bytes !== undefined && Buffer.compare(bytes, ack.bytes) === 0)
}

async function wholeOf(node: StorageNodeClient, { root, seq, bytes }: Ack): Promise<Uint8Array | undefined> {
  const count = Math.ceil(bytes.length / SEGMENT_SIZE_BYTES)
  const read = await bytesAt(node, { root, seq, from: 0, count, step: 1 })
  return read?.subarray(0, bytes.length)
}

export function shownError(error: unknown): string {
  if (isFailure(error))
    return `${error.code} ${JSON.stringify(error.facts, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value))}`
  return String(error)
}
