import { describe, expect, test } from 'vitest'
import { allowedMethods, filterCall, type Verdict } from './rpcFilter.ts'

const limits = { blockGasLimit: 30_000_000n }
const filter = (method: string, params: unknown = []): Verdict =>
  filterCall({ method, params: params as readonly unknown[] }, limits)
const forwarded = (method: string, params: unknown = []): readonly unknown[] => {
  const verdict = filter(method, params)
  if (verdict.kind !== 'forward') throw new Error(`${method} is not forwarded`)
  return verdict.params
}

describe('what no client may do', () => {
  test.each([
    'anvil_mine',
    'anvil_setBalance',
    'anvil_impersonateAccount',
    'anvil_dumpState',
    'anvil_loadState',
    'anvil_setCode',
    'anvil_nodeInfo',
    'evm_mine',
    'evm_revert',
    'evm_snapshot',
    'evm_increaseTime',
    'evm_setNextBlockTimestamp',
    'evm_setAutomine',
    'hardhat_setBalance',
    'hardhat_impersonateAccount',
    'hardhat_reset',
    'tenderly_setBalance',
    'debug_traceTransaction',
    'debug_traceCall',
    'debug_storageRangeAt',
    'trace_block',
    'trace_call',
    'trace_filter',
    'ots_getApiLevel',
    'erigon_getHeaderByNumber',
    'personal_unlockAccount',
    'personal_sendTransaction',
    'admin_peers',
    'admin_addPeer',
    'miner_start',
    'engine_newPayloadV4',
    'clique_propose',
    'txpool_content',
    'txpool_status',
    'txpool_inspect',
    'wallet_sendTransaction',
    'wallet_getCapabilities',
    'rpc_modules',
    'eth_sendTransaction',
    'eth_sendUnsignedTransaction',
    'eth_sign',
    'eth_signTransaction',
    'eth_signTypedData',
    'eth_signTypedData_v4',
    'eth_sendRawTransactionSync',
    'eth_fillTransaction',
    'eth_simulateV1',
    'eth_callMany',
    'eth_coinbase',
    'eth_submitWork',
    'eth_getWork',
    '',
    ' ',
    'eth_call ',
    ' eth_call',
    'ETH_CALL',
    'eth_Call',
    'eth_call\0',
    'eth_сall',
    '__proto__',
    'constructor',
    'toString',
    'hasOwnProperty',
  ])('%s is refused as an unknown method', (method) => {
    expect(filter(method)).toMatchObject({
      kind: 'refuse',
      code: -32601,
      message: expect.stringContaining('not available'),
    })
  })

  test('the refusal names the method, and no more than a line of it', () => {
    expect(filter('anvil_mine')).toMatchObject({
      message: expect.stringMatching(/^the method anvil_mine is not available on this port\. Next: /),
    })
    expect((filter('x'.repeat(100_000)) as { message: string }).message.length).toBeLessThan(200)
  })

  test('only the namespaces eth, net and web3 are open', () => {
    expect([...new Set(allowedMethods.map((method) => method.split('_')[0]!))].toSorted()).toEqual([
      'eth',
      'net',
      'web3',
    ])
    expect(allowedMethods.filter((method) => /sign|sendT|sendU|accounts$|coinbase|mining/i.test(method))).toEqual([
      'eth_accounts',
    ])
  })
})

describe('what is answered here', () => {
  test('nobody is unlocked', () => expect(filter('eth_accounts')).toEqual({ kind: 'answer', result: [] }))
  test('there are no peers', () => expect(filter('net_peerCount')).toEqual({ kind: 'answer', result: '0x0' }))
})

describe('what is forwarded', () => {
  test.each([
    ['eth_chainId', 'light'],
    ['eth_getTransactionReceipt', 'light'],
    ['eth_getLogs', 'heavy'],
    ['eth_call', 'heavy'],
    ['eth_sendRawTransaction', 'transaction'],
    ['eth_estimateGas', 'estimate'],
  ])('%s goes through as %s', (method, kind) => {
    expect(filter(method, [{}])).toMatchObject({ kind: 'forward', method, as: { kind } })
  })

  test('subscriptions are for the transport that can push', () => {
    expect(filter('eth_subscribe', ['newHeads'])).toEqual({ kind: 'subscribe', params: ['newHeads'] })
    expect(filter('eth_unsubscribe', ['0x1'])).toEqual({ kind: 'unsubscribe', params: ['0x1'] })
  })

  test.each([
    ['params by name', { to: '0x' }, 'params must be an array'],
    ['more params than any method has', Array.from({ length: 9 }, () => 0), 'at most 8'],
    ['nesting that no call has', [JSON.parse('['.repeat(40) + ']'.repeat(40))], 'nested deeper'],
  ])('%s are refused', (_, params, message) => {
    expect(filter('eth_getBalance', params)).toMatchObject({
      kind: 'refuse',
      code: -32602,
      message: expect.stringContaining(message),
    })
  })

  test('nesting as deep as the body allows costs no stack', () => {
    expect(filter('eth_getBalance', [JSON.parse('['.repeat(100_000) + ']'.repeat(100_000))])).toMatchObject({
      kind: 'refuse',
    })
  })
})

