import { STAKE_PER_SEGMENT_WEI } from '../chain.ts'
import { lying } from '../liar.ts'
import { lyingGateway } from '../lyingGateway.ts'
import { lyingRepairer, wrongRebuilds } from '../lyingRepairer.ts'
import { addressOf, createMachine, keyOf, type SimMachine } from '../machine.ts'
import type { SimNet } from '../net.ts'
import type { Process } from '../process.ts'
import { chainFor } from './chain.ts'
import { FUNDS_WEI, GATEWAY_URL, nodeUrl, OPERATOR, type World } from './state.ts'

export const REPLICAS = 3
const CAPACITY_BYTES = 1024 ** 3

export const stakesOf = (nodeCount: number): bigint =>
  BigInt(nodeCount) * BigInt(CAPACITY_BYTES / 262_144) * STAKE_PER_SEGMENT_WEI

/** In the order in which a plan numbers them. */
export function makeMachines(world: World): readonly SimMachine[] {
  const { plan, time, net, trace, chain, seed, checker, planted } = world
  const shared = {
    time,
    trace,

    onBug: checker.bug,
    onStart: (process: Process) => void world.processes.push(process),
    planted,
    wrapKernels: undefined,
  }
  const chainConfig = (rpcUrl: string) => ({
    rpcUrl,
    wsUrl: undefined,
    chainId: chain.chainId,
    flow: chain.flow,
    registry: chain.registry,
    startBlock: 0,
    confirmations: 0,
    logPageBlocks: 1000,
    pollMs: plan.headPollMs,
    rpcTimeoutMs: undefined,
  })
  const rest = { log: { level: 'info' }, ignoredKeys: [] } as const
  const nodeOf = (id: number): SimMachine => {
    const key = keyOf(id)
    const wallet = addressOf(id)
    chain.fund(wallet, FUNDS_WEI)
    return createMachine(
      {
        name: `node-${id}`,
        url: nodeUrl(id),
        privateKey: key,
        config: (rpcUrl) => ({
          chain: chainConfig(rpcUrl),
          storage: {
            listen: { host: `node-${id}.sim`, port: 80 },
            dataDir: '/data',
            keyFile: '/key',
            membership: { source: 'registry' },
            endpoint: nodeUrl(id),
            domain: plan.domains[id],
            capacityBytes: CAPACITY_BYTES,
            gatewayUrl: GATEWAY_URL,
            stakeWei: undefined,
            adminListen: undefined,
          },
          gateway: undefined,
          ...rest,
        }),
      },
      {
        ...shared,
        chainFor: (process) => chainFor(world, process, wallet),
        seed: seed * 64 + id * 1_000_003,
        net: id === plan.liar ? netOfLiar(world, id) : net,
        wrapKernels: id === plan.liar && plan.lies !== 'answers' ? wrongRebuilds : undefined,
      },
    )
  }
  const range = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i)
  const machines = range(0, plan.nodeCount).map(nodeOf)
  const operator = addressOf(OPERATOR)
  chain.fund(operator, FUNDS_WEI)
  const gateway = createMachine(
    {
      name: 'gateway',
      url: GATEWAY_URL,
      privateKey: keyOf(OPERATOR),
      config: (rpcUrl) => ({
        chain: chainConfig(rpcUrl),
        storage: undefined,
        gateway: {
          listen: { host: 'gateway.sim', port: 80 },
          dataDir: '/data',
          policy: plan.gatewayCode === undefined ? 'replicate' : 'erasure',
          erasure: plan.gatewayCode && {
            code: plan.gatewayCode,
            operatorKeyFile: '/key',
            dayBytesMax: CAPACITY_BYTES,
            addressDayBytesMax: CAPACITY_BYTES,
            gateways: [],
          },
          replicas: plan.gatewayCode === undefined ? REPLICAS : 1 + plan.gatewayCode.m,
          spoolBytesMax: CAPACITY_BYTES,
          publicUrl: GATEWAY_URL,
          staticMembers: undefined,
        },
        ...rest,
      }),
    },
    {
      ...shared,
      chainFor: (process) => chainFor(world, process, operator),
      seed: seed * 64 + 63 * 1_000_003,
      net: plan.gatewayLies ? lyingGateway(net, GATEWAY_URL, seed, trace) : net,
    },
  )
  return [...machines, gateway, ...range(plan.nodeCount + 1, plan.spareCount).map(nodeOf)]
}

function netOfLiar({ plan, net, seed, trace, chain }: World, id: number): SimNet {
  if (plan.lies === 'answers') return lying(net, nodeUrl(id), seed, trace)
  return lyingRepairer(
    net,
    { origin: nodeUrl(id), key: keyOf(id), seed, copies: plan.lies === 'copies' },
    { chain, trace },
  )
}
