/**
 * A hostile or broken engine: everything that a node of it can put or shout comes to two real group ends over the memory
 * bus. All of it is refused and counted, status names it, and what is right goes on being learnt.
 */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { groupStatus } from "../../src/api/group.ts";
import { groupCounters } from "../../src/cli/group.ts";
import type { Bus } from "../../src/cluster/bus.ts";
import type { Endpoint } from "../../src/cluster/endpoint.ts";
import { Envelope } from "../../src/cluster/envelope.ts";
import { FleetKeys } from "../../src/cluster/fleet_keys.ts";
import { encodeShouts } from "../../src/cluster/location.ts";
import { encodeRecord, type LiveRecord, recordKey } from "../../src/cluster/record.ts";
import { GroupEnd, type GroupSessions } from "../../src/control/group/group_end.ts";
import { createTunnelMemory, TunnelTable } from "../../src/dataplane/tunnels.ts";
import { MemoryHub } from "../../src/drivers/memory_bus.ts";
import { seededEntropy } from "../handshake/party.ts";
import { newIndex } from "../support/new_index.ts";
import { noLifeline } from "../support/no_lifeline.ts";

const FLEET = new Uint8Array(32).fill(9);
const entropy = seededEntropy(7);
const clock = { monotonicMs: () => Date.now(), wallMs: () => Date.now() };
const linkOf = (node: number): Endpoint => ({ family: 4, w0: 0, w1: 0, w2: 0xffff, w3: 0xc6336400 + node, port: 4445 });

interface End {
  readonly end: GroupEnd;
  readonly learnt: LiveRecord[];
  readonly said: string[];
  receive(from: Endpoint, bytes: Uint8Array): void;
}
let hub: MemoryHub;
let ends: Map<number, End>;
let hostile: Bus;

const endOf = (node: number): End => {
  const learnt: LiveRecord[] = [];
  const said: string[] = [];
  const made = { learnt, said, receive: () => {} } as Omit<End, "end"> as { -readonly [K in keyof End]: End[K] };
  const nothing = () => {};
  const sessions: GroupSessions = {
    ...{ open: () => ({ pong: undefined }), superseded: () => false, claimsOf: () => [], rowOf: () => undefined },
    rowsEnd: () => 0,
    ...{ up: nothing, retire: nothing, challenge: nothing, unknown: nothing, announceSender: nothing, acked: nothing },
    ...{
      senders: nothing,
      ticketKeys: nothing,
      fleetKeys: nothing,
      groupKeys: nothing,
      agree: nothing,
      client: nothing,
      settled: nothing,
    },
    ...{ conflict: nothing, settle: nothing, keep: nothing },
    ...{ owned: nothing, inside: nothing },
    install: (record) => void learnt.push(record),
    refuse: (error) => void said.push(error.message),
    say: (_, event) => void said.push(event),
  };
  made.end = new GroupEnd(
    {
      ...{ node, bootId: entropy.bytes(8), fleetKey: FLEET, groupPublicKey: new Uint8Array(32).fill(3) },
      peers: [1, 2, 3].filter((peer) => peer !== node).map((peer) => ({ node: peer, endpoint: linkOf(peer) })),
      ...{ holdMs: 10, sessionLifeMs: 900_000, sessionsMax: 200, tellsOverLink: false },
    },
    entropy,
    {
      clock,
      engine: "memory",
      openBus: (listener) => hub.open(node, listener),
      lifeline: noLifeline,
      link: {
        onDatagram: (receive) => {
          made.receive = receive;
        },
        send: (to, bytes) => void setTimeout(() => ends.get(to.w3 & 0xff)?.receive(linkOf(node), bytes.slice()), 1),
        close: nothing,
      },
    },
    sessions,
  );
  made.end.start(
    { post: nothing, tunnels: new TunnelTable(createTunnelMemory(1)), deviceName: "tun0", socketFor: () => 0 },
    0,
    0,
  );
  return made as End;
};

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date"] });
  vi.setSystemTime(1_800_000_000_000);
  hub = new MemoryHub({ nowMs: () => Date.now(), later: (ms, work) => void setTimeout(work, ms), random: () => 0.5 });
  ends = new Map();
  for (const node of [1, 2]) ends.set(node, endOf(node));
  hostile = hub.open(3, { record: () => {}, shout: () => {}, state: () => {}, caughtUp: () => {} });
  await vi.advanceTimersByTimeAsync(2000);
});
afterEach(async () => {
  for (const { end } of ends.values()) await end.stop();
  vi.useRealTimers();
});

