/** A status with something in every field, for the tests of API and CLI. */
import type { GroupStatus } from "../../src/api/contract/group.ts";
import type { Status } from "../../src/api/contract.ts";
import { verdicts } from "../../src/dataplane/verdict.ts";

export function sampleStatus(): Status {
  const count = (name: string) => ({ auth_failed: 12, no_route: 3 })[name] ?? 0;
  return {
    name: "node",
    version: "0.1.0",
    pid: 4711,
    startedAt: "2026-01-02T03:04:05.000Z",
    uptimeS: 7805,
    listen: [
      { address: "192.0.2.1", port: 4444, receiveBuffer: 8_388_608 },
      { address: "2001:db8::1", port: 4444, receiveBuffer: 8_388_608 },
    ],
    senderId: 7,
    shards: 1,
    perShard: [{ senderId: 7, rx: { packets: 1200, bytes: 1_572_864 }, tx: { packets: 900, bytes: 500 }, dropped: 15 }],
    device: { name: "anyhop0", type: "tun", mtu: 1400, addresses: ["10.9.0.1/24"], queueDropped: 0 },
    offloads: [
      { name: "device-tcp", on: true, why: "The device moves many TCP segments in one read or write (TSO)." },
      { name: "device-udp", on: false, why: "The kernel says EINVAL: Linux 6.2 has it." },
    ],
    services: [],
    node: null,
    tunnels: [
      {
        name: "anna",
        mux: 1,
        role: "left",
        transforms: "aes-ctr-128 sha1/10 kd aes-ctr-128",
        endpoint: "198.51.100.7:40001",
        window: 2048,
        routes: ["10.9.0.2/32"],
        rx: { packets: 1200, bytes: 1_572_864 },
        tx: { packets: 900, bytes: 500 },
        lastReceivedMs: 1500,
        seq: { next: 901, reserved: 65536 },
        sequences: [{ senderId: 7, next: 901, reserved: 65536 }],
        senders: 1,
        drops: { auth_failed: 12, no_route: 0 },
        problem: {
          reason: "auth_failed",
          peer: "203.0.113.5:9",
          hint: "The peer has another key.",
          count: 12,
          agoMs: 61_000,
        },
      },
      {
        name: "bela",
        mux: 2,
        role: "right",
        transforms: "null null kd null",
        endpoint: null,
        window: 0,
        routes: null,
        rx: { packets: 0, bytes: 0 },
        tx: { packets: 0, bytes: 0 },
        lastReceivedMs: null,
        seq: { next: 0, reserved: 0 },
        sequences: [{ senderId: 7, next: 0, reserved: 0 }],
        senders: 0,
        drops: {},
        problem: null,
      },
    ],
    verdicts: Object.fromEntries(verdicts.map(({ name }) => [name, count(name)])),
    drops: verdicts.filter(({ kind }) => kind === "drop").map(({ name, help }) => ({ name, help, count: count(name) })),
    host: ["address 10.9.0.1/24 on anyhop0", "post_up hook: /bin/true was run"],
    changes: [
      {
        ...{ what: "address 10.9.0.1/24 on anyhop0", state: "restored" as const, why: null },
        ...{ sinceMs: 0, restored: 2, restoredMs: 0 },
      },
    ],
    announce: {
      ...{ kind: "bird", prefixes: ["192.0.2.1/32"], device: "anyc0", phase: "draining", inForce: "draining" },
      ...{ problem: null, wish: "drain", healthy: true },
      selfTest: { good: 40, bad: 1, crowded: 0, targets: [{ address: "192.0.2.1", rttMs: 0.42 }], faults: [] },
      drain: { forMs: 2500, quietMs: 1500, leftMs: 57_500 },
    },
    group: null,
    faults: [],
  };
}

/** Node 1 of three: node 2 is there and agrees. */
export function sampleGroup(change: Partial<GroupStatus["peers"][number]> = {}): GroupStatus {
  const peer: GroupStatus["peers"][number] = {
    ...{ node: 2, link: "198.51.100.2:4445", alive: true, bootId: "0123456789abcdef", heardAgoMs: 120, rttMs: 0.31 },
    ...{ clockOffsetMs: -12, clockApart: false, drain: "serving", sessions: 42, version: 77, syncLagMs: 800 },
    ...{ behind: 0, agrees: true, disagreements: [], refusedBy: null, refused: {} },
    lifeline: { state: "up", sinceAgoMs: 10_800_000, cause: null, lateMs: 12.3, patienceMs: 700 },
  };
  return {
    ...{ node: 1, bootId: "fedcba9876543210", drain: "serving", version: 9, tombstones: 3, moving: 0, asking: 0 },
    ...{
      sessions: { known: 42, own: 12, foreign: 30 },
      identity: true,
      roster: 4,
      fleetRotation: 0,
      held: { packets: 0, bytes: 0 },
      introductions: 0,
    },
    engine: {
      ...{ kind: "nats", connected: true, why: "", server: "nats-server 2.9.10", caughtUp: true, outbox: 0 },
      errors: [],
    },
    book: { clients: 5, tombstones: 1, conflicts: [], settled: [], refused: [] },
    alarms: [],
    peers: [{ ...peer, ...change }],
    counters: [
      { name: "group_taken", count: 5, refused: false, help: "Sessions taken over.", lastAgoMs: 1000 },
      { name: "link_wrong_seal", count: 0, refused: true, help: "Forged.", lastAgoMs: null },
    ],
  };
}
