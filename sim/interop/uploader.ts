import { readFileSync, writeFileSync } from 'node:fs'
import { createClient, parseUploadStep, privateKeySigner, upload, type UploadStep } from '@weightless/sdk'
import { content, type NetworkFile } from './network.ts'

// A program that uploads and may die on the way: bundled and run as a process of its own by the tests.

export type UploaderTask = {
  readonly networkFile: string
  readonly account: number
  readonly sizeBytes: number
  readonly seeds: readonly number[]
  /** Where the last step is kept, and read from at the start. */
  readonly stateFile?: string
  /** `kill -9` of itself there: after a step is saved, once the transaction is out, or in the middle of storing. */
  readonly dieAt?: UploadStep['step'] | 'sent' | 'storing'
}
export type UploaderResult = {
  readonly root: string
  readonly txHash: string
  readonly seq: number
  readonly reused: boolean
}

const task = JSON.parse(process.argv[2]!) as UploaderTask
const { chain, contracts, accounts } = JSON.parse(readFileSync(task.networkFile, 'utf8')) as NetworkFile
const client = createClient({
  network: {
    rpcUrl: chain.rpcUrl,
    chainId: chain.chainId,
    flow: contracts.flow,
    registry: contracts.storageRegistry,
  },
  signer: privateKeySigner(accounts[task.account]!.privateKey),
})
const { stateFile } = task
const results = await Promise.all(
  task.seeds.map((seed) =>
    upload(client, content(task.sizeBytes, seed), {
      until: 'final',
      ...(stateFile === undefined ? {} : { resume: saved(stateFile), onStep: (step) => save(stateFile, step) }),
      onProgress: ({ phase, txHash, doneBytes }) => {
        if (phase === 'submit' && txHash !== undefined) die('sent')
        if (phase === 'store' && doneBytes > 0) die('storing')
      },
    }),
  ),
)
process.stdout.write(
  JSON.stringify(results.map(({ root, txHash, seq, reused }): UploaderResult => ({ root, txHash, seq, reused }))),
)

function saved(file: string): UploadStep | undefined {
  try {
    return parseUploadStep(JSON.parse(readFileSync(file, 'utf8')))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

function save(file: string, step: UploadStep): void {
  writeFileSync(file, JSON.stringify(step))
  die(step.step)
}

function die(moment: UploaderTask['dieAt']): void {
  if (moment === task.dieAt) process.kill(process.pid, 'SIGKILL')
}
