import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as icmp from "../../src/wire/icmp.ts";
import * as ipv4 from "../../src/wire/ipv4.ts";
import * as ipv6 from "../../src/wire/ipv6.ts";
import { doc6, hex, octets, onesSum, packet4, packet6, slab } from "./packet.ts";

const FROM = 2049;
const ROUTER4 = 0xcb007101; // 203.0.113.1
const ROUTER6 = [0x20010db8, 0, 0, 0xffffffff | 0] as const;

function answer4(packet: readonly number[], at: number, mtu = 1400): { length: number; view: DataView } {
  const view = slab(packet, FROM);
  return { length: icmp.writeFragmentationNeeded(view, at, FROM, packet.length, mtu, ROUTER4), view };
}

function answer6(packet: readonly number[], at: number, mtu = 1400): { length: number; view: DataView } {
  const view = slab(packet, FROM);
  return { length: icmp.writePacketTooBig(view, at, FROM, packet.length, mtu, ...ROUTER6), view };
}

const filler = (n: number) => Array.from({ length: n }, (_, i) => (7 * i) & 255);

describe("writeFragmentationNeeded", () => {
  it("quotes a short packet whole", () => {
    const packet = packet4({ payload: filler(33) });
    const { length, view } = answer4(packet, 9);
    expect(length).toBe(20 + 8 + 53);
    expect(ipv4.check(view, 9, 9 + length)).toBe(20);
    expect(onesSum(octets(view, 9, 29))).toBe(0xffff);
    expect(onesSum(octets(view, 29, 9 + length))).toBe(0xffff);
    // Precedence 6, DF, TTL 64, ICMP; from the router to the sender.
    expect(hex(view, 9, 19)).toBe("45c0005100004000" + "4001");
    expect(hex(view, 21, 29)).toBe("cb007101c0000201");
    expect([icmp.type(view, 29), icmp.code(view, 29)]).toEqual([3, 4]);
    expect(hex(view, 33, 37)).toBe("00000578");
    expect(octets(view, 37, 9 + length)).toEqual(packet);
    expect(view.getUint8(8)).toBe(0xa5);
    expect(view.getUint8(9 + length)).toBe(0xa5);
  });

  it("quotes at most what makes 576 bytes", () => {
    const packet = packet4({ options: [1, 1, 1, 1], payload: filler(1400) });
    const { length, view } = answer4(packet, 0);
    expect(length).toBe(576);
    expect(octets(view, 28, 576)).toEqual(packet.slice(0, 548));
    expect(onesSum(octets(view, 20, 576))).toBe(0xffff);
    expect(view.getUint8(576)).toBe(0xa5);
  });

  it("quotes no byte behind the packet's own length", () => {
    const packet = packet4({ payload: filler(4) });
    const view = slab(packet, FROM);
    expect(icmp.writeFragmentationNeeded(view, 0, FROM, packet.length + 50, 1400, ROUTER4)).toBe(28 + 24);
  });

  it("keeps an MTU beyond 16 bits at the largest", () => {
    expect(hex(answer4(packet4(), 0, 70_000).view, 24, 28)).toBe("0000ffff");
  });

  it("answers echo requests and first fragments", () => {
    expect(answer4(packet4({ protocol: 1, payload: [8, 0, 0, 0] }), 0).length).toBe(52);
    expect(answer4(packet4({ protocol: 1, payload: [0, 0, 0, 0] }), 0).length).toBe(52);
    expect(answer4(packet4({ fragment: 0x2000, payload: [1] }), 0).length).toBe(49);
  });

  it.each([
    ["destination unreachable", packet4({ protocol: 1, payload: [3, 4, 0, 0] })],
    ["source quench", packet4({ protocol: 1, payload: [4, 0, 0, 0] })],
    ["redirect", packet4({ protocol: 1, payload: [5, 0, 0, 0] })],
    ["time exceeded", packet4({ protocol: 1, payload: [11, 0, 0, 0] })],
    ["parameter problem", packet4({ protocol: 1, payload: [12, 0, 0, 0] })],
    ["an unknown ICMP type", packet4({ protocol: 1, payload: [42, 0, 0, 0] })],
    ["an ICMP type that is 8 modulo 32", packet4({ protocol: 1, payload: [40, 0, 0, 0] })],
    ["ICMP without a type", packet4({ protocol: 1 })],
    ["a later fragment", packet4({ fragment: 0x2001, payload: [1] })],
    ["multicast", packet4({ dst: "224.0.0.1" })],
    ["the last multicast address", packet4({ dst: "239.255.255.255" })],
    ["broadcast", packet4({ dst: "255.255.255.255" })],
    ["an unspecified source", packet4({ src: "0.0.0.0" })],
    ["a source in network 0", packet4({ src: "0.1.2.3" })],
    ["a loopback source", packet4({ src: "127.0.0.1" })],
    ["a multicast source", packet4({ src: "224.0.0.5" })],
    ["a broadcast source", packet4({ src: "255.255.255.255" })],
    ["a reserved source", packet4({ src: "240.0.0.1" })],
    ["a packet that is cut", packet4({ payload: [1, 2] }).slice(0, 21)],
    ["an IPv6 packet", packet6()],
  ])("does not answer %s", (_, packet) => {
    const { length, view } = answer4(packet, 0);
    expect(length).toBe(0);
    expect(hex(view)).toBe(hex(slab(packet, FROM)));
  });
});

