// Completes package-lock.json: `node scripts/lock.mjs` after an `npm install`.
// npm leaves optional packages of other platforms out of the lock when a registry does not carry them; `npm ci` then refuses the
// whole lock, and a user on such a platform would get no binary. Their versions are pinned by the packages that ask for
// them, so the entries can be written without fetching anything. sim/tidy.test.ts fails while one is missing.
import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

const file = join(resolve(import.meta.dirname, '..'), 'package-lock.json')
const lock = JSON.parse(readFileSync(file, 'utf8'))
let added = 0
for (const [path, entry] of Object.entries(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const at = `node_modules/${name}`
    if (lock.packages[at] !== undefined || lock.packages[`${path}/node_modules/${name}`] !== undefined) continue
    const os = /(android|darwin|freebsd|linux|openharmony|win32)/.exec(name)?.[1]
    const cpu = /(arm64|arm|amd64|x64|ppc64|riscv64|s390x|ia32)/.exec(name)?.[1]?.replace('amd64', 'x64')
    if (os === undefined || cpu === undefined) continue
    const libc = /musl/.test(name) ? ['musl'] : /gnu/.test(name) ? ['glibc'] : undefined
    lock.packages[at] = {
      version,
      cpu: [cpu],
      ...(entry.dev ? { dev: true } : {}),
      ...(libc ? { libc } : {}),
      optional: true,
      os: [os],
    }
    added += 1
  }
}
lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)))
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`)
process.stderr.write(`package-lock.json: ${added} packages of other platforms added\n`)
