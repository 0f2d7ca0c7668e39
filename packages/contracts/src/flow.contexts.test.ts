import { type Hex, encodeAbiParameters, keccak256, numberToHex } from 'viem'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Anvil, startAnvil } from '../test/anvil.ts'
import { type Network, advance, attempt, blockNumber, deployNetwork, send, simulate } from '../test/network.ts'
import { EMPTY_HASH, ZERO_HASH, submissionOf } from '../test/submissions.ts'
import { flowSelectors } from './flow.ts'

const BLOCKS_PER_EPOCH = 20n
/** EIP-2935 serves the hashes of this many blocks. */
const WINDOW = 8191n

let chain: Anvil
let network: Network
let firstBlock: bigint
beforeAll(async () => {
  chain = await startAnvil()
})
afterAll(() => chain[Symbol.asyncDispose]())

async function deploy(blocksPerEpoch = BLOCKS_PER_EPOCH, on = chain): Promise<void> {
  network = await deployNetwork(on, { blocksPerEpoch, pricePerSector: 0n })
  firstBlock = await network.read('flow', 'firstBlock')
}

const me = () => network.chain.accounts[1]!
const submit = (heights: readonly number[], seed = 0) =>
  send(network.chain, network.call(me(), 'flow', flowSelectors.submitOld, [submissionOf(heights, seed)]))
const poke = (functionName = 'makeContext', args: readonly unknown[] = []) =>
  send(network.chain, network.call(me(), 'flow', functionName, args))
const context = () => network.read<Context>('flow', 'getContext')
const mineTo = async (number: bigint) =>
  advance(network.chain, { blocks: Number(number - (await blockNumber(network.chain))) })
const digestOf = (blockDigest: Hex, root: Hex, length: bigint) =>
  keccak256(
    encodeAbiParameters([{ type: 'bytes32' }, { type: 'bytes32' }, { type: 'uint256' }], [blockDigest, root, length]),
  )
const hashOfBlock = async (number: bigint) =>
  ((await network.chain.rpc('eth_getBlockByNumber', [numberToHex(number), false])) as { hash: Hex }).hash

