import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  openAsBlob,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ENTRY_SIZE_BYTES_MAX, parseAddress } from '@weightless/core'
import { createClient, downloadBytes, upload, type Source } from '@weightless/sdk'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { failureOf, unknownRoot, useLab } from '../lab.ts'
import { content, weightless } from '../network.ts'
import { familyOf } from '../processes.ts'

// Our own clients, used wrongly against a network started by `weightless up`, and what must stay secret all the while. After
// each test a good upload must still be stored and served.

const lab = useLab()
const { folder, clientOf, moneyOf, refusal, currentFile, signerOf } = lab

describe('the SDK', () => {
  test('refuses an empty source of every kind before anything is signed', async () => {
    const { address } = lab.network.file.accounts[4]!
    const before = await moneyOf(address)
    const sources: readonly Source[] = [
      new Uint8Array(0),
      new Blob([]),
      new Blob([]).stream(),
      (async function* () {})(),
    ]
    for (const source of sources)
      expect(await failureOf(upload(clientOf(4), source))).toMatchObject({ code: 'FILE_EMPTY' })
    expect(await moneyOf(address)).toEqual(before)
  })

  test('finds out that a source has changed between its two readings', async () => {
    const bytes = content(600_000, 41)
    const changed = content(600_000, 42)
    let readCount = 0
    const source = {
      sizeBytes: bytes.length,
      // The first reading is one call: the source is smaller than a batch.
      read: async (start: number, end: number) => (readCount++ === 0 ? bytes : changed).subarray(start, end),
    }
    expect(await failureOf(upload(clientOf(4), source))).toMatchObject({ code: 'SOURCE_CHANGED', retryable: true })
    // The entry is on chain by then: the bytes as they were complete it without a second payment.
    expect(await upload(clientOf(4), bytes)).toMatchObject({ stage: 'durable', reused: true })
  })

  test('finds out that a file behind a Blob has grown', async () => {
    const path = join(folder, 'grown')
    writeFileSync(path, content(300_000, 43))
    const blob = await openAsBlob(path)
    appendFileSync(path, 'more')
    expect(await failureOf(upload(clientOf(4), blob))).toMatchObject({ code: 'SOURCE_CHANGED' })
  })

  test('tells a wallet without funds so before it asks for a signature', async () => {
    const account = privateKeyToAccount(generatePrivateKey())
    const signed: unknown[] = []
    const signer = {
      address: account.address,
      signTransaction: async (transaction: unknown) => `${signed.push(transaction)}`,
    }
    const client = createClient({ network: lab.describe(), signer })
    const error = await failureOf(upload(client, content(1000, 44)))
    expect(error).toMatchObject({ code: 'FUNDS_INSUFFICIENT', facts: { address: account.address.toLowerCase() } })
    expect(signed).toEqual([])
  })

  test.each([
    ['chain id', () => ({ chainId: 16_661 })],
    ['flow address with no code', () => ({ flow: `0x${'12'.repeat(20)}` })],
    ['flow address of another contract', () => ({ flow: lab.network.file.contracts.market })],
  ])('refuses a network with another %s before anything is signed', async (_, changes) => {
    const { address } = lab.network.file.accounts[5]!
    const before = await moneyOf(address)
    const client = createClient({ network: lab.describe(changes()), signer: signerOf(5) })
    expect(await failureOf(upload(client, content(1000, 45)))).toMatchObject({
      code: 'NETWORK_MISMATCH',
      retryable: false,
    })
    expect(await moneyOf(address)).toEqual(before)
  })

  test('says which root, range or endpoint is wrong when it reads', async () => {
    const { root } = await upload(clientOf(3), content(1000, 46))
    const read = (target: string, options = {}) =>
      failureOf(downloadBytes(clientOf(3), target, { timeoutMs: 20_000, ...options }))
    expect(await read(unknownRoot)).toMatchObject({ code: 'OBJECT_UNKNOWN' })
    expect(await read('0x12')).toMatchObject({ code: 'ROOT_INVALID' })
    expect(await read(root, { range: { start: 1000 } })).toMatchObject({ code: 'RANGE_INVALID' })
    expect(await read(root, { range: { start: 5, end: 5 } })).toMatchObject({ code: 'RANGE_INVALID' })
    const gone = createClient({ network: lab.describe({ rpcUrl: 'http://127.0.0.1:9' }) })
    expect(await failureOf(downloadBytes(gone, root, { timeoutMs: 20_000 }))).toMatchObject({ code: 'RPC_UNREACHABLE' })
  })
})

