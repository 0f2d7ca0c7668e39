import { describe, expect, test } from 'vitest'
import { encodeBase64, SEGMENT_SIZE_BYTES } from '@weightless/core'
import { silentLogger } from '../../../../sim/silentLogger.ts'
import { createVirtualClock } from '../../test/virtualClock.ts'
import { plainBytes } from '../http/fastBytes.ts'
import { createGate } from '../http/gate.ts'
import { createSpareBuffers } from '../http/spareBuffers.ts'
import type { RpcMethod } from './compat.ts'
import { createRpcEndpoint } from './endpoint.ts'

/** An endpoint with one method, `take`, that sees what lies under "data" of its first parameter. */
function endpointOf(take: (data: Uint8Array) => unknown): (data: readonly Uint8Array[]) => Promise<string> {
  const clock = createVirtualClock()
  const gate = createGate({ bytesMax: 2 ** 30, waitMsMax: 1_000, waitingMax: 10 }, { clock })
  const method: RpcMethod = async ([values], { dataOf }) =>
    (values as { data: unknown }[]).map((value) => take(dataOf(value.data)!))
  const answer = createRpcEndpoint({
    methods: new Map([['take', method]]),
    gate,
    answers: gate,
    spares: createSpareBuffers({ bytesMax: 2 ** 20 }),
    segmentBuffers: createSpareBuffers({ bytesMax: 2 ** 20, memory: 'shared' }),
    bytes: plainBytes,
    clock,
    logger: silentLogger,
    signal: new AbortController().signal,
  })
  return async (data) => {
    const params = [data.map((bytes) => ({ data: encodeBase64(bytes) }))]
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'take', params })
    const request = new Request('http://node.test/', {
      method: 'POST',
      body,
      headers: { 'content-length': String(body.length) },
    })
    return await (await answer(request, { receivedBytes: undefined, readInto: undefined })).text()
  }
}

describe('the bytes of segments in a request', () => {
  const segment = new Uint8Array(SEGMENT_SIZE_BYTES).fill(1)

  test('lie in shared memory, which serves the next request once this one is answered', async () => {
    const seen: Uint8Array[] = []
    const send = endpointOf((data) => seen.push(data))
    await send([segment])
    await send([segment])
    expect(seen[0]!.buffer).toBeInstanceOf(SharedArrayBuffer)
    expect(seen[1]!.buffer).toBe(seen[0]!.buffer)
  })

  test('have memory of their own each, and small ones take none of it', async () => {
    const seen: Uint8Array[] = []
    await endpointOf((data) => seen.push(data))([segment, segment, segment.subarray(0, 256)])
    expect(new Set(seen.map(({ buffer }) => buffer)).size).toBe(3)
    expect(seen[2]!.buffer).toBeInstanceOf(ArrayBuffer)
    expect(seen[2]!.buffer.byteLength).toBe(256)
  })

  test('are not written over after a failure: a write that began may still read them', async () => {
    const seen: Uint8Array[] = []
    const send = endpointOf((data) => {
      seen.push(data)
      if (seen.length === 1) throw new Error('broken')
    })
    expect(await send([segment])).toContain('"error"')
    await send([segment.map(() => 2)])
    expect(seen[1]!.buffer === seen[0]!.buffer).toBe(false)
    expect(seen[0]![0]).toBe(1)
  })
})
