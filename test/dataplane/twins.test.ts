/**
 * Rules that exist once for each family, direction or end: here each twin of a rule whose other half is tested elsewhere.
 * A fault in one half alone must fail a test.
 */
import { beforeEach, describe, expect, it } from "vitest";
import { ALG_AES_256_GCM, SOCK_INDEX_MASK } from "../../src/dataplane/layout.ts";
import { turnKeepalive } from "../../src/dataplane/pipeline.ts";
import { FACT_LOCAL, FACTS, MemoryNetwork } from "../../src/drivers/memory_network.ts";
import { NONE } from "../../src/table/mac.ts";
import { frame, Host, packet4, packet6, settle } from "./world.ts";

let network: MemoryNetwork;
let node: Host;
let a: Host;
let b: Host;

const NODE = "192.0.2.1";
const inner4 = (n: number) => `10.9.0.${n}`;
const inner6 = (n: number) => `2001:db8:9::${n}`;

function world(ethernet = false): void {
  network = new MemoryNetwork();
  network.nowMs = 1000;
  node = new Host(network, { address: NODE, ethernet });
  a = new Host(network, { address: "198.51.100.2", ethernet });
  b = new Host(network, { address: "198.51.100.3", ethernet });
  const routes = (n: number) => (ethernet ? {} : { routes: [`${inner4(n)}/32`, `${inner6(n)}/128`] });
  node.tunnel("left", 1, routes(2));
  node.tunnel("left", 2, routes(3));
  if (!ethernet) node.local(inner4(1), inner6(1));
  a.tunnel("right", 1, { remote: NODE });
  b.tunnel("right", 2, { remote: NODE });
  for (const client of [a, b]) {
    client.plane.tunnels.keepaliveMs[0] = 1;
    turnKeepalive(client.plane, network.nowMs);
    client.plane.tunnels.keepaliveMs[0] = 0;
  }
  settle(node, a, b);
}
beforeEach(() => world());

/** Sets the traffic class of an IPv6 packet. */
function marked6(packet: Uint8Array, trafficClass: number): Uint8Array {
  packet[0] = 0x60 | (trafficClass >> 4);
  packet[1] = ((trafficClass & 15) << 4) | (packet[1]! & 15);
  return packet;
}

const ecnOf = (packet: Uint8Array): number => (packet[0]! >> 4 === 4 ? packet[1]! & 3 : (packet[1]! >> 4) & 3);

describe("congestion marks of the outer header (RFC 6040 section 4.2)", () => {
  /** What comes out of the node's device when a router marks congestion on the way. */
  function through(packet: Uint8Array): Uint8Array[] {
    a.io.device!.inject(packet);
    a.turn();
    const { queue } = network.sockets[0]!;
    queue.facts[5 + 7 * queue.first]! |= 3;
    settle(node, a, b);
    return node.delivered();
  }
  const packetOf = {
    4: (ecn: number) => packet4(inner4(2), inner4(1), 8, { tos: ecn }),
    6: (ecn: number) => marked6(packet6(inner6(2), inner6(1), 8), ecn),
  };

  for (const family of [4, 6] as const) {
    it.each([1, 2, 3])(`IPv${family}: inner mark %d becomes "congestion experienced"`, (ecn) => {
      const out = through(packetOf[family](ecn));
      expect(out.map(ecnOf)).toEqual([3]);
      expect(node.count("inner_ecn")).toBe(0);
    });
    it(`IPv${family}: a packet that does not support marks is dropped and counted`, () => {
      expect(through(packetOf[family](0))).toEqual([]);
      expect(node.count("inner_ecn")).toBe(1);
    });
  }
});

describe("the MSS of a TCP SYN is clamped to what fits", () => {
  const SYN = 2;
  const MSS = 1460;
  /** A SYN with an MSS option and no right checksum, which nobody on the way looks at. */
  function syn(family: 4 | 6, from: number, to: number): Uint8Array {
    const packet = family === 4 ? packet4(inner4(from), inner4(to), 16) : packet6(inner6(from), inner6(to), 16);
    const tcp = family === 4 ? 20 : 40;
    packet[family === 4 ? 9 : 6] = 6;
    packet.fill(0, tcp);
    packet[tcp + 12] = 6 << 4;
    packet[tcp + 13] = SYN;
    packet.set([2, 4, MSS >> 8, MSS & 255], tcp + 20);
    if (family === 4) {
      // The protocol changed: so does the header's checksum.
      packet.fill(0, 10, 12);
      const view = new DataView(packet.buffer);
      let sum = 0;
      for (let i = 0; i < 20; i += 2) sum += view.getUint16(i);
      while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
      view.setUint16(10, ~sum & 0xffff);
    }
    return packet;
  }
  const mssOf = (family: 4 | 6, packet: Uint8Array): number => {
    const at = (family === 4 ? 20 : 40) + 22;
    return (packet[at]! << 8) | packet[at + 1]!;
  };
  const HEADERS = { 4: 40, 6: 60 } as const;
  const cases = ([4, 6] as const).flatMap((family) => [
    { family, narrow: "the sender's", from: 1300, to: 1400 },
    { family, narrow: "the receiver's", from: 1400, to: 1300 },
  ]);

  it.each(cases)("IPv$family, from client to client, $narrow path is the narrower one", ({ family, from, to }) => {
    node.plane.tunnels.innerMtu[0] = from;
    node.plane.tunnels.innerMtu[1] = to;
    a.io.device!.inject(syn(family, 2, 3));
    settle(node, a, b);
    expect(b.delivered().map((packet) => mssOf(family, packet))).toEqual([1300 - HEADERS[family]]);
  });

  it.each([4, 6] as const)("IPv%d, from client to the node", (family) => {
    node.plane.tunnels.innerMtu[0] = 1300;
    a.io.device!.inject(syn(family, 2, 1));
    settle(node, a, b);
    expect(node.delivered().map((packet) => mssOf(family, packet))).toEqual([1300 - HEADERS[family]]);
  });

  it.each([4, 6] as const)("IPv%d, from the node to a client", (family) => {
    node.plane.tunnels.innerMtu[0] = 1300;
    node.io.device!.inject(syn(family, 1, 2));
    settle(node, a, b);
    expect(a.delivered().map((packet) => mssOf(family, packet))).toEqual([1300 - HEADERS[family]]);
  });
});

