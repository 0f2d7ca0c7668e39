import { writeSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { crc32, nodeDisk, openLmdbIndex, systemClock } from '@weightless/host'
import { createSegmentStore, type NewSegment } from '../../packages/node/src/store/store.ts'
import { silentLogger } from '../silentLogger.ts'
import { rootNumber, segmentOf } from './storeSamples.ts'

/** What put number n stores: one to five segments of sizes that use every slot class. */
export function segmentsOfPut(number: number): NewSegment[] {
  return Array.from({ length: 1 + (number % 5) }, (_, i) =>
    segmentOf(number, i, { sizeBytes: [256, 50_176, 262_144, 16_384][(number + i) % 4]!, depth: i }),
  )
}

export function isRemovedLater(number: number): boolean {
  return number % 7 === 0
}

/** Puts for ever, several at once, and says so after each acknowledgement; now and then removes an old root. To be killed. */
async function run(directory: string, first: number): Promise<void> {
  const store = await createSegmentStore(
    { dataDir: join(directory, 'data'), capacityBytes: 2 ** 32, freeBytesMin: 0 },
    {
      disk: nodeDisk(),
      index: await openLmdbIndex(join(directory, 'index')),
      clock: systemClock,
      logger: silentLogger,
      crc32,
    },
  )
  let next = first
  await Promise.all(
    Array.from({ length: 6 }, async () => {
      for (;;) {
        const number = next++
        await store.put(rootNumber(number), segmentsOfPut(number))
        // To the pipe at once: a line that was not written was not acknowledged.
        writeSync(1, `put ${number}\n`)
        if (isRemovedLater(number)) {
          await store.remove(rootNumber(number))
          writeSync(1, `removed ${number}\n`)
        }
      }
    }),
  )
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await run(process.argv[2]!, Number(process.argv[3]))
