import { concat, encodeFrames } from '@weightless/core'
import {
  createTestWorld,
  endWorlds,
  putBinary,
  type TestRole,
  type TestWorld,
} from '../../../packages/node/test/testRoles.ts'
import { insist, type FuzzTarget } from '../engine.ts'
import { goodReceipt, largeObject, rpcBody, smallObject, text, uploadOf } from './core.ts'

/** A role that holds one finished entry and knows another without its bytes; nothing waits longer than a turn. */
type Stand = { readonly world: TestWorld; readonly role: TestRole }
async function makeStand(kind: 'storage' | 'gateway'): Promise<Stand> {
  const world = createTestWorld()
  const [node] = await world.members(1)
  const role = kind === 'storage' ? node! : await world.gateway('gateway')
  const [entry] = world.chain.submit(smallObject.submission)
  world.chain.submit(largeObject.submission)
  await node!.caughtUp()
  await role.caughtUp()
  await (await putBinary(node!, entry!, smallObject.segments)).arrayBuffer()
  return { world, role }
}

function lazily<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined
  return () => (made ??= make())
}

/** Waits of the role (for a follower, for room) pass at once. */
async function inNoTime<T>({ world }: Stand, work: Promise<T>): Promise<T> {
  let isDone = false
  const done = work.finally(() => (isDone = true))
  done.catch(() => undefined)
  for (let turn = 0; !isDone; turn++) {
    await new Promise((next) => setImmediate(next))
    if (turn > 20 && !isDone) world.clock.jump(5_000)
  }
  return await done
}

const root = smallObject.tree.root
const zgsCalls = [
  rpcBody('zgs_getStatus', []),
  rpcBody('zgs_getFileInfo', [root, true]),
  rpcBody('zgs_getFileInfoByTxSeq', [0]),
  rpcBody('zgs_getShardConfig', []),
  rpcBody('zgs_downloadSegment', [root, 0, 3]),
  rpcBody('zgs_downloadSegmentByTxSeq', [0, 0, 3]),
  rpcBody('zgs_downloadSegmentWithProof', [root, 0]),
  rpcBody('zgs_downloadSegmentWithProofByTxSeq', [0, 0]),
  rpcBody('zgs_getSectorProof', [0, null]),
  rpcBody('zgs_checkFileFinalized', [root]),
  rpcBody('zgs_checkFileFinalized', [0]),
  rpcBody('zgs_getFlowContext', []),
  rpcBody('zgs_uploadSegment', [uploadOf(smallObject, 0)]),
  rpcBody('zgs_uploadSegments', [[uploadOf(smallObject, 0)]]),
  rpcBody('zgs_uploadSegmentByTxSeq', [uploadOf(largeObject, 2, 'AAAA'), 1]),
  rpcBody('zgs_uploadSegmentsByTxSeq', [[uploadOf(smallObject, 0)], 0]),
]
const indexerCalls = [
  rpcBody('indexer_getShardedNodes', []),
  rpcBody('indexer_getFileLocations', [root]),
  rpcBody('indexer_getSelectedNodes', [1, 'min']),
  rpcBody('indexer_getNodeLocations', []),
]

function rpcTarget(kind: 'storage' | 'gateway'): FuzzTarget {
  const stand = lazily(() => makeStand(kind))
  return {
    name: `rpc-of-${kind}`,
    from: 'official clients',
    kind: 'json',
    isWhole: true,
    corpus: [...zgsCalls, ...(kind === 'gateway' ? indexerCalls : [])],
    words: ['"zgs_', '"indexer_', `"${root}"`, '"params":[', 'null', '"data":"', '"proof":{', '9007199254740993'],
    run: async (input) => {
      const at = await stand()
      const headers = { 'content-type': 'application/json', 'content-length': String(input.length) }
      const body = input as Uint8Array<ArrayBuffer>
      const response = await inNoTime(at, at.role.fetch('/', { method: 'POST', headers, body }))
      const told = await response.text()
      if (response.status === 204 && told === '') return 'nothing'
      insist(response.status === 200, `errors of JSON-RPC come with 200, not ${response.status}`)
      const answers = JSON.parse(told) as Answer | Answer[]
      const all = Array.isArray(answers) ? answers : [answers]
      for (const answer of all) {
        insist('result' in answer !== 'error' in answer, 'a result or an error')
        const isUnknown = answer.error?.code === -32603 && answer.error.data === undefined
        insist(!isUnknown, `no internal error: ${told.slice(0, 200)}`)
      }
      const { error } = all[0]!
      return error === undefined ? 'result' : `${error.code} ${error.message.slice(0, 30)}`
    },
    close: async () => endWorlds(),
  }
}
type Answer = {
  readonly result?: unknown
  readonly error?: { readonly code: number; readonly message: string; readonly data?: unknown }
}

