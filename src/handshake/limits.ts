/**
 * What keeps a flood from costing more than it should: token buckets per source, and the decision when a node is under
 * load. Fixed memory, no timers.
 */
import { isMapped } from "../base/ip.ts";
import type { Endpoint } from "./macs.ts";

/**
 * Token buckets in a fixed number of cells, chosen by a keyed hash of the source's /32 or /64: strangers share cells now
 * and then, and can't aim at one.
 */
export class SourceBuckets {
  readonly #perSecond: number;
  readonly #burst: number;
  readonly #seed: number;
  readonly #tokens: Float64Array;
  readonly #atMs: Float64Array;

  /** `cells`: a power of two. `seed`: a secret random number. */
  constructor(options: { perSecond: number; burst: number; cells: number; seed: number }) {
    this.#perSecond = options.perSecond;
    this.#burst = options.burst;
    this.#seed = options.seed;
    this.#tokens = new Float64Array(options.cells).fill(options.burst);
    this.#atMs = new Float64Array(options.cells);
  }

  /** Takes a token of this source; false when it has none. */
  take(from: Endpoint, nowMs: number): boolean {
    const cell = this.#cell(from);
    const earned = (Math.max(0, nowMs - this.#atMs[cell]) * this.#perSecond) / 1000;
    const tokens = Math.min(this.#burst, this.#tokens[cell] + earned);
    this.#atMs[cell] = nowMs;
    this.#tokens[cell] = tokens >= 1 ? tokens - 1 : tokens;
    return tokens >= 1;
  }

  #cell({ w0, w1, w2, w3 }: Endpoint): number {
    const [high, low] = isMapped(w0, w1, w2) ? [MAPPED_HIGH, w3] : [w0, w1];
    let hash = Math.imul(this.#seed ^ high, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13) ^ low, 0xc2b2ae35);
    hash = Math.imul(hash ^ (hash >>> 16), 0x27d4eb2f);
    return (hash ^ (hash >>> 15)) & (this.#tokens.length - 1);
  }
}

const MAPPED_HIGH = 0x5bd1e995;
const WINDOW_MS = 100;

export interface LoadLimits {
  /** Requests per second from which on cookies are asked for. */
  readonly enterPerSecond: number;
  /** Below this for `calmMs`, cookies are no longer asked for. */
  readonly leavePerSecond: number;
  readonly calmMs: number;
  /** Requests per second beyond which the rest is dropped unread. */
  readonly shedPerSecond: number;
}

export type Load = "calm" | "loaded" | "shed";

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

  /** One request arrived. */
  arrived(nowMs: number): Load {
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
    if (this.#count > this.#limits.shedPerSecond * share) return "shed";
    return this.#loaded ? "loaded" : "calm";
  }
}
