/**
 * Many sessions in one message to a shard. As objects of objects a session costs 20 us and 2 kB on its way through
 * structured clone; as words and key bytes it is a copy of some 150 bytes.
 */
import { remoteOf } from "../base/ip.ts";
import type { AeadKey } from "../dataplane/ports.ts";
import type { PackedSessions, PrefixWords, SessionSetup } from "./messages.ts";

/** Two keys, seal and open, of 32 bytes each; a shorter key stands at the beginning of its place. */
const KEY_PLACE = 32;
const KEY_PAIR = 2 * KEY_PLACE;
/** Words of a session without its prefixes. */
const SESSION_WORDS = 20;
const PREFIX_WORDS = 6;
/** Value of the prefix count for "everything". */
const EVERYTHING = -1;
/** Sessions of a message: what a shard puts into its tables between two batches of packets, well below 1 ms. */
export const BATCH_SESSIONS = 64;

/** Collects sessions. Keys are copied. */
export class SessionBatch {
  private words = new Int32Array(64 * BATCH_SESSIONS);
  private readonly keys = new Uint8Array(BATCH_SESSIONS * KEY_PAIR);
  private used = 0;
  count = 0;

  get full(): boolean {
    return this.count === BATCH_SESSIONS;
  }

  /** Not when it is full. */
  add(s: SessionSetup): void {
    const prefixes = s.routes?.length ?? 0;
    while (this.used + SESSION_WORDS + PREFIX_WORDS * prefixes > this.words.length) {
      const bigger = new Int32Array(2 * this.words.length);
      bigger.set(this.words);
      this.words = bigger;
    }
    const w = this.words;
    let at = this.used;
    w[at++] = s.index;
    w[at++] = s.owner;
    w[at++] = s.end === "node" ? 1 : 0;
    w[at++] = s.sessionIndex;
    w[at++] = s.receiver;
    w[at++] = s.senderId;
    w[at++] = s.key.algorithm;
    w[at++] = s.key.sealKey.length;
    w[at++] = s.window;
    w[at++] = s.keepaliveMs;
    w[at++] = s.innerMtu;
    w[at++] = s.endpoint.w0;
    w[at++] = s.endpoint.w1;
    w[at++] = s.endpoint.w2;
    w[at++] = s.endpoint.w3;
    w[at++] = s.endpoint.port;
    w[at++] = s.endpoint.sock;
    w[at++] = s.pending ? 1 : 0;
    w[at++] = s.foreign ? 1 : 0;
    w[at++] = s.routes === undefined ? EVERYTHING : prefixes;
    for (let k = 0; k < prefixes; k++, at += PREFIX_WORDS) putPrefix(w, at, s.routes![k]);
    this.used = at;
    this.keys.set(s.key.sealKey, this.count * KEY_PAIR);
    this.keys.set(s.key.openKey, this.count * KEY_PAIR + KEY_PLACE);
    this.count++;
  }

  /** Takes everything out, as a copy; keys that were here are overwritten. */
  take(): PackedSessions {
    const packed = { words: this.words.slice(0, this.used), keys: this.keys.slice(0, this.count * KEY_PAIR) };
    this.keys.fill(0, 0, this.count * KEY_PAIR);
    this.used = 0;
    this.count = 0;
    return packed;
  }
}

/** The sessions one after another, as they were added; keys are views of the message. */
export function* sessionsOf({ words: w, keys }: PackedSessions): Generator<SessionSetup> {
  let key = 0;
  for (let at = 0; at < w.length; key += KEY_PAIR) {
    const count = w[at + 19];
    const keyLen = w[at + 7];
    const sealKey = keys.subarray(key, key + keyLen);
    const openKey = keys.subarray(key + KEY_PLACE, key + KEY_PLACE + keyLen);
    yield {
      index: w[at],
      owner: w[at + 1],
      end: w[at + 2] === 1 ? "node" : "client",
      sessionIndex: w[at + 3],
      receiver: w[at + 4],
      senderId: w[at + 5],
      key: { algorithm: w[at + 6], sealKey, openKey } as AeadKey,
      window: w[at + 8],
      keepaliveMs: w[at + 9],
      innerMtu: w[at + 10],
      endpoint: remoteOf([w[at + 11], w[at + 12], w[at + 13], w[at + 14]], w[at + 15], w[at + 16]),
      pending: w[at + 17] === 1,
      foreign: w[at + 18] === 1,
      routes: count === EVERYTHING ? undefined : prefixesAt(w, at + SESSION_WORDS, count),
    };
    at += SESSION_WORDS + PREFIX_WORDS * Math.max(0, count);
  }
}

function putPrefix(w: Int32Array, at: number, r: PrefixWords): void {
  w[at] = r.family;
  w[at + 1] = r.w0;
  w[at + 2] = r.w1;
  w[at + 3] = r.w2;
  w[at + 4] = r.w3;
  w[at + 5] = r.length;
}

function prefixesAt(w: Int32Array, from: number, count: number): PrefixWords[] {
  const prefixes: PrefixWords[] = [];
  for (let k = 0, at = from; k < count; k++, at += PREFIX_WORDS)
    prefixes.push({
      family: w[at] === 4 ? 4 : 6,
      ...{ w0: w[at + 1], w1: w[at + 2], w2: w[at + 3], w3: w[at + 4], length: w[at + 5] },
    });
  return prefixes;
}
