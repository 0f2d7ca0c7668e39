/** Copies `source` to `target[at]`; the two must not overlap. `set` goes byte by byte where one of them is shared memory and they
 *  are not aligned alike, as a body behind its head and the data of a frame never are: 65 us for 256 KiB, this takes 2 (Node 20
 *  and 24). Throws a RangeError where `source` does not fit. */
export function copyInto(target: Uint8Array, source: Uint8Array, at: number): void {
  const end = at + source.length
  // `fill` repeats its value until `end`: here that is once.
  if (at < end) Buffer.from(target.buffer as ArrayBuffer, target.byteOffset, target.length).fill(source, at, end)
}
