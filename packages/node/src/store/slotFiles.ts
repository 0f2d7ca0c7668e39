import { invariant } from '@weightless/core'
import type { Disk, DiskFile } from '@weightless/core'
import { PAGE_BYTES, SLOT_CLASS_BYTES, type SlotAddress } from './slot.ts'

/** Slots in one file: 4 GiB of the largest class, so that a terabyte needs few open files. */
export const FILE_SLOTS = 16_384
/** A gap between neighbouring slots is written as zeros up to here, to keep one write per run; a wider one splits the run. */
const GAP_BYTES_MAX = 16_384
/** Slots in one call: bounds the parts of a vectored write to 3 per slot. */
const RUN_SLOTS_MAX = 64

export type SlotRecord = SlotAddress & { readonly head: Uint8Array; readonly data: Uint8Array }
/** One file of slots. `identity` is that of the open file: compared with its path before anything is acknowledged. */
export type SlotFile = { readonly path: string; readonly file: DiskFile }

/** Memory for so many bytes, whatever is in it. */
export type TakeMemory = (sizeBytes: number) => Uint8Array

const newMemory: TakeMemory = (sizeBytes) => new Uint8Array(sizeBytes)

export type SlotFiles = {
  /** Makes the files of these slots and gives them their length; new names are durable when this resolves. */
  prepare(classId: number, slots: readonly number[]): Promise<void>
  /** Writes records, one call per run of neighbours. Resolves to the files that were touched; rejects when one was not written. */
  write(records: readonly SlotRecord[]): Promise<readonly SlotFile[]>
  /** Makes all that was written to these files before the call durable. */
  sync(files: Iterable<SlotFile>): Promise<void>
  /** Overwrites the head of a slot. Resolves to its file. */
  writeHead(at: SlotAddress, head: Uint8Array): Promise<SlotFile>
  /** The first `sizeBytes` of a slot, in memory from `take`; less where the file ends. */
  read(at: SlotAddress, sizeBytes: number, take?: TakeMemory): Promise<Uint8Array>
  /** The files of slots that have been read or written. */
  filesOf(at: readonly SlotAddress[]): Promise<readonly SlotFile[]>
  /** Classes and file numbers that exist on disk, with the slots that each has room for. */
  list(): Promise<readonly { readonly classId: number; readonly fileNumber: number; readonly slotCount: number }[]>
  /** True when every path still leads to the file that is open. */
  areInPlace(files: Iterable<SlotFile>): Promise<boolean>
  close(): Promise<void>
}

