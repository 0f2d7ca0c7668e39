import { createRequire } from 'node:module'

/** The path of a file inside an installed package, as seen from a module (its URL or path); `undefined` when it is not installed. */
export function resolvePackageFile(specifier: string, options: { readonly from: string }): string | undefined {
  try {
    return createRequire(options.from).resolve(specifier)
  } catch {
    return undefined
  }
}

export type Platform = { readonly os: string; readonly cpu: string }

/** The machine we run on, in Node's names: `linux`, `darwin`, `win32`; `x64`, `arm64`. */
export const platform: Platform = { os: process.platform, cpu: process.arch }
