/**
 * Super-packets from the device and on their way out: the addon takes them apart as the twin does, leaves the source as
 * it was, and refuses headers that lie.
 */
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { createMemory } from "../../src/dataplane/batch.ts";
import { OUT_BASE, READ_BASE, SLAB_BYTES } from "../../src/dataplane/layout.ts";
import { INNER_MALFORMED, LIVE, TOO_BIG } from "../../src/dataplane/verdict.ts";
import { loadAddon } from "../../src/drivers/native.ts";
import { createNativeCrypto } from "../../src/drivers/native_crypto.ts";
import { createTwinCrypto } from "../../src/drivers/twin_crypto.ts";
import { parseInner, splitPacket, viewOf } from "../../src/drivers/twin_split.ts";
import { ACK, CWR, FIN, PSH, packetOf, payloadOf, repair, timestamp } from "./packets.ts";

const memory = createMemory();
const twinMemory = createMemory();
const addon = loadAddon();
addon.bind(memory.slab, memory.input.columns, memory.output.columns, new Float64Array(1));
const native = { memory, crypto: createNativeCrypto() };
const twin = { memory: twinMemory, crypto: createTwinCrypto(twinMemory) };

const NONE = new Uint8Array(0);
/** Header and type; what follows is the inner packet as it is. */
const PLAIN = { cipherLen: 0, tagLen: -1, kdLen: 0, role: 0, masterKey: NONE, masterSalt: NONE } as const;
const OVERHEAD = 10;
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

beforeAll(() => {
  for (const { crypto } of [native, twin]) expect(crypto.setSatp(0, PLAIN)).toBe(0);
});

function ask(m: typeof memory, src: number, len: number, seg: number, hdr: number, at = OUT_BASE): void {
  const { output } = m;
  output.at[0] = at;
  output.src[0] = src;
  output.len[0] = len;
  output.seg[0] = seg;
  output.hdr[0] = hdr;
  output.type[0] = 0x0800;
  output.verdict[0] = LIVE;
  output.key[0] = 0;
  output.seq[0] = -1;
}

const superPacket = fc
  .record({
    v6: fc.boolean(),
    udp: fc.boolean(),
    size: fc.oneof(fc.integer({ min: 1, max: 400 }), fc.integer({ min: 1, max: 65000 })),
    seg: fc.oneof(fc.integer({ min: 8, max: 100 }), fc.integer({ min: 500, max: 1460 })),
    flags: fc.constantFrom(ACK, ACK | PSH, ACK | PSH | FIN, ACK | CWR | PSH),
    id: fc.nat(0xffff),
    seq: fc.nat(0xffffffff),
    stamped: fc.boolean(),
  })
  .map(({ size, stamped, seg, ...shape }) => {
    const packet = packetOf({ ...shape, options: stamped ? timestamp(9) : NONE, payload: payloadOf(size, seg) });
    return { packet, seg, hdr: parseInner(packet)!.headerLen };
  });