describe('the command line', () => {
  test('refuses to store nothing', async () => {
    const path = join(folder, 'empty')
    writeFileSync(path, '')
    const answers = await Promise.all([
      refusal(['put', path]),
      refusal(['put', '-'], new Uint8Array(0)),
      refusal(['put', '/dev/null']),
    ])
    for (const answer of answers) expect(answer).toMatchObject({ exit: 1, code: 'FILE_EMPTY' })
  })

  test('refuses a file above the limit of an entry before it reads it', async () => {
    const path = join(folder, 'large')
    writeFileSync(path, '')
    // No byte of it is on the disk.
    truncateSync(path, ENTRY_SIZE_BYTES_MAX + 1)
    expect(await refusal(['put', path])).toMatchObject({ exit: 1, code: 'SIZE_INVALID' })
  })

  test('refuses what it cannot read', async () => {
    const answers = await Promise.all([refusal(['put', join(folder, 'nowhere')]), refusal(['put', folder])])
    for (const answer of answers) expect(answer).toMatchObject({ exit: 1, code: 'FILE_UNREADABLE' })
  })

  test('finds out that a file grows while it is read, and pays for nothing', async () => {
    const path = join(folder, 'growing')
    writeFileSync(path, content(8_000_000, 51))
    const keyFile = await fundedKey('growing.key')
    const before = await moneyOf(keyFile.address)
    const grow = setInterval(() => appendFileSync(path, 'x'), 1)
    const answer = await refusal(['put', path, '--key-file', keyFile.path]).finally(() => clearInterval(grow))
    expect(answer).toMatchObject({ exit: 1, code: 'FILE_CHANGED' })
    expect(await moneyOf(keyFile.address)).toEqual(before)
  })

  test('tells a fresh key that it has no funds, and refuses a key that others can read', async () => {
    const path = join(folder, 'fresh.key')
    const key = generatePrivateKey()
    writeFileSync(path, key, { mode: 0o600 })
    const file = join(folder, 'small')
    writeFileSync(file, content(1000, 52))
    const address = privateKeyToAccount(key).address.toLowerCase()
    expect(await refusal(['put', file, '--key-file', path])).toMatchObject({
      exit: 1,
      code: 'FUNDS_INSUFFICIENT',
      facts: { address },
    })
    expect(await moneyOf(address)).toEqual({ balance: '0x0', nonce: '0x0' })
    chmodSync(path, 0o644)
    const wide = await refusal(['put', file, '--key-file', path])
    expect(wide).toMatchObject({ exit: 1, code: 'KEY_FILE_OPEN' })
    expect(JSON.stringify(wide)).not.toContain(key.slice(2))
    expect(await refusal(['put', file, '--key-file', join(folder, 'no.key')])).toMatchObject({
      exit: 1,
      code: 'KEY_FILE_MISSING',
    })
  })

  test('refuses a network.json whose chain or flow does not match, before anything is signed', async () => {
    const { address } = lab.network.file.accounts[1]!
    const before = await moneyOf(address)
    for (const [name, change] of [
      ['chain', (file: any) => (file.chain.chainId = 1)],
      ['flow', (file: any) => (file.contracts.flow = lab.network.file.contracts.reward)],
    ] as const) {
      const dir = join(folder, `other-${name}`)
      mkdirSync(dir)
      const file = structuredClone(currentFile())
      change(file)
      writeFileSync(join(dir, 'network.json'), JSON.stringify(file))
      const { code, stdout } = await weightless({ dir }, ['put', '-', '--json'], content(1000, 53))
      expect(code).toBe(1)
      expect(JSON.parse(stdout.toString()).error).toMatchObject({
        code: 'NETWORK_MISMATCH',
        next: expect.stringContaining('nothing was signed'),
      })
    }
    expect(await moneyOf(address)).toEqual(before)
  })

  test('ends with 1 when a root is unknown or a range lies outside, and leaves no file', async () => {
    const bytes = content(1000, 54)
    const { root } = await upload(clientOf(3), bytes)
    const out = join(folder, 'out')
    const [unknown, outside, description] = await Promise.all([
      refusal(['get', unknownRoot, '-o', out]),
      refusal(['get', root, '--range', '1000-', '-o', out]),
      refusal(['info', unknownRoot]),
    ])
    expect(unknown).toMatchObject({ exit: 1, code: 'OBJECT_UNKNOWN' })
    expect(outside).toMatchObject({ exit: 1, code: 'RANGE_INVALID' })
    expect(description).toMatchObject({ exit: 1, code: 'OBJECT_UNKNOWN' })
    const noText = await weightless(lab.network, ['get', unknownRoot, '-o', '-'])
    expect([noText.code, noText.stdout.length]).toEqual([1, 0])
    expect(noText.stderr).toMatch(/^error OBJECT_UNKNOWN$[\s\S]*^ {2}next: /m)
    expect(readdirSync(folder).filter((name) => name.includes('out'))).toEqual([])
  })

  test('ends with 2 when it is called wrongly', { timeout: 120_000 }, async () => {
    const file = join(folder, 'small')
    const wrong: readonly (readonly [readonly string[], string])[] = [
      [['nothing'], 'USAGE'],
      [[], 'USAGE'],
      [['put'], 'USAGE'],
      [['put', file, '--nonsense'], 'USAGE'],
      [['put', file, '--until', 'some day'], 'USAGE'],
      [['get', '0x12'], 'USAGE'],
      [['get', unknownRoot, '--range', '9-1'], 'USAGE'],
      [['up', '--nodes', '0'], 'USAGE'],
      [['up', '--port-base', '99999'], 'USAGE'],
      [['up', '--code', '4-2'], 'USAGE'],
      [['put', file, '--code', '4'], 'USAGE'],
      [['put', file, '--code', '200+57'], 'USAGE'],
      [['put', file, '--losses', '3'], 'USAGE'],
      [['put', file, '--losses', '1', '--code', 'none'], 'USAGE'],
      [['kv', 'get', 'x'], 'NOT_BUILT'],
      [['da', 'put', 'x'], 'NOT_BUILT'],
      [['models'], 'NOT_BUILT'],
      [['chat', 'hello'], 'NOT_BUILT'],
      [['tour'], 'NOT_BUILT'],
    ]
    for (let at = 0; at < wrong.length; at += 3) {
      await Promise.all(
        wrong.slice(at, at + 3).map(async ([args, expected]) => {
          expect([args, await refusal(args)]).toMatchObject([args, { exit: 2, code: expected }])
        }),
      )
    }
    // Nothing was started by the way.
    expect(currentFile()).toEqual(lab.network.file)
  })

  test('ends with 1 where no network runs', async () => {
    const dir = join(folder, 'nobody')
    for (const args of [['status'], ['put', '-'], ['get', unknownRoot, '-o', join(folder, 'x')], ['ls']]) {
      const { code, stdout } = await weightless({ dir }, [...args, '--json'], new Uint8Array(1))
      expect([args, code, JSON.parse(stdout.toString()).error?.code]).toEqual([args, 1, 'NETWORK_DOWN'])
    }
  })

  test('ends with 1 when a second network is started in the same directory, and the first runs on', async () => {
    for (const args of [['up'], ['up', '--detach'], ['up', '--reset']]) {
      const second = await refusal([...args, '--port-base', '0'])
      expect(second).toMatchObject({ exit: 1, code: 'NETWORK_RUNNING', facts: { pid: lab.network.file.pid } })
    }
    expect(currentFile()).toEqual(lab.network.file)
  })
})

