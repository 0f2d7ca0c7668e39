import {
  addressOfPrivateKey,
  BATCH_SEGMENTS_MAX,
  bitmapOf,
  checkSegment,
  concat,
  createDecryptor,
  createEncryptor,
  decodeBase64,
  decodeFrames,
  encodeBase64,
  encodeFrames,
  entriesOf,
  equal,
  fromHex,
  leafCountOf,
  locateIn,
  openUploadBody,
  parseAddress,
  parseDirectory,
  parseHeader,
  parseHex,
  parseJsonRpc,
  parseRoot,
  parseShardConfig,
  parseTxHash,
  proofFromJson,
  proofToJson,
  receiptFromJson,
  selectCover,
  signReceipt,
  toHex,
  verifyReceipt,
} from '@weightless/core'
import type { Address } from '@weightless/core'
import { keccak256, segmentRoot } from '@weightless/kernels'
import { objectOf } from '../../compliance/storageNode.ts'
import { insist, isSample, outcomeOf, type FuzzTarget } from '../engine.ts'

const text = (input: Uint8Array): string => new TextDecoder().decode(input)
const json = (input: Uint8Array): unknown => JSON.parse(text(input)) as unknown
/** A value of JSON, or "no JSON": the parsers behind take values and not text. */
const withJson = (input: Uint8Array, read: (value: unknown) => string): string => {
  let value: unknown
  try {
    value = json(input)
  } catch {
    return 'no JSON'
  }
  return read(value)
}

const object = objectOf(600_000, 5)
const small = objectOf(700, 6)
const key = new Uint8Array(32).fill(7)
const receipt = signReceipt(
  {
    chainId: 31337,
    registry: `0x${'12'.repeat(20)}` as Address,
    registryVersion: 3,
    dataRoot: object.tree.root,
    entrySeq: 17,
    slots: bitmapOf([0, 9]),
    fingerprintRoot: toHex(new Uint8Array(32)),
    blockNumber: 40,
  },
  key,
)

const uploadOf = (of: typeof object, index: number, data?: string): object => {
  const segment = of.segments[index]!
  const leaf = segmentRoot(segment.data, leafCountOf(of.tree.layout, index))
  return {
    root: of.tree.root,
    data: data ?? encodeBase64(segment.data),
    index,
    proof: proofToJson(leaf, segment.proof, of.tree.root),
    fileSize: of.submission.sizeBytes,
  }
}
const rpcBody = (method: string, params: unknown, id: unknown = 1): string =>
  JSON.stringify({ jsonrpc: '2.0', id, method, params })

const jsonRpc: FuzzTarget = {
  name: 'json-rpc',
  from: 'bodies on every RPC port',
  kind: 'json',
  corpus: [
    rpcBody('zgs_getStatus', []),
    rpcBody('eth_call', [{ to: '0x12', data: '0x' }, 'latest'], 'text'),
    `[${rpcBody('a', [])},${rpcBody('b', { x: 1 }, null)},{"jsonrpc":"2.0","method":"n"}]`,
    '{"jsonrpc":"2.0","id":9007199254740993,"method":"m","params":null}',
    '{"id":{"id":7},"i\\u0064":3,"jsonrpc":"2.0","method":"x"}',
  ],
  words: [
    '"id":',
    '"\\u0069d":',
    '"jsonrpc":"2.0"',
    '"method":',
    '"params":',
    '{}',
    '[]',
    '"a"',
    '12345678901234567890',
    '-0.0e-5',
  ],
  run: (input) => {
    let parsed: ReturnType<typeof parseJsonRpc> | undefined
    const word = outcomeOf(() => (parsed = parseJsonRpc(input)))
    if (parsed === undefined) return word
    const whole = JSON.parse(text(input)) as unknown
    insist(Array.isArray(whole) === parsed.isBatch, 'a batch is an array')
    const items = (parsed.isBatch ? whole : [whole]) as Record<string, unknown>[]
    insist(items.length === parsed.calls.length, 'each element has its answer')
    parsed.calls.forEach((call, i) => {
      if (call.kind === 'fault') return void JSON.parse(call.id)
      insist(call.method === items[i]!['method'], 'the method is that of JSON.parse')
      insist((call.id === undefined) === !Object.hasOwn(items[i]!, 'id'), 'a notification has no id')
      if (call.id !== undefined) insist(Object.is(JSON.parse(call.id), items[i]!['id']), 'the id is that of JSON.parse')
    })
    return parsed.calls.some((call) => call.kind === 'fault') ? 'fault' : 'ok'
  },
}

