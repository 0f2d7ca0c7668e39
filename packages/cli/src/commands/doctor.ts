import type { Context } from '../context.ts'
import { examine, type Finding } from '../doctor/checks.ts'
import { gatherFacts } from '../doctor/gather.ts'

/** Resolves to whether nothing failed. */
export async function doctorCommand(context: Context): Promise<'well' | 'ill'> {
  const facts = await gatherFacts(context.dir, { signal: context.signal })
  const findings = examine(facts)
  const count = (level: Finding['level']): number => findings.filter((finding) => finding.level === level).length
  const verdict = count('fail') === 0 ? 'well' : 'ill'
  const totals = { ok: count('ok'), warn: count('warn'), fail: count('fail') }
  context.printer.result({ verdict, ...totals, findings }, () => describeFindings(findings, totals))
  return verdict
}

const SIGNS = { ok: 'ok  ', warn: 'warn', fail: 'FAIL' } as const

function describeFindings(
  findings: readonly Finding[],
  totals: { readonly ok: number; readonly warn: number; readonly fail: number },
): string {
  const lines = findings.flatMap(({ level, check, what, remedy }) => [
    `${SIGNS[level]}  ${check}: ${what}`,
    ...(remedy === undefined ? [] : [`      next: ${remedy}`]),
  ])
  return [...lines, '', `${totals.ok} ok, ${totals.warn} to look at, ${totals.fail} failed`].join('\n')
}
