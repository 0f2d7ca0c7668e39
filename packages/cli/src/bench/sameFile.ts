import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'

export async function sameFile(a: string, b: string): Promise<boolean> {
  const [one, other] = await Promise.all([digestOf(a), digestOf(b)])
  return one === other
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const part of createReadStream(path)) hash.update(part as Buffer)
  return hash.digest('hex')
}
