import { availableParallelism } from 'node:os'
import { readFile, rm } from 'node:fs/promises'
import { membershipHash, SEGMENT_SIZE_BYTES, verifyCertificate, type Certificate } from '@weightless/core'
import { createKernelPool } from '@weightless/host'
import { FINGERPRINT_SIZE_BYTES } from '@weightless/kernels'
import { privateKeySigner, upload, type StoredResult } from '@weightless/sdk'
import { fail } from '../errors.ts'
import { openClient } from '../networkClient.ts'
import { statusOf } from './killAll.ts'
import type { Lab, LabNetwork } from './lab.ts'
import { cpuByRole } from './limit.ts'
import { medianOf, MIB, type Scenario } from './scenario.ts'

/** Three copies come first: the others are measured by them. */
const WAYS = ['three copies', '4+2', '10+4'] as const
type Way = (typeof WAYS)[number]
/** Homes of the largest code. */
const NODES = 14
const VERIFY_ROUNDS = 5
const FINGERPRINT_SAMPLE_BYTES: number = 64 * MIB

type Sample = {
  readonly ms: number
  readonly clientCpuSeconds: number
  readonly serverCpuSeconds: number
  readonly sentBytes: number
  readonly storedBytes: number
  readonly certificateBytes: number
}

export const coded: Scenario = {
  name: 'coded',
  about: 'upload of 256 MiB under 4+2 and 10+4 beside three copies, and what the certificate costs',
  async run(lab) {
    const sizeBytes = (lab.quick ? 16 : 256) * MIB
    const roundCount = lab.quick ? 1 : 3
    const network = await lab.startNetwork({ nodes: NODES })
    const samples = new Map<Way, Sample[]>(WAYS.map((way) => [way, []]))
    // Code that runs for the first time costs its compilation.
    for (const way of WAYS) await putOnce(lab, network, way, 4 * MIB)
    for (let round = 0; round < roundCount; round++) {
      for (const way of WAYS) {
        lab.note(`${way}, round ${round + 1} of ${roundCount}`)
        samples.get(way)!.push(await putOnce(lab, network, way, sizeBytes))
      }
    }
    const fingerprintRate = await measureFingerprints(lab)
    const copies = samples.get('three copies')!
    const rows: (string | number)[][] = []
    for (const way of WAYS) {
      const own = samples.get(way)!
      const median = (value: (sample: Sample) => number): number => medianOf(own.map(value))
      const ratio = (value: (sample: Sample) => number): string =>
        medianOf(own.map((sample, round) => value(sample) / value(copies[round]!))).toFixed(2)
      const made = way === 'three copies' ? undefined : await makeCertificate(lab, network, way, sizeBytes)
      rows.push([
        way,
        (median(({ ms }) => ms) / 1000).toFixed(2),
        ratio(({ ms }) => ms),
        median(({ clientCpuSeconds }) => clientCpuSeconds).toFixed(2),
        median(({ serverCpuSeconds }) => serverCpuSeconds).toFixed(2),
        ratio(({ clientCpuSeconds, serverCpuSeconds }) => clientCpuSeconds + serverCpuSeconds),
        (median(({ sentBytes }) => sentBytes) / sizeBytes).toFixed(3),
        (median(({ storedBytes }) => storedBytes) / sizeBytes).toFixed(3),
        made === undefined ? '' : (median(({ certificateBytes }) => certificateBytes) / 1000).toFixed(1),
        made === undefined ? '' : made.madeMs.toFixed(0),
        made === undefined ? '' : made.handedOutMs.toFixed(0),
        made === undefined ? '' : made.verifyMs.toFixed(1),
      ])
    }
    await network.stop()
    return {
      columns: [
        'protected by',
        's',
        's / copies',
        'client, CPU s',
        'servers, CPU s',
        'all CPU / copies',
        'sent / size',
        'stored / size',
        'certificate, kB',
        'made, ms',
        'handed out, ms',
        'checked offline, ms',
      ],
      rows,
      notes: [
        `${sizeBytes / MIB} MiB of new bytes each, ${NODES} storage nodes, ${roundCount} rounds in turns, medians; ratios are medians of those within a round`,
        's and CPU are those of the whole command `weightless put`; servers are all nodes, the gateway, the chain and `up`',
        "sent: what the client wrote to its sockets (and a little to its own files); stored: growth of the nodes' stores, a segment in a slot of 260 KiB",
        'certificate, one more upload for each code: made, from the last shard stored to the certificate checked, which has the holders read or remember fingerprints and sign; handed out, until every holder has taken it; checked offline, by signatures, member list and equations, as anybody can',
        `its fingerprints at ${(fingerprintRate / 1e9).toFixed(2)} GB per CPU second, client's and holders' together, are inside the CPU above: ${WAYS.filter(
          (way) => way !== 'three copies',
        )
          .map((way) => `${way} ${fingerprintSeconds(way, sizeBytes, fingerprintRate).toFixed(2)} s`)
          .join(', ')}`,
      ],
    }
  },
}

