import { rmSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createClient, download, privateKeySigner, upload, uploadMany } from '@weightless/sdk'
import { call, content, rawCall, startNetwork, weightless, type Network } from '../network.ts'
import {
  downloadWithNew,
  downloadWithOld,
  officialRoot,
  signerOf,
  uploadWithNew,
  uploadWithOld,
} from '../officialClients.ts'

// The unmodified official SDKs against a network started by `weightless up`. Their own polling sleeps for seconds per
// file, so tests run side by side, each group with accounts of its own (the SDKs pick nonces themselves).

let network: Network
beforeAll(async () => {
  network = await startNetwork()
}, 90_000)
afterAll(async () => network.stop())

const sizes = [1, 255, 256, 257, 262_144, 262_145, 1_000_000, 10_000_001]

function ours(account: number) {
  const { chain, contracts, accounts } = network.file
  return createClient({
    network: {
      rpcUrl: chain.rpcUrl,
      chainId: chain.chainId,
      flow: contracts.flow as never,
      registry: contracts.storageRegistry as never,
    },
    signer: privateKeySigner(accounts[account]!.privateKey as never),
  })
}

async function collect(parts: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = []
  for await (const part of parts) all.push(part)
  return Buffer.concat(all)
}

async function readByEveryone(root: string, bytes: Uint8Array): Promise<void> {
  const expected = Buffer.from(bytes)
  const cli = await weightless(network, ['get', root, '-o', '-'])
  expect(cli.stderr).not.toContain('error')
  expect(cli.stdout.equals(expected)).toBe(true)
  expect(Buffer.from(await downloadWithNew(network, root)).equals(expected)).toBe(true)
  expect(Buffer.from(await downloadWithOld(network, root)).equals(expected)).toBe(true)
  const rest = await fetch(`${network.file.storage.gatewayUrl}/file?root=${root}`)
  expect(rest.status).toBe(200)
  expect(Buffer.from(await rest.arrayBuffer()).equals(expected)).toBe(true)
}

describe.concurrent('official clients and ours read what either wrote', () => {
  test('SDK 1.2.8 uploads every size and everyone reads it back', { timeout: 240_000 }, async () => {
    for (const size of sizes) {
      const bytes = content(size, 10 + size)
      const result = await uploadWithNew(network, 2, bytes)
      expect(result.rootHash).toBe(await officialRoot(bytes))
      await readByEveryone(result.rootHash, bytes)
    }
  })

  test('SDK 0.3.3 uploads every size and everyone reads it back', { timeout: 240_000 }, async () => {
    for (const size of sizes) {
      const bytes = content(size, 20 + size)
      const result = await uploadWithOld(network, 3, bytes)
      expect(result.rootHash).toBe(await officialRoot(bytes))
      await readByEveryone(result.rootHash, bytes)
    }
  })

  test('our SDK uploads every size and the official clients read it, root for root', { timeout: 240_000 }, async () => {
    const client = ours(4)
    for (const size of sizes) {
      const bytes = content(size, 30 + size)
      const result = await upload(client, bytes)
      expect(result.root).toBe(await officialRoot(bytes))
      expect(result.receipts.length).toBe(3)
      await readByEveryone(result.root, bytes)
    }
  })

  test('the CLI puts a file from stdin and the official client reads it', { timeout: 120_000 }, async () => {
    const bytes = content(300_000, 41)
    const put = await weightless(network, ['put', '-', '--json'], bytes)
    expect(put.code).toBe(0)
    const { root } = JSON.parse(put.stdout.toString()) as { root: string }
    expect(root).toBe(await officialRoot(bytes))
    expect(Buffer.from(await downloadWithNew(network, root)).equals(Buffer.from(bytes))).toBe(true)
  })

  test('fragments of the official client are joined by both', { timeout: 120_000 }, async () => {
    const bytes = content(1_000_000, 51)
    const result = await uploadWithNew(network, 5, bytes, { fragmentSize: 262_144 })
    expect(result.rootHashes.length).toBe(4)
    expect(Buffer.from(await downloadWithNew(network, result.rootHashes)).equals(Buffer.from(bytes))).toBe(true)
    const cli = await weightless(network, ['get', result.rootHashes.join(','), '-o', '-'])
    expect(cli.stdout.equals(Buffer.from(bytes))).toBe(true)
  })

  test('what the official client encrypts ours decrypts, and the other way round', { timeout: 120_000 }, async () => {
    const key = content(32, 61)
    const bytes = content(300_001, 62)
    const theirs = await uploadWithNew(network, 6, bytes, { encryption: { type: 'aes256', key } })
    const read = await collect(download(ours(6), theirs.rootHash, { decryption: { symmetricKey: key } }))
    expect(read.equals(Buffer.from(bytes))).toBe(true)

    const mine = await upload(ours(7), bytes, { encryption: { type: 'aes256', key } })
    const back = await downloadWithNew(network, mine.root, { decryption: { symmetricKey: key } })
    expect(Buffer.from(back).equals(Buffer.from(bytes))).toBe(true)

    const recipient = signerOf(network, 0).signingKey
    const sealed = await uploadWithNew(network, 6, bytes, {
      encryption: { type: 'ecies', recipientPubKey: recipient.compressedPublicKey },
    })
    const opened = await collect(
      download(ours(6), sealed.rootHash, {
        decryption: { privateKey: Buffer.from(recipient.privateKey.slice(2), 'hex') },
      }),
    )
    expect(opened.equals(Buffer.from(bytes))).toBe(true)
  })

  test('the same file twice is found finalised and costs no second transaction', { timeout: 120_000 }, async () => {
    const bytes = content(70_000, 71)
    const first = await uploadWithNew(network, 8, bytes)
    const again = await uploadWithNew(network, 8, bytes)
    expect(first.txHash).toMatch(/^0x/)
    expect(again.txHash).toBe('')
    // Trap 11: re-submitted, the SDK names the finalised sequence number beside the new transaction.
    const paid = await uploadWithNew(network, 8, bytes, { skipIfFinalized: false })
    expect(paid.txHash).toMatch(/^0x/)
    expect(paid.txSeq).toBe(first.txSeq)
  })

  test(
    'who wants three replicas has them, who wants more is told before anything is paid',
    { timeout: 120_000 },
    async () => {
      const bytes = content(600_000, 83)
      const nonce = async (): Promise<unknown> =>
        call(network.file.chain.rpcUrl, 'eth_getTransactionCount', [network.file.accounts[1]!.address, 'latest'])
      const theirs = await uploadWithNew(network, 1, bytes, { expectedReplica: 3 })
      await readByEveryone(theirs.rootHash, bytes)
      const older = content(300_000, 84)
      const options = { tags: '0x', finalityRequired: true, taskSize: 1, expectedReplica: 2, skipTx: false, fee: 0n }
      await readByEveryone((await uploadWithOld(network, 1, older, options)).rootHash, older)
      const before = await nonce()
      await expect(uploadWithNew(network, 1, content(1000, 85), { expectedReplica: 4 })).rejects.toThrow('replication')
      expect(await nonce()).toEqual(before)
    },
  )

  test('two uploads at once from two official clients both arrive', { timeout: 120_000 }, async () => {
    const [a, b] = [content(600_000, 81), content(600_001, 82)]
    const [first, second] = await Promise.all([uploadWithNew(network, 0, a), uploadWithNew(network, 9, b)])
    await readByEveryone(first.rootHash, a)
    await readByEveryone(second.rootHash, b)
  })
})

