/** Worker threads read and write shared memory where it lies; browsers have it only in pages that are isolated. */
export function sharedBuffer(sizeBytes: number): ArrayBufferLike {
  return typeof SharedArrayBuffer === 'undefined' ? new ArrayBuffer(sizeBytes) : new SharedArrayBuffer(sizeBytes)
}
