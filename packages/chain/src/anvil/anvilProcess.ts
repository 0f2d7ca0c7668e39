import {
  type Abortable,
  type Clock,
  type Disk,
  isFailure,
  type Logger,
  type Net,
  type Random,
  toHex,
} from '@weightless/core'
import { type Child, freePorts, superviseChild } from '@weightless/host'
import { fail } from '../errors.ts'
import { type AnvilRpc, connectAnvil } from './anvilRpc.ts'

/** Starting takes 150 ms; a busy machine gets a minute. */
const READY_MS_MAX = 60_000
const READY_STEP_MS = 10
/** The port was free a moment ago: losing it again and again means something else is wrong. */
const PORT_ATTEMPTS_MAX = 5
/** States of past blocks that calls can be made against; the newest is always there. Without a bound anvil writes the whole
 *  state to disk for every block: 2.4 GB after 4000 blocks with 2000 accounts. Blocks, receipts and logs are all kept. */
const PAST_STATE_COUNT = 8
const LOG_TAIL_BYTES = 2000

/** Starts anvil on a private port of the loopback address and resolves when it answers. It makes no block by itself, holds no
 *  keys, and ends with this process whatever happens. Throws `CHAIN_START_FAILED` with the end of its log. */
export async function launchAnvil(options: LaunchOptions, deps: LaunchDeps, abortable: Abortable): Promise<Anvil> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await launchOnce(options, deps, abortable)
    } catch (error) {
      if (!isFailure(error, 'CHAIN_START_FAILED') || error.facts['portTaken'] !== true || attempt >= PORT_ATTEMPTS_MAX)
        throw error
    }
  }
}

async function launchOnce(options: LaunchOptions, deps: LaunchDeps, { signal }: Abortable): Promise<Anvil> {
  const [port] = await freePorts(1, { signal })
  // Told back in every answer, so that nobody else who got the port is taken for our child; and no web page may talk to it.
  const instance = `http://${toHex(deps.random.bytes(16)).slice(2)}.invalid`
  const logStart = (await deps.disk.stat(options.logFile))?.sizeBytes ?? 0
  const child = superviseChild(
    {
      name: 'anvil',
      command: options.binary,
      args: argumentsOf(options, { port: port!, instance }),
      logFile: options.logFile,
      guard: 'shell',
      pidFile: options.pidFile,
      restart: 'never',
    },
    { clock: deps.clock, logger: deps.logger },
  )
  try {
    const connect = await waitReady(child, { port: port!, instance }, deps, { signal })
    return { child, port: port!, connect }
  } catch (cause) {
    await child.stop({ stopSignal: 'SIGKILL' })
    if (signal?.aborted) throw signal.reason
    const log = await readTail(options.logFile, logStart, deps.disk)
    throw fail(
      'CHAIN_START_FAILED',
      {
        ...reasonOf(cause),
        portTaken: /address (already )?in use/i.test(log) || undefined,
        logFile: options.logFile,
        log,
      },
      { cause },
    )
  }
}

export type LaunchOptions = {
  readonly binary: string
  readonly chainId: number
  /** Unix seconds. With another time the first block is another one, and the chain with it. */
  readonly firstBlockS: number
  readonly blockGasLimit: bigint
  readonly baseFeeWei: bigint
  /** A folder of its own; its name in the command line also tells our child from others. */
  readonly cacheDir: string
  readonly logFile: string
  readonly pidFile: string
}
export type LaunchDeps = {
  readonly clock: Clock
  readonly random: Random
  readonly disk: Disk
  readonly net: Net
  readonly logger?: Logger | undefined
}

export type Anvil = {
  readonly child: Child
  readonly port: number
  /** Another connection to it. */
  connect(options: Abortable): Promise<AnvilRpc>
}

function argumentsOf(
  options: LaunchOptions,
  at: { readonly port: number; readonly instance: string },
): readonly string[] {
  return [
    ['--host', '127.0.0.1', '--port', String(at.port)],
    ['--allow-origin', at.instance],
    ['--chain-id', String(options.chainId)],
    ['--timestamp', String(options.firstBlockS)],
    ['--hardfork', 'prague'],
    ['--no-mining', '--order', 'fifo'],
    ['--accounts', '0'],
    ['--gas-limit', String(options.blockGasLimit)],
    ['--block-base-fee-per-gas', String(options.baseFeeWei)],
    ['--slots-in-an-epoch', '1'],
    ['--prune-history', String(PAST_STATE_COUNT)],
    ['--cache-path', options.cacheDir],
    // Our own state goes in as one request.
    ['--no-request-size-limit'],
    ['--disable-console-log', '--quiet'],
  ].flat()
}

async function waitReady(
  child: Child,
  at: { readonly port: number; readonly instance: string },
  deps: LaunchDeps,
  { signal }: Abortable,
): Promise<Anvil['connect']> {
  const url = `ws://127.0.0.1:${at.port}`
  const connect: Anvil['connect'] = (options) => connectAnvil({ url, instance: at.instance }, deps, options)
  const ended = new AbortController()
  void child.ended.then((exit) =>
    ended.abort(fail('CHAIN_START_FAILED', { exitCode: exit.exitCode, exitSignal: exit.exitSignal })),
  )
  const patience = AbortSignal.any([
    ended.signal,
    deps.clock.deadline(READY_MS_MAX),
    ...(signal === undefined ? [] : [signal]),
  ])
  for (;;) {
    patience.throwIfAborted()
    try {
      const rpc = await connect({ signal: patience })
      rpc.close()
      return connect
    } catch {
      await deps.clock.sleep(READY_STEP_MS, { signal: patience })
    }
  }
}

function reasonOf(cause: unknown): { readonly [name: string]: string | number | null | undefined } {
  if (!isFailure(cause, 'CHAIN_START_FAILED')) return { reason: 'it did not answer in time' }
  return {
    reason: 'its process ended',
    exitCode: cause.facts['exitCode'] as number | null,
    exitSignal: cause.facts['exitSignal'] as string | null,
  }
}

async function readTail(path: string, start: number, disk: Disk): Promise<string> {
  const sizeBytes = (await disk.stat(path))?.sizeBytes ?? 0
  const from = Math.max(start, sizeBytes - LOG_TAIL_BYTES)
  const tail = new Uint8Array(Math.max(0, sizeBytes - from))
  if (tail.length === 0) return ''
  const file = await disk.open(path, { create: false })
  try {
    await file.read(tail, from)
  } finally {
    await file.close()
  }
  return new TextDecoder().decode(tail).trim()
}