const uploadBody: FuzzTarget = {
  name: 'upload-body',
  from: 'uploads of official clients',
  kind: 'json',
  corpus: [
    rpcBody('zgs_uploadSegment', [uploadOf(small, 0)]),
    rpcBody('zgs_uploadSegments', [[uploadOf(small, 0), uploadOf(object, 2, 'AAAA')]]),
    rpcBody('x', [{ data: '', root: 'data', nested: { data: 'QUJD' } }, { da: 'data' }]),
    rpcBody('x', [{ data: 'QQ==', data2: 'QQ==' }, ['data', 'QUI=']]),
    '{"jsonrpc":"2.0","id":1,"method":"x","params":[{"data":"QUJD","data":"QUJE","d\\u0061ta":"QUJF"}]}',
    '{"data":"QUJD","jsonrpc":"2.0","id":1,"method":"x"}',
  ],
  words: [
    '"data":"QUJD"',
    '"data"',
    '"d\\u0061ta":"QQ=="',
    '\\"',
    '"data":1',
    '"data":" QUJD"',
    '"data":"QR=="',
    '"data" : "QUI="',
  ],
  run: (input) => {
    let opened: ReturnType<typeof openUploadBody> | undefined
    const word = outcomeOf(() => (opened = openUploadBody(input)))
    let plain: ReturnType<typeof parseJsonRpc> | undefined
    const plainWord = outcomeOf(() => (plain = parseJsonRpc(input)))
    insist(word === plainWord, `the scanner says ${word}, JSON.parse ${plainWord}`)
    if (opened === undefined || plain === undefined) return word
    const { request, dataOf } = opened
    insist(request.isBatch === plain.isBatch && request.calls.length === plain.calls.length, 'the same calls')
    request.calls.forEach((call, i) => {
      const other = plain!.calls[i]!
      insist(call.kind === other.kind && call.id === other.id, 'the same id')
      if (call.kind !== 'request' || other.kind !== 'request') return
      insist(call.method === other.method, 'the same method')
      expectSame(call.params, other.params, dataOf)
    })
    return word
  },
}

/** Values are the same but for payloads, whose bytes are those of the text. With a list of its own: values may be nested by the
 *  thousand. */
function expectSame(scanned: unknown, plain: unknown, dataOf: (data: unknown) => Uint8Array | undefined): void {
  const pairs: [unknown, unknown][] = [[scanned, plain]]
  for (let pair = pairs.pop(); pair !== undefined; pair = pairs.pop()) {
    const [one, other] = pair as [Record<string, unknown>, Record<string, unknown>]
    if (typeof other !== 'object' || other === null || typeof one !== 'object' || one === null) {
      insist(Object.is(one, other), 'the same value')
      continue
    }
    const names = Object.keys(other)
    insist(names.join('\0') === Object.keys(one).join('\0'), 'the same keys')
    for (const name of names) {
      const [inner, plainInner] = [one[name], other[name]]
      const expected = typeof plainInner === 'string' ? strictBase64(plainInner) : undefined
      if (name !== 'data' || Array.isArray(other) || expected === undefined) {
        if (name === 'data' && !Array.isArray(other))
          insist(dataOf(inner) === undefined, 'no payload where there is none')
        pairs.push([inner, plainInner])
      } else {
        const bytes = dataOf(inner)
        insist(bytes !== undefined && equal(bytes, expected), 'the same bytes')
      }
    }
  }
}

/** By Node's own reader, which is lenient: what it reads must be written the same way again. */
function strictBase64(encoded: string): Uint8Array | undefined {
  const bytes = Buffer.from(encoded, 'base64')
  return bytes.toString('base64') === encoded ? bytes : undefined
}

const base64: FuzzTarget = {
  name: 'base64',
  from: 'payloads of official clients',
  kind: 'text',
  corpus: ['', 'QQ==', 'QUI=', 'QUJD', encodeBase64(small.segments[0]!.data), '+/+/', 'AAAA'.repeat(40), '____'],
  words: ['=', '==', 'QR==', '-', '_', '\u00c1'],
  run: (input) => {
    const latin = Buffer.from(input).toString('latin1')
    const expected = strictBase64(latin)
    for (const read of [decodeBase64(input), decodeBase64(latin)]) {
      insist((read === undefined) === (expected === undefined), 'as strict as Node read and written again')
      if (read !== undefined) insist(equal(read, expected!), 'the same bytes')
    }
    if (expected === undefined) return 'refused'
    insist(encodeBase64(expected) === latin, 'one text for each byte string')
    return 'ok'
  },
}

