import { copyHomes, SEGMENT_SIZE_BYTES, type Clock, type Net } from '@weightless/core'
import { describe, expect, test } from 'vitest'
import {
  content,
  createFakeNetwork,
  hangs,
  isDown,
  recordingLogger,
  type FakeNetwork,
  type Fault,
  type NetworkNode,
} from '../../../sim/fakes/network.ts'
import { failureOf, turns, turnsUntil } from '../../../sim/fakes/outcome.ts'
import { webClock } from './defaults.ts'
import { download, downloadBlob, downloadBytes, downloadStream, upload, type ProgressEvent } from './index.ts'

const homesOf = (network: FakeNetwork, root: string): NetworkNode[] =>
  copyHomes(
    { key: root as `0x${string}`, count: 3 },
    network.nodes.map(({ member }) => member),
  ).map(({ member }) => network.nodes.find(({ url }) => url === member.endpoint)!)
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.from(a).equals(Buffer.from(b))
const reads = (network: FakeNetwork): string[] =>
  network.log.filter((line) => line.startsWith('GET') && line.includes('/segments'))

async function stored(sizeBytes: number, options: { readonly nodeCount?: number } = {}) {
  const network = createFakeNetwork(options)
  const bytes = content(sizeBytes, sizeBytes)
  const { root, seq } = await upload(network.client(), bytes)
  return { network, bytes, root, seq, client: network.client({ signer: undefined }), homes: homesOf(network, root) }
}
/** A node that answers reads of segments with something else. */
const reading =
  (change: (response: Response, request: Request) => Promise<Response>): Fault =>
  async (request, node) =>
    request.method === 'GET' && request.url.includes('/segments')
      ? change(await node.handle(request), request)
      : node.handle(request)
const corrupted = reading(async (response) => {
  const body = new Uint8Array(await response.arrayBuffer())
  body[body.length - 100]! ^= 1
  return new Response(body, { headers: response.headers })
})

describe('what was stored comes back', () => {
  test.each([1, 255, 256, 257, 70_000, SEGMENT_SIZE_BYTES, SEGMENT_SIZE_BYTES + 1, 40 * SEGMENT_SIZE_BYTES + 12_345])(
    '%i bytes',
    async (sizeBytes) => {
      const { client, root, bytes } = await stored(sizeBytes)
      expect(same(await downloadBytes(client, root), bytes)).toBe(true)
    },
  )

  test('as a Blob with its type, as a stream, as pieces', async () => {
    const { client, root, bytes } = await stored(600_000)
    const blob = await downloadBlob(client, root, { type: 'image/png' })
    expect([blob.size, blob.type]).toEqual([bytes.length, 'image/png'])
    expect(same(new Uint8Array(await blob.arrayBuffer()), bytes)).toBe(true)
    expect(same(new Uint8Array(await new Response(downloadStream(client, root)).arrayBuffer()), bytes)).toBe(true)
    const pieces: Uint8Array[] = []
    for await (const piece of download(client, root)) pieces.push(piece)
    expect(same(Buffer.concat(pieces), bytes)).toBe(true)
  })

  test('the work is shared by the three holders', async () => {
    const { client, root, network, homes } = await stored(30 * SEGMENT_SIZE_BYTES)
    await downloadBytes(client, root)
    for (const { url } of homes) expect(reads(network).some((line) => line.includes(url))).toBe(true)
  })

  test('progress counts the bytes that were yielded', async () => {
    const { client, root, bytes } = await stored(20 * SEGMENT_SIZE_BYTES)
    const events: ProgressEvent[] = []
    await downloadBytes(client, root, { onProgress: (event) => events.push(event) })
    expect(events.at(-1)).toEqual({ phase: 'download', doneBytes: bytes.length, totalBytes: bytes.length })
    expect(events.map(({ doneBytes }) => doneBytes)).toEqual(
      events.map(({ doneBytes }) => doneBytes).sort((a, b) => a - b),
    )
  })

  test('collecting has a limit that is told', async () => {
    const { client, root } = await stored(600_000)
    expect(await failureOf(downloadBytes(client, root, { sizeBytesMax: 599_999 }))).toMatchObject({
      code: 'RESULT_TOO_LARGE',
    })
    expect(await failureOf(downloadBlob(client, root, { sizeBytesMax: 599_999 }))).toMatchObject({
      code: 'RESULT_TOO_LARGE',
    })
  })
})

