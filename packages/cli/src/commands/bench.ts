import type { Context } from '../context.ts'
import { fail } from '../errors.ts'

export async function benchCommand(name: string | undefined, _options: { readonly quick: boolean }, _context: Context): Promise<void> {
  throw fail('USAGE', { reason: 'no such scenario', name })
}
