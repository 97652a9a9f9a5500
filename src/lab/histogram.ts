/**
 * Round-trip times of a path in bounded memory however long the lab runs: exact minimum, maximum and mean, and
 * percentiles from buckets that are 2 % wide.
 */

const FIRST_MS = 0.001;
const STEP = Math.log(1.02);
/** Up to FIRST_MS * 1.02^1000, about 400 seconds; slower ones share the last bucket. */
const BUCKETS = 1000;

export class Histogram {
  readonly #counts = new Float64Array(BUCKETS);
  #count = 0;
  #sumMs = 0;
  #minMs = Infinity;
  #maxMs = 0;

  add(ms: number): void {
    const bucket = ms <= FIRST_MS ? 0 : Math.min(BUCKETS - 1, Math.ceil(Math.log(ms / FIRST_MS) / STEP));
    this.#counts[bucket]!++;
    this.#count++;
    this.#sumMs += ms;
    this.#minMs = Math.min(this.#minMs, ms);
    this.#maxMs = Math.max(this.#maxMs, ms);
  }

  /** undefined while nothing was added. */
  summary(): RttMs | undefined {
    if (this.#count === 0) return undefined;
    return {
      min: this.#minMs,
      avg: round(this.#sumMs / this.#count),
      max: this.#maxMs,
      p50: this.#percentile(0.5),
      p99: this.#percentile(0.99),
    };
  }

  /** The smallest bucket end that `share` of the values do not exceed, never outside what was really seen. */
  #percentile(share: number): number {
    const wanted = Math.ceil(this.#count * share);
    let seen = 0;
    let bucket = 0;
    while (bucket < BUCKETS - 1) {
      seen += this.#counts[bucket]!;
      if (seen >= wanted) break;
      bucket++;
    }
    const end = FIRST_MS * Math.exp(STEP * bucket);
    return round(Math.max(this.#minMs, Math.min(this.#maxMs, end)));
  }
}

/** Milliseconds. */
export interface RttMs {
  readonly min: number;
  readonly avg: number;
  readonly max: number;
  readonly p50: number;
  readonly p99: number;
}

/** To the microsecond, which is finer than the clock deserves. */
const round = (ms: number) => Math.round(ms * 1000) / 1000;