describe('lent pieces', () => {
  /** A client whose machine receives into given buffers; `taken` are those with the address that filled them. */
  function receiving(network: FakeNetwork) {
    const taken: { readonly url: string; readonly buffer: ArrayBufferLike }[] = []
    const { net } = network.client().deps
    const getInto: Net['getInto'] = async (url, { signal, take }) => {
      const response = await net.fetch(new Request(url, { signal: signal ?? null }))
      const bytes = new Uint8Array(await response.arrayBuffer())
      const place = take(response.status, bytes.length)
      taken.push({ url, buffer: place.buffer })
      place.set(bytes)
      return { status: response.status, body: place.subarray(0, bytes.length) }
    }
    return { taken, client: network.client({ signer: undefined }, { net: { ...net, getInto } }) }
  }

  test('are right until the next is asked for, and lie in a few buffers that serve again', async () => {
    const { network, root, bytes } = await stored(150 * SEGMENT_SIZE_BYTES + 77)
    const { client, taken } = receiving(network)
    const parts: Buffer[] = []
    for await (const piece of download(client, root, { lend: true })) {
      // While the reader writes it away, the answers to other requests come in.
      await turns(50)
      parts.push(Buffer.from(piece))
    }
    expect(same(Buffer.concat(parts), bytes)).toBe(true)
    expect(taken.length).toBeGreaterThan(20)
    // Six under way, one with the reader, and the three small ones of the beginning.
    expect(new Set(taken.map(({ buffer }) => buffer)).size).toBeLessThanOrEqual(10)
  })

  test('a liar’s buffer never serves again, and none of its bytes are yielded', async () => {
    const { network, root, bytes, homes } = await stored(40 * SEGMENT_SIZE_BYTES)
    homes[1]!.fault = corrupted
    const { client, taken } = receiving(network)
    let at = 0
    for await (const piece of download(client, root, { lend: true })) {
      expect(same(piece, bytes.subarray(at, at + piece.length))).toBe(true)
      at += piece.length
    }
    expect(at).toBe(bytes.length)
    const lie = taken.findIndex(({ url }) => url.startsWith(homes[1]!.url))
    expect(lie).toBeGreaterThanOrEqual(0)
    expect(taken.slice(lie + 1).map(({ buffer }) => buffer)).not.toContain(taken[lie]!.buffer)
  })

  test('a range, and a refusal whose body is no segment', async () => {
    const { network, root, bytes, homes } = await stored(9 * SEGMENT_SIZE_BYTES + 77)
    homes[0]!.fault = reading(async () => new Response('oops', { status: 500 }))
    const { client } = receiving(network)
    const parts: Buffer[] = []
    const range = { start: SEGMENT_SIZE_BYTES - 1, end: 9 * SEGMENT_SIZE_BYTES + 1 }
    for await (const piece of download(client, root, { lend: true, range })) parts.push(Buffer.from(piece))
    expect(same(Buffer.concat(parts), bytes.subarray(range.start, range.end))).toBe(true)
  })

  test('an answer larger than any is refused before there is a buffer for it', async () => {
    const { network, root } = await stored(1_000)
    const { net } = network.client().deps
    let takenCount = 0
    const getInto: Net['getInto'] = async (_, { take }) => {
      take(200, 2 ** 40)
      takenCount += 1
      return undefined
    }
    const client = network.client({ signer: undefined }, { net: { ...net, getInto } })
    const first = download(client, root, { lend: true }).next()
    expect(await failureOf(first)).toMatchObject({ code: 'OBJECT_UNAVAILABLE' })
    expect(takenCount).toBe(0)
  })

  test('without the option, and where pieces are collected, every piece is the reader’s to keep', async () => {
    const { network, root, bytes } = await stored(30 * SEGMENT_SIZE_BYTES)
    const { client, taken } = receiving(network)
    const pieces: Uint8Array[] = []
    for await (const piece of download(client, root)) pieces.push(piece)
    expect(same(Buffer.concat(pieces), bytes)).toBe(true)
    const lend = { lend: true } as object
    expect(same(await downloadBytes(client, root, lend), bytes)).toBe(true)
    const stream = downloadStream(client, root, lend)
    expect(same(new Uint8Array(await new Response(stream).arrayBuffer()), bytes)).toBe(true)
    expect(taken).toHaveLength(0)
  })
})

