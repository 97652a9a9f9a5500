/** Several planes that are one daemon: what one shard learns the others use, and nothing is accepted by two. */

import { beforeEach, describe, expect, it, vi } from "vitest";
import { formatEndpoint, parseAddress, remoteOf } from "../../src/base/ip.ts";
import { createEndpointMemory, EndpointTable } from "../../src/dataplane/endpoints.ts";
import { turnKeepalive } from "../../src/dataplane/pipeline.ts";
import { createSharedMemory, SENDER_ID_END, SHARDS_MAX, senderIdOf } from "../../src/dataplane/shared.ts";
import { createTunnelMemory, TunnelTable } from "../../src/dataplane/tunnels.ts";
import { MemoryNetwork } from "../../src/drivers/memory_network.ts";
import { apply } from "../../src/shard/apply.ts";
import { frame, Host, PORT, packet4, settle } from "./world.ts";

const NODE = "192.0.2.1";
const FIRST = "198.51.100.2";
const LATER = "198.51.100.3";

let network: MemoryNetwork;
/** Number of the shard that the kernel would choose for what arrives next. */
let chosen: number;
/** Every datagram that went to the node. */
let captured: Uint8Array[];

beforeEach(() => {
  network = new MemoryNetwork();
  network.nowMs = 100_000;
  chosen = 0;
  captured = [];
});

/** The shards of one node, with one tunnel each that is the same. */
function node(count: number, more: Parameters<Host["tunnel"]>[2] = {}, ethernet = false): Host[] {
  const tables = Array.from({ length: count }, () => createTunnelMemory(64));
  const shared = createSharedMemory(tables);
  const hosts = tables.map((tunnels, k) => {
    const host = new Host(network, { address: NODE, ethernet, shard: { tunnels, shared: shared[k] } });
    host.tunnel("left", 1, { senderId: senderIdOf(0, k), ...more });
    if (!ethernet) host.local("10.9.0.1");
    return host;
  });
  const sockets = network.sockets.slice(-count);
  const deliver = network.deliver.bind(network);
  network.carries = (_from, to) => !sockets.includes(to) || to === sockets[chosen];
  network.deliver = (from, source, w0, w1, w2, w3, port, bytes, at, len, tos) => {
    if (!sockets.includes(from)) captured.push(bytes.slice(at, at + len));
    return deliver(from, source, w0, w1, w2, w3, port, bytes, at, len, tos);
  };
  return hosts;
}

function client(address: string, more: Parameters<Host["tunnel"]>[2] = {}, ethernet = false): Host {
  const host = new Host(network, { address, ethernet });
  host.tunnel("right", 1, { remote: NODE, ...more });
  return host;
}

/** A stranger at `address` sends bytes that it has seen. */
function sendFrom(address: string, bytes: Uint8Array): void {
  const words = (text: string) => {
    const a = parseAddress(text)!;
    return [a.w0, a.w1, a.w2, a.w3] as const;
  };
  const stranger = new Host(network, { address });
  const socket = network.sockets.at(-1)!;
  network.deliver(socket, words(address), ...words(NODE), PORT, bytes, 0, bytes.length, 0);
  stranger.io.close();
}

function endpointOf(host: Host): string {
  const { addr0, addr1, addr2, addr3, port } = host.plane.tunnels;
  return formatEndpoint(addr0[0], addr1[0], addr2[0], addr3[0], port[0]);
}

const up = (n = 0) => packet4("10.9.0.2", "10.9.0.1", 20 + n);
const down = packet4("10.9.0.1", "10.9.0.2", 30);

it("gives every shard of every node below the limit a sender id of its own", () => {
  const ids = new Set<number>();
  for (const own of [0, 1, 2, SENDER_ID_END - 1]) {
    for (let k = 0; k < SHARDS_MAX; k++) ids.add(senderIdOf(own, k));
  }
  expect(ids.size).toBe(4 * SHARDS_MAX);
  expect(Math.max(...ids)).toBe(65535);
});

