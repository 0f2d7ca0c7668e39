import { layoutOf, toHex, type Root } from '@weightless/core'
import { info, type ObjectInfo } from '@weightless/sdk'
import type { Context } from '../context.ts'
import { openClient } from '../networkClient.ts'
import { readNetworkFile } from '../networkFile.ts'
import { formatBytes, table } from '../print.ts'

export async function infoCommand(root: Root, options: { readonly timeout: number }, context: Context): Promise<void> {
  const network = await readNetworkFile(context.dir)
  await using session = openClient(network)
  const found = await info(session.client, root, { signal: context.signal, timeoutMs: options.timeout * 1000 })
  context.printer.result(documentOf(found), () => describe(found))
}

/** Bytes as hex: JSON has no other form for them. */
function documentOf(found: ObjectInfo): unknown {
  return {
    ...found,
    entries: found.entries.map(({ tags, nodes, ...entry }) => ({
      ...entry,
      tags: toHex(tags),
      nodes: nodes.map((node) => ({ root: toHex(node.root), height: node.height })),
    })),
  }
}

function describe(found: ObjectInfo): string {
  return [
    table([
      ['root', found.root],
      ['stage', found.stage],
    ]),
    '',
    table([
      ['ENTRY', 'SIZE', 'BLOCK', 'TRANSACTION'],
      ...found.entries.map((entry) => [
        String(entry.seq),
        formatBytes(entry.sizeBytes),
        String(entry.blockNumber),
        entry.txHash,
      ]),
    ]),
    '',
    table([
      ['HOLDER', 'ENTRY', 'SEGMENTS', 'SIGNED'],
      ...found.holders.map((holder) => {
        const entry = found.entries.find(({ seq }) => seq === holder.seq)
        return [
          holder.url,
          String(holder.seq),
          `${holder.heldSegmentCount} of ${entry === undefined ? '?' : layoutOf(entry.sizeBytes).segmentCount}`,
          holder.receipt === undefined ? 'no' : `by ${holder.receipt.signer}`,
        ]
      }),
    ]),
  ].join('\n')
}
