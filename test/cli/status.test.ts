/** What people read: nothing that is zero, everything that is wrong. */
import { expect, test } from "vitest";
import { renderStatus } from "../../src/cli/status.ts";
import { bytes, duration } from "../../src/cli/text.ts";
import { sampleStatus } from "../api/sample.ts";

const lines = (change: Partial<ReturnType<typeof sampleStatus>> = {}) =>
  renderStatus({ ...sampleStatus(), ...change }).split("\n");
const line = (start: string) => lines().find((each) => each.startsWith(start)) ?? "";

test("what runs, where it listens, its device, what was changed", () => {
  expect(line("node:")).toBe("node: anyhop 0.1.0, pid 4711, up 2 h 10 min");
  expect(line("listen")).toContain("192.0.2.1:4444, [2001:db8::1]:4444   sender id 7, 1 shard");
  expect(line("device")).toContain("anyhop0 (tun, MTU 1400)   10.9.0.1/24");
  expect(line("host")).toContain("address 10.9.0.1/24 on anyhop0");
});

test("what routers are told, the drain under way, the self-test, and what is wrong", () => {
  const { announce } = sampleStatus();
  const about = (change: object) => {
    const all = lines({ announce: { ...announce!, ...change } });
    const from = all.findIndex((each) => each.startsWith("announce"));
    return from < 0 ? [] : all.slice(from, all.indexOf("", from));
  };
  expect(about({})).toEqual([
    "announce draining by bird: 192.0.2.1/32",
    "         draining, no packet of a client for 1 s, at most 57 s left; anyhop undrain ends it",
    "         self-test healthy (40 good, 1 bad, 0 crowded): 192.0.2.1 0.42 ms",
  ]);
  expect(about({ inForce: null, problem: "BIRD is away." }).slice(0, 3)).toEqual([
    "announce to be draining, nothing in force by bird: 192.0.2.1/32",
    expect.stringContaining("draining"),
    "       ! BIRD is away.",
  ]);
  const faults = { ...announce!.selfTest, faults: ["the device anyc0 is down or gone"] };
  expect(about({ selfTest: faults }).at(-1)).toBe("       ! the device anyc0 is down or gone");
  expect(about({ kind: "none", wish: "serve", drain: null })).toEqual([]);
  expect(about({ kind: "none", prefixes: [], wish: "drained", drain: null, phase: "withdrawn" }).slice(0, 2)).toEqual([
    "announce withdrawn: no addresses",
    "         drained; anyhop undrain ends it",
  ]);
});

test("one row for each tunnel, columns under their heads", () => {
  const all = lines();
  const head = all.findIndex((each) => each.startsWith("TUNNEL"));
  const column = (name: string, row: number) => all[head + row].slice(all[head].indexOf(name)).split(/ {2,}/)[0];
  expect([column("PEER", 1), column("HEARD", 1)]).toEqual(["198.51.100.7:40001", "1 s ago"]);
  expect([column("RECEIVED", 1), column("SENT", 1)]).toEqual(["1200 (1.5 MiB)", "900 (500 B)"]);
  expect([column("DROPPED", 1), column("DROPPED", 2)]).toEqual(["12", "0"]);
  expect([column("PEER", 2), column("HEARD", 2)]).toEqual(["not known yet", "never"]);
});

