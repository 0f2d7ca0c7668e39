import { readdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Context } from '../context.ts'
import { fail } from '../errors.ts'
import { layoutOfDirectory } from '../local/directory.ts'
import { createFollower, renderLine, tailLines, timeOfLine } from '../local/logLines.ts'

const FOLLOW_STEP_MS = 200

/** Logs are there after the network has stopped, too. */
export async function logsCommand(
  role: string | undefined,
  options: { readonly follow: boolean; readonly lines: number },
  context: Context,
): Promise<void> {
  if (options.follow && context.printer.json)
    throw fail('USAGE', { reason: '--follow has no end, --json is one document: use one of them' })
  const layout = layoutOfDirectory(context.dir)
  const roles = await chooseRoles(layout.logs, role, context.dir)
  const width = Math.max(...roles.map((one) => one.length))
  const show = (name: string, line: string): string =>
    roles.length === 1 ? renderLine(line) : `${name.padEnd(width)} ${renderLine(line)}`

  const followers: { readonly role: string; readonly next: () => Promise<readonly string[]> }[] = []
  const tails: { role: string; line: string; timeMs: number }[] = []
  for (const name of roles) {
    const { lines, position } = await tailLines(layout.log(name), options.lines)
    // Lines without a time (a crash, the chain's own output) stay behind the line they follow.
    let timeMs = 0
    for (const line of lines) {
      timeMs = timeOfLine(line) ?? timeMs
      tails.push({ role: name, line, timeMs })
    }
    followers.push({ role: name, ...createFollower(layout.log(name), position) })
  }
  tails.sort((a, b) => a.timeMs - b.timeMs)
  if (tails.length > 0 || !options.follow) {
    context.printer.result({ lines: tails.map(({ role: from, line }) => ({ role: from, line })) }, () =>
      tails.map(({ role: from, line }) => show(from, line)).join('\n'),
    )
  }
  while (options.follow && !context.signal.aborted) {
    for (const follower of followers) {
      const lines = await follower.next()
      if (lines.length > 0)
        context.printer.result(undefined, () => lines.map((line) => show(follower.role, line)).join('\n'))
    }
    // Ctrl-C is how following ends: no failure.
    await sleep(FOLLOW_STEP_MS, undefined, { signal: context.signal }).catch(() => undefined)
  }
}

async function chooseRoles(folder: string, role: string | undefined, directory: string): Promise<readonly string[]> {
  const names = await readdir(folder).catch(() => [])
  const roles = names
    .filter((name) => name.endsWith('.log'))
    .map((name) => name.slice(0, -'.log'.length))
    .sort()
  if (roles.length === 0) throw fail('NETWORK_DOWN', { dir: directory, reason: 'it has no logs' })
  if (role === undefined) return roles
  if (!roles.includes(role)) throw fail('ROLE_UNKNOWN', { role: role.slice(0, 64), roles: roles.join(', ') })
  return [role]
}
