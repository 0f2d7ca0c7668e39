import type { Context } from '../context.ts'
import { fail } from '../errors.ts'
import type { NodeChange, NodeVerb } from '../local/admin.ts'
import { openAdmin } from '../local/adminClient.ts'

export async function nodeAddCommand(
  options: { readonly replace?: string; readonly timeout: number },
  context: Context,
): Promise<void> {
  const body = options.replace === undefined ? undefined : { replace: options.replace }
  const change = await ask('/v1/nodes', body, options, context)
  context.printer.result(change, () =>
    change.replaced === undefined
      ? `${change.id} added at ${change.url}`
      : `${change.id} at ${change.url} takes the place of ${change.replaced}`,
  )
}

export async function nodeChangeCommand(
  verb: NodeVerb,
  id: string,
  options: { readonly timeout: number },
  context: Context,
): Promise<void> {
  if (!/^[a-z0-9-]{1,64}$/.test(id)) throw fail('NODE_UNKNOWN', { id: id.slice(0, 64) })
  const change = await ask(`/v1/nodes/${id}/${verb}`, undefined, options, context)
  context.printer.result(change, () => `${change.id}: ${change.state}`)
}

async function ask(
  path: string,
  body: unknown,
  options: { readonly timeout: number },
  context: Context,
): Promise<NodeChange> {
  const admin = await openAdmin(context.dir)
  if (admin === undefined) throw fail('NETWORK_DOWN', { dir: context.dir })
  const deadline = AbortSignal.timeout(options.timeout * 1000)
  try {
    return await admin.request('POST', path, { signal: AbortSignal.any([context.signal, deadline]), body })
  } catch (error) {
    if (context.signal.aborted) throw context.signal.reason
    if (deadline.aborted) throw fail('TIMED_OUT', { seconds: options.timeout }, { cause: error })
    throw error
  }
}
