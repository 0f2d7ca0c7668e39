import { readSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { SEGMENT_CHUNKS, SEGMENT_SIZE_BYTES } from '@weightless/core'
import { createKernelPool, openFileSource } from '@weightless/host'
import { inlineKernels, segmentRoot } from '@weightless/kernels'
import { hashSource } from '@weightless/sdk'
import { fail } from '../errors.ts'
import { MIB, rate, times, type Scenario } from './scenario.ts'

const ROUNDS = 3

/** Both sides read the file and compute its root; the better of three rounds counts, first the one, then the other. */
export const merkle: Scenario = {
  name: 'merkle',
  about: 'Merkle root of a file on one and two threads, beside the official SDK',
  async run(lab) {
    const sizeBytes = (lab.quick ? 16 : 256) * MIB
    const path = await lab.makeFile('merkle', sizeBytes)
    const theirs = { ms: Infinity, root: '' }
    const best = new Map<string, number>()
    for (let round = 0; round < ROUNDS; round++) {
      lab.note(`round ${round + 1} of ${ROUNDS}`)
      for (const threads of [0, 1, 2]) {
        await using pool = threads === 0 ? undefined : createKernelPool({ threads })
        await using source = await openFileSource(path, { pool, signal: lab.signal })
        const kernels = pool ?? inlineKernels()
        if (round === 0) await kernels.segmentRoots(new Uint8Array(8 * MIB), { lastLeafCount: 1024 })
        const started = performance.now()
        const { tree } = await hashSource(source, { kernels }, { signal: lab.signal })
        const ms = performance.now() - started
        const name = threads === 0 ? 'ours, main thread' : `ours, ${threads} worker thread${threads === 1 ? '' : 's'}`
        best.set(name, Math.min(best.get(name) ?? Infinity, ms))
        theirs.root ||= tree.root
        if (theirs.root !== tree.root) throw fail('BENCH_FAILED', { said: 'two roots of one file' })
      }
      const official = await lab.official(['merkle', path])
      if (official.root !== theirs.root)
        throw fail('BENCH_FAILED', { said: `the official root differs: ${official.root}` })
      theirs.ms = Math.min(theirs.ms, official.ms)
    }
    const readMs = await timeOf(() => readOnly(path, lab.signal))
    const hashMs = await timeOf(() => hashOnly(sizeBytes))
    const rows = [...best].map(([name, ms]) => [name, ms.toFixed(0), rate(sizeBytes, ms), times(ms, theirs.ms)])
    return {
      columns: ['who', 'ms', 'rate', 'against official'],
      rows: [...rows, ['official SDK 1.2.8', theirs.ms.toFixed(0), rate(sizeBytes, theirs.ms), '1.0 x']],
      notes: [
        `${sizeBytes / MIB} MiB from the page cache, best of ${ROUNDS}`,
        'bars: one thread 24 x, two threads 45 x',
        `the limit is keccak-256: one thread takes ${hashMs.toFixed(0)} ms for as many bytes that lie in its cache, reading the file alone ${readMs.toFixed(0)} ms`,
      ],
    }
  },
}

async function timeOf(work: () => Promise<void>): Promise<number> {
  let bestMs = Infinity
  for (let round = 0; round < ROUNDS; round++) {
    const started = performance.now()
    await work()
    bestMs = Math.min(bestMs, performance.now() - started)
  }
  return bestMs
}

/** As the pool's workers read: a segment at a time into one buffer. */
async function readOnly(path: string, signal: AbortSignal): Promise<void> {
  const file = await open(path)
  try {
    const segment = new Uint8Array(SEGMENT_SIZE_BYTES)
    const { size } = await file.stat()
    for (let at = 0; at < size; at += segment.length) {
      signal.throwIfAborted()
      readSync(file.fd, segment, 0, segment.length, at)
    }
  } finally {
    await file.close()
  }
}

async function hashOnly(sizeBytes: number): Promise<void> {
  const segment = new Uint8Array(SEGMENT_SIZE_BYTES).fill(7)
  for (let at = 0; at < sizeBytes; at += segment.length) segmentRoot(segment, SEGMENT_CHUNKS)
}