describe("endpoints", () => {
  it("are known to all shards when one has learnt them, also after a move", () => {
    const shards = node(3);
    const a = client(FIRST);
    a.io.device!.inject(up());
    settle(a, ...shards);
    expect(shards[0].delivered()).toHaveLength(1);
    shards[2].io.device!.inject(down);
    settle(...shards, a);
    expect(a.delivered()).toEqual([down]);
    const b = client(LATER, { seqNext: 50 });
    chosen = 1;
    b.io.device!.inject(up());
    settle(b, ...shards);
    for (const shard of shards) shard.io.device!.inject(down);
    settle(...shards, a, b);
    expect(b.delivered()).toEqual([down, down, down]);
    expect(a.delivered()).toEqual([]);
    expect(shards.map(endpointOf)).toEqual(Array(3).fill(`${LATER}:${PORT}`));
  });

  it("are not touched while another shard writes them, and read afterwards", () => {
    const memory = createEndpointMemory(4);
    const [writer, reader] = [new EndpointTable(memory), new EndpointTable(memory)];
    const tunnels = new TunnelTable(createTunnelMemory(4));
    expect([reader.hasNews(), reader.takeOver(2, tunnels)]).toEqual([false, false]);
    expect(writer.publish(2, 1, 2, 3, 4, 5, 6)).toBe(true);
    // As the writer leaves the row in the middle of its work: eight integers a row, the version first.
    const versions = new Int32Array(memory.rows);
    versions[16]++;
    expect([reader.hasNews(), reader.takeOver(2, tunnels), tunnels.known[2]]).toEqual([true, false, 0]);
    expect(reader.publish(2, 9, 9, 9, 9, 9, 9)).toBe(false);
    versions[16]++;
    expect([reader.takeOver(2, tunnels), reader.takeOver(2, tunnels), reader.hasNews()]).toEqual([true, false, false]);
    const { addr0, addr1, addr2, addr3, port, sock } = tunnels;
    expect([addr0, addr1, addr2, addr3, port, sock].map((column) => column[2])).toEqual([1, 2, 3, 4, 5, 6]);
  });

  /** Has another shard act at the moment of this table's `n`th look at a version, after `n` - 1 of them. */
  function beforeLook(n: number, act: () => void): void {
    const { load } = Atomics;
    let looks = 0;
    const spy = vi.spyOn(Atomics, "load").mockImplementation(((array: Int32Array, at: number) => {
      if (++looks === n) {
        spy.mockRestore();
        act();
      }
      return load(array, at);
    }) as typeof Atomics.load);
  }

  it.each([
    ["a whole row", (writer: EndpointTable) => void writer.publish(2, 9, 9, 9, 9, 9, 9), true],
    ["the beginning of a row", (_: EndpointTable, versions: Int32Array) => void versions[16]++, false],
  ])("are not taken over half when another shard writes %s while they are read", (_what, write, isWhole) => {
    const memory = createEndpointMemory(4);
    const [writer, reader] = [new EndpointTable(memory), new EndpointTable(memory)];
    const versions = new Int32Array(memory.rows);
    const tunnels = new TunnelTable(createTunnelMemory(4));
    writer.publish(2, 1, 2, 3, 4, 5, 6);
    beforeLook(2, () => write(writer, versions));
    expect([reader.takeOver(2, tunnels), tunnels.known[2]]).toEqual([false, 0]);
    // The next look finds all of it, as soon as it is written.
    expect(reader.takeOver(2, tunnels)).toBe(isWhole);
    if (isWhole) expect([tunnels.addr0[2], tunnels.sock[2]]).toEqual([9, 9]);
  });

  it("of two shards that publish at once one gives up and changes nothing", () => {
    const memory = createEndpointMemory(4);
    const [first, second, reader] = [1, 2, 3].map(() => new EndpointTable(memory));
    const tunnels = new TunnelTable(createTunnelMemory(4));
    const { compareExchange } = Atomics;
    const spy = vi.spyOn(Atomics, "compareExchange").mockImplementation(((
      ...args: [Int32Array, number, number, number]
    ) => {
      spy.mockRestore();
      expect(first.publish(2, 1, 2, 3, 4, 5, 6)).toBe(true);
      return compareExchange(...args);
    }) as typeof Atomics.compareExchange);
    expect(second.publish(2, 9, 9, 9, 9, 9, 9)).toBe(false);
    expect(reader.takeOver(2, tunnels)).toBe(true);
    expect([tunnels.addr0[2], tunnels.addr3[2], tunnels.sock[2]]).toEqual([1, 4, 6]);
  });

  it("of a tunnel that is configured are set by the first shard for all", () => {
    const shards = node(2);
    const a = client(FIRST);
    const { w0, w1, w2, w3 } = parseAddress(FIRST)!;
    const endpoint = remoteOf([w0, w1, w2, w3], PORT, 0);
    apply(shards[0].plane, { kind: "endpoint", index: 0, endpoint });
    shards[1].io.device!.inject(down);
    settle(...shards, a);
    expect(a.delivered()).toEqual([down]);
  });

  it("are taken over by a tunnel that is added after they were learnt", () => {
    const tables = [createTunnelMemory(64), createTunnelMemory(64)];
    const shared = createSharedMemory(tables);
    const shards = tables.map(
      (tunnels, k) => new Host(network, { address: NODE, shard: { tunnels, shared: shared[k] } }),
    );
    const a = client(FIRST);
    shards[0].tunnel("left", 1, { senderId: 1 });
    shards[0].local("10.9.0.1");
    a.io.device!.inject(up());
    settle(a, shards[0]);
    turnKeepalive(shards[1].plane, network.nowMs);
    shards[1].tunnel("left", 1, { senderId: 2 });
    shards[1].io.device!.inject(down);
    settle(shards[1], a);
    expect(a.delivered()).toEqual([down]);
  });

  it("without authentication are kept while another shard hears the peer", () => {
    const shards = node(2, { tagLen: 0 });
    const a = client(FIRST, { tagLen: 0 });
    const b = client(LATER, { tagLen: 0, seqNext: 1000 });
    a.io.device!.inject(up());
    settle(a, ...shards);
    chosen = 1;
    for (const [waitMs, where] of [
      [1000, FIRST],
      [29_000, FIRST],
      [60_001, LATER],
    ] as const) {
      network.nowMs += waitMs;
      b.io.device!.inject(up());
      settle(b, ...shards);
      // The turn in which the other shard notices.
      for (const shard of shards) turnKeepalive(shard.plane, network.nowMs);
      expect(shards.map(endpointOf)).toEqual([`${where}:${PORT}`, `${where}:${PORT}`]);
      if (where === FIRST) {
        chosen = 0;
        a.io.device!.inject(up());
        settle(a, ...shards);
        chosen = 1;
      }
    }
  });
});

