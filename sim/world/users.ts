import {
  addressOfPrivateKey,
  isFailure,
  verifyCertificate,
  type Address,
  type Certificate,
  type Entry,
} from '@weightless/core'
import { info, type Client } from '@weightless/sdk'
import { createChance, type Chance } from '../chance.ts'
import type { Ack } from '../checkers.ts'
import {
  codeOf,
  entryAgain,
  officialDownload,
  officialUpload,
  ownDownload,
  OWN_TIMEOUT_MS,
  ownUpload,
  userOf,
} from '../clients.ts'
import { content } from '../fakes/network.ts'
import type { PlannedObject } from '../faults.ts'
import { createProcess, type Process } from '../process.ts'
import { chainFor } from './chain.ts'
import { FUNDS_WEI, GATEWAY_URL, RETRY_MS, type World } from './state.ts'

/** An upload is its deadline and a word to the gateway; official clients have a deadline for each of their parts. */
const OPERATION_MS_MAX = { own: OWN_TIMEOUT_MS + 10_000, official: 5 * OWN_TIMEOUT_MS } as const

export type User = {
  readonly name: string
  readonly address: Address
  start(): void
  crash(): void
  dieAfter(steps: number): void
  isDone(): boolean
  /** What is not done. */
  open(): readonly string[]
  /** From now on it reads no more than it must. */
  calmDown(): void
  readonly tries: ReadonlyMap<number, number>
}

export function makeUsers(world: World): readonly User[] {
  const { plan } = world
  const own = Array.from({ length: plan.ownClients }, (_, i) => makeUser(world, 'own', i))
  const official = Array.from({ length: plan.officialClients }, (_, i) => makeUser(world, 'official', i))
  return [...own, ...official]
}

function makeUser(world: World, kind: 'own' | 'official', number: number): User {
  const { plan, seed, time, trace, chain, net, checker, planted } = world
  const name = `${kind}-${number}`
  const id = (kind === 'own' ? 200 : 300) + number
  const key = new Uint8Array(32).fill(9)
  key[30] = id >> 8
  key[31] = id & 255
  const address = addressOfPrivateKey(key)
  chain.fund(address, FUNDS_WEI)
  const chance = createChance(seed * 128 + id)
  const { gatewayLies } = plan
  const isCoded = plan.objects.some(({ code }) => code !== undefined)
  const todo = plan.objects
    .map((object, at) => ({ object, at }))
    .filter(({ object }) => object.kind === kind && object.client === number)
  const paid = new Map<number, Entry>()
  const tries = new Map<number, number>()
  const running = new Set<string>()
  let doneCount = 0
  let process: Process | undefined
  let isCalm = false

  function start(): void {
    const mine = createProcess(name, {
      time,
      trace,
      onStart: (started) => void world.processes.push(started),
      chance: createChance(seed * 7 + id + 1_000 * ++world.processCount),
    })
    process = mine
    running.clear()
    const client = userOf(mine, {
      rpcUrl: chainFor(world, mine, address),
      chainId: chain.chainId,
      flow: chain.flow,
      registry: chain.registry,
      gatewayUrl: GATEWAY_URL,
      net: net.from(mine),
      trace,
      privateKey: key,
      onBug: checker.bug,
      clock: planted?.userClock?.(mine.clock),
    })
    trace.add(name, 'starts')
    work(mine, client).catch((error: unknown) => checker.bug(`${name} ended`, error))
  }

  async function work(mine: Process, client: Client): Promise<void> {
    const { clock } = mine
    while (doneCount < todo.length) {
      const { object, at } = todo[doneCount]!
      if (!tries.has(at) && !isCalm) await clock.sleep(object.pauseMs, {})
      tries.set(at, (tries.get(at) ?? 0) + 1)
      const isDone = await operation(mine, `upload ${at}`, () => uploadOne(client, object, at))
      // What a gateway that lies takes, or does not take, is no promise.
      if (isDone || (kind === 'official' && gatewayLies)) doneCount += 1
      else await clock.sleep(RETRY_MS, {})
      if (!isCalm && checker.acks.length > 0 && chance.below(2) === 0)
        await operation(mine, 'read', () => readOne(client, checker.acks[chance.below(checker.acks.length)]!))
    }
  }

  /** Runs to its end in bounded time, well or badly: whatever does not is a violation. */
  async function operation(mine: Process, what: string, run: () => Promise<void>): Promise<boolean> {
    const limitMs = OPERATION_MS_MAX[kind]
    running.add(what)
    const callOff = time.after(limitMs, () => {
      if (mine.isAlive())
        checker.violation('waits for ever', `${name}: ${what} has not ended after ${limitMs / 1000} s`)
    })
    mine.onDeath(callOff)
    try {
      await run()
      return true
    } catch (error) {
      trace.add(name, what, 'failed', codeOf(error))
      trace.say(name, what, 'failed', error)
      if (!isFailure(error)) checker.userError(`${name}: ${what}`, error)
      return false
    } finally {
      callOff()
      running.delete(what)
    }
  }

  async function uploadOne(client: Client, object: PlannedObject, at: number): Promise<void> {
    const bytes = bytesOf(seed, plan.objects, at)
    if (kind === 'own') {
      const { until, code } = object
      const result = await ownUpload(client, { bytes, until, code, gatewayUrl: GATEWAY_URL, gatewayLies })
      const { root, seq, certificate } = result
      const signers = result.receipts.map(({ signer }) => signer)
      checker.ack({ kind: 'durable', by: name, root, seq, bytes, signers, certificate })
      if (certificate !== undefined) checkCertificate(world, certificate)
      return
    }
    let told: Ack | undefined
    const entry = await officialUpload(client, GATEWAY_URL, {
      bytes,
      how: object.how,
      entry: paid.has(at) ? await entryAgain(client, paid.get(at)!) : undefined,
      onEntry: (found) => paid.set(at, found),
      onSpooled: () => {
        if (gatewayLies) return
        const found = paid.get(at)!
        told = {
          kind: 'spooled',
          by: name,
          root: found.root,
          seq: found.seq,
          bytes,
          signers: [],
          certificate: undefined,
        }
        checker.ack(told)
      },
    })
    if (gatewayLies) return
    const { root, seq } = entry
    checker.ack({ kind: 'finalized', by: name, root, seq, bytes, signers: [], certificate: undefined })
  }

  async function readOne(client: Client, ack: Ack): Promise<void> {
    if (kind === 'own' && isCoded) return await readSome(client, ack)
    const bytes =
      kind === 'own'
        ? await ownDownload(client, { root: ack.root, sizeBytes: ack.bytes.length })
        : await officialDownload(client, GATEWAY_URL, {
            seq: ack.seq,
            root: ack.root,
            sizeBytes: ack.bytes.length,
            gatewayLies,
          })
    checker.yielded(`${name} reads`, ack, bytes)
  }

  /** A part of it, all of it, or what is known of it. */
  async function readSome(client: Client, ack: Ack): Promise<void> {
    const sizeBytes = ack.bytes.length
    switch (chance.below(3)) {
      case 0:
        await info(client, ack.root)
        return
      case 1:
        checker.yielded(`${name} reads`, ack, await ownDownload(client, { root: ack.root, sizeBytes }))
        return
      default: {
        const range = rangeOf(chance, sizeBytes)
        const bytes = await ownDownload(client, { root: ack.root, sizeBytes }, range)
        checker.yielded(`${name} reads a part`, ack, bytes, range)
      }
    }
  }

  return {
    name,
    address,
    start,
    tries,
    crash() {
      world.crashes += 1
      trace.add(name, 'is killed')
      process?.die()
    },
    dieAfter(steps) {
      const mine = process
      mine?.dieAfter(steps, () => {
        world.crashes += 1
        trace.add(name, 'is killed')
        mine.die()
        time.after(RETRY_MS, start)
      })
    },
    isDone: () => doneCount === todo.length && running.size === 0,
    open: () =>
      [...running]
        .map((what) => `${name} ${what}`)
        .concat(doneCount < todo.length && running.size === 0 ? [`${name} rests`] : []),
    calmDown: () => void (isCalm = true),
  }
}

