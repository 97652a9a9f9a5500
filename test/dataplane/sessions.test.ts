/** Sessions in the pipeline: whole hosts on the in-memory network, and a hand that makes datagrams nobody honest would. */

import { beforeEach, describe, expect, test } from "vitest";
import { parseAddress, remoteOf } from "../../src/base/ip.ts";
import { parsePrefix } from "../../src/base/prefix.ts";
import { sealAead } from "../../src/crypto/aead.ts";
import { CookieTags } from "../../src/crypto/cookie_tags.ts";
import {
  CONTROL_BYTES,
  CONTROL_DATAGRAM,
  CONTROL_WORDS,
  SESSION_CONTROL,
  UNKNOWN_SESSION,
} from "../../src/dataplane/control_ring.ts";
import { CONFIRMED, ENDPOINT_MOVED, EVENT_WORDS } from "../../src/dataplane/events.ts";
import { ALG_AES_256_GCM } from "../../src/dataplane/layout.ts";
import { turnKeepalive } from "../../src/dataplane/pipeline.ts";
import { MemoryNetwork, type MemorySocket, PacketRing } from "../../src/drivers/memory_network.ts";
import { apply } from "../../src/shard/apply.ts";
import { TYPE_CONTROL } from "../../src/wire/satp.ts";
import { Host, INDEX_KEY, indexOf, PORT, packet4, packet6, settle } from "./world.ts";

const NODE = "192.0.2.1";
const ANNA = "192.0.2.2";
const BELA = "192.0.2.3";
const STRANGER = "203.0.113.9";
const SENDER = 5;
const ANNA_INNER = "198.51.100.2";
const BELA_INNER = "198.51.100.3";
const NODE_INNER = "198.51.100.1";
const ANNA_PREFIXES = ["198.51.100.2/32", "2001:db8:9::2/128"];

/** Keys of one session, by number. */
const toNode = (n: number) => new Uint8Array(32).fill(2 * n + 1);
const toClient = (n: number) => new Uint8Array(32).fill(2 * n + 2);
const receiverOf = (n: number) => 100 + n;

/** The bytes of a session datagram to the node. */
const sealed = (n: number, seq: number, type: number, inner: Uint8Array, key = toNode(n)) =>
  sealAead(
    { algorithm: ALG_AES_256_GCM, sealKey: key, openKey: toClient(n) },
    { seq, senderId: indexOf(n) >>> 15, mux: 0x8000 | (indexOf(n) & 0x7fff) },
    type,
    inner,
  );

/** The same to the client. */
const sealedByNode = (n: number, seq: number, type: number, inner: Uint8Array) =>
  sealAead(
    { algorithm: ALG_AES_256_GCM, sealKey: toClient(n), openKey: toNode(n) },
    { seq, senderId: SENDER, mux: 0x8000 | receiverOf(n) },
    type,
    inner,
  );

