import { expect, test } from 'vitest'
import { findAnvil } from './binary.ts'

const installed =
  (packages: readonly string[]) =>
  (specifier: string): string | undefined =>
    packages.some((name) => specifier.startsWith(`${name}/`)) ? `/modules/${specifier}` : undefined

test.each([
  ['linux', 'x64', '/modules/@foundry-rs/anvil-linux-amd64/bin/anvil'],
  ['linux', 'arm64', '/modules/@foundry-rs/anvil-linux-arm64/bin/anvil'],
  ['darwin', 'arm64', '/modules/@foundry-rs/anvil-darwin-arm64/bin/anvil'],
  ['darwin', 'x64', '/modules/@foundry-rs/anvil-darwin-amd64/bin/anvil'],
  ['win32', 'x64', '/modules/@foundry-rs/anvil-win32-amd64/bin/anvil.exe'],
])('%s %s has its binary', (os, cpu, path) => {
  expect(findAnvil({ os, cpu }, installed(['@foundry-rs/anvil', path.split('/').slice(2, 4).join('/')]))).toBe(path)
})

test.each([
  ['a platform without a binary', { os: 'freebsd', cpu: 'x64' }, ['@foundry-rs/anvil']],
  ['an installation without optional dependencies', { os: 'linux', cpu: 'x64' }, ['@foundry-rs/anvil']],
  ['an installation without anvil', { os: 'linux', cpu: 'x64' }, []],
])('%s is told with the platform and the next step', (_, platform, packages) => {
  expect(() => findAnvil(platform, installed(packages))).toThrow(
    expect.objectContaining({
      code: 'CHAIN_ENGINE_MISSING',
      facts: expect.objectContaining({ platform: `${platform.os}-${platform.cpu}` }),
      next: expect.stringContaining('npm ci'),
    }),
  )
})

test('this machine has one', () => {
  expect(findAnvil({ os: process.platform, cpu: process.arch })).toMatch(/anvil/)
})