describe("Ethernet", () => {
  it("never learns a group address as the place of a source, from a tunnel or from the device", () => {
    world(true);
    const GROUP = "030000000007";
    const RIGHT = "020000000003";
    a.io.device!.inject(frame(RIGHT, GROUP));
    settle(node, a, b);
    node.io.device!.inject(frame(RIGHT, GROUP));
    settle(node, a, b);
    expect(node.plane.macs.lookup(0x0300, 7, network.nowMs)).toBe(NONE);
    expect(node.plane.macs.lookup(0x0200, 7, network.nowMs)).toBe(NONE);
    // A source that is one address is learnt.
    a.io.device!.inject(frame(RIGHT, "020000000007"));
    settle(node, a, b);
    expect(node.plane.macs.lookup(0x0200, 7, network.nowMs)).toBe(0);
  });
});

describe("the local address that answers leave from", () => {
  /** As the socket told it with the newest datagram: the second address of the host. */
  const LOCAL = 2 << 8;
  const answer = () => {
    node.io.device!.inject(packet4(inner4(1), inner4(2), 8));
    settle(node, a, b);
  };

  it("is forgotten when the kernel refuses to send from it, and the kernel chooses from then on", () => {
    const { tunnels } = node.plane;
    tunnels.sock[0]! |= LOCAL;
    network.hasRoute = () => false;
    answer();
    expect(node.count("send_unreachable")).toBe(1);
    expect(tunnels.sock[0]! & ~SOCK_INDEX_MASK).toBe(0);
    network.hasRoute = () => true;
    answer();
    expect(a.delivered()).toHaveLength(1);
  });

  it("stays when all went well, and when a packet was only too big", () => {
    const { tunnels } = node.plane;
    tunnels.sock[0]! |= LOCAL;
    answer();
    network.mtuBytes = 60;
    answer();
    expect(node.count("send_too_big")).toBe(1);
    expect(tunnels.sock[0]! & ~SOCK_INDEX_MASK).toBe(LOCAL);
  });

  it("is kept by a node for each client, and never by a client, whose routes may change", () => {
    const key = {
      algorithm: ALG_AES_256_GCM,
      sealKey: new Uint8Array(32).fill(1),
      openKey: new Uint8Array(32).fill(2),
    };
    const other = { ...key, sealKey: key.openKey, openKey: key.sealKey };
    const group = new Host(network, { address: "192.0.2.9", sessions: "node" });
    const client = new Host(network, { address: "198.51.100.9", sessions: "client" });
    const shared = { sessionIndex: 0x1234_0000, receiver: 100, senderId: 5 };
    group.session(0, { ...shared, end: "node", remote: "198.51.100.9", routes: [`${inner4(9)}/32`], key });
    client.session(0, { ...shared, end: "client", remote: "192.0.2.9", key: other });
    client.plane.defaultTunnel = 0;
    group.local(inner4(1));
    /** The datagram that waits at `host` came to its address number 2. */
    const toSecondAddress = (host: Host) => {
      const { queue } = network.sockets.find((socket) => socket.queue.count > 0)!;
      queue.facts[FACTS * queue.first + FACT_LOCAL] = 2;
      settle(host);
    };
    client.io.device!.inject(packet4(inner4(9), inner4(1), 8));
    client.turn();
    toSecondAddress(group);
    expect(group.delivered()).toHaveLength(1);
    expect(group.plane.tunnels.sock[0]! & ~SOCK_INDEX_MASK).toBe(LOCAL);
    group.io.device!.inject(packet4(inner4(1), inner4(9), 8));
    group.turn();
    toSecondAddress(client);
    expect(client.delivered()).toHaveLength(1);
    expect(client.plane.tunnels.sock[0]! & ~SOCK_INDEX_MASK).toBe(0);
  });
});
