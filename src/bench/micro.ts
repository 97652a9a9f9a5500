/**
 * Micro benchmarks: nanoseconds per packet of single stages, in plain loops. Each benchmark is warmed up until the
 * compiler has settled and then measured in rounds; the median counts, because the machine is never quiet. The
 * stages themselves are in `stages.ts`. No network, no privileges.
 */
import { median } from "./table.ts";

export interface MicroBenchmark {
  readonly name: string;
  /** What one repetition stands for: "packet", "lookup". */
  readonly unit: string;
  /** Does the work at least `count` times and returns how often it was done. */
  run(count: number): number;
}

export interface MicroResult {
  readonly name: string;
  readonly unit: string;
  readonly medianNs: number;
  readonly minNs: number;
}

/** One round lasts about this long: long against the clock, short against a time slice. */
const ROUND_NS = 20e6;
const WARM_UP_NS = 200e6;

function timed(benchmark: MicroBenchmark, count: number): { ns: number; done: number } {
  const start = process.hrtime.bigint();
  const done = benchmark.run(count);
  return { ns: Number(process.hrtime.bigint() - start), done };
}

export function runMicro(benchmark: MicroBenchmark, rounds: number): MicroResult {
  let count = 1024;
  for (let spent = 0; spent < WARM_UP_NS; ) {
    const { ns } = timed(benchmark, count);
    spent += ns;
    if (ns < ROUND_NS / 2) count *= 2;
  }
  const perUnit = Array.from({ length: rounds }, () => {
    const { ns, done } = timed(benchmark, count);
    return ns / done;
  });
  return { name: benchmark.name, unit: benchmark.unit, medianNs: median(perUnit), minNs: Math.min(...perUnit) };
}