/** A socket without a daemon behind it. */
class Hand {
  readonly #network: MemoryNetwork;
  readonly #socket: MemorySocket;
  constructor(network: MemoryNetwork, address: string, port = PORT) {
    const a = parseAddress(address)!;
    const words = [a.w0, a.w1, a.w2, a.w3] as const;
    this.#network = network;
    this.#socket = { host: [words], family: 4, address: words, port, queue: new PacketRing(64) };
    network.sockets.push(this.#socket);
  }
  send(to: string, bytes: Uint8Array): void {
    const a = parseAddress(to)!;
    const { host } = this.#socket;
    this.#network.deliver(this.#socket, host[0], a.w0, a.w1, a.w2, a.w3, PORT, bytes, 0, bytes.length, 0);
  }
  received(): number {
    return this.#socket.queue.count;
  }
}

let network: MemoryNetwork;
let node: Host;
let anna: Host;

beforeEach(() => {
  network = new MemoryNetwork();
  network.nowMs = 1000;
  node = new Host(network, { address: NODE, sessions: "node" });
  node.local(`${NODE_INNER}/32`);
  anna = new Host(network, { address: ANNA, sessions: "client" });
});

/** Session `n` at the node, in row `row`. */
const atNode = (row: number, n: number, more: { owner?: number; routes?: string[]; pending?: boolean } = {}) =>
  node.session(row, {
    ...{ remote: ANNA, routes: ANNA_PREFIXES, pending: true, owner: 1_000_000 },
    ...{ end: "node", sessionIndex: indexOf(n), receiver: receiverOf(n), senderId: SENDER },
    key: { algorithm: ALG_AES_256_GCM, sealKey: toClient(n), openKey: toNode(n) },
    ...more,
  });
/** Session `n` at a client, in row `row`. */
const atClient = (host: Host, row: number, n: number) =>
  host.session(row, {
    ...{ remote: NODE, end: "client", sessionIndex: indexOf(n), receiver: receiverOf(n), senderId: SENDER },
    key: { algorithm: ALG_AES_256_GCM, sealKey: toNode(n), openKey: toClient(n) },
  });
const remove = (host: Host, row: number) => apply(host.plane, { kind: "remove", index: row, routes: [] });

/** Entries of the control ring since the last call. */
function handed(host: Host) {
  const { words, bytes } = host.plane.control.drain();
  const entries = [];
  for (let w = 0, at = 0; w < words.length; w += CONTROL_WORDS) {
    const length = words[w + 3];
    const [kind, row, detail] = words.subarray(w, w + 3);
    entries.push({
      kind,
      row,
      detail,
      from: words[w + 7] >>> 0,
      port: words[w + 8],
      bytes: bytes.slice(at, at + length),
    });
    at += length;
  }
  return entries;
}

/** Rows that an event of this kind names. */
function events(host: Host, kind: number): number[] {
  const words = host.plane.events.drain();
  const rows = [];
  for (let at = 0; at < words.length; at += EVENT_WORDS) if (words[at] === kind) rows.push(words[at + 1]);
  return rows;
}

describe("a pending session", () => {
  test("sends nothing and has no route before the client's first authentic packet, and both from then on", () => {
    atNode(0, 0);
    atClient(anna, 0, 0);
    const down = packet4(NODE_INNER, ANNA_INNER, 20);
    node.io.device!.inject(down);
    settle(node, anna);
    expect(node.count("no_route")).toBe(1);
    const up = packet4(ANNA_INNER, NODE_INNER, 20);
    anna.io.device!.inject(up);
    settle(node, anna);
    expect(node.delivered()).toEqual([up]);
    expect(events(node, CONFIRMED)).toEqual([0]);
    node.io.device!.inject(down);
    settle(node, anna);
    expect(anna.delivered()).toEqual([down]);
    expect(events(node, CONFIRMED)).toEqual([]);
  });

  test("answers find the way in the turn of the first packets: two new clients talk to each other", () => {
    const bela = new Host(network, { address: BELA, sessions: "client" });
    atNode(0, 0);
    atNode(1, 1, { owner: 1_000_001, routes: [`${BELA_INNER}/32`] });
    atClient(anna, 0, 0);
    atClient(bela, 0, 1);
    const there = packet4(ANNA_INNER, BELA_INNER, 20);
    const back = packet4(BELA_INNER, ANNA_INNER, 30);
    anna.io.device!.inject(there);
    anna.turn();
    bela.io.device!.inject(back);
    bela.turn();
    // One batch of two datagrams, both first ones.
    node.turn();
    settle(anna, bela);
    expect([anna.delivered(), bela.delivered()]).toEqual([[back], [there]]);
    expect(node.count("no_route")).toBe(0);
  });

  test("is confirmed by an empty packet, not by a forged one", () => {
    atNode(0, 0);
    const hand = new Hand(network, STRANGER);
    hand.send(NODE, sealed(0, 0, -1, new Uint8Array(0), toNode(7)));
    settle(node);
    expect([node.count("auth_failed"), node.plane.tunnels.pending[0]]).toEqual([1, 1]);
    expect(events(node, CONFIRMED)).toEqual([]);
    atClient(anna, 0, 0);
    apply(anna.plane, { kind: "seal", index: 0, payload: new Uint8Array(0) });
    settle(node);
    expect([node.count("empty"), node.plane.tunnels.pending[0]]).toEqual([1, 0]);
    expect(events(node, CONFIRMED)).toEqual([0]);
  });

  test("stays pending while the event ring is full, so that the control plane hears of it by a later packet", () => {
    atNode(0, 0);
    atClient(anna, 0, 0);
    const { events: ring } = node.plane;
    while (ring.push(ENDPOINT_MOVED, 9, 0, 0, 0, 0, 0, 0));
    const up = packet4(ANNA_INNER, NODE_INNER, 20);
    anna.io.device!.inject(up);
    settle(node, anna);
    expect(node.plane.tunnels.pending[0]).toBe(1);
    ring.drain();
    anna.io.device!.inject(up);
    settle(node, anna);
    expect(node.delivered()).toEqual([up]);
    expect(events(node, CONFIRMED)).toEqual([0]);
  });
});

describe("a new session of the same owner", () => {
  beforeEach(() => {
    atNode(0, 0);
    atClient(anna, 0, 0);
    anna.io.device!.inject(packet4(ANNA_INNER, NODE_INNER, 20));
    settle(node, anna);
    node.delivered();
    atNode(1, 1);
  });

  test("while it is pending the old one is used; after its first packet the new one, and the old one still opens", () => {
    const down = packet4(NODE_INNER, ANNA_INNER, 20);
    node.io.device!.inject(down);
    settle(node, anna);
    expect(anna.delivered()).toEqual([down]);
    // The client seals in the old session; the datagram is under way while the new session comes up.
    const late = packet4(ANNA_INNER, NODE_INNER, 40);
    anna.io.device!.inject(late);
    anna.turn();
    const before = network.sockets[0].queue.count;
    expect(before).toBe(1);
    const underWay = node.plane.tunnels;
    atClient(anna, 1, 1);
    const first = packet4(ANNA_INNER, NODE_INNER, 50);
    anna.io.device!.inject(first);
    settle(node, anna);
    expect(node.delivered()).toEqual([late, first]);
    expect([underWay.rxPackets[0], underWay.rxPackets[1]]).toEqual([2, 1]);
    const after = packet4(NODE_INNER, ANNA_INNER, 60);
    node.io.device!.inject(after);
    settle(node, anna);
    expect(anna.delivered()).toEqual([after]);
    expect([underWay.txPackets[0], underWay.txPackets[1]]).toEqual([1, 1]);
    // The overlap: sealed in the old session after the new one is up, as a packet that was overtaken.
    new Hand(network, STRANGER).send(NODE, sealed(0, 9, 0x0800, packet4(ANNA_INNER, NODE_INNER, 70)));
    settle(node);
    expect(node.delivered()).toHaveLength(1);
    node.io.device!.inject(after);
    settle(node, anna);
    expect(underWay.txPackets[1]).toBe(2);
  });

  test("the end of the old one leaves the routes of the new one, the end of the new one leaves none", () => {
    atClient(anna, 1, 1);
    anna.io.device!.inject(packet4(ANNA_INNER, NODE_INNER, 20));
    settle(node, anna);
    remove(node, 0);
    remove(anna, 0);
    const down = packet6("2001:db8:9::1", "2001:db8:9::2", 20);
    node.io.device!.inject(down);
    settle(node, anna);
    expect(anna.delivered()).toEqual([down]);
    remove(node, 1);
    for (const packet of [down, packet4(NODE_INNER, ANNA_INNER, 20)]) node.io.device!.inject(packet);
    settle(node, anna);
    expect(node.count("no_route")).toBe(2);
    expect([node.plane.routes.size, node.plane.memberCount, node.plane.byIndex.size]).toEqual([1, 0, 0]);
  });

  test("networks that the client no longer has lead nowhere once the new one is up", () => {
    remove(node, 1);
    atNode(1, 1, { routes: [ANNA_PREFIXES[0]] });
    atClient(anna, 1, 1);
    anna.io.device!.inject(packet4(ANNA_INNER, NODE_INNER, 20));
    settle(node, anna);
    node.io.device!.inject(packet6("2001:db8:9::1", "2001:db8:9::2", 20));
    settle(node, anna);
    expect(node.count("no_route")).toBe(1);
  });
});

describe("a row that is retired", () => {
  test("leaves no route behind, also when another client has a longer prefix at the same address", () => {
    atNode(0, 0, { owner: 1, routes: ["203.0.113.0/24", "2001:db8:a::/48"], pending: false });
    atNode(1, 1, { owner: 2, routes: ["203.0.113.0/25", "2001:db8:a::/64"], pending: false });
    remove(node, 0);
    const { routes } = node.plane;
    const above = parseAddress("203.0.113.200")!;
    expect(routes.lookup4(above.w3)).toBe(-1);
    expect(routes.lookup4(parsePrefix("203.0.113.0/25")!.w3)).toBe(1);
    const six = parseAddress("2001:db8:a:1::1")!;
    expect(routes.lookup6(six.w0, six.w1, six.w2, six.w3)).toBe(-1);
    remove(node, 1);
    expect(routes.size).toBe(1);
  });

  test("does not take away a route that meanwhile leads to another client", () => {
    atNode(0, 0, { owner: 1, pending: false });
    atNode(1, 1, { owner: 2, pending: false });
    remove(node, 0);
    expect(node.plane.routes.lookup4(parseAddress(ANNA_INNER)!.w3)).toBe(1);
  });

  test("gives its number to a session that counts from 0 and knows no old packet", () => {
    atNode(0, 0, { pending: false });
    const hand = new Hand(network, ANNA, 5555);
    const packet = packet4(ANNA_INNER, NODE_INNER, 20);
    for (const seq of [0, 900]) hand.send(NODE, sealed(0, seq, 0x0800, packet));
    settle(node);
    node.plane.tunnels.seqNext[0] = 77;
    remove(node, 0);
    atNode(0, 1);
    expect([node.plane.tunnels.seqNext[0], node.plane.tunnels.rxPackets[0]]).toEqual([0, 0]);
    node.delivered();
    hand.send(NODE, sealed(1, 0, 0x0800, packet));
    hand.send(NODE, sealed(0, 901, 0x0800, packet));
    settle(node);
    expect(node.delivered()).toEqual([packet]);
    expect(node.count("session_unknown")).toBe(1);
  });

  test("of a client gives its receiver index and its senders back", () => {
    atClient(anna, 0, 0);
    apply(anna.plane, {
      ...{ kind: "sender", index: 0, senderId: 6, slot: 9 },
      key: { algorithm: ALG_AES_256_GCM, sealKey: toNode(0), openKey: toClient(3) },
    });
    expect(anna.plane.senderKeys.size).toBe(2);
    remove(anna, 0);
    expect([anna.plane.senderKeys.size, anna.plane.defaultTunnel]).toEqual([0, -1]);
    new Hand(network, NODE, 1).send(ANNA, sealed(0, 0, -1, new Uint8Array(0)));
    settle(anna);
    expect(anna.count("session_unknown")).toBe(1);
    expect(handed(anna)).toEqual([]);
  });
});

describe("what the control plane sees", () => {
  test("the first 32 bytes of a datagram whose session is unknown, and how long it was", () => {
    const datagram = sealed(3, 17, 0x0800, packet4(ANNA_INNER, NODE_INNER, 200));
    new Hand(network, STRANGER, 777).send(NODE, datagram);
    settle(node);
    expect(node.count("session_unknown")).toBe(1);
    expect(handed(node)).toEqual([
      {
        ...{ kind: UNKNOWN_SESSION, row: -1, detail: datagram.length },
        ...{ from: 0xcb007109, port: 777, bytes: datagram.slice(0, 32) },
      },
    ]);
  });

  test("nothing of a stranger's index: 255 of 256 are counted and gone; after a change of keys those of before count too", () => {
    const hand = new Hand(network, STRANGER, 777);
    const datagram = sealed(3, 17, 0x0800, packet4(ANNA_INNER, NODE_INNER, 200));
    for (let check = 0; check < 256; check++) {
      datagram[7] = check;
      hand.send(NODE, datagram);
    }
    settle(node);
    const known = node.count("session_unknown");
    expect([known + node.count("stranger"), handed(node).length]).toEqual([256, known]);
    expect(known).toBe(1);
    apply(node.plane, { kind: "index_keys", keys: [new Uint8Array(8).fill(1), INDEX_KEY] });
    hand.send(NODE, sealed(3, 18, 0x0800, packet4(ANNA_INNER, NODE_INNER, 200)));
    settle(node);
    expect(handed(node).length).toBe(1);
    apply(node.plane, { kind: "index_keys", keys: [new Uint8Array(8).fill(1)] });
    hand.send(NODE, sealed(3, 19, 0x0800, packet4(ANNA_INNER, NODE_INNER, 200)));
    settle(node);
    expect(handed(node)).toEqual([]);
  });

  test("a control datagram, whole, up to the ring's slot", () => {
    const hand = new Hand(network, STRANGER, 777);
    const CONTROL_TYPES = { init: 1, selfTest: 127 };
    for (const [length, type] of [
      [1200, CONTROL_TYPES.init],
      [32, CONTROL_TYPES.selfTest],
      [1400, CONTROL_TYPES.selfTest],
    ]) {
      const datagram = Uint8Array.from({ length }, (_, k) => (k === 6 || k === 7 ? 0xff : k & 255));
      datagram[8] = type;
      hand.send(NODE, datagram);
      settle(node);
      const [entry] = handed(node);
      expect(entry).toMatchObject({ kind: CONTROL_DATAGRAM, row: -1, from: 0xcb007109, port: 777 });
      expect(entry.bytes).toEqual(datagram.slice(0, CONTROL_BYTES));
    }
    expect(node.count("control")).toBe(3);
    for (const [length, type] of [
      [8, 0],
      [12, 1],
      [1199, CONTROL_TYPES.init],
      [1200, 2],
      [44, 7],
      [32, 126],
    ])
      hand.send(NODE, new Uint8Array(length).fill(0xff, 6, 8).fill(type, 8, 9));
    settle(node);
    expect([handed(node), node.count("control_unexpected")]).toEqual([[], 6]);
  });

  test("ring full: punt_full, counted, and room again once it was emptied", () => {
    const hand = new Hand(network, STRANGER);
    const datagram = new Uint8Array(1200).fill(0xff, 6, 8).fill(1, 8, 9);
    for (let k = 0; k < 200; k++) hand.send(NODE, datagram);
    settle(node);
    expect([node.count("control"), node.count("punt_full")]).toEqual([96, 104]);
    expect(handed(node)).toHaveLength(96);
    hand.send(NODE, datagram);
    settle(node);
    expect(node.count("control")).toBe(97);
  });

  test("each kind has its own share of a second, in slices: what is beyond is punt_full", () => {
    const hand = new Hand(network, STRANGER);
    const tags = new CookieTags(new Uint8Array(8).fill(9));
    node.plane.cookieTags = tags;
    const { w0, w1, w2, w3 } = parseAddress(STRANGER)!;
    const request = (type: number, slot: number, length = 1200) => {
      const datagram = new Uint8Array(length).fill(0xff, 6, 8);
      datagram[8] = type;
      const view = new DataView(datagram.buffer);
      if (slot > 0) view.setUint8(1184, slot);
      if (slot > 0) view.setInt32(1185, tags.of(slot, w0, w1, w2, w3, PORT));
      return datagram;
    };
    const forged = request(4, 5);
    forged[1188] ^= 1;
    const kinds = [
      { name: "INIT without a cookie", datagram: request(1, 0), perSlice: 300 },
      { name: "INIT with a cookie", datagram: request(1, 5), perSlice: 200 },
      { name: "RESUME with a false cookie", datagram: forged, perSlice: 300 },
      { name: "self-test", datagram: request(127, 0, 32), perSlice: 50 },
    ];
    // A flood of one kind takes nothing from the next one.
    let expected = 0;
    for (let slice = 0; slice < 2; slice++) {
      for (const { datagram, perSlice } of kinds) {
        for (let k = 0; k < 350; k += 50) {
          for (let j = 0; j < 50; j++) hand.send(NODE, datagram);
          settle(node);
          handed(node);
        }
        expected += perSlice;
        expect(node.count("control")).toBe(expected);
      }
      network.nowMs += 50;
    }
    expect(node.count("punt_full")).toBe(2 * 4 * 350 - expected);
  });

  test("a control payload of a session is handed over and never delivered, whatever it looks like", () => {
    atNode(0, 0, { pending: false });
    const hand = new Hand(network, ANNA, 5555);
    const packet = packet4(ANNA_INNER, NODE_INNER, 1300);
    hand.send(NODE, sealed(0, 0, TYPE_CONTROL, packet));
    settle(node);
    const [entry, ...others] = handed(node);
    expect(others).toEqual([]);
    const { kind, row, detail, bytes } = entry;
    expect([kind, row]).toEqual([SESSION_CONTROL, 0]);
    // Who sealed it, and how long it was.
    expect([detail >>> 16, detail & 0xffff]).toEqual([indexOf(0) >>> 15, packet.length]);
    expect(bytes).toEqual(packet.slice(0, CONTROL_BYTES));
    expect([node.delivered(), node.count("control")]).toEqual([[], 1]);
  });

  test.each([
    ["a node", () => node, () => void atNode(0, 0, { pending: false }), sealed],
    ["a client", () => anna, () => void atClient(anna, 0, 0), sealedByNode],
  ])("reserved payload types are dropped and counted at %s, also those that were control once", (_, at, make, seal) => {
    make();
    const hand = new Hand(network, at() === node ? ANNA : NODE, 5555);
    const types = [...Array(0x11).keys(), 0x100, 0x5db, 0x5dc];
    types.forEach((type, seq) => {
      hand.send(at().address, seal(0, seq, type, packet4(ANNA_INNER, NODE_INNER, 20)));
    });
    settle(at());
    expect(at().count("type_reserved")).toBe(types.length);
    expect([at().count("control"), handed(at()), at().delivered()]).toEqual([0, [], []]);
    hand.send(at().address, seal(0, 100, 0x5dd, packet4(ANNA_INNER, NODE_INNER, 20)));
    settle(at());
    expect([at().count("type_reserved"), at().count("type_unsupported")]).toEqual([types.length, 1]);
  });

  test("a session that floods is limited, and takes nothing from another one", () => {
    atNode(0, 0, { pending: false });
    atNode(1, 1, { pending: false, owner: 1_000_001, routes: [`${BELA_INNER}/32`] });
    const [loud, quiet] = [new Hand(network, ANNA, 5555), new Hand(network, BELA, 5555)];
    const of = (n: number) => handed(node).filter(({ row }) => row === n).length;
    let [seq, heardLoud, heardQuiet] = [0, 0, 0];
    // 27,000 a second; the other one speaks ten times a second, at the end of a burst.
    for (let ms = 0; ms < 400; ms += 2, network.nowMs += 2) {
      for (let k = 0; k < 54; k++) loud.send(NODE, sealed(0, seq++, TYPE_CONTROL, Uint8Array.of(1)));
      if (ms % 100 === 0) quiet.send(NODE, sealed(1, ms, TYPE_CONTROL, Uint8Array.of(1)));
      settle(node);
      const entries = handed(node);
      heardLoud += entries.filter(({ row }) => row === 0).length;
      heardQuiet += entries.filter(({ row }) => row === 1).length;
    }
    expect(of(0)).toBe(0);
    expect(heardQuiet).toBe(4);
    expect(heardLoud).toBeLessThanOrEqual(96 + 0.4 * 300);
    expect(heardLoud).toBeGreaterThan(96);
    expect(node.count("control_limit") + heardLoud + heardQuiet).toBe(seq + 4);
  });

  test("many loud sessions use up the common budget, and a quiet one is heard all the same", () => {
    const rows = 20;
    for (let row = 0; row <= rows; row++)
      atNode(row, row, { pending: false, owner: 1_000_000 + row, routes: [`198.51.100.${row + 10}/32`] });
    const hands = [...Array(8).keys()].map((k) => new Hand(network, ANNA, 6000 + k));
    let [seq, heard] = [0, 0];
    for (let ms = 0; ms < 300; ms += 2, network.nowMs += 2) {
      for (let row = 0; row < rows; row++)
        for (let k = 0; k < 4; k++) hands[row % 8].send(NODE, sealed(row, seq++, TYPE_CONTROL, Uint8Array.of(1)));
      if (ms % 50 === 0) hands[0].send(NODE, sealed(rows, ms, TYPE_CONTROL, Uint8Array.of(1)));
      settle(node);
      heard += handed(node).filter(({ row }) => row === rows).length;
    }
    expect(node.count("punt_full")).toBeGreaterThan(0);
    expect(heard).toBe(6);
  });

  test("a forged control payload is not handed over", () => {
    atNode(0, 0, { pending: false });
    new Hand(network, STRANGER).send(NODE, sealed(0, 0, TYPE_CONTROL, Uint8Array.of(1), toNode(5)));
    settle(node);
    expect(handed(node)).toEqual([]);
    expect(node.count("auth_failed")).toBe(1);
  });

  test("a client tells an echo of what it sent from one that a stranger made up", () => {
    atClient(anna, 0, 0);
    const hand = new Hand(network, NODE, 5556);
    const spy: Uint8Array[] = [];
    const sink = new Hand(network, NODE);
    // Without a node: the datagram goes to a socket of the test.
    network.carries = (_, to) => to !== network.sockets[0];
    anna.io.device!.inject(packet4(ANNA_INNER, NODE_INNER, 20));
    settle(anna);
    expect(sink.received()).toBe(1);
    const header = new Uint8Array(8);
    const view = new DataView(header.buffer);
    view.setUint16(4, indexOf(0) >>> 15);
    view.setUint16(6, 0x8000 | (indexOf(0) & 0x7fff));
    const expected = sealed(0, 0, 0x0800, packet4(ANNA_INNER, NODE_INNER, 20));
    expect(expected.slice(0, 8)).toEqual(header);
    const echo = (bytes: Uint8Array) => {
      const datagram = new Uint8Array(24);
      datagram.set(bytes.subarray(0, 4), 0);
      datagram.set([0xff, 0xff, 6, 1], 6);
      datagram.set(bytes.subarray(4, 16), 12);
      return datagram;
    };
    hand.send(ANNA, echo(expected));
    const altered = Uint8Array.from(expected);
    altered[15] ^= 1;
    hand.send(ANNA, echo(altered));
    settle(anna);
    spy.push(...handed(anna).map(({ bytes, detail }) => Uint8Array.of(detail, bytes.length)));
    expect(spy).toEqual([Uint8Array.of(1, 24)]);
    expect(anna.count("control_unexpected")).toBe(1);
  });

  test("in a client: answers to its last requests and SENDER, whatever else floods it; more than eight requests ago is too long", () => {
    atClient(anna, 0, 0);
    const hand = new Hand(network, NODE, 5556);
    const control = (transaction: number, type: number) => {
      const datagram = new Uint8Array(44).fill(0xff, 6, 8);
      new DataView(datagram.buffer).setUint32(0, transaction);
      datagram[8] = type;
      return datagram;
    };
    const { w0, w1, w2, w3 } = parseAddress(NODE)!;
    const to = remoteOf([w0, w1, w2, w3], PORT, 0);
    const asks = Array.from({ length: 9 }, (_, k) => 0x8000_0000 + k);
    for (const transaction of asks) apply(anna.plane, { kind: "send", datagram: control(transaction, 1), to });
    // Cookies that others have caused, many more than a client is handed in a second.
    for (let k = 0; k < 3000; k++) {
      hand.send(ANNA, control(k, 3));
      if (k % 100 === 0) settle(anna);
    }
    settle(anna);
    expect(handed(anna)).toEqual([]);
    expect(anna.count("control_unexpected")).toBe(3000);
    for (const transaction of asks) hand.send(ANNA, control(transaction, 3));
    hand.send(ANNA, control(1, 7));
    settle(anna);
    const seen = handed(anna).map(({ bytes }) => [new DataView(bytes.buffer, bytes.byteOffset).getUint32(0), bytes[8]]);
    // The last eight.
    expect(seen).toEqual([...asks.slice(1).map((transaction) => [transaction, 3]), [1, 7]]);
  });
});

describe("refused", () => {
  test("sender_unknown: until the sender was introduced", () => {
    atClient(anna, 0, 0);
    const hand = new Hand(network, NODE, 5556);
    const fromOther = (seq: number, key: Uint8Array) =>
      sealAead(
        { algorithm: ALG_AES_256_GCM, sealKey: key, openKey: toNode(0) },
        { seq, senderId: 6, mux: 0x8000 | receiverOf(0) },
        0x0800,
        packet4(NODE_INNER, ANNA_INNER, 20),
      );
    const introduce = (key: Uint8Array, slot: number) =>
      apply(anna.plane, {
        ...{ kind: "sender", index: 0, senderId: 6, slot },
        key: { algorithm: ALG_AES_256_GCM, sealKey: toNode(0), openKey: key },
      });
    hand.send(ANNA, fromOther(0, toClient(4)));
    settle(anna);
    expect([anna.count("sender_unknown"), anna.delivered().length]).toEqual([1, 0]);
    introduce(toClient(4), 9);
    for (const seq of [0, 50]) hand.send(ANNA, fromOther(seq, toClient(4)));
    settle(anna);
    expect(anna.delivered()).toHaveLength(2);
    // The sender started again: a new key, and numbers from 0.
    introduce(toClient(5), 10);
    hand.send(ANNA, fromOther(0, toClient(5)));
    hand.send(ANNA, fromOther(51, toClient(4)));
    settle(anna);
    expect(anna.delivered()).toHaveLength(1);
    expect(anna.count("auth_failed")).toBe(1);
  });

  test("a replay: at once, after a long silence and with a number of the restart zone", () => {
    atNode(0, 0, { pending: false });
    const hand = new Hand(network, ANNA, 5555);
    const first = sealed(0, 0, 0x0800, packet4(ANNA_INNER, NODE_INNER, 20));
    const late = sealed(0, 500, 0x0800, packet4(ANNA_INNER, NODE_INNER, 20));
    hand.send(NODE, first);
    hand.send(NODE, late);
    settle(node);
    expect(node.delivered()).toHaveLength(2);
    hand.send(NODE, late);
    hand.send(NODE, first);
    settle(node);
    network.nowMs += 3_600_000;
    hand.send(NODE, late);
    // Never seen, and older than the window: classic peers may come back so, sessions never.
    for (const seq of [0, 3, 100]) hand.send(NODE, sealed(0, seq, 0x0800, packet4(ANNA_INNER, NODE_INNER, 21)));
    settle(node);
    expect(node.delivered()).toEqual([]);
    expect([node.count("replay_duplicate"), node.count("replay_old")]).toEqual([2, 4]);
  });

  test("a replayed packet moves no endpoint; the newest genuine one does, from any port", () => {
    atNode(0, 0, { pending: false });
    const [home, away] = [new Hand(network, ANNA, 5555), new Hand(network, STRANGER, 6666)];
    const up = (seq: number) => sealed(0, seq, 0x0800, packet4(ANNA_INNER, NODE_INNER, 20));
    const { tunnels } = node.plane;
    const endpointPort = () => tunnels.port[0];
    home.send(NODE, up(5));
    settle(node);
    expect(endpointPort()).toBe(5555);
    away.send(NODE, up(5));
    away.send(NODE, up(4));
    settle(node);
    expect(endpointPort()).toBe(5555);
    away.send(NODE, up(6));
    settle(node);
    expect([endpointPort(), tunnels.addr3[0] >>> 0]).toEqual([6666, 0xcb007109]);
    node.io.device!.inject(packet4(NODE_INNER, ANNA_INNER, 20));
    settle(node);
    expect([home.received(), away.received()]).toEqual([0, 1]);
  });

  test("an inner source of somebody else", () => {
    atNode(0, 0, { pending: false });
    atNode(1, 1, { owner: 2, routes: [`${BELA_INNER}/32`], pending: false });
    const hand = new Hand(network, ANNA, 5555);
    for (const [k, source] of [BELA_INNER, NODE_INNER, "203.0.113.7"].entries())
      hand.send(NODE, sealed(0, k, 0x0800, packet4(source, NODE_INNER, 20)));
    settle(node);
    expect(node.count("inner_source")).toBe(3);
  });

  test("the number beyond a session's last: nothing is sealed any more, and no number twice", () => {
    atNode(0, 0, { pending: false });
    const { tunnels } = node.plane;
    expect(tunnels.seqLimit[0]).toBe(2 ** 31);
    tunnels.seqNext[0] = 2 ** 31 - 1;
    const sink = new Hand(network, ANNA, 5557);
    tunnels.port[0] = 5557;
    for (let k = 0; k < 3; k++) node.io.device!.inject(packet4(NODE_INNER, ANNA_INNER, 20));
    settle(node);
    expect(sink.received()).toBe(1);
    expect(tunnels.drops.reduce((sum, n) => sum + n)).toBe(0);
    expect([node.count("session_seq_limit"), tunnels.seqNext[0]]).toEqual([2, 2 ** 31]);
    expect(node.count("seq_unreserved")).toBe(0);
    apply(node.plane, { kind: "seal", index: 0, payload: Uint8Array.of(1) });
    expect(sink.received()).toBe(1);
  });
});

test("multicast while nobody is connected is no drop; with somebody who was not heard yet it is", () => {
  const report = packet4(NODE_INNER, "224.0.0.22", 20);
  node.io.device!.inject(report);
  settle(node);
  expect([node.count("no_receiver"), node.count("no_endpoint")]).toEqual([1, 0]);
  atNode(0, 0, { pending: false });
  node.plane.tunnels.known[0] = 0;
  node.io.device!.inject(report);
  settle(node);
  expect([node.count("no_receiver"), node.count("no_endpoint")]).toEqual([1, 1]);
});

describe("keepalive", () => {
  /** Both ends tick; how many empty packets each one got since the session is up. */
  function tick(afterMs: number): [number, number] {
    network.nowMs += afterMs;
    turnKeepalive(anna.plane, network.nowMs);
    turnKeepalive(node.plane, network.nowMs);
    settle(node, anna);
    return [node.count("empty"), anna.count("empty")];
  }

  beforeEach(() => {
    atNode(0, 0);
    atClient(anna, 0, 0);
    anna.io.device!.inject(packet4(ANNA_INNER, NODE_INNER, 20));
    settle(node, anna);
    node.io.device!.inject(packet4(NODE_INNER, ANNA_INNER, 20));
    settle(node, anna);
  });

  test("a node that was told something and said nothing for ten seconds answers once, and that wants no answer", () => {
    anna.io.device!.inject(packet4(ANNA_INNER, NODE_INNER, 20));
    network.nowMs += 1000;
    settle(node, anna);
    expect(tick(8000)).toEqual([0, 0]);
    expect(tick(2000)).toEqual([0, 1]);
    expect([tick(11_000), tick(60_000)]).toEqual([
      [0, 1],
      [0, 1],
    ]);
  });

  test("an empty packet wants no answer, however long nothing else comes", () => {
    anna.plane.tunnels.keepaliveMs[0] = 25_000;
    expect(tick(24_000)).toEqual([0, 0]);
    expect(tick(1000)).toEqual([1, 0]);
    expect(tick(250)).toEqual([1, 0]);
    expect(tick(20_000)).toEqual([1, 0]);
  });
});
