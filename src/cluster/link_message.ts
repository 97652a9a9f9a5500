/**
 * What nodes say to each other over the link: small messages, several in one datagram. Nothing is repeated here that the
 * link already knows: who says it, and that it is fresh. docs/PROTOCOL.md, "Messages of the link".
 */
import { creatorOf, NODE_MAX } from "../crypto/session_index.ts";
import { BUCKETS, bucketOf } from "./book_sums.ts";
import { bytesOfHex, hex, Reader, Writer } from "./bytes.ts";
import type { Endpoint } from "./endpoint.ts";
import { BOOT_ID_LEN } from "./envelope.ts";
import { HEARTBEAT_LEN_MAX, type Heartbeat, readHeartbeat, writeHeartbeat } from "./heartbeat.ts";
import { PAYLOAD_ALONE_MAX, PAYLOAD_MAX } from "./link.ts";
import { isGroupIndex, RECORD_LEN_MAX, type SessionName } from "./record.ts";
import { readWindow, WINDOW_LEN_MAX, type Window, windowRoom, writeWindow } from "./window.ts";

/** keep: it stays here, forward what you have; stale: an old number; moved: another node owns it; unknown: no such session. */
const takeResults = ["given", "keep", "stale", "moved", "unknown"] as const;
export type TakeResult = (typeof takeResults)[number];

export type LinkMessage =
  | Heartbeat
  /** A client's packet with this number arrived here: give me its session. */
  | ({ readonly kind: "take"; readonly seq: number } & SessionName)
  | Taken
  /** Who knows this session? */
  | { readonly kind: "ask"; readonly index: number }
  | Told
  /** Answer to ask: no such session here. */
  | { readonly kind: "absent"; readonly index: number }
  /** A client's datagram, to be taken as if it had come from `source` there. */
  | { readonly kind: "forward"; readonly source: Endpoint; readonly tos: number; readonly datagram: Uint8Array }
  /** The client of a session that you may not own knows this start of you. */
  | { readonly kind: "sender_acked"; readonly index: number; readonly senderId: number; readonly bootId: Uint8Array }
  /** A page or acknowledgement for you that the client of a session sent here; at most INSIDE_MAX bytes. */
  | { readonly kind: "inside"; readonly index: number; readonly payload: Uint8Array }
  /** It is yours from now on. */
  | ({ readonly kind: "part"; readonly window: Window; readonly endpoint: Endpoint } & SessionName)
  /** Which sessions that are up did `creator` make, with an index above `after` (-1 = all)? */
  | { readonly kind: "list"; readonly creator: number; readonly after: number }
  | Listed
  /** Where there is no bus for it: what `encodeShouts` makes, at most SHOUT_MAX bytes. */
  | { readonly kind: "shout"; readonly plain: Uint8Array }
  /** A client of the book that you may not have, as `encodeClient` makes it. `clientKey`: 64 hex digits. */
  | { readonly kind: "client"; readonly clientKey: string; readonly value: Uint8Array }
  /** A ticket key that you may not have, as `TicketKeyRing.encode` makes it. */
  | { readonly kind: "ticket_key"; readonly value: Uint8Array }
  | BookSumsMessage
  | BookList
  /** The fleet keys that a node knows, as `FleetKeys.encode` makes them. */
  | { readonly kind: "fleet_keys"; readonly value: Uint8Array }
  /** Static keys of the group, see group_secrets.ts. Secret. */
  | { readonly kind: "group_keys"; readonly value: Uint8Array }
  /** From a node that begins: what stands on this page? */
  | ({ readonly kind: "fetch" } & PageName)
  | Piece;

/** What this node's book adds up to. */
export interface BookSumsMessage {
  readonly kind: "book_sums";
  /** Sum of the hashes of all ticket keys. */
  readonly keys: number;
  /** Of the entries of each bucket. */
  readonly sums: Uint32Array;
}

/** What this node has of one bucket, in order of keys: answer to sums that are others than its own. */
export interface BookList {
  readonly kind: "book_list";
  readonly bucket: number;
  /** Behind this prefix; "" = from the beginning. */
  readonly after: string;
  /** Nothing follows after the last of these. */
  readonly last: boolean;
  /** First 16 hex digits of the client's key, and hash of the entry. At most LIST_MAX. */
  readonly entries: readonly { readonly prefix: string; readonly hash: number }[];
}

