import { availableParallelism } from 'node:os'
import type { ProcessUsage } from '../processUsage.ts'

type Usage = ReadonlyMap<string, ProcessUsage>

/** CPU seconds that each role took between two looks, nodes together. */
export function cpuByRole(before: Usage, after: Usage): ReadonlyMap<string, number> {
  const taken = new Map<string, number>()
  for (const [role, { cpuSeconds }] of after) {
    const name = role.startsWith('node-') ? 'nodes' : role
    taken.set(name, (taken.get(name) ?? 0) + cpuSeconds - (before.get(role)?.cpuSeconds ?? 0))
  }
  return taken
}

/** One sentence on who worked and whether the cores were full: if they were, computing is the limit, else waiting is. */
export function describeWork(
  before: Usage,
  after: Usage,
  client: { readonly ms: number; readonly cpuSeconds: number },
): string {
  const taken = cpuByRole(before, after)
  const total = client.cpuSeconds + [...taken.values()].reduce((sum, seconds) => sum + seconds, 0)
  const share = total / ((client.ms / 1000) * availableParallelism())
  const parts = [['client', client.cpuSeconds] as const, ...taken].map(
    ([role, seconds]) => `${role} ${seconds.toFixed(2)}`,
  )
  return `CPU s: ${parts.join(', ')}; ${(share * 100).toFixed(0)} % of all cores, so the limit is ${share > 0.85 ? 'CPU' : 'waiting (disk, network, chain)'}`
}
