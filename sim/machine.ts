import { addressOfPrivateKey, isFailure, type Address, type Kernels } from '@weightless/core'
import { simKernels } from './kernels.ts'
import { startRoles, type RolesConfig, type RunningRoles } from '@weightless/node'
import { createChance, type Chance } from './chance.ts'
import type { VirtualTime } from './clock.ts'
import { createMemoryDisk, type MemoryDisk } from './memoryDisk.ts'
import { createMemoryIndexStore, type MemoryIndexStore } from './memoryIndex.ts'
import type { SimNet } from './net.ts'
import type { Planted } from './planted.ts'
import { createProcess, gatedDisk, gatedIndex, gatedKernels, processLogger, type Process } from './process.ts'
import type { Trace } from './trace.ts'

/** A machine that runs one role of ours, by the same composition root as in life; its disk outlives its processes. */
export type SimMachine = {
  readonly name: string
  readonly url: string
  readonly disk: MemoryDisk
  readonly index: MemoryIndexStore
  process(): Process | undefined
  /** Its store takes no more writes until the next start; that is for a person to see and to do. */
  isReadOnly(): boolean
  /** True from the moment when its role listens. */
  isUp(): boolean
  /** Starts a process unless one runs. */
  start(): void
  crash(how: 'process' | 'power'): void
  /** Ends the process as a good operator does; resolves when it has ended. */
  stop(): Promise<void>
  /** Its disk is slow until this moment. */
  slowUntilMs: number
  skewMs: number
  readonly startCount: number
  /** Deletes what is on its disk. Only while no process runs. */
  wipe(): void
}
export type MachineOptions = {
  readonly name: string
  readonly url: string
  /** `rpcUrl` is that of this process alone. */
  config(rpcUrl: string): RolesConfig
  readonly privateKey: Uint8Array
}
export type MachineDeps = {
  readonly time: VirtualTime
  readonly net: SimNet
  readonly trace: Trace
  readonly seed: number
  /** Makes the chain reachable for one process, at an address of its own. */
  chainFor(process: Process): string
  onStart(process: Process): void
  onBug(event: string, error: unknown): void
  readonly planted: Planted | undefined
  /** What this machine computes instead. */
  readonly wrapKernels: ((kernels: Kernels) => Kernels) | undefined
}

/** How soon a supervisor starts a process again that has ended by itself. */
const RESTART_MS = 1_000

export function createMachine(options: MachineOptions, deps: MachineDeps): SimMachine {
  const { name, url } = options
  const { time, net, trace } = deps
  const chance: Chance = createChance(deps.seed)
  let disk = createMemoryDisk(createChance(deps.seed + 1))
  const index = createMemoryIndexStore(createChance(deps.seed + 2))
  let running: { readonly process: Process; roles: RunningRoles | undefined } | undefined
  let isReadOnly = false
  let startCount = 0
  let isWanted = true

  const pause = (ms: number): Promise<void> => new Promise((resolve) => void time.after(ms, resolve))
  const delayMs = async (what: 'sync' | 'write'): Promise<void> => {
    const isSlow = time.nowMs() < machine.slowUntilMs
    if (what === 'write' && !isSlow && chance.below(2) === 0) return
    await pause((isSlow ? 200 : 1) * chance.next() * (what === 'sync' ? 3 : 1))
  }

  function start(): void {
    isWanted = true
    if (running !== undefined) return
    startCount += 1
    isReadOnly = false
    const process = createProcess(name, {
      time,
      trace,
      onStart: deps.onStart,
      chance: createChance(deps.seed + 100 + startCount),
    })
    process.skewMs = machine.skewMs
    const mine: { readonly process: Process; roles: RunningRoles | undefined } = { process, roles: undefined }
    running = mine
    trace.add(name, 'starts')
    const ended = (error: unknown): void => {
      if (running !== mine || !process.isAlive()) return
      trace.add(name, 'ended', isFailure(error) ? error.code : String(error))
      trace.say(name, 'ended', error)
      if (!isFailure(error)) deps.onBug('process.ended', error)
      process.die()
      disk.endProcess()
      index.endProcess()
      running = undefined
      time.after(RESTART_MS, () => {
        if (isWanted) start()
      })
    }
    const { planted } = deps
    const view = disk.process()
    const over = new AbortController()
    process.signals.add(over)
    startRoles(
      options.config(deps.chainFor(process)),
      {
        logger: processLogger(process, trace, (event, error) => {
          isReadOnly ||= event === 'store.readOnly'
          deps.onBug(event, error)
        }),
        clock: process.clock,
        random: process.random,
        net: net.from(process),
        disk: gatedDisk(planted?.nodeDisk?.(view) ?? view, process, delayMs),
        kernels: gatedKernels(deps.wrapKernels?.(simKernels()) ?? simKernels(), process),
        machine: {
          lockDirectory: () => process.gate('lock', async () => ({ release: async () => undefined })),
          readPrivateKey: () => process.gate('read key', async () => options.privateKey),
          openIndex: () => process.gate('open index', async () => gatedIndex(index.open(), process)),
          serveHttp: ({ handler }) =>
            process.gate('listen', async () => {
              const info = { remoteAddress: '127.0.0.1', receivedBytes: () => Infinity, readInto: undefined }
              const end = net.listen(url, (request) => handler(request, info), process)
              return { url, close: async () => end() }
            }),
        },
      },
      { signal: over.signal },
    ).then((roles) => {
      if (!process.isAlive()) return
      mine.roles = roles
      roles.failed.catch(ended)
    }, ended)
  }

  const machine: SimMachine = {
    name,
    url,
    get disk() {
      return disk
    },
    index,
    slowUntilMs: 0,
    skewMs: 0,
    process: () => running?.process,
    isReadOnly: () => isReadOnly,
    isUp: () => running?.roles !== undefined,
    get startCount() {
      return startCount
    },
    start,
    crash(how) {
      if (running === undefined) return
      isWanted = false
      trace.add(name, how === 'power' ? 'loses power' : 'is killed')
      running.process.die()
      running = undefined
      if (how === 'power') {
        disk.losePower()
        index.losePower()
      } else {
        disk.endProcess()
        index.endProcess()
      }
    },
    async stop() {
      isWanted = false
      await running?.roles?.[Symbol.asyncDispose]()
      trace.add(name, 'stopped')
      running?.process.die()
      running = undefined
    },
    wipe() {
      trace.add(name, 'is wiped')
      disk = createMemoryDisk(createChance(deps.seed + 3))
      index.lose()
    },
  }
  return machine
}

const addresses = new Map<number, Address>()

/** Of the key of that number: computed once, which costs as much as a signature. */
export function addressOf(id: number): Address {
  const known = addresses.get(id)
  if (known !== undefined) return known
  const address = addressOfPrivateKey(keyOf(id))
  addresses.set(id, address)
  return address
}

/** Of the wallet and the receipts of a node. */
export function keyOf(id: number): Uint8Array {
  const key = new Uint8Array(32).fill(7)
  key[31] = id + 1
  return key
}
