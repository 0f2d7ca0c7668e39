import type { Chance } from '../chance.ts'

/** `json`: changes of the tree as well as of its text. `text`: words and characters. `bytes`: bits, lengths, parts. */
export type InputKind = 'json' | 'text' | 'bytes'
export type MutateOptions = { readonly kind: InputKind; readonly words: readonly Uint8Array[]; readonly chance: Chance }

/** Inputs are at most this long; a corpus may be longer. */
export const INPUT_BYTES_MAX = 65_536
const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** An input near one of the corpus, or near two of them. */
export function mutate(corpus: readonly Uint8Array[], options: MutateOptions): Uint8Array {
  const { kind, chance } = options
  const parent = corpus[chance.below(corpus.length)] ?? new Uint8Array(0)
  const isTree = kind === 'json' && chance.below(3) > 0
  let input = isTree ? (mutateTree(parent, corpus, chance) ?? parent) : parent
  // Trees are broken as text only now and then: what is no JSON ends at the first door.
  if (!isTree || chance.below(6) === 0) {
    for (let left = 1 + Math.floor(chance.next() ** 3 * 12); left > 0; left--) input = change(input, corpus, options)
  }
  return input.length > INPUT_BYTES_MAX && input.length > parent.length ? input.subarray(0, INPUT_BYTES_MAX) : input
}

function change(input: Uint8Array, corpus: readonly Uint8Array[], { kind, words, chance }: MutateOptions): Uint8Array {
  const at = chance.below(input.length + 1)
  const some = (): number => 1 + Math.floor(chance.next() ** 4 * 64)
  switch (chance.below(kind === 'bytes' ? 11 : 13)) {
    case 0: {
      const copy = input.slice()
      if (copy.length > 0) copy[at % copy.length]! ^= 1 << chance.below(8)
      return copy
    }
    case 1: {
      const copy = input.slice()
      if (copy.length > 0) copy[at % copy.length] = BYTES[chance.below(BYTES.length)]!
      return copy
    }
    case 2:
      return replaced(input, at, 0, chance.bytes(some()))
    case 3:
      return replaced(input, at, some(), NOTHING)
    case 4:
      return replaced(input, at, 0, input.subarray(at, at + some()))
    case 5:
      return input.subarray(0, at)
    case 6: {
      const other = corpus[chance.below(corpus.length)]!
      return replaced(input, at, input.length, other.subarray(chance.below(other.length + 1)))
    }
    case 7:
      return replaced(input, at, chance.below(2) * 4, NUMBERS[chance.below(NUMBERS.length)]!)
    case 8:
      return words.length === 0
        ? input
        : replaced(input, at, chance.below(2) * some(), words[chance.below(words.length)]!)
    case 9:
      return replaced(input, at, 0, new Uint8Array(some() * (chance.below(20) === 0 ? 500 : 1)).fill(input[at] ?? 0x20))
    case 10: {
      const from = chance.below(input.length + 1)
      return replaced(input, at, 0, input.subarray(from, from + some() * 4))
    }
    case 11:
      return replaced(input, at, chance.below(2), TEXTS[chance.below(TEXTS.length)]!)
    default:
      return replaceNumber(input, chance)
  }
}

const NOTHING = new Uint8Array(0)
const BYTES = [
  0, 1, 0x7f, 0x80, 0xff, 0x22, 0x5c, 0x7b, 0x7d, 0x5b, 0x5d, 0x2c, 0x3a, 0x20, 0x0a, 0x2d, 0x30, 0x39, 0x3d,
]
const NUMBERS = [0, 1, 255, 256, 65_535, 65_536, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1].map((number) => {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, number, number % 2 === 0)
  return bytes
})
const TEXTS = [
  '"', '\\', '\\u0000', '\\"', '{', '}', '[', ']', ',', ':', '-', '.', 'e9', '0x', '\n', '\r\n', '\t', '\u0000', '\ufeff', '\u2028',
  'é', '😀', '%00', '%2e%2e', '../', '//', '&', '=', '#', '?', ';', '\'', '"""', "'''", '[[', ']]', '1e999', '-0', '9007199254740993',
  '18446744073709551616', 'true', 'null', 'NaN', 'Infinity', '__proto__', 'constructor', 'bytes=', ' ', '\ud800',
].map((text) => encoder.encode(text)) // prettier-ignore

