import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readStatus } from './status.ts'

test('a network whose process lives and does not answer is said to be silent, with its pid', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'weightless-status-'))
  const silent = createServer(() => undefined).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  try {
    const { port } = silent.address() as AddressInfo
    const admin = { pid: process.pid, url: `http://127.0.0.1:${port}`, token: '0'.repeat(64) }
    await writeFile(join(directory, 'admin.json'), JSON.stringify(admin))
    const signal = new AbortController().signal
    await expect(readStatus(directory, { wait: false, signal, answerMsMax: 50 })).rejects.toMatchObject({
      code: 'NETWORK_SILENT',
      facts: { pid: process.pid },
    })
  } finally {
    silent.closeAllConnections()
    silent.close()
    await rm(directory, { recursive: true, force: true })
  }
})
