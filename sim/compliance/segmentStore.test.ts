import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe } from 'vitest'
import { crc32, nodeDisk, openLmdbIndex, systemClock } from '@weightless/host'
import { createSegmentStore } from '../../packages/node/src/store/store.ts'
import { createChance } from '../chance.ts'
import { createMemoryDisk } from '../memoryDisk.ts'
import { createMemoryIndexStore } from '../memoryIndex.ts'
import { silentLogger } from '../silentLogger.ts'
import { segmentStoreCompliance } from './segmentStore.ts'

const CAPACITY_BYTES = 2 ** 30

describe('segment store: files and lmdb', () => {
  segmentStoreCompliance(async () => {
    const directory = await mkdtemp(join(tmpdir(), 'weightless-store-'))
    const indexPath = join(directory, 'index')
    let index = await openLmdbIndex(indexPath)
    return {
      open: (options) =>
        createSegmentStore(
          { dataDir: join(directory, 'data'), capacityBytes: CAPACITY_BYTES, freeBytesMin: 0, ...options },
          { disk: nodeDisk(), index, clock: systemClock, logger: silentLogger, crc32 },
        ),
      async loseIndex() {
        await index.close()
        await rm(indexPath, { recursive: true })
        index = await openLmdbIndex(indexPath)
      },
      async dispose() {
        await index.close()
        await rm(directory, { recursive: true })
      },
    }
  })
})

describe('segment store: in memory', () => {
  segmentStoreCompliance(async () => {
    const chance = createChance(1)
    const disk = createMemoryDisk(chance)
    const indexes = createMemoryIndexStore(chance)
    return {
      open: (options) =>
        createSegmentStore(
          { dataDir: '/node/data', capacityBytes: CAPACITY_BYTES, ...options },
          { disk, index: indexes.open(), clock: systemClock, logger: silentLogger },
        ),
      loseIndex: async () => indexes.lose(),
      dispose: async () => undefined,
    }
  })
})