describe("sealing a super-packet", () => {
  test("seals the packets of the twin, one after the other, and leaves the source as it was", () => {
    fc.assert(
      fc.property(superPacket, ({ packet, seg, hdr }) => {
        const { slab, output } = memory;
        slab.set(packet, READ_BASE);
        for (let copy = 0; copy < 2; copy++) {
          ask(memory, READ_BASE, packet.length, seg, hdr);
          native.crypto.seal(1);
          expect(output.verdict[0]).toBe(LIVE);
          const want = splitPacket(packet, hdr, seg)!;
          let at = OUT_BASE;
          want.forEach((segment, k) => {
            expect(memory.view.getUint32(at)).toBe((0xffffffff + k) % 2 ** 32);
            expect(hex(slab.subarray(at + OVERHEAD, at + OVERHEAD + segment.length))).toBe(hex(segment));
            at += OVERHEAD + segment.length;
          });
          expect(output.len[0]).toBe(at - OUT_BASE);
          expect(output.seg[0]).toBe(OVERHEAD + want[0].length);
          expect(hex(slab.subarray(READ_BASE, READ_BASE + packet.length))).toBe(hex(packet));
        }
      }),
      { numRuns: 150 },
    );
  });

  test("does as the kernel does with flags, numbers and checksums", () => {
    const whole = packetOf({ id: 65535, seq: 0xffffffff, flags: ACK | CWR | PSH | FIN, payload: payloadOf(250) });
    const parts = splitPacket(whole, 40, 100)!;
    expect(parts.map((p) => p[33])).toEqual([ACK | CWR, ACK, ACK | PSH | FIN]);
    expect(parts.map((p) => viewOf(p).getUint16(4))).toEqual([65535, 0, 1]);
    expect(parts.map((p) => viewOf(p).getUint32(24))).toEqual([0xffffffff, 99, 199]);
    expect(parts.map((p) => viewOf(p).getUint16(2))).toEqual([140, 140, 90]);
    for (const part of parts) expect(hex(repair(part.slice()))).toBe(hex(part));
  });

  test.each([false, true])(
    "a UDP checksum that comes out as 0 is sent as ffff, as 0 means none (RFC 768), IPv6: %s",
    (v6) => {
      const [hdr, seg] = [v6 ? 48 : 28, 100];
      const payload = payloadOf(300);
      const checkOf = (packet: Uint8Array) => viewOf(packet).getUint16(hdr - 2);
      const before = checkOf(splitPacket(packetOf({ v6, udp: true, payload }), hdr, seg)![1]);
      // Adding its checksum to a word of the second segment makes the sum ffff, and so its checksum 0.
      const word = viewOf(payload).getUint16(seg) + before;
      viewOf(payload).setUint16(seg, (word & 0xffff) + (word >>> 16));
      const packet = packetOf({ v6, udp: true, payload });
      for (const { memory: m, crypto } of [native, twin]) {
        m.slab.set(packet, READ_BASE);
        ask(m, READ_BASE, packet.length, seg, hdr);
        crypto.seal(1);
        const second = OUT_BASE + OVERHEAD + hdr + seg + OVERHEAD;
        expect(m.view.getUint16(second + hdr - 2)).toBe(0xffff);
        expect(hex(m.slab.subarray(second + hdr, second + hdr + seg))).toBe(hex(payload.subarray(seg, 2 * seg)));
      }
    },
  );

  test("native and twin agree on rows that make no sense", () => {
    const any = fc.record({
      shape: superPacket,
      seg: fc.oneof(fc.integer({ min: 1, max: 2000 }), fc.integer({ min: 1, max: 0x7fffffff })),
      hdr: fc.oneof(fc.constantFrom(40, 28, 48, 60, 52), fc.integer()),
      cut: fc.oneof(fc.constant(0), fc.integer({ min: -70000, max: 70 })),
      garbage: fc.uint8Array({ minLength: 0, maxLength: 60 }),
      src: fc.constantFrom(READ_BASE, READ_BASE, READ_BASE, SLAB_BYTES - 50, -1, OUT_BASE + 100),
      at: fc.constantFrom(OUT_BASE, OUT_BASE, OUT_BASE, SLAB_BYTES - 300, READ_BASE + 20, -7),
    });
    for (const m of [memory, twinMemory]) m.slab.fill(0xa5);
    fc.assert(
      fc.property(any, ({ shape, seg, hdr, cut, garbage, src, at }) => {
        for (const { memory: m, crypto } of [native, twin]) {
          m.slab.fill(0xa5, READ_BASE, READ_BASE + 70000);
          m.slab.fill(0xa5, OUT_BASE, OUT_BASE + 200_000);
          m.slab.set(shape.packet, READ_BASE);
          m.slab.set(garbage, READ_BASE);
          ask(m, src, shape.packet.length - cut, seg, hdr, at);
          crypto.seal(1);
        }
        expect(memory.output.verdict[0]).toBe(twinMemory.output.verdict[0]);
        expect([LIVE, INNER_MALFORMED, TOO_BIG]).toContain(memory.output.verdict[0]);
        expect(Buffer.compare(memory.slab, twinMemory.slab)).toBe(0);
        if (memory.output.verdict[0] === LIVE) {
          expect([memory.output.len[0], memory.output.seg[0]]).toEqual([
            twinMemory.output.len[0],
            twinMemory.output.seg[0],
          ]);
        }
      }),
      { numRuns: 200 },
    );
  });
});

