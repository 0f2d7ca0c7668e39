/** Prometheus text as the official node answers metrics: name to "type value". A name carries its labels, if any. */
export function metricLines(text: string, prefix: string): Readonly<Record<string, string>> {
  const types = new Map<string, string>()
  const lines: [string, string][] = []
  for (const line of text.split('\n')) {
    const type = /^# TYPE (\S+) (\S+)/.exec(line)
    if (type !== null) types.set(type[1]!, type[2]!)
    const sample = /^([A-Za-z_:][\w:]*)(\{.*\})? (\S+)/.exec(line)
    if (sample === null) continue
    const [, name, labels = '', value] = sample
    if (name!.startsWith(prefix)) lines.push([name! + labels, `${typeOf(name!, types)} ${value}`])
  }
  return Object.fromEntries(lines)
}

/** Samples of a histogram bear names of their own, behind that of the histogram. */
function typeOf(name: string, types: ReadonlyMap<string, string>): string {
  return types.get(name) ?? types.get(name.replace(/_(bucket|sum|count)$/, '')) ?? 'untyped'
}
