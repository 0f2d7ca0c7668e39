import { REPLICA_COUNT } from '@weightless/core'
import { LOOPBACK } from './ports.ts'
import type { CodeName } from './state.ts'

/** What the roles of a local network have in common. */
export type ChainFacts = {
  readonly rpcUrl: string
  readonly wsUrl: string
  readonly chainId: number
  readonly flow: string
  readonly registry: string
  readonly startBlock: number
}

export function storageConfig(
  chain: ChainFacts,
  node: {
    readonly id: string
    readonly port: number
    readonly dataDir: string
    readonly keyFile: string
    readonly gatewayUrl: string
    readonly adminSocket: string | undefined
  },
): string {
  return toToml({
    chain: chainSection(chain),
    storage: {
      listen: `${LOOPBACK}:${node.port}`,
      ...(node.adminSocket === undefined ? {} : { listen_admin: `unix:${node.adminSocket}` }),
      data_dir: node.dataDir,
      key_file: node.keyFile,
      membership: 'registry',
      endpoint: `http://${LOOPBACK}:${node.port}`,
      // One process is one failure domain here: on one machine nothing coarser would mean anything.
      domain: node.id,
      gateway_url: node.gatewayUrl,
    },
  })
}

export function gatewayConfig(
  chain: ChainFacts,
  gateway: {
    readonly port: number
    readonly dataDir: string
    /** Of uploads by official clients; `none`: three copies. */
    readonly code: CodeName
    /** Pays for their parity. */
    readonly operatorKeyFile: string
  },
): string {
  return toToml({
    chain: chainSection(chain),
    gateway: {
      listen: `${LOOPBACK}:${gateway.port}`,
      data_dir: gateway.dataDir,
      ...(gateway.code === 'none'
        ? { policy: 'replicate', replicas: REPLICA_COUNT }
        : { policy: 'erasure', code: gateway.code, operator_key_file: gateway.operatorKeyFile }),
      public_url: `http://${LOOPBACK}:${gateway.port}`,
    },
  })
}

type Sections = { readonly [section: string]: { readonly [key: string]: string | number | boolean } }

/** Flat sections are all that our configuration has. */
export function toToml(sections: Sections): string {
  return Object.entries(sections)
    .map(([section, fields]) =>
      [
        `[${section}]`,
        ...Object.entries(fields).map(([key, value]) => `${key} = ${typeof value === 'string' ? quote(value) : value}`),
        '',
      ].join('\n'),
    )
    .join('\n')
}

function chainSection(chain: ChainFacts): Sections[string] {
  return {
    rpc_url: chain.rpcUrl,
    ws_url: chain.wsUrl,
    chain_id: chain.chainId,
    flow: chain.flow,
    registry: chain.registry,
    start_block: chain.startBlock,
  }
}

/** A TOML basic string: JSON escapes the same characters, but for DEL, which TOML forbids raw. */
function quote(text: string): string {
  return JSON.stringify(text).replaceAll('\u007f', '\\u007f')
}
