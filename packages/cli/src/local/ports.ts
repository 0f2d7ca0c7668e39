import { freePorts, serveHttp } from '@weightless/host'

/** Everything binds here unless told otherwise (DESIGN D14). */
export const LOOPBACK = '127.0.0.1'
export const DEFAULT_PORT_BASE = 8600
/** Storage node i listens ten above the base and i further. */
const NODE_PORT_OFFSET = 10

export type Ports = {
  readonly chain: number
  readonly gateway: number
  readonly admin: number
  readonly nodes: readonly number[]
}

/** Ports counted from the base, or any free ones when the base is 0. */
export async function choosePorts(options: {
  readonly portBase: number
  readonly nodeIndexes: readonly number[]
}): Promise<Ports> {
  const { portBase, nodeIndexes } = options
  if (portBase !== 0) {
    return {
      chain: portBase,
      gateway: portBase + 1,
      admin: portBase + 2,
      nodes: nodeIndexes.map((index) => nodePort(portBase, index)),
    }
  }
  const [chain, gateway, admin, ...nodes] = await freePorts(3 + nodeIndexes.length)
  return { chain: chain!, gateway: gateway!, admin: admin!, nodes }
}

export function nodePort(portBase: number, index: number): number {
  return portBase + NODE_PORT_OFFSET + index
}

/** Throws `PORT_TAKEN` with the first of these ports that somebody else holds, before anything has been started. */
export async function checkPorts(ports: readonly number[]): Promise<void> {
  for (const port of ports) {
    const server = await serveHttp({ host: LOOPBACK, port, handler: async () => new Response() })
    await server.close()
  }
}
