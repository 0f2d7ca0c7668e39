import { spawn } from 'node:child_process'
import { resolve } from 'node:path'
import { expect, test } from 'vitest'
import { resultsOf, type Worker } from './jobs.ts'
import type { WorldResult } from './world.ts'

const top = resolve(import.meta.dirname, '..')
const SCRIPT_MS_MAX = 120_000

const jobs = [1, 2, 3, 4, 5].map((seed) => ({ seed, world: 'copies' as const, reorgDepthMax: 0 }))
const resultOf = (seed: number): WorldResult => ({
  seed,
  violations: [],
  hash: `hash of ${seed}`,
  eventCount: 1,
  virtualMs: 1,
  acks: 1,
  crashes: 0,
  faults: 0,
})

test('results come in the order of their seeds, whichever worker is first', async () => {
  const open: (() => void)[] = []
  let ended = 0
  const start = (): Worker => ({
    run: ({ seed }) => new Promise((done) => open.push(() => done(resultOf(seed)))),
    end: () => void (ended += 1),
  })
  const results = resultsOf(jobs, { workerCount: 2, start })
  const first = results.next()
  expect(open).toHaveLength(2)
  // The second job is done long before the first one.
  open.pop()!()
  await Promise.resolve()
  open.shift()!()
  const seeds = [(await first).value!.seed]
  const rest = (async () => {
    for await (const { seed } of results) seeds.push(seed)
  })()
  while (seeds.length < jobs.length) {
    await Promise.resolve()
    open.pop()?.()
  }
  await rest
  expect(seeds).toEqual([1, 2, 3, 4, 5])
  expect(ended).toBe(2)
})

test('a worker that ends is a violation of the seed that it had, and another one goes on', async () => {
  let started = 0
  const start = (): Worker => {
    started += 1
    return {
      run: async ({ seed }) => {
        if (seed === 2) throw new Error('SIGKILL')
        return resultOf(seed)
      },
      end: () => undefined,
    }
  }
  const results: WorldResult[] = []
  for await (const result of resultsOf(jobs, { workerCount: 1, start })) results.push(result)
  expect(results.map(({ seed }) => seed)).toEqual([1, 2, 3, 4, 5])
  expect(results.filter(({ violations }) => violations.length > 0)).toEqual([
    expect.objectContaining({ seed: 2, violations: ['its process ended: Error: SIGKILL'] }),
  ])
  expect(started).toBe(2)
})

test(
  'in several processes the traces are those of one',
  async () => {
    const args = ['--seeds', '3', '--world', 'copies', '--hashes']
    const one = await hashesOf(args)
    expect(one).toHaveLength(3)
    expect(await hashesOf([...args, '--jobs', '2'])).toEqual(one)
  },
  SCRIPT_MS_MAX,
)

test(
  'no worker outlives who started it',
  async () => {
    const child = script(['--seeds', '100000', '--world', 'copies', '--hashes', '--jobs', '2'])
    const isOver = new Promise((done) => child.stdout.once('close', done))
    await new Promise((done) => child.stdout.once('data', done))
    child.kill('SIGKILL')
    // All of them write there: it closes when the last one has ended.
    await isOver
  },
  SCRIPT_MS_MAX,
)

function script(args: readonly string[]) {
  return spawn(process.execPath, ['scripts/sim.mjs', ...args], { cwd: top, stdio: ['ignore', 'pipe', 'inherit'] })
}

async function hashesOf(args: readonly string[]): Promise<readonly string[]> {
  const child = script(args)
  let out = ''
  child.stdout.on('data', (chunk) => (out += chunk))
  await new Promise((done) => child.once('close', done))
  return out.split('\n').filter((line) => line.startsWith('seed '))
}