const STATUSES = new Set([200, 204, 206, 304, 400, 404, 405, 408, 409, 413, 416, 421, 503, 507])

/** One request as a text: method and target, headers, an empty line, the body. */
function routesTarget(kind: 'storage' | 'gateway', corpus: readonly string[]): FuzzTarget {
  const stand = lazily(() => makeStand(kind))
  return {
    name: `routes-of-${kind}`,
    from: 'anybody over HTTP',
    kind: 'text',
    isWhole: true,
    corpus: corpus.map((one) => Buffer.from(one, 'latin1')),
    words: [
      root,
      '/v1/entries/',
      '/segments',
      '/receipt',
      '/file',
      '?seq=',
      '&slot=',
      '&from=',
      '&count=',
      'bytes=',
      '%2F',
      '/../',
      '\nRange: ',
      '\nContent-Length: ',
      'HEAD ',
      'PUT ',
      'POST ',
    ],
    run: async (input) => {
      const end = Buffer.from(input).indexOf('\n\n')
      const head = Buffer.from(end === -1 ? input : input.subarray(0, end)).toString('latin1')
      const body = end === -1 ? new Uint8Array(0) : input.subarray(end + 2)
      const [first = '', ...lines] = head.split('\n')
      const [method = 'GET', target = '/'] = first.split(' ')
      let request: Request
      try {
        const headers = new Headers()
        for (const line of lines) {
          const colon = line.indexOf(':')
          if (colon > 0) headers.append(line.slice(0, colon), line.slice(colon + 1).trim())
        }
        const hasBody = method !== 'GET' && method !== 'HEAD'
        if (hasBody) headers.set('content-length', String(body.length))
        request = new Request(`http://role.test${target.startsWith('/') ? '' : '/'}${target}`, {
          method,
          headers,
          ...(hasBody ? { body: body as Uint8Array<ArrayBuffer> } : {}),
        })
      } catch {
        // The server in front of a role refuses it.
        return 'no request'
      }
      const at = await stand()
      const url = new URL(request.url)
      if (url.pathname === '/' && request.method === 'POST') return 'rpc'
      const response = await inNoTime(at, at.role.fetch(url.pathname + url.search, request))
      const told = new Uint8Array(await inNoTime(at, response.arrayBuffer()))
      insist(STATUSES.has(response.status), `${response.status} ${text(told).slice(0, 200)}`)
      const length = response.headers.get('content-length')
      if (length !== null && request.method !== 'HEAD')
        insist(Number(length) === told.length, 'the length that was told')
      if (response.status >= 400 && request.method !== 'HEAD' && told.length > 0) JSON.parse(text(told))
      return `${request.method.slice(0, 8)} ${response.status}`
    },
    close: async () => endWorlds(),
  }
}

const latin = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1')
const storageRoutes = [
  'GET /v1/status',
  'GET /health',
  'GET /metrics',
  `GET /v1/entries/${root}`,
  'GET /v1/entries?after=0&limit=10',
  `GET /v1/entries/${root}/segments?from=0&count=1&seq=0`,
  `GET /v1/entries/${root}/receipt?seq=0&slot=0`,
  `PUT /v1/entries/${root}/segments?seq=0&slot=0\n\n${latin(concat(encodeFrames(smallObject.segments)))}`,
  `PUT /v1/entries/${largeObject.tree.root}/segments?seq=1&slot=1\n\n${latin(concat(encodeFrames(smallObject.segments)))}`,
  'OPTIONS /v1/status\nOrigin: http://x',
]
const gatewayRoutes = [
  `GET /file?root=${root}&name=a.txt`,
  `GET /file?root=${root}\nRange: bytes=0-9\nIf-None-Match: "x"`,
  'GET /file?txSeq=0',
  `GET /file/info/${root}`,
  'GET /file/info/0',
  `GET /files/info?cid=${root}&cid=1`,
  'GET /node/status',
  `POST /file/segment\ncontent-type: application/json\n\n${JSON.stringify(uploadOf(smallObject, 0))}`,
  `POST /file/segment\n\n${JSON.stringify({ txSeq: 1, index: 0, data: 'QQ==', proof: { lemma: [root], path: [] } })}`,
  `PUT /v1/entries/${root}/receipts?seq=0\n\n${JSON.stringify([goodReceipt])}`,
]

/** What a storage node and a gateway answer over HTTP. */
export const doorTargets: readonly FuzzTarget[] = [
  rpcTarget('storage'),
  rpcTarget('gateway'),
  routesTarget('storage', storageRoutes),
  routesTarget('gateway', gatewayRoutes),
]
