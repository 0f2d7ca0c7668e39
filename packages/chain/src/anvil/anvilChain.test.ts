import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Disk, DiskFile } from '@weightless/core'
import { nodeDisk } from '@weightless/host'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  account,
  ask,
  engineIn,
  eventually,
  listen,
  processesWith,
  request,
  signed,
  temporaryDirectory,
} from '../../test/localChain.ts'
import type { ChainEngine } from '../engine.ts'

/** The real disk, whose syncs of the journal wait at a gate, or fail. */
function gatedDisk(): Disk & { shut(): void; lift(): void; fail(error: Error): void; readonly waiting: number } {
  const real = nodeDisk()
  let gate: Promise<void> | undefined
  let lift: () => void = () => undefined
  let failing: Error | undefined
  let waiting = 0
  const wrapped = (file: DiskFile): DiskFile => ({
    ...file,
    async sync() {
      if (gate !== undefined) {
        waiting++
        await gate
        waiting--
      }
      if (failing !== undefined) throw failing
      await file.sync()
    },
  })
  return {
    ...real,
    lift: () => {
      gate = undefined
      lift()
    },
    open: async (path, options) => {
      const file = await real.open(path, options)
      return path.includes('/journal-') ? wrapped(file) : file
    },
    shut: () => {
      gate = new Promise((resolve) => (lift = resolve))
    },
    fail: (error) => {
      failing = error
    },
    get waiting() {
      return waiting
    },
  }
}

let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let disk: ReturnType<typeof gatedDisk>
let engine: ChainEngine
beforeEach(async () => {
  directory = await temporaryDirectory()
  disk = gatedDisk()
  engine = engineIn(directory.path, {}, { disk })
  await engine.start()
})
afterEach(async () => {
  disk.lift()
  await engine.stop()
  expect(processesWith(directory.path)).toEqual([])
  await directory[Symbol.asyncDispose]()
})

/** Anvil itself, past our port. */
function privateUrl(): string {
  const [port] = processesWith(directory.path).flatMap((row) => /--port (\d+)/.exec(row)?.[1] ?? [])
  return `http://127.0.0.1:${port}`
}
const FROM = account(1).address
const TO = '0x000000000000000000000000000000000000dEaD'

describe('between the making of a block and its place on disk', () => {
  test('nobody is shown anything of it: head, receipt, balance, nonce, calls, logs, filters, pushes', async () => {
    const url = engine.rpcUrl
    const socket = await listen(engine.wsUrl)
    await socket.ask('eth_subscribe', ['newHeads'])
    const filter = await request(url, 'eth_newBlockFilter')
    const told: number[] = []
    engine.onBlock((block) => told.push(block.number))
    const questions: readonly (readonly [string, readonly unknown[]])[] = [
      ['eth_blockNumber', []],
      ['eth_getBlockByNumber', ['latest', false]],
      ['eth_getBlockByNumber', ['0x1', false]],
      ['eth_getBlockByNumber', ['finalized', false]],
      ['eth_getBalance', [TO, 'latest']],
      ['eth_getBalance', [TO, 'pending']],
      ['eth_getTransactionCount', [FROM, 'latest']],
      ['eth_call', [{ from: TO, to: FROM, value: '0x1' }, 'latest']],
      ['eth_getLogs', [{ fromBlock: '0x1', toBlock: 'latest' }]],
      ['eth_feeHistory', ['0x4', 'latest', []]],
      ['eth_getFilterChanges', [filter]],
    ]

    disk.shut()
    const raw = await signed(account(1), 0)
    const answers: unknown[] = []
    const asked = [request(url, 'eth_sendRawTransaction', [raw]).then((hash) => answers.push(hash))]
    await eventually(() => disk.waiting > 0)
    // The engine has it: only the gate is between it and everybody else.
    expect(await request(privateUrl(), 'eth_blockNumber')).toBe('0x1')
    const hash = ((await request(privateUrl(), 'eth_getBlockByNumber', ['0x1', false])) as { transactions: string[] })
      .transactions[0]!
    for (const [method, params] of [...questions, ['eth_getTransactionReceipt', [hash]] as const]) {
      asked.push(ask(url, method, params).then((answer) => answers.push(answer)))
      asked.push(socket.ask(method, params).then((answer) => answers.push(answer)))
    }
    // The port is alive, the engine has had time for every answer, and none has come out.
    for (let round = 0; round < 5; round++) {
      expect(await request(url, 'eth_accounts')).toEqual([])
      for (const [method, params] of questions)
        if (method !== 'eth_getFilterChanges') await ask(privateUrl(), method, params)
    }
    expect(answers).toEqual([])
    expect(socket.pushed).toEqual([])
    expect(told).toEqual([])
    expect(engine.head()).toMatchObject({ number: 0 })

    disk.lift()
    await Promise.all(asked)
    expect(answers).toHaveLength(1 + 2 * (questions.length + 1))
    await eventually(() => socket.pushed.length > 0)
    expect(socket.pushed[0]).toMatchObject({ params: { result: { number: '0x1' } } })
    expect(told[0]).toBe(1)
    expect(await request(url, 'eth_getTransactionReceipt', [hash])).toMatchObject({ blockNumber: '0x1' })
    socket.close()
  })
})

describe('a journal that cannot be written', () => {
  test('stops the chain: nobody is shown the block, everybody is told, and the next start takes transactions again', async () => {
    const url = engine.rpcUrl
    const raw = await signed(account(1), 0)
    disk.fail(Object.assign(new Error('EIO'), { code: 'EIO' }))
    // Taken into the pool, as its hash says; a receipt there is none.
    await ask(url, 'eth_sendRawTransaction', [raw])
    await eventually(() => engine.fault !== undefined)
    expect(engine.fault).toMatchObject({ code: 'CHAIN_JOURNAL_FAILED', facts: { block: 1 } })
    const answer = await ask(url, 'eth_blockNumber')
    expect(answer.error).toMatchObject({ code: -32000, message: expect.stringContaining('weightless status') })
    // The facts name files of ours.
    expect(JSON.stringify(answer)).not.toContain(directory.path)
    expect((await fetch(`${url}/health`)).status).toBe(503)
    expect(engine.pid).toBeUndefined()
    expect(engine.head()).toMatchObject({ number: 0 })

    await engine.stop()
    expect(engine.fault).toBeUndefined()
    const again = engineIn(directory.path)
    await again.start()
    // The block was written and perhaps not synced: it may be there, and then the transaction has its receipt.
    const sent = await ask(again.rpcUrl, 'eth_sendRawTransaction', [raw])
    const block = (await request(again.rpcUrl, 'eth_getBlockByNumber', ['0x1', false])) as { transactions: string[] }
    if (sent.result !== undefined) expect(block.transactions).toEqual([sent.result])
    expect(await request(again.rpcUrl, 'eth_getTransactionReceipt', block.transactions)).toMatchObject({
      status: '0x1',
    })
    await again.stop()
  })

  test('a directory that is deleted under the chain stops it, and says what happened', async () => {
    await request(engine.rpcUrl, 'eth_sendRawTransaction', [await signed(account(1), 0)])
    for (const name of await readdir(directory.path))
      if (name.startsWith('journal')) await rm(join(directory.path, name))
    await ask(engine.rpcUrl, 'eth_sendRawTransaction', [await signed(account(1), 1)])
    await eventually(() => engine.fault !== undefined)
    expect(engine.fault).toMatchObject({ facts: { reason: 'it was deleted or replaced' } })
    expect(engine.head()).toMatchObject({ number: 1 })
  })
})
