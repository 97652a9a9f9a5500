/** What an operator reads of the group: quiet when all is well, loud with what to do when it is not. */
import { expect, test } from "vitest";
import type { ApiSession } from "../../src/api/contract/control.ts";
import type { PeerStatus } from "../../src/api/contract/group.ts";
import { groupCounters, groupLines } from "../../src/cli/group.ts";
import { renderSessions } from "../../src/cli/render.ts";
import { renderStatus } from "../../src/cli/status.ts";
import { sampleGroup, sampleStatus } from "../api/sample.ts";

const alarms = (change: Partial<PeerStatus>) => groupLines(sampleGroup(change)).filter((line) => /^ *! /.test(line));

test("all is well: who is there, how far behind, no alarm", () => {
  expect(groupLines(sampleGroup()).map((line) => line.trimEnd())).toEqual([
    "group    node 1, serving, start fedcba9876543210, 2 nodes",
    "         12 sessions here, 30 at other nodes; 9 records told",
    "roster   version 4, fleet key that of the files",
    "engine   nats, connected to nats-server 2.9.10, outbox 0",
    "peers    NODE  STATE    LINK               RTT     CLOCK   ENGINE      RECORD  SESSIONS  TABLES",
    "         2     serving  198.51.100.2:4445  0.3 ms  -12 ms  800 ms ago  77      42        agree",
    "lifeline NODE  LIFE  FOR  LATE     PATIENCE",
    "         2     up    3 h  12.3 ms  700 ms",
  ]);
  expect(alarms({})).toEqual([]);
  const open = groupLines({ ...sampleGroup(), identity: false, roster: null }).join("\n");
  expect(open).toMatch(/^roster {3}node identity is off: whoever has the fleet key can speak as any node/m);
  expect(open).not.toContain("! ");
  const without = groupLines({ ...sampleGroup(), roster: null }).join("\n");
  expect(without).toMatch(/! there is no roster here yet.*anyhop group apply/);
  expect(renderStatus({ ...sampleStatus(), group: sampleGroup() })).toContain("group    node 1, serving");
});

test("the lifeline of a peer: since when it is up, or dead and why; nothing before it was told", () => {
  const told = (lifeline: PeerStatus["lifeline"]) =>
    groupLines(sampleGroup({ lifeline })).map((line) => line.trimEnd());
  const dead = { state: "dead", sinceAgoMs: 12_000, lateMs: 310, patienceMs: 720 } as const;
  expect(told({ ...dead, cause: "silent" })).toContain(
    "         2     dead  12 s  310.0 ms  720 ms    nothing was heard of it for so long",
  );
  expect(told({ ...dead, cause: "closed" }).join("\n")).toMatch(/dead +12 s .*its daemon has ended$/);
  expect(told({ ...dead, state: "cut", cause: null }).join("\n")).toMatch(/2 +cut +12 s/);
  expect(told(null).join("\n")).not.toContain("lifeline");
});

const digest = (count: number) => ({ count, sum: "00112233aabbccdd" });
test.each<[string, Partial<PeerStatus>, RegExp]>([
  [
    "digests differ",
    { agrees: false, disagreements: [{ creator: 3, forMs: 9000, ours: digest(41), theirs: digest(42) }] },
    /^ {7}! node 2 .* disagreed for 9 s about the sessions of node 3 \(41 here, 42 there\): anyhop sync resync 2$/,
  ],
  ["never heard", { alive: false, heardAgoMs: null }, /node 2 was never heard: .* 198\.51\.100\.2:4445/],
  ["gone", { alive: false, heardAgoMs: 61_000 }, /node 2 is silent for 1 min 1 s/],
  [
    "another group key",
    { alive: false, refused: { other_group: 3 } },
    /another group key: private_key must be the same/,
  ],
  ["it refuses us", { alive: false, refusedBy: "other_group" }, /another group key/],
  ["another fleet key", { alive: false, refused: { wrong_key: 3 } }, /another fleet key \(3 times\): copy one/],
  ["its number twice", { refused: { duplicate_node: 30 } }, /somebody else says that it is node 2 \(30 times\)/],
  ["another address", { alive: false, refused: { wrong_address: 9 } }, /does not send from 198\.51\.100\.2:4445/],
  ["our number twice", { refusedBy: "duplicate_node" }, /node 2 knows another node 1: give each its own number/],
  ["clocks apart", { clockApart: true, clockOffsetMs: 7_200_000 }, /clock of node 2 is \+2 h from this one: set both/],
])("%s: a line with ! and what to do", (_, change, expected) => {
  expect(alarms(change)).toContainEqual(expect.stringMatching(expected));
});

test("tables that differ are shouted in the table, too; not compared yet is neither", () => {
  expect(groupLines(sampleGroup({ agrees: false, lifeline: null })).at(-1)).toMatch(/DIFFER$/);
  expect(groupLines(sampleGroup({ agrees: null, lifeline: null })).at(-1)).toMatch(/-$/);
});