describe('epochs', () => {
  beforeAll(() => deploy())

  test('the first context is epoch 0 of an empty flow, which cannot be mined', async () => {
    expect(await context()).toEqual({
      epoch: 0n,
      mineStart: 0n,
      flowRoot: ZERO_HASH,
      flowLength: 1n,
      blockDigest: EMPTY_HASH,
      digest: EMPTY_HASH,
    })
    expect(await network.read('flow', 'epoch')).toBe(0n)
    expect(await network.read('flow', 'epochStartPosition')).toBe(0n)
    expect(await network.read('flow', 'blocksPerEpoch')).toBe(BLOCKS_PER_EPOCH)
  })

  test('an epoch closes one block after its last one, by whoever comes first, with the tree as it was', async () => {
    await submit([3, 1])
    const end = firstBlock + BLOCKS_PER_EPOCH
    const root = await network.read<Hex>('flow', 'computeFlowRoot')
    const [length] = await network.read<[bigint]>('flow', 'tree')
    await mineTo(end - 1n)
    await poke()
    expect(await network.read('flow', 'epoch')).toBe(0n)

    const receipt = await submit([4])
    expect(receipt.blockNumber).toBe(end + 1n)
    const blockDigest = await hashOfBlock(end)
    const digest = digestOf(blockDigest, root, length)
    expect(await context()).toEqual({
      epoch: 1n,
      mineStart: end,
      flowRoot: root,
      flowLength: length,
      blockDigest,
      digest,
    })

    const names = network.events(receipt).map(({ eventName }) => eventName)
    expect(names.indexOf('NewEpoch')).toBeLessThan(names.indexOf('Submit'))
    const event = network.events(receipt).find(({ eventName }) => eventName === 'NewEpoch')!
    expect(event.args).toMatchObject({
      index: 1n,
      startMerkleRoot: root,
      submissionIndex: 1n,
      flowLength: length,
      context: digest,
    })

    expect(await network.read('flow', 'getEpochRange', [digest])).toEqual({ start: 0n, end: length })
    expect(await network.read('flow', 'getEpochRangeHistory', [0n])).toEqual({ start: 0n, end: length, digest })
    expect(await network.read('flow', 'epochStartPosition')).toBe(length)
    expect(await network.read('digestHistory', 'at', [0n])).toBe(root)
    expect(await network.read('digestHistory', 'contains', [root])).toBe(true)
    expect(await network.read('digestHistory', 'contains', [digest])).toBe(false)
    expect(await network.read('flow', 'rootHistory')).toBe(network.addresses.digestHistory)
  })

  test('ranges follow one another without a gap, and a position names the epoch that covers it', async () => {
    const lengths: bigint[] = []
    for (const seed of [1, 2, 3]) {
      await submit([seed + 2], seed)
      lengths.push((await network.read<[bigint]>('flow', 'tree'))[0])
      await mineTo(firstBlock + BLOCKS_PER_EPOCH * BigInt(seed + 1))
      await poke()
    }
    const ranges = await Promise.all(
      [0n, 1n, 2n, 3n].map((i) => network.read<Range>('flow', 'getEpochRangeHistory', [i])),
    )
    expect(ranges.map(({ start }) => start)).toEqual([0n, ...ranges.slice(0, 3).map(({ end }) => end)])
    expect(ranges.slice(1).map(({ end }) => end)).toEqual(lengths)
    for (const range of ranges) {
      for (const position of [range.start, range.end - 1n]) {
        expect(await network.read('flow', 'queryContextAtPosition', [position])).toEqual(range)
      }
    }
    const beyond = await attempt(chain, network.call(me(), 'flow', 'queryContextAtPosition', [lengths[2]!]))
    expect(beyond).toMatchObject({ ok: false, error: 'PositionNotCovered' })
  })

  test('an epoch without submissions has an empty range and a context of its own', async () => {
    const before = await context()
    await mineTo(firstBlock + BLOCKS_PER_EPOCH * (before.epoch + 1n))
    await poke()
    const after = await context()
    expect(after).toMatchObject({ epoch: before.epoch + 1n, flowRoot: before.flowRoot, flowLength: before.flowLength })
    expect(after.digest).not.toBe(before.digest)
    const { start, end } = await network.read<Range>('flow', 'getEpochRange', [after.digest])
    expect(start).toBe(end)
  })

  test('makeContextWithResult answers an eth_call with the context of that block', async () => {
    const { epoch } = await context()
    const number = firstBlock + BLOCKS_PER_EPOCH * (epoch + 3n) + 1n
    const call = network.call(me(), 'flow', 'makeContextWithResult')
    const [data] = await simulate(chain, number, [call])
    expect(network.decode<Context>('flow', 'makeContextWithResult', data!).epoch).toBe(epoch + 3n)
    expect((await context()).epoch).toBe(epoch)
  })
})

describe('bounds', () => {
  beforeAll(async () => {
    await deploy(1n)
    await advance(chain, { blocks: 230 })
  })

  test('makeContextFixedTimes closes cnt + 1 epochs', async () => {
    await poke('makeContextFixedTimes', [0n])
    expect((await context()).epoch).toBe(1n)
    await poke('makeContextFixedTimes', [2n])
    expect((await context()).epoch).toBe(4n)
  })

  test('a submission closes two epochs at most and leaves the rest', async () => {
    await submit([0])
    expect((await context()).epoch).toBe(6n)
    expect(await network.read('flow', 'numSubmissions')).toBe(1n)
  })

  test('makeContextFixedTimes of the largest number closes 100 and ends', async () => {
    await poke('makeContextFixedTimes', [2n ** 256n - 1n])
    expect((await context()).epoch).toBe(106n)
  })

  test('makeContext closes 100 in a third of a block, and a few calls catch up with any wait', async () => {
    const receipt = await poke()
    expect((await context()).epoch).toBe(206n)
    expect(receipt.gasUsed).toBeLessThan(13_000_000n)
    await poke()
    const { epoch, mineStart } = await context()
    expect(mineStart).toBe((await blockNumber(chain)) - 1n)
    expect(epoch).toBe(mineStart - firstBlock)
  })

  test('the root history is a ring: index 0 is readable, an index to come is not', async () => {
    expect(await network.read('digestHistory', 'available', [0n])).toBe(true)
    const call = network.call(me(), 'digestHistory', 'at', [10_000n])
    expect(await attempt(chain, call)).toMatchObject({ ok: false, error: 'UnavailableIndex', args: [10_000n] })
    const stranger = network.call(me(), 'digestHistory', 'insert', [ZERO_HASH])
    expect(await attempt(chain, stranger)).toMatchObject({ ok: false, error: 'OwnableUnauthorizedAccount' })
  })
})

