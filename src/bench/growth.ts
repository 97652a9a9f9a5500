/**
 * The growth part: what one packet costs as tunnels and routes become many. Each case is the whole pipeline over tables
 * of that size, with packets for all tunnels in random order. The time of one uncached read of memory is measured
 * beside it: divided by that, the extra cost is a number of cache misses, and nothing else may make it grow.
 */
import type { Transforms } from "./keys.ts";
import { type Running, timeInterleaved } from "./micro.ts";
import { numbers, startPipeline } from "./plane_bench.ts";
import type { GrowthCase } from "./results.ts";

const TUNNELS = [1, 100, 10_000];
const ROUTES = [1, 1000, 100_000];
const WAYS = ["send", "receive"] as const;
const TRANSFORMS: readonly Transforms[] = ["null", "aes-ctr-128 + sha1"];
const BYTES = 64;

/** Ints of the memory that is read at random: 64 MiB, more than the caches of one core. */
const CHASE_INTS = 1 << 24;

export interface Size {
  readonly tunnels: number;
  readonly routes: number;
}

/** The grid of sizes; a tunnel has at least one route. */
export function sizes(): Size[] {
  const all = TUNNELS.flatMap((tunnels) => ROUTES.map((routes) => ({ tunnels, routes: Math.max(tunnels, routes) })));
  return all.filter((a, i) => all.findIndex((b) => b.tunnels === a.tunnels && b.routes === a.routes) === i);
}

/** Expected seconds of `measureGrowth`. */
export function growthSeconds(rounds: number): number {
  return WAYS.length * TRANSFORMS.length * groupSeconds(rounds) + MISS_SECONDS;
}
const MISS_SECONDS = 4;
const groupSeconds = (rounds: number): number => sizes().length * (1 + 0.04 * rounds);

/** All sizes of one way and one kind of transforms live at once and take turns, so that their ratios hold. */
export function measureGrowth(
  rounds: number,
  onStep: (seconds: number, line: string) => void,
): { missNs: number[]; cases: GrowthCase[] } {
  const missNs = timeInterleaved([memoryReads()], rounds)[0]!;
  onStep(MISS_SECONDS, "growth: one cache miss");
  const cases: GrowthCase[] = [];
  for (const transforms of TRANSFORMS) {
    for (const way of WAYS) {
      const running = sizes().map((size) => startPipeline({ way, bytes: BYTES, transforms, ...size }));
      const figures = timeInterleaved(running, rounds);
      sizes().forEach((size, i) => void cases.push({ way, transforms, ...size, ns: figures[i]! }));
      onStep(groupSeconds(rounds), `growth: ${way}, ${transforms}`);
    }
  }
  return { missNs, cases };
}

/** Each read tells where the next one is: nothing can be read ahead. One cycle through all (Sattolo 1986). */
function memoryReads(): Running {
  const next = Int32Array.from({ length: CHASE_INTS }, (_, i) => i);
  const random = numbers();
  for (let i = CHASE_INTS - 1; i > 0; i--) {
    const j = (random.next().value >>> 0) % i;
    const kept = next[i]!;
    next[i] = next[j]!;
    next[j] = kept;
  }
  let at = 0;
  return {
    run(count) {
      for (let i = 0; i < count; i++) at = next[at]!;
      if (at < 0) throw new Error("The place is only kept so that the loop is not optimized away.");
      return count;
    },
  };
}
