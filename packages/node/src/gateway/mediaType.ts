/** Types by the end of a name: what people store, and nothing that a browser would run. */
const BY_EXTENSION: Readonly<Record<string, string>> = {
  txt: 'text/plain; charset=utf-8',
  md: 'text/plain; charset=utf-8',
  csv: 'text/csv; charset=utf-8',
  json: 'application/json',
  pdf: 'application/pdf',
  png: 'image/png',
  jpg: 'image/jpeg',
  jpeg: 'image/jpeg',
  gif: 'image/gif',
  webp: 'image/webp',
  avif: 'image/avif',
  mp3: 'audio/mpeg',
  ogg: 'audio/ogg',
  wav: 'audio/wav',
  mp4: 'video/mp4',
  webm: 'video/webm',
  wasm: 'application/wasm',
  zip: 'application/zip',
  gz: 'application/gzip',
  tar: 'application/x-tar',
}
const UNKNOWN = 'application/octet-stream'

/** Types that a browser shows without running anything; all others are saved. SVG and HTML carry scripts. */
const SHOWN =
  /^(text\/plain|application\/json|image\/(png|jpeg|gif|webp|avif)|audio\/(mpeg|ogg|wav)|video\/(mp4|webm))(;|$)/

const NAME_LENGTH_MAX = 255

/**
 * Headers that say what a stored file is. The bytes are a stranger's, so a browser is told to believe the type, to save what
 * it could run, and to run nothing.
 */
export function mediaHeaders(wanted: {
  readonly type: string | null
  readonly name: string | null
  readonly fallbackName: string
}): Readonly<Record<string, string>> {
  const extension = /\.([A-Za-z0-9]{1,8})$/.exec(wanted.name ?? '')?.[1]?.toLowerCase() ?? ''
  const type = wanted.type !== null && isMediaType(wanted.type) ? wanted.type : (BY_EXTENSION[extension] ?? UNKNOWN)
  const name = (wanted.name ?? wanted.fallbackName).slice(0, NAME_LENGTH_MAX)
  const disposition = SHOWN.test(type) ? 'inline' : 'attachment'
  // The plain form for old clients, the encoded one (RFC 6266) for the name as it is.
  const plain = name.replace(/[^A-Za-z0-9._ -]/g, '_')
  return {
    'content-type': type,
    'content-disposition': `${disposition}; filename="${plain}"; filename*=UTF-8''${encodeURIComponent(wellFormed(name)).replace(/['()*]/g, escapeByte)}`,
    'x-content-type-options': 'nosniff',
    'content-security-policy': "sandbox; default-src 'none'",
  }
}

function isMediaType(text: string): boolean {
  return text.length <= 127 && /^[a-z0-9!#$&^_.+-]+\/[a-z0-9!#$&^_.+-]+(; ?charset=[a-z0-9-]+)?$/.test(text)
}

function escapeByte(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase()}`
}

/** A lone surrogate has no UTF-8. */
function wellFormed(text: string): string {
  return new TextDecoder().decode(new TextEncoder().encode(text))
}
