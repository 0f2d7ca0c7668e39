import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { toHex, type Address, type Index, type IndexChange } from '@weightless/core'
import { createRpc } from '@weightless/sdk'
import { createChance, type Chance } from '../../../../sim/chance.ts'
import { objectOf } from '../../../../sim/compliance/storageNode.ts'
import { createMemoryIndexStore } from '../../../../sim/memoryIndex.ts'
import { runs } from '../../../../sim/runs.ts'
import { silentLogger } from '../../../../sim/silentLogger.ts'
import { CHAIN_ID, createTestChain, FLOW, REGISTRY, type TestChain } from '../../test/testChain.ts'
import { memberOf } from '../../test/testRoles.ts'
import { createTestClock, until } from '../../test/testClock.ts'
import { createChainReader } from './chainReader.ts'
import { createFollower, type Follower } from './follow.ts'

const SIZES = [1, 300, 70_000, 300_000]
const submissions = Array.from({ length: 24 }, (_, i) => objectOf(SIZES[i % SIZES.length]!, i).submission)

/** What a chain does between two looks of its followers. */
type Step =
  | { readonly do: 'submit'; readonly which: readonly number[] }
  | { readonly do: 'advance'; readonly count: number }
  | { readonly do: 'member'; readonly id: number; readonly isIn: boolean }
  | { readonly do: 'rewind'; readonly depth: number; readonly grow: number }
  | { readonly do: 'look' }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .array(fc.nat(submissions.length - 1), { minLength: 1, maxLength: 4 })
      .map((which) => ({ do: 'submit' as const, which })),
  },
  { weight: 2, arbitrary: fc.integer({ min: 1, max: 90 }).map((count) => ({ do: 'advance' as const, count })) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('member' as const),
      id: fc.integer({ min: 1, max: 3 }),
      isIn: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('rewind' as const),
      depth: fc.integer({ min: 1, max: 120 }),
      grow: fc.integer({ min: 0, max: 3 }),
    }),
  },
  { weight: 3, arbitrary: fc.constant({ do: 'look' as const }) },
)

function start(chain: TestChain, index: Index): { readonly follower: Follower; stop(): Promise<void> } {
  const over = new AbortController()
  const clock = createTestClock()
  const rpc = createRpc('http://chain.test/', {
    net: { fetch: (request) => chain.handle(request) },
    clock,
    random: { bytes: (size) => new Uint8Array(size) },
  })
  const follower = createFollower(
    { chainId: CHAIN_ID, flow: FLOW, registry: REGISTRY, startBlock: 0 },
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
    async stop() {
      over.abort(new Error('stopped'))
      const error = await ended
      if ((error as Error).message !== 'stopped') throw error
    },
  }
}

const isAt = (chain: TestChain, follower: Follower): boolean =>
  follower.isCaughtUp() && follower.head().hash === chain.hashAt(chain.head)

/** Everything that the log says, byte for byte: entries, their lookups, the flow tree, members. */
function logRows(index: Index): string[] {
  const rows: string[] = []
  for (const kind of ['e', 'r', 'a', 'f', 'm']) {
    const from = new TextEncoder().encode(kind)
    const to = Uint8Array.of(from[0]! + 1)
    for (const { key, value } of index.range({ from, to })) rows.push(`${kind} ${toHex(key)} ${toHex(value)}`)
  }
  return rows
}

function stateOf({ follower }: { readonly follower: Follower }): object {
  return {
    head: follower.head(),
    nextSeq: follower.nextSeq(),
    root: toHex(follower.flow.context().root),
    lengthChunks: follower.flow.context().lengthChunks,
    entries: follower.entries.list({ after: -1, limit: 1000 }),
    membership: follower.membership.current(),
    versions: Array.from({ length: 12 }, (_, i) => follower.membership.versionAtBlock(20 * i)),
  }
}

const member = (id: number) =>
  memberOf(id, { url: `http://node-${id}.test`, signer: `0x${String(id).repeat(40)}` as Address })

function take(chain: TestChain, one: Step, chance: Chance): void {
  switch (one.do) {
    case 'submit':
      chain.submit(...one.which.map((i) => submissions[i]!))
      break
    case 'advance':
      chain.advance(one.count)
      break
    case 'member':
      chain.change({ id: one.id, member: one.isIn ? member(one.id) : undefined })
      break
    case 'rewind': {
      chain.rewind(Math.max(0, chain.head - one.depth))
      // The other branch holds some of what was taken back, in another order, and something new.
      for (let i = 0; i < one.grow; i++) chain.submit(submissions[chance.below(submissions.length)]!)
      chain.advance(one.depth + 1)
      break
    }
    case 'look':
  }
}

type Life = {
  readonly steps: readonly Step[]
  readonly tellsLogs: boolean
  readonly seed: number
  readonly restarts: boolean
}
const lives = fc.record({
  steps: fc.array(step, { minLength: 3, maxLength: 16 }),
  tellsLogs: fc.boolean(),
  seed: fc.nat(1_000_000),
  restarts: fc.boolean(),
})

/** Lives through one history and compares with a follower that reads only the chain that is left. */
async function live(
  { steps, tellsLogs, seed, restarts }: Life,
  plant: (index: Index) => Index = (index) => index,
): Promise<void> {
  const chance = createChance(seed)
  const chain = createTestChain()
  chain.change({ id: 1, member: member(1) })
  chain.tellsLogs = tellsLogs
  const store = createMemoryIndexStore(chance)
  let index = plant(store.open())
  let running = start(chain, index)
  try {
    for (const one of steps) {
      take(chain, one, chance)
      if (one.do !== 'look') continue
      await until(() => isAt(chain, running.follower), 'the follower is there')
      if (!restarts) continue
      await running.stop()
      index = plant(store.open())
      running = start(chain, index)
    }
    chain.submit(submissions[0]!)
    await until(() => isAt(chain, running.follower), 'the follower is there at the end')
    const fresh = createMemoryIndexStore(createChance(1)).open()
    const refold = start(chain, fresh)
    try {
      await until(() => isAt(chain, refold.follower), 'the refold is there')
      expect(stateOf(running)).toEqual(stateOf(refold))
      expect(logRows(index)).toEqual(logRows(fresh))
    } finally {
      await refold.stop()
    }
  } finally {
    await running.stop()
  }
}

test('whatever is taken back and comes again, the log is that of a follower that saw only the chain that is left', async () => {
  await fc.assert(
    fc.asyncProperty(lives, (life) => live(life)),
    runs(0.6),
  )
}, 120_000)

test('this test has teeth: a follower that forgets to take something back is caught', async () => {
  const history: Life = {
    steps: [
      { do: 'submit', which: [3, 0, 2] },
      { do: 'submit', which: [1] },
      { do: 'look' },
      { do: 'rewind', depth: 2, grow: 1 },
      { do: 'look' },
    ],
    tellsLogs: false,
    seed: 5,
    restarts: false,
  }
  await live(history)
  // Rows of one kind stay when the log is taken back: each kind is missed.
  for (const kind of ['e', 'r', 'a', 'f']) {
    const forgetful = (index: Index): Index => ({
      ...index,
      transaction: (changes: readonly IndexChange[], options) =>
        index.transaction(
          changes.filter(({ key, value }) => value !== undefined || key[0] !== kind.charCodeAt(0)),
          options,
        ),
    })
    await expect(live(history, forgetful), `rows of kind ${kind}`).rejects.toThrow()
  }
}, 120_000)
