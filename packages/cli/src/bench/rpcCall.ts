/** Plain JSON-RPC, for questions of an official client. */
export function createRpcCall(url: string): (method: string, params: readonly unknown[]) => Promise<unknown> {
  return async (method, params) => {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
    })
    const { result } = (await response.json()) as { result?: unknown }
    return result ?? null
  }
}