test("of a client: its services with their sessions, and no table of tunnels", () => {
  const { startedAt, uptimeS } = sampleStatus();
  const nowMs = Date.parse(startedAt) + uptimeS * 1000;
  const none = { packets: 0, bytes: 0 };
  const session = {
    ...{ id: 4711, current: true, resumed: true, endpoint: "192.0.2.1:4444", cipher: "aes-256-gcm", senders: 2 },
    ...{ sinceMs: nowMs - 61_000, heardMs: nowMs - 1500, rekeyInMs: 59_000 },
    ...{ rx: { packets: 12, bytes: 2048 }, tx: none },
  };
  const problem = {
    ...{ reason: "port_closed", message: "192.0.2.1 says that nobody listens.", count: 2, over: false },
    ...{ firstMs: nowMs - 9000, lastMs: nowMs - 2000 },
  };
  const off = { sinceMs: nowMs, restored: 0, restoredMs: null };
  const host = [
    { ...off, what: "address 10.9.0.2/32 on tun0", state: "ok" as const, why: null },
    { ...off, what: "address 2001:db8:9::2/128 on tun0", state: "left_out" as const, why: "IPv6 is off on tun0" },
    { ...off, what: "route 192.0.2.0/24 via tun0", state: "missing" as const, why: "it is in the way" },
  ];
  const services = [
    {
      ...{ name: "example", state: "up" as const, device: "tun0", remote: "192.0.2.1:4444", mtu: 1400 },
      ...{ addresses: ["10.9.0.2/32", "2001:db8:9::2/128"], routes: ["10.9.0.0/24", "192.0.2.0/24"], hooks: [] },
      ...{ dns: ["10.9.0.1"], host },
      ...{ protected: true, hostProblems: [], beside: ["10.9.0.64/26 dev eth1"] },
      ...{ node: 2, nodeSinceMs: nowMs - 90_000, moves: 3, upSinceMs: nowMs - 600_000, handshakeMs: nowMs - 61_000 },
      ...{ asking: null, problem: { ...problem, over: true } },
      sessions: [session, { ...session, id: 4710, current: false, resumed: false, heardMs: null, rekeyInMs: null }],
    },
    {
      ...{ name: "other", state: "connecting" as const, device: "tun1", remote: null, mtu: null },
      ...{ addresses: [], routes: [], dns: [], sessions: [], host: [], hooks: [], beside: [] },
      protected: false,
      hostProblems: [{ text: "::/1: packets leave this host in clear; no IPv6", sinceMs: 0, leaks: true }],
      ...{ node: null, nodeSinceMs: null, moves: 0, upSinceMs: null, handshakeMs: null },
      ...{ asking: { sinceMs: nowMs - 4000, tries: 3 }, problem },
    },
  ];
  const all = lines({ services, tunnels: [], device: { ...sampleStatus().device, queueDropped: 3 } });
  expect(all).toContain("buffers  8.0 MiB for each socket to receive into");
  expect(all).toContain("         3 packets found its queue full: the shard had no time on the processor");
  const at = all.indexOf("service example: up for 10 min, node 192.0.2.1:4444");
  expect(all.slice(at + 1, at + 18).map((each) => each.trim().replace(/ {2,}/g, "|"))).toEqual([
    "node 2 answers, for 1 min 30 s, 3 moves so far; last handshake 1 min 1 s ago",
    "it was port_closed (2 times since 9 s, last 2 s ago): 192.0.2.1 says that nobody listens.",
    "tun0 (MTU 1400)|10.9.0.2/32",
    "routes 10.9.0.0/24",
    "name servers 10.9.0.1",
    "left out: address 2001:db8:9::2/128 on tun0; IPv6 is off on tun0",
    "protected: what belongs into the tunnel goes there, or nowhere",
    "beside the tunnel, as networks of this machine: 10.9.0.64/26 dev eth1",
    "SESSION|NODE|USE|HEARD|AGE|REKEY|BY|CIPHER|SENDERS|RECEIVED|SENT",
    "4711|192.0.2.1:4444|current|1 s ago|1 min 1 s|in 59 s|ticket|aes-256-gcm|2|12 (2.0 KiB)|0 (0 B)",
    "4710|192.0.2.1:4444|old|never|1 min 1 s|-|handshake|aes-256-gcm|2|12 (2.0 KiB)|0 (0 B)",
    "",
    "service other: asking for a session, node not found yet",
    "3 requests without an answer in 4 s",
    "! port_closed (2 times since 9 s, last 2 s ago): 192.0.2.1 says that nobody listens.",
    expect.stringMatching(/^NOT protected since 1970-01-01T00:00:00.000Z, .* ago$/),
    expect.stringMatching(/^! ::\/1: packets leave this host in clear; no IPv6 \(since 1970/),
  ]);
  expect(all.some((each) => each.startsWith("TUNNEL"))).toBe(false);
});

test("of a node: who is connected, who was refused and why, and that no packet was dropped only if none was refused", () => {
  const nowMs = Date.parse(sampleStatus().startedAt) + sampleStatus().uptimeS * 1000;
  const none = { packets: 0, bytes: 0 };
  const session = {
    ...{ id: 4711, client: "anna", publicKey: "K", endpoint: "192.0.2.7:4444", cipher: "aes-256-gcm", foreign: false },
    ...{
      sinceMs: nowMs - 61_000,
      heardMs: nowMs - 1500,
      owner: null,
      ownerSinceMs: null,
      moves: null,
      settings: null,
      rx: { packets: 12, bytes: 2048 },
      tx: none,
    },
  };
  const refused = [
    {
      ...{ reason: "refused", detail: "no_address", help: "Refused.", client: "bela", publicKey: "B=" },
      ...{ endpoint: "192.0.2.8:1", count: 3, firstMs: nowMs - 9000, lastMs: nowMs - 2000 },
    },
    {
      ...{ reason: "client_unknown", detail: null, help: "May not come.", client: null, publicKey: "C=" },
      ...{ endpoint: "192.0.2.9:1", count: 1, firstMs: nowMs - 3000, lastMs: nowMs - 3000 },
    },
  ];
  const requests = [
    { name: "answered", count: 5, refused: false, help: "Answered." },
    { name: "client_unknown", count: 3, refused: true, help: "May not come." },
    { name: "forged", count: 0, refused: true, help: "Forged." },
  ];
  const drops = sampleStatus().drops.map((drop) => ({ ...drop, count: 0 }));
  const status = { ...sampleStatus(), tunnels: [], drops, node: { sessions: 5, refused, requests } };
  const shown = (text: string) => text.split("\n").map((each) => each.trim().replace(/ {2,}/g, "|"));
  const all = shown(renderStatus(status, [session]));
  expect(all.slice(all.indexOf("SESSION|CLIENT|PEER|HEARD|HANDSHAKE|RECEIVED|SENT") + 1)).toEqual([
    "4711|anna|192.0.2.7:4444|1 s ago|1 min 1 s ago|12 (2.0 KiB)|0 (0 B)",
    "4 more, some of them old or not confirmed: anyhop sessions list",
    "",
    "REFUSED|FROM|TIMES|LAST|REASON",
    "bela|192.0.2.8:1|3|2 s ago|refused (no_address): Refused.",
    "key C=|192.0.2.9:1|1|3 s ago|client_unknown: May not come.",
    "",
    "DROPPED|REASON",
    "3|handshake_client_unknown|May not come.",
    "",
  ]);
  const quiet = shown(renderStatus({ ...status, node: { sessions: 0, refused: [], requests: requests.slice(0, 1) } }));
  expect(quiet).toContain("Nobody is connected.");
  expect(quiet.at(-2)).toBe("No packet was dropped.");
});

test("a problem is shown with its hint", () => {
  expect(line("offloads")).toBe("offloads device-tcp");
  expect(line("         device-udp")).toBe("         device-udp is off: The kernel says EINVAL: Linux 6.2 has it.");
  expect(line("! anna")).toBe("! anna: auth_failed from 203.0.113.5:9 (1 min 1 s ago, 12 times)");
  expect(lines()).toContain("  The peer has another key.");
});

test("details of few tunnels, not of many", () => {
  expect(line("anna:")).toBe("anna: left, aes-ctr-128 sha1/10 kd aes-ctr-128, replay window 2048");
  expect(line("bela:")).toContain("replay window off");
  expect(lines()).toContain("  dropped 12 auth_failed");
  const [tunnel] = sampleStatus().tunnels;
  const many = lines({ tunnels: Array.from({ length: 5 }, (_, mux) => ({ ...tunnel, mux, name: `t${mux}` })) });
  expect(many.filter((each) => /^t\d:/.test(each))).toEqual([]);
});

test("only drops that happened, the most frequent first, with their help", () => {
  const all = lines();
  const at = all.findIndex((each) => each.startsWith("DROPPED"));
  expect(all.slice(at + 1).map((each) => each.split(/ +/).slice(0, 2))).toEqual([
    ["12", "auth_failed"],
    ["3", "no_route"],
    [""],
  ]);
  expect(all[at + 2]).toContain("No tunnel has the inner destination.");
  expect(lines({ drops: sampleStatus().drops.map((drop) => ({ ...drop, count: 0 })) })).toContain(
    "No packet was dropped.",
  );
});

test.each([
  [0, "0 B"],
  [1023, "1023 B"],
  [1024, "1.0 KiB"],
  [5 * 1024 ** 3, "5.0 GiB"],
])("%i bytes", (count, text) => expect(bytes(count)).toBe(text));

test.each([
  [0, "0 ms"],
  [999, "999 ms"],
  [1000, "1 s"],
  [60_000, "1 min"],
  [303_000, "5 min 3 s"],
  [7_800_000, "2 h 10 min"],
  [273_600_000, "3 d 4 h"],
])("%i ms", (ms, text) => expect(duration(ms)).toBe(text));
