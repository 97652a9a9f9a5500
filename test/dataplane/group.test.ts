/**
 * Two nodes of a group, each a real plane with the same sessions, on one anycast address. The test does by hand what the
 * control planes do: ask the owner, take the window over, put what was held in. One node has a session's replay window,
 * the other one hands its packets over and still seals for the client.
 */

import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { parseAddress, remoteOf } from "../../src/base/ip.ts";
import { decodeHanded, type Handed } from "../../src/control/instance/session_end.ts";
import { sealAead } from "../../src/crypto/aead.ts";
import { CONTROL_DATAGRAM, HELD, HELD_BYTES_MAX, HELD_UNKNOWN } from "../../src/dataplane/control_ring.ts";
import { CONFIRMED, ENDPOINT_MOVED, EVENT_WORDS } from "../../src/dataplane/events.ts";
import { ALG_AES_256_GCM, RECEIVE_ROWS } from "../../src/dataplane/layout.ts";
import { turnKeepalive } from "../../src/dataplane/pipeline.ts";
import { MemoryNetwork, type MemorySocket, PacketRing } from "../../src/drivers/memory_network.ts";
import { apply } from "../../src/shard/apply.ts";
import type { ToShard, Yielded } from "../../src/shard/messages.ts";
import { Host, indexOf, PORT, packet4, settle } from "./world.ts";

const SERVICE = "192.0.2.1";
const CLIENT = "192.0.2.2";
const LATER = "198.51.100.77";
const NODE_INNER = "10.9.0.1";
const CLIENT_INNER = "10.9.0.2";
const INDEX = indexOf(7);
const RECEIVER = 107;
const SENDERS = [1, 2];
const ROW = 3;
const WINDOW = 64;

const clientKey = new Uint8Array(32).fill(9);
const groupKey = (sender: number) => new Uint8Array(32).fill(16 + sender);

let network: MemoryNetwork;
/** What the routers think: the node that gets what is sent to the service address. */
let caught: number;
let nodes: Host[];
let hand: Hand;

/** A socket without a daemon behind it. */
class Hand {
  readonly socket: MemorySocket;
  constructor(address: string) {
    const a = parseAddress(address)!;
    const words = [a.w0, a.w1, a.w2, a.w3] as const;
    this.socket = { host: [words], family: 4, address: words, port: PORT, queue: new PacketRing(1024) };
    network.sockets.push(this.socket);
  }
  send(node: number, bytes: Uint8Array, tos = 0): void {
    caught = node;
    const a = parseAddress(SERVICE)!;
    const { host } = this.socket;
    network.deliver(this.socket, host[0], a.w0, a.w1, a.w2, a.w3, PORT, bytes, 0, bytes.length, tos);
  }
}

/** The client's packet `seq`; its number is also inside, so that what comes out can be told apart. */
const inner = (seq: number) => {
  const packet = packet4(CLIENT_INNER, NODE_INNER, 4);
  new DataView(packet.buffer).setUint32(28, seq);
  return packet;
};
const header = (seq: number, index = INDEX) => ({ seq, senderId: index >>> 15, mux: 0x8000 | (index & 0x7fff) });
const sealed = (seq: number, index = INDEX, payload = inner(seq)) =>
  sealAead(
    { algorithm: ALG_AES_256_GCM, sealKey: clientKey, openKey: groupKey(1) },
    header(seq, index),
    0x0800,
    payload,
  );

const sessionAt = (node: number, more: { foreign?: boolean; pending?: boolean; window?: number } = {}) =>
  nodes[node].session(ROW, {
    ...{ remote: CLIENT, routes: [`${CLIENT_INNER}/32`], window: WINDOW, foreign: node !== 0 },
    ...{ end: "node", sessionIndex: INDEX, receiver: RECEIVER, senderId: SENDERS[node] },
    key: { algorithm: ALG_AES_256_GCM, sealKey: groupKey(SENDERS[node]), openKey: clientKey },
    ...more,
  });

