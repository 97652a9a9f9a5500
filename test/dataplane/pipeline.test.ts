import { beforeEach, describe, expect, it } from "vitest";
import { turnKeepalive } from "../../src/dataplane/pipeline.ts";
import { MemoryNetwork } from "../../src/drivers/memory_network.ts";
import { apply } from "../../src/shard/apply.ts";
import { frame, Host, packet4, packet6, settle } from "./world.ts";

let network: MemoryNetwork;
beforeEach(() => {
  network = new MemoryNetwork();
  network.nowMs = 1000;
});

/** A node with two clients that each own prefixes. */
function star(ethernet = false) {
  const node = new Host(network, { address: "192.0.2.1", ethernet, floodPps: 100 });
  const a = new Host(network, { address: "198.51.100.2", ethernet });
  const b = new Host(network, { address: "198.51.100.3", ethernet });
  const routes = (n: number) => (ethernet ? {} : { routes: [`10.9.0.${n}/32`, `2001:db8:9::${n}/128`] });
  node.tunnel("left", 1, routes(2));
  node.tunnel("left", 2, routes(3));
  if (!ethernet) node.local("10.9.0.1", "2001:db8:9::1");
  a.tunnel("right", 1, { remote: "192.0.2.1" });
  b.tunnel("right", 2, { remote: "192.0.2.1" });
  // Keepalives make the clients known.
  for (const client of [a, b]) {
    client.plane.tunnels.keepaliveMs[0] = 1;
    turnKeepalive(client.plane, network.nowMs);
    client.plane.tunnels.keepaliveMs[0] = 0;
  }
  settle(node, a, b);
  return { node, a, b };
}

