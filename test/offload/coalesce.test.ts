/**
 * Merging for the device: the addon writes the very frames that the twin says, splitting them gives back every packet,
 * and what must not be merged is not.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createMemory } from "../../src/dataplane/batch.ts";
import { OUT_BASE, READ_BASE } from "../../src/dataplane/layout.ts";
import { TO_DEVICE } from "../../src/dataplane/verdict.ts";
import { loadAddon } from "../../src/drivers/native.ts";
import { coalesce, type Frame, packetsOfFrame } from "../../src/drivers/twin_coalesce.ts";
import { parseInner, splitPacket, viewOf } from "../../src/drivers/twin_split.ts";
import { ACK, CWR, ECE, FIN, PSH, packetOf, payloadOf, RST, SYN, timestamp, traffic, URG } from "./packets.ts";

const memory = createMemory();
const addon = loadAddon();
addon.bind(memory.slab, memory.input.columns, memory.output.columns, new Float64Array(1));

const VNET_HEADER = 10;
const NEEDS_CSUM = 1;
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const both = { tcp: true, udp: true };

/** What the addon writes of `packets`: each frame with its virtio_net_hdr, little endian. */
function nativeFrames(packets: readonly Uint8Array[], udp = true): { header: DataView; packet: Uint8Array }[] {
  const { input, slab } = memory;
  let at = READ_BASE;
  packets.forEach((packet, i) => {
    slab.set(packet, at);
    input.at[i] = at;
    input.len[i] = packet.length;
    input.verdict[i] = TO_DEVICE;
    at += packet.length;
  });
  const used = addon.framesOf(packets.length, udp);
  expect([...input.verdict.subarray(0, packets.length)].every((v) => v === TO_DEVICE)).toBe(true);
  const frames = [];
  for (let from = OUT_BASE; from < OUT_BASE + used; ) {
    const len = memory.view.getUint32(from, true);
    const frame = slab.slice(from + 4, from + 4 + len);
    frames.push({ header: viewOf(frame), packet: frame.subarray(VNET_HEADER) });
    from += 4 + len;
  }
  return frames;
}

/** The virtio_net_hdr of a frame of the twin, as hex. */
function headerOf(frame: Frame): string {
  const view = new DataView(new ArrayBuffer(VNET_HEADER));
  const inner = parseInner(frame.packet);
  if (frame.seg > 0 && inner !== undefined) {
    const tcp = inner.protocol === 6;
    view.setUint8(0, NEEDS_CSUM);
    view.setUint8(1, !tcp ? 5 : inner.v6 ? 4 : 1);
    view.setUint16(2, frame.headerLen, true);
    view.setUint16(4, frame.seg, true);
    view.setUint16(6, inner.ipLen, true);
    view.setUint16(8, tcp ? 16 : 6, true);
  }
  return hex(new Uint8Array(view.buffer));
}

/** Addresses, protocol and ports, or "other": what order is kept within. */
function flowOf(packet: Uint8Array): string {
  const inner = parseInner(packet);
  if (inner === undefined) return "other";
  return hex(packet.subarray(inner.v6 ? 8 : 12, inner.ipLen + 4)) + inner.protocol;
}

function byFlow(packets: readonly Uint8Array[]): Map<string, string[]> {
  const flows = new Map<string, string[]>();
  for (const packet of packets) flows.set(flowOf(packet), [...(flows.get(flowOf(packet)) ?? []), hex(packet)]);
  return flows;
}

describe("random traffic", () => {
  test("splitting what was merged gives every packet back, in order within its flow", () => {
    fc.assert(
      fc.property(traffic, (packets) => {
        const again = coalesce(packets, both).flatMap(packetsOfFrame);
        expect(byFlow(again)).toEqual(byFlow(packets));
      }),
      { numRuns: 300 },
    );
  });

  test("the addon writes what the twin says, byte for byte", () => {
    fc.assert(
      fc.property(traffic, fc.boolean(), (packets, udp) => {
        const want = coalesce(packets, { tcp: true, udp });
        const got = nativeFrames(packets, udp);
        expect(got.map((f) => hex(new Uint8Array(f.header.buffer, f.header.byteOffset, VNET_HEADER)))).toEqual(
          want.map(headerOf),
        );
        expect(got.map((f) => hex(f.packet))).toEqual(want.map((f) => hex(f.packet)));
      }),
      { numRuns: 300 },
    );
  });

  test("packets that the kernel would hand over as one come out as one", () => {
    for (const v6 of [false, true]) {
      for (const udp of [false, true]) {
        const whole = packetOf({ v6, udp, id: 65500, seq: 0xffffff00, flags: ACK | PSH, payload: payloadOf(4321) });
        const headerLen = parseInner(whole)!.headerLen;
        const packets = splitPacket(whole, headerLen, 100)!;
        expect(packets).toHaveLength(44);
        const frames = nativeFrames(packets);
        expect(frames).toHaveLength(1);
        expect(packetsOfFrame(coalesce(packets, both)[0]).map(hex)).toEqual(packets.map(hex));
        expect(splitPacket(frames[0].packet, headerLen, frames[0].header.getUint16(4, true))!.map(hex)).toEqual(
          packets.map(hex),
        );
      }
    }
  });
});

