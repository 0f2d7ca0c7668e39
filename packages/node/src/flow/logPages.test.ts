import type { Clock } from '@weightless/core'
import { systemClock, systemRandom } from '@weightless/host'
import { createRpc, type Rpc } from '@weightless/sdk'
import { expect, test } from 'vitest'
import { createLogPages, LOG_PAGE_BLOCKS_MAX } from './logPages.ts'

/** Pauses before another try are shorter, deadlines longer. */
const PAUSE_MS_MAX = 10_000

type Asked = { readonly from: number; readonly to: number }

/** An endpoint with so many logs in each block, that may refuse. */
function endpoint(logsPerBlock: number, options: { refuses?: (asked: Asked) => boolean; code?: number } = {}) {
  const asked: Asked[] = []
  const fetch = async (request: Request): Promise<Response> => {
    const { id, params } = (await request.json()) as { id: number; params: [{ fromBlock: string; toBlock: string }] }
    const range = { from: Number(params[0].fromBlock), to: Number(params[0].toBlock) }
    asked.push(range)
    if (options.refuses?.(range) === true)
      return Response.json({
        jsonrpc: '2.0',
        id,
        error: { code: options.code, message: 'query returned too many results' },
      })
    const result = Array.from({ length: logsPerBlock * (range.to - range.from + 1) }, (_, at) => ({ at }))
    return Response.json({ jsonrpc: '2.0', id, result })
  }
  const clock: Clock = {
    ...systemClock,
    sleep: (ms, abortable) => systemClock.sleep(ms > PAUSE_MS_MAX ? ms : 0, abortable),
  }
  return { rpc: createRpc('http://chain.test', { net: { fetch }, clock, random: systemRandom }), asked }
}

async function readAll(rpc: Rpc, to: number) {
  const pages = createLogPages(rpc, { pageBlocksMax: LOG_PAGE_BLOCKS_MAX })
  const read: { from: number; to: number; logCount: number }[] = []
  for await (const { from, to: last, logs } of pages({ from: 0, to, addresses: [], topics: [] }))
    read.push({ from, to: last, logCount: logs.length })
  return read
}

test('every block is read once, in order, whatever the pages are', async () => {
  for (const logsPerBlock of [0, 1, 37, 700]) {
    const read = await readAll(endpoint(logsPerBlock).rpc, 500)
    expect(read[0]!.from).toBe(0)
    expect(read.at(-1)!.to).toBe(500)
    for (const [at, page] of read.entries()) if (at > 0) expect(page.from).toBe(read[at - 1]!.to + 1)
    expect(read.reduce((sum, page) => sum + page.logCount, 0)).toBe(501 * logsPerBlock)
  }
})

test('full blocks are read a few at a time: what is held does not grow with the log', async () => {
  const read = await readAll(endpoint(400).rpc, 300)
  const [first] = read
  for (const page of read.slice(8)) expect(page.logCount).toBeLessThanOrEqual(1000)
  expect(first!.logCount).toBeLessThanOrEqual(16 * 400)
})

test('empty blocks are soon read in the largest pages', async () => {
  const { rpc, asked } = endpoint(0)
  await readAll(rpc, 100_000)
  expect(asked.length).toBeLessThan(100_000 / LOG_PAGE_BLOCKS_MAX + 16)
})

test.each([-32000, -32005])('an endpoint that refuses large pages by %i is seldom asked for them', async (code) => {
  const { rpc, asked } = endpoint(0, { refuses: ({ from, to }) => to - from + 1 > 100, code })
  await readAll(rpc, 20_000)
  const ranges = new Map(asked.map((range) => [`${range.from}-${range.to}`, range]))
  const refused = [...ranges.values()].filter(({ from, to }) => to - from + 1 > 100).length
  expect(refused).toBeGreaterThan(0)
  expect(refused).toBeLessThan(ranges.size / 6)
})