interface FrameHeader {
  flags?: number;
  gso?: number;
  headerLen?: number;
  seg?: number;
  start?: number;
  offset?: number;
}
const TCP4 = 1;
const UDP_UFO = 3;
const TCP6 = 4;
const UDP = 5;
const ECN = 0x80;
const NEEDS_CSUM = 1;

/** Row 0 after a device read of that frame. */
function read(packet: Uint8Array, header: FrameHeader) {
  const { input, slab, view } = memory;
  slab.fill(0xa5, READ_BASE, READ_BASE + 70_000);
  [header.flags ?? 0, header.gso ?? 0].forEach((byte, k) => void view.setUint8(READ_BASE + k, byte));
  [header.headerLen ?? 0, header.seg ?? 0, header.start ?? 0, header.offset ?? 0].forEach((word, k) => {
    view.setUint16(READ_BASE + 2 + 2 * k, word, true);
  });
  slab.set(packet, READ_BASE + 10);
  expect(addon.frameToRow(0, READ_BASE, 10 + packet.length)).toBe(0);
  const [at, len] = [input.at[0], input.len[0]];
  return { verdict: input.verdict[0], seg: input.seg[0], hdr: input.hdr[0], bytes: slab.slice(at, at + len) };
}

/** A packet as the kernel hands it over: the checksum field holds the sum of the pseudo-header only. */
function partial(packet: Uint8Array): Uint8Array {
  const copy = packet.slice();
  const inner = parseInner(copy)!;
  const at = inner.ipLen + (inner.protocol === 6 ? 16 : 6);
  const field = viewOf(copy);
  const upper = copy.subarray(inner.ipLen);
  field.setUint16(at, 0);
  let total = 0;
  for (let k = 0; k < upper.length; k += 2) total += (upper[k] << 8) | (upper[k + 1] ?? 0);
  // pseudo + rest + check = ffff, so pseudo = ffff - rest - check.
  const check = viewOf(packet).getUint16(at);
  let pseudo = 0xffff * 65536 - total - check;
  while (pseudo > 0xffff) pseudo = (pseudo & 0xffff) + Math.floor(pseudo / 65536);
  field.setUint16(at, pseudo);
  return copy;
}