/** Entries of one `book_list`. */
export const LIST_MAX = 100;

const parts = ["book", "sessions"] as const;
export type Part = (typeof parts)[number];

export interface PageName {
  readonly part: Part;
  /** 0 to 2^32 - 1. */
  readonly page: number;
}

/** Answer to fetch: one datagram of it. */
export interface Piece extends PageName {
  readonly kind: "piece";
  /** Of `count` pieces, counted from 0. */
  readonly number: number;
  readonly count: number;
  /** No page follows. */
  readonly last: boolean;
  /** What `packMessages` makes of records, clients and ticket keys, at most PIECE_MAX bytes. */
  readonly plain: Uint8Array;
}

export interface Taken extends SessionName {
  readonly kind: "taken";
  readonly result: TakeResult;
  /** Who owns it: with "moved"; else 0. */
  readonly owner: number;
  /** With "given"; else undefined. */
  readonly window: Window | undefined;
}

/** Answer to ask; also unasked, when a record must get around the bus. */
export interface Told {
  readonly kind: "record";
  /** What `encodeRecord` makes; whether it is that is for who reads the message. */
  readonly encoded: Uint8Array;
  /** 0 = not known. */
  readonly owner: number;
  /** Highest number of the client that is known; -1 = none. */
  readonly seq: number;
  /** Where the client is; undefined = as in the record. */
  readonly endpoint: Endpoint | undefined;
}

/** Answer to list, in order of index. */
export interface Listed {
  readonly kind: "listed";
  readonly creator: number;
  readonly after: number;
  /** Nothing follows after the last of these. */
  readonly last: boolean;
  /** At most LISTED_MAX; more are an error of the caller. */
  readonly sessions: readonly SessionName[];
}

/** Sessions of one `listed`. */
export const LISTED_MAX = 130;
/** Longest datagram of a client that can be forwarded. */
export const FORWARD_MAX = 1500;
/** Longest control payload of a session that is passed on. */
export const INSIDE_MAX = 1280;
/** Longest message of shouts. */
export const SHOUT_MAX = PAYLOAD_MAX - 3;

const HEARTBEAT = 1;
const TAKE = 2;
const TAKEN = 3;
const ASK = 4;
const RECORD = 5;
const ABSENT = 6;
const FORWARD = 7;
const SENDER_ACKED = 8;
const PART = 9;
const LIST = 10;
const LISTED = 11;
const SHOUT = 12;
const CLIENT = 13;
const TICKET_KEY = 14;
const FETCH = 15;
const PIECE = 16;
const BOOK_SUMS = 17;
const BOOK_LIST = 18;
const PREFIX_LEN = 8;
const INSIDE = 19;
const FLEET_KEYS = 32;
const GROUP_KEYS = 33;

const PIECE_HEAD = 11;
/** Longest contents of a piece. */
export const PIECE_MAX = PAYLOAD_MAX - PIECE_HEAD;
const CLIENT_KEY_LEN = 32;
/** Longest entry of the book that the link carries. */
export const CLIENT_VALUE_MAX = PIECE_MAX - CLIENT_KEY_LEN - 3;

/** Longest message but for forward. */
const MESSAGE_LEN_MAX = Math.max(
  1 + HEARTBEAT_LEN_MAX,
  14 + WINDOW_LEN_MAX + 22,
  9 + 10 * LISTED_MAX,
  3 + SHOUT_MAX,
  PIECE_HEAD + PIECE_MAX,
  5 + 4 * BUCKETS,
  5 + PREFIX_LEN + (PREFIX_LEN + 4) * LIST_MAX,
);
/** Kind, index and time of a session. */
const NAME_LEN = 11;
/** Longest message of a record but for the record. */
const TOLD_LEN = 33;
const NO_NUMBER = 0;
const NUMBER = 1;

/**
 * Payloads for `Link.send`, in order: as few as are needed, each of at most `max` bytes, but a forward is alone in
 * one of its own of up to PAYLOAD_ALONE_MAX. A forward that is longer than FORWARD_MAX is left out: it can't have come from
 * a node of the group. So is a client that has no room in a piece: it comes with the engine.
 */
