/**
 * What a node hears when it joins, from an engine that tells it in any order: sessions of clients that it has not heard of
 * yet, and clients that other nodes added.
 */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { AnyhopError } from "../../src/base/errors.ts";
import { createLogger, DEBUG, type LogRecord } from "../../src/base/log.ts";
import type { BusListener } from "../../src/cluster/bus.ts";
import { Envelope } from "../../src/cluster/envelope.ts";
import { encodeRecord, type LiveRecord, recordKey, tombstoneOf } from "../../src/cluster/record.ts";
import { ClientBook } from "../../src/control/client_book.ts";
import { EventHub } from "../../src/control/event_hub.ts";
import type { ClusterSpec, NodeSpec } from "../../src/control/instance.ts";
import { NodeEnd } from "../../src/control/node_end.ts";
import { NodeGroup } from "../../src/control/node_group.ts";
import type { ClientRecord, Store } from "../../src/control/ports.ts";
import { SharedClients } from "../../src/control/shared_clients.ts";
import { keyPairFromPrivate } from "../../src/crypto/x25519.ts";
import { createTunnelMemory, TunnelTable } from "../../src/dataplane/tunnels.ts";
import { createMemoryStore } from "../../src/drivers/memory_store.ts";
import type { ToShard } from "../../src/shard/messages.ts";
import { sessionsOf } from "../../src/shard/session_batch.ts";
import { NO_ANNOUNCE } from "../announce/parts.ts";
import { seededEntropy } from "../handshake/party.ts";
import { newIndex } from "../support/new_index.ts";

const FLEET = new Uint8Array(32).fill(9);
const WALL_MS = 1_750_000_000_000;
const LIFE_MS = 900_000;
const ROWS = 16;
/** Longer than a node that begins waits for others. */
const CALL_MS = 700;
const pairOf = (seed: number) => keyPairFromPrivate(new Uint8Array(32).fill(seed));
const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

const spec: NodeSpec = {
  instance: {
    ...{ name: "node", listen: [], senderId: 1, tunnels: [], shards: 1, fanoutMax: 256, floodPps: 1000 },
    device: {
      ...{ type: "tun", name: undefined, mtuBytes: 1400, hostRoutes: [], postUp: undefined },
      addresses: ["10.9.0.1/24"],
    },
    ...{ dscp: "copy", stateDir: "/nowhere", socketPath: "/nowhere" },
  },
  ...{ group: "example", ...pairOf(1), addresses: [], pool: ["10.9.0.0/24"], networks: [], dns: [], clients: [] },
  ...{ privateKey: new Uint8Array(32).fill(1), keepaliveMs: 25_000, sessionsMax: ROWS, rekeyMs: 120_000 },
  ...{ announce: NO_ANNOUNCE, cluster: undefined },
};
const clientOf = (seed: number): ClientRecord => ({
  ...{
    name: `client${seed}`,
    publicKey: base64(pairOf(seed).publicKey),
    psk: undefined,
    prefixes: [],
    modes: ["tunnel"],
  },
  ...{ addresses: [`10.9.0.${seed}`], origin: "api", createdMs: 0 },
});

let nowMs: number;
let logged: LogRecord[];
const clock = { monotonicMs: () => nowMs, wallMs: () => WALL_MS + nowMs };
const logger = () =>
  createLogger(clock, [{ level: DEBUG, write: (record: LogRecord) => void logged.push(record), close: () => {} }]);

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval"] });
  nowMs = 1000;
  logged = [];
});
afterEach(() => {
  vi.useRealTimers();
});

