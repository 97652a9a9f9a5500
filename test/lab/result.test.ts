/** What makes a run good or bad, and what is said about it. */
import { expect, test } from "vitest";
import { percent, resultOf, summaryLines } from "../../src/lab/result.ts";
import { addReading, createState, type LabState } from "../../src/lab/state.ts";
import { oneNode } from "../../src/lab/topology.ts";

function finished(sent: number, received: number): LabState {
  const state = createState(oneNode, (place) => `test-${place}`, "1.2.3", 3);
  for (const path of state.paths) {
    addReading(path, { sent, received, lost: sent - received, duplicates: 0, rttMs: [1, 2, 3] }, 500);
  }
  state.elapsedMs = 3004;
  return state;
}

test("every path complete: ok", () => {
  const result = resultOf(finished(150, 150));
  expect(result).toMatchObject({ ok: true, version: "1.2.3", seconds: 3, problems: [] });
  expect(result.paths).toHaveLength(oneNode.paths.length);
  expect(result.paths[0]).toEqual({
    from: "client1",
    to: "client2",
    family: 4,
    sent: 150,
    received: 150,
    lost: 0,
    lostPct: 0,
    duplicates: 0,
    rttMs: { min: 1, avg: 2, max: 3, p50: expect.closeTo(2, 1), p99: 3 },
  });
});

test("one lost packet in a short run is one too many; in a long run it is within the tolerance", () => {
  expect(resultOf(finished(150, 149)).ok).toBe(false);
  expect(resultOf(finished(1000, 999)).ok).toBe(true);
  expect(resultOf(finished(1000, 998)).ok).toBe(false);
});

test("a silent path names itself", () => {
  const state = finished(150, 150);
  state.paths[2]!.received = 0;
  const result = resultOf(state);
  expect(result.ok).toBe(false);
  expect(result.problems).toEqual(["client1 -> host over IPv4: none of 150 packets was answered."]);
});

test("a problem outside the paths makes the run bad", () => {
  const state = finished(150, 150);
  state.problems.push("The daemon at node ended by itself (status 1).");
  expect(resultOf(state)).toMatchObject({ ok: false, problems: ["The daemon at node ended by itself (status 1)."] });
});

test("a lab that never started gives its one reason, not one for every path", () => {
  const state = createState(oneNode, (place) => place, "1.2.3", 3);
  state.problems.push("no");
  expect(resultOf(state).problems).toEqual(["no"]);
});

test("a lab stopped before the first packet is not ok", () => {
  expect(resultOf(finished(0, 0)).problems[0]).toContain("stopped too early");
});

test("drops of all daemons, the greatest first", () => {
  const state = finished(150, 150);
  const drop = (place: string, count: number) => ({ place, name: "no_route", count, help: "No tunnel." });
  state.daemons.set("node", { tunnels: [], drops: [drop("node", 2)] });
  state.daemons.set("client1", { tunnels: [], drops: [drop("client1", 7)] });
  expect(resultOf(state).drops.map(({ place, count }) => [place, count])).toEqual([
    ["client1", 7],
    ["node", 2],
  ]);
});

test("a loss is never rounded to nothing", () => {
  expect(percent(0, 0)).toBe(0);
  expect(percent(0, 10)).toBe(0);
  expect(percent(1, 1_000_000)).toBe(0.01);
  expect(percent(1, 3)).toBe(33.33);
});

test("the summary says every path, every problem and the verdict", () => {
  const state = finished(150, 100);
  state.daemons.set("node", {
    tunnels: [],
    drops: [{ place: "node", name: "no_route", count: 4, help: "No tunnel." }],
  });
  const text = summaryLines(resultOf(state)).join("\n");
  for (const path of oneNode.paths) expect(text).toContain(`${path.from} -> ${path.to} IPv${path.family}`);
  expect(text).toContain("dropped at node: 4 no_route - No tunnel.");
  expect(text).toContain("PROBLEM client1 -> client2 over IPv4: 50 of 150 packets were lost (33.33 %).");
  expect(text.endsWith("not ok")).toBe(true);
  expect(summaryLines(resultOf(finished(9, 9))).at(-1)).toBe("ok: every path carried its traffic");
});
