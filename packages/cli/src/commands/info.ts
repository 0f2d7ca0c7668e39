import { layoutOf, toHex, type Root } from '@weightless/core'
import { info, type HolderInfo, type ObjectInfo } from '@weightless/sdk'
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

function describeProtection({ protection }: ObjectInfo): string[][] {
  if (protection === undefined) return []
  const { certificate, facts, presentHolderCount, lossesSurvivedNow } = protection
  const { code } = certificate
  const now =
    lossesSurvivedNow === undefined
      ? 'cannot be read from the holders that answer'
      : lossesSurvivedNow === 0
        ? 'survives no further loss'
        : `survives the loss of any ${lossesSurvivedNow} more`
  return [
    ['code', code === null ? 'copies' : `${code.k}+${code.m}`],
    [
      'certificate',
      `${facts.isDurable ? 'durable' : 'not durable'}, signed by ${facts.holders.length}, survives ${facts.lossesSurvived} losses`,
    ],
    ['now', `${presentHolderCount} of ${facts.holders.length} holders present, ${now}`],
  ]
}

function describeSigned({ protection }: ObjectInfo, holder: HolderInfo): string {
  if (holder.receipt !== undefined) return `by ${holder.receipt.signer}`
  const isOf = protection?.certificate.entrySeq === holder.seq
  const certified = protection?.facts.holders.find(({ member }) => sameUrl(member.endpoint, holder.url))
  return isOf && certified !== undefined ? `by ${certified.member.signer}` : 'no'
}

function sameUrl(a: string, b: string): boolean {
  return a.replace(/\/+$/, '') === b.replace(/\/+$/, '')
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
    table([['root', found.root], ['stage', found.stage], ...describeProtection(found)]),
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
      ['HOLDER', 'ENTRY', 'SEGMENTS', 'SLOTS', 'SIGNED'],
      ...found.holders.map((holder) => {
        const entry = found.entries.find(({ seq }) => seq === holder.seq)
        return [
          holder.url,
          String(holder.seq),
          `${holder.heldSegmentCount} of ${entry === undefined ? '?' : layoutOf(entry.sizeBytes).segmentCount}`,
          holder.slots.join(',') || '-',
          describeSigned(found, holder),
        ]
      }),
    ]),
  ].join('\n')
}
