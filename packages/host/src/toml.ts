import { preview } from '@weightless/core'
import { parse, TomlError } from 'smol-toml'
import { fail } from './errors.ts'

/** A configuration file has a few hundred bytes; a list of 256 members a few ten thousand. */
const TEXT_LENGTH_MAX: number = 1024 ** 2
const DEPTH_MAX = 32

/** The table that a TOML text describes; integers beyond 2^53 become bigint. Throws `TOML_INVALID` with line and column. */
export function parseToml(text: string, options: { readonly file?: string | undefined } = {}): Record<string, unknown> {
  const { file } = options
  if (text.length > TEXT_LENGTH_MAX)
    throw fail('TOML_TOO_LARGE', { file, characters: text.length, charactersMax: TEXT_LENGTH_MAX })
  try {
    return parse(text, { integersAsBigInt: 'asNeeded', unsafeKeyBehaviour: 'throw', maxDepth: DEPTH_MAX })
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause
    const reason = cause.message.split('\n', 1)[0]!.replace(/^Invalid TOML document: /, '')
    throw fail('TOML_INVALID', { file, line: cause.line, column: cause.column, reason: preview(reason) })
  }
}
