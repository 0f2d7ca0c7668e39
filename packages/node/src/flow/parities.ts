import type { Entry, Index, IndexChange, ParityTags, Root } from '@weightless/core'
import { parityFits, parseParityTags } from '@weightless/core'
import type { EntryIndex } from './entries.ts'
import { numberOfKey, objectKey, objectRange } from './keys.ts'

/** Entries of the log that say they are the parity of an object. Whether they are is for whoever proves them: anybody may submit
 *  any number of them. */
export type ParityIndex = {
  /** Those of one object, ascending by sequence number, as they are read: none costs more than its own row. */
  of(object: ObjectName): Iterable<ParityEntry>
  /** One by its number; `undefined` when that is no parity of this object. However many others there are, it is found. */
  named(object: ObjectName, paritySeq: number): ParityEntry | undefined
}

/** A root does not commit to the size: an object is both. */
export type ObjectName = { readonly root: Root; readonly sizeBytes: number }
export type ParityEntry = { readonly entry: Entry; readonly tags: ParityTags }

export function createParityIndex(deps: { readonly index: Index; readonly entries: EntryIndex }): ParityIndex {
  const { index, entries } = deps
  const named = ({ root, sizeBytes }: ObjectName, paritySeq: number): ParityEntry | undefined => {
    const entry = entries.bySeq(paritySeq)
    const tags = entry && parityTagsOf(entry)
    const isOfObject = tags !== undefined && tags.dataRoot === root && tags.sizeBytes === sizeBytes
    return isOfObject ? { entry: entry!, tags } : undefined
  }
  return {
    named,
    *of(object) {
      for (const { key } of index.range(objectRange('parity', object))) {
        const found = named(object, numberOfKey(key))
        if (found !== undefined) yield found
      }
    },
  }
}

/** The tags of an entry that has the size which they demand; `undefined` for all other entries. */
export function parityTagsOf(entry: Pick<Entry, 'tags' | 'sizeBytes'>): ParityTags | undefined {
  const tags = parseParityTags(entry.tags)
  return tags !== undefined && parityFits(entry, tags) ? tags : undefined
}

/** What a new entry adds to the index if it says that it is parity; the follower commits it with the entry. */
export function parityChanges(entry: Entry): readonly IndexChange[] {
  return parityRowKeys(entry).map((key) => ({ key, value: new Uint8Array(0) }))
}

export function parityRowKeys(entry: Entry): readonly Uint8Array[] {
  const tags = parityTagsOf(entry)
  return tags === undefined ? [] : [objectKey('parity', { root: tags.dataRoot, sizeBytes: tags.sizeBytes }, entry.seq)]
}