describe("two packets that look like neighbours", () => {
  const first = { flags: ACK, id: 10, seq: 1000, payload: payloadOf(100) };
  const second = { flags: ACK, id: 11, seq: 1100, payload: payloadOf(100, 2) };
  const frames = (a: Uint8Array, b: Uint8Array) => [coalesce([a, b], both).length, nativeFrames([a, b]).length];

  test("are merged", () => {
    for (const v6 of [false, true]) {
      expect(frames(packetOf({ v6, ...first }), packetOf({ v6, ...second }))).toEqual([1, 1]);
      expect(frames(packetOf({ v6, udp: true, ...first }), packetOf({ v6, udp: true, ...second }))).toEqual([1, 1]);
    }
    expect(frames(packetOf({ ...first, flags: ACK | ECE }), packetOf({ ...second, flags: ACK | ECE }))).toEqual([1, 1]);
    expect(frames(packetOf(first), packetOf({ ...second, flags: ACK | PSH }))).toEqual([1, 1]);
    const stamped = { options: timestamp(5) };
    expect(frames(packetOf({ ...first, ...stamped }), packetOf({ ...second, ...stamped }))).toEqual([1, 1]);
  });

  test.each([
    ["FIN", { flags: ACK | FIN }],
    ["SYN", { flags: ACK | SYN }],
    ["RST", { flags: ACK | RST }],
    ["URG", { flags: ACK | URG }],
    ["CWR", { flags: ACK | CWR }],
    ["a change of ECE", { flags: ACK | ECE }],
    ["no ACK", { flags: 0 }],
    ["a gap", { seq: 1101 }],
    ["an overlap", { seq: 1099 }],
    ["another acknowledgment", { ack: 8 }],
    ["another window", { window: 501 }],
    ["another option", { options: timestamp(1) }],
    ["another identification", { id: 12 }],
    ["the same identification", { id: 10 }],
    ["another TTL", { ttl: 63 }],
    ["another ECN mark", { tos: 3 }],
    ["another DSCP", { tos: 0x20 }],
    ["another DF", { df: false }],
    ["a longer payload", { payload: payloadOf(101) }],
    ["no payload", { payload: payloadOf(0) }],
    ["another port", { flow: 1 }],
  ])("are not merged across %s", (_name, change) => {
    expect(frames(packetOf(first), packetOf({ ...second, ...change }))).toEqual([2, 2]);
  });

  test("are not merged when either checksum is wrong", () => {
    for (const [a, b] of [
      [1, 0],
      [0, 1],
    ]) {
      for (const at of [10, 36, 60]) {
        const packets = [packetOf(first), packetOf(second)];
        packets[0][at] ^= a;
        packets[1][at] ^= b;
        expect(frames(packets[0], packets[1])).toEqual([2, 2]);
      }
    }
  });

  test("are not merged behind a pushed or a short one", () => {
    expect(frames(packetOf({ ...first, flags: ACK | PSH }), packetOf(second))).toEqual([2, 2]);
    const third = packetOf({ ...second, id: 12, seq: 1150 });
    const short = packetOf({ ...second, payload: payloadOf(50) });
    expect(nativeFrames([packetOf(first), short, third]).map((f) => f.packet.length)).toEqual([190, 140]);
  });

  test("stop at 64 segments and at 65535 bytes", () => {
    const many = (n: number, size: number) =>
      Array.from({ length: n }, (_, k) => packetOf({ id: k, seq: k * size, payload: payloadOf(size, k) }));
    expect(nativeFrames(many(65, 10)).map((f) => f.packet.length)).toEqual([40 + 640, 50]);
    expect(nativeFrames(many(50, 1400)).map((f) => f.packet.length)).toEqual([40 + 46 * 1400, 40 + 4 * 1400]);
  });
});
