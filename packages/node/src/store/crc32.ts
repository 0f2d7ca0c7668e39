/** CRC-32 (IEEE 802.3, reflected 0xedb88320), continued from `seed`: the plain twin of the machine's own, which is ten times as fast. */
export function crc32(data: Uint8Array, seed = 0): number {
  let crc = ~seed
  for (let i = 0; i < data.length; i++) crc = TABLE[(crc ^ data[i]!) & 0xff]! ^ (crc >>> 8)
  return ~crc >>> 0
}

export type Crc32 = (data: Uint8Array, seed?: number) => number

const TABLE: Int32Array = Int32Array.from({ length: 256 }, (_, byte) => {
  let value = byte
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1
  return value
})
