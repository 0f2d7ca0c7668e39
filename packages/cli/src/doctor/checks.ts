import { areFundsLow } from '@weightless/core'
import { LOG_BYTES_MAX } from '../local/logCap.ts'
import { ROOM_NEXT, roomOf } from '../local/room.ts'
import { formatBytes } from '../print.ts'
import type { DoctorFacts } from './facts.ts'

/** One thing that was looked at. `fail`: something does not work. `warn`: it works, and will not for ever, or not as it could. */
export type Finding = {
  readonly check: string
  readonly level: 'ok' | 'warn' | 'fail'
  readonly what: string
  /** What to do; there is one unless all is well. */
  readonly remedy?: string | undefined
}

/** A check judges what was found and touches nothing. */
export type Check = (facts: DoctorFacts) => readonly Finding[]

const MINUTE_MS = 60_000
/** An idle chain makes a block each 30 s (DESIGN D2): three of them missing are no delay. */
const HEAD_AGE_MS_MAX = 90_000
/** Clocks of one machine agree; the chain may run a few seconds ahead while it catches up with a burst of blocks. */
const CLOCK_AHEAD_MS_MAX = 15_000
/** Each acknowledgement waits for one sync: above this, small uploads are slow because of the disk and nothing else. */
const SYNC_MS_SLOW = 50
const NEARLY_FULL = 0.9
/** Entries that a node may be behind the others for a moment. */
const BEHIND_MAX = 8
/** Twice per role is what the cap lets a log have; more means that nobody cuts it. */
const LOG_BYTES_BIG: number = 3 * LOG_BYTES_MAX

const ok = (check: string, what: string): Finding => ({ check, level: 'ok', what })
const warn = (check: string, what: string, remedy: string): Finding => ({ check, level: 'warn', what, remedy })
const fail = (check: string, what: string, remedy: string): Finding => ({ check, level: 'fail', what, remedy })

/** The version of Node: 20.19 is the floor, 20 has had no security fixes since April 2026, odd ones are short-lived. */
export const checkNode: Check = ({ nodeVersion }) => {
  const [major = 0, minor = 0] = nodeVersion.replace(/^v/, '').split('.').map(Number)
  const next = 'Install Node 24.'
  if (major < 20 || (major === 20 && minor < 19)) return [fail('node', `Node ${nodeVersion} is too old.`, next)]
  if (major === 20) return [warn('node', `Node ${nodeVersion} gets no security fixes since April 2026.`, next)]
  if (major % 2 === 1) return [warn('node', `Node ${nodeVersion} is no long-term release.`, next)]
  return [ok('node', `Node ${nodeVersion}.`)]
}

export const checkDirectory: Check = ({ directory: { path, state, version, supported } }) => {
  const check = 'directory'
  switch (state) {
    case 'absent':
      return [ok(check, `${path} is not there yet: \`weightless up\` makes it.`)]
    case 'ours':
      return [ok(check, `${path} is of format ${version}.`)]
    case 'foreign':
      return [fail(check, `${path} holds files that weightless did not write.`, 'Name another directory with --dir.')]
    case 'newer':
      return [
        fail(
          check,
          `${path} is of format ${version}; this weightless reads up to ${supported}.`,
          'Use the newer weightless that wrote it, or another --dir.',
        ),
      ]
    case 'damaged':
      return [
        fail(
          check,
          `${path}: format.json or state.json cannot be read.`,
          'Restore them from a copy, or give up what is stored there with `weightless up --reset`.',
        ),
      ]
  }
}

export const checkNetwork: Check = ({ network: { state, pid, status } }) => {
  const check = 'network'
  switch (state) {
    case 'down':
      return [ok(check, 'Nothing is running here. `weightless up` starts the network.')]
    case 'stale':
      return [
        warn(
          check,
          `The network was killed: network.json names process ${pid}, which is gone.`,
          'Run `weightless up`: it goes on where it was.',
        ),
      ]
    case 'silent':
      return [
        fail(
          check,
          `Process ${pid} holds this directory and does not answer.`,
          `Read \`weightless logs up\`; if it hangs, end it with \`kill ${pid}\` and run \`weightless up\`.`,
        ),
      ]
    case 'starting':
      return [
        warn(check, `The network is not ready: ${status?.phase ?? 'starting'}.`, 'Wait: `weightless status --wait`.'),
      ]
    case 'running':
      return [ok(check, `The network runs, process ${pid}.`)]
  }
}

