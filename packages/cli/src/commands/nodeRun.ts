import { open } from 'node:fs/promises'
import { createLogger, exitWithParent, parseToml } from '@weightless/host'
import { parseRolesConfig, startRoles } from '@weightless/node'
import type { Context } from '../context.ts'
import { fail } from '../errors.ts'

/** A configuration has some hundred bytes; a list of 256 members some ten thousand. */
const CONFIG_BYTES_MAX = 1024 * 1024

/** Runs roles until a signal comes, or until the parent is gone. Logs go to stderr, as JSON lines. */
export async function nodeRunCommand(
  options: { readonly config: string; readonly exitWithParent: boolean },
  context: Context,
): Promise<void> {
  const config = parseRolesConfig(parseToml(await readConfig(options.config), { file: options.config }))
  const logger = createLogger({ level: config.log.level })
  const parentGone = new AbortController()
  const release = options.exitWithParent
    ? exitWithParent(() => parentGone.abort(fail('INTERRUPTED', { reason: 'the parent is gone' })))
    : undefined
  const signal = AbortSignal.any([context.signal, parentGone.signal])
  try {
    await using running = await startRoles(config, { logger }, { signal })
    context.printer.result({ roles: running.roles }, () =>
      running.roles.map(({ name, url }) => `${name} at ${url}`).join('\n'),
    )
    await Promise.race([running.failed, untilAborted(AbortSignal.any([signal, running.stopRequested]))])
    logger.info('roles.stopping')
  } catch (error) {
    // Being told to stop is how this command ends, also while it starts.
    if (!signal.aborted) throw error
  } finally {
    release?.()
  }
}

function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
}

async function readConfig(path: string): Promise<string> {
  try {
    const file = await open(path, 'r')
    try {
      const { size } = await file.stat()
      if (size > CONFIG_BYTES_MAX)
        throw fail('FILE_UNREADABLE', { file: path, sizeBytes: size, sizeBytesMax: CONFIG_BYTES_MAX })
      return await file.readFile('utf8')
    } finally {
      await file.close()
    }
  } catch (cause) {
    const { code, syscall } = cause as NodeJS.ErrnoException
    if (syscall === undefined) throw cause
    throw fail('FILE_UNREADABLE', { file: path, reason: code }, { cause })
  }
}
