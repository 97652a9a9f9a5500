import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as ethernet from "../../src/wire/ethernet.ts";
import * as ipv4 from "../../src/wire/ipv4.ts";
import * as ipv6 from "../../src/wire/ipv6.ts";
import * as satp from "../../src/wire/satp.ts";
import * as tcp from "../../src/wire/tcp.ts";
import * as udp from "../../src/wire/udp.ts";
import { NONE, offsetOf, protocolOf } from "../../src/wire/upper.ts";
import { bytes, hex, octets, onesSum, packet4, packet6, slab } from "./packet.ts";

const AT = 7; // Odd: nothing may count on alignment.

/** `check` accepts the packet as it is and with bytes after it, and refuses it cut at every byte. */
function expectCheck(
  check: (view: DataView, at: number, end: number) => number,
  packet: readonly number[],
  headerLen: number,
  least = packet.length,
): void {
  const view = slab(packet, AT);
  expect(check(view, AT, AT + packet.length)).toBe(headerLen);
  expect(check(view, AT, AT + packet.length + 30)).toBe(headerLen);
  for (let len = 0; len < least; len++) expect(check(view, AT, AT + len)).toBe(-1);
}

describe("satp", () => {
  it("reads a captured datagram", () => {
    const view = bytes("0000000200010003 0800 4500");
    expect(satp.check(view, 0, 12)).toBe(8);
    expect([satp.seq(view, 0), satp.senderId(view, 0), satp.mux(view, 0), satp.payloadType(view, 0)]).toEqual([
      2,
      1,
      3,
      satp.TYPE_IPV4,
    ]);
    for (let len = 0; len < 8; len++) expect(satp.check(view, 0, len)).toBe(-1);
  });

  it("reads what it wrote, and writes 8 bytes only", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffffffff }), fc.nat(0xffff), fc.nat(0xffff), (seq, sender, mux) => {
        const view = slab([], 0);
        satp.writeHeader(view, AT, seq, sender, mux);
        expect([satp.seq(view, AT), satp.senderId(view, AT), satp.mux(view, AT)]).toEqual([seq, sender, mux]);
        expect(view.getUint8(AT - 1)).toBe(0xa5);
        expect(view.getUint8(AT + satp.HEADER_LEN)).toBe(0xa5);
      }),
    );
  });
});

describe("ipv4", () => {
  it("accepts whole packets with and without options", () => {
    expectCheck(ipv4.check, packet4(), 20);
    expectCheck(ipv4.check, packet4({ payload: [1, 2, 3] }), 20);
    expectCheck(ipv4.check, packet4({ options: Array(40).fill(1), payload: [1] }), 60);
  });

  it.each([
    ["version 6", 0, 0x65],
    ["version 0", 0, 0x05],
    ["a header of 16 bytes", 0, 0x44],
    ["a header longer than the packet", 0, 0x47],
    ["a total length shorter than the header", 3, 19],
    ["a total length beyond the end", 3, 25],
    ["a total length far beyond the end", 2, 0xff],
  ])("refuses %s", (_, offset, value) => {
    const packet = packet4({ payload: [1, 2, 3, 4] });
    packet[offset] = value;
    expect(ipv4.check(slab(packet, AT), AT, AT + packet.length)).toBe(-1);
  });

  it("reads every field", () => {
    const view = slab(packet4({ protocol: 6, fragment: 0x6123, src: "203.0.113.9", payload: [1, 2] }), AT);
    view.setUint8(AT + 1, 0xb9);
    expect(ipv4.headerLen(view, AT)).toBe(20);
    expect(ipv4.totalLength(view, AT)).toBe(22);
    expect(ipv4.protocol(view, AT)).toBe(6);
    expect(ipv4.src(view, AT)).toBe(0xcb007109 | 0);
    expect(ipv4.dst(view, AT)).toBe(0xc6336402 | 0);
    expect(ipv4.dscp(view, AT)).toBe(46);
    expect(ipv4.ecn(view, AT)).toBe(1);
    expect(ipv4.dontFragment(view, AT)).toBe(true);
    expect(ipv4.fragmentOffset(view, AT)).toBe(0x123);
    expect(ipv4.dontFragment(slab(packet4({ fragment: 0x2000 }), AT), AT)).toBe(false);
  });

  it("sets ECN, changes nothing else and keeps the checksum right", () => {
    fc.assert(
      fc.property(fc.nat(255), fc.nat(0xffff), fc.nat(3), (tos, id, ecn) => {
        const view = slab(packet4({ payload: [9] }), AT);
        view.setUint8(AT + 1, tos);
        view.setUint16(AT + 4, id);
        view.setUint16(AT + 10, 0);
        view.setUint16(AT + 10, ~onesSum(octets(view, AT, AT + 20)) & 0xffff);
        const before = hex(view);
        ipv4.setEcn(view, AT, ecn);
        expect(ipv4.ecn(view, AT)).toBe(ecn);
        expect(ipv4.dscp(view, AT)).toBe(tos >> 2);
        expect(onesSum(octets(view, AT, AT + 20))).toBe(0xffff);
        view.setUint8(AT + 1, tos);
        view.setUint16(AT + 10, Number.parseInt(before.slice(2 * (AT + 10), 2 * (AT + 12)), 16));
        expect(hex(view)).toBe(before);
      }),
    );
  });

  it("finds the upper layer, but not in later fragments", () => {
    const whole = ipv4.upperLayer(slab(packet4({ protocol: 6, options: [1, 1, 1, 1] }), AT), AT);
    expect([protocolOf(whole), offsetOf(whole)]).toEqual([6, 24]);
    const first = ipv4.upperLayer(slab(packet4({ fragment: 0x2000 }), AT), AT);
    expect([protocolOf(first), offsetOf(first)]).toEqual([17, 20]);
    expect(ipv4.upperLayer(slab(packet4({ fragment: 1 }), AT), AT)).toBe(NONE);
    expect(ipv4.upperLayer(slab(packet4({ fragment: 0x3fff }), AT), AT)).toBe(NONE);
  });

  it("writes a header that it accepts", () => {
    const view = slab([], 0);
    expect(ipv4.writeHeader(view, AT, 0xc0, 1500, 64, 1, 0xc0000201, 0xc6336402 | 0)).toBe(20);
    // The identification is 0 and DF is set.
    const expected = "45c005dc 00004000 4001";
    expect(hex(view, AT, AT + 10)).toBe(expected.replaceAll(" ", ""));
    expect(hex(view, AT + 12, AT + 20)).toBe("c0000201c6336402");
    expect(onesSum(octets(view, AT, AT + 20))).toBe(0xffff);
    expect(view.getUint8(AT + 20)).toBe(0xa5);
    expect(ipv4.check(view, AT, AT + 1500)).toBe(20);
  });
});