describe("tunnel mode", () => {
  it("learns clients from empty authenticated packets", () => {
    const { node } = star();
    expect(node.count("empty")).toBe(2);
    expect([...node.plane.tunnels.known.slice(0, 2)]).toEqual([1, 1]);
  });

  it("routes between clients, to the node and back, IPv4 and IPv6, bytes unchanged", () => {
    const { node, a, b } = star();
    const there = [packet4("10.9.0.2", "10.9.0.3", 100), packet6("2001:db8:9::2", "2001:db8:9::3", 700)];
    for (const p of there) a.io.device!.inject(p);
    settle(node, a, b);
    expect(b.delivered()).toEqual(there);
    expect(node.delivered()).toEqual([]);
    const toNode = packet4("10.9.0.2", "10.9.0.1", 1);
    a.io.device!.inject(toNode);
    settle(node, a, b);
    expect(node.delivered()).toEqual([toNode]);
    const back = packet6("2001:db8:9::1", "2001:db8:9::2", 9);
    node.io.device!.inject(back);
    settle(node, a, b);
    expect(a.delivered()).toEqual([back]);
  });

  it("hands what no client owns to the node's kernel, and drops what comes from there without a route", () => {
    const { node, a, b } = star();
    const out = packet4("10.9.0.2", "203.0.113.9", 20);
    a.io.device!.inject(out);
    settle(node, a, b);
    expect(node.delivered()).toEqual([out]);
    node.io.device!.inject(packet4("203.0.113.9", "10.9.0.77", 20));
    settle(node, a, b);
    expect(node.count("no_route")).toBe(1);
  });

  it("refuses inner sources that belong to somebody else", () => {
    const { node, a, b } = star();
    a.io.device!.inject(packet4("10.9.0.3", "10.9.0.1", 20));
    a.io.device!.inject(packet6("2001:db8:9::3", "2001:db8:9::1", 20));
    settle(node, a, b);
    expect(node.count("inner_source")).toBe(2);
    expect(node.delivered()).toEqual([]);
  });

  it("copies multicast and broadcast to every other client and the node", () => {
    const { node, a, b } = star();
    for (const dst of ["224.0.0.251", "255.255.255.255"]) a.io.device!.inject(packet4("10.9.0.2", dst, 30));
    a.io.device!.inject(packet6("2001:db8:9::2", "ff02::fb", 30));
    settle(node, a, b);
    expect(b.delivered().length).toBe(3);
    expect(node.delivered().length).toBe(3);
    expect(a.delivered().length).toBe(0);
  });

  it("limits what one client may flood", () => {
    const { node, a, b } = star();
    for (let i = 0; i < 200; i++) a.io.device!.inject(packet4("10.9.0.2", "224.0.0.251", 30));
    settle(node, a, b);
    expect(b.delivered().length).toBe(100);
  });

  it("counts the copies that floods cause, not the floods: 40 receivers do not make them 40 times as many", () => {
    const { node, a } = star();
    for (let k = 0; k < 39; k++) node.tunnel("left", 10 + k, { remote: `203.0.113.${k + 1}`, routes: [] });
    const before = node.count("sent");
    for (let i = 0; i < 200; i++) a.io.device!.inject(packet4("10.9.0.2", "255.255.255.255", 30));
    settle(node, a);
    // 100 a second, and no time goes by.
    expect(node.count("sent") - before).toBe(100);
    // Two whole floods, a part of the third, nothing of the other 197.
    expect(node.count("flood_limit")).toBe(198);
    network.nowMs += 500;
    a.io.device!.inject(packet4("10.9.0.2", "255.255.255.255", 30));
    settle(node, a);
    expect(node.count("sent") - before).toBe(100 + 40);
  });

  it("gives every receiver the same share when floods are cut short", () => {
    const node = new Host(network, { address: "192.0.2.1", fanoutMax: 3 });
    for (let k = 0; k < 7; k++) node.tunnel("left", k, { remote: `198.51.100.${k + 2}`, routes: [] });
    for (let i = 0; i < 14; i++) node.io.device!.inject(packet4("10.9.0.1", "224.0.0.251", 30));
    settle(node);
    expect([...node.plane.tunnels.txPackets.slice(0, 7)]).toEqual(Array(7).fill(6));
  });

  it("does not send a packet back into its own tunnel", () => {
    const { node, a, b } = star();
    a.io.device!.inject(packet4("10.9.0.2", "10.9.0.2", 20));
    settle(node, a, b);
    expect(node.count("route_back")).toBe(1);
  });

  it("tells both sides about packets that are too big, and clamps MSS to what fits", () => {
    const { node, a, b } = star();
    node.plane.tunnels.innerMtu[1] = 1000;
    a.io.device!.inject(packet4("10.9.0.2", "10.9.0.3", 1200));
    a.io.device!.inject(packet6("2001:db8:9::2", "2001:db8:9::3", 1200));
    settle(node, a, b);
    expect(node.count("too_big")).toBe(2);
    const [v4, v6] = a.delivered();
    expect([v4[9], v4[20], v4[21], (v4[26] << 8) | v4[27]]).toEqual([1, 3, 4, 1000]);
    expect([v6[6], v6[40], v6[41]]).toEqual([58, 2, 0]);
    expect(new DataView(v6.buffer, v6.byteOffset).getUint32(44)).toBe(1000);
    // DF off: passes, the outer packet is fragmented.
    a.io.device!.inject(packet4("10.9.0.2", "10.9.0.3", 1200, { df: false }));
    settle(node, a, b);
    expect(b.delivered().length).toBe(1);
  });

  it("learns the path MTU when the kernel refuses, and tells the sender", () => {
    const { node, a, b } = star();
    network.mtuBytes = 1300;
    a.io.device!.inject(packet4("10.9.0.2", "10.9.0.3", 1372));
    settle(node, a, b);
    expect(a.count("send_too_big")).toBe(1);
    const [error] = a.delivered();
    expect((error[26] << 8) | error[27]).toBe(1300 - 20 - 8 - 8 - 2 - 10);
    expect(a.plane.tunnels.innerMtu[0]).toBe(1252);
  });

  it("carries congestion marks as RFC 6040 says", () => {
    const { node, a, b } = star();
    a.io.device!.inject(packet4("10.9.0.2", "10.9.0.1", 8, { tos: 2 }));
    a.turn();
    // A router on the way marks congestion.
    const queue = network.sockets[0].queue;
    queue.facts[5 + 7 * queue.first] |= 3;
    settle(node, a, b);
    expect(node.delivered()[0][1]).toBe(3);
    a.io.device!.inject(packet4("10.9.0.2", "10.9.0.1", 8));
    a.turn();
    queue.facts[5 + 7 * queue.first] |= 3;
    settle(node, a, b);
    expect(node.count("inner_ecn")).toBe(1);
  });

  it("forgets a removed tunnel at once", () => {
    const { node, a, b } = star();
    apply(node.plane, {
      kind: "remove",
      index: 1,
      routes: [{ family: 4, w0: 0, w1: 0, w2: 0xffff, w3: 0x0a090003, length: 32 }],
    });
    b.io.device!.inject(packet4("10.9.0.3", "10.9.0.2", 8));
    a.io.device!.inject(packet4("10.9.0.2", "10.9.0.3", 8));
    settle(node, a, b);
    expect(node.count("mux_unknown")).toBe(1);
    expect(a.delivered()).toEqual([]);
    expect(node.delivered().length).toBe(1); // no client owns it any more: the node's kernel decides
  });
});

