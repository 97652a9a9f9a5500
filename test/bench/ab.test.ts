/** A/B comparison: which order rounds have, what is read of outputs, and when a ratio keeps its bound. */
import { describe, expect, it } from "vitest";
import { type AbResults, abRows, chooseProbes, formatAb, orderOf } from "../../src/bench/ab.ts";
import { abProbes } from "../../src/bench/ab_probes.ts";

const figureOf = (name: string) => abProbes.flatMap(({ figures }) => figures).find((figure) => figure.name === name)!;

describe("probes", () => {
  it("have figures with names of their own", () => {
    const names = abProbes.flatMap(({ figures }) => figures.map(({ name }) => name));
    expect(new Set(names).size).toBe(names.length);
  });

  it("are chosen by name, and unknown names are refused with the known ones", () => {
    expect(chooseProbes(["kill", "speed"]).map(({ name }) => name)).toEqual(["speed", "kill"]);
    expect(chooseProbes(undefined)).toHaveLength(abProbes.length);
    expect(() => chooseProbes(["speeed"])).toThrow(/"speeed".*speed, handshakes/);
  });

  it("read what the programs print", () => {
    const file = JSON.stringify({ endToEnd: { results: [{ tcpMbps: 4000, daemonCores: 1.5, rttMs: 0.1 }] } });
    expect(figureOf("one TCP stream, Mbit/s").read(file)).toBe(4000);
    expect(figureOf("processor cores per Gbit/s").read(file)).toBe(0.375);
    const text = "rekeys, a second: 1900 (1 to 2)\nrekeys, a second of processor time: 2100 (2000 to 2200)";
    expect(figureOf("rekeys per second of processor time").read(text)).toBe(2100);
    const lab = JSON.stringify({
      gaps: { p50: 3.2 },
      numbers: [{ name: "last session served after, ms", measured: 940 }],
    });
    expect(figureOf("flip: median gap, ms").read(lab)).toBe(3.2);
    expect(figureOf("storm: last session served, ms").read(lab)).toBe(940);
  });

  it("have no figure where the output lacks it", () => {
    for (const { read } of abProbes.flatMap(({ figures }) => figures))
      for (const output of ["", "{", "{}", '{"endToEnd":{"results":[{"error":"x"}]}}', '{"gaps":null,"numbers":[]}'])
        expect(read(output)).toBeUndefined();
  });
});

describe("rounds", () => {
  it("change the order, so that neither build always runs first", () => {
    expect([1, 2, 3].map((round) => orderOf(round)[0])).toEqual(["old", "new", "old"]);
    for (const round of [1, 2]) expect([...orderOf(round)].sort()).toEqual(["new", "old"]);
  });
});

const results = (name: string, old: readonly number[], fresh: readonly number[]): AbResults => ({
  old: new Map([[name, new Map(old.map((value, i) => [i + 1, value]))]]),
  new: new Map([[name, new Map(fresh.map((value, i) => [i + 1, value]))]]),
});
const rowOf = (name: string, old: readonly number[], fresh: readonly number[]) =>
  abRows(results(name, old, fresh), abProbes).find(({ figure }) => figure.name === name)!;

describe("result", () => {
  it("is the median of the ratios of each round, not the ratio of medians", () => {
    const row = rowOf("one TCP stream, Mbit/s", [100, 200, 400], [99, 400, 404]);
    expect(row.ratio?.median).toBeCloseTo(1.01);
    expect(row.ratio?.min).toBeCloseTo(0.99);
    expect(row.met).toBe(true);
  });

  it("misses its bound when it is slower, and when nothing was measured", () => {
    expect(rowOf("one TCP stream, Mbit/s", [100], [97]).met).toBe(false);
    expect(rowOf("one TCP stream, Mbit/s", [100], [98]).met).toBe(true);
    expect(rowOf("kill: median gap, ms", [10], [11]).met).toBe(false);
    expect(rowOf("kill: median gap, ms", [10], [9]).met).toBe(true);
    expect(rowOf("kill: median gap, ms", [10], []).met).toBe(false);
  });

  it("is a table with medians and ranges", () => {
    const table = formatAb([rowOf("one TCP stream, Mbit/s", [100, 200], [99, 190])], 2);
    expect(table).toContain("2 rounds of both builds");
    expect(table).toMatch(
      /one TCP stream, Mbit\/s +150 \(100 to 200\) +145 \(99\.0 to 190\) +0\.970 .* >= 0\.98 +MISSED/,
    );
  });
});
