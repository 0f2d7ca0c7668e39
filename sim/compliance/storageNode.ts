import {
  BATCH_SEGMENTS_MAX,
  checkSegment,
  concat,
  decodeFrames,
  encodeFrames,
  fileTreeOf,
  layoutOf,
  leafCountOf,
  segmentDataSize,
  SEGMENT_SIZE_BYTES,
  submissionOf,
  verifyReceipt,
  type Address,
  type Entry,
  type FileTree,
  type Net,
  type ProvenSegment,
  type Receipt,
  type Submission,
} from '@weightless/core'
import { segmentRoot } from '@weightless/kernels'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { rememberingKernel } from '../kernels.ts'

/** A storage node with a chain behind it, and a way to put entries on that chain. */
export type StorageNodeHarness = AsyncDisposable & {
  readonly url: string
  /** Reaches the node. */
  readonly net: Net
  readonly chainId: number
  readonly flow: Address
  readonly registry: Address
  readonly signer: Address
  /** Resolves when the entry is on chain; the node may learn of it a little later. */
  submit(submission: Submission): Promise<Entry>
}

/** What docs/wire.md promises about the binary routes. Every storage node passes this, the fake of the SDK's tests included. */
export function storageNodeCompliance(name: string, make: () => Promise<StorageNodeHarness>): void {
  describe(`the binary routes of a storage node: ${name}`, () => {
    let at: StorageNodeHarness
    beforeAll(async () => {
      at = await make()
    })
    afterAll(() => at[Symbol.asyncDispose]())

    const url = (path: string): string => new URL(path, at.url).href
    const get = (path: string): Promise<Response> => at.net.fetch(new Request(url(path)))
    const put = (path: string, body: Uint8Array): Promise<Response> =>
      at.net.fetch(
        new Request(url(path), {
          method: 'PUT',
          body: body as Uint8Array<ArrayBuffer>,
          headers: { 'content-type': 'application/x-weightless-segments' },
        }),
      )
    const putSegments = (
      object: TestObject,
      seq: number,
      segments: readonly ProvenSegment[],
      slot = 0,
    ): Promise<Response> =>
      put(`/v1/entries/${object.tree.root}/segments?seq=${seq}&slot=${slot}`, concat(encodeFrames(segments)))
    const receiptPath = (object: TestObject, seq: number, slot = 0): string =>
      `/v1/entries/${object.tree.root}/receipt?seq=${seq}&slot=${slot}`

    async function stored(
      sizeBytes: number,
      seed: number,
    ): Promise<{ readonly object: TestObject; readonly entry: Entry }> {
      const object = objectOf(sizeBytes, seed)
      const entry = await at.submit(object.submission)
      for (let from = 0; from < object.segments.length; from += BATCH_SEGMENTS_MAX) {
        const answer = await putSegments(object, entry.seq, object.segments.slice(from, from + BATCH_SEGMENTS_MAX))
        expect(answer.status).toBe(200)
        await answer.arrayBuffer()
      }
      return { object, entry }
    }

    test('status names the network, the signer and the store', async () => {
      const response = await get('/v1/status')
      expect(response.status).toBe(200)
      const status = (await response.json()) as Record<string, unknown>
      expect(status).toMatchObject({ chainId: at.chainId, flow: at.flow, signer: at.signer, ready: true })
      expect(typeof status['nextSeq']).toBe('number')
      expect(typeof status['nodeId']).toBe('string')
      expect(status['store']).toMatchObject({ readOnly: false })
    })

    test.each([1, 255, 256, 257, 2_305, SEGMENT_SIZE_BYTES, SEGMENT_SIZE_BYTES + 1, 3 * SEGMENT_SIZE_BYTES + 70_000])(
      'an object of %i bytes is stored, signed for, and given back segment by segment',
      async (sizeBytes) => {
        const object = objectOf(sizeBytes, sizeBytes)
        const entry = await at.submit(object.submission)
        const answer = await putSegments(object, entry.seq, object.segments)
        expect(answer.status).toBe(200)
        const {
          stored: count,
          missing,
          receipt,
        } = (await answer.json()) as { stored: number; missing: number; receipt: Receipt }
        expect([count, missing]).toEqual([object.segments.length, 0])
        verifyReceipt(receipt)
        expect(receipt).toMatchObject({
          chainId: at.chainId,
          registry: at.registry,
          dataRoot: object.tree.root,
          entrySeq: entry.seq,
          signer: at.signer,
          fingerprintRoot: `0x${'0'.repeat(64)}`,
        })
        const read = await get(`/v1/entries/${object.tree.root}/segments?from=0&count=${object.segments.length}`)
        expect(read.status).toBe(200)
        const body = new Uint8Array(await read.arrayBuffer())
        expect(read.headers.get('content-length')).toBe(String(body.length))
        expect(read.headers.get('content-type')).toBe('application/x-weightless-segments')
        const segments = decodeFrames(body, { segmentsMax: BATCH_SEGMENTS_MAX })
        expect(segments.map(({ index }) => index)).toEqual(object.segments.map(({ index }) => index))
        segments.forEach((segment, i) => {
          expect(Buffer.from(segment.data).equals(Buffer.from(object.segments[i]!.data))).toBe(true)
          const root = segmentRoot(segment.data, leafCountOf(object.tree.layout, segment.index))
          checkSegment({ root: object.tree.root, sizeBytes }, segment, root)
        })
      },
    )

    test('segments arrive in any order, and twice: the counts say what is missing, and the receipt comes with the last one', async () => {
      const object = objectOf(5 * SEGMENT_SIZE_BYTES + 1_000, 7)
      const entry = await at.submit(object.submission)
      const [first, second, third, fourth, fifth, sixth] = object.segments
      const answers: { stored: number; missing: number; receipt?: Receipt }[] = []
      for (const group of [[sixth!, second!], [second!], [first!, third!, fourth!], [fifth!]]) {
        const response = await putSegments(object, entry.seq, group)
        expect(response.status).toBe(200)
        answers.push((await response.json()) as { stored: number; missing: number })
      }
      expect(answers.map(({ missing }) => missing)).toEqual([4, 4, 1, 0])
      expect(answers.map((answer) => answer.receipt !== undefined)).toEqual([false, false, false, true])
    })

    test('a holder signs once: the same receipt comes back ever after, whatever slot is asked for', async () => {
      const object = objectOf(1_000, 8)
      const entry = await at.submit(object.submission)
      const before = await get(receiptPath(object, entry.seq))
      expect(before.status).toBe(404)
      expect(await codeOf(before)).toBe('ENTRY_INCOMPLETE')
      const answer = (await (await putSegments(object, entry.seq, object.segments, 2)).json()) as { receipt: Receipt }
      expect(answer.receipt.slots).toBe('0x04')
      const again = (await (await putSegments(object, entry.seq, object.segments, 1)).json()) as { receipt: Receipt }
      const asked = (await (await get(receiptPath(object, entry.seq, 0))).json()) as Receipt
      expect(again.receipt).toEqual(answer.receipt)
      expect(asked).toEqual(answer.receipt)
    })

    test('more than one request of sixteen segments', async () => {
      const { object, entry } = await stored(17 * SEGMENT_SIZE_BYTES, 9)
      const receipt = (await (await get(receiptPath(object, entry.seq))).json()) as Receipt
      expect(receipt.entrySeq).toBe(entry.seq)
      const tail = await get(`/v1/entries/${object.tree.root}/segments?from=16&count=1&seq=${entry.seq}`)
      const [last] = decodeFrames(new Uint8Array(await tail.arrayBuffer()), { segmentsMax: 1 })
      expect(Buffer.from(last!.data).equals(Buffer.from(object.segments[16]!.data))).toBe(true)
    })

    describe('what is not proven is refused, and is not served', () => {
      const refusals: [string, string, (segments: ProvenSegment[]) => Uint8Array][] = [
        ['a flipped bit', 'SEGMENT_PROOF_INVALID', ([first, ...rest]) => framed([flipped(first!), ...rest])],
        [
          'the proof of another segment',
          'SEGMENT_PROOF_INVALID',
          ([first, second]) => framed([{ ...first!, proof: second!.proof }]),
        ],
        ['a segment under another index', 'SEGMENT_PROOF_INVALID', ([first]) => framed([{ ...first!, index: 1 }])],
        ['an index beyond the end', 'SEGMENT_INDEX_INVALID', ([first]) => framed([{ ...first!, index: 3 }])],
        [
          'a segment cut short',
          'SEGMENT_SIZE_INVALID',
          ([first]) => framed([{ ...first!, data: first!.data.subarray(0, 256) }]),
        ],
        ['a body cut short', 'FRAME_INVALID', (segments) => framed(segments).subarray(0, -1)],
        ['no body', 'FRAME_INVALID', () => new Uint8Array(0)],
        ['a segment that comes twice', 'FRAME_INVALID', ([first]) => framed([first!, first!])],
      ]
      test.each(refusals)('%s: %s', async (_, code, spoil) => {
        const object = objectOf(2 * SEGMENT_SIZE_BYTES + 300, 20 + refusals.findIndex(([name]) => name === _))
        const entry = await at.submit(object.submission)
        const answer = await put(
          `/v1/entries/${object.tree.root}/segments?seq=${entry.seq}&slot=0`,
          spoil([...object.segments]),
        )
        expect(answer.status).toBeGreaterThanOrEqual(400)
        expect(answer.status).toBeLessThan(500)
        expect(await codeOf(answer)).toBe(code)
        const read = await get(`/v1/entries/${object.tree.root}/segments?from=0&count=1`)
        expect(read.status).toBe(404)
        await read.arrayBuffer()
      })

      test('more than sixteen segments at once', async () => {
        const object = objectOf(17 * SEGMENT_SIZE_BYTES, 30)
        const entry = await at.submit(object.submission)
        const answer = await putSegments(object, entry.seq, object.segments)
        expect(answer.status).toBeGreaterThanOrEqual(400)
        expect(answer.status).toBeLessThan(500)
        await answer.arrayBuffer()
      })
    })

    test('a node that has not seen the entry yet waits for it', async () => {
      const object = objectOf(500, 40)
      const { nextSeq } = (await (await get('/v1/status')).json()) as { nextSeq: number }
      const early = putSegments(object, nextSeq, object.segments)
      const entry = await at.submit(object.submission)
      expect(entry.seq).toBe(nextSeq)
      const answer = await early
      expect(answer.status).toBe(200)
      expect(((await answer.json()) as { receipt: Receipt }).receipt.entrySeq).toBe(nextSeq)
    })

    test('an entry that never comes ends in ENTRY_UNKNOWN, which may be tried again', { timeout: 40_000 }, async () => {
      const object = objectOf(500, 41)
      const answer = await putSegments(object, 1_000_000, object.segments)
      expect(answer.status).toBe(404)
      const { error } = (await answer.json()) as { error: Record<string, unknown> }
      expect(error).toMatchObject({ code: 'ENTRY_UNKNOWN', retryable: true })
      for (const field of ['message', 'next']) expect(typeof error[field]).toBe('string')
      expect(typeof error['facts']).toBe('object')
    })

    test('a sequence number of another root is not the entry', { timeout: 40_000 }, async () => {
      const { entry } = await stored(700, 42)
      const other = objectOf(700, 43)
      const answer = await putSegments(other, entry.seq, other.segments)
      expect(answer.status).toBeGreaterThanOrEqual(400)
      expect(answer.status).toBeLessThan(500)
      await answer.arrayBuffer()
    })

    test('entries of one root are listed with their own sizes, because a root does not commit to the size', async () => {
      // One zero byte and 256 zero bytes: the same chunk, the same root.
      const [short, long] = [objectOf(1, -1), objectOf(256, -1)]
      expect(short.tree.root).toBe(long.tree.root)
      const [a, b] = [await at.submit(short.submission), await at.submit(long.submission)]
      for (const { seq } of [a, b]) {
        const answer = await putSegments(short, seq, short.segments)
        expect(answer.status).toBe(200)
        expect(((await answer.json()) as { receipt: Receipt }).receipt.entrySeq).toBe(seq)
      }
      const { root, entries } = (await (await get(`/v1/entries/${short.tree.root}`)).json()) as {
        root: string
        entries: object[]
      }
      expect(root).toBe(short.tree.root)
      expect(entries).toEqual(
        [a, b].map(({ seq, sizeBytes, startChunk, blockNumber, txHash }) =>
          expect.objectContaining({
            seq,
            sizeBytes,
            startChunk,
            blockNumber,
            txHash,
            complete: true,
            heldSegmentCount: 1,
            contiguousSegmentCount: 1,
          }),
        ),
      )
    })

    test('a known entry without data is not complete, and an unknown root is a 404', async () => {
      const object = objectOf(2 * SEGMENT_SIZE_BYTES, 50)
      const entry = await at.submit(object.submission)
      await (await putSegments(object, entry.seq, object.segments.slice(0, 1))).arrayBuffer()
      const { entries } = (await (await get(`/v1/entries/${object.tree.root}`)).json()) as { entries: object[] }
      expect(entries).toMatchObject([
        { seq: entry.seq, complete: false, heldSegmentCount: 1, contiguousSegmentCount: 1 },
      ])
      const unknown = await get(`/v1/entries/0x${'ab'.repeat(32)}`)
      expect([unknown.status, await codeOf(unknown)]).toEqual([404, 'ENTRY_UNKNOWN'])
    })

    test('segments that are not held are a 404', async () => {
      const object = objectOf(2 * SEGMENT_SIZE_BYTES, 51)
      const entry = await at.submit(object.submission)
      await (await putSegments(object, entry.seq, object.segments.slice(1))).arrayBuffer()
      const { entries } = (await (await get(`/v1/entries/${object.tree.root}`)).json()) as { entries: object[] }
      expect(entries).toMatchObject([{ heldSegmentCount: 1, contiguousSegmentCount: 0 }])
      const half = await get(`/v1/entries/${object.tree.root}/segments?from=0&count=2`)
      expect([half.status, await codeOf(half)]).toEqual([404, 'SEGMENT_MISSING'])
      const held = await get(`/v1/entries/${object.tree.root}/segments?from=1&count=1`)
      expect(held.status).toBe(200)
      await held.arrayBuffer()
    })

    test.each([
      '/v1/entries/0x12/segments?from=0&count=1',
      `/v1/entries/0x${'zz'.repeat(32)}`,
      `/v1/entries/0x${'ab'.repeat(32)}/segments?from=0&count=0`,
      `/v1/entries/0x${'ab'.repeat(32)}/segments?from=0&count=17`,
      `/v1/entries/0x${'ab'.repeat(32)}/segments?from=-1&count=1`,
      `/v1/entries/0x${'ab'.repeat(32)}/segments?count=1`,
      `/v1/entries/0x${'ab'.repeat(32)}/receipt?seq=1e3&slot=0`,
      '/v1/nothing',
    ])('a malformed request is refused with an error in JSON: %s', async (path) => {
      const response = await get(path)
      expect(response.status).toBeGreaterThanOrEqual(400)
      expect(response.status).toBeLessThan(500)
      expect(await codeOf(response)).toMatch(/^[A-Z][A-Z_]+$/)
    })

    test('the log is listed in order, page by page', async () => {
      const first = (await stored(300, 60)).entry
      const second = (await stored(400, 61)).entry
      const page = async (query: string): Promise<{ seq: number; root: string; sizeBytes: number }[]> =>
        (
          (await (await get(`/v1/entries?${query}`)).json()) as {
            entries: { seq: number; root: string; sizeBytes: number }[]
          }
        ).entries
      const from = await page(`after=${first.seq - 1}&limit=1000`)
      expect(from.slice(0, 2)).toMatchObject([
        { seq: first.seq, root: first.root, sizeBytes: 300, txHash: first.txHash, startChunk: first.startChunk },
        { seq: second.seq, root: second.root, sizeBytes: 400, blockNumber: second.blockNumber },
      ])
      expect((await page(`after=${first.seq}&limit=1`)).map(({ seq }) => seq)).toEqual([second.seq])
      expect((await page('limit=1')).map(({ seq }) => seq)).toEqual([0])
    })

    test('browsers are welcome', async () => {
      const response = await get('/v1/status')
      expect(response.headers.get('access-control-allow-origin')).toBe('*')
      await response.arrayBuffer()
      const headers = {
        origin: 'https://app.example',
        'access-control-request-method': 'PUT',
        'access-control-request-headers': 'content-type',
      }
      const asked = await at.net.fetch(
        new Request(url(`/v1/entries/0x${'ab'.repeat(32)}/segments?seq=0&slot=0`), { method: 'OPTIONS', headers }),
      )
      expect(asked.ok).toBe(true)
      expect(asked.headers.get('access-control-allow-origin')).toBe('*')
      expect(asked.headers.get('access-control-allow-methods')).toMatch(/\*|PUT/)
      expect(asked.headers.get('access-control-allow-headers')).toMatch(/\*|content-type/i)
      await asked.arrayBuffer()
    })

    test('health and metrics answer', async () => {
      const health = await get('/health')
      expect(health.status).toBe(200)
      expect(await health.json()).toMatchObject({ ready: true })
      const metrics = await get('/metrics')
      expect(metrics.status).toBe(200)
      expect(metrics.headers.get('content-type')).toMatch(/^text\/plain/)
      await metrics.arrayBuffer()
    })
  })
}