/** A part of an object that is not empty. */
export function rangeOf(chance: Chance, sizeBytes: number): { readonly start: number; readonly end: number } {
  const start = chance.below(sizeBytes)
  return { start, end: start + 1 + chance.below(sizeBytes - start) }
}

/** Anybody who knows the chain finds that it says what `durable` means. */
function checkCertificate({ chain, checker }: World, certificate: Certificate): void {
  try {
    const { chainId, registry, membershipHashOf } = chain
    const facts = verifyCertificate(certificate, { chainId, registry, membershipHashOf })
    if (!facts.isDurable)
      checker.violation('certificate', `${certificate.dataRoot} is not durable by its own certificate`)
  } catch (error) {
    checker.violation('certificate', `of ${certificate.dataRoot}: ${String(error)}`)
  }
}

const made = new WeakMap<PlannedObject, Uint8Array>()

/** The bytes of an object, from the seed; twins share them up to their ends. Made once, copied for each who asks. */
export function bytesOf(seed: number, objects: readonly PlannedObject[], id: number): Uint8Array {
  const object = objects[id]!
  const bytes = made.get(object) ?? makeBytes(seed, objects, id)
  made.set(object, bytes)
  return bytes.slice()
}

function makeBytes(seed: number, objects: readonly PlannedObject[], id: number): Uint8Array {
  const { sizeBytes, twinOf } = objects[id]!
  const longest = objects.reduce(
    (most, other, i) =>
      i === (twinOf ?? id) || other.twinOf === (twinOf ?? id) ? Math.max(most, other.sizeBytes) : most,
    0,
  )
  const bytes = content(longest, seed * 31 + (twinOf ?? id))
  // Zeros at the end of twins: so they may share a root and differ in size.
  if (twinOf !== undefined || objects.some((other) => other.twinOf === id)) bytes.fill(0, Math.max(1, longest - 4))
  return bytes.subarray(0, sizeBytes)
}
