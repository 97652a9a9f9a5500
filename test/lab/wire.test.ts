/** A capture as tcpdump writes it is read whatever the chunks, and the watch draws the right conclusions. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Captured, PcapReader } from "../../src/lab/pcap.ts";
import { Seen, writeStream } from "../../src/lab/stream_format.ts";
import { Trace, Wire } from "../../src/lab/wire.ts";

interface Packet {
  readonly atMs: number;
  readonly ifindex: number;
  readonly outgoing: boolean;
  /** Hexadecimal, 4 or 16 bytes. */
  readonly source: string;
  readonly port: number;
  readonly payload: Uint8Array;
}

/** One record of a capture: header, SLL2, IP, UDP, payload. */
function record({ atMs, ifindex, outgoing, source, port, payload }: Packet): Buffer {
  const address = Buffer.from(source, "hex");
  const ip = address.length === 4 ? Buffer.alloc(20) : Buffer.alloc(40);
  if (address.length === 4) {
    ip[0] = 0x45;
    ip[9] = 17;
    ip.set(address, 12);
  } else {
    ip[0] = 0x60;
    ip[6] = 17;
    ip.set(address, 8);
  }
  const udp = Buffer.alloc(8);
  udp.writeUInt16BE(port, 2);
  const sll = Buffer.alloc(20);
  sll.writeUInt32BE(ifindex, 4);
  sll[10] = outgoing ? 4 : 0;
  const body = Buffer.concat([sll, ip, udp, payload]);
  const head = Buffer.alloc(16);
  head.writeUInt32LE(Math.floor(atMs / 1000), 0);
  head.writeUInt32LE(Math.round((atMs % 1000) * 1e6), 4);
  head.writeUInt32LE(body.length, 8);
  head.writeUInt32LE(body.length, 12);
  return Buffer.concat([head, body]);
}

function fileOf(packets: readonly Packet[]): Buffer {
  const head = Buffer.alloc(24);
  head.writeUInt32LE(0xa1b23c4d, 0);
  head.writeUInt32LE(276, 20);
  return Buffer.concat([head, ...packets.map(record)]);
}

const packet = fc.record({
  atMs: fc.integer({ min: 0, max: 4_000_000_000 }),
  ifindex: fc.integer({ min: 1, max: 1000 }),
  outgoing: fc.boolean(),
  source: fc.constantFrom("cb007106", "20010db8030200000000000000000002"),
  port: fc.integer({ min: 0, max: 65_535 }),
  payload: fc.uint8Array({ maxLength: 40 }),
});

test("every packet comes out as it went in, however the bytes are cut", () => {
  fc.assert(
    fc.property(fc.array(packet, { maxLength: 8 }), fc.integer({ min: 1, max: 97 }), (packets, step) => {
      const out: Packet[] = [];
      const reader = new PcapReader(({ bytes, payloadAt, payloadEnd, sourceAt, family, ...rest }) =>
        out.push({
          ...{ atMs: rest.atMs, ifindex: rest.ifindex, outgoing: rest.outgoing, port: rest.destinationPort },
          source: bytes.toString("hex", sourceAt, sourceAt + (family === 4 ? 4 : 16)),
          payload: new Uint8Array(bytes.subarray(payloadAt, payloadEnd)),
        }),
      );
      const file = fileOf(packets);
      for (let at = 0; at < file.length; at += step) reader.push(file.subarray(at, at + step));
      expect(out).toEqual(packets.map((one) => ({ ...one })));
    }),
  );
});

test("another format and damage are refused", () => {
  const reader = () => new PcapReader(() => {});
  const file = fileOf([]);
  file.writeUInt32LE(0xa1b2c3d4, 0);
  expect(() => reader().push(file)).toThrow("another format");
  const damaged = Buffer.concat([fileOf([]), Buffer.alloc(16, 0xff)]);
  expect(() => reader().push(damaged)).toThrow("damaged");
});

