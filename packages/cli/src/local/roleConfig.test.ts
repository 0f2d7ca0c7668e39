import { parseToml } from '@weightless/host'
import { expect, test } from 'vitest'
import { gatewayConfig, storageConfig, toToml } from './roleConfig.ts'

const address = `0x${'ab'.repeat(20)}`
const chain = {
  rpcUrl: 'http://127.0.0.1:8600',
  wsUrl: 'ws://127.0.0.1:8600',
  chainId: 31337,
  flow: address,
  registry: address,
  startBlock: 0,
}

test('text with quotes, backslashes and control characters survives TOML', () => {
  const value = 'C:\\dir "x"\n\t\u007f\u0001é'
  expect(parseToml(toToml({ storage: { data_dir: value, port: 5, on: true } }))).toEqual({
    storage: { data_dir: value, port: 5, on: true },
  })
})

test('the configuration of a storage node says where it listens, where its key is, and who its members are', () => {
  const text = storageConfig(chain, {
    id: 'node-0',
    port: 8610,
    dataDir: '/data/node-0',
    keyFile: '/keys/node-0.key',
    gatewayUrl: 'http://127.0.0.1:8601',
    adminSocket: '/sockets/node-0.sock',
  })
  expect(parseToml(text)).toMatchObject({
    chain: { chain_id: 31337, flow: address },
    storage: {
      listen: '127.0.0.1:8610',
      listen_admin: 'unix:/sockets/node-0.sock',
      endpoint: 'http://127.0.0.1:8610',
      membership: 'registry',
      key_file: '/keys/node-0.key',
      domain: 'node-0',
    },
  })
})

test.each([
  ['4+2', { policy: 'erasure', code: '4+2', operator_key_file: '/keys/gateway.key' }],
  ['none', { policy: 'replicate', replicas: 3 }],
])('the gateway protects by the code of the network: %s', (code, expected) => {
  const gateway = { port: 8601, dataDir: '/data/gateway', code, operatorKeyFile: '/keys/gateway.key' }
  const parsed = parseToml(gatewayConfig(chain, gateway)) as { gateway: object }
  expect(parsed.gateway).toEqual({
    listen: '127.0.0.1:8601',
    data_dir: '/data/gateway',
    public_url: 'http://127.0.0.1:8601',
    ...expected,
  })
})
