import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Indexer as NewIndexer, MemData as NewMemData } from '@0gfoundation/0g-ts-sdk'
import { Indexer as OldIndexer, MemData as OldMemData } from '@0glabs/0g-ts-sdk'
import { ethers } from 'ethers'
import type { Network } from './network.ts'

// The official SDKs exactly as published: this file only calls them.

export type Uploaded = { readonly txHash: string; readonly rootHash: string; readonly txSeq: number | undefined }

export function signerOf(network: Network, account: number): ethers.Wallet {
  const provider = new ethers.JsonRpcProvider(network.file.chain.rpcUrl)
  return new ethers.Wallet(network.file.accounts[account]!.privateKey, provider)
}

export async function uploadWithNew(
  network: Network,
  account: number,
  bytes: Uint8Array,
  options: Record<string, unknown> = {},
): Promise<any> {
  const indexer = new NewIndexer(network.file.storage.indexerUrl)
  const [result, error] = await indexer.upload(
    new NewMemData(bytes),
    network.file.chain.rpcUrl,
    signerOf(network, account) as never,
    options,
  )
  if (error !== null) throw error
  return result
}

/** `options`: none, or all of them. This SDK merges no defaults. */
export async function uploadWithOld(
  network: Network,
  account: number,
  bytes: Uint8Array,
  options?: Record<string, unknown>,
): Promise<Uploaded> {
  const indexer = new OldIndexer(network.file.storage.indexerUrl)
  const [result, error] = await indexer.upload(
    new OldMemData(bytes),
    network.file.chain.rpcUrl,
    signerOf(network, account) as never,
    options as never,
  )
  if (error !== null) throw error
  return { ...result, txSeq: undefined }
}

export async function downloadWithNew(
  network: Network,
  root: string | string[],
  options: Record<string, unknown> = {},
): Promise<Uint8Array> {
  const indexer = new NewIndexer(network.file.storage.indexerUrl)
  const [blob, error] = await indexer.downloadToBlob(root as string, options)
  if (error !== null) throw error
  return new Uint8Array(await blob.arrayBuffer())
}

export async function downloadWithOld(network: Network, root: string): Promise<Uint8Array> {
  const dir = mkdtempSync(join(tmpdir(), 'weightless-old-'))
  try {
    const path = join(dir, 'out')
    const error = await new OldIndexer(network.file.storage.indexerUrl).download(root, path, true)
    if (error !== null) throw error
    return new Uint8Array(readFileSync(path))
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

/** The root as the official SDK computes it. */
export async function officialRoot(bytes: Uint8Array): Promise<string> {
  const [tree, error] = await new NewMemData(bytes).merkleTree()
  if (error !== null || tree === null) throw error ?? new Error('no tree')
  return tree.rootHash()!
}
