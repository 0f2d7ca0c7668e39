import { expect, test } from 'vitest'
import { hostOf, multiaddrOf } from './multiaddr.ts'

test.each([
  ['http://127.0.0.1:8610', '/ip4/127.0.0.1/tcp/8610', '127.0.0.1'],
  ['https://node.example', '/dns/node.example/tcp/443', 'node.example'],
  ['http://[::1]:80', '/ip6/::1/tcp/80', '::1'],
  ['not a url', undefined, undefined],
])('%s', (endpoint, address, host) => {
  expect(multiaddrOf(endpoint)).toBe(address)
  expect(hostOf(endpoint)).toBe(host)
})
