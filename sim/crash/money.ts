import { call, type NetworkFile } from '../interop/network.ts'

const START_WEI = 10_000n * 10n ** 18n

/** Accounts whose balance is not what they began with less what their mined transactions cost. */
export async function wrongBalances(file: NetworkFile): Promise<readonly string[]> {
  const { rpcUrl } = file.chain
  const head = Number((await call(rpcUrl, 'eth_blockNumber', [])).result)
  const spent = new Map(file.accounts.map(({ address }) => [address.toLowerCase(), { wei: 0n, nonce: 0 }]))
  for (let number = 1; number <= head; number++) {
    const { result: block } = await call(rpcUrl, 'eth_getBlockByNumber', [`0x${number.toString(16)}`, true])
    for (const transaction of block.transactions as readonly Transaction[]) {
      const account = spent.get(transaction.from.toLowerCase())
      if (account === undefined) continue
      const { result: receipt } = await call(rpcUrl, 'eth_getTransactionReceipt', [transaction.hash])
      account.wei += BigInt(receipt.gasUsed) * BigInt(receipt.effectiveGasPrice)
      if (receipt.status === '0x1') account.wei += BigInt(transaction.value)
      account.nonce += 1
    }
  }
  const wrong: string[] = []
  for (const [address, { wei, nonce }] of spent) {
    const balance = BigInt((await call(rpcUrl, 'eth_getBalance', [address, 'latest'])).result)
    const count = Number((await call(rpcUrl, 'eth_getTransactionCount', [address, 'latest'])).result)
    if (balance !== START_WEI - wei) wrong.push(`${address} has ${balance} wei, ${START_WEI - wei} are right`)
    if (count !== nonce) wrong.push(`${address} has nonce ${count}, ${nonce} transactions are in blocks`)
  }
  return wrong
}

type Transaction = { readonly from: string; readonly hash: string; readonly value: string }