const recordOf = (creator: number, phase: "pending" | "up" = "up"): LiveRecord => ({
  ...{ index: newIndex(creator, entropy.bytes(4)), created: 5, creator, phase, clientKey: entropy.bytes(32) },
  ...{ instance: entropy.bytes(8), receiver: 1, aead: 1, modes: 1, secret: entropy.bytes(32), addresses: [] },
  ...{ expiryMs: Date.now() + 900_000, endpoint: linkOf(200) },
});
const statusOf = (node: number) =>
  groupStatus({ ...ends.get(node)!.end.status()!, book: { conflicts: [], settled: [], refused: [] } });
const counts = (node: number) => {
  const status = statusOf(node);
  return {
    ...Object.fromEntries(status.counters.map(({ name, count }) => [name, count])),
    text: groupCounters(status).join("\n"),
  };
};
/** A session that node 1 answers for is known to node 2 a moment later. */
const goesOn = async () => {
  const record = recordOf(1, "pending");
  ends.get(1)!.end.answered(record);
  await vi.advanceTimersByTimeAsync(1500);
  expect(ends.get(2)!.learnt.at(-1)?.index).toBe(record.index);
  expect(statusOf(2).peers.find(({ node }) => node === 1)).toMatchObject({ alive: true });
};
const put = async (key: string, value: Uint8Array) => {
  hostile.put([{ key, value }]);
  await vi.advanceTimersByTimeAsync(5);
};

test.each([
  [
    "wrong fleet key",
    () => new Envelope(new FleetKeys(new Uint8Array(32).fill(8)), 3, entropy.bytes(8)),
    "group_bus_refused",
  ],
  ["under another node's name", () => new Envelope(new FleetKeys(FLEET), 1, entropy.bytes(8)), "group_bus_refused"],
] as const)("%s: records and shouts", async (_, envelope, name) => {
  const sealer = envelope();
  const record = recordOf(3);
  const key = recordKey(record.index);
  await put(key, sealer.seal(0, key, encodeRecord(record)!));
  hostile.shout(
    sealer.seal(0, "", encodeShouts([{ kind: "progress", sessions: [{ index: record.index, life: 5, seq: 9 }] }])[0]),
  );
  await vi.advanceTimersByTimeAsync(5);
  for (const node of [1, 2]) {
    expect(counts(node)[name as never]).toBe(2);
    expect(counts(node).text).toMatch(/2 +group_bus_refused +refused +Bus records and messages with a wrong seal/);
    expect(ends.get(node)!.learnt).toEqual([]);
  }
  await goesOn();
});

test("sealed rightly, wrong inside: other versions, other keys, huge, cut", async () => {
  const sealer = new Envelope(new FleetKeys(FLEET), 3, entropy.bytes(8));
  const good = recordOf(3);
  const bytes = encodeRecord(good)!;
  const key = recordKey(good.index);
  const otherKey = recordKey(newIndex(3, entropy.bytes(4)));
  const version = bytes.slice();
  version[0] = 99;
  const wrong = [version, bytes.subarray(0, 20), new Uint8Array(4000).fill(1), new Uint8Array(0)];
  for (const value of wrong) await put(key, sealer.seal(0, key, value));
  await put(otherKey, sealer.seal(0, otherKey, bytes));
  await put("x.unknown", sealer.seal(0, "x.unknown", bytes));
  await put("c.zz", sealer.seal(0, "c.zz", new Uint8Array(100)));
  hostile.shout(sealer.seal(0, "", new Uint8Array([77, 1, 2])));
  await vi.advanceTimersByTimeAsync(5);
  const seen = counts(1) as unknown as Record<string, number>;
  expect(seen["group_record_malformed"]).toBeGreaterThanOrEqual(wrong.length);
  expect(seen["group_record_misplaced"]).toBe(1);
  expect(seen["group_shout_malformed"]).toBe(1);
  expect(ends.get(1)!.learnt).toEqual([]);
  await put(key, sealer.seal(0, key, bytes));
  expect(ends.get(1)!.learnt.map(({ index }) => index)).toEqual([good.index]);
  await goesOn();
});

