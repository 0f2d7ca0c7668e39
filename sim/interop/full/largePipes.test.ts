import { afterAll, beforeAll, expect, test } from 'vitest'
import { startNetwork, type Network } from '../network.ts'
import { getToPipe, putFromPipe } from '../pipes.ts'

// `put -` and `get -o -` with 5 GB: three copies and the temporary file take 20 GB of disk while it runs.

const FILE_BYTES = 5_000_000_000
const PEAK_BYTES_MAX = 200_000_000

let network: Network
beforeAll(async () => {
  network = await startNetwork(['--nodes', '3'])
}, 90_000)
afterAll(() => network.stop())

test('5 GB through pipes take less than 200 MB of memory', async () => {
  const put = await putFromPipe(network, FILE_BYTES)
  const get = await getToPipe(network, put.root)
  process.stdout.write(`\n${JSON.stringify({ sizeBytes: FILE_BYTES, put, get })}\n`)
  expect(get.sha256).toBe(put.sha256)
  expect(Math.max(put.peakBytes, get.peakBytes)).toBeLessThan(PEAK_BYTES_MAX)
}, 580_000)
