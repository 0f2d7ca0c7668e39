import { invariant } from './errors.ts'

// Units of the protocol (spec/storage.md 1.1): fixed by the flow contract and by every official client.
export const CHUNK_SIZE_BYTES = 256
export const SEGMENT_CHUNKS = 1024
export const SEGMENT_SIZE_BYTES: number = CHUNK_SIZE_BYTES * SEGMENT_CHUNKS
export const HASH_SIZE_BYTES = 32
/** log2 of SEGMENT_CHUNKS: the height of a full segment in the flow tree. */
export const SEGMENT_HEIGHT = 10

// Limits that protect us. Each has a name, a reason, and where possible a relation that is asserted.
/** Our own uploads are one entry up to here (DESIGN 3); roots of all its segments fit in 8 MiB of memory. */
export const ENTRY_SIZE_BYTES_MAX: number = 64 * 1024 ** 3
/** The parity of one object: four times the largest entry of ours, so that 1+4 still protects it; its fingerprints are then at most
 *  16 MiB of a certificate. */
export const PARITY_SIZE_BYTES_MAX: number = 4 * ENTRY_SIZE_BYTES_MAX
/** Proofs are at most this deep: 2^48 segments, far above the 8 TiB a flow can hold. */
export const PROOF_DEPTH_MAX = 48
/** Segments per binary request: 16 are 4 MiB, enough to amortise a request, little enough to hold per connection. */
export const BATCH_SEGMENTS_MAX = 16
/** One segment with its proof and frame header. */
export const FRAME_SIZE_BYTES_MAX: number = SEGMENT_SIZE_BYTES + PROOF_DEPTH_MAX * HASH_SIZE_BYTES + 32
export const SEGMENTS_BODY_BYTES_MAX: number = BATCH_SEGMENTS_MAX * FRAME_SIZE_BYTES_MAX
/** JSON-RPC body of an official client: spec/storage.md 3.1 says 100 MiB, but no client sends more than 10 segments at once (3.5 MB). */
export const JSON_BODY_BYTES_MAX: number = 16 * 1024 ** 2
/** What JSON.parse is given of a body, base64 under "data" not counted: it may take sixty times that in memory and 300 ms per MiB
 *  (measured with arrays of empty objects). An official body has 4 KB beside each segment. */
export const JSON_TEXT_BYTES_MAX: number = 1024 ** 2
/** Tags of a submission: bounded because every node keeps them. */
export const TAGS_BYTES_MAX = 4096
/** Entries in one batchSubmit: bounded by measured gas (contracts test), the SDK splits above it (DESIGN D13). */
export const BATCH_ENTRIES_MAX = 32
/** Early segments, of roots not yet on chain: spec/storage.md 3.3. */
export const EARLY_FILE_BYTES_MAX: number = 10 * 1024 ** 2
export const EARLY_TOTAL_BYTES_MAX: number = 1024 ** 3
export const EARLY_EXPIRY_MS = 300_000
/** Bytes of an entry that a reorganisation took off the chain: a transaction that is mined again comes within minutes, and a
 *  holder that still has them then needs nothing sent. */
export const UNREFERENCED_EXPIRY_MS = 3_600_000
/** An upload whose entry is on chain, and so paid for, may stop half way for so long; then the gateway frees what it had spooled of
 *  it. Never sooner, however full the spool is: what was acknowledged is kept, and new uploads wait instead (DESIGN D8). */
export const UPLOAD_IDLE_MS: number = 24 * 3_600_000
/** Parity whose object is not in the log, or cannot be read from what is held of it, is dropped after so long: later than the gateway gives up
 *  an upload, and within two passes of a scrub. */
export const PARITY_ORPHAN_MS: number = 3 * 24 * 3_600_000
/** Copies of an entry under the policy `replicate` (DESIGN D7, issue "the foundation and the log"). */
export const REPLICA_COUNT = 3
/** Active members of a registry: bounds the gas of a membership change and the size of a certificate. */
export const MEMBERS_MAX = 256
/** How long a node waits for its follower to reach an entry that a client says is on chain. */
export const ENTRY_WAIT_MS = 10_000
/** Official clients give up after 30 s (spec/storage.md 3.1): answer before. */
export const RPC_ANSWER_MS_MAX = 25_000