describe('ranges', () => {
  test.each([
    [0, 1],
    [SEGMENT_SIZE_BYTES - 1, SEGMENT_SIZE_BYTES + 1],
    [3 * SEGMENT_SIZE_BYTES, 3 * SEGMENT_SIZE_BYTES + 1],
    [1_000_000, undefined],
    [0, 10_000_000],
  ])('%i to %s', async (start, end) => {
    const { client, root, bytes } = await stored(9 * SEGMENT_SIZE_BYTES + 77)
    expect(same(await downloadBytes(client, root, { range: { start, end } }), bytes.subarray(start, end))).toBe(true)
  })

  test('only the segments that hold the range are asked for', async () => {
    const { client, root, network } = await stored(9 * SEGMENT_SIZE_BYTES)
    await downloadBytes(client, root, {
      range: { start: 5 * SEGMENT_SIZE_BYTES + 10, end: 5 * SEGMENT_SIZE_BYTES + 20 },
    })
    expect(reads(network)).toHaveLength(1)
    expect(reads(network)[0]).toContain('from=5&count=1')
  })

  test.each([
    [5, 5],
    [7, 6],
    [-1, 4],
    [1_000, 2_000],
    [0.5, 4],
  ])('%d to %d of 1000 bytes is refused', async (start, end) => {
    const { client, root } = await stored(1_000)
    expect(await failureOf(downloadBytes(client, root, { range: { start, end } }))).toMatchObject({
      code: 'RANGE_INVALID',
      facts: { sizeBytes: 1_000 },
    })
  })
})

