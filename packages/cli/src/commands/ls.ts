import { list, LIST_ENTRIES_MAX, type LoggedEntry } from '@weightless/sdk'
import type { Context } from '../context.ts'
import { openClient } from '../networkClient.ts'
import { readNetworkFile } from '../networkFile.ts'
import { formatBytes, table } from '../print.ts'

/** Pages through the log in its order. */
export async function lsCommand(
  options: { readonly after?: number; readonly limit: number; readonly timeout: number },
  context: Context,
): Promise<void> {
  const network = await readNetworkFile(context.dir)
  await using session = openClient(network)
  const entries: LoggedEntry[] = []
  let after = options.after
  while (entries.length < options.limit) {
    const limit = Math.min(LIST_ENTRIES_MAX, options.limit - entries.length)
    const page = await list(session.client, { after, limit, signal: context.signal, timeoutMs: options.timeout * 1000 })
    entries.push(...page)
    after = page.at(-1)?.seq
    if (page.length < limit) break
  }
  context.printer.result({ entries }, () =>
    table([
      ['SEQ', 'SIZE', 'BLOCK', 'ROOT'],
      ...entries.map(({ seq, sizeBytes, blockNumber, root, parityOf }) => [
        String(seq),
        formatBytes(sizeBytes),
        String(blockNumber),
        root,
        ...(parityOf === undefined ? [] : [`says it is parity of ${parityOf.slice(0, 10)}…`]),
      ]),
    ]),
  )
}
