/**
 * The stopwatch of the micro benchmarks: nanoseconds per packet of single stages, in plain loops. Each is warmed up until
 * the compiler has settled and then measured in rounds; the median counts, because the machine is never quiet. What is
 * measured is in `stages.ts` and `growth.ts`. No network, no privileges.
 */

/** Something ready to be measured. */
export interface Running {
  /** Most units of one run; without: any number. */
  readonly limit?: number;
  /** Makes ready for a run of `count` units; its time does not count. */
  prepare?(count: number): void;
  /** Does the work at least `count` times and returns how often it was done. Throws when it was not done right. */
  run(count: number): number;
}

export interface MicroBenchmark {
  readonly name: string;
  /** What one repetition stands for: "packet", "lookup". */
  readonly unit: string;
  /** Builds what the measurement needs; called just before it, so that memory is not held for all. */
  start(): Running;
}

/** One round lasts about this long: long against the clock, short against a time slice. */
const ROUND_NS = 20e6;
const WARM_UP_NS = 200e6;

/** Nanoseconds per unit of one run. */
function timed(running: Running, count: number): { readonly perUnit: number; readonly ns: number } {
  running.prepare?.(count);
  const start = process.hrtime.bigint();
  const done = running.run(count);
  const ns = Number(process.hrtime.bigint() - start);
  return { perUnit: ns / done, ns };
}

/** Runs it until compiled code has settled; returns the count of a round. */
function warmUp(running: Running): number {
  const limit = running.limit ?? Number.MAX_SAFE_INTEGER;
  let count = Math.min(1024, limit);
  for (let spent = 0; spent < WARM_UP_NS; ) {
    const { ns } = timed(running, count);
    spent += ns;
    if (ns < ROUND_NS / 2) count = Math.min(2 * count, limit);
  }
  return count;
}

/** Nanoseconds per unit, one figure a round, of several things: round 1 of all, then round 2 of all, and so on. */
export function timeInterleaved(several: readonly Running[], rounds: number): number[][] {
  const counts = several.map(warmUp);
  const figures: number[][] = several.map(() => []);
  for (let round = 0; round < rounds; round++) {
    several.forEach((running, i) => void figures[i]!.push(timed(running, counts[i]!).perUnit));
  }
  return figures;
}

/** The same for one alone. */
export function timeOne(benchmark: MicroBenchmark, rounds: number): number[] {
  return timeInterleaved([benchmark.start()], rounds)[0]!;
}
