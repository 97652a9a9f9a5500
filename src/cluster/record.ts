/**
 * What the nodes of a group tell each other about a session, once: enough to open it, to seal in it and to end it. Where
 * the client is and who owns the replay window is elsewhere (`location.ts`). docs/PROTOCOL.md, "Session records".
 */
import { creatorOf } from "../crypto/session_index.ts";
import { compareBytes, Reader, Writer } from "./bytes.ts";
import type { Endpoint, InnerPrefix } from "./endpoint.ts";

export const RECORD_LEN_MAX = 400;
const FORMAT = 2;
const RECORD_FIXED = 118;
const PHASE_AT = 1;
const PREFIX_LEN_MAX = 17;
const COUNT_MAX = 255;
const RECEIVER_MAX = 0x7ffe;
const INDEX_LOW = 0x7fff;

/** Only ever goes on in this order. */
const phases = ["", "pending", "up", "ended"] as const;

/** Which session: an index may be used again by a later one. */
export interface SessionName {
  readonly index: number;
  /** Client's handshake timestamp, below 2^48. */
  readonly created: number;
}

export interface LiveRecord extends SessionName {
  readonly phase: "pending" | "up";
  /** `creatorOf(index)`. */
  readonly creator: number;
  /** 32 bytes, the client's static key. */
  readonly clientKey: Uint8Array;
  /** 8 bytes: which start of the client. */
  readonly instance: Uint8Array;
  /** 15 bits that the client chose. */
  readonly receiver: number;
  /** Number of `Aead` in handshake/keys.ts. */
  readonly aead: 1 | 2 | 3;
  readonly modes: number;
  /** 32 bytes. */
  readonly secret: Uint8Array;
  /** Milliseconds since 1970. */
  readonly expiryMs: number;
  readonly addresses: readonly InnerPrefix[];
  /** Where the request came from. */
  readonly endpoint: Endpoint;
}

/** All that stays of a session that ended. Until `expiryMs` an older record of it may still come from somewhere. */
export interface Tombstone extends SessionName {
  readonly phase: "ended";
  /** `creatorOf(index)`. */
  readonly creator: number;
  /** Milliseconds since 1970. */
  readonly expiryMs: number;
}

export type SessionRecord = LiveRecord | Tombstone;

/** Whether a node of a group could have made it. */
export function isGroupIndex(index: number): boolean {
  return index <= 0x7fffffff && (index & INDEX_LOW) !== INDEX_LOW && creatorOf(index) !== 0;
}

/** Key on the bus: "s.0012abcd". */
export function recordKey(index: number): string {
  return `s.${index.toString(16).padStart(8, "0")}`;
}

/** Index of a record's key, or -1. */
export function indexOfKey(key: string): number {
  if (!/^s\.[0-9a-f]{8}$/.test(key)) return -1;
  const index = Number.parseInt(key.slice(2), 16);
  return isGroupIndex(index) ? index : -1;
}

/** Undefined when it has too many addresses to fit into RECORD_LEN_MAX bytes. */
export function encodeRecord(record: SessionRecord): Uint8Array | undefined {
  if (record.phase !== "ended" && record.addresses.length > COUNT_MAX) return undefined;
  const bytes = bytesOf(record);
  return bytes.length > RECORD_LEN_MAX ? undefined : bytes;
}

function bytesOf(record: SessionRecord): Uint8Array {
  const addresses = record.phase === "ended" ? [] : record.addresses;
  const writer = new Writer(RECORD_FIXED + addresses.length * PREFIX_LEN_MAX)
    .u8(FORMAT)
    .u8(phases.indexOf(record.phase))
    .u32(record.index)
    .u48(record.created)
    .u48(record.expiryMs);
  if (record.phase === "ended") return writer.done();
  writer.raw(record.clientKey).raw(record.instance).u16(record.receiver).u8(record.aead).u16(record.modes);
  writer.raw(record.secret).endpoint(record.endpoint).u8(addresses.length);
  for (const address of addresses) writer.prefix(address);
  return writer.done();
}

/** Makes an encoded record of phase pending one of phase up. */
export function setUp(encoded: Uint8Array): void {
  encoded[PHASE_AT] = phases.indexOf("up");
}

/** Undefined for bytes that no node of this version writes. */
export function decodeRecord(bytes: Uint8Array): SessionRecord | undefined {
  if (bytes.length > RECORD_LEN_MAX) return undefined;
  const reader = new Reader(bytes);
  reader.must(reader.u8() === FORMAT);
  const phase = phases[reader.u8()];
  const [index, created, expiryMs] = [reader.u32(), reader.u48(), reader.u48()];
  const creator = creatorOf(index);
  reader.must(isGroupIndex(index));
  if (reader.failed || phase === undefined || phase === "") return undefined;
  if (phase === "ended") return reader.finish<Tombstone>({ phase, creator, index, created, expiryMs });
  const [clientKey, instance, receiver] = [reader.raw(32), reader.raw(8), reader.u16()];
  const [aead, modes, secret, endpoint] = [reader.u8(), reader.u16(), reader.raw(32), reader.endpoint()];
  reader.must(receiver <= RECEIVER_MAX);
  if (aead !== 1 && aead !== 2 && aead !== 3) return undefined;
  const addresses: InnerPrefix[] = [];
  for (let n = reader.u8(); n > 0 && !reader.failed; n--) addresses.push(reader.prefix());
  const session = { index, created, clientKey, instance, receiver, modes, secret, expiryMs, addresses, endpoint };
  return reader.finish<LiveRecord>({ phase, aead, creator, ...session });
}

/**
 * Which of two records for one index counts: that of the later handshake, then the later phase. What can't be told
 * apart by these is decided by bytes, so that all nodes decide alike. A total order, hence commutative, associative and
 * idempotent.
 */
export function merge<T extends SessionRecord>(a: T, b: T): T {
  if (a.created !== b.created) return a.created > b.created ? a : b;
  if (a.phase !== b.phase) return phases.indexOf(a.phase) > phases.indexOf(b.phase) ? a : b;
  return compareBytes(bytesOf(a), bytesOf(b)) >= 0 ? a : b;
}

export function tombstoneOf({ index, created, expiryMs }: Omit<Tombstone, "phase" | "creator">): Tombstone {
  return { phase: "ended", creator: creatorOf(index), index, created, expiryMs };
}