describe("a copy", () => {
  it.each([64, 2048])("that meets another shard is refused and moves nothing, window %d", (window) => {
    const shards = node(3, { window });
    const a = client(FIRST);
    for (let n = 0; n < 100; n++) a.io.device!.inject(up(n));
    settle(a, ...shards);
    expect(shards[0].delivered()).toHaveLength(100);
    const copies = captured.splice(0);
    for (chosen = 0; chosen < 3; chosen++) {
      for (const bytes of copies) sendFrom(LATER, bytes);
      settle(...shards);
    }
    expect(shards.flatMap((shard) => shard.delivered())).toEqual([]);
    expect(shards.map((s) => s.count("replay_duplicate") + s.count("replay_old"))).toEqual([100, 100, 100]);
    for (const shard of shards) turnKeepalive(shard.plane, network.nowMs);
    expect(shards.map(endpointOf)).toEqual(Array(3).fill(`${FIRST}:${PORT}`));
  });

  it("without a replay window is delivered but moves nothing", () => {
    const shards = node(2, { window: 0 });
    const a = client(FIRST, { seqNext: 500 });
    for (let n = 0; n < 5; n++) a.io.device!.inject(up(n));
    settle(a, ...shards);
    chosen = 1;
    for (const bytes of captured.splice(0)) sendFrom(LATER, bytes);
    settle(...shards);
    expect(shards[1].delivered()).toHaveLength(5);
    shards[1].io.device!.inject(down);
    settle(...shards, a);
    expect(a.delivered()).toEqual([down]);
  });

  it("of an earlier life is refused by all after the peer restarted at another shard", () => {
    const shards = node(2);
    const a = client(FIRST);
    for (let n = 0; n < 80; n++) a.io.device!.inject(up(n));
    settle(a, ...shards);
    const old = captured.splice(0);
    network.nowMs += 1000;
    chosen = 1;
    const again = client(LATER);
    // Other bytes than in the first life, as a restarted program would have.
    again.io.device!.inject(up(7));
    settle(again, ...shards);
    expect(shards.map((shard) => shard.delivered().length)).toEqual([80, 1]);
    expect(endpointOf(shards[1])).toBe(`${LATER}:${PORT}`);
    network.nowMs += 1000;
    for (chosen = 0; chosen < 2; chosen++) {
      for (const bytes of old.slice(0, 30)) sendFrom(FIRST, bytes);
      settle(...shards);
    }
    expect(shards.flatMap((shard) => shard.delivered())).toEqual([]);
    turnKeepalive(shards[0].plane, network.nowMs);
    expect(shards.map(endpointOf)).toEqual([`${LATER}:${PORT}`, `${LATER}:${PORT}`]);
    // The refused attempts hold nobody up.
    again.io.device!.inject(up(8));
    for (chosen = 0; chosen < 2; chosen++) settle(again, ...shards);
    expect(shards.map((shard) => shard.delivered().length)).toEqual([1, 0]);
  });
});