test("an old record of a session that is known changes nothing, an expired one comes in nowhere", async () => {
  const sealer = new Envelope(new FleetKeys(FLEET), 3, entropy.bytes(8));
  const record = recordOf(3);
  const key = recordKey(record.index);
  await put(key, sealer.seal(0, key, encodeRecord({ ...record, created: 9 })!));
  await put(key, sealer.seal(0, key, encodeRecord(record)!));
  const late = { ...recordOf(3), expiryMs: Date.now() - 1 };
  await put(recordKey(late.index), sealer.seal(0, recordKey(late.index), encodeRecord(late)!));
  expect(ends.get(1)!.learnt.map(({ created }) => created)).toEqual([9]);
  expect(counts(1)["group_record_old" as never]).toBe(2);
  await goesOn();
});

test("a flood of records and of shouts: the table ends where it is to, and the rest is counted", async () => {
  const sealer = new Envelope(new FleetKeys(FLEET), 3, entropy.bytes(8));
  const records = Array.from({ length: 300 }, () => recordOf(3));
  hostile.put(
    records.map((record) => {
      const key = recordKey(record.index);
      return { key, value: sealer.seal(0, key, encodeRecord(record)!) };
    }),
  );
  const sessions = records.map(({ index }, seq) => ({ index, life: 5, seq }));
  for (const one of sessions)
    hostile.shout(sealer.seal(0, "", encodeShouts([{ kind: "progress", sessions: [one] }])[0]));
  for (let i = 0; i < 300; i++) hostile.shout(entropy.bytes(100));
  await vi.advanceTimersByTimeAsync(50);
  const { group } = ends.get(1)!.end.status()!;
  // An eighth of the 200 rows is kept for what node 1 answers itself.
  expect(group.sessions).toBe(175);
  expect(counts(1)["group_table_full" as never]).toBeGreaterThanOrEqual(125);
  expect(counts(1)["group_bus_refused" as never]).toBe(300);
  expect(counts(1).text).toContain("group_table_full");
  // Node 1 goes on answering and owning, and its peer is heard.
  await vi.advanceTimersByTimeAsync(1500);
  expect(statusOf(1).peers.find(({ node }) => node === 2)).toMatchObject({ alive: true });
});

test("whatever stumbles over what came from outside does not end the node: it is counted, logged and shown", async () => {
  const { end, said } = ends.get(2)!;
  const { group } = end;
  const before = said.length;
  // A bug in what reads records, and one in what obeys.
  const busRecord = vi.spyOn(group, "busRecord").mockImplementationOnce(() => {
    throw new TypeError("a bug");
  });
  const envelope = new Envelope(new FleetKeys(FLEET), 3, entropy.bytes(8));
  const key = recordKey(recordOf(3).index);
  await put(key, envelope.seal(0, key, encodeRecord(recordOf(3))!));
  expect(busRecord).toHaveBeenCalled();
  expect(said.slice(before)).toEqual(["callback_failed"]);
  expect(statusOf(2).alarms).toMatchObject([
    { code: "callback_failed", count: 1, sinceMs: Date.now() - 4, text: expect.stringContaining("(a bug)") },
  ]);
  expect(counts(2)).toMatchObject({ group_callback_failed: 1 });
  await goesOn();
});
