import { setTimeout as sleep } from 'node:timers/promises'
import type { Context } from '../context.ts'
import { fail } from '../errors.ts'
import { openAdmin } from '../local/adminClient.ts'
import { isAlive } from '../networkFile.ts'

const WAIT_STEP_MS = 50

/** Asks `up` to stop and waits until its process is gone. Nothing running is a success: that is what was asked for. */
export async function downCommand(options: { readonly timeout: number }, context: Context): Promise<void> {
  const admin = await openAdmin(context.dir)
  if (admin === undefined) {
    context.printer.result({ stopped: false, dir: context.dir }, () => `nothing runs in ${context.dir}`)
    return
  }
  const deadline = AbortSignal.timeout(options.timeout * 1000)
  const signal = AbortSignal.any([context.signal, deadline])
  try {
    await admin.request('POST', '/v1/stop', { signal })
    while (isAlive(admin.pid)) await sleep(WAIT_STEP_MS, undefined, { signal })
  } catch (error) {
    if (isAlive(admin.pid)) {
      if (context.signal.aborted) throw context.signal.reason
      throw fail(
        'DOWN_FAILED',
        { pid: admin.pid, seconds: deadline.aborted ? options.timeout : undefined },
        { cause: error },
      )
    }
  }
  context.printer.result(
    { stopped: true, pid: admin.pid, dir: context.dir },
    () => `stopped; 'weightless up' resumes it`,
  )
}
