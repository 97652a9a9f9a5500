/**
 * What keeps a flood from costing more than it should: token buckets, and the decision when a node is under load. Fixed
 * memory, no timers.
 */

import type { Endpoint } from "../base/ip.ts";
import { isMapped } from "../base/ip.ts";

export interface BucketLimits {
  readonly perSecond: number;
  readonly burst: number;
}

const CELLS = 8192;

/**
 * Token buckets in a fixed number of cells, chosen by a keyed hash of 64 bits that name whose bucket it is: two share a cell
 * now and then, and can't aim at one.
 */
export class Buckets {
  readonly #limits: BucketLimits;
  readonly #seed: number;
  readonly #tokens: Float64Array;
  readonly #atMs = new Float64Array(CELLS);

  /** `seed`: a secret random number. */
  constructor(limits: BucketLimits, seed: number) {
    this.#limits = limits;
    this.#seed = seed;
    this.#tokens = new Float64Array(CELLS).fill(limits.burst);
  }

  /** Takes a token; false when there is none. */
  take(high: number, low: number, nowMs: number): boolean {
    const cell = this.#fill(high, low, nowMs);
    if (this.#tokens[cell] < 1) return false;
    this.#tokens[cell]--;
    return true;
  }

  /** Whether there is a token. */
  has(high: number, low: number, nowMs: number): boolean {
    return this.#tokens[this.#fill(high, low, nowMs)] >= 1;
  }

  #fill(high: number, low: number, nowMs: number): number {
    let hash = Math.imul(this.#seed ^ high, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13) ^ low, 0xc2b2ae35);
    hash = Math.imul(hash ^ (hash >>> 16), 0x27d4eb2f);
    const cell = (hash ^ (hash >>> 15)) & (CELLS - 1);
    const earned = (Math.max(0, nowMs - this.#atMs[cell]) * this.#limits.perSecond) / 1000;
    this.#tokens[cell] = Math.min(this.#limits.burst, this.#tokens[cell] + earned);
    this.#atMs[cell] = nowMs;
    return cell;
  }
}

/** Names the /32 of an IPv4 source and the /64 of an IPv6 one. */
export const sourceHigh = ({ w0, w1, w2 }: Endpoint): number => (isMapped(w0, w1, w2) ? MAPPED_HIGH : w0);
export const sourceLow = ({ w0, w1, w2, w3 }: Endpoint): number => (isMapped(w0, w1, w2) ? w3 : w1);

const MAPPED_HIGH = 0x5bd1e995;
const WINDOW_MS = 100;

export interface LoadLimits {
  /** Requests per second from which on cookies are asked for. */
  readonly enterPerSecond: number;
  /** Below this for `calmMs`, cookies are no longer asked for. */
  readonly leavePerSecond: number;
  readonly calmMs: number;
}

/** Counts requests in windows of 100 ms; under load it stays so until it was calm for a while. */
export class LoadDetector {
  readonly #limits: LoadLimits;
  #windowAtMs = Number.NEGATIVE_INFINITY;
  #count = 0;
  #loaded = false;
  #busyAtMs = 0;

  constructor(limits: LoadLimits) {
    this.#limits = limits;
  }

  get loaded(): boolean {
    return this.#loaded;
  }

  /** Time passed: ends the load also when nothing arrives any more. */
  rest(nowMs: number): void {
    if (this.#loaded && nowMs - this.#busyAtMs >= this.#limits.calmMs) this.#loaded = false;
  }

  /** One request arrived. Whether the node is under load. */
  arrived(nowMs: number): boolean {
    const share = WINDOW_MS / 1000;
    if (nowMs - this.#windowAtMs >= WINDOW_MS) {
      this.#windowAtMs = nowMs;
      this.#count = 0;
    }
    this.#count++;
    if (this.#count > this.#limits.leavePerSecond * share) {
      if (this.#count > this.#limits.enterPerSecond * share) this.#loaded = true;
      this.#busyAtMs = nowMs;
    }
    this.rest(nowMs);
    return this.#loaded;
  }
}