const frames: FuzzTarget = {
  name: 'frames',
  from: 'our own clients and holders',
  kind: 'bytes',
  corpus: [
    concat(encodeFrames(small.segments)),
    concat(encodeFrames([{ ...small.segments[0]!, index: 7, proof: object.segments[1]!.proof }])),
    concat(encodeFrames([{ index: 1, data: new Uint8Array(256), proof: { siblings: [], lefts: [] } }])),
    concat(
      encodeFrames(
        Array.from({ length: 3 }, (_, index) => ({
          index,
          data: new Uint8Array(256),
          proof: object.segments[0]!.proof,
        })),
      ),
    ),
  ],
  run: (input) => {
    let segments: ReturnType<typeof decodeFrames> = []
    const word = outcomeOf(() => (segments = decodeFrames(input, { segmentsMax: BATCH_SEGMENTS_MAX })))
    if (word === 'ok') insist(equal(concat(encodeFrames(segments)), input), 'one body for one list of segments')
    return word.replace(/\d+/g, 'n')
  },
}

const proofSegment = object.segments[1]!
const proofRoot = segmentRoot(proofSegment.data, leafCountOf(object.tree.layout, 1))
const proofs: FuzzTarget = {
  name: 'segment-proofs',
  from: 'official clients',
  kind: 'json',
  corpus: [
    JSON.stringify(proofToJson(proofRoot, proofSegment.proof, object.tree.root)),
    ...object.segments.map((segment, index) =>
      JSON.stringify(
        proofToJson(segmentRoot(segment.data, leafCountOf(object.tree.layout, index)), segment.proof, object.tree.root),
      ),
    ),
    JSON.stringify({ lemma: [small.tree.root], path: [] }),
  ],
  words: ['"lemma":', '"path":', 'true', 'false', `"0x${'00'.repeat(32)}"`],
  run: (input) =>
    withJson(input, (value) => {
      let read: ReturnType<typeof proofFromJson> | undefined
      const word = outcomeOf(() => (read = proofFromJson(value)))
      if (read === undefined) return word
      const { proof } = read
      const checked = outcomeOf(() =>
        checkSegment({ root: object.tree.root, sizeBytes: 600_000 }, { ...proofSegment, proof }, proofRoot),
      )
      // Only the proof itself is one: anything else that passed would be a second preimage.
      if (checked === 'ok') {
        insist(
          proof.lefts.join() === proofSegment.proof.lefts.join() &&
            proof.siblings.every((sibling, i) => equal(sibling, proofSegment.proof.siblings[i]!)),
          'a proof that holds is the proof',
        )
      }
      return `read, ${checked}`
    }),
}

const receipts: FuzzTarget = {
  name: 'receipts',
  from: 'holders, and whoever brings their receipts',
  kind: 'json',
  corpus: [JSON.stringify(receipt), JSON.stringify({ ...receipt, slots: '0x01', entrySeq: 0 })],
  words: ['"slots":"0x00"', `"signer":"${addressOfPrivateKey(key)}"`, '0x', '1b', '1c'],
  run: (input) =>
    withJson(input, (value) => {
      let read: ReturnType<typeof receiptFromJson> | undefined
      const word = outcomeOf(() => (read = receiptFromJson(value)))
      if (read === undefined) return word.replace(/(no \w+|number|hex).*/, '$1')
      const same = JSON.stringify(read) === JSON.stringify(receipt)
      // A point multiplication takes a millisecond: one in 64, and what was not changed.
      if (!same && (input.length + (input.at(-3) ?? 0)) % 64 !== 0) return 'read'
      const verified = outcomeOf(() => verifyReceipt(read!))
      if (verified === 'ok') insist(same, 'a signature is good for one content')
      return `verified: ${verified}`
    }),
}

const ids: FuzzTarget = {
  name: 'hex',
  from: 'roots, hashes and addresses everywhere',
  kind: 'json',
  corpus: [
    JSON.stringify(object.tree.root),
    JSON.stringify(receipt.signer),
    '"0x"',
    '"0xAbCd"',
    JSON.stringify([receipt.signature]),
  ],
  words: ['0x', '0X', 'g', '\\u0030'],
  run: (input) =>
    withJson(input, (value) => {
      const read = [
        outcomeOf(() => insist(fromHex(parseRoot(value)).length === 32, 'a root has 32 bytes')),
        outcomeOf(() => insist(fromHex(parseTxHash(value)).length === 32, 'a hash has 32 bytes')),
        outcomeOf(() => insist(fromHex(parseAddress(value)).length === 20, 'an address has 20 bytes')),
        outcomeOf(() =>
          insist(
            toHex(parseHex(value, { name: 'x', sizeBytesMax: 64 })) === (value as string).toLowerCase(),
            'hex is read as it is written',
          ),
        ),
      ]
      return read.map((word) => (word === 'ok' ? 'ok' : 'no')).join(' ')
    }),
}