describe("a frame from the device", () => {
  const tcp4 = packetOf({ payload: payloadOf(1000) });
  const tcp6 = packetOf({ v6: true, payload: payloadOf(1001) });
  const udp4 = packetOf({ udp: true, payload: payloadOf(999) });

  test("is a super-packet when header and packet agree", () => {
    expect(read(tcp4, { gso: TCP4, seg: 300 })).toMatchObject({ verdict: LIVE, seg: 300, hdr: 40 });
    expect(read(tcp4, { gso: TCP4 | ECN, seg: 999 })).toMatchObject({ verdict: LIVE, seg: 999, hdr: 40 });
    expect(read(tcp6, { gso: TCP6, seg: 300 })).toMatchObject({ verdict: LIVE, seg: 300, hdr: 60 });
    expect(read(udp4, { gso: UDP, seg: 300 })).toMatchObject({ verdict: LIVE, seg: 300, hdr: 28 });
  });

  test("is a plain packet with a whole checksum when it has one segment", () => {
    for (const [packet, gso] of [
      [tcp4, TCP4],
      [tcp6, TCP6],
      [udp4, UDP],
    ] as const) {
      const row = read(partial(packet), { gso, seg: 1400, flags: NEEDS_CSUM });
      expect(row).toMatchObject({ verdict: LIVE, seg: 0, hdr: 0 });
      expect(hex(row.bytes)).toBe(hex(packet));
    }
  });

  test("gets the checksum that the kernel left to us, also of protocols that are no TCP or UDP", () => {
    for (const [packet, start, offset] of [
      [tcp4, 20, 16],
      [tcp6, 40, 16],
      [udp4, 20, 6],
    ] as const) {
      const row = read(partial(packet), { flags: NEEDS_CSUM, start, offset });
      expect(row.verdict).toBe(LIVE);
      expect(hex(row.bytes)).toBe(hex(packet));
    }
  });

  test.each<[string, Uint8Array, FrameHeader]>([
    ["no segment size", tcp4, { gso: TCP4, seg: 0 }],
    ["another IP version", tcp4, { gso: TCP6, seg: 300 }],
    ["another protocol", udp4, { gso: TCP4, seg: 300 }],
    ["a kind that was not asked for", udp4, { gso: UDP_UFO, seg: 300 }],
    ["an unknown kind", tcp4, { gso: 77, seg: 300 }],
    ["a cut TCP header", tcp4.subarray(0, 39), { gso: TCP4, seg: 300 }],
    ["no payload", packetOf({ payload: NONE }), { gso: TCP4, seg: 300 }],
    ["a length field of something else", tcp4.subarray(0, 900), { gso: TCP4, seg: 300 }],
    ["too many segments", packetOf({ payload: payloadOf(60000) }), { gso: TCP4, seg: 7 }],
    ["a checksum whose second byte is behind the end", tcp4, { flags: NEEDS_CSUM, start: 1023, offset: 16 }],
    ["a checksum behind the end", tcp4, { flags: NEEDS_CSUM, start: 1030, offset: 16 }],
    ["a checksum far away", tcp4, { flags: NEEDS_CSUM, start: 65535, offset: 65535 }],
    [
      "a TCP header longer than the packet",
      Uint8Array.from(tcp4.subarray(0, 44), (b, k) => (k === 32 ? 0xf0 : b)),
      { gso: TCP4, seg: 3 },
    ],
  ])("is refused when its header claims %s", (_name, packet, header) => {
    expect(read(packet, header).verdict).toBe(INNER_MALFORMED);
  });

  test("may have its checksum in the last two bytes", () => {
    expect(read(tcp4, { flags: NEEDS_CSUM, start: tcp4.length - 18, offset: 16 }).verdict).toBe(LIVE);
  });

  test("of any bytes is a row inside the frame", () => {
    const bytes = fc.oneof(
      fc.uint8Array({ minLength: 0, maxLength: 200 }),
      superPacket.map((s) => s.packet),
    );
    fc.assert(
      fc.property(
        bytes,
        fc.uint8Array({ minLength: 10, maxLength: 10 }),
        fc.constantFrom(0, TCP4, TCP6, UDP, TCP4 | ECN),
        (packet, header, gso) => {
          memory.slab.set(header, READ_BASE);
          memory.slab[READ_BASE + 1] = gso;
          memory.slab.set(packet, READ_BASE + 10);
          memory.slab[READ_BASE + 10 + packet.length] = 0x3c;
          expect(addon.frameToRow(5, READ_BASE, 10 + packet.length)).toBe(0);
          const { at, len, seg, hdr, verdict } = memory.input;
          expect([LIVE, INNER_MALFORMED]).toContain(verdict[5]);
          expect([at[5], len[5]]).toEqual([READ_BASE + 10, packet.length]);
          if (verdict[5] === LIVE && seg[5] > 0) expect(hdr[5] + seg[5]).toBeLessThan(packet.length);
          expect(memory.slab[READ_BASE + 10 + packet.length]).toBe(0x3c);
        },
      ),
      { numRuns: 500 },
    );
    for (const [i, at, len] of [
      [-1, READ_BASE, 20],
      [1024, READ_BASE, 20],
      [0, -1, 20],
      [0, SLAB_BYTES - 10, 20],
      [0, READ_BASE, -1],
    ])
      expect(addon.frameToRow(i, at, len)).toBe(-22);
    expect(addon.frameToRow(0, READ_BASE, 9)).toBe(0);
    expect([memory.input.verdict[0], memory.input.len[0]]).toEqual([INNER_MALFORMED, 0]);
  });
});
