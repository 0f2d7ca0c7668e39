import { base64Wasm } from './generated/base64.wasm.ts'
import type { Tier } from './kernel.ts'
import { moduleOf } from './simd.ts'

/** Decodes whole groups of four characters of the standard alphabet (RFC 4648 section 4), no padding among them, into the first
 *  bytes of `out`: three for each group. False for any other character; `out` means nothing then. */
export type DecodeBase64Groups = (text: Uint8Array, out: Uint8Array) => boolean

/** `simd` throws where WASM SIMD is missing. Tests run both tiers through the same cases. */
export function createBase64Decoder(tier: Tier): DecodeBase64Groups {
  const decode = tier === 'simd' ? instantiate() : decodeScalar
  return (text, out) => {
    if (text.length % 4 !== 0 || out.length < (text.length / 4) * 3)
      throw new RangeError('kernels: broken: whole groups, and room for their bytes')
    return decode(text, out)
  }
}

/** The best decoder of this machine, made at first use. */
export const decodeBase64Groups: DecodeBase64Groups = (text, out) => (chosen ??= bestDecoder())(text, out)

let chosen: DecodeBase64Groups | undefined

function bestDecoder(): DecodeBase64Groups {
  try {
    return createBase64Decoder('simd')
  } catch {
    return createBase64Decoder('scalar')
  }
}

/** The caller's area in the memory of assembly/base64.ts, and the characters of one of its steps. */
const AREA_SIZE_BYTES = 131_072
const STEP_CHARACTERS = 16

type Exports = { readonly memory: WebAssembly.Memory; decode(count: number): number }

function instantiate(): DecodeBase64Groups {
  const wasm = new WebAssembly.Instance(moduleOf(base64Wasm)).exports as unknown as Exports
  // The memory never grows, so this view stays valid.
  const area = new Uint8Array(wasm.memory.buffer, 0, AREA_SIZE_BYTES)
  return (text, out) => {
    const stepsEnd = text.length - (text.length % STEP_CHARACTERS)
    for (let at = 0; at < stepsEnd; at += AREA_SIZE_BYTES) {
      const part = text.subarray(at, Math.min(at + AREA_SIZE_BYTES, stepsEnd))
      area.set(part)
      if (wasm.decode(part.length) === 0) return false
      out.set(area.subarray(0, (part.length / 4) * 3), (at / 4) * 3)
    }
    return decodeScalar(text.subarray(stepsEnd), out.subarray((stepsEnd / 4) * 3))
  }
}

function decodeScalar(text: Uint8Array, out: Uint8Array): boolean {
  // Values of characters are below 64, that of any other byte is 255, so one OR over all of them finds a stranger.
  let seen = 0
  let at = 0
  for (let i = 0; i < text.length; i += 4) {
    const a = VALUES[text[i]!]!
    const b = VALUES[text[i + 1]!]!
    const c = VALUES[text[i + 2]!]!
    const d = VALUES[text[i + 3]!]!
    seen |= a | b | c | d
    out[at] = (a << 2) | (b >> 4)
    out[at + 1] = (b << 4) | (c >> 2)
    out[at + 2] = (c << 6) | d
    at += 3
  }
  return seen < 64
}

/** By byte: 0 … 63, or 255. */
const VALUES: Uint8Array = new Uint8Array(256).fill(255)
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
for (let value = 0; value < ALPHABET.length; value++) VALUES[ALPHABET.charCodeAt(value)] = value