/** network.json says what runs, and nothing else. */
export const checkNetworkFile: Check = ({ network: { state, status, file } }) => {
  const check = 'network.json'
  if (file === undefined) {
    if (state !== 'running') return []
    return [fail(check, 'The network runs, and network.json is gone.', 'Run `weightless down`, then `weightless up`.')]
  }
  if ('problem' in file)
    return [fail(check, `network.json is broken: ${file.problem}.`, 'Run `weightless down`, then `weightless up`.')]
  if (status === undefined || state !== 'running') return []
  const urls = [status.chain.url, status.gateway.url, ...status.storage.nodes.map(({ url }) => url)]
  const pids = [status.pid, ...status.storage.nodes.map(({ pid }) => pid)]
  const isSame = String(file.urls) === String(urls) && String([file.pid, ...file.pids]) === String(pids)
  if (isSame) return [ok(check, 'network.json says what runs.')]
  return [
    fail(
      check,
      'network.json names other addresses or processes than those that run.',
      'Ask again in a moment; if it stays, run `weightless down`, then `weightless up`.',
    ),
  ]
}

/** With nothing running every port must be free; beside a running network somebody must listen on them. */
export const checkPorts: Check = ({ ports, network: { state, status } }) => {
  const check = 'ports'
  if (ports.length === 0) return []
  if (state === 'down' || state === 'stale') {
    const taken = ports.filter(({ isFree }) => !isFree)
    if (taken.length === 0) return [ok(check, `All ${ports.length} ports are free.`)]
    return taken.map(({ role, port }) =>
      fail(
        check,
        `Port ${port} of ${role} is taken by another program.`,
        'Stop that program, or move the network: `weightless up --port-base N`.',
      ),
    )
  }
  if (state !== 'running') return []
  const down = new Set(status?.storage.nodes.filter(({ pid }) => pid === null).map(({ id }) => id))
  const silent = ports.filter(({ isFree, role }) => isFree && !down.has(role))
  if (silent.length === 0) return [ok(check, 'Every role that runs listens on its port.')]
  return silent.map(({ role, port }) =>
    fail(check, `Nobody listens on port ${port} of ${role}.`, `Read \`weightless logs ${role}\`.`),
  )
}

export const checkDisk: Check = ({ disk }) => {
  const check = 'disk'
  if (disk === undefined) return []
  const { freeBytes, syncMs } = disk
  const free = `${formatBytes(freeBytes)} free`
  const room = {
    full: fail(check, `The disk is full: ${free}. Nothing new is stored.`, ROOM_NEXT),
    low: warn(check, `The disk fills up: ${free}.`, ROOM_NEXT),
    enough: ok(check, `${free}.`),
  }[roomOf(freeBytes)]
  if (syncMs === undefined)
    return [room, warn(check, 'Nothing could be written to try the disk.', 'Check that this user may write there.')]
  const speed =
    syncMs > SYNC_MS_SLOW
      ? warn(
          check,
          `A durable write takes ${syncMs.toFixed(1)} ms: every acknowledgement waits for one.`,
          'Use a local SSD for --dir.',
        )
      : ok(check, `A durable write takes ${syncMs.toFixed(1)} ms.`)
  return [room, speed]
}

