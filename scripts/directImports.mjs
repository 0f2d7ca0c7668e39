// An esbuild plugin: imports from a room's index become imports from the files behind it. With splitting, esbuild counts all that
// an index exports as reached by whoever imports one name from it, so that every command would load what any role needs: lmdb's
// binary, metrics, logs, WebSockets (0.1 s of CPU time at each start).
import { existsSync, readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

export function directImports(packages) {
  const doors = new Map()
  /** Name of a value → the file that has it and its name there. */
  const doorOf = (room) => {
    if (!doors.has(room)) doors.set(room, readDoor(join(packages, room, 'src')))
    return doors.get(room)
  }
  return {
    name: 'direct-imports',
    setup(build) {
      build.onLoad({ filter: /[\\/]packages[\\/][a-z]+[\\/]src[\\/].*\.ts$/ }, async ({ path }) => {
        const text = await readFile(path, 'utf8')
        return {
          loader: 'ts',
          contents: text.replace(IMPORT, (whole, list, room) => direct(whole, list, doorOf(room))),
        }
      })
    },
  }
}

const IMPORT = /^import \{([^}]*)\} from '@weightless\/([a-z]+)'$/gm

function direct(whole, list, door) {
  const byFile = new Map()
  for (const name of namesOf(list)) {
    const [imported, local = imported] = name.split(' as ')
    const found = door.get(imported)
    if (found === undefined) return whole
    byFile.set(found.file, [...(byFile.get(found.file) ?? []), `${found.name} as ${local}`])
  }
  const lines = [...byFile].map(([file, names]) => `import { ${names.join(', ')} } from ${JSON.stringify(file)}`)
  // As many lines as before, for the source map.
  return lines.join(';') + '\n'.repeat(whole.split('\n').length - 1)
}

function readDoor(folder) {
  const door = new Map()
  const index = join(folder, 'index.ts')
  if (!existsSync(index)) return door
  const text = readFileSync(index, 'utf8')
  for (const [, list, path] of text.matchAll(/^export \{([^}]*)\} from '\.\/([^']+)'$/gm)) {
    for (const name of namesOf(list)) {
      const [own, exported = own] = name.split(' as ')
      door.set(exported, { file: join(folder, path), name: own })
    }
  }
  for (const [, path] of text.matchAll(/^export \* from '\.\/([^']+)'$/gm)) {
    const file = join(folder, path)
    const declared = /^export (?:async )?(?:function\*?|const|let|class) ([A-Za-z0-9_$]+)/gm
    for (const [, name] of readFileSync(file, 'utf8').matchAll(declared)) door.set(name, { file, name })
  }
  return door
}

/** Values only: types are gone when the code runs. */
function namesOf(list) {
  return list
    .split(',')
    .map((name) => name.replace(/\/\/.*$/gm, '').trim())
    .filter((name) => name !== '' && !name.startsWith('type '))
}