describe('holders that lie, hang or are gone', () => {
  test('one liar among three never gets a wrong byte yielded, and is not asked again', async () => {
    const { network, root, bytes, homes } = await stored(30 * SEGMENT_SIZE_BYTES)
    homes[1]!.fault = corrupted
    const logger = recordingLogger()
    const client = network.client({ signer: undefined }, { logger })
    let at = 0
    for await (const piece of download(client, root)) {
      expect(same(piece, bytes.subarray(at, at + piece.length))).toBe(true)
      at += piece.length
    }
    expect(at).toBe(bytes.length)
    expect(logger.events).toContain('holder.blamed')
    const before = reads(network).filter((line) => line.includes(homes[1]!.url)).length
    expect(same(await downloadBytes(client, root), bytes)).toBe(true)
    expect(reads(network).filter((line) => line.includes(homes[1]!.url)).length).toBe(before)
  })

  test.each<[string, Fault]>([
    ['another segment with its good proof', (request, node) => node.handle(new Request(shifted(request.url), request))],
    ['one segment less than asked for', (request, node) => node.handle(new Request(fewer(request.url), request))],
    ['a body cut short', reading(async (response) => new Response((await response.arrayBuffer()).slice(0, -1)))],
    ['nonsense', reading(async () => new Response('hello'))],
    ['nothing', reading(async () => new Response(new Uint8Array(0)))],
    ['an endless body', reading(async () => new Response(endless()))],
    ['HTTP 500', reading(async () => new Response('oops', { status: 500 }))],
  ])('%s from two of three holders: the third one serves', async (_, fault) => {
    const { client, root, bytes, homes } = await stored(3 * SEGMENT_SIZE_BYTES + 5)
    homes[0]!.fault = fault
    homes[1]!.fault = fault
    expect(same(await downloadBytes(client, root), bytes)).toBe(true)
  })

  test('a holder that hangs is hedged with another one', async () => {
    const { client, root, bytes, homes, network } = await stored(20 * SEGMENT_SIZE_BYTES)
    homes[0]!.fault = (request, node) =>
      request.url.includes('/segments') ? hangs(request, node) : node.handle(request)
    expect(same(await downloadBytes(client, root), bytes)).toBe(true)
    expect(network.open.size).toBe(0)
    // Overtaken once or twice, then asked last.
    expect(reads(network).filter((line) => line.includes(homes[0]!.url)).length).toBeLessThan(4)
  })

  test('the request that was overtaken is aborted at once, not at the end of the download', async () => {
    const { client, root, homes, network } = await stored(10 * SEGMENT_SIZE_BYTES)
    const hanging: Fault = (request, node) =>
      request.url.includes('from=0&') ? hangs(request, node) : node.handle(request)
    homes[0]!.fault = hanging
    homes[1]!.fault = hanging
    const parts = download(client, root)
    await parts.next()
    await turns(2)
    expect([...network.open].filter(({ url }) => url.includes('from=0&'))).toEqual([])
    await parts.return()
  })

  test('a holder that hangs over the lookup is not waited for', async () => {
    const { client, root, bytes, homes, network } = await stored(1_000)
    homes[0]!.fault = hangs
    expect(same(await downloadBytes(client, root), bytes)).toBe(true)
    expect(network.open.size).toBe(0)
  })

  test('two holders down: the third one serves', async () => {
    const { client, root, bytes, homes } = await stored(10 * SEGMENT_SIZE_BYTES)
    homes[0]!.fault = isDown
    homes[2]!.fault = isDown
    expect(same(await downloadBytes(client, root), bytes)).toBe(true)
  })

  test('a holder that lost its data is passed over', async () => {
    const { client, root, bytes, homes } = await stored(10 * SEGMENT_SIZE_BYTES)
    homes[0]!.lose(root)
    homes[1]!.lose(root)
    expect(same(await downloadBytes(client, root), bytes)).toBe(true)
  })

  test('an object whose homes have changed is found by walking the order', async () => {
    const { network, root, bytes, homes } = await stored(300_000)
    // Three new members with all the weight: they are the homes now, and hold nothing.
    const strong = network.nodes
      .filter((node) => !homes.includes(node))
      .map(({ member }) => ({ ...member, weight: 10n ** 9n }))
    network.chain.setMembers([...strong, ...homes.map(({ member }) => member)])
    expect(
      homesOf(
        {
          ...network,
          nodes: network.nodes.map((node) => ({
            ...node,
            member: strong.find(({ id }) => id === node.member.id) ?? node.member,
          })),
        },
        root,
      ).some((home) => homes.includes(home)),
    ).toBe(false)
    expect(same(await downloadBytes(network.client({ signer: undefined }), root), bytes)).toBe(true)
  })

  test('when nobody can serve, the error names who was asked and why', async () => {
    const { client, root, homes, network } = await stored(300_000, { nodeCount: 4 })
    homes[0]!.fault = isDown
    homes[1]!.fault = corrupted
    homes[2]!.fault = reading(async () => new Response('oops', { status: 500 }))
    const error = await failureOf(downloadBytes(client, root))
    expect(error).toMatchObject({ code: 'OBJECT_UNAVAILABLE', retryable: true, facts: { root, asked: 4 } })
    const failures = String(error.facts['failures'])
    expect(failures).toContain(`${homes[1]!.url} SEGMENT_PROOF_INVALID`)
    expect(failures).toContain(`${homes[0]!.url} NODE_UNREACHABLE`)
    expect(failures).toContain('SEGMENTS_NOT_HELD')
    // The others are asked in three rounds; who lied once is not asked again.
    expect(reads(network).filter((line) => line.includes(homes[1]!.url) && line.includes('from=0'))).toHaveLength(1)
    expect(reads(network).filter((line) => line.includes(homes[0]!.url) && line.includes('from=0'))).toHaveLength(3)
    expect(network.open.size).toBe(0)
  })

  test('an unknown root is unknown, not unavailable', async () => {
    const { client } = await stored(10)
    expect(await failureOf(downloadBytes(client, `0x${'ab'.repeat(32)}`))).toMatchObject({
      code: 'OBJECT_UNKNOWN',
      facts: { asked: 6 },
    })
    expect(await failureOf(downloadBytes(client, '0x12'))).toMatchObject({ code: 'ROOT_INVALID' })
    expect(await failureOf(downloadBytes(client, []))).toMatchObject({ code: 'OPTION_INVALID' })
  })
})

