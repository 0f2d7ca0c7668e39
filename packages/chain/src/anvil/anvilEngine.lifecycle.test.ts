import { once } from 'node:events'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { beforeEach, afterEach, describe, expect, test } from 'vitest'
import { startEngineProcess } from '../../test/bundled.ts'
import {
  account,
  engineIn,
  eventually,
  listen,
  processesWith,
  request,
  signed,
  temporaryDirectory,
} from '../../test/localChain.ts'
import type { ChainEngine } from '../engine.ts'

let directory: string
let cleanup: () => Promise<void>
const engines: ChainEngine[] = []

beforeEach(async () => {
  const made = await temporaryDirectory()
  directory = made.path
  cleanup = made[Symbol.asyncDispose]
})
afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.stop()))
  const left = processesWith(directory)
  await cleanup()
  expect(left).toEqual([])
})

function engine(options: Parameters<typeof engineIn>[1] = {}, at = directory): ChainEngine {
  const made = engineIn(at, options)
  engines.push(made)
  return made
}
async function send(url: string, nonce: number): Promise<string> {
  return (await request(url, 'eth_sendRawTransaction', [await signed(account(1), nonce)])) as string
}
const receiptOf = (url: string, hash: string): Promise<unknown> => request(url, 'eth_getTransactionReceipt', [hash])
const exists = (name: string): Promise<boolean> => stat(join(directory, name)).then(() => true, () => false) // prettier-ignore

describe('a stop', () => {
  test('keeps blocks, receipts, balances and nonces for the next start, and leaves no process', async () => {
    const chain = engine()
    await chain.start()
    const hash = await send(chain.rpcUrl, 0)
    const balance = await request(chain.rpcUrl, 'eth_getBalance', [account(1).address, 'latest'])
    const head = chain.head()!
    const before = await request(chain.rpcUrl, 'eth_getBlockByNumber', ['0x1', true])
    await chain.stop()
    expect(chain.pid).toBeUndefined()
    expect(processesWith(directory)).toEqual([])
    expect((await readdir(directory)).toSorted()).toEqual(['anvil.log', 'chain.json', 'state.json.gz'])

    const again = engine()
    await again.start()
    expect(again.head()!.number).toBeGreaterThanOrEqual(head.number)
    expect(await receiptOf(again.rpcUrl, hash)).toMatchObject({ status: '0x1', blockNumber: '0x1' })
    expect(await request(again.rpcUrl, 'eth_getBlockByNumber', ['0x1', true])).toEqual(before)
    expect(await request(again.rpcUrl, 'eth_getBalance', [account(1).address, 'latest'])).toBe(balance)
    expect(await receiptOf(again.rpcUrl, await send(again.rpcUrl, 1))).toMatchObject({ status: '0x1' })
  })

  test('may be asked for twice, before a start, and be followed by another start of the same engine', async () => {
    const chain = engine()
    await chain.stop()
    await Promise.all([chain.start(), chain.start()])
    const hash = await send(chain.rpcUrl, 0)
    await Promise.all([chain.stop(), chain.stop()])
    await chain.start()
    expect(await receiptOf(chain.rpcUrl, hash)).toMatchObject({ status: '0x1' })
  })

  test('ends connections of clients, and the port is free again', async () => {
    const chain = engine()
    await chain.start()
    const port = Number(new URL(chain.rpcUrl).port)
    const socket = await listen(chain.wsUrl)
    await chain.stop()
    await socket.closed
    const other = engine({ port })
    await other.start()
    expect(Number(new URL(other.rpcUrl).port)).toBe(port)
  })
})