describe("ipv6", () => {
  it("accepts whole packets", () => {
    expectCheck(ipv6.check, packet6(), 40);
    expectCheck(ipv6.check, packet6({ payload: [1, 2, 3] }), 40);
  });

  it.each([
    ["version 4", 0, 0x40],
    ["version 15", 0, 0xf0],
    ["a payload beyond the end", 5, 5],
    ["a payload far beyond the end", 4, 0xff],
  ])("refuses %s", (_, offset, value) => {
    const packet = packet6({ payload: [1, 2, 3, 4] });
    packet[offset] = value;
    expect(ipv6.check(slab(packet, AT), AT, AT + packet.length)).toBe(-1);
  });

  it("reads every field", () => {
    const view = slab(packet6({ next: 58, payload: [1, 2] }), AT);
    view.setUint32(AT, 0x6b9fffff);
    expect(ipv6.payloadLength(view, AT)).toBe(2);
    expect(ipv6.nextHeader(view, AT)).toBe(58);
    expect(ipv6.trafficClass(view, AT)).toBe(0xb9);
    expect(ipv6.dscp(view, AT)).toBe(46);
    expect(ipv6.ecn(view, AT)).toBe(1);
  });

  it("sets ECN and changes nothing else", () => {
    fc.assert(
      fc.property(fc.integer(), fc.nat(3), (word, ecn) => {
        const view = slab(packet6(), AT);
        view.setInt32(AT, word);
        ipv6.setEcn(view, AT, ecn);
        expect(ipv6.ecn(view, AT)).toBe(ecn);
        expect(view.getInt32(AT) & ~0x00300000).toBe(word & ~0x00300000);
        expect(hex(view, AT + 4, AT + 40)).toBe(hex(slab(packet6(), AT), AT + 4, AT + 40));
      }),
    );
  });
});

