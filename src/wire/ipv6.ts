/**
 * IPv6 header, RFC 8200 section 3, and its extension headers (section 4). Offsets in bytes from the first byte of the
 * header; every getter needs a `check` first. Jumbograms (RFC 2675) do not fit a slot: their payload length 0 reads as
 * an empty packet.
 *
 *     0                   1                   2                   3
 *     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *    +-------+---------------+---------------------------------------+
 *    |Version| Traffic Class |              Flow Label               |
 *    +-------+---------------+-------+---------------+---------------+
 *    |         Payload Length        |  Next Header  |   Hop Limit   |
 *    +-------------------------------+---------------+---------------+
 *    |                    Source Address, 16 bytes                   |
 *    +---------------------------------------------------------------+
 *    |                 Destination Address, 16 bytes                 |
 *    +---------------------------------------------------------------+
 */
import { NONE, pack } from "./upper.ts";

export const PAYLOAD_LENGTH = 4;
export const NEXT_HEADER = 6;
export const HOP_LIMIT = 7;
export const SRC = 8;
export const DST = 24;
export const HEADER_LEN = 40;

// Extension headers (RFC 8200 section 4, the IANA registry). ESP (50) hides what follows: it counts as upper layer.
const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const AUTHENTICATION = 51;
const NO_NEXT_HEADER = 59;
const DESTINATION_OPTIONS = 60;
const MOBILITY = 135;
const HIP = 139;
const SHIM6 = 140;
/** Longer chains are attacks; real ones have at most three. */
const EXTENSIONS_MAX = 8;

/** HEADER_LEN, or -1 when [at, end) does not hold one whole, consistent packet. Bytes may follow it. */
export function check(view: DataView, at: number, end: number): number {
  if (end - at < HEADER_LEN || view.getUint8(at) >> 4 !== 6) return -1;
  return HEADER_LEN + view.getUint16(at + PAYLOAD_LENGTH) > end - at ? -1 : HEADER_LEN;
}

/** Bytes after the header, extension headers included. */
export function payloadLength(view: DataView, at: number): number {
  return view.getUint16(at + PAYLOAD_LENGTH);
}

export function nextHeader(view: DataView, at: number): number {
  return view.getUint8(at + NEXT_HEADER);
}

/** DSCP and ECN, the byte that IPv4 has at its TOS. */
export function trafficClass(view: DataView, at: number): number {
  return (view.getUint16(at) >> 4) & 255;
}

/** 0-63 (RFC 2474). */
export function dscp(view: DataView, at: number): number {
  return (view.getUint16(at) >> 6) & 63;
}

/** 0-3 (RFC 3168 section 5). */
export function ecn(view: DataView, at: number): number {
  return (view.getUint8(at + 1) >> 4) & 3;
}

/** Sets the ECN bits. No checksum covers them. */
export function setEcn(view: DataView, at: number, ecn: number): void {
  view.setUint8(at + 1, (view.getUint8(at + 1) & ~0x30) | (ecn << 4));
}

/**
 * Where the upper-layer header is, as `upper.ts` packs it. `end`: end of the packet or later. NONE for a fragment
 * other than the first, for no next header, and when the chain is cut, has more than 8 headers, or has hop-by-hop
 * options elsewhere than first (section 4.1).
 */
export function upperLayer(view: DataView, at: number, end: number): number {
  const limit = Math.min(end, at + HEADER_LEN + payloadLength(view, at));
  let next = nextHeader(view, at);
  let header = at + HEADER_LEN;
  for (let i = 0; isExtension(next); i++) {
    if (i === EXTENSIONS_MAX || header + 8 > limit || (next === HOP_BY_HOP && i > 0)) return NONE;
    // The two low bits of the offset word are reserved, the lowest is M.
    if (next === FRAGMENT && (view.getUint16(header + 2) & ~7) !== 0) return NONE;
    const length = extensionLength(view, header, next);
    next = view.getUint8(header);
    header += length;
  }
  return next === NO_NEXT_HEADER || header > limit ? NONE : pack(next, header - at);
}

function isExtension(next: number): boolean {
  return (
    next === HOP_BY_HOP ||
    next === ROUTING ||
    next === FRAGMENT ||
    next === DESTINATION_OPTIONS ||
    next === AUTHENTICATION ||
    next === MOBILITY ||
    next === HIP ||
    next === SHIM6
  );
}

function extensionLength(view: DataView, header: number, kind: number): number {
  if (kind === FRAGMENT) return 8;
  // RFC 4302 section 2.2: the authentication header alone counts in 4-byte words.
  if (kind === AUTHENTICATION) return (view.getUint8(header + 1) + 2) << 2;
  return (view.getUint8(header + 1) + 1) << 3;
}

/** Writes a header with flow label 0. Address words: either sign. Returns HEADER_LEN. */
export function writeHeader(
  view: DataView,
  at: number,
  trafficClass: number,
  payload: number,
  nextHeader: number,
  hopLimit: number,
  s0: number,
  s1: number,
  s2: number,
  s3: number,
  d0: number,
  d1: number,
  d2: number,
  d3: number,
): number {
  view.setUint32(at, (6 << 28) | (trafficClass << 20));
  view.setUint16(at + PAYLOAD_LENGTH, payload);
  view.setUint8(at + NEXT_HEADER, nextHeader);
  view.setUint8(at + HOP_LIMIT, hopLimit);
  view.setUint32(at + SRC, s0);
  view.setUint32(at + SRC + 4, s1);
  view.setUint32(at + SRC + 8, s2);
  view.setUint32(at + SRC + 12, s3);
  view.setUint32(at + DST, d0);
  view.setUint32(at + DST + 4, d1);
  view.setUint32(at + DST + 8, d2);
  view.setUint32(at + DST + 12, d3);
  return HEADER_LEN;
}