const shards: FuzzTarget = {
  name: 'shard-configs',
  from: 'storage nodes that an indexer names',
  kind: 'json',
  corpus: [
    '{"shardId":0,"numShard":1}',
    '[{"shardId":1,"numShard":2},{"shardId":0,"numShard":2},{"shardId":3,"numShard":4}]',
  ],
  words: ['"shardId":', '"numShard":', '65536', '2', '4'],
  run: (input) =>
    withJson(input, (value) => {
      const items = Array.isArray(value) ? (value as unknown[]).slice(0, 64) : [value]
      const configs: { config: ReturnType<typeof parseShardConfig> }[] = []
      let word = 'none'
      for (const item of items) word = outcomeOf(() => configs.push({ config: parseShardConfig(item) }))
      const cover = selectCover(configs, 1, 'min')
      return `${word} ${cover === undefined ? 'no cover' : 'cover'}`
    }),
}

const random = (seed: number): Uint8Array => new Uint8Array(48).map((_, i) => (i * 31 + seed) & 0xff)
const plain = new TextEncoder().encode('sixteen bytes or some more of them')
const v1 = createEncryptor({ type: 'aes256', key }, random(1))
const publicKey = fromHex('0x0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798')
const v2 = createEncryptor({ type: 'ecies', recipientPublicKey: publicKey }, random(2))
const encryption: FuzzTarget = {
  name: 'encryption-headers',
  from: 'the first bytes of any object',
  kind: 'bytes',
  corpus: [concat([v1.header, v1.apply(plain, 0)]), concat([v2.header, v2.apply(plain, 0)]), v1.header, v2.header],
  run: (input) => {
    let header: ReturnType<typeof parseHeader> | undefined
    const word = outcomeOf(() => (header = parseHeader(input)))
    if (header === undefined) return word
    insist(
      header.sizeBytes <= input.length && header.sizeBytes === (header.version === 1 ? 17 : 50),
      'a header is inside',
    )
    // The shared point takes a millisecond.
    if (header.version === 2 && !isSample(input, 64)) return 'v2'
    let opened: Uint8Array | undefined
    const rest = input.subarray(header.sizeBytes)
    const keys = { symmetricKey: key, privateKey: key }
    const decrypted = outcomeOf(() => (opened = createDecryptor(header!, keys).apply(rest, 0)))
    if (opened !== undefined) insist(opened.length === rest.length, 'as many bytes come out')
    return `v${header.version} ${decrypted}`
  },
}

const directoryText =
  '{"name":"/","type":"directory","entries":[{"name":"a","type":"file","hash":"0x' +
  'c3'.repeat(32) +
  '","size":7},{"name":"d","type":"directory","entries":[{"name":"b","type":"symbolic","link":"a"}]}]}'
const directoryHead = keccak256(new TextEncoder().encode('0g-storage-client-dir-codec'))
const directories: FuzzTarget = {
  name: 'directories',
  from: 'any object that is read as a directory',
  kind: 'bytes',
  corpus: [1, 2].map((version) =>
    concat([directoryHead, Uint8Array.of(0, version), new TextEncoder().encode(directoryText)]),
  ),
  words: ['"roots":[', '"entries":[', '"type":"file"', '"type":"directory"', '"size":1e99', 'null', '{}'],
  run: (input) => {
    const top = parseDirectory(input)
    if (top === undefined) return 'none'
    insist(input.length > 34, 'a head comes first')
    if (top.type !== 'directory') return top.type
    for (const entry of entriesOf(top)) {
      insist(entry.type !== 'file' || (entry.sizeBytes >= 0 && Number.isSafeInteger(entry.sizeBytes)), 'a size is one')
      const found = locateIn(top, [entry.name])
      insist(found === undefined || found.name === entry.name, 'a name leads to what has it')
    }
    return `directory of ${Math.min(entriesOf(top).length, 3)}`
  },
}

export const coreTargets: readonly FuzzTarget[] = [
  jsonRpc,
  uploadBody,
  base64,
  frames,
  proofs,
  receipts,
  ids,
  shards,
  encryption,
  directories,
]
export { uploadOf, rpcBody, object as largeObject, small as smallObject, receipt as goodReceipt, withJson, text }