describe('the traps of spec/storage.md 11.1', () => {
  test('1: an upload is answered with 0, not null, duplicates too', async () => {
    const { gatewayUrl } = network.file.storage
    const bytes = content(256, 101)
    const submitted = await upload(ours(1), bytes, { until: 'anchored' })
    const segment = {
      root: submitted.root,
      data: Buffer.from(bytes).toString('base64'),
      index: 0,
      proof: { lemma: [submitted.root], path: [] },
      fileSize: 256,
    }
    const answers = await Promise.all(
      [1, 2, 3].map(() => call(gatewayUrl, 'zgs_uploadSegmentsByTxSeq', [[segment], submitted.seq])),
    )
    // 13: the same segment may arrive again while the first is being processed: uploads are idempotent.
    for (const answer of answers) {
      if (answer.error) expect(answer.error.data).toBe('already uploaded and finalized')
      else expect(answer.result).toBe(0)
    }
    expect(answers.some((answer) => answer.result === 0)).toBe(true)
  })

  test('2 and 3: entries that share a root keep their own sizes', async () => {
    const { gatewayUrl } = network.file.storage
    const [one] = await uploadMany(ours(1), [new Uint8Array(1)])
    const [many] = await uploadMany(ours(1), [new Uint8Array(256)])
    expect(many!.root).toBe(one!.root)
    expect(many!.seq).not.toBe(one!.seq)
    for (const entry of [one!, many!]) {
      const info = await call(gatewayUrl, 'zgs_getFileInfoByTxSeq', [entry.seq])
      expect(info.result.tx.size).toBe(entry.sizeBytes)
      const read = await collect(download(ours(1), { root: entry.root, seq: entry.seq }))
      expect(read.length).toBe(entry.sizeBytes)
    }
  })

  test('4: the result key is there even when it is null', async () => {
    const unknown = `0x${'ab'.repeat(32)}`
    const answer = await rawCall(
      network.file.storage.gatewayUrl,
      `{"jsonrpc":"2.0","id":17690000000001234,"method":"zgs_getFileInfo","params":["${unknown}",true]}`,
    )
    expect(answer.status).toBe(200)
    expect(answer.text).toContain('"result":null')
    expect(answer.text).toContain('"id":17690000000001234')
  })

  test('5: no page of HTML is ever served', async () => {
    for (const path of ['/', '/index.html', '/nothing/here']) {
      const response = await fetch(network.file.storage.gatewayUrl + path)
      expect(response.headers.get('content-type')).toContain('application/json')
      expect(() => JSON.parse('{}')).not.toThrow()
      expect((await response.text()).trimStart().startsWith('{')).toBe(true)
    }
  })

  test('6: ten official clients submitting at once never run out of gas', { timeout: 180_000 }, async () => {
    const results = await Promise.all(
      network.file.accounts.map((_, account) => uploadWithNew(network, account, content(700 + account, 600 + account))),
    )
    const provider = signerOf(network, 0).provider!
    for (const result of results) {
      const receipt = await provider.getTransactionReceipt(result.txHash)
      expect(receipt?.status).toBe(1)
    }
  })

  test('7: parallel uploads of one key are given nonces in turn', async () => {
    const client = ours(1)
    const results = await Promise.all(Array.from({ length: 12 }, (_, i) => upload(client, content(1000 + i, 700 + i))))
    expect(new Set(results.map((result) => result.txHash)).size).toBe(12)
  })

  test('8: locations of an unknown root are an empty list, and the clients report it as an error', async () => {
    const unknown = `0x${'cd'.repeat(32)}`
    const answer = await call(network.file.storage.indexerUrl, 'indexer_getFileLocations', [unknown])
    expect(answer.result).toEqual([])
    await expect(downloadWithNew(network, unknown)).rejects.toThrow()
    await expect(downloadWithOld(network, unknown)).rejects.toThrow()
  })

  test('9: the receipt that SDK 0.3.3 awaits is there at once', async () => {
    const signer = signerOf(network, 1)
    const sent = await signer.sendTransaction({ to: signer.address, value: 0n })
    expect(await signer.provider!.getTransactionReceipt(sent.hash)).not.toBeNull()
  })

  test(
    '10 and 12: forty segments that arrive together are stored without one retry',
    { timeout: 120_000 },
    async () => {
      const { gatewayUrl } = network.file.storage
      const before = await uploadErrors(gatewayUrl)
      const bytes = content(10_000_000, 121)
      const result = await uploadWithNew(network, 2, bytes)
      expect(await uploadErrors(gatewayUrl)).toBe(before)
      expect((await call(gatewayUrl, 'zgs_getFileInfo', [result.rootHash, true])).result.finalized).toBe(true)
    },
  )

  test('13: errors of JSON-RPC come with HTTP 200', async () => {
    const { gatewayUrl } = network.file.storage
    for (const body of [
      '{',
      '[]',
      '{"jsonrpc":"2.0","id":1,"method":"zgs_nothing"}',
      '{"jsonrpc":"2.0","id":1,"method":"zgs_getFileInfo"}',
    ]) {
      const answer = await rawCall(gatewayUrl, body)
      expect(answer.status).toBe(200)
      expect(JSON.parse(answer.text).error.code).toBeLessThan(0)
    }
  })
})