beforeEach(() => {
  network = new MemoryNetwork();
  network.nowMs = 1000;
  nodes = SENDERS.map(() => new Host(network, { address: SERVICE, sessions: "node", group: true }));
  const sockets = [...network.sockets];
  network.carries = (_, to) => !sockets.includes(to) || to === sockets[caught];
  for (const node of nodes) node.local(`${NODE_INNER}/32`);
  hand = new Hand(CLIENT);
});

const handed = (node: Host): Handed[] => {
  const { words, bytes } = node.plane.control.drain();
  return decodeHanded(words, bytes);
};
const inject = (node: Host, entries: readonly Handed[]) =>
  apply(node.plane, {
    kind: "inject",
    datagrams: entries.map((entry) => ({ bytes: entry.bytes, from: entry.from, tos: entry.tos })),
  });
/** What the shard answers. */
const ask = (node: Host, message: ToShard): Yielded => {
  const answers: Yielded[] = [];
  apply(node.plane, message, { answer: (answer) => answers.push(answer) });
  expect(answers).toHaveLength(1);
  return answers[0];
};
const yielded = (node: Host, seq: number) => ask(node, { kind: "yield", index: ROW, seq, token: 77 });
/** Gives the window that `answer` has to a node. */
const give = (node: Host, answer: Yielded) => {
  if (answer.result !== "given") throw new Error(`nothing was given, but ${answer.result}`);
  apply(node.plane, { kind: "own", index: ROW, highest: answer.highest, words: answer.words });
};
/** Above every number that a client may use. */
const ANY_SEQ = 2 ** 31 - 1;
const flip = (from: Host, to: Host) => give(to, ask(from, { kind: "yield", index: ROW, seq: ANY_SEQ, token: 1 }));
/** Numbers inside the packets that came out of the device. */
const delivered = (node: Host) => node.delivered().map((packet) => new DataView(packet.buffer).getUint32(28));
const eventRows = (node: Host, kind: number) => {
  const words = node.plane.events.drain();
  return Array.from({ length: words.length / EVENT_WORDS }, (_, k) => words.subarray(k * EVENT_WORDS))
    .filter((event) => event[0] === kind)
    .map((event) => event[1]);
};

/**
 * What node `at` does with what it holds: asks the other node about each packet, takes over or passes on. Returns how
 * often each answer came.
 */
function arbitrate(at: Host, other: Host, answers: Map<string, number> = new Map()): void {
  for (const entry of handed(at)) {
    if (at.plane.tunnels.foreign[ROW] === 0) {
      inject(at, [entry]);
      continue;
    }
    const answer = yielded(other, entry.detail);
    answers.set(answer.result, (answers.get(answer.result) ?? 0) + 1);
    if (answer.result === "given") {
      give(at, answer);
      inject(at, [entry]);
    } else if (answer.result === "keep") inject(other, [entry]);
  }
}