test("the engine: why it is away, how far behind, its errors by name", () => {
  const { engine, ...rest } = sampleGroup({ behind: 12 });
  const times = { sinceMs: 1_800_000_000_000, lastMs: 1_800_000_001_000 };
  const errors = [
    { name: "store_full", count: 2, last: "no space", ...times, endedMs: null },
    { name: "unreachable", count: 1, last: "refused", ...times, endedMs: 1_800_000_060_000 },
  ];
  const lines = groupLines({
    ...rest,
    engine: { ...engine, connected: false, why: "connection refused", outbox: 7, errors },
  });
  expect(lines).toContain("engine   nats, not connected, outbox 7");
  expect(lines).toContain("       ! connection refused");
  expect(lines).toContain("         12 records of node 2 not here yet");
  expect(lines).toContain("       ! store_full (2 times, since 2027-01-15 08:00:00Z): no space");
  expect(lines).toContain("         over at 2027-01-15 08:01:00Z: unreachable (once, since 2027-01-15 08:00:00Z)");
});

test("what was refused is named, and a restart's refusals are no alarm", () => {
  const lines = groupLines(sampleGroup({ refused: { duplicate_node: 4, wrong_seal: 2 } }));
  expect(lines).toContain("         refused of node 2: 4 duplicate_node, 2 wrong_seal");
  expect(alarms({ refused: { duplicate_node: 4 } })).toEqual([]);
});

test("counters with their help, without those that are zero", () => {
  expect(groupCounters(sampleGroup()).join("\n")).toMatch(/^BETWEEN NODES.*\n5 +group_taken +Sessions taken over\.$/);
  expect(groupCounters({ ...sampleGroup(), counters: [] })).toEqual([]);
});

test.each([
  [
    "group_bus_refused",
    /^ {7}! what the engine brought was refused 7 times, its seal is wrong: .* nkey; tunnels go on$/,
  ],
  ["group_record_malformed", /! what a node told was refused 7 times, it can't be read: run one version of anyhop/],
  ["group_link_malformed", /! what a node told was refused 7 times/],
  ["group_table_full", /! the group's table of sessions was full 7 times: raise sessions in \[node\]/],
])("%s is an alarm with words", (name, expected) => {
  const alarmsAfter = (lastAgoMs: number) => {
    const counters = [{ name, count: 7, refused: true, help: "", lastAgoMs }];
    return groupLines({ ...sampleGroup(), counters }).filter((line) => line.includes("!"));
  };
  expect(alarmsAfter(0)).toEqual([expect.stringMatching(expected)]);
  expect(alarmsAfter(600_000)).toEqual([]);
});

test("the book: who was given something twice, who is kept out, and what happened lately, with since when", () => {
  const at = 1_800_000_000_000;
  const book = {
    ...{ clients: 3, tombstones: 0 },
    conflicts: [{ what: "10.9.0.3/32", keeper: "anna", losers: ["bela"], sinceMs: at }],
    settled: [{ what: "=carl", keeper: "carl", loser: "carl-00ff00ff", addresses: ["10.9.0.9"], atMs: at }],
    refused: [{ client: "dora", why: "10.9.0.1/32 already belongs to the device.", sinceMs: at }],
  };
  const happened = [{ code: "callback_failed", text: "A record stumbled", count: 2, sinceMs: at, lastMs: at }];
  const lines = groupLines({ ...sampleGroup(), book, alarms: happened }).filter((line) => line.startsWith("       ! "));
  expect(lines).toEqual([
    expect.stringMatching(
      /conflict since 2027-01-15 08:00:00Z: 10\.9\.0\.3\/32 was given to clients anna, bela; anna keeps/,
    ),
    expect.stringMatching(
      /settled at .*: client carl-00ff00ff had to leave the name carl to carl and has 10\.9\.0\.9 now/,
    ),
    expect.stringMatching(/client dora can't come in here since .*: 10\.9\.0\.1\/32 already belongs to the device/),
    "       ! A record stumbled (2 times, since 2027-01-15 08:00:00Z)",
  ]);
});

test("sessions: at which node since when, how often that changed, and nothing said of when a session elsewhere was heard", () => {
  const none = { packets: 0, bytes: 0 };
  const own = {
    ...{ id: 7, client: "anna", publicKey: "", endpoint: "203.0.113.2:4444", cipher: "aes-256-gcm", sinceMs: 0 },
    ...{ heardMs: 60_000, foreign: false, owner: 1, settings: null, rx: none, tx: none },
    ...{ ownerSinceMs: 31_000, moves: 2 },
  };
  const rows = (...list: ApiSession[]) =>
    renderSessions(list, 61_000)
      .split("\n")
      .map((line) => line.trim().split(/ {2,}/));
  expect(rows({ ...own, owner: null, ownerSinceMs: null, moves: null })[0]).not.toContain("NODE");
  const elsewhere = { ...own, foreign: true, heardMs: null };
  const lost = { ...elsewhere, owner: null, ownerSinceMs: null, moves: 3 };
  const [head, ...body] = rows(own, { ...elsewhere, owner: 2, ownerSinceMs: 1000, moves: 0 }, lost);
  expect(head.slice(2, 6)).toEqual(["PEER", "HEARD", "NODE", "MOVES"]);
  expect(body.slice(0, 3).map((row) => row.slice(3, 6))).toEqual([
    ["1 s ago", "1 for 30 s", "2"],
    ["elsewhere", "2 for 1 min", "0"],
    ["elsewhere", "not known", "3"],
  ]);
});