describe('losses', () => {
  test(
    'two of the three holders lost, one killed, the directory of the other deleted: the object reads back intact',
    { timeout: 120_000 },
    async () => {
      const bytes = content(10_000_001, 900)
      const theirs = content(3_000_000, 901)
      const official = await uploadWithNew(network, 2, theirs)
      const own = await weightless(network, ['put', '-', '--json'], bytes)
      const { root, receipts } = JSON.parse(own.stdout.toString()) as { root: string; receipts: { signer: string }[] }
      // Two of the three that keep this very object.
      const [killed, deleted] = await nodesOf(receipts.map((receipt) => receipt.signer))
      process.kill(killed!.pid!, 'SIGKILL')
      rmSync(deleted!.dataDir, { recursive: true, force: true })
      process.kill(deleted!.pid!, 'SIGKILL')

      await readByEveryone(root, bytes)
      await readByEveryone(official.rootHash, theirs)
      // And the network still takes new objects.
      const later = content(50_000, 902)
      const result = await upload(ours(1), later)
      expect(result.stage).toBe('durable')
      await readByEveryone((await uploadWithNew(network, 2, content(40_000, 903))).rootHash, content(40_000, 903))
    },
  )
})

/** The nodes that sign with these addresses. */
async function nodesOf(signers: readonly string[]): Promise<Network['file']['storage']['nodes'][number][]> {
  const found = await Promise.all(
    network.file.storage.nodes.map(async (node) => {
      const status = (await (await fetch(`${node.url}/v1/status`)).json()) as { signer: string }
      return signers.includes(status.signer) ? [node] : []
    }),
  )
  return found.flat()
}

/** Failed upload calls that the gateway has counted. */
async function uploadErrors(gatewayUrl: string): Promise<number> {
  const text = await (await fetch(`${gatewayUrl}/metrics`)).text()
  return text
    .split('\n')
    .filter((line) => line.includes('uploadSegment') && !line.includes('code="0"') && !line.startsWith('#'))
    .filter((line) => line.startsWith('rpc_requests_total'))
    .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
}