describe("sessions of clients that are not known yet", () => {
  const entropy = seededEntropy(7);
  const other = new Envelope(FLEET, 2, entropy.bytes(8));
  let listener: BusListener;
  let group: NodeGroup;
  let node: NodeEnd;
  let posted: ToShard[];

  beforeEach(async () => {
    posted = [];
    const cluster: ClusterSpec = {
      ...{ node: 1, fleetKey: FLEET, holdMs: 10, link: { host: "", port: 0 }, peers: [] },
      engine: { kind: "embedded", path: "/nowhere" } as unknown as ClusterSpec["engine"],
    };
    const events = new EventHub(clock);
    node = new NodeEnd(spec, {
      ...{ clock, log: logger(), entropy, store: createMemoryStore(), pairOf: keyPairFromPrivate, events },
      join(self) {
        group = new NodeGroup(self, spec, cluster, {
          ...{ clock, log: logger(), entropy, events, ticketKeys: () => [] },
          peers: [{ node: 2, endpoint: { family: 4, w0: 0, w1: 0, w2: 0xffff, w3: 1, port: 1 } }],
          link: { onDatagram: () => {}, onRefused: () => {}, send: () => {}, close: () => {} },
          engine: "memory",
          openBus(heard) {
            listener = heard;
            const status = { kind: "memory", connected: true, why: "", server: "", caughtUp: true, outbox: 0 } as const;
            return {
              ...{ put: () => {}, shout: () => {}, close: async () => {} },
              status: () => ({ ...status, peers: [], errors: [] }),
            };
          },
        });
        return group;
      },
    });
    const tunnels = new TunnelTable(createTunnelMemory(ROWS));
    const post = (message: ToShard) => void posted.push(message);
    node.start({ post, tunnels, deviceName: "tun0", socketFor: () => 0 }, 0);
    // Nobody answers on the link, so it follows the engine.
    nowMs += CALL_MS;
    await vi.advanceTimersByTimeAsync(CALL_MS);
    await new Promise((resolve) => setImmediate(resolve));
    await Promise.resolve();
  });
  afterEach(() => node.stop());

  const recordOf = (seed: number, phase: "pending" | "up", created = WALL_MS): LiveRecord => ({
    ...{ index: newIndex(2, Uint8Array.of(0, 0, seed, 0)), created, phase, creator: 2, receiver: seed },
    ...{ clientKey: pairOf(seed).publicKey, instance: new Uint8Array(8).fill(seed), aead: 1, modes: 1 },
    ...{ secret: new Uint8Array(32).fill(seed), expiryMs: WALL_MS + LIFE_MS, addresses: [] },
    endpoint: { family: 4, w0: 0, w1: 0, w2: 0xffff, w3: 0xc0000201 | 0, port: 4000 },
  });
  const hear = async (record: LiveRecord | ReturnType<typeof tombstoneOf>): Promise<void> => {
    const key = recordKey(record.index);
    listener.record(2, key, other.seal(key, encodeRecord(record)!));
    await Promise.resolve();
    await Promise.resolve();
  };
  const rows = () => {
    const sessions = posted.flatMap((one) => (one.kind === "sessions" ? [...sessionsOf(one.sessions)] : []));
    return sessions.map(({ receiver, pending, foreign }) => ({ receiver, pending, foreign }));
  };
  const counter = (name: string) => group.status()!.counters.find((one) => one.name === name)!.count;

  test("wait for them, and are taken in as they are by then", async () => {
    await hear(recordOf(2, "pending"));
    await hear(recordOf(3, "up"));
    await hear(recordOf(2, "up"));
    expect([rows(), group.status()!.group.sessions]).toEqual([[], 2]);
    for (const seed of [2, 3]) node.admit(clientOf(seed), undefined);
    group.settled();
    expect(rows()).toEqual([
      { receiver: 2, pending: false, foreign: true },
      { receiver: 3, pending: false, foreign: true },
    ]);
    expect(node.list().map(({ id }) => id)).toEqual([recordOf(2, "up").index, recordOf(3, "up").index]);
  });

  test("are forgotten when they end, or expire before the client comes", async () => {
    await hear(recordOf(2, "up"));
    await hear(recordOf(3, "up"));
    await hear(tombstoneOf(recordOf(2, "up")));
    expect(group.status()!.group.sessions).toBe(1);
    nowMs += LIFE_MS + 1;
    group.settled();
    expect(group.status()!.group.sessions).toBe(0);
    for (const seed of [2, 3]) node.admit(clientOf(seed), undefined);
    group.settled();
    expect(rows()).toEqual([]);
  });

  test("as many as there are rows wait, and one without a row is counted", async () => {
    for (let seed = 2; seed < 2 + ROWS; seed++) await hear(recordOf(seed, "up"));
    for (let seed = 2; seed < 2 + ROWS; seed++) node.admit(clientOf(seed), undefined);
    group.settled();
    expect([rows().length, counter("group_unserved")]).toEqual([ROWS, 0]);
    // A session that ended here for lack of use, of which the group knows still, has given its row back.
    group.install({ ...recordOf(40, "up"), clientKey: pairOf(2).publicKey }, recordOf(40, "up").endpoint);
    expect(counter("group_unserved")).toBe(1);
  });
});

