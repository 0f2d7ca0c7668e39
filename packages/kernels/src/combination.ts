import { check } from './check.ts'
import { multiplesOf } from './gf256.ts'

/** Byte by byte over GF(2^8): output j is Σᵢ coefficients[j · inputs.length + i] · inputs[i]. All rows are equally long. */
export type Combination = {
  readonly coefficients: Uint8Array
  readonly inputs: readonly Uint8Array[]
  readonly outputs: readonly Uint8Array[]
}

/** The specification of assembly/reedSolomon.ts, and what answers where WASM SIMD is missing. */
export function combineScalar({ coefficients, inputs, outputs }: Combination): void {
  for (const [j, output] of outputs.entries()) {
    output.fill(0)
    for (const [i, input] of inputs.entries()) {
      const multiples = multiplesOf(coefficients[j * inputs.length + i]!)
      for (let at = 0; at < output.length; at++) output[at]! ^= multiples[input[at]!]!
    }
  }
}

/** Bytes from ≤ at < to of every row. For who splits a combination. */
export function columnsOf({ coefficients, inputs, outputs }: Combination, from: number, to: number): Combination {
  return {
    coefficients,
    inputs: inputs.map((row) => row.subarray(from, to)),
    outputs: outputs.map((row) => row.subarray(from, to)),
  }
}

/** Products of a byte and a coefficient: what a combination costs. */
export function productCountOf({ inputs, outputs }: Combination): number {
  return inputs.length * outputs.length * (outputs[0]?.length ?? 0)
}

export function checkRows(rows: readonly Uint8Array[]): void {
  const sizeBytes = rows[0]?.length ?? 0
  check(sizeBytes > 0 && rows.every((row) => row.length === sizeBytes), 'all shards have one length above 0')
}
