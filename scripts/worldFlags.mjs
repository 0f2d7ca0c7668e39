/** How Node runs worlds. Most of what a world makes is gone at once, so there is room for it; a collector with helpers costs more than
 *  it saves where every core has a run of its own; and a function must run four times as long as by default before it is compiled
 *  again, faster: worlds are so different that compiling took a third of the time (docs/bench/sim.md). Later engines than that of
 *  Node 20 do not know the last flag, and would not start. */
export const WORLD_FLAGS = [
  '--max-semi-space-size=64',
  '--single-threaded-gc',
  ...(process.versions.node.startsWith('20.') ? ['--interrupt-budget=600000'] : []),
]