function replaced(input: Uint8Array, at: number, count: number, by: Uint8Array): Uint8Array {
  const end = Math.min(input.length, at + count)
  const out = new Uint8Array(input.length - (end - at) + by.length)
  out.set(input.subarray(0, at))
  out.set(by, at)
  out.set(input.subarray(end), at + by.length)
  return out
}

/** Digits somewhere become a number at an edge. */
function replaceNumber(input: Uint8Array, chance: Chance): Uint8Array {
  let at = chance.below(input.length + 1)
  while (at < input.length && !isDigit(input[at]!)) at++
  let end = at
  while (end < input.length && isDigit(input[end]!)) end++
  return replaced(input, at, end - at, encoder.encode(String(EDGES[chance.below(EDGES.length)])))
}

const isDigit = (byte: number): boolean => byte >= 0x30 && byte <= 0x39
const EDGES = [
  0,
  -1,
  1,
  15,
  16,
  17,
  255,
  256,
  1023,
  1024,
  65_536,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  '9007199254740993',
  1e21,
  0.5,
]

type Tree = unknown
type Place = { readonly holder: Record<string, Tree> | Tree[]; readonly key: string | number }

/** One to three changes of values, keys and lists; `undefined` when the parent is no JSON. */
function mutateTree(parent: Uint8Array, corpus: readonly Uint8Array[], chance: Chance): Uint8Array | undefined {
  try {
    return changedTree(parent, corpus, chance)
  } catch (error) {
    // A value that JSON.parse reads and JSON.stringify cannot write so deep.
    if (error instanceof RangeError) return undefined
    throw error
  }
}

function changedTree(parent: Uint8Array, corpus: readonly Uint8Array[], chance: Chance): Uint8Array | undefined {
  const root = treeOf(parent)
  if (root === undefined) return undefined
  const top = { root: root.tree }
  for (let left = 1 + chance.below(3); left > 0; left--) {
    const places = placesIn(top)
    const place = places[chance.below(places.length)]!
    const holder = place.holder as Record<string, Tree>
    const value = holder[place.key]
    switch (chance.below(10)) {
      case 0:
      case 1:
      case 2:
        holder[place.key] = oddValue(chance)
        break
      case 3:
        if (Array.isArray(holder)) holder.splice(Number(place.key), 1)
        else delete holder[place.key]
        break
      case 4:
        holder[place.key] = [value]
        break
      case 5: {
        const other = places[chance.below(places.length)]!
        const otherHolder = other.holder as Record<string, Tree>
        holder[place.key] = structuredCloneShallow(otherHolder[other.key])
        break
      }
      case 6:
        if (!Array.isArray(holder)) {
          const name = KEYS[chance.below(KEYS.length)]!
          Object.defineProperty(holder, name, { value, enumerable: true, configurable: true, writable: true })
        } else holder.push(value)
        break
      case 7:
        if (typeof value === 'string') holder[place.key] = oddText(value, chance)
        else if (typeof value === 'number') holder[place.key] = Number(EDGES[chance.below(EDGES.length)])
        else if (Array.isArray(value) && value.length > 0 && left === 1) {
          // As many as fit into an input: copies of copies would fill the memory of this process.
          const itemBytes = 1 + (JSON.stringify(value[0])?.length ?? 0)
          holder[place.key] = Array.from({ length: Math.min(300, INPUT_BYTES_MAX / itemBytes) }, () => value[0] as Tree)
        }
        break
      case 8: {
        const from = treeOf(corpus[chance.below(corpus.length)]!)
        if (from === undefined) break
        const others = placesIn({ root: from.tree })
        const other = others[chance.below(others.length)]!
        holder[place.key] = (other.holder as Record<string, Tree>)[other.key]
        break
      }
      default:
        if (typeof value === 'string') holder[place.key] = oddText(value, chance)
    }
  }
  // Not what may be nested by the thousand: its indentation alone would fill the memory.
  const indent = parent.length < 5_000 && chance.below(8) === 0 ? 2 : undefined
  const text = JSON.stringify(top.root, null, indent) ?? 'null'
  return encoder.encode(chance.below(400) === 0 ? deepen(text, chance) : text)
}

