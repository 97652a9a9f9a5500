/** Super-packets through the whole pipeline: routed once, sealed as many, counted as many, never more than fit. */
import { beforeEach, describe, expect, it } from "vitest";
import { createMemory } from "../../src/dataplane/batch.ts";
import { OUT_BASE, OUT_BYTES, SUPER_HEADER_MAX, SUPER_SEGMENTS_MAX } from "../../src/dataplane/layout.ts";
import { hasRoom } from "../../src/dataplane/stages/emit.ts";
import { MemoryNetwork } from "../../src/drivers/memory_network.ts";
import { parseInner, splitPacket } from "../../src/drivers/twin_split.ts";
import * as satp from "../../src/wire/satp.ts";
import { ACK, PSH, packetOf, payloadOf } from "../offload/packets.ts";
import { Host, packet4, settle } from "./world.ts";

let network: MemoryNetwork;
beforeEach(() => {
  network = new MemoryNetwork();
  network.nowMs = 1000;
});

/** Two ends of one tunnel. */
function pair(more: { seqLimit?: number } = {}) {
  const a = new Host(network, { address: "198.51.100.2" });
  const b = new Host(network, { address: "198.51.100.3" });
  a.tunnel("left", 1, { remote: "198.51.100.3" });
  b.tunnel("right", 1, { remote: "198.51.100.2" });
  if (more.seqLimit !== undefined) a.plane.tunnels.seqLimit[0] = more.seqLimit;
  return { a, b };
}

function give(host: Host, packet: Uint8Array, seg: number): Uint8Array[] {
  const hdr = parseInner(packet)!.headerLen;
  host.io.device!.injectSuper(packet, 0, packet.length, seg, hdr);
  return splitPacket(packet, hdr, seg)!;
}

describe("a super-packet", () => {
  it.each([
    ["IPv4 TCP", {}],
    ["IPv6 TCP", { v6: true }],
    ["IPv4 UDP", { udp: true }],
    ["IPv6 UDP", { v6: true, udp: true }],
  ])("of %s arrives as the packets that it stands for", (_name, kind) => {
    const { a, b } = pair();
    const want = give(a, packetOf({ ...kind, flags: ACK | PSH, payload: payloadOf(60_000) }), 1300);
    settle(a, b);
    expect(b.delivered()).toEqual(want);
    expect([a.count("forwarded"), a.count("sent"), b.count("to_device")]).toEqual([47, 47, 47]);
    expect(a.plane.tunnels.seqNext[0]).toBe(47);
    expect(a.plane.tunnels.txPackets[0]).toBe(47);
    expect(a.plane.tunnels.txBytes[0]).toBe(want.reduce((n, p) => n + p.length, 0));
  });

  it("never takes a sequence number that is not reserved", () => {
    const { a, b } = pair({ seqLimit: 46 });
    give(a, packetOf({ payload: payloadOf(60_000) }), 1300);
    give(a, packetOf({ payload: payloadOf(4000) }), 1300);
    settle(a, b);
    expect([a.count("seq_unreserved"), a.count("sent"), b.delivered().length]).toEqual([47, 4, 4]);
    expect(a.plane.tunnels.seqNext[0]).toBe(4);
  });

  it.each([false, true])("whose segments are too big is answered with one error about one segment (IPv6 %s)", (v6) => {
    const { a, b } = pair();
    a.plane.tunnels.innerMtu[0] = 1300;
    give(a, packetOf({ v6, payload: payloadOf(30_000) }), 1360);
    settle(a, b);
    expect([a.count("too_big"), b.delivered().length]).toEqual([Math.ceil(30_000 / 1360), 0]);
    const [error, ...others] = a.delivered();
    expect(others).toEqual([]);
    const quote = new DataView(error.buffer, v6 ? 48 : 28);
    expect(v6 ? quote.getUint16(4) + 40 : quote.getUint16(2)).toBe(1360 + (v6 ? 60 : 40));
  });

  it("that the network refuses in part is counted in part, and its sender learns the path MTU", () => {
    const { a, b } = pair();
    network.mtuBytes = 1300;
    give(a, packetOf({ payload: payloadOf(3 * 1340 + 500) }), 1340);
    settle(a, b);
    expect([a.count("send_too_big"), a.count("sent"), b.delivered().length]).toEqual([3, 1, 1]);
    expect(a.plane.tunnels.innerMtu[0]).toBe(1300 - 28 - 20);
    expect(a.delivered()).toHaveLength(1);
  });

  it("goes to several receivers, whole to each", () => {
    const node = new Host(network, { address: "192.0.2.1" });
    const clients = [2, 3, 4].map((n) => new Host(network, { address: `198.51.100.${n}` }));
    clients.forEach((client, k) => {
      node.tunnel("left", k, { remote: client.address, routes: [`10.9.0.${k}/32`] });
      client.tunnel("right", k, { remote: "192.0.2.1" });
    });
    const packet = packetOf({ udp: true, payload: payloadOf(5000) });
    packet.set([224, 0, 0, 251], 16);
    const want = give(node, packet, 1000).map((p) => Buffer.from(p).toString("hex"));
    settle(node, ...clients);
    for (const client of clients) {
      expect(client.delivered().map((p) => Buffer.from(p).toString("hex"))).toEqual(want);
    }
  });
});