describe("a row whose window another node has", () => {
  test("hands whole datagrams over, unopened, with where they came from; nothing else happens", () => {
    sessionAt(1);
    const before = [...nodes[1].plane.tunnels.rxPackets];
    const datagrams = [sealed(0x9000_0001), sealed(2)];
    for (const datagram of datagrams) hand.send(1, datagram, 3);
    settle(...nodes);
    const entries = handed(nodes[1]);
    expect(entries.map(({ kind, row, detail }) => [kind, row, detail >>> 0])).toEqual([
      [HELD, ROW, 0x9000_0001],
      [HELD, ROW, 2],
    ]);
    expect(entries.map(({ bytes }) => bytes)).toEqual(datagrams);
    expect(entries[0]).toMatchObject({ tos: 3, from: { family: 4, w3: 0xc0000202 | 0, port: PORT, sock: 0 } });
    expect([nodes[1].count("held"), nodes[1].delivered()]).toEqual([2, []]);
    expect([...nodes[1].plane.tunnels.rxPackets]).toEqual(before);
    expect(nodes[1].plane.tunnels.drops.every((n) => n === 0)).toBe(true);
    expect(nodes[1].plane.tunnels.seqHigh[ROW]).toBe(0);
  });

  test("seals for the client all the same, with the node's own key, and sends no keepalives", () => {
    sessionAt(1);
    const { tunnels } = nodes[1].plane;
    const client = new Host(network, { address: LATER, sessions: "client" });
    client.session(0, {
      ...{ remote: SERVICE, end: "client", sessionIndex: INDEX, receiver: RECEIVER, senderId: SENDERS[0] },
      key: { algorithm: ALG_AES_256_GCM, sealKey: clientKey, openKey: groupKey(SENDERS[0]) },
    });
    const key = { algorithm: ALG_AES_256_GCM, sealKey: clientKey, openKey: groupKey(SENDERS[1]) };
    apply(client.plane, { kind: "sender", index: 0, senderId: SENDERS[1], slot: 5, key });
    const { w0, w1, w2, w3 } = parseAddress(LATER)!;
    // Where the owner says that the client is now: a path MTU that was learnt on the way to the old place is void.
    tunnels.innerMtu[ROW] = 600;
    apply(nodes[1].plane, {
      kind: "endpoint",
      index: ROW,
      endpoint: remoteOf([w0, w1, w2, w3], PORT, 0),
    });
    expect(tunnels.innerMtu[ROW]).toBe(1400);
    const down = packet4(NODE_INNER, CLIENT_INNER, 900);
    nodes[1].io.device!.inject(down);
    settle(...nodes, client);
    expect(client.delivered()).toEqual([down]);
    tunnels.keepaliveMs[ROW] = 1000;
    network.nowMs += 60_000;
    turnKeepalive(nodes[1].plane, network.nowMs);
    expect(nodes[1].count("sent")).toBe(1);
    tunnels.foreign[ROW] = 0;
    turnKeepalive(nodes[1].plane, network.nowMs);
    expect(nodes[1].count("sent")).toBe(2);
  });

  test("a session that is added in the row of a foreign one is not foreign", () => {
    sessionAt(1);
    apply(nodes[1].plane, { kind: "remove", index: ROW, routes: [] });
    sessionAt(1, { foreign: false });
    hand.send(1, sealed(0));
    settle(...nodes);
    expect(delivered(nodes[1])).toEqual([0]);
    expect(nodes[1].plane.tunnels.seqHigh[ROW]).toBe(1);
  });
});

describe("forged datagrams for a row whose window another node has", () => {
  test("end at the shard, counted, and nothing is handed over; the genuine one between them is", () => {
    sessionAt(1);
    const genuine = sealed(40);
    for (let k = 0; k < 300; k++) {
      const forged = genuine.slice();
      new DataView(forged.buffer).setUint32(0, 0x7fff0000 + k);
      hand.send(1, k === 150 ? genuine : forged);
    }
    settle(...nodes);
    expect(handed(nodes[1]).map(({ kind, bytes }) => [kind, bytes])).toEqual([[HELD, genuine]]);
    expect([nodes[1].count("held"), nodes[1].count("auth_failed"), nodes[1].count("foreign")]).toEqual([1, 299, 0]);
  });

  test("a genuine one that is played again and again has the budget of its session, and others keep theirs", () => {
    sessionAt(1);
    const other = indexOf(9);
    nodes[1].session(ROW + 1, {
      ...{ remote: CLIENT, routes: ["192.0.2.77/32"], window: WINDOW, foreign: true },
      ...{ end: "node", sessionIndex: other, receiver: RECEIVER + 1, senderId: SENDERS[1] },
      key: { algorithm: ALG_AES_256_GCM, sealKey: groupKey(SENDERS[1]), openKey: clientKey },
    });
    const replayed = sealed(40, INDEX, new Uint8Array(0));
    for (let k = 0; k < 9000; k += 500) {
      for (let j = 0; j < 500; j++) hand.send(1, replayed);
      settle(...nodes);
      handed(nodes[1]);
    }
    expect([nodes[1].count("held"), nodes[1].count("hold_full")]).toEqual([8192, 808]);
    for (let k = 0; k < 50; k++) hand.send(1, sealed(k, other));
    settle(...nodes);
    expect(handed(nodes[1])).toHaveLength(50);
  });
});

