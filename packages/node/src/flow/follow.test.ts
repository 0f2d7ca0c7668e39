import { afterEach, describe, expect, test } from 'vitest'
import { createRpc } from '@weightless/sdk'
import { createChance } from '../../../../sim/chance.ts'
import { objectOf } from '../../../../sim/compliance/storageNode.ts'
import { createMemoryIndexStore } from '../../../../sim/memoryIndex.ts'
import { silentLogger } from '../../../../sim/silentLogger.ts'
import { CHAIN_ID, createTestChain, FLOW, REGISTRY, type TestChain } from '../../test/testChain.ts'
import { createTestClock, until } from '../../test/testClock.ts'
import { createChainReader } from './chainReader.ts'
import { createFollower, type Follower } from './follow.ts'
import {
  domainOf,
  isFailure,
  parseRoot,
  rootOfNodes,
  toHex,
  type Address,
  type Index,
  type Root,
} from '@weightless/core'

const submissions = Array.from({ length: 12 }, (_, i) => objectOf(200 + 300_000 * (i % 3), i).submission)
const rootOf = (root: Uint8Array): Root => parseRoot(toHex(root))
const overs: AbortController[] = []
afterEach(() => {
  for (const over of overs.splice(0)) over.abort(new Error('the test is over'))
})

type Running = {
  readonly follower: Follower
  readonly index: Index
  readonly ended: Promise<unknown>
  stop(): Promise<void>
}

function follow(
  chain: TestChain,
  options: { readonly index?: Index; readonly chainId?: number; readonly confirmations?: number } = {},
): Running {
  const over = new AbortController()
  overs.push(over)
  const clock = createTestClock()
  const index = options.index ?? createMemoryIndexStore(createChance(7)).open()
  const net = { fetch: (request: Request) => chain.handle(request) }
  const rpc = createRpc('http://chain.test/', { net, clock, random: { bytes: (size) => new Uint8Array(size) } })
  const follower = createFollower(
    {
      chainId: options.chainId ?? CHAIN_ID,
      flow: FLOW,
      registry: REGISTRY,
      startBlock: 0,
      confirmations: options.confirmations,
    },
    {
      rpc,
      reader: createChainReader({ flow: FLOW, registry: REGISTRY }, { rpc }),
      heads: chain.heads,
      index,
      clock,
      logger: silentLogger,
    },
  )
  const ended = follower.run({ signal: over.signal }).catch((error: unknown) => error)
  return {
    follower,
    index,
    ended,
    async stop() {
      over.abort(new Error('stopped'))
      await ended
    },
  }
}

const caughtUp = (chain: TestChain, follower: Follower): Promise<void> =>
  until(() => follower.isCaughtUp() && follower.head().number === chain.head)

