import * as fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runs } from '../../../sim/runs.ts'
import { type Anvil, startAnvil } from '../test/anvil.ts'
import { type Network, deployNetwork, send } from '../test/network.ts'
import { type FlowModel, createFlowModel, submissionOf } from '../test/submissions.ts'
import { flowSelectors } from './flow.ts'

let chain: Anvil
let network: Network
let model: FlowModel
beforeAll(async () => {
  chain = await startAnvil()
  network = await deployNetwork(chain, { pricePerSector: 0n })
  model = createFlowModel()
})
afterAll(() => chain[Symbol.asyncDispose]())

/** Heights that fall strictly by less than four in all, as the rules demand: from single chunks to 4 GiB. Most are a little
 *  below a segment: only several nodes there can straddle a segment boundary, the one case in which the flow jumps. */
const shape = fc
  .tuple(
    fc.oneof(
      { weight: 3, arbitrary: fc.integer({ min: 6, max: 9 }) },
      { weight: 1, arbitrary: fc.integer({ min: 0, max: 24 }) },
    ),
    fc.subarray([1, 2, 3]),
  )
  .map(([first, steps]) => [first, ...steps.map((step) => first - step)].filter((height) => height >= 0))

// One flow for all runs: it only ever grows, so every run starts in a state that no earlier one has seen.
test('the frontier gives the positions and roots of the plain tree, whatever is appended', async () => {
  let seed = 0
  let index = 0n
  const property = fc.asyncProperty(fc.array(shape, { minLength: 1, maxLength: 12 }), async (shapes) => {
    const entries = shapes.map((heights) => submissionOf(heights, seed++))
    const receipt = await send(chain, network.call(chain.accounts[1]!, 'flow', flowSelectors.batchSubmitOld, [entries]))
    const starts = network
      .events(receipt)
      .filter(({ eventName }) => eventName === 'Submit')
      .map(({ args }) => args['startPos'])

    const expected = entries.map(({ nodes }) => ({ ...model.append(nodes), root: model.root() }))
    expect(starts).toEqual(expected.map(({ start }) => start))
    for (const { start, sectors } of expected) {
      if (sectors < 1024n)
        expect(start / 1024n, 'a small file straddles no segment').toBe((start + sectors - 1n) / 1024n)
      else expect(start % 1024n, 'a large file starts a segment').toBe(0n)
    }
    for (const { root } of expected) expect(await network.read('flow', 'getFlowRootByTxSeq', [index++])).toBe(root)
    expect(await network.read('flow', 'tree')).toEqual([model.length(), 0n])
    expect(await network.read('flow', 'computeFlowRoot')).toBe(model.root())
  })
  await fc.assert(property, { ...runs(0.5), endOnFailure: true })
})