/** The chain is there, is the right one, moves, and agrees with this clock. */
export const checkChain: Check = ({ chain, nowMs, network: { status } }) => {
  const check = 'chain'
  const [why, next] = status?.chain.fault?.split(' Next: ') ?? []
  if (why !== undefined) return [fail(check, `The chain has stopped. ${why}`, next ?? 'Read `weightless logs up`.')]
  if (chain === undefined) return []
  const { url } = chain
  if (!chain.reachable)
    return [fail(check, `The chain at ${url} does not answer: ${chain.reason}.`, 'Read `weightless logs chain`.')]
  const { chainId, expectedChainId, headBlock, headMs, hasFlow } = chain
  if (chainId !== expectedChainId)
    return [
      fail(
        check,
        `${url} is chain ${chainId}, not ${expectedChainId}.`,
        'Another program answers on that port: stop it, then `weightless down` and `weightless up`.',
      ),
    ]
  if (!hasFlow)
    return [
      fail(
        check,
        'There is no contract at the flow address.',
        'The state of the chain is lost or of another directory: `weightless up --reset` starts anew.',
      ),
    ]
  const aheadMs = headMs - nowMs
  if (aheadMs > CLOCK_AHEAD_MS_MAX)
    return [
      fail(
        'clock',
        `The clock of this machine is ${Math.round(aheadMs / 1000)} s behind the newest block: it was set back.`,
        'Set the clock right (NTP). Blocks keep rising timestamps meanwhile.',
      ),
    ]
  const ageMs = -aheadMs
  if (ageMs > HEAD_AGE_MS_MAX)
    return [
      fail(
        check,
        `The newest block, ${headBlock}, is ${Math.round(ageMs / MINUTE_MS)} min old: the chain stands still, or the clock was set forward.`,
        'Compare the clock with another one; if it is right, run `weightless down`, then `weightless up`.',
      ),
    ]
  return [
    ok(check, `Chain ${chainId} at ${url}, block ${headBlock}.`),
    ok('clock', 'The clock agrees with the newest block.'),
  ]
}

/** Keys, and files that hold them, are for this user alone (DESIGN D14). */
export const checkFiles: Check = ({ files, goneKeys }) => {
  const open = files.filter(({ mode }) => (mode & 0o077) !== 0)
  const gone = goneKeys.map((file) =>
    fail('keys', `${file} is gone.`, 'Put it back from a copy before the network is stopped: its next start needs it.'),
  )
  if (gone.length > 0) return gone
  if (files.length > 0 && open.length === 0) return [ok('keys', `${files.length} files with keys are private.`)]
  return open.map(({ file, mode }) =>
    fail('keys', `${file} can be read by others (mode ${(mode & 0o777).toString(8)}).`, `Run \`chmod 600 ${file}\`.`),
  )
}

export const checkGateway: Check = ({ network: { status }, gatewayAnswers }) => {
  if (status === undefined) return []
  const { state, restarts } = status.gateway
  if (state !== 'running') return [fail('gateway', `The gateway is ${state}.`, 'Read `weightless logs gateway`.')]
  if (gatewayAnswers === false)
    return [fail('gateway', 'The gateway does not answer.', 'Read `weightless logs gateway`.')]
  if (restarts === 0) return [ok('gateway', 'The gateway runs.')]
  return [warn('gateway', `The gateway was started again ${restarts} times.`, 'Read `weightless logs gateway`.')]
}

