/** The live picture as text. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { bytes, curve, cut, picture } from "../../src/lab/picture.ts";
import { addReading, createState } from "../../src/lab/state.ts";
import { oneNode } from "../../src/lab/topology.ts";

const plain = (line: string) => line.replace(/\x1b\[[0-9;]*m/g, "");

function running() {
  const state = createState(oneNode, (place) => `anyhop-lab-1-${place}`, "1.2.3", undefined);
  state.phase = "measuring";
  state.elapsedMs = 2100;
  for (let turn = 1; turn <= 4; turn++) {
    const reading = {
      sent: 25 * turn,
      received: 24 * turn,
      lost: turn,
      duplicates: 0,
      gapMs: 20,
      rttMs: [turn, turn + 1],
    };
    addReading(state.paths[0]!, reading, turn * 500);
  }
  state.daemons.set("node", {
    pid: 7,
    sessions: [
      {
        place: "node",
        id: 886_438_647,
        client: "client1",
        endpoint: "192.0.2.10:4444",
        cipher: "aes-256-gcm",
        rx: { packets: 12, bytes: 1_234_567 },
        tx: { packets: 3, bytes: 45 },
      },
    ],
    tunnels: [
      {
        place: "node",
        name: "old",
        endpoint: "198.51.100.7:4444",
        rx: { packets: 12, bytes: 1_234_567 },
        tx: { packets: 3, bytes: 45 },
        drops: { auth_failed: 2 },
        problem: { reason: "auth_failed", peer: "198.51.100.7:99", hint: "Another key.", count: 2, agoMs: 10 },
      },
    ],
    drops: [{ place: "node", name: "no_route", count: 4, help: "No tunnel has the inner destination." }],
  });
  return state;
}

test("shows who is where, the paths, the tunnels, the drops and what to press", () => {
  const text = picture(running(), 200, 60, false).join("\n");
  expect(text).toContain("anyhop 1.2.3 lab: one node, two clients, one plain host");
  expect(text).toContain("measuring, 2 s");
  expect(text).toMatch(/client1 +10\.9\.0\.2 2001:db8:9::2 +192\.0\.2\.10/);
  expect(text).toMatch(/host +- +203\.0\.113\.10 2001:db8:3::10/);
  expect(text).toMatch(/client1 -> client2 IPv4 +100 +96 +48 +4\.00 +1\.00 +3\.00 +5\.00 {2}▁▃▆█/);
  expect(text).toMatch(/client2 -> host IPv6 +0 +0 +0 +0\.00 +- +- +-/);
  expect(text).toMatch(/node -> client1 +192\.0\.2\.10:4444 +12 pkt 1\.2 MB +3 pkt 45 B +aes-256-gcm/);
  expect(text).toMatch(/node -> old +198\.51\.100\.7:4444 +12 pkt 1\.2 MB +3 pkt 45 B/);
  expect(text).toContain("  auth_failed from 198.51.100.7:99, 2 times: Another key.");
  expect(text).toMatch(/node +4 no_route: No tunnel has the inner destination\./);
  expect(text).toMatch(/client2 .*not up/);
  expect(text).toMatch(/Ctrl-C ends the lab and removes it\..*ip netns exec anyhop-lab-1-client1 ping 10\.9\.0\.3$/);
});

test("no word of classic tunnels or of a restart where there are none", () => {
  const state = running();
  const report = state.daemons.get("node")!;
  state.daemons.set("node", { ...report, tunnels: [] });
  const text = picture(state, 200, 60, false).join("\n");
  expect(text).not.toMatch(/classic|killed/);
});

test("says how far a restart is", () => {
  const state = running();
  const before = new Map([
    [1, "client1"],
    [2, "client2"],
  ]);
  const kill = { place: "node", pid: 7, killedAt: 0, atMs: 10_040, before };
  state.restart = { ...kill, upMs: undefined, resumed: new Set() };
  expect(picture(state, 200, 60, false)).toContain("node killed at 10.0 s, not up again yet, 0 of 2 sessions resumed");
  state.restart = { ...kill, upMs: 706.6, resumed: new Set(["client1"]) };
  expect(picture(state, 200, 60, false)).toContain(
    "node killed at 10.0 s, up again after 707 ms, 1 of 2 sessions resumed",
  );
});

test("fits every terminal and always ends with what to press", () => {
  const state = running();
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 200 }),
      fc.integer({ min: 1, max: 80 }),
      fc.boolean(),
      (columns, rows, colour) => {
        const lines = picture(state, columns, rows, colour);
        expect(lines.length).toBeLessThanOrEqual(rows);
        for (const line of lines) expect([...plain(line)].length).toBeLessThanOrEqual(columns);
        expect("Ctrl-C ends the lab").toContain(plain(lines.at(-1)!).slice(0, 19));
      },
    ),
  );
});

test("colour adds escape sequences and nothing else", () => {
  const coloured = picture(running(), 120, 60, true);
  expect(coloured.join("\n")).toContain("\x1b[31m");
  expect(coloured.map(plain)).toEqual(picture(running(), 120, 60, false));
});

test("a problem of several lines takes several rows", () => {
  const state = running();
  state.problems.push("The daemon at node ended by itself (status 1). Its last words:\n  no such device");
  const lines = picture(state, 120, 60, false);
  expect(lines).toContain("  no such device");
  expect(lines.some((line) => line.includes("\n"))).toBe(false);
});

test("a cut line keeps the end of its colour", () => {
  expect(cut("\x1b[1mabcdef\x1b[0m", 3)).toBe("\x1b[1mabc\x1b[0m");
  expect(cut("▁▂▃", 2)).toBe("▁▂");
});

test("the curve leaves a gap where nothing came back", () => {
  expect(curve([1, Number.NaN, 8])).toBe("▁ █");
  expect(curve([5, 5])).toBe("▁▁");
  expect(curve([])).toBe("");
});

test("bytes in units of a thousand", () => {
  expect([0, 999, 1000, 99_950, 999_499, 1_500_000, 3e12].map(bytes)).toEqual([
    "0 B",
    "999 B",
    "1.0 kB",
    "100 kB",
    "999 kB",
    "1.5 MB",
    "3.0 TB",
  ]);
});