describe('what is refused before anything is started', () => {
  test('a port that is taken, with the next step', async () => {
    const holder = createServer().listen(0, '127.0.0.1')
    await once(holder, 'listening')
    const { port } = holder.address() as { port: number }
    const chain = engine({ port })
    await expect(chain.start()).rejects.toMatchObject({
      code: 'PORT_TAKEN',
      facts: { port },
      next: expect.stringContaining('another port'),
    })
    expect(processesWith(directory)).toEqual([])
    holder.close()
    await once(holder, 'close')
    await chain.start()
  })

  test('a directory that another engine has', async () => {
    const first = engine()
    await first.start()
    await expect(engine().start()).rejects.toMatchObject({ code: 'DIRECTORY_IN_USE' })
    expect(await request(first.rpcUrl, 'eth_chainId')).toBe('0x7a69')
  })

  test.each([
    ['written by a newer version', '{"version":2,"engine":"reth","chainId":31337}', 'CHAIN_DIRECTORY_NEWER'],
    ['of another chain', '{"version":1,"engine":"anvil","chainId":1}', 'CHAIN_ID_DIFFERENT'],
    ['of something else', 'hello', 'CHAIN_DIRECTORY_INVALID'],
  ])('a directory %s', async (_, text, code) => {
    await writeFile(join(directory, 'chain.json'), text)
    await expect(engine().start()).rejects.toMatchObject({ code })
    expect(await readFile(join(directory, 'chain.json'), 'utf8')).toBe(text)
  })

  test('an account that is no address', async () => {
    await expect(engine({ accounts: ['0x12'] }).start()).rejects.toMatchObject({ code: 'ADDRESS_INVALID' })
  })

  test('a start that was given up leaves nothing behind', async () => {
    const chain = engine()
    await expect(chain.start({ signal: AbortSignal.abort() })).rejects.toThrow('abort')
    const scope = new AbortController()
    const starting = chain.start({ signal: scope.signal })
    await eventually(() => processesWith(directory).length > 0)
    scope.abort()
    await starting.catch(() => undefined)
    await chain.stop()
    expect(processesWith(directory)).toEqual([])
    await chain.start()
  })
})

test('everything listens on 127.0.0.1 unless told otherwise', async () => {
  const chain = engine()
  await chain.start()
  expect(new URL(chain.rpcUrl).hostname).toBe('127.0.0.1')
  // Another address of this machine: only who listens on all of them is reached there.
  await expect(fetch(chain.rpcUrl.replace('127.0.0.1', '127.0.0.2'))).rejects.toThrow('fetch failed')
  const open = engine({ host: '0.0.0.0' }, join(directory, 'open'))
  await open.start()
  expect(await request(open.rpcUrl, 'eth_chainId')).toBe('0x7a69')
})

test('two engines live side by side and are different chains', async () => {
  const other = await temporaryDirectory()
  const [a, b] = [engine(), engine({}, other.path)]
  await Promise.all([a.start(), b.start()])
  const hash = await send(a.rpcUrl, 0)
  expect(await receiptOf(a.rpcUrl, hash)).not.toBeNull()
  expect(await receiptOf(b.rpcUrl, hash)).toBeNull()
  await b.stop()
  await other[Symbol.asyncDispose]()
})

describe('a state file', () => {
  test('that is broken is named, and nothing is thrown away', async () => {
    await writeFile(join(directory, 'state.json.gz'), 'not a state')
    await expect(engine().start()).rejects.toMatchObject({
      code: 'CHAIN_STATE_BROKEN',
      facts: { file: join(directory, 'state.json.gz') },
    })
    expect(await readFile(join(directory, 'state.json.gz'), 'utf8')).toBe('not a state')
  })

  test('that anvil wrote by itself before a stop is not taken for a newer one', async () => {
    const first = engine()
    await first.start()
    await first.stop()
    const old = await readFile(join(directory, 'state.json.gz'))
    const second = engine()
    await second.start()
    await writeFile(join(directory, 'exit.json'), old)
    const hash = await send(second.rpcUrl, 0)
    await second.stop()
    expect(await exists('exit.json')).toBe(false)
    const third = engine()
    await third.start()
    expect(await receiptOf(third.rpcUrl, hash)).toMatchObject({ status: '0x1' })
  })

  test('that anvil could not finish writing gives way to the last one that was saved', async () => {
    const chain = engine()
    await chain.start()
    const hash = await send(chain.rpcUrl, 0)
    await chain.stop()
    await writeFile(join(directory, 'exit.json'), '{"block":{"number":"0x1"')
    await chain.start()
    expect(await receiptOf(chain.rpcUrl, hash)).toMatchObject({ status: '0x1' })
    expect(await exists('exit.json')).toBe(false)
  })
})

