import type { Ack } from '../checkers.ts'
import { ownDownload } from '../clients.ts'
import type { PlannedLoss } from '../faults.ts'
import { acksOnChain } from './acks.ts'
import { shownError, throughGateway } from './audit.ts'
import { openEye, untilAllFollow, type Eye } from './eye.ts'
import { drain, endFaults, rot, scheduleFaults } from './inject.ts'
import { machinesOf, type World } from './state.ts'
import { untilFullStrength } from './strength.ts'
import { rangeOf, type User } from './users.ts'

/** Reading everything while those who are lost are missed. */
const READ_MS_MAX = 300_000
/** Bits that change on each disk that rots. */
const ROTTEN_BITS = 24
const COME_BACK_MS_MAX = 60_000

/** From full strength: some holders are lost at once, everything is read around them, they are made good under ordinary faults, and
 *  everything comes back to full strength. */
export async function lose(world: World, loss: PlannedLoss, users: readonly User[]): Promise<void> {
  const { time, trace, checker } = world
  trace.add('loss', loss.how, loss.machines.join(' '))
  trace.say('loss', loss)
  await strike(world, loss)
  const reader = openEye(world)
  await readEverything(world, reader, `with ${loss.how} ${loss.machines.join(', ')}`)
  reader.close()
  if (checker.isBroken()) return
  makeGood(world, loss)
  scheduleFaults(world, loss, users)
  await time.run(() => checker.isBroken(), loss.faultMs)
  endFaults(world, users)
  const isWhole = (): boolean => machinesOf(world).every((machine) => machine.isUp())
  if (!(await time.run(isWhole, COME_BACK_MS_MAX))) checker.violation('liveness', 'a machine does not come back')
  if (!checker.isBroken()) await comeToFullStrength(world)
}

/** Before all has come to full strength: what the homes of now have not fetched yet is read from nodes that drain. */
export async function readAroundDrain(world: World): Promise<void> {
  const reader = openEye(world)
  await untilAllFollow(world, reader)
  if (!world.checker.isBroken()) await readEverything(world, reader, 'while one drains')
  reader.close()
}

export async function comeToFullStrength(world: World): Promise<void> {
  const eye = openEye(world)
  await untilAllFollow(world, eye)
  if (!world.checker.isBroken()) await untilFullStrength(world, eye)
  eye.close()
}

async function strike(world: World, { how, machines }: PlannedLoss): Promise<void> {
  for (const at of machines) {
    const machine = world.machines[at]!
    switch (how) {
      case 'rotten':
        await rot(machine, ROTTEN_BITS, world.chance)
        break
      case 'away':
        machine.crash('power')
        break
      case 'gone':
      case 'emptied':
        machine.crash('process')
        machine.wipe()
        break
    }
    if (how === 'gone') world.absent.add(at)
  }
}

/** Whatever was acknowledged, all of it and a part of it, through every door; or it is a violation. */
async function readEverything(world: World, eye: Eye, when: string): Promise<void> {
  const { checker } = world
  const isRead = await eye.during(READ_MS_MAX, async () => {
    for (const ack of acksOnChain(world)) await readOne(world, eye, ack, when)
  })
  if (!isRead && !checker.isBroken()) checker.violation('liveness', `not read within ${READ_MS_MAX / 1000} s ${when}`)
}

async function readOne(world: World, { client, chance }: Eye, ack: Ack, when: string): Promise<void> {
  const { checker } = world
  const about = `${ack.kind} ${ack.root.slice(0, 10)} (${ack.bytes.length} bytes, entry ${ack.seq}) ${when}`
  const range = rangeOf(chance, ack.bytes.length)
  const target = { root: ack.root, seq: ack.seq }
  try {
    checker.yielded(`the SDK, ${about}`, ack, await ownDownload(client, target))
    checker.yielded(`the SDK, a part, ${about}`, ack, await ownDownload(client, target, range), range)
    const bytes = await throughGateway(world, client, ack)
    if (bytes !== undefined) checker.yielded(`the gateway, ${about}`, ack, bytes)
  } catch (error) {
    checker.violation('lost', `${about}: ${shownError(error)}`)
  }
}

/** What an operator does: machines come back or others join, and who never comes back is drained. */
function makeGood(world: World, { how, machines, joining }: PlannedLoss): void {
  const { absent } = world
  for (const at of joining) {
    absent.delete(at)
    world.joinedCount += 1
    world.machines[at]!.start()
  }
  for (const at of machines) {
    if (how !== 'gone') {
      world.machines[at]!.start()
      continue
    }
    drain(world, at)
  }
}