/** A file with everything that its upload needs. */
export type TestObject = {
  readonly tree: FileTree
  readonly submission: Submission
  readonly segments: readonly ProvenSegment[]
}

/** Content of `sizeBytes` from a seed; zeros for a negative seed. */
export function objectOf(sizeBytes: number, seed: number): TestObject {
  return objectOfBytes(seed >= 0 ? pseudoRandom(sizeBytes, seed) : new Uint8Array(sizeBytes))
}

export function objectOfBytes(bytes: Uint8Array, tags?: Uint8Array): TestObject {
  const layout = layoutOf(bytes.length)
  const padded = new Uint8Array(layout.chunkCount * 256)
  padded.set(bytes)
  const last = layout.segmentCount - 1
  const tree = fileTreeOf(layout, rememberingKernel.segmentRoots(padded, leafCountOf(layout, last)))
  const segments = Array.from({ length: layout.segmentCount }, (_, index): ProvenSegment => {
    const from = index * SEGMENT_SIZE_BYTES
    return { index, data: padded.subarray(from, from + segmentDataSize(layout, index)), proof: tree.prove(index) }
  })
  const lastSegment = padded.subarray(last * SEGMENT_SIZE_BYTES)
  return { tree, segments, submission: submissionOf(tree, { lastSegment, tags }) }
}

function pseudoRandom(sizeBytes: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes)
  let x = Math.imul(seed + 1, 0x9e3779b1) >>> 0 || 1
  for (let i = 0; i < sizeBytes; i++) {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    bytes[i] = x & 0xff
  }
  return bytes
}

async function codeOf(response: Response): Promise<string> {
  const { error } = (await response.json()) as { error: { code: string } }
  return error.code
}

function framed(segments: readonly ProvenSegment[]): Uint8Array {
  return concat(encodeFrames(segments))
}

function flipped(segment: ProvenSegment): ProvenSegment {
  const data = segment.data.slice()
  data[0]! ^= 1
  return { ...segment, data }
}