describe('the gas of a call', () => {
  test('is at most what a block has', () => {
    expect(forwarded('eth_call', [{ gas: '0xffffffffffff' }, 'latest'])[0]).toEqual({ gas: '0x1c9c380' })
    expect(forwarded('eth_estimateGas', [{ gas: '0x1c9c381' }])[0]).toEqual({ gas: '0x1c9c380' })
    expect(forwarded('eth_createAccessList', [{ gas: '0x1c9c380' }])[0]).toEqual({ gas: '0x1c9c380' })
    expect(forwarded('eth_call', [{ gas: '0x5208' }])[0]).toEqual({ gas: '0x5208' })
    expect(forwarded('eth_call', [{ to: '0x1', gas: null }])[0]).toEqual({ to: '0x1' })
  })

  test.each(['99999999999999', '', '0x', '-0x1', 30_000_000, true, {}, ['0x1'], `0x${'f'.repeat(65)}`])(
    '%j is no quantity and is refused',
    (gas) => {
      expect(filter('eth_call', [{ gas }])).toMatchObject({ kind: 'refuse', code: -32602 })
    },
  )

  test('cannot be lifted by another name of it or by overriding the block', () => {
    expect(forwarded('eth_call', [{ gasLimit: '0xffffffffff', to: '0x1', __proto__x: 1 }])[0]).toEqual({ to: '0x1' })
    expect(filter('eth_call', [{}, 'latest', {}, { gasLimit: '0xffffffffff' }])).toMatchObject({
      kind: 'refuse',
      code: -32602,
    })
    expect(filter('eth_estimateGas', [{}, 'latest', {}, {}])).toMatchObject({ kind: 'refuse' })
  })

  test('every field of a call goes through', () => {
    const call = {
      from: '0x1', to: '0x2', gas: '0x3', gasPrice: '0x4', maxFeePerGas: '0x5', maxPriorityFeePerGas: '0x6', value: '0x7', data: '0x8',
      input: '0x9', nonce: '0xa', chainId: '0xb', type: '0x2', accessList: [{ address: '0xc', storageKeys: ['0xd'] }],
    } // prettier-ignore
    expect(forwarded('eth_call', [call])[0]).toEqual(call)
  })

  test.each([undefined, null, 'x', 1, [{}]])('a call that is %j is refused', (call) => {
    expect(filter('eth_call', [call])).toMatchObject({ kind: 'refuse', code: -32602 })
  })

  test('an estimate knows calls from plain transfers', () => {
    const as = (call: unknown): unknown => (filter('eth_estimateGas', [call]) as { as: unknown }).as
    expect(as({ to: '0x1', value: '0x1' })).toEqual({ kind: 'estimate', hasData: false })
    expect(as({ to: '0x1', data: '0x' })).toEqual({ kind: 'estimate', hasData: false })
    expect(as({ to: '0x1', data: '0x00' })).toEqual({ kind: 'estimate', hasData: true })
    expect(as({ to: '0x1', input: '0x00' })).toEqual({ kind: 'estimate', hasData: true })
  })
})

describe('the newest block is final', () => {
  test.each(['safe', 'finalized'])('%s is another name of latest', (tag) => {
    expect(forwarded('eth_getBlockByNumber', [tag, false])).toEqual(['latest', false])
    expect(forwarded('eth_call', [{ to: '0x1' }, tag])).toEqual([{ to: '0x1' }, 'latest'])
    expect(forwarded('eth_getStorageAt', ['0x1', '0x0', tag])).toEqual(['0x1', '0x0', 'latest'])
    expect(forwarded('eth_getLogs', [{ fromBlock: tag, toBlock: tag, address: '0x1' }])).toEqual([
      { fromBlock: 'latest', toBlock: 'latest', address: '0x1' },
    ])
  })

  test('other names and numbers stay, and nothing is added', () => {
    expect(forwarded('eth_getBlockByNumber', ['0x1', true])).toEqual(['0x1', true])
    expect(forwarded('eth_getTransactionCount', ['0x1', 'pending'])).toEqual(['0x1', 'pending'])
    expect(forwarded('eth_getBalance', ['finalized'])).toEqual(['finalized'])
    expect(forwarded('eth_getLogs', [{ blockHash: '0x1' }])).toEqual([{ blockHash: '0x1' }])
  })
})
