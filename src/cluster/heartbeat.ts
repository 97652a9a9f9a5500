/** What a node says of itself all the time: on the link to each peer, on the bus to all. */
import { NODE_MAX } from "../crypto/session_index.ts";
import type { Reader, Writer } from "./bytes.ts";
import type { DigestEntry } from "./digest.ts";

/** Entries of one heartbeat. In a group with more creators they take turns. */
export const DIGEST_MAX = 64;
export const HEARTBEAT_LEN_MAX = 18 + 14 * DIGEST_MAX;

const drains = ["serving", "draining", "leaving"] as const;
/** Added to the number of the drain. */
const DEAF = 128;

export interface Heartbeat {
  readonly kind: "heartbeat";
  /** The node's clock, milliseconds since 1970. */
  readonly wallMs: number;
  /** Sessions that the node knows, in all phases but ended. */
  readonly sessions: number;
  /** Number of puts of this start so far, below 2^48. */
  readonly version: number;
  /** leaving: it ends now, ask it nothing. */
  readonly drain: (typeof drains)[number];
  /** To a peer on the link: nothing of it comes through the engine, so it must tell this node over the link. */
  readonly deaf: boolean;
  /** At most DIGEST_MAX; more are left out. A creator without sessions is there with count 0. */
  readonly digest: readonly DigestEntry[];
}

export function writeHeartbeat(writer: Writer, { wallMs, sessions, version, drain, deaf, digest }: Heartbeat): void {
  const entries = digest.slice(0, DIGEST_MAX);
  writer
    .u48(wallMs)
    .u32(sessions)
    .u48(version)
    .u8(drains.indexOf(drain) + (deaf ? DEAF : 0))
    .u8(entries.length);
  for (const { creator, count, high, low } of entries) writer.u16(creator).u32(count).u32(high).u32(low);
}

export function readHeartbeat(reader: Reader): Heartbeat {
  const [wallMs, sessions, version, state, count] = [
    reader.u48(),
    reader.u32(),
    reader.u48(),
    reader.u8(),
    reader.u8(),
  ];
  const deaf = state >= DEAF;
  const drain = drains[state % DEAF];
  reader.must(count <= DIGEST_MAX && drain !== undefined);
  const digest: DigestEntry[] = [];
  while (digest.length < count && !reader.failed)
    digest.push({ creator: reader.u16(), count: reader.u32(), high: reader.u32(), low: reader.u32() });
  for (const { creator } of digest) reader.must(creator >= 1 && creator <= NODE_MAX);
  return { kind: "heartbeat", wallMs, sessions, version, drain, deaf, digest };
}
