import { describe, expect, test } from 'vitest'
import { removalOf } from './removal.ts'
import type { HandOffStatus, NetworkStatus, NodeStatus } from './status.ts'

const handOff: HandOffStatus = {
  state: 'done',
  leftBytes: 0,
  leftEntryCount: 0,
  handedOffBytes: 5,
  homelessBytes: 0,
  unfinishedBytes: 0,
}
const node = {
  pid: 7,
  handOff,
  syncState: 'complete',
  unavailableEntryCount: 0,
  missingBytes: 0,
  isRedundancyKnown: true,
  registryVersion: 6,
} as Partial<NodeStatus> as NodeStatus

function verdict(
  first: Partial<NodeStatus>,
  other: Partial<NodeStatus> = {},
  storage: Partial<NetworkStatus['storage']> = {},
): ReturnType<typeof removalOf> {
  const nodes = [
    { ...node, id: 'node-0', ...first },
    { ...node, id: 'node-1', ...other },
  ]
  const status = { storage: { registryVersion: 6, bytesByLosses: {}, leaving: [], entryCount: 1, nodes, ...storage } }
  return removalOf(status as unknown as NetworkStatus, 'node-0')
}

describe('a node that runs', () => {
  test('may go when it says that its hand-off is done, under the membership of now', () => {
    expect(verdict({})).toEqual({ kind: 'safe', handOff })
    expect(verdict({ registryVersion: 5 }).kind).toBe('moving')
    expect(verdict({}, {}, { registryVersion: null }).kind).toBe('moving')
  })

  test.each(['none', 'moving', 'stuck'] as const)('may not while that is %s', (state) => {
    expect(verdict({ handOff: { ...handOff, state } }).kind).toBe(state === 'stuck' ? 'stuck' : 'moving')
  })

  test('may not while it does not answer', () => {
    expect(verdict({ handOff: null, registryVersion: null }).kind).toBe('moving')
  })
})

describe('a node that is down', () => {
  const down = { pid: null, handOff: null, registryVersion: null, syncState: null, isRedundancyKnown: false } as const

  test('may go when the others have looked at the membership without it and lack nothing that nobody has', () => {
    expect(verdict(down)).toEqual({ kind: 'safe', handOff: null })
    expect(verdict(down, { syncState: 'waiting' }).kind).toBe('safe')
  })

  test.each([
    [{ registryVersion: 5 }],
    [{ syncState: 'looking' }],
    [{ syncState: 'fetching' }],
    [{ syncState: 'waiting', missingBytes: 5 }],
    [{ isRedundancyKnown: false }],
    [{ syncState: null, registryVersion: null }],
  ])('may not while another one is %o', (other) => {
    expect(verdict(down, other).kind).toBe('moving')
  })

  test('is needed when something is lost without it, or to be had nowhere', () => {
    expect(verdict(down, {}, { bytesByLosses: { lost: 9, '2': 5 } })).toMatchObject({ kind: 'needed', lostBytes: 9 })
    expect(verdict(down, { unavailableEntryCount: 2 })).toMatchObject({ kind: 'needed', unavailableEntryCount: 2 })
  })

  test('is stuck where nobody else runs', () => {
    expect(verdict(down, { pid: null }).kind).toBe('stuck')
  })
})
