/** The machine's clocks. */
import type { Clock } from "../base/clock.ts";

export const systemClock: Clock = {
  // CLOCK_MONOTONIC, the same zero as the addon's `poll` uses.
  monotonicMs: () => Number(process.hrtime.bigint() / 1000n) / 1000,
  wallMs: () => Date.now(),
};
