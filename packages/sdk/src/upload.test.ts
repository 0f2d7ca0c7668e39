import { describe, expect, test } from 'vitest'
import { content, createFakeNetwork } from '../../../sim/fakes/network.ts'
import { downloadBytes, upload } from './index.ts'

test('smoke', async () => {
  const network = createFakeNetwork()
  const client = network.client()
  const bytes = content(3_000_000, 1)
  const result = await upload(client, bytes)
  console.log({ ...result, receipts: result.receipts.length })
  const read = await downloadBytes(client, result.root)
  expect(read.length).toBe(bytes.length)
  expect(Buffer.from(read).equals(Buffer.from(bytes))).toBe(true)
  console.log(network.log.length)
})
