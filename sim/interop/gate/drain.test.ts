import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { content, startNetwork, weightless, type Network, type NetworkFile } from '../network.ts'

// A node drains and goes, on real processes. The tests build on each other, in this order.

const WAIT_MS_MAX = 60_000
const bytes = content(3_000_001, 77)

let network: Network
let root: string
beforeAll(async () => {
  network = await startNetwork(['--nodes', '7', '--code', '4+2'])
  root = (await ok<{ readonly root: string }>(['put', '-'], bytes)).root
}, 90_000)
afterAll(() => network.stop())

type Answer = { readonly error: { readonly code: string; readonly facts: Record<string, unknown> } }

async function ok<T>(args: readonly string[], stdin?: Uint8Array): Promise<T> {
  const { code, stdout, stderr } = await weightless(network, [...args, '--json'], stdin)
  expect({ code, out: code === 0 ? '' : stdout.toString(), stderr }).toEqual({ code: 0, out: '', stderr: '' })
  return JSON.parse(stdout.toString()) as T
}

async function refused(args: readonly string[]): Promise<Answer['error']> {
  const { code, stdout } = await weightless(network, [...args, '--json'])
  expect(code).toBe(1)
  return (JSON.parse(stdout.toString()) as Answer).error
}

const nodesNow = (): NetworkFile['storage']['nodes'] =>
  (JSON.parse(readFileSync(join(network.dir, 'network.json'), 'utf8')) as NetworkFile).storage.nodes
const isAlive = (id: string): boolean => nodesNow().some((node) => node.id === id && node.pid !== null)

test(
  'a node that drained is safe to remove, and gets its stake back',
  async () => {
    const drained = await weightless(network, ['node', 'drain', 'node-1'])
    expect(drained).toMatchObject({ code: 0, stderr: '' })
    expect(drained.stdout.toString()).toBe('node-1: drained, safe to remove (weightless node rm node-1)\n')
    const removed = await ok<{ readonly withdrawnWei: string }>(['node', 'rm', 'node-1'])
    expect(removed).toMatchObject({ id: 'node-1', state: 'removed', handOff: { state: 'done', leftBytes: 0 } })
    expect(BigInt(removed.withdrawnWei) > 0n).toBe(true)
    expect(existsSync(join(network.dir, 'nodes', 'node-1'))).toBe(false)
  },
  WAIT_MS_MAX,
)

test(
  'with as many nodes as an object has slots none goes: it is refused, serves on, and goes when another is added; two more are lost, and the object reads back',
  async () => {
    const error = await refused(['node', 'rm', 'node-3'])
    expect(error.code).toBe('NODE_DRAIN_STUCK')
    expect(error.facts['leftBytes']).toBeGreaterThan(0)
    expect(isAlive('node-3')).toBe(true)
    expect(await ok(['node', 'drain', 'node-3', '--no-wait'])).toMatchObject({ id: 'node-3', state: 'draining' })
    // The drain is on, and holds up nobody.
    await ok(['node', 'add'])
    expect(await ok(['node', 'rm', 'node-3'])).toMatchObject({ state: 'removed', handOff: { state: 'done' } })
    for (const { pid } of nodesNow().slice(0, 2)) process.kill(pid!, 'SIGKILL')
    const { code, stdout } = await weightless(network, ['get', root])
    expect(code).toBe(0)
    expect(stdout.equals(bytes)).toBe(true)
  },
  WAIT_MS_MAX,
)

test('by force a node goes with all that it has', async () => {
  expect(await ok(['node', 'rm', nodesNow().at(-1)!.id, '--force'])).toMatchObject({ state: 'removed' })
})
