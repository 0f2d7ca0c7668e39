import type { Disk, DiskFile } from '@weightless/core'
import { createFail } from '@weightless/core'
import type { Chance } from './chance.ts'

/** A disk in memory that tells the truth about syncing: a loss of power drops and tears whatever was not synced, names as well
 *  as bytes. Operations take a few turns of the microtask queue, so that they overlap as on a real machine. */
export type MemoryDisk = Disk & {
  /** The disk as one process sees it: dead with that process. The disk itself serves whoever lives. */
  process(): Disk
  /** The machine loses power: open files die, unsynced sectors are kept, dropped or torn by chance. */
  losePower(): void
  /** The process dies: open files die, all that was written stays (the kernel has it), nothing becomes durable by it. */
  endProcess(): void
  readonly faults: DiskFaults
  /** Flips a bit of a file, durable or not. */
  flipBit(path: string, position: number): void
  /** Overwrites of bytes on the way to durability, for statements about the number of syncs. */
  readonly syncCount: number
}
export type DiskFaults = {
  /** The next syncs fail; as on Linux the pages then count as clean and are lost with the power. */
  failingSyncs: number
  failingReads: number
  failingWrites: number
  /** Files take no more than this many bytes of sectors in all. */
  capacityBytes: number
  /** What `free` says, true or not: others may take the room a moment later. */
  claimedFreeBytes: number | undefined
  /** Syncs that answer well and do nothing: the lie that the simulator must catch. */
  lyingSyncs: boolean
}

const SECTOR_BYTES = 512

const fail = createFail({
  DISK_FULL: { retryable: true, blame: 'self', next: 'Free space.' },
  DISK_FAILED: { retryable: false, blame: 'self', next: 'Check the simulated disk.' },
})

/** No sector is ever changed in place: what is live and what is durable share them. */
type Sectors = Map<number, Uint8Array>
type Write = { readonly position: number; readonly bytes: Uint8Array }
type Inode = {
  readonly id: number
  live: Sectors
  liveSize: number
  durable: Sectors
  durableSize: number
  pending: Write[]
}
/** A change of names that a power loss may undo. */
type NameChange = { readonly directory: string; readonly path: string; readonly inode: Inode | undefined }

