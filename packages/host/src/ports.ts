import { createServer } from 'node:net'
import type { AddressInfo, Server } from 'node:net'
import type { Abortable } from '@weightless/core'

const LOOPBACK = '127.0.0.1'

/** That many different free ports of this machine. All are held until the last one is known; then anybody may take them. */
export async function freePorts(
  count: number,
  options: Abortable & { readonly host?: string } = {},
): Promise<number[]> {
  options.signal?.throwIfAborted()
  const servers: Server[] = []
  try {
    for (let i = 0; i < count; i++) servers.push(await listen(0, options.host ?? LOOPBACK))
    return servers.map((server) => (server.address() as AddressInfo).port)
  } finally {
    await Promise.all(servers.map(close))
  }
}

/** True when nobody listens there now. */
export async function isPortFree(port: number, options: Abortable & { readonly host?: string } = {}): Promise<boolean> {
  options.signal?.throwIfAborted()
  try {
    await close(await listen(port, options.host ?? LOOPBACK))
    return true
  } catch {
    return false
  }
}

function listen(port: number, host: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen({ port, host, exclusive: true }, () => resolve(server))
  })
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()))
}