describe('the chain follower', () => {
  test('reads all entries, old and new, in order and exactly once', async () => {
    const chain = createTestChain()
    chain.submit(...submissions.slice(0, 3))
    chain.advance(5)
    chain.submit(submissions[3]!)
    const { follower } = follow(chain)
    const seen: number[] = []
    follower.onCommit(({ entries }) => void seen.push(...entries.map((entry) => entry.seq)))
    await caughtUp(chain, follower)
    const [live] = chain.submit(submissions[4]!)
    await follower.waitForSeq(4, {})
    expect(seen).toEqual([0, 1, 2, 3, 4])
    expect(follower.entries.bySeq(4)).toEqual(live)
    expect(follower.nextSeq()).toBe(5)
    expect(follower.entries.list({ after: 1, limit: 2 }).map((entry) => entry.seq)).toEqual([2, 3])
    expect(follower.entries.byRoot(live!.root)).toEqual([live])
  })

  test('tells the newest block with its time once the log is read up to it, each once', async () => {
    const chain = createTestChain()
    chain.submit(...submissions.slice(0, 3))
    chain.advance(3000)
    const { follower } = follow(chain)
    const told: { readonly number: number; readonly timeS: number }[] = []
    follower.onHead((head) => void told.push(head))
    follower.onCommit(({ head }) => {
      if (head.number < 3000) expect(told).toEqual([])
    })
    await caughtUp(chain, follower)
    await until(() => told.length === 1)
    chain.advance(1)
    await until(() => told.length === 2)
    expect(told).toEqual([3001, 3002].map((number) => ({ number, timeS: chain.timeAt(number) })))
  })

  test('asks nothing for a block whose logs came with it', async () => {
    const chain = createTestChain()
    chain.submit(submissions[0]!)
    const { follower } = follow(chain)
    await caughtUp(chain, follower)
    chain.tellsLogs = true
    chain.calls.clear()
    for (let i = 1; i <= 3; i++) {
      const [entry] = chain.submit(submissions[i]!)
      await follower.waitForSeq(i, {})
      expect(follower.entries.bySeq(i)).toEqual(entry)
      chain.advance(2)
      await caughtUp(chain, follower)
    }
    expect(chain.calls.get('eth_getLogs') ?? []).toEqual([])
  })

  test('asks for what is missing in the logs that came with a block', async () => {
    const chain = createTestChain()
    chain.submit(submissions[0]!)
    const { follower } = follow(chain)
    await caughtUp(chain, follower)
    chain.tellsLogs = true
    chain.hiddenSeqs.add(1)
    chain.submit(submissions[1]!)
    await caughtUp(chain, follower)
    expect(follower.nextSeq()).toBe(1)
    chain.hiddenSeqs.clear()
    chain.submit(submissions[2]!)
    await follower.waitForSeq(2, {})
    expect(follower.entries.list({ after: -1, limit: 10 }).map((entry) => entry.seq)).toEqual([0, 1, 2])
  })

  test('asks for pages of at most 1000 blocks and catches up over thousands of them', async () => {
    const chain = createTestChain()
    chain.submit(submissions[0]!)
    chain.advance(3500)
    chain.submit(submissions[1]!)
    const { follower } = follow(chain)
    await caughtUp(chain, follower)
    expect(follower.nextSeq()).toBe(2)
    const spans = chain.calls.get('eth_getLogs')!.map(([filter]) => {
      const { fromBlock, toBlock } = filter as { fromBlock: string; toBlock: string }
      return [Number(fromBlock), Number(toBlock)] as const
    })
    expect(Math.max(...spans.map(([from, to]) => to - from + 1))).toBe(1000)
    // Without a hole between them, and the last few blocks before a page asked for once more.
    spans.reduce((end, [from, to]) => {
      expect(from).toBeLessThanOrEqual(end + 1)
      expect(from).toBeGreaterThanOrEqual(end + 1 - 16)
      return to
    }, -1)
  })

  test('halves a page that the endpoint refuses as too large, and remembers how large one may be', async () => {
    const chain = createTestChain()
    chain.advance(2_000)
    chain.submit(submissions[0]!)
    let refusedCount = 0
    chain.fault = (method, [filter]) => {
      if (method !== 'eth_getLogs' || Number(filter.toBlock) - Number(filter.fromBlock) < 100) return undefined
      refusedCount += 1
      return Response.json({
        jsonrpc: '2.0',
        id: 1,
        error: { code: -32602, message: 'query returned more than 10000 results' },
      })
    }
    const { follower } = follow(chain)
    await caughtUp(chain, follower)
    expect(follower.nextSeq()).toBe(1)
    // 21 pages of less than 100 blocks: a guess each time would be refused more often than it is answered.
    expect(refusedCount).toBeLessThan(20)
  })

  test('a restart goes on where the index ends and does not read the rest again', async () => {
    const chain = createTestChain()
    const store = createMemoryIndexStore(createChance(3))
    chain.submit(...submissions.slice(0, 2))
    chain.advance(30)
    chain.submit(submissions[3]!)
    const first = follow(chain, { index: store.open() })
    await caughtUp(chain, first.follower)
    await first.stop()
    chain.advance(2)
    chain.submit(submissions[2]!)
    chain.calls.clear()
    const second = follow(chain, { index: store.open() })
    expect(second.follower.nextSeq()).toBe(3)
    await caughtUp(chain, second.follower)
    expect(second.follower.entries.list({ after: -1, limit: 10 }).map((entry) => entry.seq)).toEqual([0, 1, 2, 3])
    const [[filter]] = chain.calls.get('eth_getLogs')! as [[{ fromBlock: string }]]
    expect(Number(filter.fromBlock)).toBeGreaterThanOrEqual(32 + 1 - 16)
    const last = second.follower.entries.bySeq(3)!
    expect(second.follower.flow.context().lengthChunks).toBe(last.startChunk + last.paddedChunkCount)
  })

  test('a submission that the endpoint hid is found by reading again from the last good block', async () => {
    const chain = createTestChain()
    chain.submit(submissions[0]!)
    const { follower } = follow(chain)
    await caughtUp(chain, follower)
    // The endpoint answers with nothing for a while: the cursor passes a block that had a submission.
    chain.fault = (method) => (method === 'eth_getLogs' ? [] : undefined)
    chain.submit(submissions[1]!)
    await caughtUp(chain, follower)
    expect(follower.nextSeq()).toBe(1)
    chain.fault = undefined
    chain.submit(submissions[2]!)
    await follower.waitForSeq(2, {})
    expect(follower.entries.list({ after: -1, limit: 10 }).map((entry) => entry.seq)).toEqual([0, 1, 2])
  })

  test('a submission that stays hidden ends the follower with FLOW_GAP', async () => {
    const chain = createTestChain()
    chain.submit(submissions[0]!)
    chain.submit(submissions[1]!)
    chain.hiddenSeqs.add(0)
    const { ended } = follow(chain)
    expect(await ended).toSatisfy((error) => isFailure(error, 'FLOW_GAP'))
  })

  test('a contract that computed another flow root is fatal', async () => {
    const chain = createTestChain()
    for (let i = 0; i < 10; i++) chain.submit(...Array.from({ length: 50 }, () => submissions[0]!))
    chain.fault = (method, [call]) => (method === 'eth_call' && call.to === FLOW ? `0x${'ab'.repeat(32)}` : undefined)
    const { ended, follower } = follow(chain)
    expect(await ended).toSatisfy((error) => isFailure(error, 'FLOW_MISMATCH'))
    // Nothing of the page that could not be checked was kept.
    expect(follower.nextSeq()).toBe(0)
  })

  test('the flow root is compared every 500 submissions', async () => {
    const chain = createTestChain()
    for (let i = 0; i < 21; i++) chain.submit(...Array.from({ length: 50 }, () => submissions[0]!))
    const { follower } = follow(chain)
    await follower.waitForSeq(1049, {})
    expect(chain.calls.get('eth_call')).toHaveLength(2)
  })

  test('another chain than the configured one is refused before anything was followed', async () => {
    expect(await follow(createTestChain(), { chainId: 1 }).ended).toSatisfy((error) =>
      isFailure(error, 'CHAIN_ID_MISMATCH'),
    )
  })

  test('an endpoint that is away is asked again until it answers', async () => {
    const chain = createTestChain()
    let failures = 20
    chain.fault = () => (failures-- > 0 ? new Response('', { status: 503 }) : undefined)
    chain.submit(submissions[0]!)
    const { follower } = follow(chain)
    await caughtUp(chain, follower)
    expect(follower.nextSeq()).toBe(1)
  })

  test('membership is the fold of the registry events, at any version', async () => {
    const chain = createTestChain()
    const member = (id: number, weight = 10n) => ({
      id,
      signer: `0x${String(id).padStart(40, '0')}` as Address,
      endpoint: `http://node-${id}.test`,
      domain: domainOf(`rack ${id}`),
      weight,
    })
    chain.change({ id: 2, member: member(2) }, { id: 1, member: member(1) })
    chain.advance(3)
    chain.change({ id: 2, member: undefined })
    chain.change({ id: 1, member: member(1, 20n) })
    const { follower } = follow(chain)
    await caughtUp(chain, follower)
    expect(follower.membership.current()).toEqual({ version: 4, members: [member(1, 20n)] })
    expect(follower.membership.at(2)).toEqual({ version: 2, members: [member(1), member(2)] })
    expect([0, 1, 4, 5, 6].map((block) => follower.membership.versionAtBlock(block))).toEqual([0, 2, 2, 3, 4])
    expect(follower.membership.activeSince(member(1).signer)).toBe(2)
    expect(follower.membership.activeSince(member(2).signer)).toBeUndefined()
    chain.change({ id: 2, member: member(2) })
    await caughtUp(chain, follower)
    expect(follower.membership.activeSince(member(2).signer)).toBe(5)
  })

  test('membership events that do not add up to the hash of the registry are fatal', async () => {
    const chain = createTestChain()
    chain.change({
      id: 1,
      member: {
        id: 1,
        signer: `0x${'01'.repeat(20)}` as Address,
        endpoint: 'http://a.test',
        domain: domainOf('a'),
        weight: 1n,
      },
    })
    chain.fault = (method, [call]) =>
      method === 'eth_call' && call.to === REGISTRY ? `0x${'ab'.repeat(32)}` : undefined
    expect(await follow(chain).ended).toSatisfy((error) => isFailure(error, 'MEMBERSHIP_MISMATCH'))
  })

  test('a finalised entry that is taken back, then comes again under another number, with a file before it', async () => {
    const chain = createTestChain()
    chain.submit(submissions[0]!)
    const { follower } = follow(chain)
    await caughtUp(chain, follower)
    chain.submit(submissions[1]!)
    chain.submit(submissions[2]!)
    await caughtUp(chain, follower)
    const commits: { removed: number[]; added: number[] }[] = []
    follower.onCommit(({ removed, entries }) =>
      commits.push({ removed: removed.map((entry) => entry.seq), added: entries.map((entry) => entry.seq) }),
    )
    chain.rewind(1)
    const [other] = chain.submit(submissions[3]!)
    const [again] = chain.submit(submissions[1]!)
    chain.advance(2)
    await until(() => follower.isCaughtUp() && follower.head().hash === chain.hashAt(chain.head))
    expect(commits.filter(({ removed }) => removed.length > 0)).toEqual([{ removed: [1, 2], added: [] }])
    expect(follower.entries.list({ after: -1, limit: 10 }).map((entry) => entry.root)).toEqual(
      [submissions[0]!, submissions[3]!, submissions[1]!].map((submission) => rootOf(rootOfNodes(submission.nodes))),
    )
    expect(follower.entries.byRoot(again!.root)).toEqual([again])
    expect(follower.entries.byRoot(rootOf(rootOfNodes(submissions[2]!.nodes)))).toEqual([])
    expect(follower.entries.atChunk(other!.startChunk)).toEqual(other)
  })

  test('a chain that goes back and stays there is followed back, an endpoint that lags is not', async () => {
    const chain = createTestChain()
    chain.submit(submissions[0]!)
    chain.advance(3)
    const { follower } = follow(chain)
    await caughtUp(chain, follower)
    const before = follower.head()
    // It says for a while that the newest block is an older one, then goes on.
    chain.rewind(2)
    const lagging = chain.head
    await until(() => follower.state().kind === 'delayed', 'it waits')
    expect([lagging, follower.head()]).toEqual([2, before])
    await until(() => follower.head().number === 2 && follower.isCaughtUp(), 'it goes back')
    expect(follower.nextSeq()).toBe(1)
  })

  test('a reorganisation deeper than the limit halts the follower and leaves the log as it is', async () => {
    const chain = createTestChain()
    chain.submit(submissions[0]!)
    chain.advance(1_100)
    const { follower, ended } = follow(chain)
    await caughtUp(chain, follower)
    const before = [follower.head(), follower.nextSeq()]
    chain.rewind(0)
    chain.advance(1_200)
    await until(() => follower.state().kind === 'halted', 'it halts')
    expect(follower.state()).toMatchObject({ failure: { code: 'REORG_TOO_DEEP', facts: { blocksMax: 1024 } } })
    expect([follower.head(), follower.nextSeq(), follower.isCaughtUp()]).toEqual([...before, false])
    expect(await Promise.race([ended, Promise.resolve('runs')])).toBe('runs')
  })

  test('another chain behind a known directory halts the follower until the right one is back', async () => {
    const chain = createTestChain()
    const store = createMemoryIndexStore(createChance(3))
    chain.submit(submissions[0]!)
    const first = follow(chain, { index: store.open() })
    await caughtUp(chain, first.follower)
    await first.stop()
    const genesis = chain.hashAt(0)!
    chain.replaceGenesis()
    const { follower } = follow(chain, { index: store.open() })
    await until(() => follower.state().kind === 'halted', 'it halts')
    expect(follower.state()).toMatchObject({ failure: { code: 'CHAIN_CHANGED', facts: { expectedHash: genesis } } })
    expect(follower.nextSeq()).toBe(1)
    chain.replaceGenesis(genesis)
    chain.submit(submissions[1]!)
    await caughtUp(chain, follower)
    expect(follower.state()).toEqual({ kind: 'following' })
  })

  test('a chain that is away before the first head, and later, is said to be away', async () => {
    const chain = createTestChain()
    chain.fault = () => new Response('', { status: 503 })
    const { follower } = follow(chain)
    const away = { kind: 'delayed', failure: { code: 'RPC_UNREACHABLE' } }
    await until(() => follower.state().kind === 'delayed', 'it is away at the start')
    expect(follower.state()).toMatchObject(away)
    chain.fault = undefined
    await caughtUp(chain, follower)
    // Nothing new comes from a dead chain: the follower asks by itself.
    chain.fault = () => new Response('', { status: 503 })
    await until(() => follower.state().kind === 'delayed', 'it is away later')
    expect(follower.state()).toMatchObject(away)
    expect(follower.isCaughtUp()).toBe(false)
    chain.fault = undefined
    await until(() => follower.state().kind === 'following', 'it is back')
  })

  test('with confirmations it stays that many blocks behind the newest one', async () => {
    const chain = createTestChain()
    chain.submit(submissions[0]!)
    chain.advance(2)
    chain.submit(submissions[1]!)
    const { follower } = follow(chain, { confirmations: 3 })
    await until(() => follower.isCaughtUp() && follower.head().number === 1)
    expect(follower.nextSeq()).toBe(1)
    chain.advance(3)
    await until(() => follower.head().number === 4)
    expect(follower.nextSeq()).toBe(2)
  })

  test('a wait for an entry ends with its signal', async () => {
    const chain = createTestChain()
    const { follower } = follow(chain)
    const over = new AbortController()
    const waiting = follower.waitForSeq(5, { signal: over.signal })
    over.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
  })

  test('the flow tree of the follower has the root of the contract after each submission', async () => {
    const chain = createTestChain()
    const { follower } = follow(chain)
    const roots: string[] = []
    follower.onCommit(({ entries }) => {
      if (entries.length > 0) roots.push(toHex(follower.flow.context().root))
    })
    for (const [i, submission] of submissions.entries()) {
      chain.submit(submission)
      await follower.waitForSeq(i, {})
    }
    expect(new Set(roots).size).toBe(submissions.length)
    const last = follower.entries.bySeq(3)!
    // An old root is found again, and gives the length that the flow had then.
    expect(follower.flow.lengthOfRoot(roots[3] as never)).toBe(last.startChunk + last.paddedChunkCount)
  })
})
