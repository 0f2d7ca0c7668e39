/** Which bytes of a body a request wants (RFC 9110 section 14). */
export type WantedRange =
  | { readonly kind: 'whole' }
  /** First and last byte, both included. */
  | { readonly kind: 'part'; readonly first: number; readonly last: number }
  | { readonly kind: 'unsatisfiable' }

/**
 * Reads a `range` header. What is no single well-formed byte range is answered with the whole body, as the standard allows;
 * only a range that lies behind the end is an error.
 */
export function parseRange(header: string | null, sizeBytes: number): WantedRange {
  const match = header === null ? null : /^bytes=([0-9]{0,15})-([0-9]{0,15})$/.exec(header.trim())
  const [from, to] = [match?.[1] ?? '', match?.[2] ?? '']
  if (from === '' && to === '') return { kind: 'whole' }
  if (from === '') {
    const count = Math.min(Number(to), sizeBytes)
    return count === 0 ? { kind: 'unsatisfiable' } : { kind: 'part', first: sizeBytes - count, last: sizeBytes - 1 }
  }
  const first = Number(from)
  const last = to === '' ? sizeBytes - 1 : Math.min(Number(to), sizeBytes - 1)
  if (first >= sizeBytes) return { kind: 'unsatisfiable' }
  return last < first ? { kind: 'whole' } : { kind: 'part', first, last }
}
