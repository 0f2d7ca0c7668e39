import { describe, expect, test } from 'vitest'
import { ENTRY_WAIT_MS, JSON_BODY_BYTES_MAX, SEGMENT_SIZE_BYTES, SEGMENTS_BODY_BYTES_MAX } from '@weightless/core'
import { downloadBytes, upload } from '@weightless/sdk'
import { useLab } from '../lab.ts'
import { call, content, rawCall, weightless } from '../network.ts'
import { until } from '../processes.ts'
import { framesOf, officialSegment, putFrames, segmentedFile } from '../segmentBodies.ts'
import { openSlowClients } from '../slowClients.ts'

// Clients that stop in the middle, and hundreds at once, against a network started by `weightless up`: they must hold neither
// memory nor the place of others.

const lab = useLab()
let servedCount = 0
const { gatewayUrl, nodeUrl, chainUrl, clientOf, anchored, served, currentFile } = lab
/** The gates of the gateway let in 48 MiB of bodies and 64 MiB of answers, each copied once or twice on its way; without them
 *  the tests below would take more than a gigabyte. */
const MEMORY_BYTES_MAX = 512 * 1024 ** 2

// Each of these waits for a limit of the server; together they take as long as the longest.
describe.concurrent('clients that are slow or many', () => {
  const halfHeaders = 'POST / HTTP/1.1\r\nhost: slow\r\ncontent-type: application/json\r\nx-slow: '
  const halfBody = (declaredBytes: number, path = '/', method = 'POST') =>
    `${method} ${path} HTTP/1.1\r\nhost: slow\r\ncontent-type: application/json\r\ncontent-length: ${declaredBytes}\r\n\r\n{"jsonrpc":"2.0",`

  test('a segment for an entry that never comes is refused within its bound', async () => {
    const file = segmentedFile(content(1000, 71))
    const response = await fetch(`${nodeUrl(3)}/v1/entries/${file.root}/segments?seq=999999&slot=0`, {
      method: 'PUT',
      body: framesOf(file.segments) as Uint8Array<ArrayBuffer>,
      signal: AbortSignal.timeout(2 * ENTRY_WAIT_MS),
    })
    expect(response.status).toBe(404)
    expect(await response.json()).toMatchObject({
      error: { code: 'ENTRY_UNKNOWN', retryable: true, facts: { seq: 999_999, waitedMs: ENTRY_WAIT_MS } },
    })
  })

  test('half-sent headers on every port are answered with 408 and closed, and others are served meanwhile', async () => {
    const slow = await Promise.all(
      [gatewayUrl(), nodeUrl(), chainUrl()].map((url) => openSlowClients(url, halfHeaders, { count: 150 })),
    )
    await allServe()
    for (const { ended } of slow) {
      const answers = await ended
      expect(answers.filter((answer) => !answer.startsWith('HTTP/1.1 408 '))).toEqual([])
      expect(JSON.parse(answers[0]!.split('\r\n\r\n')[1]!)).toMatchObject({ error: { code: 'REQUEST_TIMEOUT' } })
    }
  })

  test('half-sent bodies hold neither memory nor the place of others', async () => {
    const file = await anchored(content(3_000_000, 72))
    const target = `/v1/entries/${file.root}/segments?seq=${file.seq}&slot=0`
    const slow = await Promise.all([
      // More than a gate of 48 MiB takes, in small and in large bodies.
      openSlowClients(gatewayUrl(), halfBody(350_000), { count: 150 }),
      openSlowClients(gatewayUrl(), halfBody(JSON_BODY_BYTES_MAX), { count: 20 }),
      openSlowClients(gatewayUrl(), halfBody(JSON_BODY_BYTES_MAX, '/file/segment'), { count: 20 }),
      openSlowClients(nodeUrl(), halfBody(SEGMENTS_BODY_BYTES_MAX, target, 'PUT'), { count: 150 }),
      openSlowClients(chainUrl(), halfBody(2_000_000), { count: 60 }),
      openSlowClients(chainUrl(), halfBody(60_000), { count: 150 }),
    ])
    try {
      await allServe()
      // Bodies of the size that the slow ones announced, from clients that send them.
      const segments = file.segments.map((_, index) => [[officialSegment(file, index)], file.seq])
      const large = { to: lab.network.file.accounts[0]!.address, data: `0x${'00'.repeat(50_000)}` }
      const [uploads, put, called] = await Promise.all([
        Promise.all(segments.map((params) => call(gatewayUrl(), 'zgs_uploadSegmentsByTxSeq', params))),
        putFrames(nodeUrl(), file, framesOf(file.segments)),
        call(chainUrl(), 'eth_call', [large, 'latest']),
      ])
      for (const answer of uploads) expect(answer).toEqual({ jsonrpc: '2.0', id: 1, result: 0 })
      expect([put.status, called.result]).toEqual([200, '0x'])
      expect(await lab.rssBytesOf('gateway')).toBeLessThan(MEMORY_BYTES_MAX)
    } finally {
      for (const clients of slow) clients.leave()
    }
  })

  test('clients that ask and do not read hold neither memory nor the place of others', async () => {
    const { root } = await upload(clientOf(3), content(10_000_000, 73))
    const ask = `GET /file?root=${root} HTTP/1.1\r\nhost: slow\r\n\r\n`
    const holder = await holderOf(root)
    const segments = `/v1/entries/${root}/segments?from=0&count=16`
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'zgs_downloadSegment', params: [root, 0, 1024] })
    const official = `POST / HTTP/1.1\r\nhost: slow\r\ncontent-length: ${body.length}\r\n\r\n${body}`
    const slow = await Promise.all([
      openSlowClients(gatewayUrl(), ask, { count: 150, reads: false }),
      openSlowClients(gatewayUrl(), official, { count: 60, reads: false }),
      openSlowClients(holder, `GET ${segments} HTTP/1.1\r\nhost: slow\r\n\r\n`, { count: 12, reads: false }),
    ])
    try {
      await allServe()
      const [whole, byOfficial, byOurs] = await Promise.all([
        served(root),
        call(gatewayUrl(), 'zgs_downloadSegment', [root, 0, 1024]),
        fetch(holder + segments).then(async (response) => response.arrayBuffer()),
      ])
      expect([whole.length, byOfficial.result.length]).toEqual([10_000_000, 349_528])
      expect(byOurs.byteLength).toBeGreaterThan(16 * SEGMENT_SIZE_BYTES)
      expect(await lab.rssBytesOf('gateway')).toBeLessThan(MEMORY_BYTES_MAX)
    } finally {
      for (const clients of slow) clients.leave()
    }
  })

  test('hundreds of bodies at once are all taken', { timeout: 120_000 }, async () => {
    const file = await anchored(content(40 * 262_144, 74))
    const bodies = file.segments.map((_, index) =>
      JSON.stringify({
        jsonrpc: '2.0',
        id: index,
        method: 'zgs_uploadSegmentsByTxSeq',
        params: [[officialSegment(file, index)], file.seq],
      }),
    )
    // Each segment eight times: clients send again what they got no answer for.
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => bodies)
        .flat()
        .map((body) => rawCall(gatewayUrl(), body)),
    )
    expect(answers).toHaveLength(320)
    for (const { status, text } of answers) {
      expect(status).toBe(200)
      const answer = JSON.parse(text)
      if (answer.error === undefined) expect(answer.result).toBe(0)
      else
        expect(answer.error).toEqual({
          code: -32602,
          message: 'Invalid params: root',
          data: 'already uploaded and finalized',
        })
    }
    await until(
      'the entry is final',
      20_000,
      async () => (await call(gatewayUrl(), 'zgs_checkFileFinalized', [file.seq])).result === true,
    )
    expect(await lab.rssBytesOf('gateway')).toBeLessThan(MEMORY_BYTES_MAX)
  })

  async function holderOf(root: string): Promise<string> {
    for (const { url } of currentFile().storage.nodes) {
      const { entries } = (await (await fetch(`${url}/v1/entries/${root}`)).json()) as {
        entries: { complete: boolean }[]
      }
      if (entries[0]!.complete) return url
    }
    throw new Error(`nobody holds ${root}`)
  }

  /** Small questions on every port, an upload and a download. */
  async function allServe(): Promise<void> {
    for (const url of [gatewayUrl(), nodeUrl()])
      expect((await call(url, 'zgs_getStatus', [])).result.networkIdentity.chainId).toBe(31_337)
    expect((await call(chainUrl(), 'eth_chainId', [])).result).toBe('0x7a69')
    const bytes = content(400_000, 700 + ++servedCount)
    const { root } = await upload(clientOf(6), bytes)
    expect(Buffer.from(await downloadBytes(clientOf(6), root)).equals(Buffer.from(bytes))).toBe(true)
  }
})

