/** What is written is read back; what is not ours is refused with the place; a part replaces only itself. */
import { describe, expect, it } from "vitest";
import { mergeResults, parseResults, type Results, roundsOf } from "../../src/bench/results.ts";
import { endToEnd, growth, micro, SPEEDS } from "./sample.ts";

const whole = (): Results => ({ format: 1, endToEnd: endToEnd(SPEEDS), micro: micro(300), growth: growth(200) });

describe("results", () => {
  it("survive writing and reading", () => {
    const results = whole();
    results.endToEnd!.results.push({ peer: "slow", round: 4, error: "ended" });
    expect(parseResults(JSON.stringify(results), "r.json")).toEqual(results);
  });

  it.each([
    ["no JSON", "{", /r\.json is not JSON/],
    ["another format", '{"format":2}', /r\.json does not hold results.*format.*npm run bench/],
    [
      "a text for a number",
      JSON.stringify({ ...whole(), growth: { ...growth(1), missNs: ["1"] } }),
      /growth\.missNs\.0/,
    ],
    ["a stage without rounds", JSON.stringify({ ...whole(), growth: { ...growth(1), missNs: [] } }), /growth\.missNs/],
  ])("refuse %s", (_, text, message) => expect(() => parseResults(text, "r.json")).toThrow(message));

  it("a fresh part replaces the older one, and only that", () => {
    const merged = mergeResults({ format: 1, micro: micro(1) }, whole());
    expect(merged).toEqual({ ...whole(), micro: micro(1) });
    expect(mergeResults(whole(), undefined)).toEqual(whole());
  });
});

describe("rounds of a peer", () => {
  it("leave failed rounds out", () => {
    const part = endToEnd(SPEEDS);
    part.results[part.results.findIndex((result) => result.peer === "fast" && result.round === 2)] = {
      ...{ peer: "fast", round: 2, error: "ended" },
    };
    expect([...roundsOf(part, "fast", "tcpMbps")]).toEqual([
      [1, 1000],
      [3, 1100],
    ]);
  });

  it("say what a Gbit/s costs, and nothing of the cable's daemon", () => {
    const part = endToEnd(SPEEDS);
    expect(roundsOf(part, "ours", "coresPerGbps").get(1)).toBe(0.5);
    for (const key of ["daemonCores", "coresPerGbps", "peakMb"] as const) {
      expect(roundsOf(part, "raw", key).size).toBe(0);
    }
  });
});
