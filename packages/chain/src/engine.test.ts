import { systemClock, systemNet, systemRandom } from '@weightless/host'
import { createRpc } from '@weightless/sdk'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { account, CHAIN_ID, engineIn, eventually, request, signed, temporaryDirectory } from '../test/localChain.ts'
import { deployContracts } from './deploy.ts'
import type { Block, ChainEngine } from './engine.ts'
import { createRemoteEngine } from './remote/remoteEngine.ts'

/** What every engine promises, whoever runs the chain behind it: one suite for one face. */
function describeEngine(name: string, open: () => Promise<{ engine: ChainEngine; end: () => Promise<void> }>): void {
  describe(name, () => {
    let engine: ChainEngine
    let end: () => Promise<void>
    beforeAll(async () => {
      ;({ engine, end } = await open())
    })
    afterAll(() => end())

    /** One transfer; the block that it is in. */
    async function transfer(): Promise<number> {
      const from = account(5)
      const nonce = Number(await request(engine.rpcUrl, 'eth_getTransactionCount', [from.address, 'latest']))
      const hash = await request(engine.rpcUrl, 'eth_sendRawTransaction', [await signed(from, nonce)])
      let number = 0
      await eventually(async () => {
        const receipt = (await request(engine.rpcUrl, 'eth_getTransactionReceipt', [hash])) as { blockNumber: string }
        number = Number(receipt?.blockNumber ?? 0)
        return number > 0
      })
      return number
    }

    test('a start that is called off starts nothing', async () => {
      const called = AbortSignal.abort(new Error('called off'))
      await expect(engine.start({ signal: called })).rejects.toThrow('called off')
      expect(engine.head()).toBeUndefined()
      await engine.stop()
    })

    test('once started it answers as the chain that it says it is, and a second start changes nothing', async () => {
      await engine.start()
      const head = engine.head()!
      await engine.start()
      expect(engine.head()!.number).toBeGreaterThanOrEqual(head.number)
      expect(Number(await request(engine.rpcUrl, 'eth_chainId'))).toBe(engine.chainId)
      expect(engine.fault).toBeUndefined()
    })

    test('blocks are told in order, the newest is the head, and it is that of the chain', async () => {
      const told: Block[] = []
      const silence = engine.onBlock((block) => told.push(block))
      const last = [await transfer(), await transfer(), await transfer()].at(-1)!
      await eventually(() => (engine.head()?.number ?? 0) >= last)
      silence()
      const numbers = told.map(({ number }) => number)
      expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b))
      expect(numbers.at(-1)).toBeGreaterThanOrEqual(last)
      for (const { number, hash, timestampS, transactionHashes } of told) {
        const block = await request(engine.rpcUrl, 'eth_getBlockByNumber', [`0x${number.toString(16)}`, false])
        expect(block).toMatchObject({
          hash,
          timestamp: `0x${timestampS.toString(16)}`,
          transactions: transactionHashes,
        })
      }
      const count = told.length
      const further = await transfer()
      await eventually(() => engine.head()!.number >= further)
      expect(told.length).toBe(count)
    })

    test('what is final is on the chain, not above the head, and never falls back', async () => {
      const first = engine.finalized()!
      const number = await transfer()
      await eventually(() => engine.head()!.number >= number)
      const final = engine.finalized()!
      expect(final.number).toBeGreaterThanOrEqual(first.number)
      expect(final.number).toBeLessThanOrEqual(engine.head()!.number)
      expect(
        await request(engine.rpcUrl, 'eth_getBlockByNumber', [`0x${final.number.toString(16)}`, false]),
      ).toMatchObject({ hash: final.hash })
    })

    test('stops twice, and starts again where it was', async () => {
      const before = engine.head()!
      await engine.stop()
      await engine.stop()
      await engine.start()
      expect(engine.head()!.number).toBeGreaterThanOrEqual(before.number)
      const number = await transfer()
      await eventually(() => engine.head()!.number >= number)
    })
  })
}

describeEngine('the embedded engine', async () => {
  const directory = await temporaryDirectory()
  const engine = engineIn(directory.path)
  return {
    engine,
    async end() {
      await engine.stop()
      await directory[Symbol.asyncDispose]()
    },
  }
})

describeEngine('an engine for the chain of others', async () => {
  const directory = await temporaryDirectory()
  const theirs = engineIn(directory.path)
  await theirs.start()
  const rpc = createRpc(theirs.rpcUrl, { net: systemNet, clock: systemClock, random: systemRandom })
  const { flow } = await deployContracts(rpc, { key: account(0).getHdKey().privateKey! }, {})
  const engine = createRemoteEngine(
    { rpcUrl: theirs.rpcUrl, chainId: CHAIN_ID, flow, pollMs: 20 },
    { clock: systemClock },
  )
  return {
    engine,
    async end() {
      await engine.stop()
      await theirs.stop()
      await directory[Symbol.asyncDispose]()
    },
  }
})
