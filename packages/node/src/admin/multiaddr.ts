/** An endpoint in the notation of the official node's network layer; `undefined` for what is no URL. */
export function multiaddrOf(endpoint: string): string | undefined {
  const host = hostOf(endpoint)
  if (host === undefined) return undefined
  const { port, protocol } = new URL(endpoint)
  const kind = host.includes(':') ? 'ip6' : /^\d+(\.\d+){3}$/.test(host) ? 'ip4' : 'dns'
  return `/${kind}/${host}/tcp/${port === '' ? (protocol === 'https:' ? '443' : '80') : port}`
}

/** Host of an endpoint, an IPv6 address without its brackets. */
export function hostOf(endpoint: string): string | undefined {
  if (!URL.canParse(endpoint)) return undefined
  return new URL(endpoint).hostname.replace(/^\[|\]$/g, '') || undefined
}
