import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe } from 'vitest'
import { nodeDisk } from '@weightless/host'
import { createChance } from '../chance.ts'
import { createMemoryDisk } from '../memoryDisk.ts'
import { diskCompliance } from './disk.ts'

describe('disk: of the machine', () => {
  diskCompliance(async () => {
    const directory = await mkdtemp(join(tmpdir(), 'weightless-disk-'))
    return { disk: nodeDisk(), directory, dispose: () => rm(directory, { recursive: true }) }
  })
})

describe('disk: in memory', () => {
  diskCompliance(async () => {
    const disk = createMemoryDisk(createChance(1))
    await disk.makeDirectory('/data')
    return { disk, directory: '/data' }
  })
})
