/**
 * Numbers about numbers: medians, spreads and ratios of rounds. Pure. A round is measured beside the same round of the
 * others, so ratios are taken round by round and only then condensed: drift of the machine cancels out.
 */

/** Several rounds of one figure. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly rounds: number;
}

/** A spread (max - min) above this share of the median says: do not trust this figure to two digits. */
const WIDE = 0.25;

/** Median of at least one number; the mean of the two middle ones when their count is even. NaN for none. */
export function median(values: readonly number[]): number {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/**
 * The least disturbed of some rounds of a loop that only ever gets slower by what else the machine does. NaN for none.
 */
export function best(values: readonly number[]): number {
  return values.length === 0 ? Number.NaN : Math.min(...values);
}

/** Undefined for no values at all. */
export function spreadOf(values: readonly number[]): Spread | undefined {
  if (values.length === 0) return undefined;
  return { median: median(values), min: Math.min(...values), max: Math.max(...values), rounds: values.length };
}

export function isWide(spread: Spread): boolean {
  return spread.max - spread.min > WIDE * Math.abs(spread.median);
}

/** Values by round of one figure; a round that failed is missing. */
export type Rounds = ReadonlyMap<number, number>;

/** `a` divided by `b`, round by round, over the rounds that both have. Undefined when there is none. */
export function ratioOf(a: Rounds, b: Rounds): Spread | undefined {
  const ratios: number[] = [];
  for (const [round, value] of a) {
    const divisor = b.get(round);
    if (divisor !== undefined && divisor !== 0) ratios.push(value / divisor);
  }
  return spreadOf(ratios);
}

/** The smallest value that `share` of the values do not exceed. NaN for none. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}
