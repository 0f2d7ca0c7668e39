import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { createPieceCount, PIECES_BYTES_MAX } from './bodyPieces.ts'

const PIECE_BYTES = 64 * 1024

test('young objects are collected once for every 4 MiB of pieces, however large a piece is', () => {
  let collections = 0
  const count = createPieceCount(() => (collections += 1))
  for (let taken = 0; taken < PIECES_BYTES_MAX - PIECE_BYTES; taken += PIECE_BYTES) count(PIECE_BYTES)
  expect(collections).toBe(0)
  count(PIECE_BYTES)
  expect(collections).toBe(1)
  count(PIECE_BYTES)
  expect(collections).toBe(1)
  count(3 * PIECES_BYTES_MAX)
  expect(collections).toBe(2)
})

test('without a collector that can be called, pieces are not counted', () => {
  const count = createPieceCount(undefined)
  expect(() => count(2 * PIECES_BYTES_MAX)).not.toThrow()
})

test('the collector of this Node takes the call that is made of it, and frees what young buffers held', () => {
  const program = `
    let held = 0
    for (let i = 0; i < 16; i++) held += Buffer.alloc(${PIECE_BYTES}).length
    const before = process.memoryUsage().arrayBuffers
    gc({ type: 'minor' })
    process.stdout.write(String(before - process.memoryUsage().arrayBuffers))`
  const freedBytes = Number(execFileSync(process.execPath, ['--expose-gc', '--single-threaded-gc', '-e', program]))
  expect(freedBytes).toBeGreaterThanOrEqual(15 * PIECE_BYTES)
})
