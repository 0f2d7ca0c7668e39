import type { Address } from '@weightless/core'
import { WORLD_EPOCH_MS, type Process } from '../process.ts'
import type { World } from './state.ts'

/** Blocks that nobody asked for. */
const IDLE_BLOCK_MS = 5_000

export const CHAIN = 'chain'

export function startChain({ chain, time, plan, chainState, trace }: World): void {
  let isMining = false
  const seconds = (): number => Math.floor((WORLD_EPOCH_MS + time.nowMs()) / 1000)
  chain.onTransaction = () => {
    if (isMining) return
    isMining = true
    time.after(plan.blockMs, () => {
      isMining = false
      chain.mine(seconds())
      trace.add(CHAIN, 'mined', chain.head)
      if (chain.waitingCount > 0) chain.onTransaction()
    })
  }
  const tick = (): void => {
    if (!chainState.isAway) chain.mine(seconds())
    time.after(IDLE_BLOCK_MS, tick)
  }
  time.after(IDLE_BLOCK_MS, tick)
}

/** The chain at an address of this process alone: a process keeps its nonces by that address, and forgets them when it dies. */
export function chainFor(world: World, process: Process, wallet: Address): string {
  const { net, chain, chainState, chance, trace } = world
  world.processCount += 1
  // Errors name it, and with them answers: so it is as long in the first world of a run as in the ten thousandth.
  const origin = `http://${CHAIN}-${String(world.worldId).padStart(6, '0')}-${world.processCount}.sim`
  const end = net.listen(
    origin,
    async (request) => {
      if (chainState.isAway) throw new Error('the endpoint is away')
      if (chainState.flakyShare > 0 && chance.next() < chainState.flakyShare) {
        trace.add(CHAIN, 'is flaky')
        const status = [429, 500, 502, 503][chance.below(4)]!
        return new Response('try again', { status })
      }
      return chain.handle(request, wallet)
    },
    undefined,
  )
  process.onDeath(end)
  return `${origin}/`
}