async function putOnce(lab: Lab, network: LabNetwork, way: Way, sizeBytes: number): Promise<Sample> {
  const file = await lab.makeFile('object', sizeBytes)
  const storedBefore = await storedBytesOf(lab, network)
  const before = await network.usage()
  const put = await lab.ours(['put', file, '--code', way === 'three copies' ? 'none' : way, '--json'], network)
  const after = await network.usage()
  const storedBytes = (await storedBytesOf(lab, network)) - storedBefore
  await rm(file)
  const { certificate, receipts } = JSON.parse(put.out) as StoredResult
  const holderCount = way === 'three copies' ? 3 : codeOf(way).k + codeOf(way).m
  if (receipts.length !== holderCount)
    throw fail('BENCH_FAILED', { reason: 'not every holder has signed', way, receipts: receipts.length })
  return {
    ms: put.ms,
    clientCpuSeconds: put.cpuSeconds,
    serverCpuSeconds: [...cpuByRole(before, after).values()].reduce((sum, seconds) => sum + seconds, 0),
    sentBytes: put.writtenBytes,
    storedBytes,
    certificateBytes: certificate === undefined ? 0 : JSON.stringify(certificate).length,
  }
}

async function storedBytesOf(lab: Lab, network: LabNetwork): Promise<number> {
  const { storage } = await statusOf(lab, network)
  return storage.nodes.reduce((sum, { usedBytes }) => sum + (usedBytes ?? 0), 0)
}

/** An upload of this process, whose steps can be watched. */
async function makeCertificate(
  lab: Lab,
  network: LabNetwork,
  code: string,
  sizeBytes: number,
): Promise<{ readonly madeMs: number; readonly handedOutMs: number; readonly verifyMs: number }> {
  lab.note(`certificate of ${code}`)
  await using session = openClient(network.description, {
    signer: privateKeySigner(network.description.accounts[1]!.privateKey),
  })
  const bytes = new Uint8Array(await readFile(await lab.makeFile('certified', sizeBytes)))
  let storedAtMs: number | undefined
  let certifiedAtMs = 0
  let handedOutAtMs = 0
  const { certificate } = await upload(session.client, bytes, {
    code,
    signal: lab.signal,
    // The whole size is told twice: when the last shard is stored, and when the certificate is made.
    onProgress: ({ phase, doneBytes, totalBytes }) => {
      if (phase === 'store' && doneBytes === totalBytes) {
        certifiedAtMs = performance.now()
        storedAtMs ??= certifiedAtMs
      }
      if (phase === 'durable') handedOutAtMs = performance.now()
    },
  })
  if (certificate === undefined || storedAtMs === undefined) throw fail('BENCH_FAILED', { reason: 'no certificate' })
  const times = Array.from({ length: VERIFY_ROUNDS }, () => verifyMsOf(certificate))
  return {
    madeMs: certifiedAtMs - storedAtMs,
    handedOutMs: handedOutAtMs - certifiedAtMs,
    verifyMs: Math.min(...times),
  }
}

function verifyMsOf(certificate: Certificate): number {
  const { chainId, registry, members } = certificate
  // What the registry keeps on chain for each version.
  const hashes = new Map(
    members.map((list) => [
      list.version,
      membershipHash(list.members.map((member) => ({ ...member, weight: BigInt(member.weight) }))),
    ]),
  )
  const startedMs = performance.now()
  const facts = verifyCertificate(certificate, {
    chainId,
    registry,
    membershipHashOf: (version) => hashes.get(version),
  })
  const ms = performance.now() - startedMs
  if (!facts.isDurable) throw fail('BENCH_FAILED', { reason: 'the certificate proves nothing' })
  return ms
}

/** Bytes per CPU second of a pool as a node and a client have it, messages to its threads included. */
async function measureFingerprints(lab: Lab): Promise<number> {
  await using pool = createKernelPool({ threads: availableParallelism() })
  const bytes = new Uint8Array(new SharedArrayBuffer(FINGERPRINT_SAMPLE_BYTES)).fill(0x5a)
  const shards = Array.from({ length: bytes.length / SEGMENT_SIZE_BYTES }, (_, i) =>
    bytes.subarray(i * SEGMENT_SIZE_BYTES, (i + 1) * SEGMENT_SIZE_BYTES),
  )
  const point = new Uint8Array(FINGERPRINT_SIZE_BYTES).fill(3)
  await pool.fingerprints(shards, { point, signal: lab.signal })
  const before = process.cpuUsage()
  await pool.fingerprints(shards, { point, signal: lab.signal })
  const { user, system } = process.cpuUsage(before)
  return FINGERPRINT_SAMPLE_BYTES / ((user + system) / 1e6)
}

/** The client takes those of the data, the holders those of what they store. */
function fingerprintSeconds(way: Way, sizeBytes: number, bytesPerSecond: number): number {
  const { k, m } = codeOf(way)
  return (sizeBytes + (sizeBytes * (k + m)) / k) / bytesPerSecond
}

function codeOf(way: string): { readonly k: number; readonly m: number } {
  const [k, m] = way.split('+').map(Number)
  return { k: k!, m: m! }
}
