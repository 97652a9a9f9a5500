/**
 * Where clients are and who owns their replay windows: soft state, shouted, several shouts in one message. A lost one is
 * made good by the next; which of two is right is told by the client's own sequence numbers, so no clock is needed.
 * docs/PROTOCOL.md, "Shouts".
 */
import { NODE_MAX } from "../crypto/session_index.ts";
import { SHOUT_LEN_MAX } from "./bus.ts";
import { Reader, Writer } from "./bytes.ts";
import type { Endpoint } from "./endpoint.ts";
import { SHOUT_OVERHEAD } from "./envelope.ts";
import { HEARTBEAT_LEN_MAX, type Heartbeat, readHeartbeat, writeHeartbeat } from "./heartbeat.ts";
import { isGroupIndex, type SessionName } from "./record.ts";

const FORMAT = 2;
const PROGRESS = 1;
const MOVED = 2;
const HEARTBEAT = 3;
const PROGRESS_LEN = 10;
const MOVED_LEN = 39;
/** Of one message before it is sealed. */
const LENGTH_MAX = SHOUT_LEN_MAX - SHOUT_OVERHEAD;

/** A session of the shouting node advanced. */
export interface Progress {
  readonly index: number;
  /** `lifeOf(created)`: which of the sessions of an index. */
  readonly life: number;
  /** Highest authentic number of the client. */
  readonly seq: number;
}

/** A node took a session over, or its client roamed. The greatest seq of a session is right. */
export interface Moved extends SessionName {
  readonly kind: "moved";
  readonly seq: number;
  readonly owner: number;
  readonly endpoint: Endpoint;
}

export type Shout =
  /** Of sessions that the shouting node owns. */
  { readonly kind: "progress"; readonly sessions: readonly Progress[] } | Moved | Heartbeat;

/** Tells apart a session and the one that took its index, in 16 bits. */
export const lifeOf = (created: number): number => created % 0x10000;

/** As few messages of at most `lengthMax` bytes as are needed, in order; lists of progress are split where they must. */
export function encodeShouts(shouts: readonly Shout[], lengthMax = LENGTH_MAX): Uint8Array[] {
  const sessionsMax = Math.floor((lengthMax - 4) / PROGRESS_LEN);
  const messages: Uint8Array[] = [];
  let writer = new Writer(lengthMax).u8(FORMAT);
  const reserve = (length: number): Writer => {
    const used = writer.done().length;
    if (used + length > lengthMax) {
      messages.push(writer.done());
      writer = new Writer(lengthMax).u8(FORMAT);
    }
    return writer;
  };
  for (const shout of shouts) {
    if (shout.kind === "progress") {
      for (let from = 0; from < shout.sessions.length; from += sessionsMax)
        writeProgress(reserve, shout.sessions.slice(from, from + sessionsMax));
    } else if (shout.kind === "moved") {
      const { index, created, seq, owner, endpoint } = shout;
      reserve(MOVED_LEN).u8(MOVED).u32(index).u48(created).u32(seq).u16(owner).endpoint(endpoint);
    } else {
      writeHeartbeat(reserve(1 + HEARTBEAT_LEN_MAX).u8(HEARTBEAT), shout);
    }
  }
  if (writer.done().length > 1) messages.push(writer.done());
  return messages.map((message) => message.slice());
}

function writeProgress(reserve: (length: number) => Writer, sessions: readonly Progress[]): void {
  const writer = reserve(3 + sessions.length * PROGRESS_LEN)
    .u8(PROGRESS)
    .u16(sessions.length);
  for (const { index, life, seq } of sessions) writer.u32(index).u16(life).u32(seq);
}

/** All shouts of a message, or undefined when one of them is not of this version. */
export function decodeShouts(message: Uint8Array): Shout[] | undefined {
  const reader = new Reader(message);
  reader.must(reader.u8() === FORMAT);
  const shouts: Shout[] = [];
  while (reader.more) {
    const type = reader.u8();
    if (type === PROGRESS) shouts.push({ kind: "progress", sessions: readProgress(reader) });
    else if (type === MOVED) shouts.push(readMoved(reader));
    else if (type === HEARTBEAT) shouts.push(readHeartbeat(reader));
    else reader.fail();
  }
  return shouts.length === 0 ? undefined : reader.finish(shouts);
}

function readProgress(reader: Reader): Progress[] {
  const count = reader.u16();
  reader.must(count > 0);
  const sessions: Progress[] = [];
  while (sessions.length < count && !reader.failed) {
    const progress = { index: reader.u32(), life: reader.u16(), seq: reader.u32() };
    reader.must(isGroupIndex(progress.index));
    sessions.push(progress);
  }
  return sessions;
}

function readMoved(reader: Reader): Moved {
  const [index, created, seq, owner] = [reader.u32(), reader.u48(), reader.u32(), reader.u16()];
  reader.must(isGroupIndex(index) && owner >= 1 && owner <= NODE_MAX);
  return { kind: "moved", index, created, seq, owner, endpoint: reader.endpoint() };
}
