import type { Clock, Disk, Failure, Logger, Net, Random } from '@weightless/core'
import { nodeDisk, systemNet, systemRandom } from '@weightless/host'
import type { Block, ChainEngine } from '../engine.ts'
import { fail } from '../errors.ts'
import { openSession, type Session, type SessionDeps } from './session.ts'

/** The embedded chain: anvil as a child that we alone can reach, a sequencer that makes its blocks, and a public port that lets
 *  through what anybody may ask (DESIGN D2). Every block is journalled in `dataDir` before anybody sees it: whatever is killed, the
 *  next start goes on with the same blocks. When anvil alone dies it is started again behind the same port. */
export function createAnvilEngine(options: AnvilEngineOptions, given: AnvilEngineDeps): ChainEngine {
  const listeners = new Set<(block: Block) => void>()
  let head: Block | undefined
  let restartCount = 0
  let fault: Failure | undefined
  let session: Session | undefined
  let address: string | undefined
  let changing: Promise<void> = Promise.resolve()

  const deps: SessionDeps = {
    net: systemNet,
    random: systemRandom,
    disk: nodeDisk(),
    ...given,
    onBlock(block) {
      head = block
      for (const listener of listeners) {
        try {
          listener(block)
        } catch (error) {
          // A listener's fault is not the chain's.
          given.logger?.error('chain.listenerFailed', { block: block.number, error })
        }
      }
    },
    onRestart: () => restartCount++,
    onFault: (failure) => (fault = failure),
  }

  /** Start and stop wait for each other, whoever calls them. */
  function inTurn(change: () => Promise<void>): Promise<void> {
    const turn = changing.then(change)
    changing = turn.catch(() => undefined)
    return turn
  }
  const start: ChainEngine['start'] = ({ signal } = {}) =>
    inTurn(async () => {
      signal?.throwIfAborted()
      if (session !== undefined) return
      fault = undefined
      session = await openSession(options, deps, { signal })
      address = `${addressable(options.host)}:${session.port}`
    })
  const stop: ChainEngine['stop'] = () =>
    inTurn(async () => {
      const closing = session
      session = undefined
      fault = undefined
      await closing?.close()
    })
  const known = (): string => {
    if (address === undefined) throw fail('CHAIN_UNAVAILABLE', { reason: 'the engine has not been started' })
    return address
  }

  return {
    chainId: options.chainId,
    get rpcUrl() {
      return `http://${known()}`
    },
    get wsUrl() {
      return `ws://${known()}`
    },
    get pid() {
      return session?.pid()
    },
    get restartCount() {
      return restartCount
    },
    get fault() {
      return fault
    },
    start,
    stop,
    head: () => head,
    // One sequencer: a block that exists is final (spec/chain.md 2.8.1).
    finalized: () => head,
    onBlock(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    [Symbol.asyncDispose]: stop,
  }
}

export type AnvilEngineOptions = {
  readonly dataDir: string
  /** Of the public port. Default 127.0.0.1 (DESIGN D14). */
  readonly host?: string | undefined
  /** Of the public port; 0 = any free one. */
  readonly port: number
  readonly chainId: number
  /** Addresses that are funded when the chain is new. */
  readonly accounts: readonly string[]
  /** Where anvil's own messages go. Default: `anvil.log` in the directory. */
  readonly logFile?: string | undefined
}
export type AnvilEngineDeps = {
  readonly clock: Clock
  readonly logger?: Logger | undefined
  readonly net?: Net
  readonly random?: Random
  readonly disk?: Disk
}

/** How this machine reaches what listens on `host`. */
function addressable(host = '127.0.0.1'): string {
  if (host === '0.0.0.0' || host === '::') return '127.0.0.1'
  return host.includes(':') ? `[${host}]` : host
}
