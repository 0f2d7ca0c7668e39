import { describe, expect, test } from 'vitest'
import type { Plan } from './faults.ts'
import { ackBeforeSync, everythingStops, indexBeforeData, waitForEver, type Planted } from './planted.ts'
import { runWorld } from './world.ts'

// Each defect is caught in the very worlds that hold without it: the same seeds, the same faults. Whether one seed shows it hangs on
// every step of the product, so there are a few.

const SEEDS = [4, 5, 6, 7]

async function violationsOf(planted: Planted | undefined, replan: (plan: Plan) => Plan): Promise<readonly string[]> {
  const found: string[] = []
  for (const seed of SEEDS) {
    const { violations } = await runWorld({ seed, planted, replan })
    found.push(...violations)
    if (planted !== undefined && found.length > 0) break
  }
  return found
}

const isBrokenPromise = (line: string): boolean => /^(lost|wrong bytes|liveness): /.test(line)

describe('the simulator catches', () => {
  test('ack before sync', async () => {
    const powerFails = everythingStops('power')
    expect(await violationsOf(undefined, powerFails)).toEqual([])
    expect(await violationsOf(ackBeforeSync(), powerFails)).toSatisfy((lines: string[]) => lines.some(isBrokenPromise))
  })

  test('index before data', async () => {
    const allAreKilled = everythingStops('process')
    expect(await violationsOf(undefined, allAreKilled)).toEqual([])
    expect(await violationsOf(indexBeforeData(), allAreKilled)).toSatisfy((lines: string[]) =>
      lines.some(isBrokenPromise),
    )
  })

  test('wait for ever', async () => {
    const isLossy = (plan: Plan): Plan => ({ ...plan, net: { ...plan.net, loss: 0.2 } })
    expect(await violationsOf(undefined, isLossy)).toEqual([])
    expect(await violationsOf(waitForEver(), isLossy)).toSatisfy((lines: string[]) =>
      lines.some((line) => line.startsWith('waits for ever: ')),
    )
  })
})
