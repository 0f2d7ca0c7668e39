import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { formatAbiItem } from 'viem/utils'
import { type Abi, toEventSelector, toFunctionSelector } from 'viem'
import { describe, expect, test } from 'vitest'
import vectors from '../../../sim/vectors/storage-abi.json' with { type: 'json' }
import { bytecodes, digestHistoryAbi, flowAbi, flowSelectors, marketAbi, mineAbi, rewardAbi } from './index.ts'

type Vector = {
  readonly functions: readonly { readonly selector: string; readonly signature: string; readonly full?: string }[]
  readonly events: readonly { readonly topic: string; readonly full: string }[]
  readonly errors: readonly { readonly selector: string; readonly signature: string }[]
}

const implemented = [
  { name: 'FixedPriceFlow', abi: flowAbi },
  { name: 'FixedPrice', abi: marketAbi },
  { name: 'ChunkLinearReward', abi: rewardAbi },
  { name: 'DigestHistory', abi: digestHistoryAbi },
] as const

/** Where our text differs from the reference's on purpose; selectors and topics are the same. */
const deviations: Record<string, string> = {
  'function computeFlowRoot() returns (bytes32)': 'function computeFlowRoot() view returns (bytes32)',
  'function setParams(uint256 blocksPerEpoch_, uint256 firstBlock_, address rootHistory_)':
    'function setParams(uint256, uint256, address) pure',
  'event Submit(address indexed sender, bytes32 indexed identity, uint256 submissionIndex, uint256 startPos, uint256 length, (uint256 length, bytes tags, (bytes32 root, uint256 height)[] nodes) submission)':
    'event Submit(address indexed sender, bytes32 indexed identity, uint256 submissionIndex, uint256 startPos, uint256 sectorCount, (uint256 length, bytes tags, (bytes32 root, uint256 height)[] nodes) submission)',
}

describe.each(implemented)('the ABI of $name', ({ name, abi }) => {
  const vector = vectors[name] as unknown as Vector
  const items = abi as Abi

  test('has every function of the reference: selector, arguments, results, mutability', () => {
    const ours = new Map<string, string>()
    for (const item of items) if (item.type === 'function') ours.set(toFunctionSelector(item), text(item))
    expect(vector.functions.map(({ selector }) => ours.get(selector))).toEqual(
      vector.functions.map(({ full }) => deviations[full!] ?? full),
    )
  })

  test('has every event of the reference: topic, arguments, what is indexed', () => {
    const ours = new Map<string, string>()
    for (const item of items) if (item.type === 'event') ours.set(toEventSelector(item), text(item))
    expect(vector.events.map(({ topic }) => ours.get(topic))).toEqual(
      vector.events.map(({ full }) => deviations[full] ?? full),
    )
  })

  test('has every error of the reference', () => {
    const ours = new Map<string, string>()
    for (const item of items) {
      if (item.type === 'error') ours.set(toFunctionSelector(formatAbiItem(item)), formatAbiItem(item))
    }
    for (const { selector, signature } of vector.errors) expect(ours.get(selector), signature).toBe(signature)
  })
})

test('Flow takes both generations of submissions', () => {
  const selectorsOfFlow = (flowAbi as Abi)
    .filter((item) => item.type === 'function')
    .map((item) => toFunctionSelector(item))
  expect(selectorsOfFlow).toEqual(expect.arrayContaining(Object.values(flowSelectors)))
  for (const { selector } of vectors.legacySdk033.functions) expect(selectorsOfFlow).toContain(selector)
})

test('the Submit event names no argument `length`, which ethers would hide behind the length of the array', () => {
  const submit = flowAbi.find((item) => item.type === 'event' && item.name === 'Submit')
  expect(submit?.inputs.map(({ name }) => name)).not.toContain('length')
})

test('Mine has the part of PoraMine that initialises and says "not now", with the selectors of the reference', () => {
  const expected = new Map(
    (vectors.PoraMine as unknown as Vector).functions.map(({ selector, full }) => [selector, full]),
  )
  const ours = (mineAbi as Abi).filter((item) => item.type === 'function')
  expect(ours.map((item) => item.name).sort()).toEqual(
    ['canSubmit', 'computeWorkerContext', 'flow', 'initialize', 'poraTarget', 'poraVersion', 'reward'].sort(),
  )
  for (const item of ours) expect(expected.has(toFunctionSelector(item)), item.name).toBe(true)
})

test('Mine knows no call to the reward pool, so it can never claim', () => {
  expect(bytecodes.mine).not.toContain('b7a3c04c')
})

test('every contract fits the size limit of EIP-170 with room to spare', () => {
  for (const [name, bytecode] of Object.entries(bytecodes)) expect((bytecode.length - 2) / 2, name).toBeLessThan(22_000)
})

test('the committed ABIs, bytecodes and storage layouts are what the sources compile to', () => {
  const script = path.resolve(import.meta.dirname, '../scripts/build.mjs')
  const output = execFileSync(process.execPath, [script, '--check'], { encoding: 'utf8' })
  expect(output).toContain('7 of 7 files match')
})

function text(item: Abi[number]): string {
  const prefix = item.type
  const returns = item.type === 'function' && item.outputs.length > 0 ? ` returns (${parameters(item.outputs)})` : ''
  const mutability = item.type === 'function' && item.stateMutability !== 'nonpayable' ? ` ${item.stateMutability}` : ''
  return `${prefix} ${'name' in item ? item.name : ''}(${parameters('inputs' in item ? (item.inputs ?? []) : [])})${mutability}${returns}`
}

type Parameter = {
  readonly type: string
  readonly name?: string | undefined
  readonly indexed?: boolean | undefined
  readonly components?: readonly Parameter[]
}

function parameters(list: readonly Parameter[]): string {
  return list
    .map(({ type, name, indexed, components }) => {
      const written = components ? type.replace('tuple', `(${parameters(components)})`) : type
      return [written, indexed ? 'indexed' : '', name ?? ''].filter((word) => word !== '').join(' ')
    })
    .join(', ')
}
