/** The generators that the storage vectors name (spec/storage.md, head): contents of test files, byte for byte. */
export function fileOf(generator: string, sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes)
  if (generator === 'linear7p3') {
    for (let i = 0; i < sizeBytes; i++) bytes[i] = (i * 7 + 3) & 0xff
  } else if (generator === 'xorshift32') {
    let x = 0x12345678
    for (let i = 0; i < sizeBytes; i++) {
      x ^= x << 13
      x ^= x >>> 17
      x ^= x << 5
      bytes[i] = x & 0xff
    }
  } else if (generator !== 'zeros') {
    throw new Error(`unknown generator ${generator}`)
  }
  return bytes
}
