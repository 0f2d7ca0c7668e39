import type { NetworkStatus } from '../local/status.ts'
import type { Lab, LabNetwork } from './lab.ts'

export async function statusOf(lab: Lab, network: LabNetwork): Promise<NetworkStatus> {
  return JSON.parse((await lab.ours(['status', '--json'], network)).out) as NetworkStatus
}

/** kill -9 of every process of the network; returns what it was. */
export async function killAll(lab: Lab, network: LabNetwork): Promise<NetworkStatus> {
  const before = await statusOf(lab, network)
  const pids = [before.pid, before.chain.pid, before.gateway.pid, ...before.storage.nodes.map((node) => node.pid)]
  for (const pid of pids) {
    try {
      if (pid !== null) process.kill(pid, 'SIGKILL')
    } catch {
      // Its parent has ended before, and it with it.
    }
  }
  return before
}
