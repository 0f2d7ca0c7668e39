/** Base64 and searching at the speed of the machine: Buffer's own loops, and memchr instead of a byte loop in JavaScript. */
export const nodeBytes: {
  view(buffer: ArrayBufferLike, sizeBytes?: number): Uint8Array
  toBase64(bytes: Uint8Array): string
} = {
  view: (buffer, sizeBytes) => Buffer.from(buffer as ArrayBuffer, 0, sizeBytes),
  toBase64: (bytes) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64'),
}