describe("hostile datagrams", () => {
  it("counts each by its reason and changes nothing", () => {
    const { node, a, b } = star();
    const before = node.plane.tunnels.port[0];
    const stranger = new Host(network, { address: "203.0.113.66" });
    stranger.tunnel("right", 1, { remote: "192.0.2.1", passphrase: "wrong" });
    stranger.tunnel("left", 1, { remote: "192.0.2.1" });
    stranger.tunnel("right", 1, { remote: "192.0.2.1", tagLen: 4 });
    stranger.tunnel("right", 99, { remote: "192.0.2.1" });
    for (let t = 0; t < 4; t++) {
      stranger.plane.defaultTunnel = t;
      stranger.plane.tunnels.seqNext[t] = 1000 + t; // past the window, or it would count as a replay
      stranger.io.device!.inject(packet4("10.9.0.2", "10.9.0.1", 64));
      stranger.turn();
    }
    settle(node, a, b);
    expect(node.count("auth_failed")).toBe(1);
    expect(node.count("auth_equal_roles")).toBe(1);
    expect(node.count("auth_tag_length")).toBe(1);
    expect(node.count("mux_unknown")).toBe(1);
    expect(node.delivered()).toEqual([]);
    expect(node.plane.tunnels.addr3[0]).toBe(0xc6336402 | 0);
    expect(node.plane.tunnels.port[0]).toBe(before);
  });

  it("drops replays, wherever they come from, and does not move the endpoint", () => {
    const { node, a, b } = star();
    a.io.device!.inject(packet4("10.9.0.2", "10.9.0.1", 64));
    a.turn();
    const queue = network.sockets[0].queue;
    const slot = queue.first;
    const copy = queue.bytes.slice(slot * 2048, slot * 2048 + queue.len[slot]);
    settle(node, a, b);
    const again = queue.push(copy, 0, copy.length);
    queue.facts.fill(0, again * 7, again * 7 + 7);
    queue.facts[again * 7 + 2] = 0xffff;
    queue.facts[again * 7 + 3] = 0xcb007142 | 0; // 203.0.113.66
    queue.facts[again * 7 + 4] = 5;
    settle(node, a, b);
    expect(node.count("replay_duplicate")).toBe(1);
    expect(node.delivered().length).toBe(1);
    expect(node.plane.tunnels.addr3[0]).toBe(0xc6336402 | 0);
  });

  it("lets a peer that restarts at 0 back in", () => {
    const { node, a, b } = star();
    for (let i = 0; i < 300; i++) a.io.device!.inject(packet4("10.9.0.2", "10.9.0.1", 64));
    settle(node, a, b);
    expect(node.delivered().length).toBe(300);
    network.nowMs += 1000;
    a.plane.tunnels.seqNext[0] = 0;
    for (let i = 0; i < 5; i++) a.io.device!.inject(packet4("10.9.0.2", "10.9.0.1", 10 + i));
    settle(node, a, b);
    expect(node.delivered().length).toBe(5);
  });

  it("never seals past the numbers that are on disk", () => {
    const { node, a, b } = star();
    a.plane.tunnels.seqLimit[0] = a.plane.tunnels.seqNext[0] + 3;
    for (let i = 0; i < 5; i++) a.io.device!.inject(packet4("10.9.0.2", "10.9.0.1", 64));
    settle(node, a, b);
    expect(node.delivered().length).toBe(3);
    expect(a.count("seq_unreserved")).toBe(2);
    a.plane.tunnels.seqNext[0] = 2 ** 32;
    a.plane.tunnels.seqLimit[0] = 2 ** 32;
    a.io.device!.inject(packet4("10.9.0.2", "10.9.0.1", 64));
    settle(node, a, b);
    expect(a.count("seq_exhausted")).toBe(1);
  });
});

describe("Ethernet", () => {
  const A = "020000000002";
  const B = "020000000003";
  const N = "020000000001";
  const ALL = "ffffffffffff";

  it("floods the unknown, then knows, and never sends a frame back", () => {
    const { node, a, b } = star(true);
    a.io.device!.inject(frame(ALL, A));
    settle(node, a, b);
    expect([node.delivered().length, b.delivered().length]).toEqual([1, 1]);
    b.io.device!.inject(frame(A, B));
    settle(node, a, b);
    expect([node.delivered().length, a.delivered().length]).toEqual([0, 1]);
    node.io.device!.inject(frame(B, N));
    settle(node, a, b);
    expect([a.delivered().length, b.delivered().length]).toEqual([0, 1]);
    a.io.device!.inject(frame(A, "020000000009"));
    settle(node, a, b);
    expect(a.count("route_back")).toBe(1);
  });

  it("bounds flooding by rate", () => {
    const { node, a, b } = star(true);
    for (let i = 0; i < 300; i++) a.io.device!.inject(frame(ALL, A));
    settle(node, a, b);
    expect(b.delivered().length).toBe(100);
  });
});
