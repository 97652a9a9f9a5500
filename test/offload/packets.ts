/** Building TCP and UDP packets with right checksums, and random traffic of a few flows, for the offload tests. */
import fc from "fast-check";
import { fold, sum } from "../../src/base/checksum.ts";
import { parseAddress } from "../../src/base/ip.ts";
import { checkOffset, parseInner, pseudoSum, setIp4Check, setLength, viewOf } from "../../src/drivers/twin_split.ts";
import * as ipv4 from "../../src/wire/ipv4.ts";
import * as ipv6 from "../../src/wire/ipv6.ts";
import * as tcp from "../../src/wire/tcp.ts";
import * as udp from "../../src/wire/udp.ts";

export const ACK = 0x10;
export const PSH = 0x08;
export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const URG = 0x20;
export const ECE = 0x40;
export const CWR = 0x80;

export interface PacketShape {
  readonly v6?: boolean;
  readonly udp?: boolean;
  /** Low byte of both ports: which flow it is. */
  readonly flow?: number;
  readonly id?: number;
  readonly seq?: number;
  readonly ack?: number;
  readonly flags?: number;
  readonly window?: number;
  /** Bytes of TCP options, a multiple of 4: no-operation and a timestamp-like value. */
  readonly options?: Uint8Array;
  readonly tos?: number;
  readonly ttl?: number;
  readonly df?: boolean;
  readonly payload: Uint8Array;
}

function address(text: string): number[] {
  const a = parseAddress(text)!;
  return a.family === 4 ? [a.w3] : [a.w0, a.w1, a.w2, a.w3];
}

/** A whole packet with right lengths and checksums. */
export function packetOf(shape: PacketShape): Uint8Array {
  const { v6 = false, flow = 0, options = new Uint8Array(0), payload } = shape;
  const ipLen = v6 ? ipv6.HEADER_LEN : ipv4.HEADER_LEN_MIN;
  const upperLen = shape.udp ? udp.HEADER_LEN : tcp.HEADER_LEN_MIN + options.length;
  const packet = new Uint8Array(ipLen + upperLen + payload.length);
  const view = viewOf(packet);
  const words = v6
    ? [...address("2001:db8:9::2"), ...address("2001:db8:9::1")]
    : [...address("10.9.0.2"), ...address("10.9.0.1")];
  words.forEach((word, k) => void view.setInt32((v6 ? ipv6.SRC : ipv4.SRC) + 4 * k, word));
  if (v6) {
    view.setUint32(0, (6 << 28) | ((shape.tos ?? 0) << 20));
    packet[ipv6.NEXT_HEADER] = shape.udp ? udp.PROTOCOL : tcp.PROTOCOL;
    packet[ipv6.HOP_LIMIT] = shape.ttl ?? 64;
  } else {
    packet[0] = 0x45;
    packet[ipv4.TOS] = shape.tos ?? 0;
    view.setUint16(ipv4.IDENTIFICATION, shape.id ?? 0);
    view.setUint16(ipv4.FRAGMENT, shape.df === false ? 0 : ipv4.DONT_FRAGMENT);
    packet[ipv4.TTL] = shape.ttl ?? 64;
    packet[ipv4.PROTOCOL] = shape.udp ? udp.PROTOCOL : tcp.PROTOCOL;
  }
  view.setUint16(ipLen, 4000 + flow);
  view.setUint16(ipLen + 2, 443);
  if (!shape.udp) {
    view.setUint32(ipLen + 4, shape.seq ?? 0);
    view.setUint32(ipLen + 8, shape.ack ?? 7);
    packet[ipLen + tcp.DATA_OFFSET] = (upperLen / 4) << 4;
    packet[ipLen + tcp.FLAGS] = shape.flags ?? ACK;
    view.setUint16(ipLen + 14, shape.window ?? 500);
    packet.set(options, ipLen + tcp.HEADER_LEN_MIN);
  }
  packet.set(payload, ipLen + upperLen);
  return repair(packet);
}

/** Sets length fields and checksums to what they have to be. */
export function repair(packet: Uint8Array): Uint8Array {
  const inner = parseInner(packet)!;
  const view = viewOf(packet);
  setLength(packet, inner);
  if (!inner.v6) setIp4Check(packet, inner);
  const at = checkOffset(inner);
  const upperLen = packet.length - inner.ipLen;
  view.setUint16(at, 0);
  view.setUint16(at, fold(sum(view, inner.ipLen, upperLen, pseudoSum(packet, inner, upperLen))) || 0xffff);
  return packet;
}

