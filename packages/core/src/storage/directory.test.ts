import { keccak256 } from '@weightless/kernels'
import { describe, expect, test } from 'vitest'
import { concat, toHex } from '../index.ts'
import { entriesOf, locateIn, parseDirectory, type DirectoryNode } from './directory.ts'

/** Stored by the official Go client (1ccb3a9, `upload-dir`). */
const TREE =
  '{"name":"/","type":"directory","entries":[' +
  '{"name":"a","type":"file","roots":["0xc3527d15720d9ac204b145b8d3cbd2c32e77b0334650a4d3510e018c4253b3f8"],"size":1000000},' +
  '{"name":"empty","type":"file"},{"name":"link","type":"symbolic","link":"a"},' +
  '{"name":"sub","type":"directory","entries":[' +
  '{"name":"b","type":"file","roots":["0x629bbc95091b5899f2675a314c7b3bde1e3aa3fa4b6cb3a9e3742ecbadc7e15a"],"size":257}]}]}'
const MAGIC = keccak256(new TextEncoder().encode('0g-storage-client-dir-codec'))

function fileOf(text: string, version = 2, magic: Uint8Array = MAGIC): Uint8Array {
  return concat([magic, Uint8Array.of(version >> 8, version & 0xff), new TextEncoder().encode(text)])
}
const directory = (text: string): Extract<DirectoryNode, { type: 'directory' }> => {
  const node = parseDirectory(fileOf(text))
  if (node?.type !== 'directory') throw new Error('a directory')
  return node
}
const rootA = '0xc3527d15720d9ac204b145b8d3cbd2c32e77b0334650a4d3510e018c4253b3f8'

describe('the file of a directory', () => {
  test('begins with the hash that the official client writes', () => {
    expect(toHex(MAGIC)).toBe('0xa8795aa6b5ee8997448d47d3135f70f45e2d3502f8002edeef242ebd0458e7f5')
  })

  test('of the official Go client is read', () => {
    expect(entriesOf(directory(TREE))).toEqual([
      { type: 'file', name: 'a', sizeBytes: 1_000_000, roots: [rootA] },
      { type: 'file', name: 'empty', sizeBytes: 0, roots: [] },
      { type: 'symbolic', name: 'link', link: 'a' },
      { type: 'directory', name: 'sub', entries: expect.any(Array) },
    ])
  })

  test('of version 1 has one root for each file', () => {
    const text = `{"name":"d","type":"directory","entries":[{"name":"a","type":"file","hash":"${rootA}","size":3}]}`
    const node = parseDirectory(fileOf(text, 1))
    expect(node?.type === 'directory' && entriesOf(node)).toEqual([
      { type: 'file', name: 'a', sizeBytes: 3, roots: [rootA] },
    ])
  })

  test.each([
    ['nothing', new Uint8Array(0)],
    ['the hash alone', MAGIC],
    ['another hash', fileOf(TREE, 2, keccak256(MAGIC))],
    ['another version', fileOf(TREE, 3)],
    ['no text', fileOf('')],
    ['half a text', fileOf(TREE.slice(0, -1))],
    ['bytes that are no text', concat([fileOf(''), Uint8Array.of(0xff)])],
    ['a list', fileOf('[]')],
    ['no name', fileOf('{"type":"directory"}')],
    ['an unknown type', fileOf('{"name":"x","type":"socket"}')],
    ['entries that are no list', fileOf('{"name":"x","type":"directory","entries":{}}')],
    ['a root that is none', fileOf('{"name":"x","type":"file","roots":["0x12"],"size":1}')],
    ['a size below zero', fileOf('{"name":"x","type":"file","size":-1}')],
  ])('is not %s', (_, bytes) => {
    expect(parseDirectory(bytes)).toBeUndefined()
  })

  test('is followed along a path, name by name, and not through links or what says nothing', () => {
    const top = directory(TREE)
    expect(locateIn(top, [])).toBe(top)
    expect(locateIn(top, ['sub', 'b'])).toMatchObject({ type: 'file', sizeBytes: 257 })
    expect(locateIn(top, ['sub'])?.type).toBe('directory')
    for (const path of [['b'], ['sub', 'a'], ['a', 'x'], ['link', 'x'], ['']])
      expect(locateIn(top, path)).toBeUndefined()
    expect(
      locateIn(directory('{"name":"d","type":"directory","entries":[null,{"name":"x"},7]}'), ['x']),
    ).toBeUndefined()
    expect(entriesOf(directory('{"name":"d","type":"directory","entries":[null,{"name":"x"},7]}'))).toEqual([])
  })
})