export function packMessages(messages: readonly LinkMessage[], max = PAYLOAD_MAX): Uint8Array[] {
  const payloads: Uint8Array[] = [];
  let parts: Uint8Array[] = [];
  let length = 0;
  const flush = () => {
    if (length > 0) payloads.push(joined(parts, length));
    parts = [];
    length = 0;
  };
  for (const message of messages) {
    const bytes = encode(message);
    if (bytes === undefined) continue;
    if (message.kind === "forward" || length + bytes.length > max) flush();
    parts.push(bytes);
    length += bytes.length;
    if (message.kind === "forward") flush();
  }
  flush();
  return payloads;
}

function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function encode(message: LinkMessage): Uint8Array | undefined {
  if (message.kind === "forward") {
    const { source, tos, datagram } = message;
    if (datagram.length > FORWARD_MAX) return undefined;
    const writer = new Writer(PAYLOAD_ALONE_MAX).u8(FORWARD).endpoint(source).u8(tos);
    return writer.u16(datagram.length).raw(datagram).done();
  }
  if (message.kind === "client" && message.value.length > CLIENT_VALUE_MAX) return undefined;
  if (message.kind === "inside" && message.payload.length > INSIDE_MAX) return undefined;
  const writer = new Writer(roomFor(message));
  if (message.kind === "record") encodeTold(writer, message);
  else if (message.kind === "listed") encodeListed(writer, message);
  else if (message.kind === "shout") writer.u8(SHOUT).u16(message.plain.length).raw(message.plain);
  else if (message.kind === "heartbeat") writeHeartbeat(writer.u8(HEARTBEAT), message);
  else if (message.kind === "take") writer.u8(TAKE).u32(message.index).u48(message.created).u32(message.seq);
  else if (message.kind === "ask") writer.u8(ASK).u32(message.index);
  else if (message.kind === "absent") writer.u8(ABSENT).u32(message.index);
  else if (message.kind === "sender_acked")
    writer.u8(SENDER_ACKED).u32(message.index).u16(message.senderId).raw(message.bootId);
  else if (message.kind === "list")
    writer
      .u8(LIST)
      .u16(message.creator)
      .u32(message.after + 1);
  else if (message.kind === "client")
    writer.u8(CLIENT).raw(bytesOfHex(message.clientKey)).u16(message.value.length).raw(message.value);
  else if (message.kind === "inside")
    writer.u8(INSIDE).u32(message.index).u16(message.payload.length).raw(message.payload);
  else if (message.kind === "ticket_key") writer.u8(TICKET_KEY).u16(message.value.length).raw(message.value);
  else if (message.kind === "fleet_keys") writer.u8(FLEET_KEYS).u16(message.value.length).raw(message.value);
  else if (message.kind === "group_keys") writer.u8(GROUP_KEYS).u16(message.value.length).raw(message.value);
  else if (message.kind === "fetch") writer.u8(FETCH).u8(parts.indexOf(message.part)).u32(message.page);
  else if (message.kind === "piece") encodePiece(writer, message);
  else if (message.kind === "book_sums") encodeSums(writer, message);
  else if (message.kind === "book_list") encodeBookList(writer, message);
  else if (message.kind === "part")
    writeWindow(writer.u8(PART).u32(message.index).u48(message.created).endpoint(message.endpoint), message.window);
  else encodeTaken(writer, message);
  return writer.done();
}

/** Bytes that are enough: a flip storm makes thousands of the short ones at once, a node that begins wants all records. */
function roomFor(message: LinkMessage): number {
  if (message.kind === "take" || message.kind === "ask" || message.kind === "absent") return NAME_LEN + 4;
  if (message.kind === "taken") return NAME_LEN + 3 + (message.window === undefined ? 0 : windowRoom(message.window));
  if (message.kind === "inside") return NAME_LEN + message.payload.length;
  if (message.kind === "record") return TOLD_LEN + message.encoded.length;
  if (message.kind === "client") return CLIENT_KEY_LEN + 3 + message.value.length;
  return MESSAGE_LEN_MAX;
}

