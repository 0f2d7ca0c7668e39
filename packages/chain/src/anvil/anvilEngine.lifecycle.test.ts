import { once } from 'node:events'
import { copyFile, readdir, readFile, rm, writeFile } from 'node:fs/promises'
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
  // The guards of a process that was killed need a moment, on a busy machine a longer one.
  await eventually(() => processesWith(directory).length === 0)
  await cleanup()
})

function engine(options: Parameters<typeof engineIn>[1] = {}, at = directory): ChainEngine {
  const made = engineIn(at, options)
  engines.push(made)
  return made
}
async function send(url: string, nonce: number): Promise<string> {
  return (await request(url, 'eth_sendRawTransaction', [await signed(account(1), nonce)])) as string
}
const firstBlockOf = (url: string): Promise<unknown> => request(url, 'eth_getBlockByNumber', ['0x0', false])
const receiptOf = (url: string, hash: string): Promise<unknown> => request(url, 'eth_getTransactionReceipt', [hash])

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
    const name = String(chain.head()!.number).padStart(12, '0')
    const first = ''.padStart(12, '0')
    expect((await readdir(directory)).toSorted()).toEqual([
      'anvil.log',
      'chain.json',
      `journal-${first}.log`,
      `journal-${name}.log`,
      `snapshot-${first}.state`,
      `snapshot-${name}.state`,
    ])

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
    ['written by a newer version', '{"version":4,"engine":"reth","chainId":31337}', 'CHAIN_DIRECTORY_NEWER'],
    ['of another chain', '{"version":2,"engine":"anvil","chainId":1}', 'CHAIN_ID_DIFFERENT'],
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

describe('what a start finds', () => {
  const files = async (kind: string): Promise<string[]> =>
    (await readdir(directory)).filter((name) => name.startsWith(kind)).toSorted()
  const overwrite = async (name: string, at: number, byte: number): Promise<void> => {
    const bytes = await readFile(join(directory, name))
    bytes[at]! ^= byte
    await writeFile(join(directory, name), bytes)
  }

  test('a snapshot whose bits have changed gives way to the one before it, and no block is missing', async () => {
    const chain = engine()
    await chain.start()
    const hash = await send(chain.rpcUrl, 0)
    await chain.stop()
    const head = chain.head()!
    await overwrite((await files('snapshot')).at(-1)!, 200, 0xff)
    await chain.start()
    expect(await request(chain.rpcUrl, 'eth_getBlockByNumber', [`0x${head.number.toString(16)}`, false])).toMatchObject(
      { hash: head.hash },
    )
    expect(await receiptOf(chain.rpcUrl, hash)).toMatchObject({ status: '0x1' })
  })

  test('without any whole snapshot it names the newest, and throws nothing away', async () => {
    const chain = engine()
    await chain.start()
    await send(chain.rpcUrl, 0)
    await chain.stop()
    const names = await files('snapshot')
    for (const name of names) await writeFile(join(directory, name), 'not a state')
    const before = await readdir(directory)
    await expect(engine().start()).rejects.toMatchObject({
      code: 'CHAIN_STATE_BROKEN',
      facts: { file: join(directory, names.at(-1)!) },
    })
    expect(await readdir(directory)).toEqual(before)
  })

  test('a journal whose bits have changed is named with the place, and nothing goes on without its blocks', async () => {
    const { parent, rpcUrl } = await startEngineProcess(directory)
    await send(rpcUrl, 0)
    await send(rpcUrl, 1)
    parent.kill('SIGKILL')
    await once(parent, 'exit')
    const [name] = await files('journal')
    await overwrite(name!, 100, 0x01)
    await expect(engine().start()).rejects.toMatchObject({
      code: 'CHAIN_JOURNAL_DAMAGED',
      facts: { file: join(directory, name!), offset: 60 },
      next: expect.stringContaining('Restore the file'),
    })
  })

  test('a directory of blocks without its chain.json is not taken for a new one', async () => {
    const chain = engine()
    await chain.start()
    await send(chain.rpcUrl, 0)
    await chain.stop()
    await rm(join(directory, 'chain.json'))
    await expect(engine().start()).rejects.toMatchObject({ code: 'CHAIN_DIRECTORY_INVALID' })
  })

  test('keeps the very first block, however often it comes', async () => {
    let expected: unknown
    for (let life = 0; life < 5; life++) {
      const chain = engine()
      await chain.start()
      expected ??= await firstBlockOf(chain.rpcUrl)
      expect(await firstBlockOf(chain.rpcUrl)).toEqual(expected)
      await send(chain.rpcUrl, life)
      await chain.stop()
    }
  })

  test('keeps the first block of a chain whose older versions have left one of each start', async () => {
    const meta = join(directory, 'chain.json')
    let expected: unknown
    for (let life = 0; life < 4; life++) {
      const chain = engine()
      await chain.start()
      expected ??= await firstBlockOf(chain.rpcUrl)
      await send(chain.rpcUrl, life)
      await chain.stop()
      const { firstBlockS, ...rest } = JSON.parse(await readFile(meta, 'utf8')) as { readonly firstBlockS: number }
      const before = { ...rest, version: 2 }
      // As they did: the engine's first block had the time of its start.
      await writeFile(meta, JSON.stringify(life === 3 ? before : { ...rest, firstBlockS: firstBlockS + 1 + life }))
    }
    for (let life = 4; life < 7; life++) {
      const chain = engine()
      await chain.start()
      expect(await firstBlockOf(chain.rpcUrl)).toEqual(expected)
      await send(chain.rpcUrl, life)
      await chain.stop()
    }
  })

  test('the saved state of an older version becomes the first snapshot', async () => {
    const old = await temporaryDirectory()
    const chain = engine({}, old.path)
    await chain.start()
    const hash = await send(chain.rpcUrl, 0)
    await chain.stop()
    const newest = (await readdir(old.path))
      .filter((name) => name.startsWith('snapshot'))
      .toSorted()
      .at(-1)!
    await copyFile(join(old.path, newest), join(directory, 'state.json.gz'))
    await writeFile(join(directory, 'exit.json'), '{"block":{"number":"0x1"')
    await writeFile(join(directory, 'chain.json'), '{"version":1,"engine":"anvil","chainId":31337}')
    await old[Symbol.asyncDispose]()
    const taken = engine()
    await taken.start()
    expect(taken.head()).toEqual(chain.head())
    expect(await receiptOf(taken.rpcUrl, hash)).toMatchObject({ status: '0x1' })
    expect(await files('exit')).toEqual([])
    expect(await files('state')).toEqual([])
    expect(JSON.parse(await readFile(join(directory, 'chain.json'), 'utf8'))).toMatchObject({ version: 3 })
  })
})

