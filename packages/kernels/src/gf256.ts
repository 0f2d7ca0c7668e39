/** The field of 256 elements as bytes: bit b of a byte is the coefficient of x^b in GF(2)[x]/(x^8 + x^4 + x^3 + x^2 + 1), the
 *  polynomial 0x11d. Addition is `^`. docs/erasure.md 1. */

/** x^i for i < 510, so that a sum of two logarithms needs no reduction: x is a generator. */
export const POWERS: Uint8Array = new Uint8Array(510)
/** The i < 255 with x^i = the element; 0 has none. */
export const LOGARITHMS: Uint8Array = new Uint8Array(256)
for (let i = 0, power = 1; i < 255; i++) {
  POWERS[i] = POWERS[i + 255] = power
  LOGARITHMS[power] = i
  power = (power << 1) ^ (power & 0x80 ? 0x11d : 0)
}

export function multiply(a: number, b: number): number {
  return a === 0 || b === 0 ? 0 : POWERS[LOGARITHMS[a]! + LOGARITHMS[b]!]!
}

/** Of an element that is not 0. */
export function inverse(a: number): number {
  return POWERS[255 - LOGARITHMS[a]!]!
}

/** By byte: its product with `constant`. */
export function multiplesOf(constant: number): Uint8Array {
  const multiples = new Uint8Array(256)
  for (let i = 1; i < 256; i++) multiples[i] = multiply(constant, i)
  return multiples
}
