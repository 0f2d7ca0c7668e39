import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  encodeBase64,
  fileTreeOf,
  fromHex,
  layoutOf,
  leafCountOf,
  SEGMENT_SIZE_BYTES,
  segmentDataSize,
  submissionOf,
  toHex,
  type Entry,
  type ProvenSegment,
} from '@weightless/core'
import { foldProof, keccak256, merkleRoot, segmentRoots, zeroSubtree } from '@weightless/kernels'
import { objectOf, type TestObject } from '../../../../sim/compliance/storageNode.ts'
import recorded from '../../../../sim/vectors/storage-sdk-trace.json' with { type: 'json' }
import { CHAIN_ID, FLOW } from '../../test/testChain.ts'
import { until } from '../../test/testClock.ts'
import {
  createTestWorld,
  endWorlds,
  officialSegment,
  putBinary,
  type TestRole,
  type TestWorld,
} from '../../test/testRoles.ts'

afterEach(endWorlds)

/** An id as official clients make them: beyond 2^53, so it must go back as text. */
const UNSAFE_ID = '17690000000001234'

describe('the recorded upload and download of the official SDK 1.2.8', () => {
  test('replays against a storage node call by call', async () => {
    const world = createTestWorld()
    const [node] = await world.members(1)
    // So that the file gets sequence number 3 at chunk 2048, as in the recording.
    world.chain.submit(
      objectOf(1, 1).submission,
      objectOf(300, 2).submission,
      objectOf(SEGMENT_SIZE_BYTES, 3).submission,
    )
    const object = linearObject(600_000)
    let entry: Entry | undefined
    let replayed = 0
    for (const step of recorded.trace) {
      if (step.method === 'eth_sendRawTransaction') entry = world.chain.submit(object.submission)[0]
      // The recording polls until the node has followed the chain; between the first poll and the next it does.
      if (step.method === 'zgs_getFileInfo' && entry !== undefined && step.result !== null) await node!.caughtUp()
      if (step.server !== 'node' || !step.method?.startsWith('zgs_')) continue
      if (step.method === 'zgs_getFileInfo' && step.result === null && entry !== undefined) continue
      const text = await node!.rpcText(requestText(step, object))
      const answer = JSON.parse(text) as { readonly jsonrpc: string; readonly result: unknown }
      expect(text, step.method).toMatch(new RegExp(`"id":${UNSAFE_ID}}$`))
      expect(answer.jsonrpc).toBe('2.0')
      expect('result' in answer).toBe(true)
      check(step, answer.result, object)
      replayed += 1
    }
    expect(entry).toMatchObject({ seq: 3, startChunk: 2048 })
    expect(replayed).toBeGreaterThan(12)
  })
})

type Step = (typeof recorded.trace)[number]

function requestText(step: Step, object: TestObject): string {
  const params = step.hasParams ? `,"params":${JSON.stringify(paramsOf(step, object))}` : ''
  return `{"jsonrpc":"2.0","method":"${step.method}"${params},"id":${UNSAFE_ID}}`
}

/** The recording shortens payloads: they are made again from the file. */
function paramsOf(step: Step, object: TestObject): unknown {
  if (step.method !== 'zgs_uploadSegmentsByTxSeq') return step.params
  const [segments, seq] = step.params as unknown as [
    readonly { readonly index: number; readonly proof: unknown; readonly root: string; readonly fileSize: number }[],
    number,
  ]
  return [
    segments.map((segment) => {
      const again = officialSegment(object, segment.index)
      // What the official client sent is what our own core makes of the same bytes.
      expect(again).toMatchObject({
        root: segment.root,
        index: segment.index,
        proof: segment.proof,
        fileSize: segment.fileSize,
      })
      return again
    }),
    seq,
  ]
}

