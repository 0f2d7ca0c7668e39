import { identityOf, paddedChunkCountOf, toHex, type Hex } from '@weightless/core'
import type { Rpc } from '@weightless/sdk'
import { expect, test } from 'vitest'
import { objectOf } from '../../../../sim/compliance/storageNode.ts'
import { submitLog } from '../../../../sim/fakes/chain.ts'
import { FLOW, REGISTRY } from '../../test/testChain.ts'
import { createChainReader } from './chainReader.ts'

const of = (byte: string): Hex => `0x${byte.repeat(32)}`

test('a log that comes again is not decoded again, and one that differs in anything is', () => {
  const { sizeBytes, nodes } = objectOf(700, 1).submission
  const data = {
    length: BigInt(sizeBytes),
    tags: '0x' as Hex,
    nodes: nodes.map(({ root, height }) => ({ root: toHex(root), height: BigInt(height) })),
  }
  const log = submitLog({
    flow: FLOW,
    submitter: FLOW,
    data,
    identity: toHex(identityOf(nodes)),
    seq: 3,
    startChunk: 0,
    sectors: paddedChunkCountOf(nodes),
    blockNumber: 5,
    blockHash: of('b1'),
    txHash: of('a1'),
    logIndex: 0,
  })
  const reader = createChainReader({ flow: FLOW, registry: REGISTRY }, { rpc: {} as Rpc })
  const first = reader.decode(log)
  expect(first).toMatchObject({ entry: { seq: 3, blockNumber: 5 } })
  expect(reader.decode({ ...log })).toBe(first)
  expect(reader.decode({ ...log, blockHash: of('b2') })).toMatchObject({ entry: { blockHash: of('b2') } })
  expect(reader.decode({ ...log, transactionHash: of('a2') })).toMatchObject({ entry: { txHash: of('a2') } })
  expect(reader.decode({ ...log, blockNumber: '0x6' })).toMatchObject({ entry: { blockNumber: 6 } })
  const refused = expect.objectContaining({ code: 'LOG_INVALID' })
  expect(() => reader.decode({ ...log, removed: true })).toThrow(refused)
  expect(() => reader.decode({ ...log, data: '0x' })).toThrow(refused)
})
