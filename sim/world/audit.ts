import { addressOfPrivateKey, isFailure, type Root } from '@weightless/core'
import { createStorageNodeClient, decodeSubmitLog } from '@weightless/sdk'
import { isSubmit } from '../chain.ts'
import { createChance } from '../chance.ts'
import type { Ack } from '../checkers.ts'
import { officialDownload, ownDownload, untilFollowed, userOf, WrongAnswer } from '../clients.ts'
import { keyOf } from '../machine.ts'
import { createProcess } from '../process.ts'
import { chainFor } from './chain.ts'
import { GATEWAY_URL, machinesOf, nodesOf, nodeUrl, type World } from './state.ts'

/** A process that has just started reads the chain first, and may wait for an answer that a fault took, for as long as it waits for
 *  any (30 s). */
const FOLLOW_MS_MAX = 60_000
/** Reading back everything that was acknowledged. */
const AUDIT_MS_MAX = 300_000

/** Everything that was acknowledged is read back through every door, and from every holder that signed for it. */
export async function audit(world: World): Promise<void> {
  const { time, trace, chain, net, checker, seed } = world
  const process = createProcess('auditor', {
    time,
    trace,
    onStart: (started) => void world.processes.push(started),
    chance: createChance(seed * 11),
  })
  const inner = net.from(process)
  const client = userOf(process, {
    rpcUrl: chainFor(world, process, addressOfPrivateKey(keyOf(120))),
    chainId: chain.chainId,
    flow: chain.flow,
    registry: chain.registry,
    gatewayUrl: GATEWAY_URL,
    net: inner,
    trace,
    privateKey: keyOf(120),
    onBug: checker.bug,
  })
  let followingCount = 0
  const machines = machinesOf(world)
  for (const machine of machines)
    untilFollowed(client, machine.url, chain.head).then(
      () => void (followingCount += 1),
      (error: unknown) => checker.bug(`${machine.name} follows`, error),
    )
  if (!(await time.run(() => followingCount === machines.length, FOLLOW_MS_MAX)))
    checker.violation('liveness', `a machine does not follow the chain within ${FOLLOW_MS_MAX / 1000} s`)
  const nodeOf = new Map(nodesOf(world).map((id) => [addressOfPrivateKey(keyOf(id)) as string, id]))
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
  // What was told twice is read once: with the most that was said of it.
  const told = new Map<string, Ack>()
  for (const one of checker.acks) {
    const ack = asOnChain(world, one)
    if (ack === undefined) {
      checker.violation('lost', `entry ${one.seq} of ${one.root} is not on chain`)
      continue
    }
    const key = `${ack.root} ${ack.seq} ${ack.bytes.length}`
    const known = told.get(key)
    told.set(key, { ...ack, signers: [...new Set([...ack.signers, ...(known?.signers ?? [])])] })
  }
  const roots = new Set<string>()
  for (const ack of told.values()) {
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
      const bytes = await officialDownload(client, GATEWAY_URL, {
        seq: ack.seq,
        root: ack.root,
        sizeBytes: ack.bytes.length,
      })
      checker.yielded('the gateway', ack, bytes)
    })
    for (const signer of ack.signers) {
      const id = nodeOf.get(signer)
      if (id === undefined) checker.violation('stranger', `${about} was signed by ${signer}`)
      else if (!world.damaged.has(id))
        check(`${about} at node ${id}, which signed for it`, async () => {
          const node = createStorageNodeClient(nodeUrl(id), { net: inner, clock: process.clock })
          checker.yielded(`node ${id}`, ack, await wholeOf(node, ack))
        })
    }
  }
  await time.run(() => openCount === 0 || checker.isBroken(), AUDIT_MS_MAX + 1_000)
  process.die()
}

/** A reorganisation may have given the entry another number; the simulated ones drop no transaction. */
function asOnChain({ chain, reorgs }: World, ack: Ack): Ack | undefined {
  if (reorgs === 0) return ack
  const entries = chain.logs().filter(isSubmit).map(decodeSubmitLog)
  const same = entries.filter(({ root, sizeBytes }) => root === ack.root && sizeBytes === ack.bytes.length)
  const entry = same.find(({ seq }) => seq === ack.seq) ?? same[0]
  return entry && { ...ack, seq: entry.seq }
}

async function wholeOf(node: ReturnType<typeof createStorageNodeClient>, ack: Ack): Promise<Uint8Array> {
  const bytes = new Uint8Array(Math.ceil(ack.bytes.length / 256) * 256)
  const count = Math.ceil(ack.bytes.length / 262_144)
  const segments = await node.getSegments(ack.root as Root, { from: 0, count, seq: ack.seq }, {})
  if (segments === undefined) throw new WrongAnswer('it does not hold all of it')
  let at = 0
  for (const { data } of segments) {
    bytes.set(data, at)
    at += data.length
  }
  return bytes.subarray(0, ack.bytes.length)
}

function shownError(error: unknown): string {
  if (isFailure(error))
    return `${error.code} ${JSON.stringify(error.facts, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value))}`
  return String(error)
}
