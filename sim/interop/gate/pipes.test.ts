import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readlinkSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startNetwork, type Network } from '../network.ts'
import { getToPipe, putFromPipe } from '../pipes.ts'
import { until } from '../processes.ts'

// Sources and outputs that can be read or written once, against a network started by `weightless up`.

/** A process of Node with our code and its workers takes about 90 MB before it does anything: a file of this size in memory would
 *  show. The same with 5 GB: `npm run interop:full`. */
const FILE_BYTES = 128 * 1024 ** 2
const PEAK_BYTES_MAX = 200 * 1024 ** 2

let network: Network
beforeAll(async () => {
  network = await startNetwork(['--nodes', '3'])
}, 90_000)
afterAll(() => network.stop())

test('put - and get -o - take a window of memory, whatever the size', async () => {
  const put = await putFromPipe(network, FILE_BYTES)
  const get = await getToPipe(network, put.root)
  expect(get.sha256).toBe(put.sha256)
  expect(put.peakBytes).toBeGreaterThan(0)
  expect(put.peakBytes).toBeLessThan(PEAK_BYTES_MAX)
  expect(get.peakBytes).toBeLessThan(PEAK_BYTES_MAX)
}, 180_000)

describe.runIf(process.platform === 'linux')('the temporary file of put -', () => {
  const binary = resolve(import.meta.dirname, '../../../packages/cli/bin/weightless.js')

  test.each(['SIGTERM', 'SIGINT', 'SIGKILL'] as const)(
    'is for this user only while it is there, and gone after %s',
    async (signal) => {
      const folder = mkdtempSync(join(tmpdir(), 'weightless-spool-'))
      const child = spawn(process.execPath, [binary, 'put', '-', '--dir', network.dir], {
        stdio: ['pipe', 'ignore', 'ignore'],
        env: { ...process.env, TMPDIR: folder },
      })
      const closed = once(child, 'close')
      child.stdin!.on('error', () => undefined)
      child.stdin!.write(Buffer.alloc(3_000_000, 1))
      const spool = (): string | undefined =>
        openFiles(child.pid!).find((link) => readLink(link).startsWith(join(folder, '')) && statSync(link).size > 0)
      await until('it spools', 40_000, () => spool() !== undefined)
      expect(statSync(spool()!).mode & 0o777).toBe(0o600)
      child.kill(signal)
      await closed
      expect(readdirSync(folder, { recursive: true })).toEqual([])
      rmSync(folder, { recursive: true })
    },
  )

  function openFiles(pid: number): string[] {
    try {
      return readdirSync(`/proc/${pid}/fd`).map((name) => `/proc/${pid}/fd/${name}`)
    } catch {
      return []
    }
  }
  function readLink(link: string): string {
    try {
      return readlinkSync(link)
    } catch {
      return ''
    }
  }
})
