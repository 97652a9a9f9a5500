/**
 * What a node hears when it joins, from an engine that tells it in any order: sessions of clients that it has not heard of
 * yet, and clients that other nodes added.
 */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { AnyhopError } from "../../src/base/errors.ts";
import { createLogger, DEBUG, type LogRecord } from "../../src/base/log.ts";
import type { ClientEntry } from "../../src/cluster/book.ts";
import { decodeClient, encodeClient } from "../../src/cluster/book_record.ts";
import type { BusListener } from "../../src/cluster/bus.ts";
import { Envelope } from "../../src/cluster/envelope.ts";
import { FleetKeys } from "../../src/cluster/fleet_keys.ts";
import { encodeRecord, type LiveRecord, recordKey, tombstoneOf } from "../../src/cluster/record.ts";
import { EventHub } from "../../src/control/asked/event_hub.ts";
import { NodeGroup } from "../../src/control/group/node_group.ts";
import { SharedClients } from "../../src/control/group/shared_clients.ts";
import { ClientBook, prefixesOf } from "../../src/control/node/client_book.ts";
import { decodeContent, encodeContent } from "../../src/control/node/client_content.ts";
import { NodeEnd } from "../../src/control/node/node_end.ts";
import type { ClusterSpec, NodeSpec } from "../../src/control/spec/instance.ts";
import type { ClientRecord, Store } from "../../src/control/spec/ports.ts";
import { keyPairFromPrivate } from "../../src/crypto/x25519.ts";
import { createTunnelMemory, TunnelTable } from "../../src/dataplane/tunnels.ts";
import { createMemoryStore } from "../../src/drivers/memory_store.ts";
import type { ToShard } from "../../src/shard/messages.ts";
import { sessionsOf } from "../../src/shard/session_batch.ts";
import { NO_ANNOUNCE } from "../announce/parts.ts";
import { seededEntropy } from "../handshake/party.ts";
import { newIndex } from "../support/new_index.ts";
import { noLifeline } from "../support/no_lifeline.ts";

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
  const other = new Envelope(new FleetKeys(FLEET), 2, entropy.bytes(8));
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
          ...{ clock, log: logger(), entropy, events, ticketKeys: () => [], agreed: () => undefined, agree: () => {} },
          peers: [{ node: 2, endpoint: { family: 4, w0: 0, w1: 0, w2: 0xffff, w3: 1, port: 1 } }],
          link: { onDatagram: () => {}, send: () => {}, close: () => {} },
          lifeline: noLifeline,
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
    listener.record(2, key, other.seal(0, key, encodeRecord(record)!));
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

  test("go on with the count of moves in the next session of their client, at whatever node it was confirmed", async () => {
    node.admit(clientOf(2), undefined);
    const first = recordOf(2, "up");
    const second = { ...recordOf(3, "pending", WALL_MS + 1), clientKey: first.clientKey, instance: first.instance };
    const third = { ...recordOf(4, "up", WALL_MS + 2), clientKey: first.clientKey, instance: first.instance };
    await hear(first);
    group.settled();
    const [{ ownerSinceMs }] = node.list();
    expect(ownerSinceMs).toBe(Math.floor((WALL_MS + nowMs) / 1000) * 1000);
    for (const next of [second, { ...second, phase: "up" } as const, third]) {
      nowMs += 10_000;
      await hear(next);
      group.settled();
      expect(node.list()).toMatchObject([{ owner: 2, ownerSinceMs, moves: 0 }]);
    }
    expect(node.list()[0].id).toBe(third.index);
    // Another start of the client has nothing to do with this one.
    nowMs += 10_000;
    await hear({ ...third, index: recordOf(5, "up").index, created: WALL_MS + 3, instance: new Uint8Array(8) });
    group.settled();
    expect(node.list()[0].ownerSinceMs).toBeGreaterThan(ownerSinceMs!);
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
    // An eighth of the group's table is kept for sessions that this node answers.
    const told = (ROWS * 7) / 8;
    expect([rows().length, counter("group_table_full"), counter("group_unserved")]).toEqual([told, ROWS - told, 0]);
    for (let seed = 2 + told; seed < 2 + ROWS; seed++)
      group.install(recordOf(seed, "up"), recordOf(seed, "up").endpoint);
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
  let entries: Map<string, ClientEntry>;
  let told: string[];
  const version = { stamp: WALL_MS * 256, node: 2 };
  const contentOf = (client: ClientRecord) => encodeContent({ ...client, lost: [] });
  const keyOf = (seed: number) => hex(pairOf(seed).publicKey);
  /** What the group does when another node has written this. */
  const hear = (seed: number, client: ClientRecord | undefined) => {
    const clientKey = keyOf(seed);
    const content = client && contentOf(client);
    expect(content && shared.claimsOf(content)).toEqual(client && [`=${client.name}`, ...prefixesOf(client)]);
    entries.set(clientKey, { clientKey, version, claimed: version, content });
    shared.keep(clientKey, encodeClient({ version, claimed: version, content }));
    shared.learn(clientKey);
  };
  const learn = (seed: number, change: Partial<ClientRecord> = {}) => hear(seed, { ...clientOf(seed), ...change });
  const kept = () =>
    store.book().flatMap(([, value]) => {
      const { content } = decodeClient(value)!;
      return content === undefined ? [] : [decodeContent(content)!.name];
    });

  beforeEach(() => {
    full = false;
    admitted = [];
    told = [];
    entries = new Map();
    const memory = createMemoryStore();
    store = {
      ...memory,
      changeBook(changes) {
        if (full) throw new AnyhopError("state_full", "/nowhere takes no more: make room there.");
        memory.changeBook(changes);
      },
    };
    const cluster = { node: 1, peers: [{ node: 2 }, { node: 3 }] } as unknown as ClusterSpec;
    shared = new SharedClients({
      ...{ clock, log: logger(), store, node: 1, book: new ClientBook({ ...spec, cluster }, store, clock, true) },
      group: {
        putClient(clientKey, content, keep) {
          keep?.(encodeClient({ version, claimed: version, content }));
          entries.set(clientKey, { clientKey, version, claimed: version, content });
        },
        rewriteClient(clientKey, content) {
          entries.set(clientKey, { clientKey, version, claimed: version, content });
        },
        restoreClient: () => true,
        clientEntry: (clientKey) => entries.get(clientKey),
        clientKeys: () => [...entries.keys()],
        lostOf: () => [],
      },
      admit: ({ name }) => void admitted.push(name),
      expel: (publicKey) => void admitted.splice(admitted.indexOf(clientNames.get(publicKey)!), 1),
      tell: (event) => void told.push(event),
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
    expect(kept().sort()).toEqual(["client2", "client3"]);
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

  test("one that is removed before it is on disk never gets there; that it was removed does", async () => {
    learn(2);
    hear(2, undefined);
    await vi.advanceTimersByTimeAsync(1000);
    expect([admitted, kept(), store.book().length]).toEqual([[], [], 1]);
  });

  test("a full disk is told once, and written to when there is room; what is added here is refused meanwhile", async () => {
    full = true;
    learn(2);
    await vi.advanceTimersByTimeAsync(5000);
    expect(logged.map(({ event }) => event)).toEqual(["state_full"]);
    expect(admitted).toEqual(["client2"]);
    expect(() => shared.add(clientOf(3))).toThrow("takes no more");
    expect([entries.has(keyOf(3)), admitted]).toEqual([false, ["client2"]]);
    full = false;
    await vi.advanceTimersByTimeAsync(1000);
    expect(kept()).toEqual(["client2"]);
    expect(shared.add(clientOf(3)).name).toBe("client3");
    expect(kept().sort()).toEqual(["client2", "client3"]);
  });

  test("one that somebody of this node's file is in the way of is said, and written anew when its writer does not", async () => {
    learn(3, { addresses: ["10.9.0.1"] });
    expect(admitted).toEqual([]);
    expect(shared.report().refused).toMatchObject([{ client: "client3", why: expect.stringContaining("the device") }]);
    await vi.advanceTimersByTimeAsync(6000);
    const content = decodeContent(entries.get(keyOf(3))!.content!)!;
    expect(content.lost).toEqual([{ what: "10.9.0.1/32", to: "device", atMs: WALL_MS + nowMs }]);
    // Of the part of node 1 of three: numbers that 3 divides.
    expect(content.addresses).toEqual(["10.9.0.3"]);
    shared.learn(keyOf(3));
    expect([admitted, shared.report().refused, told]).toEqual([["client3"], [], ["client_conflict"]]);
    expect(shared.report().settled).toMatchObject([{ loser: "client3", keeper: "device", addresses: ["10.9.0.3"] }]);
    shared.stop();
  });

  test("one outside pool and networks is kept out and said, and a person can remove it by its key", () => {
    learn(3, { prefixes: ["0.0.0.0/0"] });
    expect(admitted).toEqual([]);
    expect(shared.report().refused).toMatchObject([{ client: "client3", why: expect.stringContaining("0.0.0.0/0") }]);
    expect(() => shared.add({ ...clientOf(4), addresses: ["8.8.8.8"] })).toThrow(/8\.8\.8\.8\/32 lies neither/);
    expect(shared.removeKey(clientOf(3).publicKey)).toBe("client3");
    shared.learn(keyOf(3));
    expect(shared.report().refused).toEqual([]);
    expect(shared.removeKey(clientOf(5).publicKey)).toBeUndefined();
    expect(entries.get(keyOf(5))).toMatchObject({ content: undefined });
    shared.stop();
  });

  test("who takes over what another had is let in, whichever of the two is heard of first", () => {
    learn(2);
    learn(3);
    const [two, three] = [clientOf(2), clientOf(3)];
    // Both change at once, and this node is told of the one that wants the other's address first.
    entries.set(keyOf(2), { ...entries.get(keyOf(2))!, content: contentOf({ ...two, addresses: ["10.9.0.9"] }) });
    learn(3, { ...three, addresses: two.addresses });
    expect(shared.report().refused).toEqual([]);
    shared.learn(keyOf(2));
    expect(admitted.sort()).toEqual(["client2", "client3"]);
    shared.stop();
  });
});

test.each<[string, object]>([
  ["a name", { name: "../x" }],
  ["a name with a line end", { name: "a\nb" }],
  ["no name", { name: undefined }],
  ["an address that is none", { addresses: ["10.9.0"] }],
  ["an address as nobody writes it", { addresses: ["010.9.0.2"] }],
  ["one address twice", { addresses: ["10.9.0.2", "10.9.0.2"] }],
  ["host bits in a network", { prefixes: ["10.9.0.1/24"] }],
  ["a mode", { modes: ["root"] }],
  ["no mode", { modes: [] }],
  ["a pre-shared key", { psk: "x" }],
  ["an unknown key", { admin: true }],
  ["a loss that is none", { lost: [{ what: "\u001b[2J", to: "a", atMs: 0 }] }],
  ["a time that no date can show", { lost: [{ what: "=a", to: "a", atMs: 9e15 }] }],
  ["a list that is an object", { addresses: { length: 1 } }],
])("a client of another node with %s is none", (_, change) => {
  const good = { name: "anna", addresses: ["10.9.0.2"], prefixes: [], modes: ["tunnel"] };
  const bytes = (value: object) => new TextEncoder().encode(JSON.stringify(value));
  expect(decodeContent(bytes(good))).toEqual({ ...good, psk: undefined, lost: [] });
  expect(decodeContent(bytes({ ...good, ...change }))).toBeUndefined();
  expect(decodeContent(Uint8Array.of(0xff, 0x7b))).toBeUndefined();
});