export function createMemoryDisk(chance: Chance): MemoryDisk {
  let lastInode = 0
  let epoch = 0
  let syncCount = 0
  let live = new Map<string, Inode>()
  let durable = new Map<string, Inode>()
  let changes: NameChange[] = []
  const directories = new Set<string>(['/'])
  const faults: DiskFaults = {
    failingSyncs: 0,
    failingReads: 0,
    failingWrites: 0,
    capacityBytes: Infinity,
    claimedFreeBytes: undefined,
    lyingSyncs: false,
  }

  async function turns(): Promise<void> {
    for (let left = chance.below(4); left > 0; left--) await Promise.resolve()
  }

  /** In the same turn as an effect: a dead process changes nothing. */
  function checkAlive(begun: number): void {
    if (epoch !== begun) throw fail('DISK_FAILED', { reason: 'the machine stopped' })
  }

  function rename(path: string, inode: Inode | undefined): void {
    if (inode === undefined) live.delete(path)
    else live.set(path, inode)
    changes.push({ directory: parentOf(path), path, inode })
  }

  const usedBytes = (): number => {
    let sectors = 0
    for (const inode of new Set(live.values())) sectors += inode.live.size
    return sectors * SECTOR_BYTES
  }

  function openFile(path: string, inode: Inode, begun = epoch): DiskFile {
    let isOpen = true
    const checkOpen = (): void => {
      if (!isOpen) throw fail('DISK_FAILED', { path, reason: 'closed' })
      checkAlive(begun)
    }
    return {
      identity: `memory:${inode.id}`,
      async read(into, position) {
        await turns()
        checkOpen()
        if (faults.failingReads > 0) {
          faults.failingReads -= 1
          throw fail('DISK_FAILED', { path, reason: 'EIO' })
        }
        return readSectors(inode.live, inode.liveSize, into, position)
      },
      async write(parts, position) {
        await turns()
        checkOpen()
        if (faults.failingWrites > 0) {
          faults.failingWrites -= 1
          throw fail('DISK_FAILED', { path, reason: 'EIO' })
        }
        let at = position
        for (const part of parts) {
          if (faults.capacityBytes !== Infinity) {
            const neededBytes = missingBytes(inode.live, at, part.length)
            if (neededBytes > 0 && usedBytes() + neededBytes > faults.capacityBytes)
              throw fail('DISK_FULL', { path, reason: 'ENOSPC' })
          }
          // A copy also of a Buffer, whose own `slice` is none.
          const bytes = new Uint8Array(part)
          writeSectors(inode.live, bytes, at)
          inode.pending.push({ position: at, bytes })
          inode.liveSize = Math.max(inode.liveSize, at + bytes.length)
          at += bytes.length
          // A process may end between two parts.
          if (chance.below(3) === 0) await turns()
          checkOpen()
        }
        await turns()
        checkOpen()
      },
      async sync() {
        await turns()
        checkOpen()
        syncCount += 1
        // Only what was written before the call is sure to be covered.
        const covered = inode.pending.length
        const size = inode.liveSize
        await turns()
        checkOpen()
        if (faults.failingSyncs > 0) {
          faults.failingSyncs -= 1
          inode.pending.splice(0, covered)
          throw fail('DISK_FAILED', { path, reason: 'EIO' })
        }
        if (faults.lyingSyncs) return
        for (const { position, bytes } of inode.pending.splice(0, covered)) writeSectors(inode.durable, bytes, position)
        inode.durableSize = Math.max(inode.durableSize, size)
      },
      async allocate(sizeBytes) {
        await turns()
        checkOpen()
        inode.liveSize = Math.max(inode.liveSize, sizeBytes)
      },
      async close() {
        isOpen = false
      },
    }
  }

  const view = (begun?: () => number): Disk => ({
    async open(path, options) {
      const born = begun?.() ?? epoch
      await turns()
      checkAlive(born)
      let inode = live.get(path)
      if (inode === undefined) {
        if (!options.create) throw fail('DISK_FAILED', { path, reason: 'ENOENT' })
        if (!directories.has(parentOf(path))) throw fail('DISK_FAILED', { path, reason: 'ENOENT' })
        inode = { id: ++lastInode, live: new Map(), liveSize: 0, durable: new Map(), durableSize: 0, pending: [] }
        rename(path, inode)
      }
      inode.liveSize = Math.max(inode.liveSize, options.sizeBytes ?? 0)
      return openFile(path, inode, born)
    },
    async makeDirectory(path) {
      const born = begun?.() ?? epoch
      await turns()
      checkAlive(born)
      for (let at = path; at !== '/'; at = parentOf(at)) directories.add(at)
    },
    async list(path) {
      const born = begun?.() ?? epoch
      await turns()
      checkAlive(born)
      return [...live.keys()].filter((name) => parentOf(name) === path).map((name) => name.slice(path.length + 1))
    },
    async stat(path) {
      const born = begun?.() ?? epoch
      await turns()
      checkAlive(born)
      const inode = live.get(path)
      if (inode !== undefined) return { sizeBytes: inode.liveSize, identity: `memory:${inode.id}` }
      return directories.has(path) ? { sizeBytes: 0, identity: `directory:${path}` } : undefined
    },
    async rename(from, to) {
      const born = begun?.() ?? epoch
      await turns()
      checkAlive(born)
      const inode = live.get(from)
      if (inode === undefined) throw fail('DISK_FAILED', { path: from, reason: 'ENOENT' })
      rename(from, undefined)
      rename(to, inode)
    },
    async remove(path) {
      const born = begun?.() ?? epoch
      await turns()
      checkAlive(born)
      for (const name of live.keys()) if (name === path || name.startsWith(`${path}/`)) rename(name, undefined)
      for (const name of directories)
        if (name !== '/' && (name === path || name.startsWith(`${path}/`))) directories.delete(name)
    },
    async syncDirectory(path) {
      const born = begun?.() ?? epoch
      await turns()
      checkAlive(born)
      if (!directories.has(path)) throw fail('DISK_FAILED', { path, reason: 'ENOENT' })
      if (faults.lyingSyncs) return
      for (const change of changes.filter(({ directory }) => directory === path)) applyName(durable, change)
      changes = changes.filter(({ directory }) => directory !== path)
    },
    async free() {
      const born = begun?.() ?? epoch
      await turns()
      checkAlive(born)
      if (faults.claimedFreeBytes !== undefined) return faults.claimedFreeBytes
      return faults.capacityBytes === Infinity ? 2 ** 50 : Math.max(0, faults.capacityBytes - usedBytes())
    },
  })

  return {
    faults,
    get syncCount() {
      return syncCount
    },
    ...view(),
    process() {
      const born = epoch
      return view(() => born)
    },
    losePower() {
      epoch += 1
      // Names become durable in the order in which they were changed; how far they came is chance.
      for (const change of changes.slice(0, chance.below(changes.length + 1))) applyName(durable, change)
      changes = []
      for (const inode of new Set([...live.values(), ...durable.values()])) settleByChance(inode, chance)
      live = new Map(durable)
    },
    endProcess() {
      epoch += 1
    },
    flipBit(path, position) {
      const inode = live.get(path)!
      for (const sectors of [inode.live, inode.durable]) {
        const byte = new Uint8Array(1)
        readSectors(sectors, position + 1, byte, position)
        writeSectors(sectors, Uint8Array.of(byte[0]! ^ 1), position)
      }
    },
  }
}

