import { describe, expect, test } from 'vitest'
import { fuzz, insist, cpuMs, outcomeOf, type FuzzOptions, type FuzzTarget } from './engine.ts'
import { targets } from './targets.ts'

/** A few of each in the test command; a million each by `npm run fuzz` (docs/bench/fuzz.md). */
const INPUTS = 400
const SEED = 20_261_128

describe('parsers of outside bytes: no crash, no hang, no unbounded memory, no second reading', () => {
  test.each(targets.map((target) => [target.name, target] as const))('%s', async (_, target) => {
    const { finding, inputs, outcomes } = await fuzz(target, { inputs: INPUTS, seed: SEED })
    expect(finding && { ...finding, input: Buffer.from(finding.input).toString('base64') }).toBeUndefined()
    expect(inputs).toBe(INPUTS)
    // A target that says the same to everything has not been reached.
    expect(outcomes.size).toBeGreaterThan(1)
    await target.close?.()
  })
})

describe('the fuzzer has teeth: it finds', () => {
  const json = (run: (value: any) => unknown): FuzzTarget => ({
    name: 'planted',
    from: 'here',
    kind: 'json',
    corpus: ['{"name":"x","list":[1,2],"size":5}'],
    run: (input) => {
      let value: unknown
      try {
        value = JSON.parse(new TextDecoder().decode(input))
      } catch {
        return 'no JSON'
      }
      return outcomeOf(() => run(value))
    },
  })
  const findingOf = async (target: FuzzTarget, options: Partial<FuzzOptions> = {}): Promise<string> =>
    (await fuzz(target, { inputs: 20_000, seed: 1, ...options })).finding?.reason ?? 'nothing'

  test('a property of null', async () => {
    expect(await findingOf(json((value) => value.list?.[0].length))).toContain('TypeError')
  })

  test('recursion without a limit', async () => {
    const depth = (value: any): number =>
      typeof value === 'object' && value !== null ? 1 + Math.max(0, ...Object.values(value).map(depth)) : 0
    expect(await findingOf(json(depth))).toContain('Maximum call stack size exceeded')
  })

  test('a reader that disagrees with another', async () => {
    const reason = await findingOf(
      json((value) => {
        const text = typeof value?.size === 'string' ? value.size : ''
        insist(Number.isNaN(parseInt(text, 10)) === Number.isNaN(Number(text || 'x')), 'two readers, one number')
      }),
    )
    expect(reason).toContain('two readers, one number')
  })

  test('a hang', async () => {
    const inputMsMax = 200
    const slow: FuzzTarget = {
      name: 'planted',
      from: 'here',
      kind: 'text',
      corpus: ['a=1'],
      run: (input) => {
        const before = process.cpuUsage()
        while (!input.includes(0x3d) && cpuMs(before) <= inputMsMax);
        return 'ok'
      },
    }
    expect(await findingOf(slow, { inputMsMax })).toMatch(/^took \d+ ms$/)
  })
})
