import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, copyFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findChromium, startChromium, type Browser, type Page } from '../chromium.ts'
import { call, content, startNetwork, weightless, type Network } from '../network.ts'
import { installPackedSdk } from '../packedSdk.ts'
import { until } from '../processes.ts'

// The packed SDK in a page of a real browser, against a network started by `weightless up`. Where the system has no Chromium a
// message says so: `npm test` needs nothing but Node and npm. The gate of a landing installs one (.ci/run).

const chromium = findChromium()
if (chromium === undefined) {
  process.stderr.write('\nbrowser.test.ts: NOT RUN, this machine has no Chromium (Debian: apt-get install chromium)\n')
}
const WAIT_MS_MAX = 40_000

describe.runIf(chromium !== undefined)('the packed SDK in a browser', () => {
  let network: Network
  let browser: Browser
  let server: Server
  let project: string
  let url: string
  let page: Page

  beforeAll(async () => {
    const cache = resolve(import.meta.dirname, '../../../.cache')
    mkdirSync(cache, { recursive: true })
    project = mkdtempSync(join(cache, 'browser-'))
    await installPackedSdk(project)
    copyFileSync(resolve(import.meta.dirname, '../browserPage.ts'), join(project, 'page.ts'))
    const { outputFiles } = await build({
      entryPoints: [join(project, 'page.ts')],
      bundle: true,
      write: false,
      minify: true,
      platform: 'browser',
      format: 'iife',
      target: 'es2022',
      logLevel: 'error',
    })
    const script = outputFiles[0]!.text
    server = createServer((request, response) => {
      const isScript = request.url === '/page.js'
      response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html')
      response.end(isScript ? script : '<!doctype html><meta charset=utf-8><script src="/page.js"></script>')
    })
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
    ;[network, browser] = await Promise.all([startNetwork(['--nodes', '4']), startChromium(chromium!)])
    page = await openPage()
  }, 120_000)
  afterAll(async () => {
    await browser?.close()
    server?.closeAllConnections()
    await new Promise((closed) => server.close(closed))
    await network?.stop()
    rmSync(project, { recursive: true, force: true })
  })

  async function openPage(): Promise<Page> {
    const opened = await browser.open(url)
    const { chain, contracts, accounts } = network.file
    const description = {
      rpcUrl: chain.rpcUrl,
      chainId: chain.chainId,
      flow: contracts.flow,
      registry: contracts.storageRegistry,
    }
    await opened.evaluate(`page.connect(${JSON.stringify(description)}, ${JSON.stringify(accounts[6]!.privateKey)})`)
    return opened
  }
  const ask = <T>(name: string, ...args: unknown[]): Promise<T> =>
    page.evaluate<T>(`page.${name}(${args.map((arg) => JSON.stringify(arg) ?? 'undefined').join(', ')})`)
  const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
  async function transactions(): Promise<number> {
    const { address } = network.file.accounts[6]!
    return Number((await call(network.file.chain.rpcUrl, 'eth_getTransactionCount', [address, 'latest'])).result)
  }

  test.each(['bytes', 'blob', 'stream'] as const)('stores and reads %s, and everybody reads the same', async (kind) => {
    const sizeBytes = 1_500_001
    const seed = 20 + kind.length
    const bytes = content(sizeBytes, seed)
    const stored = await ask<{ root: string; stage: string; receiptCount: number }>('upload', kind, sizeBytes, seed)
    expect(stored).toMatchObject({ stage: 'durable', receiptCount: 3 })
    expect(await ask('download', kind, stored.root)).toBe(hashOf(bytes))
    const range = { start: 262_000, end: 900_001 }
    expect(await ask('download', kind, stored.root, range)).toBe(hashOf(bytes.subarray(range.start, range.end)))
    const { stdout } = await weightless(network, ['get', stored.root])
    expect(stdout.equals(Buffer.from(bytes))).toBe(true)
  })

  test('encrypts and decrypts, ranges included', async () => {
    const bytes = content(700_000, 30)
    const { root } = await ask<{ root: string }>('upload', 'blob', bytes.length, 30, 7)
    expect(await ask('download', 'bytes', root, undefined, 7)).toBe(hashOf(bytes))
    const range = { start: 5, end: 300_005 }
    expect(await ask('download', 'stream', root, range, 7)).toBe(hashOf(bytes.subarray(range.start, range.end)))
    expect(await ask('download', 'bytes', root)).not.toBe(hashOf(bytes))
  })

  test('a tab that is closed after it has signed is continued in the next one, and pays once', async () => {
    const before = await transactions()
    void ask('uploadInSteps', 400_000, 40, 'signed').catch(() => undefined)
    await until('the step is saved', WAIT_MS_MAX, async () => (await ask('savedStep')) === 'signed')
    await page.close()
    page = await openPage()
    const result = await ask<{ root: string }>('uploadInSteps', 400_000, 40)
    expect(result).toMatchObject({ resumed: true, reused: false })
    expect((await transactions()) - before).toBe(1)
    expect(await ask('download', 'bytes', result.root)).toBe(hashOf(content(400_000, 40)))
  })

  test('a download goes on from what was kept, once that is proven', async () => {
    const sizeBytes = 2_000_000
    const { root } = await ask<{ root: string }>('upload', 'blob', sizeBytes, 41)
    const resumed = await ask('resumeDownload', root, sizeBytes, 41, 1_000_000)
    expect(resumed).toEqual({ start: 3 * 262_144, hash: hashOf(content(sizeBytes, 41)) })
  })

  test('says what is wrong in the words of the library', async () => {
    await expect(ask('download', 'bytes', `0x${'ab'.repeat(32)}`)).rejects.toThrow('OBJECT_UNKNOWN')
  })
})
