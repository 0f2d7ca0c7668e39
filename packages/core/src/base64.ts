import { decodeBase64Groups } from '@weightless/kernels'

/** Standard base64 (RFC 4648 section 4) with padding, one text for each byte string: other alphabets, white space, missing padding
 *  and stray bits in the last character are refused, so `undefined` means "not base64". Text comes as a string or as its ASCII
 *  bytes; `bufferOf` says where the bytes go (a fresh array by default). The machine's own decoders are no help: Node's passes
 *  over strangers and wants a string, and browsers and Node 20 have no Uint8Array.fromBase64. */
export function decodeBase64(
  text: string | Uint8Array,
  bufferOf: (sizeBytes: number) => Uint8Array = (sizeBytes) => new Uint8Array(sizeBytes),
): Uint8Array | undefined {
  const ascii = typeof text === 'string' ? new TextEncoder().encode(text) : text
  const { length } = ascii
  if (length % 4 !== 0) return undefined
  if (length === 0) return new Uint8Array(0)
  const padding = ascii[length - 1] !== PAD ? 0 : ascii[length - 2] !== PAD ? 1 : 2
  const sizeBytes = (length / 4) * 3 - padding
  const out = bufferOf(sizeBytes).subarray(0, sizeBytes)
  if (padding === 0) return decodeBase64Groups(ascii, out) ? out : undefined
  const wholeGroups = length - 4
  if (!decodeBase64Groups(ascii.subarray(0, wholeGroups), out)) return undefined
  // The last group, with 'A' (zero) in the place of the padding: what the bytes it stands for are must be zero then.
  // A copy, whatever kind of view the text is: `slice` of Node's Buffer is none.
  const last = Uint8Array.from(ascii.subarray(wholeGroups)).fill(ZERO_CHARACTER, 4 - padding)
  const bytes = new Uint8Array(3)
  if (!decodeBase64Groups(last, bytes) || bytes[3 - padding] !== 0) return undefined
  out.set(bytes.subarray(0, 3 - padding), (wholeGroups / 4) * 3)
  return out
}

export function encodeBase64(data: Uint8Array): string {
  const ascii = new Uint8Array(Math.ceil(data.length / 3) * 4)
  const wholeGroups = data.length - (data.length % 3)
  let at = 0
  for (let i = 0; i < wholeGroups; i += 3) {
    const bits = (data[i]! << 16) | (data[i + 1]! << 8) | data[i + 2]!
    ascii[at] = CHARACTERS[bits >> 18]!
    ascii[at + 1] = CHARACTERS[(bits >> 12) & 63]!
    ascii[at + 2] = CHARACTERS[(bits >> 6) & 63]!
    ascii[at + 3] = CHARACTERS[bits & 63]!
    at += 4
  }
  if (wholeGroups < data.length) {
    const first = data[wholeGroups]!
    const second = data[wholeGroups + 1]
    ascii[at] = CHARACTERS[first >> 2]!
    ascii[at + 1] = CHARACTERS[((first & 3) << 4) | ((second ?? 0) >> 4)]!
    ascii[at + 2] = second === undefined ? PAD : CHARACTERS[(second & 15) << 2]!
    ascii[at + 3] = PAD
  }
  return new TextDecoder().decode(ascii)
}

const PAD = 0x3d
const ZERO_CHARACTER = 0x41
const CHARACTERS: Uint8Array = new TextEncoder().encode(
  'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/',
)
