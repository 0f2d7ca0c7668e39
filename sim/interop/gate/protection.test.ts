import { rmSync } from 'node:fs'
import { encodeParityTags, parseRoot, shardLayoutOf } from '@weightless/core'
import { createClient, privateKeySigner, submitEntries } from '@weightless/sdk'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { objectOfBytes } from '../../compliance/storageNode.ts'
import { call, content, startNetwork, weightless, type Network } from '../network.ts'
import { until } from '../processes.ts'
import { downloadWithNew, officialRoot, uploadWithNew, uploadWithOld } from '../officialClients.ts'

// What the unmodified official SDKs upload to `weightless up` survives the loss of any two of its six storage nodes.

const code = { k: 4, m: 2 }
let network: Network
beforeAll(async () => {
  network = await startNetwork()
}, 90_000)
afterAll(async () => network.stop())

/** A stranger pays for an entry that says it is the parity of these bytes, and is not: before they are uploaded. */
async function submitBogusParity(bytes: Uint8Array): Promise<void> {
  const { chain, contracts, accounts } = network.file
  const client = createClient({
    network: { rpcUrl: chain.rpcUrl, chainId: chain.chainId, flow: contracts.flow },
    signer: privateKeySigner(accounts[8]!.privateKey as never),
  })
  const dataRoot = parseRoot(await officialRoot(bytes))
  const { paritySizeBytes } = shardLayoutOf(bytes.length, code)!
  const tags = encodeParityTags({ code, dataRoot, sizeBytes: bytes.length })
  const { submission } = objectOfBytes(content(paritySizeBytes, 99), tags)
  const priceWeiPerSector = await client.price({})
  await submitEntries(
    { flow: client.network.flow, submissions: [submission], priceWeiPerSector },
    client.transactor!,
    {},
  )
}

test(
  'two nodes of six are killed and their directories deleted: official clients and ours read every byte',
  {
    timeout: 240_000,
  },
  async () => {
    const objects = [
      { bytes: content(10_000_001, 1), uploadWith: uploadWithNew },
      { bytes: content(1_000_000, 2), uploadWith: uploadWithOld },
      { bytes: content(1_500_000, 3), uploadWith: uploadWithNew },
      { bytes: content(1_000, 4), uploadWith: uploadWithNew },
    ]
    await submitBogusParity(objects[2]!.bytes)
    const roots: string[] = []
    for (const { bytes, uploadWith } of objects) roots.push((await uploadWith(network, 2, bytes)).rootHash)
    // An object of one segment has copies; its certificate follows when official clients have long been told that it is final.
    for (const root of roots) {
      const protection = async (): Promise<unknown> =>
        JSON.parse((await weightless(network, ['info', root, '--json'])).stdout.toString()).protection
      await until(`${root} is certified`, 30_000, async () => (await protection()) != null)
      expect(await protection()).toMatchObject({ certificate: { code }, lossesSurvivedNow: 2 })
    }
    const { nodes, gatewayUrl } = network.file.storage
    for (const { pid, dataDir } of [nodes[1]!, nodes[4]!]) {
      process.kill(pid!, 'SIGKILL')
      rmSync(dataDir, { recursive: true, force: true })
    }
    for (const [i, { bytes }] of objects.entries()) {
      const expected = Buffer.from(bytes)
      expect(Buffer.from(await downloadWithNew(network, roots[i]!)).equals(expected)).toBe(true)
      const cli = await weightless(network, ['get', roots[i]!, '-o', '-'])
      expect(cli.stdout.equals(expected)).toBe(true)
      const end = Math.min(expected.length, 700_000)
      const headers = { range: `bytes=${end - 600}-${end - 1}` }
      const rest = await fetch(`${gatewayUrl}/file?root=${roots[i]!}`, { headers })
      expect(Buffer.from(await rest.arrayBuffer()).equals(expected.subarray(end - 600, end))).toBe(true)
      const proven = await call(gatewayUrl, 'zgs_downloadSegmentWithProof', [roots[i]!, 0])
      expect(proven.result.root).toBe(roots[i]!)
    }
  },
)