describe("ipv6.upperLayer", () => {
  const find = (next: number, payload: readonly number[], cut = 0): string | number => {
    const packet = packet6({ next, payload });
    const found = ipv6.upperLayer(slab(packet, AT), AT, AT + packet.length - cut);
    return found === NONE ? NONE : `${protocolOf(found)} at ${offsetOf(found)}`;
  };
  /** Extension header of 8 bytes. */
  const ext = (next: number) => [next, 0, 1, 4, 0, 0, 0, 0];

  it.each([
    ["none", 6, [1], "6 at 40"],
    ["no payload either", 17, [], "17 at 40"],
    ["hop-by-hop", 0, [...ext(6), 1], "6 at 48"],
    ["a long routing header", 43, [17, 2, ...Array(22).fill(0), 1], "17 at 64"],
    ["destination options twice", 60, [...ext(60), ...ext(58), 128], "58 at 56"],
    ["an authentication header of 24 bytes", 51, [6, 4, ...Array(22).fill(0), 1], "6 at 64"],
    ["an atomic fragment", 44, [17, 0, 0, 0, 1, 2, 3, 4, 9], "17 at 48"],
    ["a first fragment with its reserved bits set", 44, [17, 0xff, 0, 7, 1, 2, 3, 4, 9], "17 at 48"],
    ["a later fragment", 44, [17, 0, 0, 8, 1, 2, 3, 4, 9], NONE],
    ["a far fragment", 44, [17, 0, 0xff, 0xf8, 1, 2, 3, 4, 9], NONE],
    ["no next header", 59, [], NONE],
    ["options before no next header", 60, ext(59), NONE],
    ["ESP, which is opaque", 50, [1, 2, 3, 4], "50 at 40"],
    ["hop-by-hop in second place", 60, [...ext(0), ...ext(6), 1], NONE],
    ["an options length beyond the end", 60, [6, 1, 0, 0, 0, 0, 0, 0], NONE],
    ["8 headers", 60, [...Array(7).fill(ext(60)).flat(), ...ext(6)], "6 at 104"],
    ["9 headers", 60, [...Array(8).fill(ext(60)).flat(), ...ext(6)], NONE],
    ["mobility, HIP and shim6", 135, [...ext(139), ...ext(140), ...ext(6)], "6 at 64"],
  ])("%s", (_, next, payload, expected) => {
    expect(find(next, payload)).toBe(expected);
  });

  it("reports nothing that lies behind the end", () => {
    for (let cut = 1; cut <= 16; cut++) expect(find(60, [...ext(60), ...ext(6)], cut)).toBe(NONE);
  });

  it("stays inside for any bytes", () => {
    fc.assert(
      fc.property(fc.nat(255), fc.uint8Array({ maxLength: 120 }), (next, payload) => {
        const packet = Uint8Array.from(packet6({ next, payload: [...payload] }));
        // A view of the packet alone: reading behind it would throw.
        const found = ipv6.upperLayer(new DataView(packet.buffer), 0, packet.length);
        if (found !== NONE) expect(offsetOf(found)).toBeLessThanOrEqual(packet.length);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("udp and tcp", () => {
  it("accept whole headers and read their fields", () => {
    const datagram = [0x11, 0x5c, 0, 53, 0, 10, 0xab, 0xcd, 1, 2];
    expectCheck(udp.check, datagram, 8);
    const view = slab(datagram, AT);
    expect([udp.srcPort(view, AT), udp.dstPort(view, AT), udp.length(view, AT)]).toEqual([4444, 53, 10]);
    view.setUint16(AT + 4, 7);
    expect(udp.check(view, AT, AT + 10)).toBe(-1);

    const segment = [0x11, 0x5c, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x60, 2, 0, 0, 0, 0, 0, 0, 2, 4, 5, 0xb4];
    expectCheck(tcp.check, segment, 24);
    const tcpView = slab(segment, AT);
    expect([tcp.srcPort(tcpView, AT), tcp.dstPort(tcpView, AT)]).toEqual([4444, 80]);
    tcpView.setUint8(AT + 12, 0x4f);
    expect(tcp.check(tcpView, AT, AT + 60)).toBe(-1);
  });
});

describe("ethernet", () => {
  const addresses = [0x02, 1, 2, 3, 4, 5, 0xfe, 0xff, 0x80, 7, 8, 9];

  it.each([
    ["no tag", [0x08, 0x00], 14, 0x0800],
    ["one tag", [0x81, 0x00, 0, 5, 0x86, 0xdd], 18, 0x86dd],
    ["two tags", [0x88, 0xa8, 0, 5, 0x81, 0x00, 0, 6, 0x08, 0x06], 22, 0x0806],
    ["three tags", [0x88, 0xa8, 0, 5, 0x81, 0x00, 0, 6, 0x81, 0x00, 0, 7, 8, 0], 22, 0x8100],
  ])("%s", (_, rest, headerLen, type) => {
    expectCheck(ethernet.check, [...addresses, ...rest, 1], headerLen, headerLen);
    expect(ethernet.etherType(slab([...addresses, ...rest, 1], AT), AT, headerLen)).toBe(type);
  });

  it("reads addresses as 16 and 32 bits", () => {
    const view = slab([...addresses, 8, 0], AT);
    expect([ethernet.dstHi(view, AT), ethernet.dstLo(view, AT)]).toEqual([0x0201, 0x02030405]);
    expect([ethernet.srcHi(view, AT), ethernet.srcLo(view, AT)]).toEqual([0xfeff, 0x80070809 | 0]);
  });

  it("knows group addresses by the first bit on the wire", () => {
    expect(ethernet.isGroup(0xffff)).toBe(true);
    expect(ethernet.isGroup(0x0100)).toBe(true);
    expect(ethernet.isGroup(0x3333)).toBe(true);
    expect(ethernet.isGroup(0x0201)).toBe(false);
    expect(ethernet.isGroup(0xfeff)).toBe(false);
  });
});