describe('the size', () => {
  test('is that of the entry on chain: one zero byte is not 256 of them', async () => {
    const network = createFakeNetwork()
    const client = network.client()
    const one = await upload(client, new Uint8Array(1))
    const many = await upload(client, new Uint8Array(256))
    expect(await downloadBytes(client, { root: one.root, seq: one.seq })).toEqual(new Uint8Array(1))
    expect(await downloadBytes(client, { root: one.root, seq: many.seq })).toEqual(new Uint8Array(256))
    expect(await downloadBytes(client, { root: one.root, sizeBytes: 256 })).toEqual(new Uint8Array(256))
    expect(await downloadBytes(client, one.root)).toEqual(new Uint8Array(1))
  })

  test('that a node invents is found out by the chain, and another node is asked', async () => {
    const { client, root, bytes, homes } = await stored(1_000)
    const inventing: Fault = async (request, node) => {
      const response = await node.handle(request)
      if (!request.url.endsWith(root)) return response
      const answer = (await response.json()) as { entries: object[] }
      return Response.json({ ...answer, entries: answer.entries.map((entry) => ({ ...entry, sizeBytes: 1_024 })) })
    }
    homes[0]!.fault = inventing
    homes[1]!.fault = inventing
    expect(same(await downloadBytes(client, root), bytes)).toBe(true)
  })

  test('that no node can prove is an error', async () => {
    const { client, root, network } = await stored(1_000)
    for (const node of network.nodes) {
      node.fault = async (request, real) => {
        const response = await real.handle(request)
        if (!request.url.endsWith(root)) return response
        const answer = (await response.json()) as { entries: object[] }
        return Response.json({
          ...answer,
          entries: answer.entries.map((entry) => ({ ...entry, txHash: `0x${'77'.repeat(32)}` })),
        })
      }
    }
    expect(await failureOf(downloadBytes(client, root))).toMatchObject({
      code: 'SIZE_UNPROVEN',
      facts: { sizeBytes: 1_000 },
    })
  })

  test('that the caller knows needs no chain', async () => {
    const { root, network, bytes } = await stored(1_000)
    const client = network.client({ signer: undefined, storageNodes: network.nodes.map(({ url }) => url) })
    network.chain.handle = hangs as never
    expect(same(await downloadBytes(client, { root, sizeBytes: 1_000 }), bytes)).toBe(true)
  })

  test('that the caller gets wrong is an error, never wrong bytes', async () => {
    const { root, client } = await stored(1_000)
    expect(await failureOf(downloadBytes(client, { root, sizeBytes: 5_000 }))).toMatchObject({
      code: 'OBJECT_UNAVAILABLE',
    })
  })
})

describe('fragments', () => {
  test('several roots are one file, ranges across them included', async () => {
    const network = createFakeNetwork()
    const bytes = content(700_000, 5)
    const roots: string[] = []
    for (let at = 0; at < bytes.length; at += SEGMENT_SIZE_BYTES)
      roots.push((await upload(network.client(), bytes.slice(at, at + SEGMENT_SIZE_BYTES))).root)
    const client = network.client()
    expect(same(await downloadBytes(client, roots), bytes)).toBe(true)
    const range = { start: SEGMENT_SIZE_BYTES - 5, end: 2 * SEGMENT_SIZE_BYTES + 5 }
    expect(same(await downloadBytes(client, roots, { range }), bytes.subarray(range.start, range.end))).toBe(true)
  })
})

describe('encryption', () => {
  const key = content(32, 99)
  test('what is stored is not the plain text, and the key opens it, ranges included', async () => {
    const network = createFakeNetwork()
    const client = network.client()
    const bytes = content(600_000, 6)
    const { root, sizeBytes } = await upload(client, bytes, { encryption: { type: 'aes256', key } })
    expect(sizeBytes).toBe(bytes.length + 17)
    expect(same((await downloadBytes(client, root)).subarray(17), bytes)).toBe(false)
    const decryption = { symmetricKey: key }
    expect(same(await downloadBytes(client, root, { decryption }), bytes)).toBe(true)
    const range = { start: SEGMENT_SIZE_BYTES - 20, end: SEGMENT_SIZE_BYTES + 40 }
    expect(same(await downloadBytes(client, root, { decryption, range }), bytes.subarray(range.start, range.end))).toBe(
      true,
    )
  })

  test('a recipient’s public key seals, their private key opens', async () => {
    const network = createFakeNetwork()
    const client = network.client()
    const { privateKey, publicKey } = recipient()
    const bytes = content(1_000, 7)
    const { root, sizeBytes } = await upload(client, bytes, {
      encryption: { type: 'ecies', recipientPublicKey: publicKey },
    })
    expect(sizeBytes).toBe(bytes.length + 50)
    expect(same(await downloadBytes(client, root, { decryption: { privateKey } }), bytes)).toBe(true)
  })

  test('the same bytes encrypted twice are two objects', async () => {
    const client = createFakeNetwork().client()
    const options = { encryption: { type: 'aes256', key } } as const
    const [a, b] = [await upload(client, content(100, 1), options), await upload(client, content(100, 1), options)]
    expect(a.root).not.toBe(b.root)
  })

  test('an object without a header, and a missing key, are errors', async () => {
    const { client, root } = await stored(1_000)
    expect(await failureOf(downloadBytes(client, root, { decryption: { symmetricKey: key } }))).toMatchObject({
      code: 'CIPHER_HEADER_INVALID',
    })
    const writer = createFakeNetwork().client()
    const sealed = await upload(writer, content(100, 1), { encryption: { type: 'aes256', key } })
    expect(await failureOf(downloadBytes(writer, sealed.root, { decryption: {} }))).toMatchObject({
      code: 'CIPHER_KEY_INVALID',
    })
  })
})

