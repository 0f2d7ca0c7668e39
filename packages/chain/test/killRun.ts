import { once } from 'node:events'
import { freePorts } from '@weightless/host'
import type { Hex } from '@weightless/core'
import { keccak256 } from 'viem'
import { expect } from 'vitest'
import { createChance } from '../../../sim/chance.ts'
import { spawnEngineProcess } from './bundled.ts'
import { account, ask, eventually, listen, processesWith, signed } from './localChain.ts'

const TRY_AGAIN = -32005
const SENDERS = [1, 2, 3, 4]
/** Receipts before the blow: among the first blocks now and then, and in the middle of things. */
const RECEIPTS_MIN = 3
const RECEIPTS_MORE = 15

export type KillRun = { readonly receipts: number; readonly heads: number; readonly kinds: ReadonlyMap<string, number> }

/** Lets several senders load a chain, kills parts of it at random moments, and checks after each restart that every receipt and
 *  every head that anybody was given is still there, the same to the last digit. */
export async function killRun(
  directory: string,
  options: { readonly seed: number; readonly rounds: number },
): Promise<KillRun> {
  const chance = createChance(options.seed)
  const receipts = new Map<string, unknown>()
  const heads = new Map<number, string>()
  const kinds = new Map<string, number>()
  const nonces = new Map<number, number>()
  const [port] = await freePorts(1)
  const url = `http://127.0.0.1:${port}`

  /** Asks again while it is told to: an engine that was killed a moment ago may not be known to be gone. */
  async function result(method: string, params: readonly unknown[]): Promise<unknown> {
    for (;;) {
      const answer = await ask(url, method, params)
      if (answer.error === undefined) return answer.result
      if (answer.error.code !== TRY_AGAIN) throw new Error(answer.error.message)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }

  /** One sender, one transaction after the other; sends the same one again until its receipt is there. */
  async function load(index: number, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const nonce = nonces.get(index) ?? 0
      const raw = await signed(account(index), nonce, { value: BigInt(nonce) })
      try {
        await ask(url, 'eth_sendRawTransaction', [raw])
        // Known without an answer: the one that told it may have been lost with its block on disk.
        const hash = keccak256(raw as Hex)
        const receipt = await result('eth_getTransactionReceipt', [hash])
        if (receipt === null) continue
        receipts.set(hash, receipt)
        nonces.set(index, nonce + 1)
      } catch {
        // The chain is away: the same once more.
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    }
  }
  async function watch(wsUrl: string): Promise<() => void> {
    const socket = await listen(wsUrl)
    await socket.ask('eth_subscribe', ['newHeads'])
    return () => {
      socket.close()
      for (const message of socket.pushed as { params: { result: { number: string; hash: string } } }[])
        note(Number(message.params.result.number), message.params.result.hash)
    }
  }

  function note(number: number, hash: string): void {
    expect([number, heads.get(number) ?? hash]).toEqual([number, hash])
    heads.set(number, hash)
  }

  /** Of what was given until now: the senders may go on meanwhile, as fast as this asks. */
  async function check(): Promise<void> {
    for (const [hash, receipt] of Array.from(receipts))
      expect([hash, await result('eth_getTransactionReceipt', [hash])]).toEqual([hash, receipt])
    for (const [number, hash] of Array.from(heads)) {
      const block = (await result('eth_getBlockByNumber', [`0x${number.toString(16)}`, false])) as {
        hash: string
      } | null
      expect([number, block?.hash]).toEqual([number, hash])
    }
  }

  for (let round = 0; round < options.rounds; round++) {
    const engine = await spawnEngineProcess(directory, port!)
    const ended = once(engine.parent, 'exit')
    const kind = (['all', 'parent', 'engine', 'stop', 'start'] as const)[chance.below(5)]!
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
    const pause = (msMax: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, chance.below(msMax)))
    const kill = (pid: number | undefined): void => {
      try {
        if (pid !== undefined) process.kill(pid, 'SIGKILL')
      } catch {
        // It was quicker.
      }
    }
    if (kind === 'start') {
      // In the middle of what a start does, the blocks it makes again among it.
      await pause(600)
      kill(engine.parent.pid)
      await ended
      continue
    }
    const { wsUrl, pid } = await engine.ready
    await check()
    const collect = await watch(wsUrl)
    const stopLoad = new AbortController()
    const loads = SENDERS.map((index) => load(index, stopLoad.signal))
    const target = receipts.size + RECEIPTS_MIN + chance.below(RECEIPTS_MORE)
    await eventually(() => receipts.size >= target)
    // Anywhere within the life of a block.
    await pause(10)
    if (kind === 'engine') {
      kill(pid)
      // The others go on; the same port answers again, with the same blocks.
      const before = receipts.size
      await eventually(() => receipts.size > before)
      collect()
      await check()
      await pause(100)
    } else if (kind === 'stop') {
      engine.parent.kill('SIGTERM')
      await pause(300)
    } else if (kind === 'all') kill(pid)
    kill(engine.parent.pid)
    await ended
    stopLoad.abort()
    await Promise.all(loads)
    if (kind !== 'engine') collect()
  }
  const last = await spawnEngineProcess(directory, port!)
  await last.ready
  await check()
  last.parent.kill('SIGTERM')
  await once(last.parent, 'exit')
  await eventually(() => processesWith(directory).length === 0)
  return { receipts: receipts.size, heads: heads.size, kinds }
}
