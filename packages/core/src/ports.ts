import type { Encoding, Recovery } from '@weightless/kernels'

/** The machine, as seen by the protocol: types only. `host` implements them for life, `sim` for the simulator. */

export type Abortable = { readonly signal?: AbortSignal | undefined }

export type Clock = {
  /** Milliseconds since the epoch by the machine's clock when this process started, and steady from then on: somebody who sets that
   *  clock back must not make a peer avoided, a wait or a cache last for as long (sim seed 361). */
  nowMs(): number
  /** Rejects with the signal's reason when aborted. */
  sleep(ms: number, options: Abortable): Promise<void>
  /** A signal that aborts after `ms` with a TimeoutError. */
  deadline(ms: number): AbortSignal
}

export type Random = { bytes(sizeBytes: number): Uint8Array }

/** Web-standard request and response are the network: a server is a function, so a simulator can join both ends. */
export type Net = {
  fetch(request: Request): Promise<Response>
  /** A machine that can do it: GET, and the body straight into a buffer that `take` gives for a status and a declared length,
   *  at least so long. Resolves to the body in it, or to `undefined` when this answer or this address is for `fetch` to ask.
   *  Rejects as `fetch` does and with what `take` throws; what was taken then may still be written to, so it must not serve
   *  again. */
  readonly getInto?:
    | ((
        url: string,
        options: Abortable & { take(status: number, sizeBytes: number): Uint8Array },
      ) => Promise<{ readonly status: number; readonly body: Uint8Array } | undefined>)
    | undefined
}

/** Failures carry a code: `DISK_FULL` when the file system has no room, `DISK_FAILED` for all else. */
export type Disk = {
  /** Opens for reading and writing. `create` makes the file; `sizeBytes` preallocates it. `pastCache`: large writes of whole pages
   *  need not stay in memory for those who read next. */
  open(path: string, options: DiskOpenOptions): Promise<DiskFile>
  /** Makes it and those above it, durably. */
  makeDirectory(path: string): Promise<void>
  list(path: string): Promise<readonly string[]>
  /** `undefined` when nothing is there. `identity` = device and inode: it changes when a path is deleted and made anew. */
  stat(path: string): Promise<{ readonly sizeBytes: number; readonly identity: string } | undefined>
  rename(from: string, to: string): Promise<void>
  remove(path: string): Promise<void>
  /** Makes renames and new names in a directory durable. */
  syncDirectory(path: string): Promise<void>
  /** Free bytes of the file system that holds `path`. */
  free(path: string): Promise<number>
}

export type DiskOpenOptions = { readonly create: boolean; readonly sizeBytes?: number; readonly pastCache?: boolean }

export type DiskFile = {
  readonly identity: string
  /** Fills `into` from `position`; returns the bytes read (less at the end of the file). */
  read(into: Uint8Array, position: number): Promise<number>
  write(parts: readonly Uint8Array[], position: number): Promise<void>
  /** fdatasync. A failure is final: never retried (DESIGN D5). */
  sync(): Promise<void>
  /** Makes the file at least this long, so that later writes change no length; never cuts. */
  allocate(sizeBytes: number): Promise<void>
  close(): Promise<void>
}

/** An ordered map of bytes. Reads are synchronous snapshots; a transaction is all or nothing. */
export type Index = {
  get(key: Uint8Array): Uint8Array | undefined
  /** Keys from ≤ key < to, ascending (or descending with `reverse`). */
  range(options: IndexRange): Iterable<{ readonly key: Uint8Array; readonly value: Uint8Array }>
  /** Resolves when the changes are committed and, with `synced`, flushed to disk. `value: undefined` removes. */
  transaction(changes: readonly IndexChange[], options: { readonly durability: 'synced' | 'written' }): Promise<void>
  close(): Promise<void>
}
export type IndexRange = {
  readonly from: Uint8Array
  readonly to: Uint8Array
  readonly limit?: number
  readonly reverse?: boolean
}
export type IndexChange = { readonly key: Uint8Array; readonly value: Uint8Array | undefined }

/** Heavy byte work, off the event loop: a worker pool in `host`, inline in `sim` and the browser. */
export type Kernels = {
  /** Merkle roots of consecutive segments, 32 bytes each. `data` holds whole segments of SEGMENT_SIZE_BYTES, the last may be
   *  shorter; every segment is zero-extended to 1024 leaves, the last one to `lastLeafCount` leaves. `data` must not change
   *  until the promise settles; a SharedArrayBuffer-backed view is hashed without a copy. */
  segmentRoots(data: Uint8Array, options: { readonly lastLeafCount: number } & Abortable): Promise<Uint8Array>
  /** Fills all m parity shards of a stripe; `undefined` among the data is a shard of zeros. For this call and `recover`: rows must
   *  not change until the promise settles; views of a SharedArrayBuffer are read and written without a copy. After an abort what
   *  was to be filled may still be written to for a moment, so its memory must not serve again. */
  encodeParity(encoding: Encoding, options: Abortable): Promise<void>
  /** Fills the wanted shards of a stripe from any k that are there. */
  recover(recovery: Recovery, options: Abortable): Promise<void>
  /** Fingerprints of shards at one point, 16 bytes each. */
  fingerprints(shards: readonly Uint8Array[], options: { readonly point: Uint8Array } & Abortable): Promise<Uint8Array>
}

export type Logger = {
  debug(event: string, fields?: LogFields): void
  info(event: string, fields?: LogFields): void
  warn(event: string, fields?: LogFields): void
  error(event: string, fields?: LogFields): void
  child(fields: LogFields): Logger
}
export type LogFields = { readonly [name: string]: unknown }