/** `len` bytes that differ from place to place. */
export function payloadOf(len: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length: len }, (_, k) => (seed * 31 + k * 7 + (k >> 8)) & 0xff);
}

/** TCP options of 12 bytes: two no-operations and a timestamp (RFC 7323 section 3.2). */
export function timestamp(value: number): Uint8Array {
  return Uint8Array.of(1, 1, 8, 10, value >>> 24, value >>> 16, value >>> 8, value, 0, 0, 0, 9);
}

/** What happens to one packet on its way into a batch. */
const step = fc.record({
  flow: fc.nat(2),
  /** Mostly a full segment, sometimes a short or an empty one. */
  size: fc.constantFrom(100, 100, 100, 100, 100, 100, 99, 37, 1, 0, 101),
  flags: fc.constantFrom(ACK, ACK, ACK, ACK, ACK, ACK, ACK | PSH, ACK | FIN, ACK | ECE, ACK | CWR, ACK | URG, SYN, RST),
  /** Change against the flow's last packet. */
  twist: fc.constantFrom(
    ...(["none", "none", "none", "none", "none", "none", "none", "none"] as const),
    ...(["gap", "id", "ttl", "tos", "df", "window", "ack", "option", "checksum", "ip checksum", "swap"] as const),
    ...(["length", "fragment", "no checksum", "icmp", "cut"] as const),
  ),
});

/** Batches of packets of six flows (TCP and UDP, IPv4 and IPv6) with everything that must not be merged among them. */
export const traffic: fc.Arbitrary<Uint8Array[]> = fc
  .record({
    steps: fc.array(step, { minLength: 1, maxLength: 120 }),
    /** Kinds of the three flows. */
    kinds: fc.array(fc.record({ v6: fc.boolean(), udp: fc.boolean(), stamped: fc.boolean() }), {
      minLength: 3,
      maxLength: 3,
    }),
    start: fc.nat(0xffffffff),
  })
  .map(({ steps, kinds, start }) => {
    const state = kinds.map((kind, flow) => ({
      ...{ ...kind, flow, id: start & 0xffff, seq: start, ack: 7, window: 500, ttl: 64, tos: 0, df: true, value: 1 },
    }));
    return steps.map(({ flow, size, flags, twist }, k) => {
      const s = state[flow];
      if (twist === "gap") s.seq += 10;
      if (twist === "id") s.id += 5;
      if (twist === "ttl") s.ttl--;
      if (twist === "tos") s.tos ^= 3;
      if (twist === "df") s.df = !s.df;
      if (twist === "window") s.window++;
      if (twist === "ack") s.ack++;
      if (twist === "option") s.value++;
      const packet = packetOf({
        ...{ ...s, flags, id: s.id & 0xffff, seq: s.seq >>> 0 },
        options: s.stamped && !s.udp ? timestamp(s.value) : new Uint8Array(0),
        payload: payloadOf(size, k),
      });
      s.seq = (s.seq + size) >>> 0;
      s.id++;
      return spoil(packet, twist);
    });
  });

function spoil(packet: Uint8Array, twist: string): Uint8Array {
  const view = viewOf(packet);
  const inner = parseInner(packet)!;
  switch (twist) {
    case "checksum":
      packet[packet.length - 1] ^= 0x40;
      return packet;
    case "ip checksum":
      if (!inner.v6) packet[ipv4.CHECKSUM] ^= 1;
      return packet;
    case "swap":
      // Other source address, same ports, sum unchanged: another flow.
      packet[inner.v6 ? ipv6.SRC + 15 : ipv4.SRC + 3]++;
      return repair(packet);
    case "length":
      view.setUint16(inner.v6 ? ipv6.PAYLOAD_LENGTH : ipv4.TOTAL_LENGTH, packet.length - 60);
      return packet;
    case "fragment":
      if (!inner.v6) view.setUint16(ipv4.FRAGMENT, ipv4.MORE_FRAGMENTS);
      return packet;
    case "no checksum":
      if (inner.protocol === udp.PROTOCOL) view.setUint16(checkOffset(inner), 0);
      return packet;
    case "icmp":
      packet[inner.v6 ? ipv6.NEXT_HEADER : ipv4.PROTOCOL] = 58;
      return packet;
    case "cut":
      return packet.subarray(0, inner.headerLen - 1);
    default:
      return packet;
  }
}
