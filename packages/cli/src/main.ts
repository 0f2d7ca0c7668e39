import { setMaxListeners } from 'node:events'
import { fileURLToPath } from 'node:url'
import { fail } from './errors.ts'
import { run } from './program.ts'

/** After the first signal a command cleans up; this is how long it may take before the process ends regardless. `up` has its
 *  own, shorter bounds for every child. */
const CLEANUP_MS_MAX = 30_000

/** One signal reaches every request that is under way: a gateway has as many as connections, and Node's own 10 would call that a
 *  leak. */
const LISTENERS_MAX = 10_000
setMaxListeners(LISTENERS_MAX)

const stopping = new AbortController()
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(name, () => {
    if (stopping.signal.aborted) {
      // The second Ctrl-C of an impatient person: children notice that their parent is gone and stop by themselves.
      if (name === 'SIGINT') process.exit(1)
      return
    }
    stopping.abort(fail('INTERRUPTED', { signal: name }))
    setTimeout(() => process.exit(1), CLEANUP_MS_MAX).unref()
  })
}
// `weightless get ROOT | head -c 1`: the reader has gone, nobody is left to tell.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') stopping.abort(fail('INTERRUPTED', { reason: 'the reader of the output has gone' }))
})
// Nobody reads the notes: no reason to stop a network for it.
process.stderr.on('error', () => undefined)

process.exitCode = await run(process.argv.slice(2), {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  signal: stopping.signal,
  entry: fileURLToPath(import.meta.url),
  cwd: process.cwd(),
})
// Keep-alive sockets and idle workers must not hold a finished command; what is printed is flushed first.
await Promise.all(
  [process.stdout, process.stderr].map((stream) => new Promise<void>((resolve) => stream.write('', () => resolve()))),
)
process.exit()
