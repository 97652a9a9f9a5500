/** The regression check passes what is only another machine, and finds what has become slower. */
import { describe, expect, it } from "vitest";
import { compare, formatRows, isRegression } from "../../src/bench/check.ts";
import type { Results } from "../../src/bench/results.ts";
import { endToEnd, growth, micro, SPEEDS } from "./sample.ts";

const baseline = (): Results => ({ format: 1, endToEnd: endToEnd(SPEEDS), micro: micro(300), growth: growth(200) });
const regressions = (fresh: Results) =>
  compare(baseline(), fresh)
    .filter(isRegression)
    .map((row) => row.what);
const times = (factor: number, values: readonly number[]) => values.map((value) => factor * value);

describe("the check", () => {
  it("finds nothing in equal results", () => {
    const rows = compare(baseline(), baseline());
    expect(rows.length).toBeGreaterThanOrEqual(7);
    for (const row of rows) expect(row.change).toBeCloseTo(1);
    expect(rows.some(isRegression)).toBe(false);
  });

  it("compares ratios: a machine of a tenth of the speed passes", () => {
    const slow = Object.fromEntries(Object.entries(SPEEDS).map(([name, speeds]) => [name, times(0.1, speeds)]));
    const fresh: Results = {
      ...{ format: 1, endToEnd: endToEnd(slow), micro: micro(3000, 10_000), growth: growth(2000, 1000) },
    };
    expect(regressions(fresh)).toEqual([]);
  });

  it("finds a third of the speed beside the same peers, with every figure that shows it", () => {
    const fresh = { ...baseline(), endToEnd: endToEnd({ ...SPEEDS, ours: times(0.33, SPEEDS.ours) }) };
    expect(regressions(fresh)).toEqual([
      "TCP Mbit/s: ours / the cable",
      "TCP Mbit/s: ours / the peers",
      "64 B kpps: ours / the cable",
      "64 B kpps: ours / the peers",
      "cores per Gbit/s: ours / the peers",
    ]);
  });

  it("is not misled by one peer that has become much faster", () => {
    const peers = { raw: SPEEDS.raw, a: [400, 400], b: [500, 500], c: [600, 600], ours: SPEEDS.ours };
    const before: Results = { format: 1, endToEnd: endToEnd(peers) };
    const after: Results = { format: 1, endToEnd: endToEnd({ ...peers, b: [5000, 5000] }) };
    expect(compare(before, after).some(isRegression)).toBe(false);
  });

  it("takes figures that we no longer have for a regression", () => {
    const part = endToEnd(SPEEDS);
    const results = part.results.map((result) =>
      result.peer === "ours" ? { peer: "ours", round: result.round, error: "ended" } : result,
    );
    const rows = compare(baseline(), { format: 1, endToEnd: { ...part, results } });
    expect(rows.length).toBeGreaterThan(0);
    expect(rows.every(isRegression)).toBe(true);
    expect(formatRows(rows)).toContain("failed");
  });

  it("leaves out peers that are not installed now", () => {
    const { raw, fast, ours } = SPEEDS;
    expect(regressions({ format: 1, endToEnd: endToEnd({ raw, fast, ours }) })).toEqual([]);
    const rows = compare(baseline(), { format: 1, endToEnd: endToEnd({ ours }) });
    expect(rows).toEqual([]);
  });

  it("finds a stage that costs twice the reference work it did", () => {
    expect(regressions({ ...baseline(), micro: micro(600) })).toEqual(["pipeline send / reference"]);
  });

  it("finds a cost that grows twice as much", () => {
    expect(regressions({ ...baseline(), growth: growth(400) })).toEqual([
      "growth send, null: 10000 tunnels, 100000 routes / 1, 1",
    ]);
  });

  it("compares only parts that both have", () => {
    expect(compare(baseline(), { format: 1 })).toEqual([]);
    expect(compare({ format: 1, micro: micro(300) }, baseline())).toHaveLength(1);
  });
});