function check(step: Step, result: unknown, object: TestObject): void {
  switch (step.method) {
    case 'zgs_uploadSegmentsByTxSeq':
      // 0 and not the recorded null: SDK 0.3.3 takes null for a failure.
      expect(result).toBe(0)
      return
    case 'zgs_downloadSegmentByTxSeq': {
      const [, from] = step.params as [number, number, number]
      expect(result).toBe(encodeBase64(object.segments[from / 1024]!.data))
      return
    }
    case 'zgs_getFileInfo':
      if (step.result === null) {
        expect(result).toBeNull()
        return
      }
      {
        const recordedInfo = step.result as unknown as {
          readonly tx: Record<string, unknown>
          readonly finalized: boolean
          readonly uploadedSegNum: number
        }
        const { tx, ...rest } = result as typeof recordedInfo
        expect(rest).toEqual({
          finalized: recordedInfo.finalized,
          isCached: false,
          uploadedSegNum: recordedInfo.uploadedSegNum,
          pruned: false,
        })
        expect(tx).toEqual({
          ...recordedInfo.tx,
          merkleNodes: object.submission.nodes.map(({ height, root }) => [height + 1, toHex(root)]),
        })
      }
      return
    default:
      expect(shapeOf(result)).toEqual(shapeOf(step.result))
  }
}

function shapeOf(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return typeof value
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, shapeOf(field)]))
}

/** The file of the recording: byte i is (7 i + 3) mod 256. */
function linearObject(sizeBytes: number): TestObject {
  const layout = layoutOf(sizeBytes)
  const padded = new Uint8Array(layout.chunkCount * 256)
  for (let i = 0; i < sizeBytes; i++) padded[i] = (i * 7 + 3) & 0xff
  const last = layout.segmentCount - 1
  const tree = fileTreeOf(layout, segmentRoots(padded, leafCountOf(layout, last)))
  const segments = Array.from({ length: layout.segmentCount }, (_, index): ProvenSegment => {
    const from = index * SEGMENT_SIZE_BYTES
    return { index, data: padded.subarray(from, from + segmentDataSize(layout, index)), proof: tree.prove(index) }
  })
  return { tree, segments, submission: submissionOf(tree, { lastSegment: padded.subarray(last * SEGMENT_SIZE_BYTES) }) }
}

