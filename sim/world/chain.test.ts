import type { Address } from '@weightless/core'
import { expect, test } from 'vitest'
import { createProcess } from '../process.ts'
import { createChance } from '../chance.ts'
import { createVirtualTime } from '../clock.ts'
import { createTrace } from '../trace.ts'
import { chainFor } from './chain.ts'
import type { World } from './state.ts'

test('the address of the chain is as long in every world: errors name it, and answers that name them have a length', () => {
  const addressIn = (worldId: number): string => {
    const time = createVirtualTime()
    const trace = createTrace(time.nowMs)
    const process = createProcess('node-1', { time, trace, chance: createChance(1) })
    const net = { listen: () => () => undefined }
    return chainFor({ worldId, processCount: 0, net, trace } as unknown as World, process, '0x' as Address)
  }
  expect(addressIn(1)).not.toBe(addressIn(12_345))
  expect(addressIn(1)).toHaveLength(addressIn(12_345).length)
})
