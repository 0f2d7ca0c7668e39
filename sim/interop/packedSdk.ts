import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { build } from 'esbuild'

const top = resolve(import.meta.dirname, '../..')
const ROOMS = ['kernels', 'core', 'contracts', 'sdk']

/** Packs the SDK and the rooms below it as npm would, and unpacks the tarballs into `project`/node_modules: what a user has after
 *  `npm install`. Third-party packages are those of this checkout, so `project` must lie inside it. */
export async function installPackedSdk(project: string): Promise<void> {
  for (const room of ROOMS) {
    const staged = join(project, 'staged', room)
    mkdirSync(staged, { recursive: true })
    await build({
      entryPoints: [join(top, 'packages', room, 'src/index.ts')],
      outfile: join(staged, 'dist/index.js'),
      bundle: true,
      packages: 'external',
      platform: 'neutral',
      format: 'esm',
      target: 'es2022',
      logLevel: 'error',
    })
    const {
      private: _,
      devDependencies: __,
      ...described
    } = JSON.parse(readFileSync(join(top, 'packages', room, 'package.json'), 'utf8')) as {
      readonly [name: string]: unknown
    }
    const published = { ...described, files: ['dist'], exports: { '.': './dist/index.js' } }
    writeFileSync(join(staged, 'package.json'), JSON.stringify(published))
    const tarball = execFileSync('npm', ['pack', '--silent', '--pack-destination', project], {
      cwd: staged,
      encoding: 'utf8',
    }).trim()
    const installed = join(project, 'node_modules/@weightless', room)
    mkdirSync(installed, { recursive: true })
    execFileSync('tar', ['-xzf', join(project, tarball), '-C', installed, '--strip-components=1'])
    const own = join(top, 'packages', room, 'node_modules')
    if (existsSync(own)) symlinkSync(own, join(installed, 'node_modules'))
  }
}
