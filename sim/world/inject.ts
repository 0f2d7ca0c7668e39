import { storageRegistryAbi } from '@weightless/contracts'
import { encodeFunctionData } from 'viem'
import { REGISTRY } from '../chain.ts'
import type { PlannedFault, PlannedLoss } from '../faults.ts'
import { addressOf, type SimMachine } from '../machine.ts'
import { WORLD_EPOCH_MS } from '../process.ts'
import { CHAIN } from './chain.ts'
import { machinesOf, type World } from './state.ts'
import type { User } from './users.ts'

/** All of them are over when `faultMs` have passed. */
export function scheduleFaults(
  world: World,
  { faults, faultMs }: Pick<PlannedLoss, 'faults' | 'faultMs'>,
  users: readonly User[],
): void {
  world.faultsEndMs = world.time.nowMs() + faultMs
  for (const fault of faults) world.time.after(fault.atMs, () => happen(world, fault, users))
}

function happen(world: World, fault: PlannedFault, users: readonly User[]): void {
  const { time, trace, chain, chainState, net, chance, machines, absent } = world
  if ('machine' in fault && absent.has(fault.machine)) return
  const left = (ms: number): number => Math.max(0, Math.min(ms, world.faultsEndMs - time.nowMs()))
  trace.add('fault', fault.kind)
  trace.say('fault', fault)
  switch (fault.kind) {
    case 'crash': {
      const machine = machines[fault.machine]!
      const process = machine.process()
      process?.dieAfter(fault.steps, () => {
        world.crashes += 1
        machine.crash(fault.how)
        time.after(left(fault.downMs), machine.start)
      })
      return
    }
    case 'clientCrash':
      users[fault.client]?.dieAfter(fault.steps)
      return
    case 'partition': {
      const names = new Set(fault.machines.flatMap((at) => [machines[at]!.name, machines[at]!.url]))
      const all = world.partitions
      all.add(names)
      net.faults.isParted = (from, to) => [...all].some((parted) => parted.has(from) !== parted.has(to))
      time.after(left(fault.ms), () => void all.delete(names))
      return
    }
    case 'chainAway':
      chainState.isAway = true
      time.after(left(fault.ms), () => void (chainState.isAway = false))
      return
    case 'chainFlaky':
      chainState.flakyShare = fault.share
      time.after(left(fault.ms), () => void (chainState.flakyShare = 0))
      return
    case 'diskFull': {
      const { faults } = machines[fault.machine]!.disk
      faults.capacityBytes = 0
      time.after(left(fault.ms), () => void (faults.capacityBytes = Infinity))
      return
    }
    case 'slowDisk':
      machines[fault.machine]!.slowUntilMs = time.nowMs() + fault.ms
      return
    case 'failingSyncs':
    case 'failingWrites':
      machines[fault.machine]!.disk.faults[fault.kind] += 1
      return
    case 'rot':
      world.damaged.add(fault.machine)
      void rot(machines[fault.machine]!, fault.count, chance)
      return
    case 'wipe':
    case 'loseIndex': {
      const machine = machines[fault.machine]!
      if (fault.kind === 'wipe') world.damaged.add(fault.machine)
      machine.crash('process')
      if (fault.kind === 'wipe') machine.wipe()
      else machine.index.lose()
      time.after(left(fault.downMs), machine.start)
      return
    }
    case 'skew': {
      // A process keeps the clock with which it started (core `Clock`); its next one starts with another.
      machines[fault.machine]!.skewMs = fault.ms
      return
    }
    case 'reorg': {
      const before = chain.head
      chain.reorganise(Math.min(fault.depth, chain.head - 1), chance)
      world.reorgs += 1
      trace.add(CHAIN, 'reorganised', before, chain.head)
      for (let at = chain.head; at <= before; at++) chain.mine(Math.floor((WORLD_EPOCH_MS + time.nowMs()) / 1000))
      return
    }
    case 'drain':
      drain(world, fault.machine)
      return
    case 'price':
      chain.setPrice((30_733_644_962n * BigInt(fault.percent)) / 100n)
      return
  }
}

/** What the operator of a node calls who wants it to leave. */
export function drain({ chain, checker, time }: World, at: number): void {
  const from = addressOf(at)
  const data = encodeFunctionData({ abi: storageRegistryAbi, functionName: 'drain' })
  const seconds = Math.floor((WORLD_EPOCH_MS + time.nowMs()) / 1000)
  const { status } = chain.perform({ from, to: REGISTRY, data, valueWei: 0n }, seconds)
  if (status !== 'ok') checker.violation('setup', `node ${at} is not drained`)
}

/** Bits of the first slots of a file change, where segments are. */
export async function rot(machine: SimMachine, count: number, chance: World['chance']): Promise<void> {
  const names = (await machine.disk.list('/data/segments')).filter((name) => name.endsWith('.dat'))
  if (names.length === 0) return
  for (let i = 0; i < count; i++) {
    const name = names[chance.below(names.length)]!
    const slotBytes = Number(name.split('-')[1])
    machine.disk.flipBit(`/data/segments/${name}`, chance.below(4 * slotBytes))
  }
}

/** Nothing fails any more; whoever is down comes back, and a node that turned read-only is restarted, as its error says. */
export function endFaults(world: World, users: readonly User[]): void {
  const { net, chainState, trace } = world
  trace.add('fault', 'none from here on')
  Object.assign(net.faults, { loss: 0, duplication: 0, delay: 0, cut: 0, corruption: 0, isParted: () => false })
  chainState.isAway = false
  chainState.flakyShare = 0
  for (const machine of machinesOf(world)) {
    machine.process()?.dieAfter(Infinity, () => undefined)
    Object.assign(machine.disk.faults, { failingSyncs: 0, failingReads: 0, failingWrites: 0, capacityBytes: Infinity })
    machine.slowUntilMs = 0
    if (machine.isReadOnly()) machine.crash('process')
    machine.start()
  }
  for (const user of users) {
    user.calmDown()
    user.dieAfter(Infinity)
  }
}
