/**
 * IPv4 header, RFC 791 section 3.1. Offsets in bytes from the first byte of the header; every getter needs a `check`
 * first. The header checksum is not verified: the end that the packet is for does that, and a tunnel must not hide
 * damage by dropping it silently.
 *
 *     0                   1                   2                   3
 *     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *    +-------+-------+-----------+---+-------------------------------+
 *    |Version|  IHL  |   DSCP    |ECN|          Total Length         |
 *    +-------+-------+-----------+---+-----+-------------------------+
 *    |         Identification        |Flags|      Fragment Offset    |
 *    +---------------+---------------+-----+-------------------------+
 *    |  Time to Live |    Protocol   |         Header Checksum       |
 *    +---------------+---------------+-------------------------------+
 *    |                         Source Address                        |
 *    +---------------------------------------------------------------+
 *    |                      Destination Address                      |
 *    +---------------------------------------------------------------+
 */
import { fold, sum, update16 } from "../base/checksum.ts";
import { NONE, pack } from "./upper.ts";

export const VERSION_IHL = 0;
/** DSCP and ECN (RFC 2474, RFC 3168). */
export const TOS = 1;
export const TOTAL_LENGTH = 2;
export const IDENTIFICATION = 4;
export const FRAGMENT = 6;
export const TTL = 8;
export const PROTOCOL = 9;
export const CHECKSUM = 10;
export const SRC = 12;
export const DST = 16;
export const HEADER_LEN_MIN = 20;

/** Bits of the 16-bit word at FRAGMENT. */
export const DONT_FRAGMENT = 0x4000;
export const MORE_FRAGMENTS = 0x2000;
/** In units of 8 bytes. */
export const FRAGMENT_OFFSET = 0x1fff;

/** Header length in bytes, or -1 when [at, end) does not hold one whole, consistent packet. Bytes may follow it. */
export function check(view: DataView, at: number, end: number): number {
  if (end - at < HEADER_LEN_MIN) return -1;
  const first = view.getUint8(at);
  const headerLen = (first & 15) << 2;
  if (first >> 4 !== 4 || headerLen < HEADER_LEN_MIN) return -1;
  const total = view.getUint16(at + TOTAL_LENGTH);
  return total < headerLen || total > end - at ? -1 : headerLen;
}

export function headerLen(view: DataView, at: number): number {
  return (view.getUint8(at) & 15) << 2;
}

/** Bytes of header and payload. */
export function totalLength(view: DataView, at: number): number {
  return view.getUint16(at + TOTAL_LENGTH);
}

export function protocol(view: DataView, at: number): number {
  return view.getUint8(at + PROTOCOL);
}

/** As int32. */
export function src(view: DataView, at: number): number {
  return view.getInt32(at + SRC);
}

/** As int32. */
export function dst(view: DataView, at: number): number {
  return view.getInt32(at + DST);
}

/** 0-63 (RFC 2474). */
export function dscp(view: DataView, at: number): number {
  return view.getUint8(at + TOS) >> 2;
}

/** 0-3 (RFC 3168 section 5). */
export function ecn(view: DataView, at: number): number {
  return view.getUint8(at + TOS) & 3;
}

/** Sets the ECN bits and corrects the header checksum. */
export function setEcn(view: DataView, at: number, ecn: number): void {
  const before = view.getUint16(at);
  const after = (before & ~3) | ecn;
  view.setUint16(at, after);
  view.setUint16(at + CHECKSUM, update16(view.getUint16(at + CHECKSUM), before, after));
}

export function dontFragment(view: DataView, at: number): boolean {
  return (view.getUint16(at + FRAGMENT) & DONT_FRAGMENT) !== 0;
}

/** In units of 8 bytes; 0 = the packet is whole or the first fragment. */
export function fragmentOffset(view: DataView, at: number): number {
  return view.getUint16(at + FRAGMENT) & FRAGMENT_OFFSET;
}

/** Where the upper-layer header is, as `upper.ts` packs it; NONE for a fragment other than the first. */
export function upperLayer(view: DataView, at: number): number {
  return fragmentOffset(view, at) === 0 ? pack(protocol(view, at), headerLen(view, at)) : NONE;
}

/**
 * Writes a header without options, with checksum: DF set, so that Identification may be 0 (RFC 6864 section 4.1).
 * `src`, `dst`: either sign. Returns HEADER_LEN_MIN.
 */
export function writeHeader(
  view: DataView,
  at: number,
  tos: number,
  total: number,
  ttl: number,
  protocol: number,
  src: number,
  dst: number,
): number {
  view.setUint8(at + VERSION_IHL, 0x45);
  view.setUint8(at + TOS, tos);
  view.setUint16(at + TOTAL_LENGTH, total);
  view.setUint16(at + IDENTIFICATION, 0);
  view.setUint16(at + FRAGMENT, DONT_FRAGMENT);
  view.setUint8(at + TTL, ttl);
  view.setUint8(at + PROTOCOL, protocol);
  view.setUint16(at + CHECKSUM, 0);
  view.setUint32(at + SRC, src);
  view.setUint32(at + DST, dst);
  view.setUint16(at + CHECKSUM, fold(sum(view, at, HEADER_LEN_MIN)));
  return HEADER_LEN_MIN;
}