test('a killed storage node is replaced by another one that nobody asked before, and comes back when it is told to', async () => {
  const bytes = content(300_000, 80)
  const { receipts } = await upload(clientOf(3), bytes)
  const nodes = await Promise.all(
    currentFile().storage.nodes.map(async (node) => {
      const { signer } = (await (await fetch(`${node.url}/v1/status`)).json()) as { signer: string }
      return { ...node, signer }
    }),
  )
  const home = nodes.find(({ signer }) => signer === receipts[0]!.signer)!
  process.kill(home.pid!, 'SIGKILL')

  // The same root has the same homes, so this one misses a holder for certain.
  const again = await upload(clientOf(3), bytes, { onExisting: 'resubmit' })
  expect(again.stage).toBe('durable')
  const signers = again.receipts.map(({ signer }) => signer)
  expect(new Set(signers).size).toBe(3)
  expect(signers).not.toContain(home.signer)
  const put = await weightless(lab.network, ['put', '-', '--json'], content(300_000, 81))
  expect(put.code).toBe(0)
  expect(JSON.parse(put.stdout.toString())).toMatchObject({ stage: 'durable', receipts: [{}, {}, {}] })
  expect(Buffer.from(await downloadBytes(clientOf(3), again.root)).equals(Buffer.from(bytes))).toBe(true)

  const started = await weightless(lab.network, ['node', 'start', home.id, '--json'])
  expect([started.code, JSON.parse(started.stdout.toString())]).toMatchObject([0, { id: home.id, state: 'running' }])
  expect((await fetch(`${home.url}/health`)).status).toBe(200)
})

test('after all of this the network is healthy', () => lab.expectHealthy())
