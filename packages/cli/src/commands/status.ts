import { setTimeout as sleep } from 'node:timers/promises'
import type { Context } from '../context.ts'
import { fail } from '../errors.ts'
import { openAdmin } from '../local/adminClient.ts'
import { describeStatus, type NetworkStatus } from '../local/status.ts'

/** A network that starts is asked this often. */
const WAIT_STEP_MS = 100
/** Without waiting: its roles are asked for two seconds at most. */
const ANSWER_MS_MAX = 10_000

export async function statusCommand(
  options: { readonly wait: boolean; readonly timeout: number },
  context: Context,
): Promise<void> {
  const deadline = AbortSignal.timeout(options.timeout * 1000)
  const signal = AbortSignal.any([context.signal, deadline])
  try {
    const status = await readStatus(context.dir, { wait: options.wait, signal })
    context.printer.result(status, () => describeStatus(status))
  } catch (error) {
    if (deadline.aborted && !context.signal.aborted)
      throw fail('TIMED_OUT', { seconds: options.timeout }, { cause: error })
    throw context.signal.aborted ? context.signal.reason : error
  }
}

/** With `wait`, a network that is not there yet or not ready yet is asked again until the signal aborts. */
export async function readStatus(
  directory: string,
  options: { readonly wait: boolean; readonly signal: AbortSignal; readonly answerMsMax?: number },
): Promise<NetworkStatus> {
  const { answerMsMax = ANSWER_MS_MAX } = options
  for (;;) {
    const admin = await openAdmin(directory)
    if (admin === undefined && !options.wait) throw fail('NETWORK_DOWN', { dir: directory })
    const patience = options.wait ? undefined : AbortSignal.timeout(answerMsMax)
    const signal = patience === undefined ? options.signal : AbortSignal.any([options.signal, patience])
    const status = await admin?.request<NetworkStatus>('GET', '/v1/status', { signal }).catch((error: unknown) => {
      if (patience?.aborted === true && !options.signal.aborted)
        throw fail('NETWORK_SILENT', { dir: directory, pid: admin.pid, seconds: answerMsMax / 1000 })
      // It may have just gone, or not be listening yet.
      if (!options.wait || options.signal.aborted) throw error
      return undefined
    })
    if (status !== undefined && (status.ready || !options.wait)) return status
    await sleep(WAIT_STEP_MS, undefined, { signal: options.signal })
  }
}
