import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { layoutOfDirectory, type Layout } from './directory.ts'
import { readState, writeState, type NetworkState } from './state.ts'

const state: NetworkState = {
  portBase: 0,
  code: '4+2',
  chainPort: 1001,
  gatewayPort: 1002,
  adminPort: 1003,
  nextNode: 3,
  nodes: [
    { id: 'node-0', port: 1004, draining: false },
    { id: 'node-2', port: 1005, draining: true },
  ],
  leaving: [
    { id: 'node-1', leavesAtS: 1_790_000_000 },
    { id: 'node-3', leavesAtS: null },
  ],
}

let layout: Layout
beforeEach(async () => {
  layout = layoutOfDirectory(await mkdtemp(join(tmpdir(), 'weightless-state-')))
})
afterEach(async () => {
  await rm(layout.top, { recursive: true, force: true })
})

test('what a network remembers reads back as it was, for this user only', async () => {
  expect(await readState(layout)).toBeUndefined()
  await writeState(layout, state)
  expect(await readState(layout)).toEqual(state)
  expect((await stat(layout.state)).mode & 0o077).toBe(0)
})

test('a directory from before it was waited for has nobody that leaves', async () => {
  const { leaving: _, ...old } = state
  await writeState(layout, old as NetworkState)
  expect(await readState(layout)).toEqual({ ...state, leaving: [] })
})

test.each([
  '',
  '{}',
  'null',
  JSON.stringify({ ...state, chainPort: 0 }),
  JSON.stringify({ ...state, code: '4-2' }),
  JSON.stringify({ ...state, nodes: [{ id: 'node-0', port: 70_000 }] }),
  JSON.stringify({ ...state, nodes: [{ id: '../node-0', port: 1004 }] }),
  JSON.stringify({ ...state, nextNode: -1 }),
])('a state file that says %j is damaged', async (text) => {
  await writeFile(layout.state, text)
  await expect(readState(layout)).rejects.toMatchObject({ code: 'DIRECTORY_DAMAGED' })
})
