/**
 * ICMP (RFC 792) and ICMPv6 (RFC 4443) headers, and the two messages with which a tunnel says that a packet does not
 * fit: fragmentation needed (RFC 1191 section 4) and packet too big (RFC 4443 section 3.2). Slow path: the caller limits
 * how often. Never answers what must not be answered (RFC 1122 section 3.2.2, RFC 4443 section 2.4 (e)).
 *
 *     0                   1                   2                   3
 *     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *    +---------------+---------------+-------------------------------+
 *    |     Type      |     Code      |           Checksum            |
 *    +---------------+---------------+-------------------------------+
 *    |   ICMP: 0, then 16 bits of MTU.   ICMPv6: 32 bits of MTU.     |
 *    +---------------------------------------------------------------+
 *    |                     the packet that did not fit               |
 */
import { fold, pseudo6, sum } from "../base/checksum.ts";
import * as ipv4 from "./ipv4.ts";
import * as ipv6 from "./ipv6.ts";
import { NONE, offsetOf, protocolOf } from "./upper.ts";

/** IP protocol numbers. */
export const PROTOCOL_V4 = 1;
export const PROTOCOL_V6 = 58;

export const TYPE = 0;
export const CODE = 1;
export const CHECKSUM = 2;
/** Of fragmentation needed: 16 bits. */
export const NEXT_HOP_MTU = 6;
/** Of packet too big: 32 bits. */
export const MTU = 4;
export const HEADER_LEN = 8;

export const V4_UNREACHABLE = 3;
/** Code of V4_UNREACHABLE. */
export const V4_FRAGMENTATION_NEEDED = 4;
export const V6_PACKET_TOO_BIG = 2;

/** Whole IP packets: RFC 1812 section 4.3.2.3; RFC 4443 section 2.4 (c), the least MTU of IPv6. */
export const V4_ERROR_MAX = 576;
export const V6_ERROR_MAX = 1280;

/** ICMP types that are questions or answers. All others are errors, or unknown and treated as such. */
const V4_QUERIES =
  (1 << 0) | (1 << 8) | (1 << 9) | (1 << 10) | (1 << 13) | (1 << 14) | (1 << 15) | (1 << 16) | (1 << 17) | (1 << 18);
/** ICMPv6 types below this are errors (RFC 4443 section 2.1). */
const V6_INFORMATIONAL = 128;
const V6_REDIRECT = 137;

/** DSCP CS6, internetwork control (RFC 1812 section 4.3.2.5). */
const TOS = 0xc0;
const TTL = 64;

/** HEADER_LEN, or -1 when [at, end) is too short for a header. Both versions. */
export function check(_view: DataView, at: number, end: number): number {
  return end - at < HEADER_LEN ? -1 : HEADER_LEN;
}

export function type(view: DataView, at: number): number {
  return view.getUint8(at + TYPE);
}

export function code(view: DataView, at: number): number {
  return view.getUint8(at + CODE);
}

/**
 * Writes to `at` the IPv4 packet that tells the sender of the packet [fromAt, fromAt + fromLen) to send at most `mtu`
 * bytes. `src`: the address that says so. Needs up to V4_ERROR_MAX bytes at `at`, which may overlap the packet. Returns
 * its length, or 0 when the packet must not be answered; then nothing is written.
 */
export function writeFragmentationNeeded(
  view: DataView,
  at: number,
  fromAt: number,
  fromLen: number,
  mtu: number,
  src: number,
): number {
  if (ipv4.check(view, fromAt, fromAt + fromLen) < 0 || !mayAnswer4(view, fromAt)) return 0;
  const to = ipv4.src(view, fromAt);
  const quoted = Math.min(ipv4.totalLength(view, fromAt), V4_ERROR_MAX - ipv4.HEADER_LEN_MIN - HEADER_LEN);
  const icmp = at + ipv4.HEADER_LEN_MIN;
  const length = HEADER_LEN + quoted;
  // The quote first: at may overlap the packet, and nothing else of it is needed any more.
  move(view, icmp + HEADER_LEN, fromAt, quoted);
  ipv4.writeHeader(view, at, TOS, ipv4.HEADER_LEN_MIN + length, TTL, PROTOCOL_V4, src, to);
  view.setUint8(icmp + TYPE, V4_UNREACHABLE);
  view.setUint8(icmp + CODE, V4_FRAGMENTATION_NEEDED);
  view.setUint32(icmp + MTU, Math.min(mtu, 0xffff));
  view.setUint16(icmp + CHECKSUM, 0);
  view.setUint16(icmp + CHECKSUM, fold(sum(view, icmp, length)));
  return ipv4.HEADER_LEN_MIN + length;
}