test("what is no UDP, too short or a fragment is passed over", () => {
  const one = { atMs: 1, ifindex: 1, outgoing: false, source: "cb007106", port: 4444, payload: new Uint8Array(4) };
  for (const change of [
    (bytes: Buffer) => bytes.writeUInt8(6, 24 + 16 + 20 + 9),
    (bytes: Buffer) => bytes.writeUInt16BE(5, 24 + 16 + 20 + 6),
  ]) {
    const file = fileOf([one]);
    change(file);
    const seen: Captured[] = [];
    new PcapReader((captured) => seen.push(captured)).push(file);
    expect(seen).toEqual([]);
  }
});

const C1 = "cb007106";
const names = {
  links: new Map([
    [1, "n1"],
    [2, "n2"],
    [3, "c1"],
  ]),
  clients: new Map([[C1, "c1"]]),
  senders: new Map([[7, "c1"]]),
};

function watch(packets: readonly Packet[]): Wire {
  const wire = new Wire(names);
  new PcapReader((captured) => wire.take(captured)).push(fileOf(packets));
  return wire;
}
const outer = (atMs: number, ifindex: number): Packet => {
  return { atMs, ifindex, outgoing: true, source: C1, port: 4444, payload: new Uint8Array(8) };
};
const inner = (atMs: number, ifindex: number, seq: number): Packet => {
  const payload = Buffer.alloc(12);
  writeStream(payload, 7, seq);
  return { atMs, ifindex, outgoing: false, source: "0a090002", port: 7017, payload };
};

test("an arrival is through when an inner packet comes out of the new node, not out of the old one", () => {
  const wire = watch([
    outer(1000, 1),
    inner(1001, 1, 0),
    outer(1010, 1),
    outer(1020, 2),
    inner(1021, 1, 1),
    inner(1027, 2, 2),
    inner(1028, 2, 3),
  ]);
  expect(wire.carrier("c1")).toBe("n2");
  expect(wire.arrivals).toEqual([
    { client: "c1", from: undefined, to: "n1", atMs: 1000, throughMs: 1001 },
    { client: "c1", from: "n1", to: "n2", atMs: 1020, throughMs: 1027 },
  ]);
  expect(wire.trace(7).seen.count).toBe(4);
});

test("what a client sends outside its tunnel comes out of no node", () => {
  const wire = watch([outer(1000, 1), inner(1001, 3, 0), inner(1003, 1, 1)]);
  expect(wire.trace(7).firstFrom(0)).toBe(1003);
  expect(wire.arrivals).toEqual([{ client: "c1", from: undefined, to: "n1", atMs: 1000, throughMs: 1003 }]);
});

test("while somebody plays the client, nobody's place changes; packets out of nodes still count", () => {
  const wire = new Wire(names);
  wire.paused = true;
  new PcapReader((captured) => wire.take(captured)).push(fileOf([outer(1, 1), inner(2, 2, 0)]));
  expect(wire.arrivals).toEqual([]);
  expect(wire.trace(7).seen.count).toBe(1);
});

test("the longest silence that touches a window, also one that begins before, ends after, or never ends", () => {
  const trace = new Trace();
  for (const [i, at] of [10, 11, 12, 50, 51, 52].entries()) trace.add(at, i);
  expect(trace.longestGap(10, 12)).toBe(1);
  expect(trace.longestGap(10, 13)).toBe(38);
  expect(trace.longestGap(20, 30)).toBe(38);
  expect(trace.longestGap(51, 52)).toBe(1);
  expect(trace.longestGap(51, 100)).toBe(48);
  expect(new Trace().longestGap(0, 10)).toBe(0);
  expect([trace.firstFrom(12.5), trace.firstFrom(53)]).toEqual([50, undefined]);
});

test("a number counts once, and again as a duplicate, as with a Set", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 200_000 })), (numbers) => {
      const seen = new Seen();
      const model = new Set<number>();
      for (const n of numbers) {
        expect(seen.add(n)).toBe(!model.has(n));
        model.add(n);
      }
      expect([seen.count, seen.duplicates]).toEqual([model.size, numbers.length - model.size]);
    }),
  );
});
