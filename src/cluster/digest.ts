/**
 * Do two nodes know the same sessions? Per creator a count and a sum of hashes, kept up to date in O(1). Two nodes never
 * see a change at the same moment, so a difference alone means nothing while sessions come and go: nodes agree as long as
 * one of them has lately been where the other is. Finds omissions, not malice. docs/PROTOCOL.md, "Digests".
 */
import { creatorOf } from "../crypto/session_index.ts";

/** Sessions with phase up that one creator made. */
export interface DigestEntry {
  /** 1-63. */
  readonly creator: number;
  readonly count: number;
  /** Sum of 64-bit hashes of (index, created) modulo 2^64, in two u32. */
  readonly high: number;
  readonly low: number;
}

/** How long a difference lasts before it is one. */
export const PATIENCE_MS = 3000;
/** How far behind a peer, or this node, may be and still count as equal. */
const LAG_MS = 1000;
/** Former states of one creator's sum that are remembered; at more changes per LAG_MS only the last ones are. */
const STATES_MAX = 4096;
/** States that lasted shorter are not remembered: a joining node has ten thousand in a second. */
const STATE_MS = 0.5;
/** Sums of a peer that may still be reached by this node: heartbeats of LAG_MS and some more. */
const WAITING_MAX = 8;

/** Finalizer of MurmurHash3 (public domain), 32 bits. */
function mix(h: number): number {
  let x = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}

const lane = (index: number, created: number, seed: number): number =>
  mix(mix(mix(index ^ seed) ^ (created % 2 ** 32)) ^ Math.floor(created / 2 ** 32)) >>> 0;

/** 53 of the 64 bits: enough to recognize a state, and a number. */
const stateOf = (high: number, low: number): number => high * 2 ** 21 + (low >>> 11);

interface Sum {
  count: number;
  high: number;
  low: number;
  /** When a state was remembered last. */
  rememberedMs: number;
  /** State -> until when it was the present one, oldest first. */
  readonly former: Map<number, number>;
}

export class Digest {
  readonly #sums = new Map<number, Sum>();

  /** The session must not be in. */
  add(nowMs: number, index: number, created: number): void {
    this.#change(nowMs, index, created, 1);
  }

  /** The session must be in. */
  remove(nowMs: number, index: number, created: number): void {
    this.#change(nowMs, index, created, -1);
  }

  #change(nowMs: number, index: number, created: number, sign: number): void {
    const creator = creatorOf(index);
    let sum = this.#sums.get(creator);
    if (sum === undefined) {
      sum = { count: 0, high: 0, low: 0, rememberedMs: Number.NEGATIVE_INFINITY, former: new Map() };
      this.#sums.set(creator, sum);
    }
    remember(sum, nowMs);
    const low = sum.low + sign * lane(index, created, LOW_SEED);
    const carry = Math.floor(low / 2 ** 32);
    sum.low = low >>> 0;
    sum.high = (sum.high + sign * lane(index, created, HIGH_SEED) + carry) >>> 0;
    sum.count += sign;
  }

  /** Of these creators, also of those without sessions, in their order. */
  entries(creators: Iterable<number>): DigestEntry[] {
    return Array.from(creators, (creator) => this.#entry(creator));
  }

  /** Creators with sessions, now or before. */
  creators(): IterableIterator<number> {
    return this.#sums.keys();
  }

  #entry(creator: number): DigestEntry {
    const { count, high, low } = this.#sums.get(creator) ?? NOTHING;
    return { creator, count, high, low };
  }

  /** The sum is this now, or was within the last second before `nowMs`. */
  wasAt(nowMs: number, { creator, high, low }: DigestEntry): boolean {
    const sum = this.#sums.get(creator);
    if (sum === undefined) return high === 0 && low === 0;
    if (sum.high === high && sum.low === low) return true;
    const untilMs = sum.former.get(stateOf(high, low));
    return untilMs !== undefined && nowMs - untilMs <= LAG_MS;
  }
}

const LOW_SEED = 0x9e3779b9;
const HIGH_SEED = 0x7f4a7c15;
const NOTHING = { count: 0, high: 0, low: 0 };

function remember(sum: Sum, nowMs: number): void {
  const { former, high, low } = sum;
  // Of many changes at one time no other node can have been told.
  if (nowMs - sum.rememberedMs < STATE_MS) return;
  sum.rememberedMs = nowMs;
  const state = stateOf(high, low);
  former.delete(state);
  former.set(state, nowMs);
  for (const [oldest, untilMs] of former) {
    if (former.size <= STATES_MAX && nowMs - untilMs <= LAG_MS) break;
    former.delete(oldest);
  }
}

export interface Disagreement {
  readonly node: number;
  readonly creator: number;
  /** Milliseconds since the two last agreed. */
  readonly forMs: number;
  readonly ours: DigestEntry;
  readonly theirs: DigestEntry;
}

interface Heard {
  readonly entry: DigestEntry;
  readonly ms: number;
}

interface Pair {
  agreedMs: number;
  /** Newest last; the newest stays, so that a disagreement can be shown. */
  heard: Heard[];
}

/** What peers say of their digests, beside ours. */
export class Comparison {
  readonly #digest: Digest;
  readonly #peers = new Map<number, Map<number, Pair>>();

  constructor(digest: Digest) {
    this.#digest = digest;
  }

  /** A heartbeat of `node` says this. Creators that it leaves out are not compared. */
  observe(nowMs: number, node: number, theirs: readonly DigestEntry[]): void {
    let pairs = this.#peers.get(node);
    if (pairs === undefined) {
      pairs = new Map();
      this.#peers.set(node, pairs);
    }
    for (const entry of theirs) {
      const pair = pairs.get(entry.creator) ?? { agreedMs: nowMs, heard: [] };
      pairs.set(entry.creator, pair);
      pair.heard.push({ entry, ms: nowMs });
      if (pair.heard.length > WAITING_MAX) pair.heard.shift();
      this.#settle(nowMs, pair);
    }
  }

  /** Those that have lasted longer than PATIENCE_MS. */
  disagreements(nowMs: number): Disagreement[] {
    const found: Disagreement[] = [];
    for (const [node, pairs] of this.#peers) {
      for (const [creator, pair] of pairs) {
        this.#settle(nowMs, pair);
        const forMs = nowMs - pair.agreedMs;
        const theirs = pair.heard.at(-1)!.entry;
        const [ours] = this.#digest.entries([creator]);
        if (forMs > PATIENCE_MS && (ours.high !== theirs.high || ours.low !== theirs.low))
          found.push({ node, creator, forMs, ours, theirs });
      }
    }
    return found;
  }

  /** Something of this node was compared since it came. */
  has(node: number): boolean {
    return this.#peers.has(node);
  }

  /** The peer is dead, or has started anew. */
  forget(node: number): void {
    this.#peers.delete(node);
  }

  /** Looks for what was heard among our states: the peer was behind, or this node was and has caught up. */
  #settle(nowMs: number, pair: Pair): void {
    for (let i = pair.heard.length - 1; i >= 0; i--) {
      const { entry, ms } = pair.heard[i];
      if (!this.#digest.wasAt(nowMs, entry)) continue;
      pair.agreedMs = Math.max(pair.agreedMs, ms);
      if (i === pair.heard.length - 1 && this.#isNow(entry)) pair.agreedMs = nowMs;
      return;
    }
  }

  #isNow({ creator, high, low }: DigestEntry): boolean {
    const [ours] = this.#digest.entries([creator]);
    return ours.high === high && ours.low === low;
  }
}