describe("an unknown session in a group", () => {
  test("is held whole; what is too short for a session is not", () => {
    const datagram = sealed(17);
    hand.send(1, datagram);
    hand.send(1, datagram.slice(0, 23));
    settle(...nodes);
    const entries = handed(nodes[1]);
    expect(entries.map(({ kind, row, detail, bytes }) => [kind, row, detail, bytes])).toEqual([
      [HELD_UNKNOWN, -1, 17, datagram],
    ]);
    expect([nodes[1].count("held"), nodes[1].count("datagram_short")]).toEqual([1, 1]);
    expect(nodes[1].count("session_unknown")).toBe(0);
  });

  test("longer than what is held: counted, never cut", () => {
    const fits = HELD_BYTES_MAX - sealed(0, INDEX, new Uint8Array(0)).length;
    hand.send(1, sealed(1, INDEX, new Uint8Array(fits)));
    hand.send(1, sealed(2, INDEX, new Uint8Array(fits + 1)));
    settle(...nodes);
    expect(handed(nodes[1]).map(({ bytes }) => bytes.length)).toEqual([HELD_BYTES_MAX]);
    expect([nodes[1].count("held"), nodes[1].count("hold_full")]).toEqual([1, 1]);
  });
});

describe("floods", () => {
  const control = new Uint8Array(1200).fill(0xff, 6, 8).fill(1, 8, 10);
  const full = (seq: number, index = INDEX) => sealed(seq, index, new Uint8Array(1392));
  /** What holding one `full` costs, and what may be held at once. */
  const COST = full(0).length + 256;
  const BURST = 8 << 20;

  test("of held packets fill their own room: handshakes come through, and the other way round", () => {
    sessionAt(1);
    const node = nodes[1];
    const batch = () => {
      for (let k = 0; k < 700; k++) hand.send(1, full(k));
      for (let k = 0; k < 200; k++) hand.send(1, control);
      settle(...nodes);
    };
    batch();
    const bytes = full(0).length;
    const room = Math.floor((1280 * 1024 - 256 * 1280) / bytes);
    expect([node.count("held"), node.count("hold_full")]).toEqual([room, 700 - room]);
    expect([node.count("control"), node.count("punt_full")]).toEqual([96, 104]);
    const entries = handed(node);
    // Of each kind in the order in which they came, each with its own bytes.
    const held = entries.filter(({ kind }) => kind === HELD);
    expect(held.findIndex(({ bytes }, k) => Buffer.compare(bytes, full(k)) !== 0)).toBe(-1);
    const others = entries.filter(({ kind }) => kind === CONTROL_DATAGRAM);
    expect([held.length, others.length, entries.length]).toEqual([room, 96, room + 96]);
    expect(others.every(({ bytes }) => Buffer.compare(bytes, control) === 0)).toBe(true);
    for (let k = 0; k < 200; k++) hand.send(1, control);
    for (let k = 0; k < 10; k++) hand.send(1, full(1000 + k));
    settle(...nodes);
    expect(node.count("held")).toBe(room + 10);
    // Another 96 find room in the ring that was emptied.
    expect(handed(node)).toHaveLength(106);
  });

  test("of unknown sessions use up their own budget, not that of known ones, and get it back with time", () => {
    sessionAt(1);
    const node = nodes[1];
    const stranger = full(1, indexOf(8));
    const send = (count: number, datagram: Uint8Array) => {
      const before = node.count("held");
      for (let k = 0; k < count; k += 500) {
        for (let j = 0; j < 500; j++) hand.send(1, datagram);
        settle(...nodes);
        handed(node);
      }
      return node.count("held") - before;
    };
    // A network has 1 MiB at once and 512 KiB a second, whatever addresses it sends from.
    const OF_NETWORK = Math.floor((1 << 20) / COST);
    expect(send(1000, stranger)).toBe(OF_NETWORK);
    expect(send(500, full(5))).toBe(500);
    const near = new Hand("192.0.2.99");
    const far = Array.from({ length: 12 }, (_, k) => new Hand(`198.18.${k}.1`));
    const sendFrom = (from: Hand, count: number) => {
      const before = node.count("held");
      for (let k = 0; k < count; k += 500) {
        for (let j = 0; j < Math.min(500, count); j++) from.send(1, stranger);
        settle(...nodes);
        handed(node);
      }
      return node.count("held") - before;
    };
    expect(sendFrom(near, 10)).toBe(0);
    const all = far.reduce((sum, from) => sum + sendFrom(from, 1000), OF_NETWORK);
    expect(all).toBe(Math.floor(BURST / COST));
    network.nowMs += 100;
    // All together 2 MiB a second.
    expect(sendFrom(new Hand("198.18.99.1"), 1000)).toBe(Math.floor(((BURST % COST) + (2 << 20) / 10) / COST));
    network.nowMs += 60_000;
    expect(send(1000, stranger)).toBe(OF_NETWORK);
  });

  test("of one session that moves use up the common budget: the first packets of another one are held all the same", () => {
    const other = INDEX + 1;
    sessionAt(1);
    const node = nodes[1];
    node.session(ROW + 1, {
      ...{ remote: CLIENT, routes: [], window: WINDOW, foreign: true, owner: 1_000_001 },
      ...{ end: "node", sessionIndex: other, receiver: RECEIVER + 1, senderId: SENDERS[1] },
      key: { algorithm: ALG_AES_256_GCM, sealKey: groupKey(SENDERS[1]), openKey: clientKey },
    });
    for (let k = 0; k < 8000; k += 500) {
      for (let j = 0; j < 500; j++) hand.send(1, full(k + j));
      settle(...nodes);
      handed(node);
    }
    const [before, refused] = [node.count("held"), node.count("hold_full")];
    expect(refused).toBeGreaterThan(0);
    // Among these is what proves to this node that the client is here.
    for (let k = 0; k < 40; k++) hand.send(1, full(k, other));
    settle(...nodes);
    expect([node.count("held") - before, node.count("hold_full") - refused]).toEqual([32, 8]);
    expect(handed(node).map(({ row }) => row)).toEqual(Array(32).fill(ROW + 1));
    network.nowMs += 1000;
    // The common budget is whole again, and the loud one has it.
    for (let k = 0; k < 40; k++) hand.send(1, full(k));
    settle(...nodes);
    expect(node.count("hold_full") - refused).toBe(8);
  });
});