describe('leaving early', () => {
  test('leaving the loop ends every request', async () => {
    const { client, root, network } = await stored(30 * SEGMENT_SIZE_BYTES)
    for await (const piece of download(client, root)) {
      expect(piece.length).toBe(SEGMENT_SIZE_BYTES)
      break
    }
    await turns(3)
    expect(network.open.size).toBe(0)
    const sent = network.log.length
    await turns(20)
    expect(network.log.length).toBe(sent)
  })

  test('aborting ends every request and gives the reason', async () => {
    const { client, root, network, homes } = await stored(30 * SEGMENT_SIZE_BYTES)
    for (const home of homes)
      home.fault = (request, node) => (request.url.includes('from=7') ? hangs(request, node) : node.handle(request))
    const controller = new AbortController()
    const reason = new Error('enough')
    const caught = downloadBytes(client, root, { signal: controller.signal }).catch((error: unknown) => error)
    await turnsUntil(() => [...network.open].some(({ url }) => url.includes('from=7')))
    controller.abort(reason)
    expect(await caught).toBe(reason)
    await turns(3)
    expect(network.open.size).toBe(0)
  })

  test('cancelling the stream ends every request', async () => {
    const { client, root, network } = await stored(30 * SEGMENT_SIZE_BYTES)
    const reader = downloadStream(client, root).getReader()
    await reader.read()
    await reader.cancel('no more')
    await turns(3)
    expect(network.open.size).toBe(0)
  })

  test('a deadline ends a download that hangs', async () => {
    const { client, root, network, homes } = await stored(1_000)
    for (const home of homes)
      home.fault = (request, node) => (request.url.includes('/segments') ? hangs(request, node) : node.handle(request))
    const error = await failureOf(downloadBytes(client, root, { timeoutMs: 50 }))
    expect(error).toMatchObject({ code: 'DEADLINE_PASSED', facts: { what: 'download', timeoutMs: 50 } })
    await turns(3)
    expect(network.open.size).toBe(0)
  })

  test('a download that is over leaves no timer', async () => {
    const { network, root } = await stored(1_000)
    const timers: AbortSignal[] = []
    const clock: Clock = {
      ...webClock,
      sleep: (ms, options) => {
        if (ms === 123_456) timers.push(options.signal!)
        return webClock.sleep(ms, options)
      },
    }
    await downloadBytes(network.client({}, { clock }), root, { timeoutMs: 123_456 })
    expect(timers.map(({ aborted }) => aborted)).toEqual([true])
  })

  test('a reader that pauses holds a few pieces, not the object', async () => {
    const { client, root, network } = await stored(70 * SEGMENT_SIZE_BYTES)
    const parts = download(client, root)
    await parts.next()
    await turns(100)
    expect(new Set(reads(network).map((line) => /from=\d+/.exec(line)![0])).size).toBe(7)
    await parts.return()
  })
})

/** Asks the node for the segments beside those that were asked for. */
function shifted(url: string): string {
  return url.replace(/from=(\d+)/, (_, from: string) => `from=${Number(from) === 0 ? 1 : 0}`)
}
function fewer(url: string): string {
  return url.replace(/count=([2-9])/, (_, count: string) => `count=${Number(count) - 1}`)
}
function endless(): ReadableStream<Uint8Array> {
  return new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(1024 * 1024)) })
}
function recipient() {
  // Generated once with the official client's curve: private key 0x11…11 and its point (spec vectors, storage-encryption-kv.json).
  return {
    privateKey: new Uint8Array(32).fill(0x11),
    publicKey: Uint8Array.from(
      Buffer.from('034f355bdcb7cc0af728ef3cceb9615d90684bb5b2ca5f859ab0f0b704075871aa', 'hex'),
    ),
  }
}