function treeOf(bytes: Uint8Array): { readonly tree: Tree } | undefined {
  try {
    return { tree: JSON.parse(decoder.decode(bytes)) as Tree }
  } catch {
    return undefined
  }
}

const PLACES_MAX = 400

function placesIn(top: { root: Tree }): Place[] {
  const places: Place[] = [{ holder: top as Record<string, Tree>, key: 'root' }]
  for (let i = 0; i < places.length && places.length < PLACES_MAX; i++) {
    const value = (places[i]!.holder as Record<string, Tree>)[places[i]!.key]
    if (typeof value !== 'object' || value === null) continue
    for (const key of Object.keys(value)) places.push({ holder: value as Record<string, Tree>, key })
  }
  return places
}

/** A copy one level deep: no tree may hold itself. */
function structuredCloneShallow(value: Tree): Tree {
  return typeof value === 'object' && value !== null ? (JSON.parse(JSON.stringify(value)) as Tree) : value
}

const KEYS = [
  'data',
  'id',
  'root',
  'index',
  'proof',
  'method',
  'params',
  '__proto__',
  'constructor',
  'toString',
  'length',
  '',
  '0',
]

function oddValue(chance: Chance): Tree {
  const values: readonly (() => Tree)[] = [
    () => null,
    () => true,
    () => '',
    () => '0x',
    () => EDGES[chance.below(EDGES.length)],
    () => 1e308,
    () => -1.5,
    () => [],
    () => ({}),
    () => 'x'.repeat(5_000),
    () => `0x${'ab'.repeat(chance.below(70))}`,
    () => Array.from({ length: chance.below(300) }, () => 0),
    () => '\u0000\ud800',
    () => ({ length: 2 ** 32 }),
  ]
  return values[chance.below(values.length)]!()
}

function oddText(text: string, chance: Chance): string {
  const at = chance.below(text.length + 1)
  switch (chance.below(8)) {
    case 0:
      return text.slice(0, at) + text.slice(at + 1)
    case 1:
      return text.slice(0, at) + String.fromCharCode(chance.below(128)) + text.slice(at)
    case 2:
      return text.slice(0, at) + text.charAt(chance.below(text.length)) + text.slice(at + 1)
    case 3:
      return text.toUpperCase()
    case 4:
      return `${text} `
    case 5:
      return text.slice(0, at)
    case 6:
      return text + text
    default:
      return text.slice(0, at) + '=\n\u00e9\\"'.charAt(chance.below(5)) + text.slice(at + 1)
  }
}

/** One value of the text in so many brackets that recursion does not survive it. */
function deepen(text: string, chance: Chance): string {
  const depth = [20, 40, 1_000, 30_000][chance.below(4)]!
  const numbers = [...text.matchAll(/[:[,](?=\d)/g)]
  const found = numbers[chance.below(Math.max(1, numbers.length))]
  const at = found === undefined ? 0 : found.index + 1
  const end = found === undefined ? text.length : at + /^\d+/.exec(text.slice(at))![0].length
  const [open, close] = chance.below(2) === 0 ? ['[', ']'] : ['{"a":', '}']
  return text.slice(0, at) + open!.repeat(depth) + text.slice(at, end) + close!.repeat(depth) + text.slice(end)
}
