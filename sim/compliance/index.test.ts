import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe } from 'vitest'
import { openLmdbIndex } from '@weightless/host'
import { createChance } from '../chance.ts'
import { createMemoryIndexStore } from '../memoryIndex.ts'
import { indexCompliance } from './index.ts'

describe('index: lmdb', () => {
  indexCompliance(async () => {
    const directory = await mkdtemp(join(tmpdir(), 'weightless-index-'))
    const path = join(directory, 'with.a.dot')
    const subject = {
      index: await openLmdbIndex(path),
      async reopen() {
        await subject.index.close()
        subject.index = await openLmdbIndex(path)
      },
      async dispose() {
        await subject.index.close()
        await rm(directory, { recursive: true })
      },
    }
    return subject
  })
})

describe('index: in memory', () => {
  indexCompliance(async () => {
    const store = createMemoryIndexStore(createChance(1))
    const subject = {
      index: store.open(),
      async reopen() {
        await subject.index.close()
        subject.index = store.open()
      },
      dispose: async () => undefined,
    }
    return subject
  })
})
