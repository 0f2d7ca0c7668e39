import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { TEST_ACCOUNTS } from './local/accounts.ts'
import {
  networkFilePath,
  parseNetwork,
  readNetworkFile,
  removeNetworkFile,
  writeNetworkFile,
  type NetworkDescription,
} from './networkFile.ts'

const address = `0x${'ab'.repeat(20)}`
const network: NetworkDescription = {
  version: 1,
  pid: process.pid,
  chain: { rpcUrl: 'http://127.0.0.1:8600', wsUrl: 'ws://127.0.0.1:8600', chainId: 31337 },
  accounts: TEST_ACCOUNTS,
  contracts: { flow: address, market: address, reward: address, storageRegistry: address },
  storage: {
    indexerUrl: 'http://127.0.0.1:8601',
    gatewayUrl: 'http://127.0.0.1:8601',
    nodes: [{ id: 'node-0', url: 'http://127.0.0.1:8610', pid: null, dataDir: '/somewhere' }],
  },
}

let dir = ''
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'weightless-file-'))
})
afterEach(async () => {
  await rm(dir, { recursive: true, force: true })
})

describe('network.json', () => {
  test('is written by rename, readable by this user only, and reads back as it was', async () => {
    await writeNetworkFile(dir, network)
    const before = await stat(networkFilePath(dir))
    expect(before.mode & 0o777).toBe(0o600)
    expect(await readNetworkFile(dir)).toEqual(network)
    await writeNetworkFile(dir, { ...network, pid: process.ppid })
    expect((await stat(networkFilePath(dir))).ino).not.toBe(before.ino)
    expect(await readdir(dir)).toEqual(['network.json'])
    await removeNetworkFile(dir)
    await removeNetworkFile(dir)
    expect(await readdir(dir)).toEqual([])
  })

  test('has no key of a part that is not built', async () => {
    await writeNetworkFile(dir, network)
    const text = await readFile(networkFilePath(dir), 'utf8')
    for (const key of ['kv', 'da', 'compute', 'mine', 'daEntrance', 'daSigners', 'ledger', 'inference', 'fineTuning']) {
      expect(text).not.toContain(`"${key}"`)
    }
  })

  test('of a process that is gone is no running network', async () => {
    // Linux gives no such pid.
    await writeNetworkFile(dir, { ...network, pid: 2 ** 22 + 1 })
    await expect(readNetworkFile(dir)).rejects.toMatchObject({ code: 'NETWORK_DOWN' })
    await removeNetworkFile(dir)
    await expect(readNetworkFile(dir)).rejects.toMatchObject({ code: 'NETWORK_DOWN' })
  })

  test.each([
    ['half a file', '{"version": 1, "pid"'],
    ['another version', JSON.stringify({ ...network, version: 2 })],
    ['no pid', JSON.stringify({ ...network, pid: 'me' })],
    ['no chain', JSON.stringify({ ...network, chain: undefined })],
    ['a URL of a file', JSON.stringify({ ...network, chain: { rpcUrl: 'file:///etc/passwd', chainId: 1 } })],
    ['a broken key', JSON.stringify({ ...network, accounts: [{ address, privateKey: '0x12' }] })],
    ['a broken address', JSON.stringify({ ...network, contracts: { flow: '0x12' } })],
    ['null', 'null'],
    ['a file that is far too big', ' '.repeat(2_000_000)],
  ])('with %s is refused', async (_, text) => {
    expect(() => parseNetwork(text)).toThrow(/NETWORK_FILE_INVALID/)
    await writeFile(networkFilePath(dir), text)
    await expect(readNetworkFile(dir)).rejects.toMatchObject({ code: 'NETWORK_FILE_INVALID' })
  })

  test('takes fields that a later weightless adds', () => {
    expect(parseNetwork(JSON.stringify({ ...network, kv: { url: 'http://127.0.0.1:1' } }))).toMatchObject({
      pid: process.pid,
    })
  })
})