function encodeTaken(writer: Writer, { index, created, result, owner, window }: Taken): void {
  writer.u8(TAKEN).u32(index).u48(created).u8(takeResults.indexOf(result)).u16(owner);
  if (window !== undefined) writeWindow(writer, window);
}

function encodeTold(writer: Writer, { encoded, owner, seq, endpoint }: Told): void {
  writer.u8(RECORD).u16(owner);
  if (seq < 0) writer.u8(NO_NUMBER);
  else writer.u8(NUMBER).u32(seq);
  if (endpoint === undefined) writer.u8(NO_NUMBER);
  else writer.u8(NUMBER).endpoint(endpoint);
  writer.u16(encoded.length).raw(encoded);
}

function encodeListed(writer: Writer, { creator, after, last, sessions }: Listed): void {
  writer
    .u8(LISTED)
    .u16(creator)
    .u32(after + 1)
    .u8(last ? 1 : 0)
    .u8(sessions.length);
  for (const { index, created } of sessions) writer.u32(index).u48(created);
}

function encodePiece(writer: Writer, { part, page, number, count, last, plain }: Piece): void {
  writer.u8(PIECE).u8(parts.indexOf(part)).u32(page).u8(number).u8(count);
  writer
    .u8(last ? 1 : 0)
    .u16(plain.length)
    .raw(plain);
}

function encodeSums(writer: Writer, { keys, sums }: BookSumsMessage): void {
  writer.u8(BOOK_SUMS).u32(keys);
  for (const sum of sums) writer.u32(sum);
}

function encodeBookList(writer: Writer, { bucket, after, last, entries }: BookList): void {
  writer.u8(BOOK_LIST).u8(bucket);
  if (after === "") writer.u8(NO_NUMBER);
  else writer.u8(NUMBER).raw(bytesOfHex(after));
  writer.u8(last ? 1 : 0).u8(entries.length);
  for (const { prefix, hash } of entries) writer.raw(bytesOfHex(prefix)).u32(hash);
}

/** All messages of a payload, at least one; undefined when one of them is not of this version. */
export function unpackMessages(payload: Uint8Array): LinkMessage[] | undefined {
  const reader = new Reader(payload);
  const messages: LinkMessage[] = [];
  while (reader.more) {
    const message = decode(reader);
    if (message === undefined) return undefined;
    messages.push(message);
  }
  return messages.length === 0 ? undefined : reader.finish(messages);
}

const decoders: Readonly<Record<number, (reader: Reader) => LinkMessage | undefined>> = {
  [HEARTBEAT]: readHeartbeat,
  [TAKE]: (reader) => ({ kind: "take", ...readName(reader), seq: reader.u32() }),
  [TAKEN]: decodeTaken,
  [ASK]: (reader) => ({ kind: "ask", index: readIndex(reader) }),
  [RECORD]: decodeTold,
  [ABSENT]: (reader) => ({ kind: "absent", index: readIndex(reader) }),
  [FORWARD]: decodeForward,
  [SENDER_ACKED]: (reader) => {
    const index = readIndex(reader);
    return { kind: "sender_acked", index, senderId: reader.u16(), bootId: reader.raw(BOOT_ID_LEN) };
  },
  [PART]: (reader) => {
    const name = readName(reader);
    const endpoint = reader.endpoint();
    return { kind: "part", ...name, endpoint, window: readWindow(reader) };
  },
  [INSIDE]: (reader) => {
    const [index, length] = [readIndex(reader), reader.u16()];
    reader.must(length <= INSIDE_MAX);
    return { kind: "inside", index, payload: reader.raw(length) };
  },
  [LIST]: (reader) => ({ kind: "list", creator: readNode(reader), after: readAfter(reader) }),
  [LISTED]: decodeListed,
  [SHOUT]: (reader) => ({ kind: "shout", plain: reader.raw(reader.u16()) }),
  [CLIENT]: (reader) => ({
    ...{ kind: "client", clientKey: hex(reader.view(CLIENT_KEY_LEN)) },
    value: reader.view(reader.u16()),
  }),
  [TICKET_KEY]: (reader) => ({ kind: "ticket_key", value: reader.view(reader.u16()) }),
  [FLEET_KEYS]: (reader) => ({ kind: "fleet_keys", value: reader.raw(reader.u16()) }),
  [GROUP_KEYS]: (reader) => ({ kind: "group_keys", value: reader.raw(reader.u16()) }),
  [FETCH]: (reader) => ({ kind: "fetch", ...readPageName(reader) }),
  [PIECE]: decodePiece,
  [BOOK_SUMS]: (reader) => {
    const keys = reader.u32();
    return { kind: "book_sums", keys, sums: Uint32Array.from({ length: BUCKETS }, () => reader.u32()) };
  },
  [BOOK_LIST]: decodeBookList,
};