describe("writePacketTooBig", () => {
  const pseudo = (view: DataView, at: number, length: number) => [
    ...octets(view, at + 8, at + 40),
    0,
    0,
    (length - 40) >> 8,
    (length - 40) & 255,
    0,
    0,
    0,
    58,
  ];

  it("quotes a short packet whole", () => {
    const packet = packet6({ payload: filler(33) });
    const { length, view } = answer6(packet, 9, 0x12345);
    expect(length).toBe(40 + 8 + 73);
    expect(ipv6.check(view, 9, 9 + length)).toBe(40);
    expect(hex(view, 9, 17)).toBe("6c00000000513a40");
    expect(hex(view, 17, 33)).toBe(`20010db8${"00".repeat(8)}ffffffff`);
    expect(octets(view, 33, 49)).toEqual(doc6(1));
    expect([icmp.type(view, 49), icmp.code(view, 49)]).toEqual([2, 0]);
    expect(hex(view, 53, 57)).toBe("00012345");
    expect(onesSum([...pseudo(view, 9, length), ...octets(view, 49, 9 + length)])).toBe(0xffff);
    expect(octets(view, 57, 9 + length)).toEqual(packet);
    expect(view.getUint8(8)).toBe(0xa5);
    expect(view.getUint8(9 + length)).toBe(0xa5);
  });

  it("quotes at most what makes 1280 bytes", () => {
    const packet = packet6({ payload: filler(1401) });
    const { length, view } = answer6(packet, 0);
    expect(length).toBe(1280);
    expect(octets(view, 48, 1280)).toEqual(packet.slice(0, 1232));
    expect(onesSum([...pseudo(view, 0, 1280), ...octets(view, 40, 1280)])).toBe(0xffff);
    expect(view.getUint8(1280)).toBe(0xa5);
  });

  it("answers echo requests and first fragments", () => {
    expect(answer6(packet6({ next: 58, payload: [128, 0, 0, 0] }), 0).length).toBe(92);
    expect(answer6(packet6({ next: 44, payload: [17, 0, 0, 1, 0, 0, 0, 1, 9] }), 0).length).toBe(97);
  });

  it.each([
    ["an error", packet6({ next: 58, payload: [1, 0, 0, 0] })],
    ["packet too big", packet6({ next: 58, payload: [2, 0, 0, 0] })],
    ["the last error type", packet6({ next: 58, payload: [127, 0, 0, 0] })],
    ["a redirect", packet6({ next: 58, payload: [137, 0, 0, 0] })],
    ["an error behind options", packet6({ next: 60, payload: [58, 0, 1, 4, 0, 0, 0, 0, 3, 0, 0, 0] })],
    ["ICMPv6 without a type", packet6({ next: 58 })],
    ["a later fragment", packet6({ next: 44, payload: [17, 0, 0, 8, 0, 0, 0, 1, 9] })],
    ["a chain that is cut", packet6({ next: 60, payload: [58, 5, 1, 4, 0, 0, 0, 0] })],
    ["multicast", packet6({ dst: [0xff, 2, ...doc6(1).slice(2)] })],
    ["a multicast source", packet6({ src: [0xff, 2, ...doc6(1).slice(2)] })],
    ["an unspecified source", packet6({ src: Array(16).fill(0) })],
    ["a packet that is cut", packet6({ payload: [1, 2] }).slice(0, 41)],
    ["an IPv4 packet", packet4({ payload: filler(40) })],
  ])("does not answer %s", (_, packet) => {
    const { length, view } = answer6(packet, 0);
    expect(length).toBe(0);
    expect(hex(view)).toBe(hex(slab(packet, FROM)));
  });
});

describe("both", () => {
  it("may be written over the packet that they quote, at any distance", () => {
    fc.assert(
      fc.property(fc.integer({ min: -80, max: 80 }), fc.nat(1400), (distance, size) => {
        const four = packet4({ payload: filler(size) });
        const apart4 = answer4(four, 0);
        const over4 = answer4(four, FROM + distance);
        expect(over4.length).toBe(apart4.length);
        expect(hex(over4.view, FROM + distance, FROM + distance + over4.length)).toBe(
          hex(apart4.view, 0, apart4.length),
        );
        const six = packet6({ payload: filler(size) });
        const apart6 = answer6(six, 0);
        const over6 = answer6(six, FROM + distance);
        expect(over6.length).toBe(apart6.length);
        expect(hex(over6.view, FROM + distance, FROM + distance + over6.length)).toBe(
          hex(apart6.view, 0, apart6.length),
        );
      }),
      { numRuns: 300 },
    );
  });

  it("have headers of 8 bytes", () => {
    const view = slab([], 0);
    expect(icmp.check(view, 0, 8)).toBe(8);
    expect(icmp.check(view, 0, 7)).toBe(-1);
  });
});