describe("a window is given away", () => {
  beforeEach(() => {
    sessionAt(0);
    sessionAt(1);
  });

  test("before the first packet, empty", () => {
    expect(yielded(nodes[0], 5)).toEqual({
      ...{ token: 77, result: "given" },
      ...{ highest: -1, words: new Int32Array(0) },
    });
    expect(nodes[0].plane.tunnels.foreign[ROW]).toBe(1);
    expect(yielded(nodes[0], 6)).toEqual({ token: 77, result: "moved" });
  });

  test("to whom has the newest packet, and to nobody else", () => {
    for (const seq of [1, 2, 100]) hand.send(0, sealed(seq));
    settle(...nodes);
    expect(nodes[0].plane.tunnels.seqHigh[ROW]).toBe(101);
    for (const [seq, result] of [
      [100, "stale"],
      [2, "stale"],
      [36, "stale"],
      [37, "keep"],
      [99, "keep"],
    ] as const)
      expect([seq, yielded(nodes[0], seq).result]).toEqual([seq, result]);
    expect(nodes[0].plane.tunnels.foreign[ROW]).toBe(0);
    const answer = yielded(nodes[0], 101);
    expect(answer).toMatchObject({ result: "given", highest: 100 });
    hand.send(0, sealed(102));
    settle(...nodes);
    expect(handed(nodes[0]).map(({ detail }) => detail)).toEqual([102]);
    give(nodes[1], answer);
    expect(nodes[1].plane.tunnels.seqHigh[ROW]).toBe(101);
    for (const seq of [100, 2, 36, 37, 101]) hand.send(1, sealed(seq));
    settle(...nodes);
    expect(delivered(nodes[1])).toEqual([37, 101]);
    expect([nodes[1].count("replay_duplicate"), nodes[1].count("replay_old")]).toEqual([1, 2]);
  });

  test("without a question, when a node gives up; then it is not there any more", () => {
    hand.send(0, sealed(8));
    settle(...nodes);
    flip(nodes[0], nodes[1]);
    expect(ask(nodes[0], { kind: "yield", index: ROW, seq: ANY_SEQ, token: 2 })).toEqual({
      ...{ token: 2, result: "moved" },
    });
    for (const seq of [8, 9]) hand.send(1, sealed(seq));
    settle(...nodes);
    expect(delivered(nodes[1])).toEqual([9]);
  });

  test("never from a row that has no session", () => {
    const answer = ask(nodes[0], { kind: "yield", index: ROW + 1, seq: 1, token: 5 });
    expect(answer).toMatchObject({ result: "moved", token: 5 });
    apply(nodes[0].plane, { kind: "own", index: ROW + 1, highest: 5, words: new Int32Array(0) });
    expect(nodes[0].plane.tunnels.seqHigh[ROW + 1]).toBe(0);
  });

  test("to a node without room for it: counted, and the row stays foreign, because an empty window forgets", () => {
    const { replay, tunnels } = nodes[1].plane;
    for (let t = 10; replay.create(t, 0) >= 0; t++) for (let s = 1; s < 128; s++) replay.create(t, s);
    flip(nodes[0], nodes[1]);
    expect([tunnels.foreign[ROW], nodes[1].count("senders_full")]).toEqual([1, 1]);
  });
});

