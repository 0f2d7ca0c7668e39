import { statfs } from 'node:fs/promises'

/** Storage nodes leave 128 MiB free and refuse what needs more; logs, the index and the journal need some beside. */
const FREE_BYTES_FULL: number = 256 * 1024 ** 2
const FREE_BYTES_LOW: number = 2 * 1024 ** 3

export type Room = 'full' | 'low' | 'enough'

export async function freeBytesOf(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path)
  return bavail * bsize
}

/** What so many free bytes mean for a network that stores. */
export function roomOf(freeBytes: number): Room {
  if (freeBytes < FREE_BYTES_FULL) return 'full'
  return freeBytes < FREE_BYTES_LOW ? 'low' : 'enough'
}

export const ROOM_NEXT = 'Free space, or move the directory elsewhere.'