describe('methods of the official storage node', () => {
  let world: TestWorld
  let node: TestRole
  let object: TestObject
  let entry: Entry
  beforeEach(async () => {
    world = createTestWorld()
    node = (await world.members(1))[0]!
    object = objectOf(600_000, 1)
    entry = world.chain.submit(object.submission)[0]!
    await node.caughtUp()
  })
  const store = async (): Promise<void> => {
    expect((await putBinary(node, entry, object.segments)).status).toBe(200)
  }

  test('zgs_getStatus', async () => {
    expect(await node.rpc('zgs_getStatus')).toEqual({
      jsonrpc: '2.0',
      result: {
        connectedPeers: 0,
        logSyncHeight: world.chain.head,
        logSyncBlock: node.follower.head().hash,
        nextTxSeq: 1,
        networkIdentity: { chainId: CHAIN_ID, flowAddress: FLOW, p2pProtocolVersion: { major: 0, minor: 4, build: 0 } },
      },
      id: 1,
    })
  })

  test('zgs_getFileInfo of an entry in progress, as it is in the specification', async () => {
    await putBinary(node, entry, object.segments.slice(0, 1))
    expect(await node.rpc('zgs_getFileInfo', [entry.root, true])).toEqual({
      jsonrpc: '2.0',
      result: {
        tx: {
          streamIds: [],
          data: [],
          dataMerkleRoot: entry.root,
          merkleNodes: entry.nodes.map(({ height, root }) => [height + 1, toHex(root)]),
          startEntryIndex: entry.startChunk,
          size: 600_000,
          seq: 0,
        },
        finalized: false,
        isCached: false,
        uploadedSegNum: 1,
        pruned: false,
      },
      id: 1,
    })
  })

  test('uploadedSegNum of an entry in progress is where the gap begins', async () => {
    await putBinary(node, entry, [object.segments[0]!, object.segments[2]!])
    expect((await node.rpc('zgs_getFileInfoByTxSeq', [0])).result.uploadedSegNum).toBe(1)
  })

  test('an unknown root or number is null with the result key present', async () => {
    const unknown = `0x${'ab'.repeat(32)}`
    for (const [method, params] of [
      ['zgs_getFileInfo', [unknown, true]],
      ['zgs_getFileInfoByTxSeq', [7]],
      ['zgs_checkFileFinalized', [7]],
      ['zgs_checkFileFinalized', [unknown]],
      ['zgs_downloadSegment', [unknown, 0, 1]],
      ['zgs_downloadSegmentByTxSeq', [7, 0, 1]],
      ['zgs_downloadSegmentWithProof', [unknown, 0]],
      ['zgs_downloadSegmentWithProofByTxSeq', [7, 0]],
    ] as const) {
      expect(await node.rpcText(JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }))).toBe(
        '{"jsonrpc":"2.0","result":null,"id":1}',
      )
    }
  })

  test('a segment that is not here is null and not an error', async () => {
    expect((await node.rpc('zgs_downloadSegmentByTxSeq', [0, 0, 1024])).result).toBeNull()
    expect((await node.rpc('zgs_downloadSegment', [entry.root, 0, 1024])).result).toBeNull()
    expect((await node.rpc('zgs_downloadSegmentWithProof', [entry.root, 2])).result).toBeNull()
  })

  test('zgs_checkFileFinalized takes a number or a root', async () => {
    expect((await node.rpc('zgs_checkFileFinalized', [0])).result).toBe(false)
    await store()
    expect((await node.rpc('zgs_checkFileFinalized', [0])).result).toBe(true)
    expect((await node.rpc('zgs_checkFileFinalized', [entry.root])).result).toBe(true)
    expect((await node.rpc('zgs_checkFileFinalized', [entry.root.toUpperCase().replace('0X', '0x')])).result).toBe(true)
  })

  test('downloads give any chunks of at most one segment, also across its border', async () => {
    await store()
    const bytes = Buffer.concat(object.segments.map((segment) => segment.data))
    for (const [from, to] of [
      [0, 1024],
      [1000, 1100],
      [2048, 2344],
      [5, 6],
    ] as const) {
      const expected = bytes.subarray(from * 256, to * 256).toString('base64')
      expect((await node.rpc('zgs_downloadSegmentByTxSeq', [0, from, to])).result).toBe(expected)
      expect((await node.rpc('zgs_downloadSegment', [entry.root, from, to])).result).toBe(expected)
    }
  })

  test.each([
    [[0, 0, 1025], 'end_index', 'exceeds maximum chunks 1024'],
    [[0, 2000, 2345], 'end_index', 'invalid chunk index'],
    [[0, 5, 5], 'end_index', 'invalid chunk index'],
    [[0, 6, 5], 'end_index', 'invalid chunk index'],
    [[0, -1, 5], 'start_index', 'a whole number is expected'],
    [['0', 0, 5], 'tx_seq', 'a whole number is expected'],
    [[0, 0], 'end_index', 'missing'],
  ])('a download of %j is refused: %s', async (params, name, data) => {
    const answer = await node.rpc('zgs_downloadSegmentByTxSeq', params)
    expect(answer.error).toEqual({ code: -32602, message: `Invalid params: ${name}`, data })
  })

  test('zgs_downloadSegmentWithProof gives back what was uploaded, proof and all', async () => {
    await store()
    for (const index of [0, 1, 2]) {
      const expected = officialSegment(object, index)
      expect((await node.rpc('zgs_downloadSegmentWithProof', [entry.root, index])).result).toEqual(expected)
      expect((await node.rpc('zgs_downloadSegmentWithProofByTxSeq', [0, index])).result).toEqual(expected)
    }
    expect((await node.rpc('zgs_downloadSegmentWithProofByTxSeq', [0, 3])).error).toEqual({
      code: -32602,
      message: 'Invalid params: index',
      data: 'index out of bound',
    })
  })

  test('a file of one segment has a proof that is its root alone', async () => {
    const small = objectOf(257, 5)
    const [known] = world.chain.submit(small.submission)
    await putBinary(node, known!, small.segments)
    expect((await node.rpc('zgs_downloadSegmentWithProof', [known!.root, 0])).result.proof).toEqual({
      lemma: [known!.root],
      path: [],
    })
  })

  test('zgs_getFlowContext and zgs_getHashAtNodeIndex show the flow tree', async () => {
    const [root, length] = (await node.rpc('zgs_getFlowContext')).result as [string, number]
    expect(length).toBe(entry.startChunk + entry.paddedChunkCount)
    // Inside a node of several segments only the bytes can tell.
    expect((await node.rpc('zgs_getHashAtNodeIndex', [entry.startChunk / 1024])).result).toBeNull()
    await store()
    // The leaves of the segment-level tree, zero segments behind the end, fold to the root of the flow.
    const segmentCount = Math.ceil(length / 1024)
    const leaves = await Promise.all(
      Array.from({ length: 2 ** Math.ceil(Math.log2(segmentCount)) }, async (_, index) =>
        index < segmentCount
          ? fromHex((await node.rpc('zgs_getHashAtNodeIndex', [index])).result as string)
          : zeroSubtree(10),
      ),
    )
    expect(leaves.length).toBeGreaterThan(4)
    expect(toHex(merkleRoot(Buffer.concat(leaves)))).toBe(root)
    expect((await node.rpc('zgs_getHashAtNodeIndex', [1000])).error).toEqual({
      code: -32000,
      message: 'index out of bound',
    })
  })

  test('zgs_getSectorProof proves every kind of sector against the flow root of the contract', async () => {
    const tiny = objectOf(5000, 6)
    const odd = objectOf(65_537, 7)
    const more = world.chain.submit(tiny.submission, odd.submission)
    await store()
    await putBinary(node, more[0]!, tiny.segments)
    await putBinary(node, more[1]!, odd.segments)
    const [root, length] = (await node.rpc('zgs_getFlowContext')).result as [string, number]
    const sectors = [
      0,
      1,
      entry.startChunk,
      entry.startChunk + 1023,
      entry.startChunk + 1024,
      entry.startChunk + 2343,
      more[0]!.startChunk + 3,
      more[1]!.startChunk,
      more[1]!.startChunk + 256,
      length - 1,
    ]
    for (const sector of sectors) {
      const { lemma, path } = (await node.rpc('zgs_getSectorProof', [sector, null])).result as {
        lemma: string[]
        path: boolean[]
      }
      expect(lemma).toHaveLength(path.length + 2)
      expect(lemma.at(-1)).toBe(root)
      expect(toHex(foldProof(fromHex(lemma[0]!), lemma.slice(1, -1).map(fromHex), path))).toBe(root)
      // The path names the position: bit i is set where the node is a right child.
      expect(path.reduce((position, isLeft, i) => position + (isLeft ? 0 : 2 ** i), 0)).toBe(sector)
    }
    const { lemma } = (await node.rpc('zgs_getSectorProof', [entry.startChunk + 5])).result as { lemma: string[] }
    expect(lemma[0]).toBe(toHex(keccak256(object.segments[0]!.data.subarray(5 * 256, 6 * 256))))
  })

  test('zgs_getSectorProof proves against an older flow root', async () => {
    await store()
    const [root] = (await node.rpc('zgs_getFlowContext')).result as [string, number]
    world.chain.submit(objectOf(2_000_000, 8).submission)
    await node.caughtUp()
    const { lemma, path } = (await node.rpc('zgs_getSectorProof', [entry.startChunk, root])).result as {
      lemma: string[]
      path: boolean[]
    }
    expect(lemma.at(-1)).toBe(root)
    expect(toHex(foldProof(fromHex(lemma[0]!), lemma.slice(1, -1).map(fromHex), path))).toBe(root)
    expect((await node.rpc('zgs_getSectorProof', [1, `0x${'ab'.repeat(32)}`])).error).toEqual({
      code: -32000,
      message: 'flow root not found',
    })
    expect((await node.rpc('zgs_getSectorProof', [10_000_000, null])).error).toMatchObject({ code: -32000 })
  })

  test('a sector whose bytes are not here is an error', async () => {
    expect((await node.rpc('zgs_getSectorProof', [entry.startChunk, null])).error).toEqual({
      code: -32000,
      message: 'data not available',
    })
  })

  test('zgs_getDataByNodeIndex and zgs_getMetaDataByNodeIndex show what lies in a segment of the flow', async () => {
    const at = entry.startChunk / 1024
    expect(await node.rpc('zgs_getDataByNodeIndex', [at])).toMatchObject({ result: null })
    await store()
    const [bytes] = (await node.rpc('zgs_getDataByNodeIndex', [at])).result as number[][]
    expect(bytes).toHaveLength(SEGMENT_SIZE_BYTES)
    expect(bytes!.slice(0, 8)).toEqual([...object.segments[0]!.data.subarray(0, 8)])
    expect((await node.rpc('zgs_getMetaDataByNodeIndex', [at])).result).toBe('seq=0 segment=0 bytes=262144')
  })

  describe('uploads', () => {
    test.each([
      ['zgs_uploadSegment', () => [officialSegment(object, 0)]],
      ['zgs_uploadSegmentByTxSeq', () => [officialSegment(object, 0), 0]],
      ['zgs_uploadSegments', () => [[officialSegment(object, 0), officialSegment(object, 1)]]],
      ['zgs_uploadSegmentsByTxSeq', () => [[officialSegment(object, 2), officialSegment(object, 1)], 0]],
    ])('%s answers 0, and 0 again for what is here already', async (method, params) => {
      for (let i = 0; i < 2; i++) {
        expect(await node.rpcText(JSON.stringify({ jsonrpc: '2.0', id: 1, method, params: params() }))).toBe(
          '{"jsonrpc":"2.0","result":0,"id":1}',
        )
      }
      expect((await node.rpc('zgs_getFileInfoByTxSeq', [0])).result.finalized).toBe(false)
    })

    test('more than a hundred segments at once, out of order, each in a request of its own', async () => {
      const large = objectOf(128 * SEGMENT_SIZE_BYTES, -1)
      const [known] = world.chain.submit(large.submission)
      await node.caughtUp()
      const order = large.segments.map((_, index) => (index * 77) % 128)
      const answers = await Promise.all(
        order.map((index) => node.rpc('zgs_uploadSegmentsByTxSeq', [[officialSegment(large, index)], known!.seq])),
      )
      expect(answers.map((answer) => answer.result)).toEqual(order.map(() => 0))
      expect((await node.rpc('zgs_getFileInfo', [known!.root, true])).result).toMatchObject({
        finalized: true,
        uploadedSegNum: 128,
      })
    })

    test('data for a finalised root is refused in the words that official clients take for success', async () => {
      await store()
      const answer = await node.rpc('zgs_uploadSegmentsByTxSeq', [[officialSegment(object, 0)], 0])
      expect(answer).toEqual({
        jsonrpc: '2.0',
        error: { code: -32602, message: 'Invalid params: root', data: 'already uploaded and finalized' },
        id: 1,
      })
      expect((await node.rpc('zgs_uploadSegment', [officialSegment(object, 0)])).error.data).toBe(
        'already uploaded and finalized',
      )
    })

    const other = objectOf(600_000, 99)
    const changed = (fields: Record<string, unknown>): Record<string, unknown> => ({
      ...officialSegment(object, 0),
      ...fields,
    })
    const flipped = (): string => {
      const data = object.segments[0]!.data.slice()
      data[1000]! ^= 1
      return encodeBase64(data)
    }
    test.each<
      readonly [string, () => unknown, { readonly code: number; readonly message: string; readonly data?: string }]
    >([
      [
        'a flipped bit',
        () => changed({ data: flipped() }),
        { code: -32602, message: 'Invalid params: proof', data: 'validation failed' },
      ],
      [
        'the proof of another segment',
        () => changed({ proof: officialSegment(object, 1)['proof'] }),
        { code: -32602, message: 'Invalid params: proof', data: 'validation failed' },
      ],
      [
        'the proof of another file',
        () => changed({ proof: officialSegment(other, 0)['proof'] }),
        { code: -32602, message: 'Invalid params: proof', data: 'validation failed' },
      ],
      [
        'a proof without a path',
        () => changed({ proof: { lemma: [entry.root], path: [] } }),
        { code: -32602, message: 'Invalid params: proof', data: 'validation failed' },
      ],
      [
        'a changed sibling behind the right leaf',
        () => {
          const { lemma, path } = officialSegment(object, 0)['proof'] as { lemma: string[]; path: boolean[] }
          return changed({ proof: { lemma: [lemma[0], `0x${'ab'.repeat(32)}`, ...lemma.slice(2)], path } })
        },
        { code: -32602, message: 'Invalid params: proof', data: 'validation failed' },
      ],
      [
        'the right hashes on the wrong sides',
        () => {
          const { lemma, path } = officialSegment(object, 0)['proof'] as { lemma: string[]; path: boolean[] }
          return changed({ proof: { lemma, path: path.map((isLeft) => !isLeft) } })
        },
        { code: -32602, message: 'Invalid params: proof', data: 'validation failed' },
      ],
      [
        'a proof that is no proof',
        () => changed({ proof: { lemma: 'x', path: 1 } }),
        { code: -32602, message: 'Invalid params: proof', data: 'invalid proof' },
      ],
      [
        'no proof',
        () => changed({ proof: undefined }),
        { code: -32602, message: 'Invalid params: proof', data: 'invalid proof' },
      ],
      [
        'another root',
        () => changed({ root: other.tree.root }),
        { code: -32602, message: 'Invalid params: proof', data: 'validation failed' },
      ],
      [
        'a root that is none',
        () => changed({ root: '0x12' }),
        { code: -32602, message: 'Invalid params: root', data: '0x and 64 hex digits are expected' },
      ],
      [
        'another file size',
        () => changed({ fileSize: 599_999 }),
        { code: -32602, message: 'Invalid params: fileSize', data: 'segment file size not matched with tx file size' },
      ],
      [
        'an empty file',
        () => changed({ fileSize: 0 }),
        { code: -32602, message: 'Invalid params: fileSize', data: 'file is empty' },
      ],
      [
        'an index behind the end',
        () => changed({ index: 3 }),
        { code: -32602, message: 'Invalid params: index', data: 'index out of bound' },
      ],
      [
        'an index that is no number',
        () => changed({ index: '0' }),
        { code: -32602, message: 'Invalid params: index', data: 'a whole number is expected' },
      ],
      [
        'data cut to whole chunks',
        () => changed({ data: encodeBase64(object.segments[0]!.data.subarray(256)) }),
        { code: -32602, message: 'Invalid params: data', data: 'invalid data length' },
      ],
      [
        'data cut inside a chunk',
        () => changed({ data: encodeBase64(object.segments[0]!.data.subarray(1)) }),
        { code: -32000, message: 'invalid data length' },
      ],
      ['empty data', () => changed({ data: '' }), { code: -32000, message: 'data is empty' }],
      [
        'base64 cut off',
        () => changed({ data: encodeBase64(object.segments[0]!.data).slice(0, -1) }),
        { code: -32602, message: 'Invalid params: data', data: 'base64 is expected' },
      ],
      [
        'no base64 at all',
        () => changed({ data: '!!!! not base64 !!!!' }),
        { code: -32602, message: 'Invalid params: data', data: 'base64 is expected' },
      ],
      [
        'data as an array',
        () => changed({ data: [1, 2, 3] }),
        { code: -32602, message: 'Invalid params: data', data: 'base64 is expected' },
      ],
      [
        'no data',
        () => changed({ data: undefined }),
        { code: -32602, message: 'Invalid params: data', data: 'missing' },
      ],
      [
        'a segment that is null',
        () => null,
        { code: -32602, message: 'Invalid params: segment', data: 'an object is expected' },
      ],
    ])('%s is refused, and the rest goes on', async (_, segment, error) => {
      expect((await node.rpc('zgs_uploadSegments', [[segment()]])).error).toEqual(error)
      expect(node.store.usage().segmentCount).toBe(0)
      expect((await node.rpc('zgs_uploadSegments', [[officialSegment(object, 0)]])).result).toBe(0)
    })

    test('a number of another root is an internal error in the words of the reference node', async () => {
      const strange = objectOf(600_000, 98)
      const answer = await node.rpc('zgs_uploadSegmentsByTxSeq', [[officialSegment(strange, 0)], 0])
      expect(answer.error).toEqual({ code: -32603, message: 'Internal error', data: 'data root and tx seq not match' })
    })

    test('a large file of an unknown root is refused, a small one is kept until its root comes', async () => {
      const large = objectOf(11_000_000, -1)
      expect((await node.rpc('zgs_uploadSegmentsByTxSeq', [[officialSegment(large, 0)], 5])).error.data).toBe(
        'caching of large file when tx is unavailable is not supported',
      )
      const small = objectOf(1000, 97)
      expect((await node.rpc('zgs_uploadSegments', [[officialSegment(small, 0)]])).result).toBe(0)
    })

    test('two entries with one root and different sizes both become final', async () => {
      const [short, long] = [objectOf(257, -1), objectOf(512, -1)]
      expect(short.tree.root).toBe(long.tree.root)
      const [a, b] = world.chain.submit(short.submission, long.submission)
      await node.caughtUp()
      expect((await node.rpc('zgs_uploadSegmentsByTxSeq', [[officialSegment(short, 0)], a!.seq])).result).toBe(0)
      await until(async () => (await node.rpc('zgs_checkFileFinalized', [b!.seq])).result === true)
      // By root and size, each is found finalised under its own.
      expect((await node.rpc('zgs_uploadSegments', [[officialSegment(long, 0)]])).error.data).toBe(
        'already uploaded and finalized',
      )
    })
  })
})