it("keepalives come from one shard, and only when all were silent", () => {
  const shards = node(3, { keepaliveMs: 1000 });
  const a = client(FIRST);
  a.io.device!.inject(up());
  settle(a, ...shards);
  const tick = () => {
    for (const shard of shards.toReversed()) turnKeepalive(shard.plane, network.nowMs);
    settle(...shards, a);
    return shards.map((shard) => shard.count("sent"));
  };
  expect(tick()).toEqual([1, 0, 0]);
  network.nowMs += 600;
  shards[2].io.device!.inject(down);
  settle(...shards, a);
  network.nowMs += 600;
  expect(tick()).toEqual([1, 0, 1]);
  network.nowMs += 600;
  expect(tick()).toEqual([2, 0, 1]);
});

it("a MAC address that one shard learnt ends the floods of the others, and a move is heard of at once", () => {
  const shards = node(2, {}, true);
  shards.forEach((shard, k) => {
    shard.tunnel("left", 2, { senderId: senderIdOf(0, k) });
  });
  const a = client(FIRST, {}, true);
  const b = client(LATER, { mux: 2 }, true);
  const mac = "02000000000a";
  const talk = (host: Host, shard: number) => {
    chosen = shard;
    host.io.device!.inject(frame("ffffffffffff", mac));
    settle(a, b, ...shards);
    for (const other of [a, b, ...shards]) other.delivered();
  };
  const passOn = () => {
    for (const from of shards) {
      const words = from.plane.macNews!.drain();
      for (const to of shards) if (to !== from && words.length > 0) apply(to.plane, { kind: "macs", words });
    }
  };
  /** Whom a frame for the address reaches that the host gives to a shard. */
  const reached = (shard: number) => {
    shards[shard].io.device!.inject(frame(mac, "020000000001"));
    settle(...shards, a, b);
    return [a.delivered().length, b.delivered().length];
  };
  // Both clients are known, the address is not.
  talk(a, 0);
  b.io.device!.inject(frame("ffffffffffff", "02000000000b"));
  settle(a, b, ...shards);
  for (const other of [a, b, ...shards]) other.delivered();
  expect(reached(1)).toEqual([1, 1]);
  passOn();
  expect(reached(1)).toEqual([1, 0]);
  talk(b, 1);
  passOn();
  expect(reached(0)).toEqual([0, 1]);
  talk(a, 0);
  passOn();
  expect(reached(1)).toEqual([1, 0]);
  // A host that goes on talking is named once in a while, not with every frame.
  for (let i = 0; i < 50; i++) talk(a, 0);
  expect(shards[0].plane.macNews!.count).toBe(0);
  network.nowMs += 61_000;
  for (let i = 0; i < 50; i++) talk(a, 0);
  expect(shards[0].plane.macNews!.count).toBe(1);
});