/** The same for IPv6; the source is four words. Needs up to V6_ERROR_MAX bytes at `at`. */
export function writePacketTooBig(
  view: DataView,
  at: number,
  fromAt: number,
  fromLen: number,
  mtu: number,
  s0: number,
  s1: number,
  s2: number,
  s3: number,
): number {
  if (ipv6.check(view, fromAt, fromAt + fromLen) < 0 || !mayAnswer6(view, fromAt)) return 0;
  const to = fromAt + ipv6.SRC;
  const d0 = view.getInt32(to);
  const d1 = view.getInt32(to + 4);
  const d2 = view.getInt32(to + 8);
  const d3 = view.getInt32(to + 12);
  const whole = ipv6.HEADER_LEN + ipv6.payloadLength(view, fromAt);
  const quoted = Math.min(whole, V6_ERROR_MAX - ipv6.HEADER_LEN - HEADER_LEN);
  const icmp = at + ipv6.HEADER_LEN;
  const length = HEADER_LEN + quoted;
  move(view, icmp + HEADER_LEN, fromAt, quoted);
  ipv6.writeHeader(view, at, TOS, length, PROTOCOL_V6, TTL, s0, s1, s2, s3, d0, d1, d2, d3);
  view.setUint8(icmp + TYPE, V6_PACKET_TOO_BIG);
  view.setUint8(icmp + CODE, 0);
  view.setUint32(icmp + MTU, mtu);
  view.setUint16(icmp + CHECKSUM, 0);
  view.setUint16(icmp + CHECKSUM, fold(sum(view, icmp, length, pseudo6(view, at + ipv6.SRC, PROTOCOL_V6, length))));
  return ipv6.HEADER_LEN + length;
}

/** RFC 1122 section 3.2.2: no answer to errors, to many, from nobody in particular, or to a later fragment. */
function mayAnswer4(view: DataView, at: number): boolean {
  const source = view.getUint8(at + ipv4.SRC);
  if (source === 0 || source === 127 || source >= 224) return false;
  if (view.getUint8(at + ipv4.DST) >> 4 === 14 || ipv4.dst(view, at) === -1) return false;
  const upper = ipv4.upperLayer(view, at);
  if (upper === NONE) return false;
  if (protocolOf(upper) !== PROTOCOL_V4) return true;
  const offset = offsetOf(upper);
  if (offset >= ipv4.totalLength(view, at)) return false;
  const kind = view.getUint8(at + offset);
  return kind < 32 && (V4_QUERIES & (1 << kind)) !== 0;
}

/**
 * RFC 4443 section 2.4 (e). Its exception, packet too big about multicast, is not used: one packet to a group would call
 * one answer from every tunnel. A chain of extension headers that cannot be read might hide an error: no answer.
 */
function mayAnswer6(view: DataView, at: number): boolean {
  const s = at + ipv6.SRC;
  if (view.getUint8(s) === 0xff || view.getUint8(at + ipv6.DST) === 0xff) return false;
  if ((view.getInt32(s) | view.getInt32(s + 4) | view.getInt32(s + 8) | view.getInt32(s + 12)) === 0) return false;
  const end = at + ipv6.HEADER_LEN + ipv6.payloadLength(view, at);
  const upper = ipv6.upperLayer(view, at, end);
  if (upper === NONE) return false;
  if (protocolOf(upper) !== PROTOCOL_V6) return true;
  const icmp = at + offsetOf(upper);
  if (icmp >= end) return false;
  const kind = view.getUint8(icmp);
  return kind >= V6_INFORMATIONAL && kind !== V6_REDIRECT;
}

/** Copies `len` bytes; the areas may overlap. Without a second view of the slab, so by words. */
function move(view: DataView, to: number, from: number, len: number): void {
  const words = len & ~3;
  if (to <= from) {
    for (let i = 0; i < words; i += 4) view.setInt32(to + i, view.getInt32(from + i));
    for (let i = words; i < len; i++) view.setUint8(to + i, view.getUint8(from + i));
  } else {
    for (let i = len - 1; i >= words; i--) view.setUint8(to + i, view.getUint8(from + i));
    for (let i = words - 4; i >= 0; i -= 4) view.setInt32(to + i, view.getInt32(from + i));
  }
}
