/** What makes a run good or bad, and what is said about it. */
import { expect, test } from "vitest";
import { GAP_MAX_MS, percent, resultOf, summaryLines } from "../../src/lab/result.ts";
import { addReading, addReport, createState, type DaemonState, type LabState } from "../../src/lab/state.ts";
import { oneNode } from "../../src/lab/topology.ts";

function finished(sent: number, received: number): LabState {
  const state = createState(oneNode, (place) => `test-${place}`, "1.2.3", 3);
  for (const path of state.paths) {
    addReading(path, { sent, received, lost: sent - received, duplicates: 0, gapMs: 21, rttMs: [1, 2, 3] }, 500);
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
    gapMs: 21,
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
  state.daemons.set("node", { pid: 1, sessions: [], tunnels: [], drops: [drop("node", 2)] });
  state.daemons.set("client1", { pid: 1, sessions: [], tunnels: [], drops: [drop("client1", 7)] });
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
    pid: 1,
    sessions: [],
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

const report = (pid: number, ...ids: readonly [id: number, client: string][]): DaemonState => ({
  pid,
  tunnels: [],
  sessions: ids.map(([id, client]) => ({
    ...{ place: "node", id, client, endpoint: "192.0.2.10:4444", cipher: "aes-256-gcm" },
    ...{ rx: { packets: 1, bytes: 2 }, tx: { packets: 3, bytes: 4 } },
  })),
  drops: [],
});

/** 500 packets a path at 50 a second, of which `lost` were lost in a gap of `gapMs`; the node was killed at 5 s. */
function restarted(lost: number, gapMs: number): LabState {
  const state = createState(oneNode, (place) => `test-${place}`, "1.2.3", 10, "restart");
  for (const path of state.paths) {
    addReading(path, { sent: 500, received: 500 - lost, lost, duplicates: 0, gapMs, rttMs: [1] }, 500);
  }
  state.elapsedMs = 10_000;
  const before = new Map([
    [11, "client1"],
    [22, "client2"],
  ]);
  state.restart = { place: "node", pid: 1, killedAt: 5000, atMs: 5000, upMs: undefined, before, resumed: new Set() };
  return state;
}

test("a restart is good when every path goes on and every session keeps its id", () => {
  const state = restarted(40, 780);
  addReport(state, "node", report(2, [11, "client1"]), 5700);
  addReport(state, "node", report(2, [11, "client1"], [22, "client2"]), 6200);
  const result = resultOf(state);
  expect(result).toMatchObject({ ok: true, problems: [] });
  const clients = ["client1", "client2"];
  expect(result.restart).toEqual({ place: "node", atS: 5, upMs: 700, clients, resumed: clients });
  expect(result.sessions.map(({ client, resumed }) => [client, resumed])).toEqual([
    ["client1", true],
    ["client2", true],
  ]);
  const text = summaryLines(result).join("\n");
  expect(text).toContain("session at node: client2 from 192.0.2.10:4444, aes-256-gcm, resumed by ticket");
  expect(text).toContain("answered again after 700 ms, 2 of 2 sessions resumed, longest gap 780 ms");
});

test("a late answer of the killed daemon counts for nothing", () => {
  const state = restarted(40, 780);
  addReport(state, "node", report(1, [11, "client1"], [22, "client2"]), 5001);
  expect(state.restart).toMatchObject({ upMs: undefined, resumed: new Set() });
  expect(state.daemons.has("node")).toBe(false);
});

test("a session under another id, or another client under the old id, was made anew", () => {
  const state = restarted(40, 780);
  addReport(state, "node", report(2, [33, "client1"], [11, "client2"]), 5700);
  expect(resultOf(state).problems).toEqual([
    "The session of client1 did not go on by its ticket after the restart of node.",
    "The session of client2 did not go on by its ticket after the restart of node.",
  ]);
});

test("a gap that is too long is bad, and so is loss that the gap does not explain", () => {
  const good = report(2, [11, "client1"], [22, "client2"]);
  const silent = restarted(250, GAP_MAX_MS + 1);
  addReport(silent, "node", good, 5700);
  expect(resultOf(silent).problems[0]).toContain(`silent for ${GAP_MAX_MS + 1} ms`);
  const lossy = restarted(45, 780);
  addReport(lossy, "node", good, 5700);
  expect(resultOf(lossy).problems[0]).toContain("45 of 500 packets were lost (9 %); the gap of 780 ms explains 40.");
  // Without a restart nothing is excused.
  const plain = finished(150, 149);
  for (const path of plain.paths) path.gapMs = 2000;
  expect(resultOf(plain).ok).toBe(false);
});

test("a restart that never came, or had no session to lose, is not ok", () => {
  const early = restarted(0, 20);
  early.restart = undefined;
  expect(resultOf(early).problems).toEqual(["The node was not killed: the lab was stopped too early."]);
  const empty = restarted(0, 20);
  empty.restart = { ...empty.restart!, before: new Map() };
  expect(resultOf(empty).problems).toEqual(["The daemon at node had no session when it was killed."]);
});