describe("clients that other nodes added", () => {
  let store: Store;
  let full: boolean;
  let admitted: string[];
  let shared: SharedClients;
  const contentOf = ({ name, psk, addresses, prefixes, modes }: ClientRecord) =>
    new TextEncoder().encode(JSON.stringify({ name, psk, addresses, prefixes, modes }));
  const learn = (seed: number, change: Partial<ClientRecord> = {}) =>
    shared.learn(hex(pairOf(seed).publicKey), contentOf({ ...clientOf(seed), ...change }));
  const kept = () => store.clients().map(({ name }) => name);

  beforeEach(() => {
    full = false;
    admitted = [];
    const memory = createMemoryStore();
    store = {
      ...memory,
      changeClients(put, remove) {
        if (full) throw new AnyhopError("state_full", "/nowhere takes no more: make room there.");
        memory.changeClients(put, remove);
      },
    };
    shared = new SharedClients({
      ...{ log: logger(), book: new ClientBook(spec, store, clock) },
      group: { putClient: () => {}, hasClient: () => true },
      admit: ({ name }) => void admitted.push(name),
      expel: (publicKey) => void admitted.splice(admitted.indexOf(clientNames.get(publicKey)!), 1),
    });
  });
  const clientNames = new Map([2, 3, 4].map((seed) => [clientOf(seed).publicKey, clientOf(seed).name]));

  test("may come at once, and are on disk when no more have come for a while", async () => {
    learn(2);
    await vi.advanceTimersByTimeAsync(200);
    learn(3);
    expect([admitted, kept()]).toEqual([["client2", "client3"], []]);
    await vi.advanceTimersByTimeAsync(100);
    expect(kept()).toEqual([]);
    await vi.advanceTimersByTimeAsync(500);
    expect(kept()).toEqual(["client2", "client3"]);
  });

  test("are on disk while more and more come, and when the node ends", async () => {
    for (let seed = 2; seed < 52; seed++) {
      learn(seed);
      await vi.advanceTimersByTimeAsync(250);
    }
    expect(kept()).toContain("client2");
    expect(kept()).not.toContain("client51");
    shared.stop();
    expect(kept()).toHaveLength(50);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("one that is removed before it is on disk never gets there", async () => {
    learn(2);
    shared.learn(hex(pairOf(2).publicKey), undefined);
    await vi.advanceTimersByTimeAsync(1000);
    expect([admitted, kept()]).toEqual([[], []]);
  });

  test("a full disk is told once, and written to when there is room", async () => {
    full = true;
    learn(2);
    await vi.advanceTimersByTimeAsync(5000);
    expect(logged.map(({ event }) => event)).toEqual(["state_full"]);
    expect(admitted).toEqual(["client2"]);
    full = false;
    await vi.advanceTimersByTimeAsync(1000);
    expect(kept()).toEqual(["client2"]);
  });

  test("one that contradicts this node's clients is refused and named", () => {
    learn(2);
    learn(3, { addresses: ["10.9.0.2"] });
    expect(admitted).toEqual(["client2"]);
    expect(logged.map(({ message }) => message).join()).toContain("client3");
  });
});