describe("packets that are put in", () => {
  beforeEach(() => {
    sessionAt(0);
    sessionAt(1, { pending: true });
  });

  test("go through all stages, in order, and teach where the client is", () => {
    const roamed = new Hand(LATER);
    for (const seq of [4, 5, 3]) roamed.send(1, sealed(seq));
    settle(...nodes);
    const entries = handed(nodes[1]);
    flip(nodes[0], nodes[1]);
    inject(nodes[1], entries);
    expect(delivered(nodes[1])).toEqual([4, 5, 3]);
    const events = nodes[1].plane.events.drain();
    expect(events.subarray(0, 2 * EVENT_WORDS).filter((_, k) => k % EVENT_WORDS === 0)).toEqual(
      Int32Array.of(ENDPOINT_MOVED, CONFIRMED),
    );
    expect(nodes[1].plane.tunnels.pending[ROW]).toBe(0);
    nodes[1].io.device!.inject(packet4(NODE_INNER, CLIENT_INNER, 20));
    settle(...nodes);
    expect(roamed.socket.queue.count).toBe(1);
  });

  test("of a row that is still foreign are held again", () => {
    hand.send(1, sealed(4));
    settle(...nodes);
    const entries = handed(nodes[1]);
    inject(nodes[1], entries);
    expect(handed(nodes[1])).toEqual(entries);
    expect(delivered(nodes[1])).toEqual([]);
  });

  test("more than one turn takes, and ones that no socket delivers", () => {
    flip(nodes[0], nodes[1]);
    const count = 2 * RECEIVE_ROWS + 5;
    const from = { family: 4, w0: 0, w1: 0, w2: 0xffff, w3: 0xc0000202 | 0, port: PORT, sock: 0 } as const;
    const entry = (bytes: Uint8Array) => ({ kind: HELD, row: ROW, detail: 0, bytes, from, tos: 0 });
    const datagrams = Array.from({ length: count }, (_, seq) => sealed(seq));
    inject(nodes[1], [
      ...datagrams.slice(0, 3).map(entry),
      entry(new Uint8Array(65_508)),
      entry(new Uint8Array(0)),
      ...Array.from({ length: 40 }, () => entry(new Uint8Array(60_000))),
      ...datagrams.slice(3).map(entry),
    ]);
    expect(delivered(nodes[1])).toEqual(datagrams.map((_, seq) => seq));
    expect(nodes[1].count("datagram_oversize")).toBe(1);
    expect(nodes[1].count("datagram_short")).toBe(1);
    expect(nodes[1].count("mux_unknown")).toBe(40);
  });
});

