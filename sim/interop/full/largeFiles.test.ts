import { rmSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { content, startNetwork, weightless, type Network } from '../network.ts'
import { downloadWithNew, downloadWithOld, officialRoot, uploadWithNew, uploadWithOld } from '../officialClients.ts'

// What is too heavy for the gate: run by `npm run interop:full`.

let network: Network
beforeAll(async () => {
  network = await startNetwork()
}, 90_000)
afterAll(async () => network.stop())

describe('large files', () => {
  test('64 MB by SDK 1.2.8: read back by both SDKs and by ours', { timeout: 600_000 }, async () => {
    const bytes = Buffer.from(content(64_000_000, 1))
    const result = await uploadWithNew(network, 2, bytes)
    expect(result.rootHash).toBe(await officialRoot(bytes))
    expect(Buffer.from(await downloadWithNew(network, result.rootHash)).equals(bytes)).toBe(true)
    expect(Buffer.from(await downloadWithOld(network, result.rootHash)).equals(bytes)).toBe(true)
    expect((await weightless(network, ['get', result.rootHash, '-o', '-'])).stdout.equals(bytes)).toBe(true)
  })

  test('64 MB by SDK 0.3.3: read back by both SDKs and by ours', { timeout: 600_000 }, async () => {
    const bytes = Buffer.from(content(64_000_000, 2))
    const result = await uploadWithOld(network, 3, bytes)
    expect(Buffer.from(await downloadWithNew(network, result.rootHash)).equals(bytes)).toBe(true)
    expect((await weightless(network, ['get', result.rootHash, '-o', '-'])).stdout.equals(bytes)).toBe(true)
  })

  test('128 MiB by the CLI survives a killed node and a deleted directory', { timeout: 600_000 }, async () => {
    const bytes = Buffer.from(content(128 * 1024 * 1024, 3))
    const put = await weightless(network, ['put', '-', '--json'], bytes)
    const { root } = JSON.parse(put.stdout.toString()) as { root: string }
    const nodes = network.file.storage.nodes
    process.kill(nodes[2]!.pid!, 'SIGKILL')
    rmSync(nodes[4]!.dataDir, { recursive: true, force: true })
    process.kill(nodes[4]!.pid!, 'SIGKILL')
    expect((await weightless(network, ['get', root, '-o', '-'])).stdout.equals(bytes)).toBe(true)
    expect(Buffer.from(await downloadWithNew(network, root)).equals(bytes)).toBe(true)
  })
})