export function createSlotFiles(directory: string, disk: Disk): SlotFiles {
  const files = new Map<string, Promise<SlotFile | undefined>>()
  /** Settles when no sync is under way. A write beside a sync of its file takes twice the CPU time, and its own sync has to
   *  wait for this one anyway; waiting, it meets others and goes with them in one call. */
  let syncing: Promise<unknown> = Promise.resolve()
  const queues = SLOT_CLASS_BYTES.map(() => ({ jobs: [] as WriteJob[], isDraining: false }))

  const pathOf = (classId: number, fileNumber: number): string =>
    `${directory}/slots-${SLOT_CLASS_BYTES[classId]!}-${String(fileNumber).padStart(6, '0')}.dat`

  /** Opens a file once; a failed or empty-handed try is forgotten. */
  function openFile(classId: number, fileNumber: number, create: boolean): Promise<SlotFile | undefined> {
    const path = pathOf(classId, fileNumber)
    const known = files.get(path)
    if (known !== undefined) return known
    const opening = (async () => {
      if (!create && (await disk.stat(path)) === undefined) return undefined
      return { path, file: await disk.open(path, { create, pastCache: true }) }
    })()
    files.set(path, opening)
    opening.then(
      (found) => found === undefined && files.delete(path),
      () => files.delete(path),
    )
    return opening
  }

  async function opened(at: SlotAddress): Promise<SlotFile> {
    const found = await openFile(at.classId, Math.floor(at.slot / FILE_SLOTS), false)
    invariant(found !== undefined, 'slots are written only after their file was prepared')
    return found
  }

  async function writeRun(run: readonly SlotRecord[]): Promise<SlotFile> {
    const first = run[0]!
    const target = await opened(first)
    const slotBytes = SLOT_CLASS_BYTES[first.classId]!
    const parts: Uint8Array[] = []
    run.forEach((record, i) => {
      const sizeBytes = record.head.length + record.data.length
      const paddedBytes = i + 1 < run.length ? slotBytes : Math.ceil(sizeBytes / PAGE_BYTES) * PAGE_BYTES
      parts.push(record.head, record.data, ZEROS.subarray(0, paddedBytes - sizeBytes))
    })
    await target.file.write(parts, offsetOf(first))
    return target
  }

  /** One write at a time in each class, of all that came meanwhile: a kernel lets only one writer into a file, the others wait
   *  in threads (measured: twice the CPU time with four writers), and small neighbours become one call. */
  async function drain(classId: number): Promise<void> {
    const queue = queues[classId]!
    if (queue.isDraining) return
    queue.isDraining = true
    while (queue.jobs.length > 0) {
      const jobs = queue.jobs
      queue.jobs = []
      const owners = new Map<SlotRecord, WriteJob>()
      for (const job of jobs) for (const record of job.records) owners.set(record, job)
      for (const run of runsOf([...owners.keys()].sort((a, b) => a.slot - b.slot))) {
        const ofRun = new Set(run.map((record) => owners.get(record)!))
        await syncing
        try {
          const file = await writeRun(run)
          for (const job of ofRun) job.touched.add(file)
        } catch (error) {
          for (const job of ofRun) job.failure ??= { error }
        }
      }
      for (const job of jobs) {
        if (job.failure === undefined) job.resolve([...job.touched])
        else job.reject(job.failure.error)
      }
    }
    queue.isDraining = false
  }

  return {
    async prepare(classId, slots) {
      const ends = new Map<number, number>()
      for (const slot of slots) {
        const fileNumber = Math.floor(slot / FILE_SLOTS)
        ends.set(
          fileNumber,
          Math.max(ends.get(fileNumber) ?? 0, offsetOf({ classId, slot }) + SLOT_CLASS_BYTES[classId]!),
        )
      }
      let isNew = false
      for (const [fileNumber, endBytes] of ends) {
        isNew ||= (await disk.stat(pathOf(classId, fileNumber))) === undefined
        const found = await openFile(classId, fileNumber, true)
        await found!.file.allocate(endBytes)
      }
      if (isNew) await disk.syncDirectory(directory)
    },
    async write(records) {
      const jobs: Promise<readonly SlotFile[]>[] = []
      for (const [classId, queue] of queues.entries()) {
        const ofClass = records.filter((record) => record.classId === classId)
        if (ofClass.length === 0) continue
        jobs.push(
          new Promise((resolve, reject) => {
            queue.jobs.push({ records: ofClass, touched: new Set(), failure: undefined, resolve, reject })
          }),
        )
        void drain(classId)
      }
      // All have ended before one failure is told: a caller that cleans up must not be overtaken by its own writes.
      const results = await Promise.allSettled(jobs)
      return results.flatMap((result) => {
        if (result.status === 'rejected') throw result.reason
        return result.value
      })
    },
    async sync(touched) {
      const done = Promise.all(Array.from(new Set(touched), ({ file }) => file.sync()))
      syncing = Promise.allSettled([syncing, done])
      await done
    },
    async writeHead(at, head) {
      const target = await opened(at)
      await target.file.write([head], offsetOf(at))
      return target
    },
    async read(at, sizeBytes, take = newMemory) {
      const into = take(sizeBytes)
      const found = await openFile(at.classId, Math.floor(at.slot / FILE_SLOTS), false)
      if (found === undefined) return into.subarray(0, 0)
      return into.subarray(0, await found.file.read(into, offsetOf(at)))
    },
    filesOf: (slots) => Promise.all(slots.map(opened)),
    async list() {
      const found: { classId: number; fileNumber: number; slotCount: number }[] = []
      for (const name of await disk.list(directory)) {
        const match = /^slots-(\d+)-(\d{6,})\.dat$/.exec(name)
        const classId = SLOT_CLASS_BYTES.indexOf(Number(match?.[1]))
        if (match === null || classId < 0) continue
        const size = await disk.stat(`${directory}/${name}`)
        const slotCount = Math.min(FILE_SLOTS, Math.ceil((size?.sizeBytes ?? 0) / SLOT_CLASS_BYTES[classId]!))
        found.push({ classId, fileNumber: Number(match[2]), slotCount })
      }
      return found.sort((a, b) => a.classId - b.classId || a.fileNumber - b.fileNumber)
    },
    async areInPlace(touched) {
      const answers = [...touched].map(async ({ path, file }) => (await disk.stat(path))?.identity === file.identity)
      return (await Promise.all(answers)).every(Boolean)
    },
    async close() {
      const open = await Promise.all([...files.values()].map((opening) => opening.catch(() => undefined)))
      files.clear()
      await Promise.all(open.map(async (found) => found?.file.close()))
    },
  }
}

type WriteJob = {
  readonly records: readonly SlotRecord[]
  readonly touched: Set<SlotFile>
  failure: { readonly error: unknown } | undefined
  readonly resolve: (files: readonly SlotFile[]) => void
  readonly reject: (error: unknown) => void
}

const ZEROS = new Uint8Array(Math.max(GAP_BYTES_MAX, PAGE_BYTES))

function offsetOf({ classId, slot }: SlotAddress): number {
  return (slot % FILE_SLOTS) * SLOT_CLASS_BYTES[classId]!
}

/** Records of neighbouring slots in one file, from records in order. */
function runsOf(records: readonly SlotRecord[]): SlotRecord[][] {
  const runs: SlotRecord[][] = []
  for (const record of records) {
    const run = runs.at(-1)
    const last = run?.at(-1)
    const continues =
      run !== undefined &&
      last !== undefined &&
      run.length < RUN_SLOTS_MAX &&
      last.classId === record.classId &&
      last.slot + 1 === record.slot &&
      record.slot % FILE_SLOTS !== 0 &&
      SLOT_CLASS_BYTES[last.classId]! - last.head.length - last.data.length <= GAP_BYTES_MAX
    if (continues) run.push(record)
    else runs.push([record])
  }
  return runs
}
