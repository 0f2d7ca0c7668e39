import { freePorts, systemClock } from '@weightless/host'
import { expect, test } from 'vitest'
import { connectAnvil } from './anvilRpc.ts'

test('an engine that is gone is unavailable for now, and no unknown error', async () => {
  const [port] = await freePorts(1)
  const options = { url: `ws://127.0.0.1:${port}`, instance: 'none' }
  await expect(connectAnvil(options, { clock: systemClock })).rejects.toMatchObject({ code: 'CHAIN_UNAVAILABLE' })
  const given = AbortSignal.abort(new Error('given up'))
  await expect(connectAnvil(options, { clock: systemClock }, { signal: given })).rejects.toThrow('given up')
})