/** The largest size a layout is computed for: what one shard of a flow can be mined for (spec/storage.md 1.1). A larger entry
 *  can be ordered by a chain but held by nobody. */
export const FLOW_ENTRY_BYTES_MAX: number = 8 * 1024 ** 4
/** Positions in the flow are exact as JavaScript numbers below 2^53 chunks (2 EiB); a taller node is refused. */
export const FLOW_HEIGHT_MAX = 52
/** Slots of an object: k + m is at most 256 (DESIGN D6), so a bitmap has at most 32 bytes. */
export const SLOT_COUNT_MAX = 256
/** Receipts of one durability certificate, each of another holder: as many as there are slots. */
export const CERTIFICATE_RECEIPTS_MAX: number = SLOT_COUNT_MAX
/** Fingerprints of one certificate, 16 bytes a shard: the largest object of ours with the largest parity, every slot held twice. */
export const CERTIFICATE_FINGERPRINT_BYTES_MAX: number = 40 * 1024 ** 2
/** Entries named as parity of one entry: anybody may submit more, at the price of an entry each. Those that are proven or held come
 *  first (docs/wire.md). */
export const PARITIES_PER_ENTRY_MAX = 16
/** Endpoint of a member in UTF-8: an origin and a short path; every membership change carries it on chain. */
export const ENDPOINT_BYTES_MAX = 256
/** Requests in one JSON-RPC array: official clients send single objects (spec/storage.md 3.1), libraries batch a few dozen. */
export const RPC_BATCH_MAX = 64
/** Text of a JSON-RPC id that we echo: integers of official clients have 17 digits, libraries use UUIDs. */
export const RPC_ID_CHARS_MAX = 128
/** Shards of a network: live networks use up to 256 (spec/storage.md 2.8); bounds the depth of the cover search. */
export const SHARD_COUNT_MAX = 65_536
/** Path of a socket file: kernels keep 108 bytes for it, macOS 104, the last of them zero (unix(7)). */
export const SOCKET_PATH_BYTES_MAX = 103

invariant(FLOW_ENTRY_BYTES_MAX >= ENTRY_SIZE_BYTES_MAX, 'every entry of ours has a layout')
invariant(FLOW_ENTRY_BYTES_MAX >= PARITY_SIZE_BYTES_MAX, 'every parity has a layout')
invariant(FLOW_ENTRY_BYTES_MAX / SEGMENT_SIZE_BYTES <= 2 ** 32, 'a segment index fits four bytes of a frame')
invariant(
  CERTIFICATE_FINGERPRINT_BYTES_MAX >= 2 * 16 * ((ENTRY_SIZE_BYTES_MAX + PARITY_SIZE_BYTES_MAX) / SEGMENT_SIZE_BYTES),
  'every object of ours has a certificate, with each slot held twice',
)
invariant(MEMBERS_MAX <= SLOT_COUNT_MAX, 'every member can hold one slot')
invariant(JSON_TEXT_BYTES_MAX > RPC_BATCH_MAX * 8192, 'an array of requests, each with a proof, is parsed')
invariant(JSON_TEXT_BYTES_MAX > 2 * SEGMENT_SIZE_BYTES, 'a segment in broken base64 is told so')
invariant(
  JSON_BODY_BYTES_MAX > 10 * ((SEGMENT_SIZE_BYTES * 4) / 3 + 8192),
  'ten segments of an official client fit in one body',
)
invariant(UPLOAD_IDLE_MS > EARLY_EXPIRY_MS, 'what is paid for is kept longer than what is not')
invariant(ENTRY_WAIT_MS < RPC_ANSWER_MS_MAX, 'a wait for an entry ends before the client gives up')
invariant(PARITY_ORPHAN_MS > UPLOAD_IDLE_MS, 'parity is kept while its upload may go on')