test("a row becomes the one to send with when another node saw the client's confirmation", () => {
  sessionAt(1, { pending: true });
  const down = () => {
    nodes[1].io.device!.inject(packet4(NODE_INNER, CLIENT_INNER, 20));
    settle(...nodes);
    return [nodes[1].count("no_route"), nodes[1].count("sent")];
  };
  expect(down()).toEqual([1, 0]);
  apply(nodes[1].plane, { kind: "activate", index: ROW });
  expect(down()).toEqual([1, 1]);
  expect(eventRows(nodes[1], CONFIRMED)).toEqual([]);
  // Only the one that waits for it: a newer session of the same client is not pushed aside.
  nodes[1].session(ROW + 1, {
    ...{ remote: LATER, routes: [`${CLIENT_INNER}/32`], end: "node", sessionIndex: INDEX + 1, receiver: RECEIVER + 1 },
    key: { algorithm: ALG_AES_256_GCM, sealKey: groupKey(7), openKey: clientKey },
    senderId: SENDERS[1],
  });
  const later = new Hand(LATER);
  apply(nodes[1].plane, { kind: "activate", index: ROW });
  down();
  expect(later.socket.queue.count).toBe(1);
  apply(nodes[1].plane, { kind: "activate", index: ROW + 2 });
  expect(nodes[1].plane.memberCount).toBe(1);
});

describe("a session that moves between two nodes", () => {
  /** What happens, in order: the next packet, one out of order, one that somebody captured, or an arbitration. */
  const acts = fc.array(
    fc.oneof(
      { weight: 6, arbitrary: fc.record({ act: fc.constant("send" as const), node: fc.nat(1), skip: fc.nat(3) }) },
      { weight: 2, arbitrary: fc.record({ act: fc.constant("late" as const), node: fc.nat(1) }) },
      { weight: 2, arbitrary: fc.record({ act: fc.constant("replay" as const), node: fc.nat(1), which: fc.nat(200) }) },
      { weight: 3, arbitrary: fc.record({ act: fc.constant("turn" as const), node: fc.nat(1) }) },
      { weight: 3, arbitrary: fc.record({ act: fc.constant("arbitrate" as const), node: fc.nat(1) }) },
    ),
    { minLength: 20, maxLength: 80 },
  );

  test("loses nothing and delivers nothing twice, whatever is replayed where", () => {
    const answers = new Map<string, number>();
    fc.assert(
      fc.property(acts, (path) => {
        caught = 0;
        for (const node of nodes) apply(node.plane, { kind: "remove", index: ROW, routes: [] });
        // A window that takes all that a path can have under way.
        for (const k of [0, 1]) sessionAt(k, { window: 2048 });
        const sent: number[] = [];
        const withheld: number[] = [];
        const got: number[] = [];
        let next = 0;
        const send = (node: number, seq: number) => {
          sent.push(seq);
          hand.send(node, sealed(seq));
        };
        for (const step of path) {
          if (step.act === "send") {
            for (let k = 0; k < step.skip; k++) withheld.push(next++);
            send(step.node, next++);
          } else if (step.act === "late" && withheld.length > 0) send(step.node, withheld.shift()!);
          else if (step.act === "replay" && sent.length > 0)
            hand.send(step.node, sealed(sent[step.which % sent.length]));
          else if (step.act === "turn") nodes[step.node].turn();
          else if (step.act === "arbitrate") arbitrate(nodes[step.node], nodes[1 - step.node], answers);
        }
        const isBusy = () => nodes.some((node) => node.plane.control.count > 0);
        do {
          settle(...nodes);
          arbitrate(nodes[0], nodes[1], answers);
          arbitrate(nodes[1], nodes[0], answers);
        } while (isBusy());
        for (const node of nodes) got.push(...delivered(node));
        const owners = nodes.filter((node) => node.plane.tunnels.foreign[ROW] === 0);
        expect(owners).toHaveLength(1);
        expect(got.toSorted((a, b) => a - b)).toEqual(sent.toSorted((a, b) => a - b));
      }),
      { numRuns: 150 },
    );
    // The paths were of all kinds.
    for (const result of ["given", "keep", "stale"]) expect(answers.get(result)).toBeGreaterThan(50);
  });
});
