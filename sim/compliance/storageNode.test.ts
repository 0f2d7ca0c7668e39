import { domainOf, type Member } from '@weightless/core'
import { submissionLog } from '../fakes/chain.ts'
import { createFakeStorageNode } from '../fakes/storageNode.ts'
import { storageNodeCompliance } from './storageNode.ts'
import { storageNodeShardCompliance, type ShardNodeHarness } from './storageNodeShards.ts'

storageNodeCompliance('in memory', fakeNode)
storageNodeShardCompliance('in memory', fakeNode)

async function fakeNode(): Promise<ShardNodeHarness> {
  const chainId = 31337
  const flow = `0x${'f0'.repeat(20)}` as never
  const registry = `0x${'12'.repeat(20)}` as never
  const members: Member[] = []
  const node = createFakeStorageNode({
    privateKey: new Uint8Array(32).fill(7),
    chainId,
    flow,
    registry,
    membersAt: (version) => (version === 1 ? members : undefined),
  })
  members.push({ id: 1, signer: node.signer, endpoint: 'http://node.test/', domain: domainOf('rack'), weight: 1n })
  const chain = submissionLog(flow)
  return {
    url: 'http://node.test/',
    net: { fetch: (request) => node.handle(request) },
    chainId,
    flow,
    registry,
    signer: node.signer,
    membership: { version: 1, members },
    submit: async (submission) => {
      const entry = chain.append(submission)
      node.learn(entry)
      return entry
    },
    [Symbol.asyncDispose]: async () => undefined,
  }
}
