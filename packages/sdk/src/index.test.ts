import { build } from 'esbuild'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import * as sdk from './index.ts'

const entry = join(import.meta.dirname, 'index.ts')

describe('the library in a browser', () => {
  test('bundles without a module of Node, and without its names', async () => {
    const { outputFiles, warnings, metafile } = await build({
      entryPoints: [entry],
      bundle: true,
      write: false,
      metafile: true,
      platform: 'browser',
      format: 'esm',
      target: 'es2022',
      conditions: ['source'],
      logLevel: 'silent',
    })
    expect(warnings).toEqual([])
    expect(
      Object.keys(metafile.inputs).filter(
        (path) => path.startsWith('node:') || /packages\/(host|chain|node|cli)\//.test(path),
      ),
    ).toEqual([])
    const text = outputFiles[0]!.text
    expect(text).not.toMatch(/require\(["'](node:|fs|path|crypto|buffer)/)
    const ours = Object.keys(metafile.inputs).filter((path) => path.includes('packages/'))
    expect(ours.some((path) => path.endsWith('kernels/src/simd.ts'))).toBe(true)
  })

  test('reading and verifying alone leaves the wallet code out', async () => {
    const { metafile } = await build({
      stdin: {
        contents: `export { createStorageNodeClient } from './index.ts'`,
        resolveDir: import.meta.dirname,
        loader: 'ts',
      },
      bundle: true,
      write: false,
      metafile: true,
      minify: true,
      platform: 'browser',
      format: 'esm',
      conditions: ['source'],
      logLevel: 'silent',
    })
    const [output] = Object.values(metafile.outputs)
    const wallet = Object.entries(output!.inputs).filter(
      ([path, { bytesInOutput }]) => path.includes('/viem/accounts/') && bytesInOutput > 0,
    )
    expect(wallet).toEqual([])
  })
})

describe('the catalogue of errors', () => {
  test.each(Object.entries(sdk.sdkErrors))('%s says what to do next', (code, { next }) => {
    expect(code).toMatch(/^[A-Z][A-Z_]+$/)
    expect(next).toMatch(/^[A-Z].*\.$/)
  })
})