describe('secrets', () => {
  test('network.json and every key file are for this user only', () => {
    const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8)
    expect(modeOf(join(lab.network.dir, 'network.json'))).toBe('600')
    expect(modeOf(join(lab.network.dir, 'admin.json'))).toBe('600')
    const keys = readdirSync(join(lab.network.dir, 'keys'))
    expect(keys.length).toBeGreaterThanOrEqual(5)
    for (const name of keys) expect([name, modeOf(join(lab.network.dir, 'keys', name))]).toEqual([name, '600'])
  })

  test('the door of the administrator is closed to whoever does not know its token', async () => {
    const { url, token } = JSON.parse(readFileSync(join(lab.network.dir, 'admin.json'), 'utf8')) as {
      url: string
      token: string
    }
    for (const authorization of [undefined, 'Bearer', 'Bearer wrong', `Bearer ${token}x`, `Basic ${token}`]) {
      for (const [method, path] of [
        ['GET', '/v1/status'],
        ['POST', '/v1/stop'],
      ] as const) {
        const response = await fetch(url + path, {
          method,
          headers: authorization === undefined ? {} : { authorization },
        })
        expect(response.status).toBeGreaterThanOrEqual(400)
        expect(await response.json()).toMatchObject({
          error: { code: 'ADMIN_REFUSED', next: expect.stringMatching(/./) },
        })
      }
    }
    expect((await weightless(lab.network, ['status', '--json'])).code).toBe(0)
  })

  test('no private key and no token stands in a log or in a command line', () => {
    const keys = [
      ...lab.network.file.accounts.map(({ privateKey }) => privateKey),
      ...readdirSync(join(lab.network.dir, 'keys')).map((name) =>
        readFileSync(join(lab.network.dir, 'keys', name), 'utf8').trim(),
      ),
    ].map((key) => key.replace(/^0x/, '').toLowerCase())
    const { token } = JSON.parse(readFileSync(join(lab.network.dir, 'admin.json'), 'utf8')) as { token: string }
    const family = familyOf(lab.network.file.pid)
    // up, anvil with its guard, gateway, four nodes
    expect(family.length).toBeGreaterThanOrEqual(7)
    const logs = readdirSync(join(lab.network.dir, 'logs')).map((name) =>
      readFileSync(join(lab.network.dir, 'logs', name), 'utf8'),
    )
    expect(logs.length).toBeGreaterThanOrEqual(7)
    for (const text of [...logs, ...family.map(({ commandLine }) => commandLine)]) {
      const lower = text.toLowerCase()
      expect(keys.filter((key) => lower.includes(key))).toEqual([])
      expect(text.includes(token)).toBe(false)
    }
  })
})

test('after all of this the network is healthy', () => lab.expectHealthy())

/** A key file with money, that nobody else signs with. */
async function fundedKey(name: string): Promise<{ readonly path: string; readonly address: string }> {
  const key = generatePrivateKey()
  const path = join(folder, name)
  writeFileSync(path, key, { mode: 0o600 })
  const { address } = privateKeyToAccount(key)
  const { transactor } = clientOf(7)
  await transactor!.send({ to: parseAddress(address.toLowerCase()), data: '0x', valueWei: 10n ** 18n }, {})
  return { path, address }
}