function applyName(names: Map<string, Inode>, { path, inode }: NameChange): void {
  if (inode === undefined) names.delete(path)
  else names.set(path, inode)
}

/** Each unsynced write was on its way: all of it, none of it, or some of its sectors reached the platter. */
function settleByChance(inode: Inode, chance: Chance): void {
  for (const { position, bytes } of inode.pending) {
    const fate = chance.below(3)
    for (let done = 0; done < bytes.length;) {
      const stepBytes = Math.min(bytes.length - done, SECTOR_BYTES - ((position + done) % SECTOR_BYTES))
      if (fate === 1 || (fate === 2 && chance.below(2) === 1)) {
        writeSectors(inode.durable, bytes.subarray(done, done + stepBytes), position + done)
        inode.durableSize = Math.max(inode.durableSize, position + done + stepBytes)
      }
      done += stepBytes
    }
  }
  inode.pending = []
  if (chance.below(2) === 1) inode.durableSize = Math.max(inode.durableSize, inode.liveSize)
  inode.liveSize = inode.durableSize
  inode.live = new Map(inode.durable)
}

/** What a write would add: sectors that are there already are overwritten in place. */
function missingBytes(sectors: Sectors, position: number, sizeBytes: number): number {
  let missing = 0
  for (let number = Math.floor(position / SECTOR_BYTES); number * SECTOR_BYTES < position + sizeBytes; number++)
    if (!sectors.has(number)) missing += 1
  return missing * SECTOR_BYTES
}

function readSectors(sectors: Sectors, sizeBytes: number, into: Uint8Array, position: number): number {
  const end = Math.min(position + into.length, sizeBytes)
  let at = position
  while (at < end) {
    const number = Math.floor(at / SECTOR_BYTES)
    const within = at % SECTOR_BYTES
    const sector = sectors.get(number)
    // What was written at once lies in one piece of memory.
    let count = 1
    while ((number + count) * SECTOR_BYTES < end && isBehind(sectors.get(number + count), sector, count)) count += 1
    const stepBytes = Math.min(end - at, count * SECTOR_BYTES - within)
    if (sector === undefined) into.fill(0, at - position, at - position + stepBytes)
    else into.set(new Uint8Array(sector.buffer, sector.byteOffset + within, stepBytes), at - position)
    at += stepBytes
  }
  return Math.max(0, end - position)
}

/** Whether a sector is that many sectors behind the first one in the same memory, or missing as that one is. */
function isBehind(sector: Uint8Array | undefined, first: Uint8Array | undefined, count: number): boolean {
  if (sector === undefined || first === undefined) return sector === first
  return sector.buffer === first.buffer && sector.byteOffset === first.byteOffset + count * SECTOR_BYTES
}

/** Keeps `bytes`, which nobody changes afterwards. */
function writeSectors(sectors: Sectors, bytes: Uint8Array, position: number): void {
  let done = 0
  while (done < bytes.length) {
    const number = Math.floor((position + done) / SECTOR_BYTES)
    const within = (position + done) % SECTOR_BYTES
    const stepBytes = Math.min(bytes.length - done, SECTOR_BYTES - within)
    const part = bytes.subarray(done, done + stepBytes)
    if (stepBytes === SECTOR_BYTES) sectors.set(number, part)
    else {
      const sector = sectors.get(number)?.slice() ?? new Uint8Array(SECTOR_BYTES)
      sector.set(part, within)
      sectors.set(number, sector)
    }
    done += stepBytes
  }
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/'
}
