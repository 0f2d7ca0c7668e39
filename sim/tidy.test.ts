import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { basename, dirname, join, normalize, relative, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'

// The laws of the rooms as a test: a rule that nobody checks is a wish. Each law reads source text; no law knows a file by
// name unless the law itself names that door.

const top = resolve(import.meta.dirname, '..')
const tracked = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: top,
  encoding: 'utf8',
})
  .split('\n')
  .filter((path) => path !== '' && existsSync(join(top, path)))
const text = (path: string): string => readFileSync(join(top, path), 'utf8')
const isTest = (path: string): boolean => /\.(prop\.)?(test|bench)\.ts$/.test(path)
const sources = tracked.filter(
  (path) => /^packages\/[a-z]+\/src\/.*\.ts$/.test(path) && !isTest(path) && !path.includes('/generated/'),
)
const room = (path: string): string => path.split('/')[1]!

/** Source without comments and without the text of string literals that could quote a banned word. */
function code(path: string): string {
  return text(path)
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/(^|[^:'"`\\])\/\/.*$/gm, '$1')
}

/** Lines of all `paths` whose code matches: "path: line". */
function offenders(paths: readonly string[], pattern: RegExp): string[] {
  const found: string[] = []
  for (const path of paths) {
    for (const line of code(path).split('\n'))
      if (pattern.test(line)) found.push(`${path}: ${line.trim().slice(0, 100)}`)
  }
  return found
}

const imports = (path: string): string[] =>
  [...code(path).matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => match[1]!)

const allowedRooms: Record<string, readonly string[]> = {
  kernels: [],
  core: ['kernels'],
  contracts: [],
  sdk: ['core', 'contracts', 'kernels'],
  host: ['core', 'kernels'],
  chain: ['core', 'contracts', 'host'],
  node: ['core', 'contracts', 'host', 'sdk', 'kernels'],
  cli: ['core', 'contracts', 'host', 'chain', 'node', 'sdk', 'kernels'],
}

describe('the laws of the rooms', () => {
  test('every source belongs to a known room', () => {
    expect([...new Set(sources.map(room))].filter((name) => !(name in allowedRooms))).toEqual([])
    expect(sources.length).toBeGreaterThan(50)
  })

  test('law 1: core and kernels await nothing and know no clock, chance, process or network', () => {
    const pure = sources.filter((path) => ['core', 'kernels'].includes(room(path)))
    const banned =
      /\basync\b|\bawait\b|\bDate\b|Math\.random|'node:|\bprocess\b\.|\bfetch\s*\(|\bsetTimeout\b|\bsetInterval\b/
    // `fetch(request)` as a type in ports.ts is the port itself.
    expect(offenders(pure, banned).filter((line) => !line.startsWith('packages/core/src/ports.ts'))).toEqual([])
  })

  test('law 2: roles of a node never import one another', () => {
    const roles = ['storage', 'gateway']
    const wrong: string[] = []
    for (const path of sources.filter((path) => room(path) === 'node')) {
      const own = path.split('/')[3]!
      for (const target of imports(path).filter((name) => name.startsWith('.'))) {
        const other = normalize(join(dirname(path), target)).split('/')[3]!
        if (roles.includes(own) && roles.includes(other) && own !== other) wrong.push(`${path} -> ${target}`)
      }
    }
    expect(wrong).toEqual([])
  })

  test('law 3: process.env, argv and exit appear only in cli, console only in its print.ts', () => {
    const others = sources.filter((path) => room(path) !== 'cli')
    expect(offenders(others, /process\.(env|argv|exit)\b/)).toEqual([])
    expect(offenders(sources, /\bconsole\./).filter((line) => !line.startsWith('packages/cli/src/print.ts'))).toEqual(
      [],
    )
  })

  test('law 4: node: imports exist only in host and cli, timers only in host, cli and the defaults of sdk', () => {
    const outside = sources.filter((path) => !['host', 'cli'].includes(room(path)))
    expect(offenders(outside, /'node:/)).toEqual([])
    expect(
      offenders(outside, /\b(setTimeout|setInterval|setImmediate)\s*\(/).filter(
        (line) => !line.startsWith('packages/sdk/src/defaults.ts'),
      ),
    ).toEqual([])
    expect(
      offenders(outside, /Math\.random|Date\.now|new Date\(\)/).filter(
        (l) => !l.startsWith('packages/sdk/src/defaults.ts'),
      ),
    ).toEqual([])
  })

  test('law 6: a unit test stands beside the file it tests', () => {
    const orphans = tracked
      .filter((path) => /^packages\/[a-z]+\/src\/.*\.test\.ts$/.test(path))
      .filter((path) => {
        const subject = join(dirname(path), `${basename(path).split('.')[0]}.ts`)
        return !existsSync(join(top, subject))
      })
    expect(orphans).toEqual([])
  })

  test('law 7: rooms import only downwards and only through declared doors', () => {
    const wrong: string[] = []
    for (const path of sources) {
      const own = room(path)
      const home = `packages/${own}/src`
      for (const target of imports(path)) {
        if (target.startsWith('.')) {
          if (relative(home, normalize(join(dirname(path), target))).startsWith('..'))
            wrong.push(`${path} -> ${target}`)
        } else if (target.startsWith('@weightless/')) {
          const [, other, ...door] = target.split('/')
          const declared = JSON.parse(text(`packages/${other}/package.json`)) as { exports: Record<string, unknown> }
          if (!allowedRooms[own]!.includes(other!)) wrong.push(`${path} -> ${target}`)
          else if (door.length > 0 && !(`./${door.join('/')}` in declared.exports)) wrong.push(`${path} -> ${target}`)
        } else if (/sim\//.test(target)) wrong.push(`${path} -> ${target}`)
      }
    }
    expect(wrong).toEqual([])
  })

  test('law 8: file names are camelCase and say what is in the file', () => {
    const named = sources.filter(
      (path) =>
        !/^[a-z][A-Za-z0-9]*(\.[a-z][A-Za-z0-9]*)*\.ts$/.test(basename(path)) ||
        /^(utils?|helpers?|common|manager|misc)\./i.test(basename(path)) ||
        /\/(utils?|helpers?|common|manager|misc)\//i.test(path),
    )
    expect(named).toEqual([])
  })

  test('law 9: no default exports, enums, namespaces or decorators', () => {
    expect(
      offenders(
        sources,
        /^\s*export default\b|^\s*(export\s+)?(const\s+)?enum\s|^\s*(export\s+)?namespace\s|^\s*@[A-Za-z]/,
      ),
    ).toEqual([])
  })

  test('law 10: every exported async function outside cli takes a signal, or says why it cannot be cancelled', () => {
    const wrong: string[] = []
    for (const path of sources.filter((path) => room(path) !== 'cli')) {
      const body = text(path)
      for (const match of body.matchAll(/^export async function\*? (\w+)/gm)) {
        const rest = body.slice(match.index)
        const isSigned = /signal|Abortable|Options|options/.test(rest.slice(0, rest.indexOf('\n}')))
        const comment = body.slice(0, match.index).split('\n\n').at(-1)!
        if (!isSigned && !/cannot be cancelled|signal of the call/i.test(comment)) wrong.push(`${path}: ${match[1]}`)
      }
    }
    expect(wrong).toEqual([])
  })

  test("law 11: other people's method names live in compat.ts and nowhere else", () => {
    const roles = sources.filter((path) => room(path) === 'node' && basename(path) !== 'compat.ts')
    expect(offenders(roles, /['"`](zgs|indexer|admin)_/)).toEqual([])
  })

  test('sources use only what Node 20.19 has', () => {
    const banned =
      /Promise\.withResolvers|Promise\.try\(|node:sqlite|\bURLPattern\b|\.toHex\(\)|fromBase64\(|Iterator\.from|\.values\(\)\.map\(/
    expect(offenders(sources, banned)).toEqual([])
  })

  test('nothing is postponed, skipped or focused', () => {
    const all = tracked.filter(
      (path) => /\.(ts|mjs|js|sol)$/.test(path) && path !== 'sim/tidy.test.ts' && !path.includes('/generated/'),
    )
    const wrong = all.filter((path) => /\b(TODO|FIXME|XXX)\b|\b(it|test|describe)\.(skip|only|todo)\b/.test(text(path)))
    expect(wrong).toEqual([])
  })

  test('no file names a path of one machine or the host of a package registry', () => {
    const all = tracked.filter(
      (path) => /\.(ts|mjs|js|sol|md|json|yml|sh)$|^\.ci\/|^\.npmrc$/.test(path) && path !== 'sim/tidy.test.ts',
    )
    const wrong = all.filter((path) =>
      /\/work\/(main|shared)|\/root\/|https?:\/\/[a-z0-9.-]*(registry|pypi|crates\.io)/.test(text(path)),
    )
    expect(wrong).toEqual([])
    expect(text('package-lock.json').match(/"resolved": "http/g)).toBeNull()
  })

  test('the lock has every optional package of every platform, so that npm ci works on all of them', () => {
    type Locked = { readonly optionalDependencies?: Record<string, string> }
    const { packages } = JSON.parse(text('package-lock.json')) as { packages: Record<string, Locked> }
    const missing = Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
      Object.keys(optionalDependencies)
        .filter((name) => /-(darwin|linux|win32|freebsd|android)-/.test(name))
        .filter((name) => !(`node_modules/${name}` in packages) && !(`${path}/node_modules/${name}` in packages)),
    )
    expect(missing).toEqual([])
  })

  test('every runtime dependency has its line in the decisions', () => {
    const decision = text('docs/decisions/0002-dependencies.md')
    const direct = new Set<string>()
    for (const name of Object.keys(allowedRooms)) {
      const manifest = JSON.parse(text(`packages/${name}/package.json`)) as { dependencies?: Record<string, string> }
      for (const dependency of Object.keys(manifest.dependencies ?? {})) {
        if (!dependency.startsWith('@weightless/')) direct.add(dependency)
      }
    }
    expect([...direct].filter((dependency) => !decision.includes(`\`${dependency}\``))).toEqual([])
    expect(direct.size).toBeLessThanOrEqual(16)
  })

  test('every row of PROOF.md names a test or a bench that exists', () => {
    const rows = text('docs/PROOF.md')
      .split('\n')
      .filter((line) => line.startsWith('|') && !/^\|\s*(-|promise)/i.test(line))
    const wrong: string[] = []
    let proofs = 0
    for (const row of rows) {
      const shown = row.split('|').at(-2)!.trim()
      for (const proof of shown.split('<br>').map((part) => part.trim())) {
        proofs += 1
        const bench = /^bench `([\w-]+)` → \[[^\]]*\]\(([^)]+)\)$/.exec(proof)
        const named = /^`([^`]+)` :: (.+)$/.exec(proof)
        if (bench) {
          if (!existsSync(join(top, 'docs', bench[2]!))) wrong.push(`missing result: ${proof}`)
        } else if (named) {
          const [, file, title] = named
          if (!existsSync(join(top, file!))) wrong.push(`missing file: ${proof}`)
          else if (!text(file!).includes(title!)) wrong.push(`missing title: ${proof}`)
        } else wrong.push(`not a proof: ${row}`)
      }
    }
    expect(wrong).toEqual([])
    expect(proofs).toBeGreaterThan(0)
  })
})