describe('when anvil is killed', () => {
  test.each(['SIGKILL', 'SIGTERM'] as const)(
    'by %s, the engine brings it back on the same port with every block, and goes on',
    async (signal) => {
      const chain = engine()
      await chain.start()
      const url = chain.rpcUrl
      const hash = await send(url, 0)
      const block = chain.head()!
      const pid = chain.pid!
      process.kill(pid, signal)
      await eventually(() => chain.pid !== undefined && chain.pid !== pid)
      expect(chain.rpcUrl).toBe(url)
      expect(chain.restartCount).toBe(1)
      expect(await receiptOf(url, hash)).toMatchObject({ status: '0x1', blockHash: block.hash })
      expect(await receiptOf(url, await send(url, 1))).toMatchObject({ status: '0x1' })
    },
  )
})

describe('when this process is killed with SIGKILL', () => {
  test('anvil ends too, and the next start finds every block', async () => {
    const { parent, rpcUrl, pid } = await startEngineProcess(directory)
    expect(processesWith(directory).some((row) => row.trim().startsWith(`${pid} `))).toBe(true)
    const hash = await send(rpcUrl, 0)
    const receipt = await receiptOf(rpcUrl, hash)
    parent.kill('SIGKILL')
    await once(parent, 'exit')
    await eventually(() => processesWith(directory).length === 0)

    const chain = engine()
    await chain.start()
    expect(await receiptOf(chain.rpcUrl, hash)).toEqual(receipt)
  })

  test('a start right after it waits for the anvil that is ending', async () => {
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

  test('SIGTERM to a process that stops its engine leaves nothing and keeps a snapshot of the newest block', async () => {
    const { parent, rpcUrl } = await startEngineProcess(directory)
    await send(rpcUrl, 0)
    const number = Number(await request(rpcUrl, 'eth_blockNumber'))
    parent.kill('SIGTERM')
    await once(parent, 'exit')
    expect(processesWith(directory)).toEqual([])
    const snapshots = (await readdir(directory)).filter((name) => name.startsWith('snapshot')).toSorted()
    expect(Number(/\d+/.exec(snapshots.at(-1)!)![0])).toBeGreaterThanOrEqual(number)
  })
})
