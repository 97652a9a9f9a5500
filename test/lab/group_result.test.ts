/** What makes a number of the anycast lab good or bad, and what is said about a run. */
import { expect, test } from "vitest";
import { counterTotals } from "../../src/lab/group_counters.ts";
import { eventLine } from "../../src/lab/group_picture.ts";
import {
  addedGap,
  all,
  atMost,
  type GroupResult,
  gapsOf,
  groupSummaryLines,
  percentile,
  shown,
} from "../../src/lab/group_result.ts";

test("a limit holds up to itself; what was not measured, or measured of nothing, does not hold", () => {
  expect(atMost("gap", 5, 5, "ms", 100)).toEqual({ name: "gap", goal: "<= 5 ms", measured: 5, of: 100, ok: true });
  expect(atMost("gap", 5.001, 5, "ms", 100).ok).toBe(false);
  expect(atMost("gap", null, 5, "ms", 100).ok).toBe(false);
  expect(atMost("lost", 0, 0, "", 0)).toMatchObject({ goal: "<= 0", ok: false });
});

test("all means every one, and of nothing is not all", () => {
  expect(all("served", 100, 100)).toMatchObject({ goal: "100 of 100", ok: true });
  expect(all("served", 99, 100).ok).toBe(false);
  expect(all("served", 0, 0).ok).toBe(false);
  expect(shown("usual", null, 0).ok).toBe(true);
});

test("percentiles are values that occurred", () => {
  const values = Array.from({ length: 100 }, (_, i) => 100 - i);
  expect(gapsOf(values)).toEqual({ p50: 50, p99: 99, max: 100 });
  expect(percentile([3], 0.01)).toBe(3);
  expect(percentile([], 0.5)).toBeNull();
  expect(gapsOf([])).toBeNull();
});

test("flips are charged with what they add to a percentile, never with less than nothing", () => {
  expect(addedGap([9, 1, 3], [7, 1, 2], 1)).toBe(2);
  expect(addedGap([9, 1, 3], [7, 1, 2], 0.5)).toBe(1);
  expect(addedGap([1], [2], 0.5)).toBe(0);
  expect(addedGap([], [2], 0.5)).toBeNull();
  expect(addedGap([2], [], 0.5)).toBeNull();
});

test("counters are summed over nodes and their lives", () => {
  const lives = [
    new Map([["group_held", 3]]),
    new Map([
      ["group_held", 4],
      ["group_asked", 1],
    ]),
  ];
  expect(counterTotals(lives, 2)).toEqual({ held: 7, asked: 1, forwarded: 0, forecast: 0, resumed: 2 });
});

const result: GroupResult = {
  ...{ ok: false, version: "1.2.3", lab: "three", scenario: "flip", seconds: 5 },
  ...{ gaps: { p50: 1, p99: 2, max: 3 }, sent: 10, lost: 1, replayed: 0 },
  ...{ held: 5, asked: 0, forwarded: 1, forecast: 0, resumed: 0 },
  numbers: [all("served", 9, 10), atMost("lost", 0, 0, "", 10)],
  ...{ events: [], drops: [], problems: ["The router burns."] },
};

test("the summary names every number, met or missed, every problem and the verdict", () => {
  const text = groupSummaryLines(result).join("\n");
  expect(text).toContain("MISSED served: 9 (goal 10 of 10, of 10)");
  expect(text).toContain("met    lost: 0 (goal <= 0, of 10)");
  expect(text).toContain("PROBLEM The router burns.");
  expect(text).toContain("10 sent, 1 lost");
  expect(text.endsWith("not ok")).toBe(true);
  expect(groupSummaryLines({ ...result, ok: true }).at(-1)).toBe("ok");
});

test("a line of the time-line says who, where and how long", () => {
  expect(eventLine({ atMs: 1234, what: "through", client: "c1", node: "n2", gapMs: 1.26 })).toBe(
    "    1.23 s  through      c1 at n2  gap 1.3 ms",
  );
  expect(eventLine({ atMs: 0, what: "flip", client: "c1", node: "n2" })).toContain("c1 to n2");
});