function decode(reader: Reader): LinkMessage | undefined {
  const message = decoders[reader.u8()]?.(reader);
  return reader.failed ? undefined : message;
}

function readIndex(reader: Reader): number {
  const index = reader.u32();
  reader.must(isGroupIndex(index));
  return index;
}

function readName(reader: Reader): SessionName {
  return { index: readIndex(reader), created: reader.u48() };
}

function readNode(reader: Reader): number {
  const node = reader.u16();
  reader.must(node >= 1 && node <= NODE_MAX);
  return node;
}

function readAfter(reader: Reader): number {
  const after = reader.u32() - 1;
  reader.must(after <= 0x7fffffff);
  return after;
}

function readPageName(reader: Reader): PageName {
  const part = parts[reader.u8()];
  reader.must(part !== undefined);
  return { part, page: reader.u32() };
}

function readFlag(reader: Reader): boolean {
  const flag = reader.u8();
  reader.must(flag <= 1);
  return flag === 1;
}

function decodeTaken(reader: Reader): Taken | undefined {
  const name = readName(reader);
  const result = takeResults[reader.u8()];
  const owner = reader.u16();
  if (result === undefined) return undefined;
  reader.must(result === "moved" ? owner >= 1 && owner <= NODE_MAX : owner === 0);
  return { kind: "taken", ...name, result, owner, window: result === "given" ? readWindow(reader) : undefined };
}

function decodeTold(reader: Reader): Told {
  const owner = reader.u16();
  reader.must(owner <= NODE_MAX);
  const seq = readFlag(reader) ? reader.u32() : -1;
  const endpoint = readFlag(reader) ? reader.endpoint() : undefined;
  const encoded = reader.view(reader.u16());
  reader.must(encoded.length <= RECORD_LEN_MAX);
  return { kind: "record", encoded, owner, seq, endpoint };
}

function decodeForward(reader: Reader): LinkMessage {
  const [source, tos, length] = [reader.endpoint(), reader.u8(), reader.u16()];
  reader.must(length <= FORWARD_MAX);
  return { kind: "forward", source, tos, datagram: reader.raw(length) };
}

function decodeListed(reader: Reader): Listed {
  const [creator, after, last, count] = [readNode(reader), readAfter(reader), readFlag(reader), reader.u8()];
  reader.must(count <= LISTED_MAX);
  const sessions: SessionName[] = [];
  let before = after;
  while (sessions.length < count && !reader.failed) {
    const session = readName(reader);
    reader.must(session.index > before && creatorOf(session.index) === creator);
    before = session.index;
    sessions.push(session);
  }
  return { kind: "listed", creator, after, last, sessions };
}

function decodePiece(reader: Reader): Piece {
  const [name, number, count, last] = [readPageName(reader), reader.u8(), reader.u8(), readFlag(reader)];
  reader.must(number < count);
  return { kind: "piece", ...name, number, count, last, plain: reader.view(reader.u16()) };
}

function decodeBookList(reader: Reader): BookList {
  const bucket = reader.u8();
  const after = readFlag(reader) ? hex(reader.view(PREFIX_LEN)) : "";
  const [last, count] = [readFlag(reader), reader.u8()];
  reader.must(count <= LIST_MAX);
  const entries: { prefix: string; hash: number }[] = [];
  let before = after;
  while (entries.length < count && !reader.failed) {
    const prefix = hex(reader.view(PREFIX_LEN));
    reader.must(prefix > before && bucketOf(prefix) === bucket);
    before = prefix;
    entries.push({ prefix, hash: reader.u32() });
  }
  return { kind: "book_list", bucket, after, last, entries };
}