describe("room in the output area", () => {
  it("is enough for any one packet when the batch is empty", () => {
    const { a } = pair();
    a.plane.begin(0);
    expect(hasRoom(a.plane, 65535, 8, SUPER_HEADER_MAX, 1)).toBe(true);
    expect(SUPER_SEGMENTS_MAX * 8).toBeGreaterThan(65535);
    expect(hasRoom(a.plane, OUT_BYTES, 0, 0, 1)).toBe(false);
  });

  it.each([
    ["IPv4 TCP", {}],
    ["IPv6 TCP", { v6: true }],
    ["IPv4 UDP", { udp: true }],
    ["IPv6 UDP", { v6: true, udp: true }],
    ["IPv6 TCP with options", { v6: true, options: new Uint8Array(40).fill(1) }],
  ])("counts the headers that each segment gets of its own: %s", (_name, kind) => {
    const { plane } = pair().a;
    const TAG_MAX = 20;
    const packet = packetOf({ ...kind, payload: payloadOf(6000) });
    const hdr = parseInner(packet)!.headerLen;
    for (const seg of [8, 500, 1300]) {
      const segments = splitPacket(packet, hdr, seg)!;
      const sealed = segments.reduce((sum, { length }) => sum + satp.HEADER_LEN + satp.TYPE_LEN + length + TAG_MAX, 0);
      for (const copies of [1, 3]) {
        const fits = (free: number) => {
          plane.begin(0);
          plane.outAt = OUT_BASE + OUT_BYTES - free;
          return hasRoom(plane, packet.length, seg, hdr, copies);
        };
        expect(fits(copies * sealed - 1), `${copies} of ${seg}, one byte too few`).toBe(false);
        // The packet's own header is counted once more than needed.
        expect(fits(copies * (sealed + hdr)), `${copies} of ${seg}`).toBe(true);
      }
    }
  });

  it("makes a turn send and go on when one batch of packets does not fit", () => {
    const { a } = pair();
    // Each seals to over 700 KB.
    const want = [1, 2, 3, 4].flatMap((k) => give(a, packetOf({ id: k, payload: payloadOf(60_000, k) }), 8));
    expect(want).toHaveLength(30_000);
    a.turn();
    expect(a.count("sent")).toBe(30_000);
    expect(a.plane.verdicts.slice(5).every((n) => n === 0)).toBe(true);
    expect(a.plane.outAt).toBe(OUT_BASE);
  });

  it("lets no more copies of a flooded packet out than fit, and counts the rest", () => {
    const node = new Host(network, { address: "192.0.2.1", fanoutMax: 64 });
    for (let k = 0; k < 60; k++) node.tunnel("left", k, { remote: `198.51.100.${k + 2}`, routes: [] });
    node.io.device!.inject(packet4("10.9.0.1", "224.0.0.251", 30));
    const packet = packetOf({ udp: true, payload: payloadOf(60_000) });
    packet.set([224, 0, 0, 251], 16);
    give(node, packet, 1000);
    node.turn();
    const copies = Math.floor(OUT_BYTES / (packet.length + 60 * (28 + 30)));
    expect([node.count("sent"), node.count("fanout_limit")]).toEqual([60 + copies * 60, 1]);
    expect(createMemory().output.capacity).toBeGreaterThan(60);
  });
});
