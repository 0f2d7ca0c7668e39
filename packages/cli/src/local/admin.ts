import { createHash, timingSafeEqual } from 'node:crypto'
import type { Failure } from '@weightless/core'
import { LOCAL_NODES_MAX } from '../arguments.ts'
import { fail } from '../errors.ts'
import { toFailure } from '../print.ts'
import type { HandOffStatus, NetworkStatus } from './status.ts'

/** What may be asked of a running `up`. Ids are checked by the network itself. */
export type NetworkControl = {
  stop(): void
  status(options: { readonly signal: AbortSignal }): Promise<NetworkStatus>
  addNode(options: { readonly replace: string | undefined; readonly signal: AbortSignal }): Promise<NodeChange>
  /** `rm` throws `NODE_DRAIN_UNFINISHED`, `NODE_DRAIN_STUCK` or `NODE_DATA_NEEDED` while something would be lost with the node, unless it
   *  is forced. */
  changeNode(
    id: string,
    change: NodeVerb,
    options: { readonly force: boolean; readonly signal: AbortSignal },
  ): Promise<NodeChange>
}
export type NodeVerb = 'start' | 'stop' | 'drain' | 'rm'
export type NodeChange = {
  readonly id: string
  readonly url: string
  readonly pid: number | null
  readonly state: string
  readonly replaced?: string
  /** The one that it takes the place of, which has yet to hand off what it has. */
  readonly draining?: string
  /** What a node that drains has handed off, and what is left. */
  readonly handOff?: HandOffStatus
  /** Of a node that was removed: the stake that its account has again, or when the registry lets it leave, in unix seconds by the chain;
   *  `null` when that is not known yet. `up` sees to it. */
  readonly withdrawnWei?: string
  readonly leavesAtS?: number | null
}

/** admin.json, mode 600: how the command line of the same user finds the running network. */
export type AdminFile = { readonly pid: number; readonly url: string; readonly token: string }

/** `{"replace":"node-999"}` and nothing longer. */
const ADMIN_BODY_BYTES_MAX = 1024
const VERBS: readonly NodeVerb[] = ['start', 'stop', 'drain', 'rm']

/** The admin door of `up`: loopback only, a random bearer token, a handful of routes. */
export function createAdminHandler(
  control: NetworkControl,
  options: { readonly token: string },
): (request: Request) => Promise<Response> {
  const expected = digest(options.token)
  return async (request) => {
    try {
      const given = /^Bearer ([\x21-\x7e]{1,256})$/.exec(request.headers.get('authorization') ?? '')?.[1]
      // Digests have one length, so the comparison takes the same time for every wrong token.
      if (given === undefined || !timingSafeEqual(digest(given), expected)) throw fail('ADMIN_REFUSED')
      return Response.json(await route(request, control))
    } catch (error) {
      const failure = toFailure(error)
      return Response.json({ error: failure.toJSON() }, { status: statusOf(failure) })
    }
  }
}

async function route(request: Request, control: NetworkControl): Promise<unknown> {
  const { pathname } = new URL(request.url)
  const { signal } = request
  if (request.method === 'GET' && pathname === '/v1/status') return control.status({ signal })
  if (request.method === 'POST' && pathname === '/v1/stop') {
    control.stop()
    return { stopping: true }
  }
  if (request.method === 'POST' && pathname === '/v1/nodes') {
    return control.addNode({ replace: (await readBody(request)).replace, signal })
  }
  const match = /^\/v1\/nodes\/([a-z0-9-]{1,64})\/([a-z]{1,16})$/.exec(pathname)
  const verb = VERBS.find((one) => one === match?.[2])
  if (request.method === 'POST' && match !== null && verb !== undefined)
    return control.changeNode(match[1]!, verb, { force: (await readBody(request)).force === true, signal })
  throw fail('ADMIN_REQUEST_INVALID', { method: request.method, path: pathname.slice(0, 80) })
}

type Body = { readonly replace?: string | undefined; readonly force?: boolean | undefined }

async function readBody(request: Request): Promise<Body> {
  const length = Number(request.headers.get('content-length') ?? 0)
  if (!(length <= ADMIN_BODY_BYTES_MAX))
    throw fail('ADMIN_REQUEST_INVALID', { reason: 'body too large', nodesMax: LOCAL_NODES_MAX })
  const text = await request.text()
  if (text === '') return {}
  try {
    const { replace, force } = JSON.parse(text) as { replace?: unknown; force?: unknown }
    const isId = replace === undefined || (typeof replace === 'string' && replace.length <= 64)
    if (isId && (force === undefined || typeof force === 'boolean')) return { replace, force }
  } catch {
    // Answered below, like every other shape that is not ours.
  }
  throw fail('ADMIN_REQUEST_INVALID', { reason: 'the body is {"replace": ID}, {"force": true} or empty' })
}

function statusOf(failure: Failure): number {
  if (failure.code === 'ADMIN_REFUSED') return 401
  if (failure.code === 'NODE_UNKNOWN') return 404
  return failure.blame === 'caller' ? 400 : 500
}

function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}
