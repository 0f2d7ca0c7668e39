import { setFlagsFromString } from 'node:v8'

/** What `compile` makes, with relaxed SIMD where the engine has it. Node 20 has it behind a flag, which counts while a module is
 *  compiled. Left on it would cost Node the compiled code of its own modules: 20 to 40 ms at each start. */
export function withRelaxedSimd<T>(compile: () => T): T {
  if (!process.versions.node.startsWith('20.')) return compile()
  setFlagsFromString('--experimental-wasm-relaxed-simd')
  try {
    return compile()
  } finally {
    setFlagsFromString('--no-experimental-wasm-relaxed-simd')
  }
}
