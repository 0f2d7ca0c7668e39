/** The part of cli-progress that we use: it ships no types. */
declare module 'cli-progress' {
  export const Presets: { readonly shades_classic: object }
  export class SingleBar {
    constructor(options: object, preset: object)
    start(total: number, value: number, payload: object): void
    update(value: number, payload: object): void
    setTotal(total: number): void
    stop(): void
  }
}
