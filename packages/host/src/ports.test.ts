import { createServer } from 'node:net'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { freePorts, isPortFree } from './ports.ts'

test('free ports are different and free', async () => {
  const ports = await freePorts(10)
  expect(new Set(ports).size).toBe(10)
  for (const port of ports) expect(await isPortFree(port)).toBe(true)
})

test('a port with a listener is not free', async () => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  expect(await isPortFree(port)).toBe(false)
  server.close()
  await once(server, 'close')
  expect(await isPortFree(port)).toBe(true)
})
