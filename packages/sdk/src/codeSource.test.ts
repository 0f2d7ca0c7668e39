import { parseParityTags, SEGMENT_SIZE_BYTES, type Kernels } from '@weightless/core'
import { inlineKernels } from '@weightless/kernels'
import { describe, expect, test } from 'vitest'
import { codedObjectOf } from '../../../sim/compliance/codedObject.ts'
import { content } from '../../../sim/fakes/network.ts'
import { codeSource } from './codeSource.ts'
import type { ReadAt } from './source.ts'

const kernels = inlineKernels()
const inMemory = (bytes: Uint8Array): ReadAt => ({
  sizeBytes: bytes.length,
  read: async (start, end) => bytes.subarray(start, end),
})
const S = SEGMENT_SIZE_BYTES

describe('the first reading of a source under a code', () => {
  test.each([
    [2, 4, 2],
    [S + 1, 4, 2],
    [4 * S, 4, 2],
    [4 * S + 1, 4, 2],
    [23 * S - 1, 4, 2],
    [33 * S + 300, 10, 4],
    [5 * S, 1, 2],
    [30 * S + 77, 29, 51],
    [3 * S, 3, 1],
  ])('%i bytes at %i+%i: the trees and submissions that the definition gives', async (sizeBytes, k, m) => {
    const code = { k, m }
    const coded = await codeSource(inMemory(content(sizeBytes, 5)), code, { kernels }, { tags: Uint8Array.of(9) })
    if (sizeBytes <= S) {
      expect(coded.parity).toBeUndefined()
      return
    }
    const expected = codedObjectOf(sizeBytes, 5, code)
    expect(coded.tree.root).toBe(expected.data.tree.root)
    expect(coded.submission).toEqual({ ...expected.data.submission, tags: Uint8Array.of(9) })
    expect(coded.parity!.tree.root).toBe(expected.parity.tree.root)
    expect(coded.parity!.submission).toEqual(expected.parity.submission)
    expect(parseParityTags(coded.parity!.submission.tags)).toEqual({ code, dataRoot: coded.tree.root, sizeBytes })
  })

  test('each byte is read once, and what is held at a time is a few batches, however large the object is', async () => {
    const sizeBytes = 96 * S
    let readBytes = 0
    let rootedBytes = 0
    let aheadBytes = 0
    const source: ReadAt = {
      sizeBytes,
      read: async (start, end) => {
        readBytes += end - start
        aheadBytes = Math.max(aheadBytes, readBytes - rootedBytes)
        return new Uint8Array(end - start)
      },
    }
    const counting: Pick<Kernels, 'segmentRoots' | 'encodeParity'> = {
      encodeParity: kernels.encodeParity,
      segmentRoots: async (data, options) => {
        const roots = await kernels.segmentRoots(data, options)
        rootedBytes += (data.length * 4) / 6
        return roots
      },
    }
    await codeSource(source, { k: 4, m: 2 }, { kernels: counting }, {})
    expect(readBytes).toBe(sizeBytes)
    // Three batches of five stripes, and what is being hashed.
    expect(aheadBytes).toBeLessThanOrEqual(4 * 20 * S)
  })

  test('an end of the signal ends it', async () => {
    const controller = new AbortController()
    const source: ReadAt = {
      sizeBytes: 64 * S,
      read: async (start, end) => {
        if (start > 0) controller.abort(new Error('enough'))
        return new Uint8Array(end - start)
      },
    }
    await expect(codeSource(source, { k: 4, m: 2 }, { kernels }, { signal: controller.signal })).rejects.toThrow(
      'enough',
    )
  })
})