describe('audit 4.3: nobody touches the flow for N blocks', () => {
  beforeAll(async () => {
    await deploy()
    await submit([5])
    await mineTo(firstBlock + BLOCKS_PER_EPOCH + 1n)
  })

  const closeOneAt = async (number: bigint) => {
    const calls = [
      network.call(me(), 'flow', 'makeContextFixedTimes', [0n]),
      network.call(me(), 'flow', 'getContext'),
      network.call(me(), 'flow', 'epochStartPosition'),
    ]
    const [, data, start] = await simulate(chain, number, calls)
    return { ...network.decode<Context>('flow', 'getContext', data!), start: BigInt(start!) }
  }

  test.each([1n, 256n, 257n, 4000n, WINDOW])('after %d blocks the epoch is as mineable as at once', async (blocks) => {
    const end = firstBlock + BLOCKS_PER_EPOCH
    const blockDigest = await hashOfBlock(end)
    const closed = await closeOneAt(end + blocks)
    expect(closed).toMatchObject({ epoch: 1n, mineStart: end, blockDigest, start: closed.flowLength })
    expect(closed.digest).toBe(digestOf(blockDigest, closed.flowRoot, closed.flowLength))
  })

  test.each([WINDOW + 1n, 100_000n])(
    'after %d blocks it has no digest and its data joins the next epoch',
    async (blocks) => {
      const end = firstBlock + BLOCKS_PER_EPOCH
      const closed = await closeOneAt(end + blocks)
      expect(closed).toMatchObject({
        epoch: 1n,
        mineStart: end,
        blockDigest: EMPTY_HASH,
        digest: EMPTY_HASH,
        start: 0n,
      })
    },
  )
})

describe('on a chain without EIP-2935', () => {
  test('an epoch older than 256 blocks has no digest instead of a predictable one, and its data joins the next', async () => {
    await using old = await startAnvil({ hardfork: 'cancun' })
    await deploy(BLOCKS_PER_EPOCH, old)
    await submit([5])
    const [length] = await network.read<[bigint]>('flow', 'tree')
    await mineTo(firstBlock + 15n * BLOCKS_PER_EPOCH)
    await poke()

    const { epoch, digest } = await context()
    expect(epoch).toBe(15n)
    expect(digest).not.toBe(EMPTY_HASH)
    // Of the blocks at 20, 40, … 300 behind the first one, those from 60 on are among the last 256.
    const first = await network.read<Range>('flow', 'getEpochRangeHistory', [0n])
    expect(first).toMatchObject({ start: 0n, end: length })
    const blockDigest = await hashOfBlock(firstBlock + 3n * BLOCKS_PER_EPOCH)
    const root = await network.read<Hex>('flow', 'computeFlowRoot')
    expect(first.digest).toBe(digestOf(blockDigest, root, length))
  })
})

type Context = {
  readonly epoch: bigint
  readonly mineStart: bigint
  readonly flowRoot: Hex
  readonly flowLength: bigint
  readonly blockDigest: Hex
  readonly digest: Hex
}
type Range = { readonly start: bigint; readonly end: bigint; readonly digest: Hex }
