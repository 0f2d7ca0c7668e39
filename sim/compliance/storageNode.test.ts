import { submissionLog } from '../fakes/chain.ts'
import { createFakeStorageNode } from '../fakes/storageNode.ts'
import { storageNodeCompliance } from './storageNode.ts'

storageNodeCompliance('in memory', async () => {
  const chainId = 31337
  const flow = `0x${'f0'.repeat(20)}` as never
  const registry = `0x${'12'.repeat(20)}` as never
  const node = createFakeStorageNode({ privateKey: new Uint8Array(32).fill(7), chainId, flow, registry })
  const chain = submissionLog(flow)
  return {
    url: 'http://node.test/',
    net: { fetch: (request) => node.handle(request) },
    chainId,
    flow,
    registry,
    signer: node.signer,
    submit: async (submission) => {
      const entry = chain.append(submission)
      node.learn(entry)
      return entry
    },
    [Symbol.asyncDispose]: async () => undefined,
  }
})
