import type { FuzzTarget } from './engine.ts'
import { chainTargets } from './targets/chain.ts'
import { cliTargets } from './targets/cli.ts'
import { coreTargets } from './targets/core.ts'
import { doorTargets } from './targets/doors.ts'
import { erasureTargets } from './targets/erasure.ts'
import { hostTargets } from './targets/host.ts'
import { nodeTargets } from './targets/node.ts'
import { sdkTargets } from './targets/sdk.ts'

/** Every parser of bytes from outside. */
export const targets: readonly FuzzTarget[] = [
  ...coreTargets,
  ...erasureTargets,
  ...hostTargets,
  ...chainTargets,
  ...sdkTargets,
  ...doorTargets,
  ...nodeTargets,
  ...cliTargets,
]
