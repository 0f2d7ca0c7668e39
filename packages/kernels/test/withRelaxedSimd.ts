import { setFlagsFromString } from 'node:v8'

/** For tests: what `make` compiles may use relaxed SIMD. Node 20 has it behind a flag, which counts when a module is compiled; later
 *  ones have it always. */
export function withRelaxedSimd<T>(make: () => T): T {
  if (!process.versions.node.startsWith('20.')) return make()
  setFlagsFromString('--experimental-wasm-relaxed-simd')
  try {
    return make()
  } finally {
    setFlagsFromString('--no-experimental-wasm-relaxed-simd')
  }
}
