import { formatBytes } from '../print.ts'
import { percentile, type Scenario } from './scenario.ts'

const ROUNDS = 5

/** A fresh directory each time; nothing of this kind exists on the other side to compare with. */
export const upTime: Scenario = {
  name: 'up',
  about: 'time from `weightless up` to ready in a fresh directory, and the memory of every process',
  async run(lab) {
    const ready: number[] = []
    let rows: string[][] = []
    let total = 0
    for (let round = 0; round < (lab.quick ? 1 : ROUNDS); round++) {
      lab.note(`start ${round + 1}`)
      const network = await lab.startNetwork()
      ready.push(network.readyMs)
      const usage = await network.usage()
      total = [...usage.values()].reduce((sum, { rssBytes }) => sum + rssBytes, 0)
      rows = [...usage].map(([role, { rssBytes, cpuSeconds }]) => [role, formatBytes(rssBytes), cpuSeconds.toFixed(2)])
      await network.stop()
    }
    return {
      columns: ['process', 'RSS', 'CPU s until ready'],
      rows: [...rows, ['all', formatBytes(total), '']],
      notes: [
        `ready after ${(percentile(ready, 0.5) / 1000).toFixed(2)} s (median of ${ready.length}), slowest ${(Math.max(...ready) / 1000).toFixed(2)} s; bar 10 s`,
        'bars: 1 GB for all; 120 MB for each later process. RSS counts pages shared between the processes once for each.',
      ],
    }
  },
}
