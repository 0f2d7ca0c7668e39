import { resolvePackageFile, type Platform } from '@weightless/host'
import { fail } from '../errors.ts'

/** The packages in which `@foundry-rs/anvil` 1.7.1 ships its binary, by Node's names of system and processor. */
const PACKAGES: { readonly [platform: string]: string } = {
  'linux-x64': '@foundry-rs/anvil-linux-amd64',
  'linux-arm64': '@foundry-rs/anvil-linux-arm64',
  'darwin-x64': '@foundry-rs/anvil-darwin-amd64',
  'darwin-arm64': '@foundry-rs/anvil-darwin-arm64',
  'win32-x64': '@foundry-rs/anvil-win32-amd64',
}

/** The path of the anvil binary of this platform. The launcher of the package is passed by: it adds a Node process, and
 *  crashes where optional dependencies were left out (spec/chain.md 2.9). Throws `CHAIN_ENGINE_MISSING`. */
export function findAnvil(platform: Platform, resolve: ResolveFile = resolvePackageFile): string {
  const name = `${platform.os}-${platform.cpu}`
  const platformPackage = PACKAGES[name]
  if (platformPackage === undefined)
    throw fail('CHAIN_ENGINE_MISSING', { platform: name, reason: 'anvil has no binary for it' })
  // The platform's package is a dependency of the launcher's, so it is looked for from there.
  const launcher = resolve('@foundry-rs/anvil/package.json', { from: import.meta.url })
  const file = `${platformPackage}/bin/anvil${platform.os === 'win32' ? '.exe' : ''}`
  const path = launcher === undefined ? undefined : resolve(file, { from: launcher })
  if (path === undefined) {
    throw fail('CHAIN_ENGINE_MISSING', {
      platform: name,
      package: launcher === undefined ? '@foundry-rs/anvil' : platformPackage,
    })
  }
  return path
}

type ResolveFile = (specifier: string, options: { readonly from: string }) => string | undefined