export const checkNodes: Check = ({ nodes }) => {
  const newest = Math.max(0, ...nodes.map(({ told }) => told?.nextSeq ?? 0))
  return nodes.flatMap((node): readonly Finding[] => {
    const { id, state, told } = node
    if (state === 'down') return [warn(id, `${id} is down.`, `Start it: \`weightless node start ${id}\`.`)]
    if (told === undefined) return [fail(id, `${id} does not answer.`, `Read \`weightless logs ${id}\`.`)]
    const found: Finding[] = []
    if (told.readOnly)
      found.push(
        fail(
          id,
          `${id} takes no more writes: ${told.brokenBy ?? 'its disk failed'}.`,
          `Read \`weightless logs ${id}\`, repair the disk, then \`weightless node stop ${id}\` and \`start\`.`,
        ),
      )
    if (told.damagedCount > 0)
      found.push(
        warn(
          id,
          `Bytes of ${told.damagedCount} segments on ${id} went bad; they are fetched from the other holders.`,
          'Wait; if it happens again, replace the disk.',
        ),
      )
    if (told.chainFault !== undefined) {
      const [what, next] = told.chainFault.split(' Next: ')
      found.push(fail(id, `${id} does not follow the chain: ${what}`, next ?? `Read \`weightless logs ${id}\`.`))
    }
    if (told.memberFault !== undefined) {
      const [what, next] = told.memberFault.split(' Next: ')
      found.push(fail(id, `${id} cannot say that it lives: ${what}`, next ?? `Read \`weightless logs ${id}\`.`))
    } else if (told.standing === 'stale')
      found.push(warn(id, `${id} is not counted on: it was silent for too long.`, 'Wait: it speaks at the next block.'))
    if (areFundsLow(told.heartbeatsLeft))
      found.push(
        warn(
          id,
          `The account of ${id} pays for ${told.heartbeatsLeft} heartbeats more: less than a day.`,
          `Send it coins, or start the network again: \`weightless up\` does.`,
        ),
      )
    if (newest - told.nextSeq > BEHIND_MAX)
      found.push(
        warn(
          id,
          `${id} is ${newest - told.nextSeq} entries behind the others.`,
          `Wait; if it does not catch up, read \`weightless logs ${id}\`.`,
        ),
      )
    if (told.unavailableEntryCount > 0)
      found.push(
        warn(
          id,
          `${told.unavailableEntryCount} entries that belong on ${id} are on no node that was asked.`,
          'Start the nodes that are down; what was never uploaded stays away.',
        ),
      )
    else if (told.missingBytes > 0)
      found.push(
        warn(
          id,
          `${id} fetches ${formatBytes(told.missingBytes)} that it lacks from the others.`,
          told.etaSeconds === null ? 'Wait.' : `Wait some ${told.etaSeconds} s.`,
        ),
      )
    if (told.usedBytes > NEARLY_FULL * told.capacityBytes)
      found.push(
        warn(
          id,
          `${id} is nearly full: ${formatBytes(told.usedBytes)} of ${formatBytes(told.capacityBytes)}.`,
          'Add a node: `weightless node add`.',
        ),
      )
    return found.length > 0 ? found : [ok(id, `${id} is well: ${formatBytes(told.usedBytes)} stored.`)]
  })
}

export const checkLogs: Check = ({ logs }) => {
  const check = 'logs'
  const big = logs.filter(({ sizeBytes }) => sizeBytes > LOG_BYTES_BIG)
  if (big.length > 0)
    return big.map(({ file, sizeBytes }) =>
      warn(
        check,
        `${file} has ${formatBytes(sizeBytes)}.`,
        `Empty it: \`: > ${file}\`. A running network cuts its logs.`,
      ),
    )
  const totalBytes = logs.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  return logs.length === 0 ? [] : [ok(check, `${logs.length} logs, ${formatBytes(totalBytes)}.`)]
}

export const checkLocks: Check = ({ locks }) => {
  const stale = locks.filter(({ isAlive }) => !isAlive)
  return stale.map(({ file, pid }) =>
    warn('locks', `${file} is of process ${pid}, which is gone.`, 'Nothing to do: the next start takes it over.'),
  )
}

/** Roles of this directory that no running network knows. Those of one that does not answer are its own for all we know. */
export const checkProcesses: Check = ({ processes, network: { state, status, pid } }) => {
  if (state === 'silent') return []
  const known = new Set<number | null | undefined>([
    pid,
    status?.pid,
    status?.chain.pid,
    status?.gateway.pid,
    ...(status?.storage.nodes.map((node) => node.pid) ?? []),
  ])
  return processes
    .filter((one) => !known.has(one.pid))
    .map((one) =>
      fail(
        'processes',
        `Process ${one.pid} runs ${one.role} of this directory and belongs to no running network.`,
        `End it: \`kill ${one.pid}\`.`,
      ),
    )
}

const CHECKS: readonly Check[] = [
  checkNode,
  checkDirectory,
  checkNetwork,
  checkNetworkFile,
  checkPorts,
  checkDisk,
  checkChain,
  checkFiles,
  checkGateway,
  checkNodes,
  checkLogs,
  checkLocks,
  checkProcesses,
]

export function examine(facts: DoctorFacts): readonly Finding[] {
  return CHECKS.flatMap((check) => check(facts))
}