describe('when anvil is killed', () => {
  test('the engine brings it back on the same port with what was saved, and goes on', async () => {
    const chain = engine()
    await chain.start()
    const url = chain.rpcUrl
    const hash = await send(url, 0)
    // The save comes with the last confirmation.
    await eventually(() => exists('state.json.gz'))
    const pid = chain.pid!
    process.kill(pid, 'SIGKILL')
    await eventually(() => chain.pid !== undefined && chain.pid !== pid)
    expect(chain.rpcUrl).toBe(url)
    expect(chain.restartCount).toBe(1)
    expect(await receiptOf(url, hash)).toMatchObject({ status: '0x1' })
    expect(await receiptOf(url, await send(url, 1))).toMatchObject({ status: '0x1' })
  })

  test('politely, by somebody else, nothing is lost', async () => {
    const chain = engine()
    await chain.start()
    const hash = await send(chain.rpcUrl, 0)
    const pid = chain.pid!
    process.kill(pid, 'SIGTERM')
    await eventually(() => chain.pid !== undefined && chain.pid !== pid)
    expect(await receiptOf(chain.rpcUrl, hash)).toMatchObject({ status: '0x1' })
  })
})

describe('when this process is killed with SIGKILL', () => {
  test('anvil ends too, and the next start finds every block', async () => {
    const { parent, rpcUrl, pid } = await startEngineProcess(directory)
    expect(processesWith(directory).some((row) => row.trim().startsWith(`${pid} `))).toBe(true)
    const hash = await send(rpcUrl, 0)
    parent.kill('SIGKILL')
    await once(parent, 'exit')
    await eventually(() => processesWith(directory).length === 0)

    const chain = engine()
    await chain.start()
    expect(await receiptOf(chain.rpcUrl, hash)).toMatchObject({ status: '0x1' })
    expect(await exists('exit.json')).toBe(false)
  })

  test('a start right after it waits for the state that anvil is writing', async () => {
    const { parent, rpcUrl } = await startEngineProcess(directory)
    const hash = await send(rpcUrl, 0)
    parent.kill('SIGKILL')
    await once(parent, 'exit')
    const chain = engine()
    await chain.start()
    expect(await receiptOf(chain.rpcUrl, hash)).toMatchObject({ status: '0x1' })
  })

  test('an anvil that was left behind all the same is ended by the next start', async () => {
    const { parent, rpcUrl, pid } = await startEngineProcess(directory)
    await send(rpcUrl, 0)
    await eventually(() => exists('state.json.gz'))
    // Its guards first, so that nobody ends it.
    for (const row of processesWith(directory))
      if (row.includes('weightless-guard')) process.kill(Number(row.trim().split(' ')[0]), 'SIGSTOP')
    for (const row of processesWith(directory))
      if (row.includes('weightless-guard')) process.kill(Number(row.trim().split(' ')[0]), 'SIGKILL')
    parent.kill('SIGKILL')
    await once(parent, 'exit')
    const chain = engine()
    await chain.start()
    expect(processesWith(directory).some((row) => row.trim().startsWith(`${pid} `))).toBe(false)
    expect(chain.pid).not.toBe(pid)
  })

  test('SIGTERM to a process that stops its engine leaves nothing and saves', async () => {
    const { parent, rpcUrl } = await startEngineProcess(directory)
    await send(rpcUrl, 0)
    parent.kill('SIGTERM')
    await once(parent, 'exit')
    expect(processesWith(directory)).toEqual([])
    expect(await exists('state.json.gz')).toBe(true)
  })
})
