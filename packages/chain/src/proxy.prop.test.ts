import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { createProxy } from './proxy.ts'
import { allowedMethods } from './rpcFilter.ts'

const forbidden = [
  'anvil_mine',
  'anvil_setBalance',
  'anvil_impersonateAccount',
  'evm_mine',
  'evm_revert',
  'hardhat_reset',
  'debug_traceCall',
  'personal_sign',
  'eth_sendTransaction',
  'eth_sendUnsignedTransaction',
  'eth_sign',
  'eth_signTransaction',
  'txpool_content',
  'trace_block',
  'wallet_addChain',
]
const allowed = new Set(allowedMethods)
const method = fc.oneof(fc.constantFrom(...forbidden), fc.constantFrom(...allowedMethods), fc.string({ maxLength: 30 }))

/** A JSON string with any of its characters as escapes, in either case of their digits. */
const encoded = (text: string): fc.Arbitrary<string> =>
  fc
    .array(fc.constantFrom('plain', 'lower', 'upper'), { minLength: text.length, maxLength: text.length })
    .map((styles) => {
      const characters = [...Array(text.length).keys()].map((i) => {
        const code = text.charCodeAt(i).toString(16).padStart(4, '0')
        if (styles[i] === 'plain') return JSON.stringify(text[i]).slice(1, -1)
        return `\\u${styles[i] === 'lower' ? code.toLowerCase() : code.toUpperCase()}`
      })
      return `"${characters.join('')}"`
    })
const space = fc.constantFrom('', ' ', '\n', '\t', '\r\n  ')
const anyMethod = fc.oneof(
  method.chain(encoded),
  fc.constantFrom('1', 'null', 'true', '[]', '{}'),
  method.map((name) => `["${name.replaceAll(/["\\]/g, '')}"]`),
)
const key = (name: string): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 4, arbitrary: encoded(name) },
    { weight: 1, arbitrary: fc.constantFrom('"__proto__"', '"constructor"', '"Method"', '"METHOD"', '"method "') },
  )
const params = fc.oneof(
  fc.json(),
  fc.constantFrom('[]', '{}', 'null', '[{"gas":"0xffffffffff","method":"anvil_mine"}]', '[["anvil_mine"]]'),
)
const member = fc.oneof(
  fc.tuple(key('method'), anyMethod),
  fc.tuple(key('params'), params),
  fc.tuple(
    key('id'),
    fc.constantFrom('1', '18446744073709551617', '"x"', 'null', '{"method":"anvil_mine"}', '[1]', 'true'),
  ),
  fc.tuple(key('jsonrpc'), fc.constantFrom('"2.0"', '"1.0"', '2')),
)
const request = fc.tuple(fc.array(member, { maxLength: 8 }), space).map(([members, gap]) => {
  // Valid at the front, so that many requests pass the first checks; later keys replace earlier ones.
  const all = ['"jsonrpc":"2.0"', '"id":1', ...members.map(([name, value]) => `${name}${gap}:${gap}${value}`)]
  return `${gap}{${gap}${all.join(`${gap},`)}${gap}}`
})
const body = fc.oneof(
  request,
  fc.array(request, { maxLength: 4 }).map((items) => `[${items.join(',')}]`),
  request.map((inner) => `[[${inner}]]`),
  fc.tuple(request, request).map(([a, b]) => `${a}${b}`),
  request.map((text) => `\uFEFF${text}`),
  request.map((text) => text.slice(0, -1)),
)

test('however a body is written, nothing but an allowed method with a list of parameters is ever forwarded, and every answer is JSON', async () => {
  await fc.assert(
    fc.asyncProperty(body, async (text) => {
      const asked: { method: string; params: readonly unknown[] }[] = []
      const proxy = createProxy({
        blockGasLimit: 30_000_000n,
        upstream: async () => ({
          async ask(name, given) {
            asked.push({ method: name, params: given })
            return '"result":"0x1"}'
          },
        }),
        submitted: async () => 'mined',
      })
      const answer = await proxy.answer(text, {})
      for (const { method: name, params: given } of asked) {
        expect(allowed.has(name)).toBe(true)
        expect(forbidden).not.toContain(name)
        expect(Array.isArray(given)).toBe(true)
        const gas = (given[0] as { gas?: string } | undefined)?.gas
        if (['eth_call', 'eth_estimateGas'].includes(name) && gas !== undefined)
          expect(BigInt(gas)).toBeLessThanOrEqual(30_000_000n)
      }
      if (answer !== undefined) {
        const parsed: unknown = JSON.parse(answer)
        for (const item of Array.isArray(parsed) ? (parsed as unknown[]) : [parsed])
          expect(item).toMatchObject({ jsonrpc: '2.0' })
      }
    }),
    { numRuns: Number(process.env['FC_NUM_RUNS'] ?? 1000) },
  )
})

test('the generator does reach the engine: a test that forwards nothing would prove nothing', () => {
  const texts = fc.sample(body, { numRuns: 2000, seed: 1 })
  expect(texts.filter((text) => /eth_/.test(text)).length).toBeGreaterThan(100)
})
